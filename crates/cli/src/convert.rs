//! `kernelscope convert`.

use super::network::{NetworkArgs, preprocessing_of};
use super::output::say;
use clap::builder::PossibleValuesParser;
use kernelscope::files::check_writable;
use kernelscope::zoo::names::{Ecosystem, renamed_for};
use kernelscope::{Result, weights};
use std::collections::BTreeMap;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    kernelscope convert --weights convnext_tiny_1k_224_ema.pth --to timm --output convnext_tiny.safetensors\n  \
    kernelscope convert --weights resnet50.bin --to torchvision --output resnet50.safetensors\n  \
    kernelscope convert --run runs/first --to official --output first.safetensors\n\n\
    Reads weights with the names of any code base that kernelscope knows, and writes a safetensors file. Values stay as\n\
    they are; only names, and shapes where a code base has others, change. `official` are the names that kernelscope\n\
    uses; such a file also says which network it is for. A code base that does not have the network is refused, and so\n\
    is one whose network of that name computes something else, for example with another norm_eps.")]
pub struct Args {
    #[command(flatten)]
    network: NetworkArgs,
    /// Code base whose names the tensors get
    #[arg(long, value_name = "CODE_BASE", value_parser = PossibleValuesParser::new(Ecosystem::ALL.map(Ecosystem::name)))]
    to: String,
    /// Where to save the converted weights
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
}

pub fn run(args: &Args) -> Result<()> {
    let ecosystem: Ecosystem = args.to.parse()?;
    check_writable(&args.output)?;
    args.network.check_not_replaced(&args.output)?;
    let loaded = args.network.load()?;
    let spec = loaded.network.spec();
    let tensors = renamed_for(spec, &loaded.network.params().tensors(), ecosystem)?;
    // transformers refuses files that do not say that their tensors are PyTorch's.
    let format = ("format".to_string(), "pt".to_string());
    let mut metadata = BTreeMap::from([format, preprocessing_of(&loaded).metadata()?]);
    if ecosystem == Ecosystem::Official {
        metadata.extend([spec.metadata()?]);
    }
    weights::save(&args.output, &tensors, &metadata)?;
    say(format_args!(
        "{}: {}, {} tensors with the names of {}",
        args.output.display(),
        spec.name,
        tensors.len(),
        if ecosystem == Ecosystem::Official { "the official code" } else { ecosystem.name() }
    ))
}
