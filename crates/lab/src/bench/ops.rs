//! Measures the depthwise convolutions: forward alone, with the gradients of input and weights, and the same as a training
//! step with candle has it.
//!
//! Other programs on a shared machine slow down whatever happens to run, for seconds or minutes. So all cases can be gone
//! through several times: the shortest run of all rounds counts, on both sides of a comparison.

use super::case::{Case, Prepared};
use super::machine::Machine;
use super::peer::{MemoryLayout, Peer, PeerTime};
use super::roofline::Work;
use super::timing::{Effort, Timing, measure};
use super::{Progress, Watcher, clock, values};
use crate::Result;
use candle_core::{Device, Tensor, Var};
use kernelscope::ops::taps::{TapConv, Wanted};
use serde::Serialize;
use std::collections::HashMap;
use std::hint::black_box;
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// What is measured, and how.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The cases.
    pub cases: Vec<Case>,
    /// Number of threads; rayon's own choice without.
    pub threads: Option<usize>,
    /// Fewer repetitions, for a first impression.
    pub quick: bool,
    /// How often to go through all cases.
    pub rounds: NonZeroUsize,
    /// The Python with PyTorch to compare with.
    pub python: Option<PathBuf>,
    /// The command line that asks for it, for the report.
    pub command: String,
}

/// What one repetition does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum Pass {
    /// The output.
    #[serde(rename = "forward")]
    Forward,
    /// The output, and from a given gradient of the output those of input and weights.
    #[serde(rename = "forward and gradients")]
    Gradients,
    /// The same through candle's tape, from ones at the output: for each argument, candle makes a tensor of zeros and adds
    /// the gradient to it.
    #[serde(rename = "through backward()")]
    Tape,
}

impl Pass {
    /// All passes.
    pub const ALL: [Pass; 3] = [Pass::Forward, Pass::Gradients, Pass::Tape];

    /// For tables.
    pub fn label(self) -> &'static str {
        match self {
            Pass::Forward => "forward",
            Pass::Gradients => "forward and gradients",
            Pass::Tape => "through backward()",
        }
    }

    fn work(self, forward: Work) -> Work {
        match self {
            Pass::Forward => forward,
            Pass::Gradients | Pass::Tape => forward.with_gradients(),
        }
    }
}

/// One pass of one case: a row of the CSV file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measurement {
    /// The case's name.
    pub case: String,
    /// Images N.
    pub images: usize,
    /// Channels C.
    pub channels: usize,
    /// Rows and columns of an image.
    pub side: usize,
    /// Stride.
    pub stride: usize,
    /// Pass.
    pub pass: Pass,
    /// Shortest run in milliseconds.
    #[serde(serialize_with = "super::six_digits")]
    pub min_ms: f64,
    /// Median run in milliseconds.
    #[serde(serialize_with = "super::six_digits")]
    pub median_ms: f64,
    /// Number of runs.
    pub runs: usize,
    /// Multiply-adds that read inside the image.
    pub macs: u64,
    /// Bytes that must be read and written.
    pub bytes: u64,
    /// 10^9 multiply-adds per second, in the shortest run.
    #[serde(serialize_with = "super::six_digits")]
    pub gmac_per_s: f64,
    /// 10^9 bytes per second, in the shortest run.
    #[serde(serialize_with = "super::six_digits")]
    pub gb_per_s: f64,
    /// The least time according to the roofline, in milliseconds.
    #[serde(serialize_with = "super::six_digits")]
    pub bound_ms: f64,
    /// That least time as a share of the shortest run.
    #[serde(serialize_with = "super::six_digits")]
    pub roofline_share: f64,
    /// PyTorch's shortest run in milliseconds, in its faster layout.
    #[serde(serialize_with = "super::six_digits_if_any")]
    pub torch_min_ms: Option<f64>,
    /// PyTorch's median run in milliseconds.
    #[serde(serialize_with = "super::six_digits_if_any")]
    pub torch_median_ms: Option<f64>,
    /// Number of PyTorch's runs.
    pub torch_runs: Option<usize>,
    /// PyTorch's faster layout.
    pub torch_layout: Option<MemoryLayout>,
    /// PyTorch's shortest run by ours: above 1 where this crate is faster.
    #[serde(serialize_with = "super::six_digits_if_any")]
    pub torch_ratio: Option<f64>,
}

impl Measurement {
    fn new(case: &Case, pass: Pass, work: Work, timing: Timing, machine: &Machine) -> Self {
        let (seconds, bound) = (timing.min_s, work.bound(machine));
        Measurement {
            case: case.to_string(),
            images: case.images,
            channels: case.channels,
            side: case.side,
            stride: case.stride,
            pass,
            min_ms: 1e3 * seconds,
            median_ms: 1e3 * timing.median_s,
            runs: timing.runs,
            macs: work.macs,
            bytes: work.bytes,
            gmac_per_s: 1e-9 * work.macs as f64 / seconds,
            gb_per_s: 1e-9 * work.bytes as f64 / seconds,
            bound_ms: 1e3 * bound,
            roofline_share: bound / seconds,
            torch_min_ms: None,
            torch_median_ms: None,
            torch_runs: None,
            torch_layout: None,
            torch_ratio: None,
        }
    }

    fn with_peer(self, peer: PeerTime) -> Self {
        let torch_ms = 1e3 * peer.timing.min_s;
        Measurement {
            torch_ratio: Some(torch_ms / self.min_ms),
            torch_min_ms: Some(torch_ms),
            torch_median_ms: Some(1e3 * peer.timing.median_s),
            torch_runs: Some(peer.timing.runs),
            torch_layout: Some(peer.layout),
            ..self
        }
    }
}

/// A benchmark of operators.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The command line that made it.
    pub command: String,
    /// Date and time of its end (UTC).
    pub date: String,
    /// Version of this crate.
    pub version: &'static str,
    /// Element type.
    pub dtype: &'static str,
    /// Memory layout.
    pub layout: MemoryLayout,
    /// The machine.
    pub machine: Machine,
    /// PyTorch's version, if it was compared with.
    pub torch: Option<String>,
    /// All passes of all cases.
    pub measurements: Vec<Measurement>,
}

/// Measures the machine, then case after case; with a peer, each pass of a case here and then there. PyTorch has no
/// oriented kernels, so that it would run the same row for each angle: such a row is timed once per round.
///
/// # Errors
/// If a case cannot be built, or the peer fails. Whether the peer can start is found out first.
pub fn run(settings: &Settings, watch: Watcher<'_>) -> Result<Report> {
    super::on_threads(settings.threads, || measure_all(settings, watch))
}

fn measure_all(settings: &Settings, watch: Watcher<'_>) -> Result<Report> {
    let mut peer = match &settings.python {
        Some(python) => Some(Peer::start(python, rayon::current_num_threads())?),
        None => None,
    };
    let Round { mut machine, mut rows } = measure_round(settings, 0, peer.as_mut(), watch)?;
    for round in 1..settings.rounds.get() {
        let again = measure_round(settings, round, peer.as_mut(), watch)?;
        machine = machine.best(&again.machine);
        rows.iter_mut().zip(again.rows).for_each(|(row, again)| row.add(again));
    }
    Ok(Report {
        command: settings.command.clone(),
        date: clock::now(),
        version: env!("CARGO_PKG_VERSION"),
        dtype: "f32",
        layout: MemoryLayout::Nchw,
        measurements: rows.iter().map(|row| row.measurement(&machine)).collect(),
        machine,
        torch: peer.map(|peer| peer.version().to_string()),
    })
}

/// The times of one pass of one case.
struct Row<'a> {
    case: &'a Case,
    pass: Pass,
    work: Work,
    ours: Timing,
    theirs: Option<PeerTime>,
}

impl Row<'_> {
    /// Takes another round into account.
    fn add(&mut self, again: Row<'_>) {
        self.ours = self.ours.with(again.ours);
        self.theirs = self.theirs.zip(again.theirs).map(|(time, again)| time.with(again));
    }

    fn measurement(&self, machine: &Machine) -> Measurement {
        let measurement = Measurement::new(self.case, self.pass, self.work, self.ours, machine);
        match self.theirs {
            Some(peer) => measurement.with_peer(peer),
            None => measurement,
        }
    }
}

/// The machine and all cases, once.
struct Round<'a> {
    machine: Machine,
    rows: Vec<Row<'a>>,
}

fn measure_round<'a>(
    settings: &'a Settings,
    round: usize,
    mut peer: Option<&mut Peer>,
    watch: Watcher<'_>,
) -> Result<Round<'a>> {
    let before = round * settings.cases.len();
    let count = settings.rounds.get() * settings.cases.len();
    let (ours, theirs) = if settings.quick { (Effort::QUICK, Effort::QUICK) } else { (Effort::OPERATOR, Effort::PEER) };
    watch(Progress { done: before, count, next: "copy bandwidth and arithmetic peak" });
    let machine = Machine::measure(if settings.quick { Effort::QUICK } else { Effort::OPERATOR })?;
    let mut known = HashMap::new();
    let mut rows = Vec::new();
    for (done, case) in (before..).zip(&settings.cases) {
        let name = case.to_string();
        let inputs = Inputs::new(case)?;
        for pass in Pass::ALL {
            watch(Progress { done, count, next: &format!("{name}, {}", pass.label()) });
            let work = pass.work(inputs.prepared.work);
            let mut row = Row { case, pass, work, ours: inputs.measure(pass, ours)?, theirs: None };
            if let Some(peer) = &mut peer {
                let gradients = pass != Pass::Forward;
                let key = (case.kernel.dense_shape(), case.images, case.channels, case.side, case.stride, gradients);
                let time = match known.get(&key) {
                    Some(&time) => time,
                    None => {
                        watch(Progress { done, count, next: &format!("{name}, {}, PyTorch", pass.label()) });
                        peer.convolution(case, gradients, theirs)?
                    }
                };
                known.insert(key, time);
                row.theirs = Some(time);
            }
            rows.push(row);
        }
    }
    Ok(Round { machine, rows })
}

/// A case with values.
struct Inputs {
    prepared: Prepared,
    /// The operator without candle around it.
    conv: TapConv,
    x: Var,
    w: Var,
    /// What its gradients follow from: x, a weight for each tap that is left of every channel, and the gradient of the output.
    values: [Tensor; 3],
}

impl Inputs {
    fn new(case: &Case) -> Result<Self> {
        let prepared = case.prepare()?;
        let conv = TapConv::new(prepared.table.clone(), prepared.geometry, false)?;
        let (rows, cols) = prepared.geometry.output;
        let output = [case.images, case.channels, rows, cols];
        let weights = [case.channels, prepared.table.weights_per_channel()];
        let of = |name: &str, shape: &[usize]| values(&format!("{case} {name}"), shape.iter().product());
        let var = |name: &str, shape: &[usize]| -> Result<Var> {
            Ok(Var::from_tensor(&Tensor::from_vec(of(name, shape), shape, &Device::Cpu)?)?)
        };
        let (x, w) = (var("input", &prepared.input)?, var("weights", &prepared.weights)?);
        let tensor = |name: &str, shape: &[usize]| Tensor::from_vec(of(name, shape), shape, &Device::Cpu);
        let values = [tensor("input", &prepared.input)?, tensor("weights", &weights)?, tensor("gradient", &output)?];
        Ok(Inputs { prepared, conv, x, w, values })
    }

    fn measure(&self, pass: Pass, effort: Effort) -> Result<Timing> {
        let apply = &self.prepared.apply;
        // Detached, so that nothing is recorded for gradients.
        let (x, w) = (self.x.as_detached_tensor(), self.w.as_detached_tensor());
        match pass {
            Pass::Forward => measure(effort, || {
                black_box(apply(black_box(&x), black_box(&w))?);
                Ok(())
            }),
            Pass::Gradients => measure(effort, || {
                black_box(apply(black_box(&x), black_box(&w))?);
                let [x, w, dy] = black_box(&self.values);
                black_box(self.conv.gradients(x, w, dy, Wanted { input: true, parameters: true })?);
                Ok(())
            }),
            Pass::Tape => measure(effort, || {
                black_box(apply(black_box(self.x.as_tensor()), black_box(self.w.as_tensor()))?.backward()?);
                Ok(())
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::cases::{Override, cases};

    fn machine() -> Machine {
        let (bandwidth_gb_per_s, peak_gmac_per_s) = (10.0, 100.0);
        Machine { processor: "test".into(), cores: 2, threads: 2, bandwidth_gb_per_s, peak_gmac_per_s }
    }

    fn case(name: &str) -> Case {
        let cases = cases(Override { images: Some(1), channels: Some(8) });
        cases.into_iter().find(|c| c.to_string() == name).unwrap()
    }

    #[test]
    fn rates_shares_and_ratios_follow_from_the_shortest_run() {
        let timing = Timing { min_s: 0.02, median_s: 0.03, runs: 7 };
        let work = Work { macs: 1_000_000_000, bytes: 40_000_000 };
        let row = Measurement::new(&case("7x7 8x14x14"), Pass::Forward, work, timing, &machine());
        assert_eq!((row.min_ms, row.median_ms, row.runs), (20.0, 30.0, 7));
        let near = |value: f64, expected: f64| assert!((value / expected - 1.0).abs() < 1e-12, "{value}");
        near(row.gmac_per_s, 50.0);
        near(row.gb_per_s, 2.0);
        // Arithmetic takes 10 ms and memory 4 ms.
        near(row.bound_ms, 10.0);
        near(row.roofline_share, 0.5);
        let peer = PeerTime {
            layout: MemoryLayout::ChannelsLast,
            timing: Timing { min_s: 0.05, ..timing },
            allocated_bytes: None,
            compiled: false,
        };
        let row = row.with_peer(peer);
        near(row.torch_ratio.unwrap(), 2.5);
        assert_eq!((row.torch_layout, row.torch_runs), (Some(MemoryLayout::ChannelsLast), Some(7)));
    }

    #[test]
    fn every_pass_is_measured_and_progress_is_told() {
        let settings = Settings {
            cases: vec![case("1x7 45deg 8x14x14"), case("shiftwise 45x5 10% 8x14x14")],
            threads: Some(2),
            quick: true,
            rounds: NonZeroUsize::MIN.saturating_add(1),
            python: None,
            command: "test".into(),
        };
        let mut told = Vec::new();
        let report = run(&settings, &mut |p: Progress<'_>| told.push((p.done, p.next.to_string()))).unwrap();
        let rows: Vec<(&str, Pass)> = report.measurements.iter().map(|m| (m.case.as_str(), m.pass)).collect();
        // The second has fewer taps than weights.
        let (first, second) = ("1x7 45deg 8x14x14", "shiftwise 45x5 10% 8x14x14");
        assert_eq!(rows, [first, second].map(|case| Pass::ALL.map(|pass| (case, pass))).concat());
        for row in &report.measurements {
            assert!(row.min_ms > 0.0 && row.min_ms <= row.median_ms && row.roofline_share > 0.0, "{row:?}");
            // At least two runs in each of two rounds.
            assert!(row.runs >= 4, "{row:?}");
        }
        for row in 1..3 {
            assert_eq!(report.measurements[row].macs, 3 * report.measurements[0].macs);
        }
        assert_eq!((report.machine.threads, &report.torch), (2, &None));
        assert_eq!(told.last().unwrap(), &(3, format!("{second}, through backward()")));
    }
}
