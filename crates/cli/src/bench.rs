//! `kernelscope bench`.

use super::output::{bar, digits, note, number, print_json, say, table};
use clap::{Subcommand, ValueEnum};
use indicatif::ProgressBar;
use kernelscope::{Error, Result};
use kernelscope_lab::bench::cases::{Case, Override, cases, gpu_cases};
use kernelscope_lab::bench::{Progress, models, ops, peer::PeerTime, results};
use std::io::IsTerminal;
use std::num::NonZeroUsize;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
#[command(
    arg_required_else_help = true,
    after_help = "Examples:\n  kernelscope bench ops\n  kernelscope bench models convnext-t-1d --train --profile\n\n\
    Run it on an otherwise idle machine. Nothing is downloaded; weights and images are random."
)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Measure the depthwise convolutions at the papers' shapes
    Ops(OpsArgs),
    /// Measure inference and training of networks
    Models(ModelsArgs),
}

/// Arguments of both.
#[derive(Debug, clap::Args)]
struct Common {
    /// Number of threads; by default RAYON_NUM_THREADS or one per core
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=4096))]
    threads: Option<u64>,
    /// Repeat each measurement fewer times, for a first impression
    #[arg(long)]
    quick: bool,
    /// Go through everything N times and keep the shortest runs, for machines that others use too
    #[arg(long, value_name = "N", default_value = "1")]
    rounds: NonZeroUsize,
    /// Also measure the same in another library, with as many threads
    #[arg(long, value_enum)]
    peer: Option<PeerName>,
    /// The Python interpreter that has the other library
    #[arg(long, value_name = "PATH", default_value = "python3", requires = "peer")]
    python: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PeerName {
    /// PyTorch, in the faster of its two layouts, NCHW and channels_last
    Torch,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DtypeName {
    F32,
    F16,
    Bf16,
}

impl DtypeName {
    fn dtype(self) -> candle_core::DType {
        match self {
            DtypeName::F32 => candle_core::DType::F32,
            DtypeName::F16 => candle_core::DType::F16,
            DtypeName::Bf16 => candle_core::DType::BF16,
        }
    }
}

impl Common {
    fn threads(&self) -> Option<usize> {
        self.threads.map(|n| n as usize)
    }

    fn python(&self) -> Option<PathBuf> {
        self.peer.map(|PeerName::Torch| self.python.clone())
    }
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    kernelscope bench ops --quick --filter 56x56\n  \
    kernelscope bench ops --peer torch --rounds 3 --out results/\n  \
    kernelscope bench ops --list\n\n\
    The machine's copy bandwidth and arithmetic peak are measured first. `roofline` is the least time that they\n\
    allow, divided by the measured time; it exceeds 100% if images stay in the cache between repetitions. Only\n\
    multiply-adds that read inside the image count. `forward and gradients` are the operator's own passes;\n\
    `through backward()` adds what candle does with gradients. PyTorch runs a row in place of an oriented kernel, and\n\
    the whole square in place of a pruned one. With --device cuda, every pass is timed by itself, by the GPU's clock,\n\
    after its result has been checked against the CPU's.\n\n\
    The results are also written to a CSV file named after the machine, at the end. Its name ends in `-part` if only\n\
    some cases were measured, if they were changed, or with --quick.")]
struct OpsArgs {
    /// Only cases whose name contains this (see --list)
    #[arg(long, value_name = "SUBSTR")]
    filter: Option<String>,
    /// List the cases without measuring them
    #[arg(long)]
    list: bool,
    #[command(flatten)]
    common: Common,
    /// Folder for the CSV file of results
    #[arg(long, value_name = "DIR", default_value = "results")]
    out: PathBuf,
    /// Type of the values on a GPU
    #[arg(long, value_enum, default_value = "f32")]
    dtype: DtypeName,
    /// Images per batch in every case, instead of 4, or 64 on a GPU
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    images: Option<u64>,
    /// Channels in every case, instead of the papers'
    #[arg(long, value_name = "C", value_parser = clap::value_parser!(u64).range(1..))]
    channels: Option<u64>,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    kernelscope bench models\n  \
    kernelscope bench models convnext-t convnext-t-1d --train --peer torch\n  \
    kernelscope bench models convnext-t-1d --batch 1 --threads 1 --profile\n\n\
    Inference runs with frozen weights; a training step is a forward pass, the loss, all gradients and AdamW. PyTorch\n\
    runs ConvNeXt (with rows in place of oriented kernels), RepLKNet, SLaK, and the shift-wise networks (with whole\n\
    rows and columns of kernels in place of small ones). Inference runs the merged forms of networks that have one.")]
struct ModelsArgs {
    /// Names of registered networks (see `kernelscope models`)
    #[arg(default_value = "convnext-t-1d")]
    names: Vec<String>,
    /// Side of the images in pixels
    #[arg(long, default_value_t = 224)]
    size: usize,
    /// Images per step
    #[arg(long, default_value_t = 8)]
    batch: usize,
    /// Also measure training steps
    #[arg(long)]
    train: bool,
    /// Also show the time per operator
    #[arg(long)]
    profile: bool,
    #[command(flatten)]
    common: Common,
}

pub fn run(args: &Args, device: Option<&str>) -> Result<()> {
    // The CPU is measured unless a GPU is asked for.
    let device = kernelscope::device::open(device.unwrap_or("cpu"))?;
    match &args.what {
        What::Ops(args) if device.is_cpu() && args.dtype != DtypeName::F32 => Err(Error::argument(
            "--dtype",
            format!("{:?} on the CPU", args.dtype),
            "f32; other types need --device cuda",
        )),
        What::Ops(args) if !device.is_cpu() && args.common.rounds > NonZeroUsize::MIN => {
            let given = format!("{} on a GPU", args.common.rounds);
            Err(Error::argument("--rounds", given, "1; more rounds only without --device cuda"))
        }
        What::Ops(args) if device.is_cpu() => run_ops(args),
        What::Ops(args) => run_ops_on_gpu(args, device),
        What::Models(args) => run_models(args, device),
    }
}

/// Those of the cases that the arguments ask for, or an error where there are none.
fn selected(args: &OpsArgs, mut cases: Vec<Case>) -> Result<Vec<Case>> {
    if let Some(part) = &args.filter {
        cases.retain(|case| case.to_string().contains(part.as_str()));
    }
    if cases.is_empty() {
        let given = args.filter.as_deref().unwrap_or_default();
        return Err(Error::argument("--filter", format!("\"{given}\""), "part of a name that --list shows"));
    }
    Ok(cases)
}

/// Prints the names of cases.
fn list(cases: &[Case], json: bool) -> Result<()> {
    let names: Vec<String> = cases.iter().map(Case::to_string).collect();
    if json { print_json(&names) } else { say(names.join("\n")) }
}

/// Images per batch on a GPU, unless given: the batches of the papers' benchmarks.
const GPU_IMAGES: usize = 64;

fn run_ops_on_gpu(args: &OpsArgs, device: candle_core::Device) -> Result<()> {
    use kernelscope_lab::bench::gpu;
    let images = args.images.map_or(GPU_IMAGES, |n| n as usize);
    let given = Override { images: Some(images), channels: args.channels.map(|c| c as usize) };
    let cases = selected(args, gpu_cases(given))?;
    if args.list {
        return list(&cases, args.common.json);
    }
    let settings = gpu::Settings {
        cases,
        device,
        dtype: args.dtype.dtype(),
        quick: args.common.quick,
        python: args.common.python(),
        command: command_line(),
    };
    let shown = Shown::new("bench ops");
    let report = gpu::run(&settings, &mut |progress| shown.update(progress))?;
    shown.finish();
    if args.common.json {
        return print_json(&report);
    }
    let machine = &report.capability;
    say(format_args!(
        "{}; {}; copies {:.0} GB/s; computes {:.0} GMAC/s",
        machine.device, report.dtype, machine.bandwidth_gb_per_s, machine.peak_gmac_per_s
    ))?;
    let header = [
        "case",
        "pass",
        "ms",
        "median",
        "bandwidth/%",
        "peak/%",
        "roofline/%",
        "error",
        "MB",
        "branches ms",
        "torch ms",
    ];
    let row = |m: &gpu::Measurement| {
        let percent = |share: f64| format!("{:.1}", 100.0 * share);
        vec![
            m.case.clone(),
            m.pass.label().to_string(),
            digits(m.min_ms),
            digits(m.median_ms),
            percent(m.bandwidth_share),
            percent(m.peak_share),
            percent(m.roofline_share),
            format!("{:.1e}", m.error),
            number(m.allocated_bytes.map(megabytes)),
            number(m.branches_min_ms),
            number(m.torch_min_ms),
        ]
    };
    say(table(&header, report.measurements.iter().map(row).collect()))?;
    say("\nTraining: all three passes; memory includes input, weights, and the gradient of the result")?;
    let header = ["case", "ms", "MB", "branches ms", "torch ms"];
    let row = |t: &gpu::Training| {
        let times = [number(t.peak_bytes.map(megabytes)), number(t.branches_min_ms), number(t.torch_min_ms)];
        [t.case.clone(), digits(t.min_ms)].into_iter().chain(times).collect()
    };
    say(table(&header, report.training.iter().map(row).collect()))
}

fn run_ops(args: &OpsArgs) -> Result<()> {
    let given = Override { images: args.images.map(|n| n as usize), channels: args.channels.map(|c| c as usize) };
    let cases = selected(args, cases(given))?;
    if args.list {
        return list(&cases, args.common.json);
    }
    std::fs::create_dir_all(&args.out).map_err(Error::io("create", &args.out))?;
    let settings = ops::Settings {
        cases,
        threads: args.common.threads(),
        quick: args.common.quick,
        rounds: args.common.rounds,
        python: args.common.python(),
        command: command_line(),
    };
    let shown = Shown::new("bench ops");
    let report = ops::run(&settings, &mut |progress| shown.update(progress))?;
    shown.finish();
    let complete = args.filter.is_none() && given == Override::default() && !args.common.quick;
    let path = results::write(&args.out, &report, complete)?;
    if args.common.json {
        return print_json(&report);
    }
    let machine = &report.machine;
    say(format_args!(
        "{}; threads: {}; copies {:.1} GB/s; computes {:.1} GMAC/s",
        machine.processor, machine.threads, machine.bandwidth_gb_per_s, machine.peak_gmac_per_s
    ))?;
    say(ops_table(&report))?;
    say(path.display())
}

fn ops_table(report: &ops::Report) -> String {
    let mut header = vec!["case", "pass", "ms", "median", "GMAC/s", "GB/s", "roofline/%"];
    if report.torch.is_some() {
        header.extend(PEER_HEADER);
    }
    let row = |m: &ops::Measurement| {
        let mut row = vec![
            m.case.clone(),
            m.pass.label().to_string(),
            digits(m.min_ms),
            digits(m.median_ms),
            digits(m.gmac_per_s),
            digits(m.gb_per_s),
            format!("{:.1}", 100.0 * m.roofline_share),
        ];
        if report.torch.is_some() {
            row.extend([number(m.torch_min_ms), number(m.torch_ratio)]);
            row.push(m.torch_layout.map_or("–", |layout| layout.label()).to_string());
        }
        row
    };
    table(&header, report.measurements.iter().map(row).collect())
}

/// Columns of a comparison.
const PEER_HEADER: [&str; 3] = ["torch ms", "torch/ours", "torch's layout"];

fn run_models(args: &ModelsArgs, device: candle_core::Device) -> Result<()> {
    let settings = models::Settings {
        names: args.names.clone(),
        size: args.size,
        batch: args.batch,
        threads: args.common.threads(),
        train: args.train,
        profile: args.profile,
        quick: args.common.quick,
        rounds: args.common.rounds,
        python: args.common.python(),
        device,
    };
    let shown = Shown::new("bench models");
    let report = models::run(&settings, &mut |progress| shown.update(progress))?;
    shown.finish();
    if args.common.json {
        return print_json(&report);
    }
    say(models_table(&report))?;
    say(format_args!("Images of {0}x{0} per step: {1}; threads: {2}", args.size, args.batch, report.threads))?;
    if report.torch.is_some() && report.measurements.iter().any(|m| m.torch.is_none()) {
        say("–: PyTorch is compared only for ConvNeXt, RepLKNet, SLaK, and shift-wise networks")?;
    }
    for measurement in &report.measurements {
        let operators = &measurement.ours.operators;
        if !operators.is_empty() {
            say(format_args!("\n{}, {}, per step:", measurement.network, measurement.task.label()))?;
            say(profile_table(operators))?;
        }
    }
    Ok(())
}

fn models_table(report: &models::Report) -> String {
    let mut header = vec!["network", "task", "ms", "images/s", "GMAC/s"];
    let on_gpu = report.measurements.iter().any(|m| m.allocated_bytes.is_some());
    if on_gpu {
        header.push("MB");
    }
    if report.torch.is_some() {
        header.extend(PEER_HEADER);
    }
    let row = |m: &models::Measurement| {
        let mut row = vec![
            m.network.clone(),
            m.task.label().to_string(),
            digits(1e3 * m.ours.timing.min_s),
            digits(m.ours.images_per_s),
            digits(m.ours.gmac_per_s),
        ];
        if on_gpu {
            row.push(number(m.allocated_bytes.map(megabytes)));
        }
        if report.torch.is_some() {
            let torch = |value: fn(PeerTime) -> f64| number(m.torch.map(value));
            row.extend([torch(|time| 1e3 * time.timing.min_s), number(m.torch_ratio)]);
            let label = |time: PeerTime| match time.compiled {
                true => format!("{}, compiled", time.layout.label()),
                false => time.layout.label().to_string(),
            };
            row.push(m.torch.map_or("–".to_string(), label));
        }
        row
    };
    table(&header, report.measurements.iter().map(row).collect())
}

fn profile_table(operators: &[models::OperatorTime]) -> String {
    let row = |o: &models::OperatorTime| {
        vec![o.operator.clone(), number(o.calls), digits(o.ms), format!("{:.1}", 100.0 * o.share)]
    };
    table(&["operator", "calls", "ms", "share/%"], operators.iter().map(row).collect())
}

fn megabytes(bytes: u64) -> f64 {
    1e-6 * bytes as f64
}

/// The command as it was typed, as far as that can be told.
fn command_line() -> String {
    let quote = |arg: String| if arg.contains(char::is_whitespace) { format!("'{arg}'") } else { arg };
    let arguments = std::env::args_os().skip(1).map(|arg| quote(arg.to_string_lossy().into_owned()));
    std::iter::once("kernelscope".to_string()).chain(arguments).collect::<Vec<_>>().join(" ")
}

/// Progress: a bar on a terminal, a line per measurement elsewhere.
struct Shown {
    bar: ProgressBar,
    terminal: bool,
}

impl Shown {
    fn new(label: &str) -> Self {
        Shown { bar: bar(0, label), terminal: std::io::stderr().is_terminal() }
    }

    fn update(&self, progress: Progress<'_>) {
        self.bar.set_length(progress.count as u64);
        self.bar.set_position(progress.done as u64);
        self.bar.set_message(progress.next.to_string());
        if !self.terminal {
            note(format_args!("[{}/{}] {}", progress.done + 1, progress.count, progress.next));
        }
    }

    fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
