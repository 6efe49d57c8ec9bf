//! Measures whole networks: inference, training steps, and where the time goes.

use super::peer::{NetworkStep, Peer, PeerTime};
use super::timing::{Effort, Timing, measure};
use super::{Progress, SEED, Watcher, values};
use crate::train::{AdamW, AdamWConfig, soft_cross_entropy};
use crate::{Error, Result};
use candle_core::{Device, Tensor};
use kernelscope::nn::{BuildOptions, Mode};
use kernelscope::ops::gpu::{MemoryUse, Meter};
use kernelscope::zoo::{ModelSpec, Network};
use kernelscope::{profile, rng};
use serde::Serialize;
use std::hint::black_box;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Instant;

/// What is measured, and how.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Names of the networks.
    pub names: Vec<String>,
    /// Side of the images.
    pub size: usize,
    /// Images per step.
    pub batch: usize,
    /// Number of threads; rayon's own choice without.
    pub threads: Option<usize>,
    /// Whether training steps are measured too.
    pub train: bool,
    /// Whether the time per operator is measured too.
    pub profile: bool,
    /// Fewer repetitions, for a first impression.
    pub quick: bool,
    /// How often to go through all networks; the shortest step of all rounds counts, on both sides.
    pub rounds: NonZeroUsize,
    /// The Python with PyTorch to compare with, on the same device.
    pub python: Option<PathBuf>,
    /// Where the networks run.
    pub device: Device,
}

/// What one repetition does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Task {
    /// Logits, with frozen weights.
    #[serde(rename = "inference")]
    Inference,
    /// Forward pass, loss, gradients of all parameters, and the optimiser's step.
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

/// How fast a network is here.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Speed {
    /// Times of one step.
    #[serde(flatten)]
    pub timing: Timing,
    /// Images per second, in the shortest run.
    #[serde(serialize_with = "super::six_digits")]
    pub images_per_s: f64,
    /// 10^9 multiply-adds per second, in the shortest run; counted as in the papers, three times for a training step.
    #[serde(serialize_with = "super::six_digits")]
    pub gmac_per_s: f64,
    /// The time per operator, if it was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub operators: Vec<OperatorTime>,
}

/// One network doing one task.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measurement {
    /// The network's name.
    pub network: String,
    /// Task.
    pub task: Task,
    /// Side of the images.
    pub size: usize,
    /// Images per step.
    pub batch: usize,
    /// Our speed.
    pub ours: Speed,
    /// Bytes that a step allocates at most on a GPU, beside the weights, the images and the moments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allocated_bytes: Option<u64>,
    /// PyTorch's time, where it has the network.
    pub torch: Option<PeerTime>,
    /// PyTorch's shortest step by ours: above 1 where this crate is faster.
    #[serde(serialize_with = "super::six_digits_if_any")]
    pub torch_ratio: Option<f64>,
}

/// A benchmark of networks.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Number of threads.
    pub threads: usize,
    /// PyTorch's version, if it was compared with.
    pub torch: Option<String>,
    /// All tasks of all networks.
    pub measurements: Vec<Measurement>,
}

/// A network that does one task, for both sides.
struct Subject {
    spec: ModelSpec,
    task: Task,
    config: serde_json::Value,
}

impl Subject {
    /// Inference runs the re-parameterised form, if the family has one, as a trained network would.
    fn new(name: &str, task: Task) -> Result<Self> {
        let mut spec = ModelSpec::named(name)?;
        if task == Task::Inference {
            spec.config = spec.config.for_inference();
        }
        let config = serde_json::to_value(&spec.config);
        let config = config.map_err(|e| Error::argument("config", e, "serialisable values"))?;
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

/// Measures network after network; with a peer, each task here and then there.
///
/// # Errors
/// If there is no network of a name, the image size does not fit, or the peer fails. All but the last is found out
/// before anything is measured.
pub fn run(settings: &Settings, watch: Watcher<'_>) -> Result<Report> {
    super::on_threads(settings.threads, || measure_all(settings, watch))
}

fn measure_all(settings: &Settings, watch: Watcher<'_>) -> Result<Report> {
    let &Settings { batch, size, .. } = settings;
    for (name, value) in [("batch", batch), ("size", size)] {
        if value == 0 {
            return Err(Error::argument(name, 0, "at least 1"));
        }
    }
    let tasks: &[Task] = if settings.train { &[Task::Inference, Task::Training] } else { &[Task::Inference] };
    let pairs = settings.names.iter().flat_map(|name| tasks.iter().map(move |&task| (name, task)));
    let subjects = pairs.map(|(name, task)| Subject::new(name, task)).collect::<Result<Vec<_>>>()?;
    let macs = subjects.iter().map(|s| macs(&s.spec, size)).collect::<Result<Vec<_>>>()?;
    let mut peer = match &settings.python {
        Some(python) => Some(Peer::start(python, rayon::current_num_threads())?),
        None => None,
    };
    let mut taken: Vec<Taken> = Vec::new();
    let count = settings.rounds.get() * subjects.len();
    for done in 0..count {
        let index = done % subjects.len();
        let once = take(&subjects[index], settings, peer.as_mut(), &mut |next| watch(Progress { done, count, next }))?;
        match taken.get_mut(index) {
            Some(taken) => taken.add(once),
            None => taken.push(once),
        }
    }
    let measurement = |((subject, macs), taken): ((&Subject, u64), Taken)| {
        let Taken { timing, allocated_bytes, operators, torch } = taken;
        let images_per_s = batch as f64 / timing.min_s;
        let passes = if subject.task == Task::Training { 3.0 } else { 1.0 };
        let gmac_per_s = 1e-9 * passes * macs as f64 * images_per_s;
        Measurement {
            network: subject.spec.name.clone(),
            task: subject.task,
            size,
            batch,
            ours: Speed { timing, images_per_s, gmac_per_s, operators },
            allocated_bytes,
            torch,
            torch_ratio: torch.map(|torch| torch.timing.min_s / timing.min_s),
        }
    };
    let measurements = subjects.iter().zip(macs).zip(taken).map(measurement).collect();
    let torch = peer.map(|peer| peer.version().to_string());
    Ok(Report { threads: rayon::current_num_threads(), torch, measurements })
}

/// What is measured of one network doing one task.
struct Taken {
    timing: Timing,
    allocated_bytes: Option<u64>,
    operators: Vec<OperatorTime>,
    torch: Option<PeerTime>,
}

impl Taken {
    /// Takes another round into account. The time per operator is that of the round with the shortest step.
    fn add(&mut self, again: Taken) {
        if again.timing.min_s < self.timing.min_s {
            self.operators = again.operators;
        }
        self.timing = self.timing.with(again.timing);
        self.torch = self.torch.zip(again.torch).map(|(time, again)| time.with(again));
    }
}

fn take(subject: &Subject, settings: &Settings, peer: Option<&mut Peer>, watch: &mut dyn FnMut(&str)) -> Result<Taken> {
    let &Settings { batch, size, ref device, .. } = settings;
    let effort = if settings.quick { Effort::QUICK } else { Effort::NETWORK };
    let name = format!("{}, {}", subject.spec.name, subject.task.label());
    watch(&name);
    let mut step = Step::new(subject, batch, size, device)?;
    if !device.is_cpu() {
        step.check(subject)?;
    }
    let timing = measure(effort, || step.run())?;
    let allocated_bytes = step.memory()?;
    let operators = if settings.profile { step.profile(effort.runs)? } else { Vec::new() };
    let torch = match peer {
        Some(peer) => {
            watch(&format!("{name}, PyTorch"));
            let (training, on_gpu) = (subject.task == Task::Training, !device.is_cpu());
            peer.network(NetworkStep { config: &subject.config, training, batch, size, on_gpu }, effort)?
        }
        None => None,
    };
    Ok(Taken { timing, allocated_bytes, operators, torch })
}

/// Multiply-adds of one image, which also tells whether the network takes the size.
fn macs(spec: &ModelSpec, size: usize) -> Result<u64> {
    Ok(Network::build(spec.clone(), BuildOptions::shapes_only())?.trace(size, size)?.macs())
}

/// A network with a batch and what training needs.
struct Step {
    network: Network,
    images: Tensor,
    training: Option<(AdamW, Tensor)>,
    steps: u64,
}

impl Step {
    fn new(subject: &Subject, batch: usize, size: usize, device: &Device) -> Result<Self> {
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

    fn run(&mut self) -> Result<()> {
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
    fn memory(&mut self) -> Result<Option<u64>> {
        let Some(meter) = Meter::of(&self.images) else { return Ok(None) };
        let memory = meter.memory(|| self.run().map_err(candle_core::Error::wrap))?;
        Ok(memory.map(MemoryUse::allocated))
    }

    /// Compares the logits of the first image with those of the same network on the CPU.
    fn check(&self, subject: &Subject) -> Result<()> {
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
        let given = format!("{}: off by {worst:e} of the largest value", subject.spec.name);
        Err(Error::argument("logits on the GPU", given, format!("at most {MOST_ERROR:e} from the CPU's")))
    }

    /// The time per operator of one step, averaged over `runs`. Apart from the timing, which it might disturb.
    fn profile(&mut self, runs: usize) -> Result<Vec<OperatorTime>> {
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

    fn settings(names: &[&str]) -> Settings {
        Settings {
            names: names.iter().map(|n| n.to_string()).collect(),
            size: 32,
            batch: 2,
            threads: Some(2),
            train: true,
            profile: false,
            quick: true,
            rounds: NonZeroUsize::MIN,
            python: None,
            device: Device::Cpu,
        }
    }

    #[test]
    fn networks_are_measured_in_both_tasks() {
        let mut told = Vec::new();
        let watch = &mut |p: Progress<'_>| told.push((p.done, p.count, p.next.to_string()));
        let rounds = NonZeroUsize::MIN.saturating_add(1);
        let report = run(&Settings { rounds, ..settings(&["nano-1d"]) }, watch).unwrap();
        assert_eq!(report.threads, 2);
        let tasks: Vec<Task> = report.measurements.iter().map(|m| m.task).collect();
        assert_eq!(tasks, [Task::Inference, Task::Training]);
        for row in &report.measurements {
            let ours = &row.ours;
            let expected = 2.0 / ours.timing.min_s;
            assert!((ours.images_per_s / expected - 1.0).abs() < 1e-9 && ours.gmac_per_s > 0.0, "{row:?}");
            assert_eq!((row.torch, row.torch_ratio), (None, None));
            // At least two steps in each of two rounds.
            assert!(ours.timing.runs >= 4, "{row:?}");
            assert!(
                ours.operators.is_empty(),
                "the collector of times belongs to the process: see the command's tests"
            );
        }
        let labels = ["nano-1d, inference", "nano-1d, training step"].repeat(2);
        let labels: Vec<_> = labels.into_iter().enumerate().map(|(done, label)| (done, 4, label.to_string())).collect();
        assert_eq!(told, labels);
    }

    #[test]
    fn mistakes_are_found_before_anything_is_measured() {
        let fails = |settings: Settings| match run(&settings, &mut |_| panic!("something was measured")) {
            Ok(_) => panic!("no error"),
            Err(error) => error.to_string(),
        };
        assert!(fails(settings(&["nano-1d", "unheard-of"])).contains("unheard-of"));
        assert!(fails(Settings { size: 31, ..settings(&["nano-1d"]) }).contains("31x31"));
        assert!(fails(Settings { batch: 0, ..settings(&["nano-1d"]) }).contains("batch"));
    }

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
