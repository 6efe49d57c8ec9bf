//! Measures whole networks: inference, training steps, and where the time goes.

pub use super::step::{OperatorTime, Task};

use super::peer::{NetworkStep, Peer, PeerTime};
use super::step::{Step, Subject, macs};
use super::timing::{Effort, Timing, measure};
use super::{Progress, Watcher};
use crate::{Error, Result};
use candle_core::Device;
use serde::Serialize;
use std::num::NonZeroUsize;
use std::path::PathBuf;

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
}
