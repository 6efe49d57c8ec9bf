//! `kernelscope predict`.

mod results;

use super::network::{Loaded, NetworkArgs};
use super::output::{Progress, say};
use super::reading::{ReadingArgs, say_broken};
use candle_core::{DType, Device, Tensor};
use kernelscope::files::check_writable;
use kernelscope::nn::{Mode, Pass};
use kernelscope::weights;
use kernelscope::zoo::Merge;
use kernelscope::{Error, Result};
use kernelscope_lab::data::{Broken, Reading, list_images};
use results::{Format, Results};
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    kernelscope predict --model convnext-t-1d --weights convnext_tiny_1d_best.pth --input photos/ --output out.csv\n  \
    kernelscope predict --run runs/first --input photos/ --output out.json --output out.safetensors --top 3\n  \
    kernelscope predict --run runs/first --input batch.safetensors --output out.safetensors --stages\n  \
    kernelscope predict --merged --weights merged.safetensors --input photos/ --output out.safetensors\n\n\
    A safetensors input holds the tensor `input` (N, 3, H, W), already normalized; images are resized, cropped, and\n\
    normalized as the network expects. The ending of the output decides what it is: .csv and .json have the --top most\n\
    probable classes of every image with their names, a safetensors file (any other ending) has `logits` and, with\n\
    --stages, `stages.0`, `stages.1`, ... If an image cannot be read, the results of those before it are kept in files\n\
    whose names contain `partial`; --skip-broken leaves such images out.")]
pub struct Args {
    #[command(flatten)]
    network: NetworkArgs,
    /// A safetensors file, an image, or a folder of images
    #[arg(long, value_name = "FILE_OR_FOLDER")]
    input: PathBuf,
    /// Where to save the results: FILE.csv, FILE.json, or a safetensors file; can be repeated
    #[arg(long, value_name = "FILE", required = true)]
    output: Vec<PathBuf>,
    /// Number of most probable classes per image
    #[arg(long, value_name = "K", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    top: u64,
    /// Also save the feature maps of every stage
    #[arg(long)]
    stages: bool,
    /// Run the merged form for inference (see `kernelscope merge`); weights in another form are merged first
    #[arg(long)]
    merged: bool,
    /// Images per step
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..))]
    batch: u64,
    #[command(flatten)]
    reading: ReadingArgs,
}

enum Input {
    Tensor(Tensor),
    Images(Vec<PathBuf>, Reading),
}

/// Some of the input, ready for a network.
struct Part {
    /// The images; none if none could be read.
    x: Option<Tensor>,
    /// Their names; empty for a tensor.
    names: Vec<PathBuf>,
    /// Images that were left out.
    broken: Vec<Broken>,
    /// The first image that could not be read and must not be left out. It ends the input.
    fault: Option<Error>,
}

impl Input {
    fn open(path: &PathBuf, reading: Reading) -> Result<Self> {
        if path.extension().is_none_or(|e| e != "safetensors") {
            return Ok(Input::Images(list_images(path)?, reading));
        }
        let mut checkpoint = weights::load(path)?;
        let tensor =
            checkpoint.tensors.swap_remove("input").ok_or_else(|| Error::file(path, "has no tensor `input`"))?;
        match tensor.dims() {
            &[n, 3, h, w] if n * h * w > 0 => Ok(Input::Tensor(tensor.to_dtype(DType::F32)?)),
            dims => Err(Error::file(path, format!("`input` has shape {dims:?}; allowed: (N, 3, H, W)"))),
        }
    }

    fn len(&self) -> usize {
        match self {
            Input::Tensor(tensor) => tensor.dims()[0],
            Input::Images(paths, _) => paths.len(),
        }
    }

    fn part(&self, start: usize, len: usize, loaded: &Loaded) -> Result<Part> {
        let mut part = Part { x: None, names: Vec::new(), broken: Vec::new(), fault: None };
        match self {
            Input::Tensor(tensor) => part.x = Some(tensor.narrow(0, start, len)?),
            Input::Images(paths, reading) => {
                let size = loaded.transform.size;
                let mut values = Vec::with_capacity(len * 3 * size * size);
                for path in &paths[start..start + len] {
                    match reading.open(path) {
                        Ok(image) => {
                            values.extend(loaded.transform.apply(&image));
                            part.names.push(path.clone());
                        }
                        Err(error) if reading.skip_broken => part.broken.push(Broken::new(path, &error)),
                        Err(error) => {
                            part.fault = Some(error);
                            break;
                        }
                    }
                }
                if !part.names.is_empty() {
                    part.x = Some(Tensor::from_vec(values, (part.names.len(), 3, size, size), &Device::Cpu)?);
                }
            }
        }
        Ok(part)
    }
}

pub fn run(args: &Args) -> Result<()> {
    args.output.iter().try_for_each(|output| check_writable(output))?;
    let mut loaded = args.network.load()?;
    if args.merged && !loaded.network.spec().config.is_merged() {
        loaded.network = loaded.network.merged(Merge::Kernels)?;
    }
    check_backbone(args, &loaded)?;
    let reading = args.reading.over(loaded.data.as_ref().map(|data| data.reading));
    let input = Input::open(&args.input, reading)?;
    let mut results = Results::default();
    match collect(args, &loaded, &input, &mut results) {
        Ok(()) => write(args, &loaded, &input, results, &args.output),
        // Without images there is nothing to keep, and the tensor is all there or not at all.
        Err(error) if results.images() == 0 || matches!(input, Input::Tensor(_)) => Err(error),
        Err(error) => {
            let partial: Vec<PathBuf> = args.output.iter().map(|output| partial(output)).collect();
            write(args, &loaded, &input, results, &partial)?;
            Err(error)
        }
    }
}

/// Refuses what needs a classifier of a network that has none.
fn check_backbone(args: &Args, loaded: &Loaded) -> Result<()> {
    if loaded.network.spec().config.has_classifier() {
        return Ok(());
    }
    if !args.stages {
        return Err(Error::argument("--stages", "nothing", "--stages, because a backbone has only feature maps"));
    }
    match args.output.iter().find(|output| Format::of(output) != Format::Tensors) {
        Some(table) => {
            let allowed = "a safetensors file, because a backbone has only feature maps";
            Err(Error::argument("--output", table.display(), allowed))
        }
        None => Ok(()),
    }
}

/// Runs the network over the input. What is done before an error is in the results.
fn collect(args: &Args, loaded: &Loaded, input: &Input, results: &mut Results) -> Result<()> {
    let classifies = loaded.network.spec().config.has_classifier();
    let mut progress = Progress::new(input.len(), "predict");
    for start in (0..input.len()).step_by(args.batch as usize) {
        let len = (args.batch as usize).min(input.len() - start);
        let Part { x, names, broken, fault } = input.part(start, len, loaded)?;
        if let Some(x) = x {
            let mut pass = Pass::new(Mode::Eval);
            let (features, logits) = if classifies {
                loaded.network.forward_pass(&x, &mut pass).map(|(features, logits)| (features, Some(logits)))?
            } else {
                (loaded.network.forward_features(&x, &mut pass)?, None)
            };
            let stages = if args.stages { features.stages } else { Vec::new() };
            results.add(x.dims()[0], names, logits, stages);
        }
        say_broken(&broken);
        results.broken.extend(broken);
        if let Some(fault) = fault {
            return Err(fault);
        }
        progress.inc(len);
    }
    progress.finish();
    match results.broken.first() {
        Some(first) if results.images() == 0 => {
            Err(Error::argument("images", "none that can be read", format!("at least one ({})", first.reason)))
        }
        _ => Ok(()),
    }
}

/// Writes the outputs, and prints the most probable classes of images.
fn write(args: &Args, loaded: &Loaded, input: &Input, results: Results, outputs: &[PathBuf]) -> Result<()> {
    let images = results.images();
    let finished = results.finish(loaded, args.top as usize)?;
    for output in outputs {
        finished.save(output)?;
    }
    if matches!(input, Input::Images(..)) {
        finished.lines().try_for_each(say)?;
    }
    for output in outputs {
        let what = finished.what(output);
        say(format_args!("{}: {what} of {images} images", output.display()))?;
    }
    Ok(())
}

/// Where results go that are not all: `out.csv` becomes `out.partial.csv`.
fn partial(output: &Path) -> PathBuf {
    match output.extension() {
        Some(ending) => output.with_extension(format!("partial.{}", ending.to_string_lossy())),
        None => output.with_extension("partial"),
    }
}
