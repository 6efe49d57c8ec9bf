//! `kernelscope merge`.

use super::network::{NetworkArgs, preprocessing_of};
use super::output::say;
use candle_core::{DType, Device, Tensor};
use kernelscope::files::check_writable;
use kernelscope::nn::{Mode, Pass};
use kernelscope::weights;
use kernelscope::zoo::{Merge, Network};
use kernelscope::{Error, Result, rng};
use rand_distr::{Distribution, StandardNormal};
use std::collections::BTreeMap;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    kernelscope merge --model replknet-31b --weights RepLKNet-31B_ImageNet-1K_224.pth --output merged.safetensors\n  \
    kernelscope merge --run runs/replk --output merged.safetensors --fold-norms\n  \
    kernelscope merge --model slak-t --weights slak_tiny.pth --set merge_form=cross --output merged.safetensors\n  \
    kernelscope merge --model sw-v2-t --weights sw_tiny.pth --fold-norms --output cross.safetensors\n\n\
    Every large kernel, the small kernel beside it, and their batch norms become one convolution with a bias. The\n\
    decomposed kernels of a SLaK become two rectangles or, with merge_form=cross, one square. The paths of a\n\
    shift-wise network become one, as in the official code, and with --fold-norms one cross-shaped kernel replaces\n\
    its branches, their norms, and the identity. Logits differ only by rounding; the largest difference is printed.\n\
    `predict --merged` runs the result.")]
pub struct Args {
    #[command(flatten)]
    network: NetworkArgs,
    /// Where to save the merged network
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Also fold batch norms into the other convolutions; in shift-wise networks, make one kernel per block
    #[arg(long)]
    fold_norms: bool,
    /// Seed for the image on which both forms are compared
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

pub fn run(args: &Args) -> Result<()> {
    check_writable(&args.output)?;
    args.network.check_not_replaced(&args.output)?;
    let loaded = args.network.load()?;
    let how = if args.fold_norms { Merge::Norms } else { Merge::Kernels };
    let merged = loaded.network.merged(how)?;
    let size = loaded.transform.size;
    let image = image(args.seed, size)?;
    let (before, after) = (outputs(&loaded.network, &image)?, outputs(&merged, &image)?);
    // A value that is not a number would be passed over by a maximum, but not by a sum.
    let sum: f64 = before.iter().chain(&after).sum();
    if !sum.is_finite() {
        let (what, place) = ("the sum of the logits".into(), format!("an image from seed {}", args.seed));
        return Err(Error::NonFinite { what, value: sum, place });
    }
    let mut metadata = BTreeMap::from([merged.spec().metadata()?, preprocessing_of(&loaded).metadata()?]);
    if let Some(names) = &loaded.classes {
        metadata.extend(names.metadata()?);
    }
    weights::save(&args.output, &merged.params().tensors(), &metadata)?;
    let largest = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, |max: f64, v| max.max(v.abs()));
    let apart = largest(&mut before.iter().zip(&after).map(|(a, b)| a - b));
    let what = if merged.spec().config.has_classifier() { "logit" } else { "value of the last feature map" };
    let millions = |network: &Network| network.params().count() as f64 / 1e6;
    say(format_args!(
        "{}: {}, {:.2} million parameters ({:.2} before)",
        args.output.display(),
        merged.spec().name,
        millions(&merged),
        millions(&loaded.network)
    ))?;
    say(format_args!(
        "max {what} difference {apart:.1e} on a {size}x{size} image from seed {} (largest {what} {:.3})",
        args.seed,
        largest(&mut before.iter().copied())
    ))
}

/// Noise of mean 0 and deviation 1, like the pixels of a normalized image.
fn image(seed: u64, size: usize) -> Result<Tensor> {
    let mut rng = rng::stream(seed, &[rng::hash_name("merge")]);
    let values: Vec<f32> = (0..3 * size * size).map(|_| StandardNormal.sample(&mut rng)).collect();
    Ok(Tensor::from_vec(values, (1, 3, size, size), &Device::Cpu)?)
}

/// The logits, or the last feature map of a backbone.
fn outputs(network: &Network, image: &Tensor) -> Result<Vec<f64>> {
    let output = if network.spec().config.has_classifier() {
        network.forward(image)?
    } else {
        network.forward_features(image, &mut Pass::new(Mode::Eval))?.last()?.clone()
    };
    Ok(output.flatten_all()?.to_dtype(DType::F64)?.to_vec1()?)
}
