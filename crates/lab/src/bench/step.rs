//! A network with random weights that infers or trains, step by step.

use super::{SEED, values};
use crate::config::AdamWConfig;
use crate::train::{AdamW, soft_cross_entropy};
use crate::{Error, Result};
use candle_core::{Device, Tensor};
use kernelscope::nn::{BuildOptions, Mode};
use kernelscope::ops::gpu::{MemoryUse, Meter};
use kernelscope::zoo::{ModelSpec, Network};
use kernelscope::{profile, rng};
use serde::Serialize;
use std::hint::black_box;
use std::time::Instant;

/// What one repetition does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Task {
    /// Logits, with frozen weights.
    #[serde(rename = "inference")]
    Inference,
    /// Forward pass, loss, gradients of all parameters, and the optimizer's step.
    #[serde(rename = "training step")]
    Training,
}

impl Task {
    /// For tables.
    pub fn label(self) -> &'static str {
        match self {
            Task::Inference => "inference",
            Task::Training => "training step",
        }
    }
}

/// Time in one kind of operator, per step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OperatorTime {
    /// The operator.
    pub operator: String,
    /// Calls, forward and for gradients; none for what is outside of all operators.
    pub calls: Option<f64>,
    /// Milliseconds.
    #[serde(serialize_with = "super::six_digits")]
    pub ms: f64,
    /// Share of the step.
    #[serde(serialize_with = "super::six_digits")]
    pub share: f64,
}

/// A network that does one task, for both sides.
pub(super) struct Subject {
    pub(super) spec: ModelSpec,
    pub(super) task: Task,
    pub(super) config: serde_json::Value,
}

impl Subject {
    /// Inference runs the re-parameterized form, if the family has one, as a trained network would.
    pub(super) fn new(name: &str, task: Task) -> Result<Self> {
        let mut spec = ModelSpec::named(name)?;
        if task == Task::Inference {
            spec.config = spec.config.for_inference();
        }
        let config = serde_json::to_value(&spec.config);
        let config = config.map_err(|e| Error::argument("config", e, "serializable values"))?;
        Ok(Subject { spec, task, config })
    }

    /// The network, with weights of the fixed seed.
    fn build(&self, device: &Device) -> Result<Network> {
        let options = match self.task {
            Task::Inference => BuildOptions::frozen(),
            Task::Training => BuildOptions::default(),
        };
        Network::build(self.spec.clone(), BuildOptions { seed: SEED, device: device.clone(), ..options })
    }
}

/// Allowed difference between logits of devices, relative to the largest: some hundred sums in single precision.
const MOST_ERROR: f32 = 1e-3;

/// Multiply-adds of one image, which also tells whether the network takes the size.
pub(super) fn macs(spec: &ModelSpec, size: usize) -> Result<u64> {
    Ok(Network::build(spec.clone(), BuildOptions::shapes_only())?.trace(size, size)?.macs())
}

/// A network with a batch and what training needs.
pub(super) struct Step {
    network: Network,
    images: Tensor,
    training: Option<(AdamW, Tensor)>,
    steps: u64,
}

impl Step {
    pub(super) fn new(subject: &Subject, batch: usize, size: usize, device: &Device) -> Result<Self> {
        let (spec, task) = (&subject.spec, subject.task);
        let network = subject.build(device)?;
        let images = values("images", batch * 3 * size * size);
        let images = Tensor::from_vec(images, (batch, 3, size, size), device)?;
        let training = match task {
            Task::Inference => None,
            Task::Training => {
                let classes = spec.config.classes();
                let mut targets = vec![0f32; batch * classes];
                for (image, row) in targets.chunks_mut(classes).enumerate() {
                    row[image % classes] = 1.0;
                }
                let targets = Tensor::from_vec(targets, (batch, classes), device)?;
                Some((AdamW::new(network.params(), AdamWConfig::default()), targets))
            }
        };
        Ok(Step { network, images, training, steps: 0 })
    }

    pub(super) fn run(&mut self) -> Result<()> {
        let Some((optimizer, targets)) = &mut self.training else {
            black_box(self.network.forward(black_box(&self.images))?);
            return Ok(self.images.device().synchronize()?);
        };
        let seed = rng::derive(SEED, &[self.steps]);
        self.steps += 1;
        let logits = self.network.forward_t(black_box(&self.images), Mode::Train { seed })?;
        let grads = soft_cross_entropy(&logits, targets)?.backward()?;
        // Small, so that values stay ordinary over any number of steps.
        optimizer.step(&grads, 1e-5, 1.0)?;
        Ok(self.images.device().synchronize()?)
    }

    /// Bytes that a step allocates at most on a GPU.
    pub(super) fn memory(&mut self) -> Result<Option<u64>> {
        let Some(meter) = Meter::of(&self.images) else { return Ok(None) };
        let memory = meter.memory(|| self.run().map_err(candle_core::Error::wrap))?;
        Ok(memory.map(MemoryUse::allocated))
    }

    /// Compares the logits of the first image with those of the same network on the CPU.
    pub(super) fn check(&self, subject: &Subject) -> Result<()> {
        let image = self.images.narrow(0, 0, 1)?;
        let logits = |network: &Network, image: &Tensor| -> Result<Vec<f32>> {
            Ok(network.forward(image)?.to_device(&Device::Cpu)?.flatten_all()?.to_vec1::<f32>()?)
        };
        let found = logits(&self.network, &image)?;
        let expected = logits(&subject.build(&Device::Cpu)?, &image.to_device(&Device::Cpu)?)?;
        let scale = expected.iter().fold(1e-6f32, |most, value| most.max(value.abs()));
        let worst = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / scale;
        if found.len() == expected.len() && worst <= MOST_ERROR {
            return Ok(());
        }
        let given = format!("{}: differs by {worst:e} of the largest value", subject.spec.name);
        Err(Error::argument(
            "logits on the GPU",
            given,
            format!("at most {MOST_ERROR:e} difference from the CPU's logits"),
        ))
    }

    /// The time per operator of one step, averaged over `runs`. Apart from the timing, which it might disturb.
    pub(super) fn profile(&mut self, runs: usize) -> Result<Vec<OperatorTime>> {
        profile::start();
        let started = Instant::now();
        let outcome = (0..runs).try_for_each(|_| self.run());
        let seconds = started.elapsed().as_secs_f64();
        let entries = profile::stop();
        outcome?;
        Ok(operator_times(&entries, seconds, runs))
    }
}

/// Totals of several steps as times per step, and what is in none of them.
fn operator_times(entries: &[profile::Entry], seconds: f64, runs: usize) -> Vec<OperatorTime> {
    let row = |operator: &str, calls: Option<u64>, time: f64| OperatorTime {
        operator: operator.to_string(),
        calls: calls.map(|calls| calls as f64 / runs as f64),
        ms: 1e3 * time / runs as f64,
        share: time / seconds,
    };
    let inside: f64 = entries.iter().map(|e| e.seconds).sum();
    let operators = entries.iter().map(|e| row(e.name, Some(e.calls), e.seconds));
    operators.chain([row("everything else", None, (seconds - inside).max(0.0))]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_have_the_fields_that_the_peer_reads() {
        let check = |config: &serde_json::Value, family: &str, numbers: &[&str], other: &[&str]| {
            assert_eq!(config["family"], family);
            for field in ["dims", "depths", "kernel"] {
                assert_eq!(config[field].as_array().map(Vec::len), Some(4), "{family}: {field}");
            }
            for field in ["classes", "drop_path"].iter().chain(numbers) {
                assert!(config[field].is_number(), "{family}: {field}");
            }
            for field in other {
                assert!(config[field].is_string() || config[field].is_boolean(), "{family}: {field}");
            }
        };
        for name in ["convnext-t-1d", "convnext-t-2dpp", "nano-1d"] {
            let config = Subject::new(name, Task::Training).unwrap().config;
            check(&config, "convnext", &["stem_kernel", "stem_channels", "layer_scale"], &["variant", "stem", "norm"]);
            assert_eq!(config["kernel2"].as_array().map(Vec::len), Some(4), "{name}");
        }
        for (task, merged) in [(Task::Training, false), (Task::Inference, true)] {
            let config = Subject::new("replknet-31b", task).unwrap().config;
            check(&config, "replknet", &["small_kernel", "dw_ratio", "ffn_ratio"], &["merged"]);
            assert_eq!(config["merged"], merged);
        }
        for (task, merged) in [(Task::Training, false), (Task::Inference, true)] {
            let config = Subject::new("slak-t", task).unwrap().config;
            check(
                &config,
                "slak",
                &["small_kernel", "width", "layer_scale"],
                &["decompose", "merged", "merge_form", "head_norm"],
            );
            assert_eq!((&config["merged"], &config["merge_form"]), (&merged.into(), &"rectangles".into()));
        }
        for (name, body) in [("sw-v1-t", "v1"), ("sw-v2-t", "v2")] {
            for (task, merged) in [(Task::Training, "none"), (Task::Inference, "cross")] {
                let config = Subject::new(name, task).unwrap().config;
                let numbers = ["small_kernel", "width", "layer_scale", "ghost_ratio"];
                check(&config, "shiftwise", &numbers, &["body", "merged", "head_norm"]);
                assert_eq!((&config["body"], &config["merged"]), (&body.into(), &merged.into()));
            }
        }
        // What the peer reads as no small kernel.
        assert_eq!(Subject::new("replknet-xl", Task::Training).unwrap().config["small_kernel"], "none");
    }

    #[test]
    fn times_per_operator_are_per_step_and_sum_to_the_step() {
        let entry = |name, calls, seconds| profile::Entry { name, calls, seconds };
        let times = operator_times(&[entry("a", 8, 1.0), entry("b", 2, 0.5)], 2.0, 4);
        let row = |operator: &str, calls, ms, share| OperatorTime { operator: operator.into(), calls, ms, share };
        let expected = [
            row("a", Some(2.0), 250.0, 0.5),
            row("b", Some(0.5), 125.0, 0.25),
            row("everything else", None, 125.0, 0.25),
        ];
        assert_eq!(times, expected);
    }
}
