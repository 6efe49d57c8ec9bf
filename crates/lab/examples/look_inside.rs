//! Builds a network, or loads a checkpoint if one is named, and prints what an image's center depends on.
//!
//! ```sh
//! cargo run --release -p kernelscope-lab --example look_inside
//! cargo run --release -p kernelscope-lab --example look_inside -- runs/quickstart/nano-1d/checkpoints/epoch-0004.safetensors
//! ```

// An example prints.
#![allow(clippy::print_stdout, reason = "a program prints")]

use candle_core::Device;
use kernelscope::analysis::erf::{Erf, Probe, THRESHOLDS, area_ratios};
use kernelscope::analysis::{kernels::kernel_layers, orientation::orientations};
use kernelscope::nn::BuildOptions;
use kernelscope::weights;
use kernelscope::zoo::{ModelSpec, Network};
use kernelscope_lab::data::{Cue, Dataset, EvalTransform, Normalize, ShapesTextures};

fn main() -> kernelscope::Result<()> {
    let network = match std::env::args().nth(1) {
        Some(file) => {
            let checkpoint = weights::load(file.as_ref())?;
            Network::from_checkpoint::<&str>(None, checkpoint, &[], BuildOptions::frozen())?
        }
        None => Network::build(ModelSpec::named("nano-1d")?, BuildOptions::frozen())?,
    };
    println!("{}: {} parameters", network.spec().name, network.params().count());

    // The effective receptive field over a few generated images.
    let size = 256;
    let images = ShapesTextures::generate(size, 4, 0, Cue::Both, 9)?;
    let transform = EvalTransform { crop_pct: 1.0, normalize: Normalize::HALF, ..EvalTransform::new(size) };
    let mut erf = Erf::new(&network, Probe::default());
    for index in 0..images.len() {
        let values = transform.apply(&images.get(index)?.image);
        erf.add(&candle_core::Tensor::from_vec(values, (1, 3, size, size), &Device::Cpu)?)?;
    }
    for area in area_ratios(&erf.map()?, &THRESHOLDS) {
        match area.side {
            Some(side) => println!("{:.0} % of the contribution within {side} pixels", 100.0 * area.threshold),
            None => println!("{:.0} % not reached inside the image", 100.0 * area.threshold),
        }
    }

    // How elongated the depthwise kernels are.
    for layer in kernel_layers(&network.params().tensors())? {
        let found = orientations(&layer);
        let mean = found.channels.iter().map(|c| c.anisotropy).sum::<f64>() / found.channels.len() as f64;
        println!("{}: mean anisotropy {mean:.2} over {} channels", found.path, found.channels.len());
    }
    Ok(())
}
