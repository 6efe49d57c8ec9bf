//! Depthwise convolutions on a GPU: every pass by itself, timed with events on the device, beside what the GPU can do.
//!
//! Inputs are taken in turn from sets that are larger together than the caches, so that every run reads its input from
//! memory. Passes are the kernels' launches alone; automatic differentiation adds what it does on any device.

pub use super::gpu_pass::Pass;

use super::case::Case;
use super::peer::{MemoryLayout, Peer};
use super::roofline::Work;
use super::timing::{Effort, Timing, measured};
use super::{Progress, Watcher, clock, values};
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};
use kernelscope::ops::gpu::{MemoryUse, Meter};
use kernelscope::ops::taps::{TapConv, TapTable, Wanted};
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Arc;

/// Bytes of all sets of inputs together: several times the second-level cache of the largest GPUs.
const ROTATED_BYTES: usize = 256 << 20;

/// Launches between two events: one is too short to be timed by itself.
const MOST_LAUNCHES: usize = 20;

/// What is measured, and how.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The cases.
    pub cases: Vec<Case>,
    /// The GPU.
    pub device: Device,
    /// Type of the values: f32, f16 or bf16.
    pub dtype: DType,
    /// Fewer repetitions.
    pub quick: bool,
    /// The Python with PyTorch to compare with.
    pub python: Option<PathBuf>,
    /// The command line that asks for it, for the report.
    pub command: String,
}

/// What a GPU can do, measured with kernels of its own.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Capability {
    /// Where it is.
    pub device: String,
    /// Bytes read plus bytes written per second by copying, in 10^9.
    pub bandwidth_gb_per_s: f64,
    /// Single-precision multiply-adds per second in registers, in 10^9.
    pub peak_gmac_per_s: f64,
}

/// One pass of one case.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measurement {
    /// The case's name.
    pub case: String,
    /// Images N.
    pub images: usize,
    /// Pass.
    pub pass: Pass,
    /// Shortest and median time in milliseconds.
    pub min_ms: f64,
    /// The latter.
    pub median_ms: f64,
    /// Number of timed runs.
    pub runs: usize,
    /// Bytes that must be read and written.
    pub bytes: u64,
    /// Multiply-adds that read inside the image.
    pub macs: u64,
    /// Share of the copy bandwidth that those bytes in that time are.
    pub bandwidth_share: f64,
    /// Share of the arithmetic peak that those multiply-adds in that time are.
    pub peak_share: f64,
    /// The larger of the two floors as a share of the shortest time.
    pub roofline_share: f64,
    /// Largest difference from the CPU's result in f32, relative to the largest value.
    pub error: f64,
    /// Bytes that the pass allocates at most: its results and what it needs on the way.
    pub allocated_bytes: Option<u64>,
    /// Of the merged kernel of a shift-wise layer, the shortest time in milliseconds of its three branches, one after the
    /// other, without the sum of their results.
    pub branches_min_ms: Option<f64>,
    /// PyTorch's shortest time in milliseconds, in its faster layout.
    pub torch_min_ms: Option<f64>,
    /// PyTorch's faster layout.
    pub torch_layout: Option<MemoryLayout>,
    /// Bytes that it allocates at most.
    pub torch_allocated_bytes: Option<u64>,
}

/// All three passes of a case together: what training takes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Training {
    /// The case's name.
    pub case: String,
    /// The sum of the shortest times in milliseconds.
    pub min_ms: f64,
    /// The same of PyTorch.
    pub torch_min_ms: Option<f64>,
    /// Of the three branches of a shift-wise layer.
    pub branches_min_ms: Option<f64>,
    /// Bytes of input, gradient of the result and weights, and of what all passes allocate.
    pub peak_bytes: Option<u64>,
}

/// A benchmark on a GPU.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The command line that made it.
    pub command: String,
    /// Date and time of its end (UTC).
    pub date: String,
    /// Version of this crate.
    pub version: &'static str,
    /// Type of the values.
    pub dtype: String,
    /// What the GPU can do.
    pub capability: Capability,
    /// PyTorch's version, if it was compared with.
    pub torch: Option<String>,
    /// All passes of all cases.
    pub measurements: Vec<Measurement>,
    /// The passes of each case together.
    pub training: Vec<Training>,
}

/// Training from the passes of a case. Input, weights and result are there during the two other passes.
fn training(rows: &[Measurement], input_bytes: u64) -> Option<Training> {
    let first = rows.first()?;
    let sum = |time: fn(&Measurement) -> Option<f64>| rows.iter().map(time).sum::<Option<f64>>();
    let allocated: Option<u64> = rows.iter().map(|row| row.allocated_bytes).sum();
    Some(Training {
        case: first.case.clone(),
        min_ms: rows.iter().map(|row| row.min_ms).sum(),
        torch_min_ms: sum(|row| row.torch_min_ms),
        branches_min_ms: sum(|row| row.branches_min_ms),
        peak_bytes: allocated.map(|allocated| input_bytes + allocated),
    })
}

/// Measures the GPU, then case after case; every result is compared with the CPU's.
///
/// # Errors
/// If a case cannot be built, a launch fails, or a result is wrong.
pub fn run(settings: &Settings, watch: Watcher<'_>) -> Result<Report> {
    let probe = Tensor::zeros(1, DType::F32, &settings.device)?;
    let Some(meter) = Meter::of(&probe) else {
        let given = format!("{:?}", settings.device.location());
        return Err(Error::argument("device", given, "a GPU"));
    };
    let mut peer = match &settings.python {
        Some(python) => Some(Peer::start(python, rayon::current_num_threads())?),
        None => None,
    };
    let dtype = settings.dtype.as_str();
    let effort = if settings.quick { Effort::QUICK } else { Effort::OPERATOR };
    let count = settings.cases.len();
    watch(Progress { done: 0, count, next: "copy bandwidth and arithmetic peak" });
    let capability = capability(&meter, settings, effort)?;
    let (mut measurements, mut together) = (Vec::new(), Vec::new());
    for (done, case) in settings.cases.iter().enumerate() {
        let inputs = Inputs::new(case, settings)?;
        let branches = Inputs::branches(case, &inputs, settings)?;
        for pass in Pass::ALL {
            watch(Progress { done, count, next: &format!("{case}, {}", pass.label()) });
            let error = inputs.check(pass, settings)?;
            let timing = inputs.time(&meter, pass, effort)?;
            let mut row = measurement(case, pass, &inputs, timing, error, &capability);
            let memory = meter.memory(|| Ok(inputs.run(pass, 0).map(drop)?))?;
            row.allocated_bytes = memory.map(MemoryUse::allocated);
            if !branches.is_empty() {
                let times = branches.iter().map(|branch| branch.time(&meter, pass, effort));
                let times = times.collect::<Result<Vec<_>>>()?;
                row.branches_min_ms = Some(times.iter().map(|time| 1e3 * time.min_s).sum());
            }
            if let Some(peer) = &mut peer {
                let time = peer.pass_on_gpu(case, pass, dtype, effort)?;
                row.torch_min_ms = Some(1e3 * time.timing.min_s);
                row.torch_layout = Some(time.layout);
                row.torch_allocated_bytes = time.allocated_bytes;
            }
            measurements.push(row);
        }
        let rows = measurements.len() - Pass::ALL.len()..;
        together.extend(training(&measurements[rows], inputs.work.bytes));
    }
    Ok(Report {
        command: settings.command.clone(),
        date: clock::now(),
        version: env!("CARGO_PKG_VERSION"),
        dtype: dtype.to_string(),
        capability,
        torch: peer.map(|peer| peer.version().to_string()),
        measurements,
        training: together,
    })
}

fn measurement(
    case: &Case,
    pass: Pass,
    inputs: &Inputs,
    timing: Timing,
    error: f64,
    machine: &Capability,
) -> Measurement {
    let Work { macs, bytes } = inputs.work;
    let (gigabytes, gigamacs) = (1e-9 * bytes as f64 / timing.min_s, 1e-9 * macs as f64 / timing.min_s);
    let (bandwidth_share, peak_share) = (gigabytes / machine.bandwidth_gb_per_s, gigamacs / machine.peak_gmac_per_s);
    Measurement {
        case: case.to_string(),
        images: case.images,
        pass,
        min_ms: 1e3 * timing.min_s,
        median_ms: 1e3 * timing.median_s,
        runs: timing.runs,
        bytes,
        macs,
        bandwidth_share,
        peak_share,
        roofline_share: bandwidth_share.max(peak_share),
        error,
        allocated_bytes: None,
        branches_min_ms: None,
        torch_min_ms: None,
        torch_layout: None,
        torch_allocated_bytes: None,
    }
}

/// Copy bandwidth and arithmetic peak.
fn capability(meter: &Meter, settings: &Settings, effort: Effort) -> Result<Capability> {
    let count = ROTATED_BYTES / 4;
    let copy = measured(effort, meter.copy_probe(count)?)?;
    let (mut probe, mut macs) = (meter.arithmetic_probe()?, 0.0);
    let arithmetic = measured(effort, || {
        let found = probe()?;
        macs = found.macs;
        Ok::<_, Error>(found.seconds)
    })?;
    Ok(Capability {
        device: format!("{:?}", settings.device.location()),
        bandwidth_gb_per_s: 1e-9 * (8 * count) as f64 / copy.min_s,
        peak_gmac_per_s: 1e-9 * macs / arithmetic.min_s,
    })
}

/// A case with sets of values on the device.
struct Inputs {
    conv: TapConv,
    work: Work,
    /// x and the gradient of y, several times.
    maps: Vec<[Tensor; 2]>,
    weight: Tensor,
    bias: Tensor,
}

impl Inputs {
    fn new(case: &Case, settings: &Settings) -> Result<Self> {
        let prepared = case.prepare()?;
        let conv = TapConv::new(prepared.table.clone(), prepared.geometry, false)?;
        let (channels, taps) = (case.channels, prepared.table.weights_per_channel());
        let (rows, cols) = prepared.geometry.output;
        let result = [case.images, channels, rows, cols];
        let bytes = settings.dtype.size_in_bytes();
        let of = |name: &str, shape: &[usize]| -> Result<Tensor> {
            let values = values(&format!("{case} {name}"), shape.iter().product());
            let tensor = Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(settings.dtype)?;
            Ok(tensor.to_device(&settings.device)?)
        };
        let (x, dy) = (of("input", &prepared.input)?, of("gradient", &result)?);
        let set = bytes * (x.elem_count() + dy.elem_count());
        let sets = ROTATED_BYTES.div_ceil(set).clamp(2, 64);
        let copy = |t: &Tensor| t.copy();
        let maps = (0..sets).map(|_| Ok([copy(&x)?, copy(&dy)?])).collect::<candle_core::Result<_>>()?;
        let Work { macs, .. } = prepared.work;
        let bytes = (bytes * (x.elem_count() + channels * taps + dy.elem_count())) as u64;
        let (weight, bias) = (of("weights", &[channels, taps])?, of("bias", &[channels])?);
        Ok(Inputs { conv, work: Work { macs, bytes }, maps, weight, bias })
    }

    /// The three branches of a shift-wise case, on the same maps; none of any other.
    fn branches(case: &Case, whole: &Inputs, settings: &Settings) -> Result<Vec<Self>> {
        let branch = |table: TapTable| {
            let (channels, taps) = (case.channels, table.weights_per_channel());
            let weight = Tensor::from_vec(values("branch", channels * taps), (channels, taps), &Device::Cpu)?;
            let weight = weight.to_dtype(settings.dtype)?.to_device(&settings.device)?;
            let conv = TapConv::new(Arc::new(table), *whole.conv.geometry(), false)?;
            let (work, maps, bias) = (whole.work, whole.maps.clone(), whole.bias.clone());
            Ok(Inputs { conv, work, maps, weight, bias })
        };
        case.branches()?.into_iter().map(branch).collect()
    }

    /// The results of a pass.
    fn run(&self, pass: Pass, set: usize) -> Result<Vec<Tensor>> {
        let [x, dy] = &self.maps[set % self.maps.len()];
        self.run_on(pass, [x, &self.weight, &self.bias, dy])
    }

    fn run_on(&self, pass: Pass, [x, weight, bias, dy]: [&Tensor; 4]) -> Result<Vec<Tensor>> {
        let gradients = |input| self.conv.gradients(x, weight, dy, Wanted { input, parameters: !input });
        Ok(match pass {
            Pass::Forward => vec![self.conv.apply(x, weight, Some(bias))?],
            Pass::InputGradient => gradients(true)?.input.into_iter().collect(),
            Pass::WeightGradient => {
                let gradients = gradients(false)?;
                gradients.weight.into_iter().chain(gradients.bias).collect()
            }
        })
    }

    fn time(&self, meter: &Meter, pass: Pass, effort: Effort) -> Result<Timing> {
        let mut next = 0;
        let launches = self.maps.len().min(MOST_LAUNCHES);
        measured(effort, || {
            let seconds = meter.seconds(|| {
                (0..launches).try_for_each(|_| {
                    next += 1;
                    Ok(self.run(pass, next).map(drop)?)
                })
            })?;
            Ok::<_, Error>(seconds / launches as f64)
        })
    }

    /// The largest difference from the CPU's result.
    fn check(&self, pass: Pass, settings: &Settings) -> Result<f64> {
        let on_cpu = |t: &Tensor| t.to_dtype(DType::F32)?.to_device(&Device::Cpu);
        let numbers = |tensors: Vec<Tensor>| -> Result<Vec<f32>> {
            let of = |t: &Tensor| -> Result<Vec<f32>> { Ok(on_cpu(t)?.flatten_all()?.to_vec1()?) };
            Ok(tensors.iter().map(of).collect::<Result<Vec<_>>>()?.concat())
        };
        let found = numbers(self.run(pass, 0)?)?;
        let [x, dy] = &self.maps[0];
        let [x, weight, bias, dy] = [on_cpu(x)?, on_cpu(&self.weight)?, on_cpu(&self.bias)?, on_cpu(dy)?];
        let expected = numbers(self.run_on(pass, [&x, &weight, &bias, &dy])?)?;
        let scale = expected.iter().fold(1e-6f32, |most, value| most.max(value.abs()));
        let worst = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / scale;
        let allowed = if settings.dtype == DType::F32 { 1e-4 } else { 2e-2 };
        // The largest of some numbers passes over those that are not.
        if found.len() != expected.len() || found.iter().any(|value| value.is_nan()) || worst > allowed {
            let given = format!("{} differs by {worst:e} of the largest value", pass.label());
            return Err(Error::argument(
                "result on the GPU",
                given,
                format!("at most {allowed:e} difference from the CPU's result"),
            ));
        }
        Ok(f64::from(worst))
    }
}
