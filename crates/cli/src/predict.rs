//! `kernelscope predict`.

use super::network::{Loaded, NetworkArgs};
use super::output::{Progress, say};
use candle_core::{D, DType, Device, Tensor};
use indexmap::IndexMap;
use kernelscope::files::check_writable;
use kernelscope::nn::{Mode, Pass};
use kernelscope::weights::{self, TensorMap};
use kernelscope::zoo::Merge;
use kernelscope::{Error, Result};
use kernelscope_lab::data::{Image, list_images};
use std::collections::BTreeMap;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    kernelscope predict --model convnext-t-1d --weights convnext_tiny_1d_best.pth --input photos/ --output out.safetensors\n  \
    kernelscope predict --run runs/first --input batch.safetensors --output out.safetensors --stages\n  \
    kernelscope predict --merged --weights merged.safetensors --input photos/ --output out.safetensors\n\n\
    A safetensors input holds the tensor `input` (N, 3, H, W), already normalized; images are resized, cropped, and\n\
    normalized as the network expects. The output holds `logits` and, with --stages, `stages.0`, `stages.1`, ...")]
pub struct Args {
    #[command(flatten)]
    network: NetworkArgs,
    /// A safetensors file, an image, or a folder of images
    #[arg(long, value_name = "FILE_OR_FOLDER")]
    input: PathBuf,
    /// Where to save the logits
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Also save the feature maps of every stage
    #[arg(long)]
    stages: bool,
    /// Run the merged form for inference (see `kernelscope merge`); weights in another form are merged first
    #[arg(long)]
    merged: bool,
    /// Images per step
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..))]
    batch: u64,
}

/// The tensor of the logits in the output.
const LOGITS: &str = "logits";

enum Input {
    Tensor(Tensor),
    Images(Vec<PathBuf>),
}

impl Input {
    fn open(path: &PathBuf) -> Result<Self> {
        if path.extension().is_none_or(|e| e != "safetensors") {
            return Ok(Input::Images(list_images(path)?));
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
            Input::Images(paths) => paths.len(),
        }
    }

    fn batch(&self, start: usize, len: usize, loaded: &Loaded) -> Result<Tensor> {
        match self {
            Input::Tensor(tensor) => Ok(tensor.narrow(0, start, len)?),
            Input::Images(paths) => {
                let size = loaded.transform.size;
                let mut values = Vec::with_capacity(len * 3 * size * size);
                for path in &paths[start..start + len] {
                    values.extend(loaded.transform.apply(&Image::open(path)?));
                }
                Ok(Tensor::from_vec(values, (len, 3, size, size), &Device::Cpu)?)
            }
        }
    }
}

pub fn run(args: &Args) -> Result<()> {
    check_writable(&args.output)?;
    let mut loaded = args.network.load()?;
    if args.merged && !loaded.network.spec().config.is_merged() {
        loaded.network = loaded.network.merged(Merge::Kernels)?;
    }
    let classifies = loaded.network.spec().config.has_classifier();
    if !classifies && !args.stages {
        return Err(Error::argument("--stages", "nothing", "--stages, because a backbone has only feature maps"));
    }
    let input = Input::open(&args.input)?;
    let mut progress = Progress::new(input.len(), "predict");
    let mut parts: IndexMap<String, Vec<Tensor>> = IndexMap::new();
    for start in (0..input.len()).step_by(args.batch as usize) {
        let len = (args.batch as usize).min(input.len() - start);
        let x = input.batch(start, len, &loaded)?;
        let mut pass = Pass::new(Mode::Eval);
        let features = if classifies {
            let (features, logits) = loaded.network.forward_pass(&x, &mut pass)?;
            parts.entry(LOGITS.into()).or_default().push(logits);
            features
        } else {
            loaded.network.forward_features(&x, &mut pass)?
        };
        for (stage, map) in features.stages.into_iter().enumerate().filter(|_| args.stages) {
            parts.entry(format!("stages.{stage}")).or_default().push(map);
        }
        progress.inc(len);
    }
    progress.finish();
    let mut tensors = TensorMap::new();
    for (name, part) in parts {
        tensors.insert(name, Tensor::cat(&part, 0)?);
    }
    let mut metadata = BTreeMap::from([loaded.network.spec().metadata()?]);
    if let Input::Images(paths) = &input {
        let names: Vec<String> = paths.iter().map(|p| p.display().to_string()).collect();
        metadata.insert("images".into(), serde_json::Value::from(names).to_string());
    }
    weights::save(&args.output, &tensors, &metadata)?;
    if let (Input::Images(paths), Some(logits)) = (&input, tensors.get(LOGITS)) {
        print_classes(paths, logits)?;
    }
    let what = if classifies { "logits" } else { "feature maps" };
    say(format_args!("{}: {what} of {} images", args.output.display(), input.len()))
}

fn print_classes(paths: &[PathBuf], logits: &Tensor) -> Result<()> {
    let probabilities = candle_nn::ops::softmax(logits, D::Minus1)?.to_vec2::<f32>()?;
    for (path, row) in paths.iter().zip(probabilities) {
        let best = row.iter().enumerate().fold(0, |best, (i, p)| if *p > row[best] { i } else { best });
        say(format_args!("{}: class {best}, probability {:.3}", path.display(), row[best]))?;
    }
    Ok(())
}
