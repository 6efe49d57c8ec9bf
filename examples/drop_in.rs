//! A candle network with large depthwise kernels: the same blocks with candle's own convolution and with this crate's in its
//! place, on the same weights. Prints both times, forward and with gradients, and the largest difference.
//!
//! ```sh
//! cargo run --release --example drop_in
//! ```
#![allow(clippy::print_stdout, reason = "an example prints")]

use candle_core::{DType, Device, Module, Result, Tensor};
use candle_nn::{Conv2dConfig, VarBuilder, VarMap, conv2d};
use kernelscope::nn::depthwise_conv2d;
use std::time::Instant;

const CHANNELS: usize = 64;
const KERNEL: usize = 31;

/// What makes the depthwise convolution of a block; everything else is the same.
type Depthwise = fn(usize, usize, usize, Conv2dConfig, VarBuilder) -> Result<Box<dyn Module>>;

/// `x + pointwise(gelu(pointwise(depthwise(x))))`, several times.
struct Network(Vec<[Box<dyn Module>; 3]>);

impl Network {
    fn new(depthwise: Depthwise, vb: VarBuilder) -> Result<Self> {
        let config = Conv2dConfig { padding: KERNEL / 2, groups: CHANNELS, ..Conv2dConfig::default() };
        let blocks = (0..2).map(|index| {
            let vb = vb.pp(index);
            let pointwise = |name: &str, from, to| -> Result<Box<dyn Module>> {
                Ok(Box::new(conv2d(from, to, 1, Conv2dConfig::default(), vb.pp(name))?))
            };
            Ok([
                depthwise(CHANNELS, CHANNELS, KERNEL, config, vb.pp("depthwise"))?,
                pointwise("expand", CHANNELS, 2 * CHANNELS)?,
                pointwise("project", 2 * CHANNELS, CHANNELS)?,
            ])
        });
        Ok(Network(blocks.collect::<Result<_>>()?))
    }
}

impl Module for Network {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.0.iter().try_fold(x.clone(), |x, [depthwise, expand, project]| {
            &x + project.forward(&expand.forward(&depthwise.forward(&x)?)?.gelu_erf()?)?
        })
    }
}

/// Milliseconds of a run, the shortest of three.
fn shortest(mut run: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut shortest = f64::INFINITY;
    for _ in 0..3 {
        let started = Instant::now();
        run()?;
        shortest = shortest.min(started.elapsed().as_secs_f64() * 1e3);
    }
    Ok(shortest)
}

fn main() -> Result<()> {
    let vars = VarMap::new();
    let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
    let of_candle = Network::new(|i, o, k, config, vb| Ok(Box::new(conv2d(i, o, k, config, vb)?)), vb.clone())?;
    let of_this_crate = Network::new(|i, o, k, config, vb| Ok(Box::new(depthwise_conv2d(i, o, k, config, vb)?)), vb)?;
    let x = Tensor::randn(0f32, 1.0, (1, CHANNELS, 56, 56), &Device::Cpu)?;
    println!("{KERNEL}x{KERNEL} kernels, {CHANNELS} channels, 56x56 pixels, 2 blocks");
    for (name, network) in [("candle", &of_candle), ("kernelscope", &of_this_crate)] {
        let forward = shortest(|| network.forward(&x).map(drop))?;
        let training = shortest(|| network.forward(&x)?.sqr()?.mean_all()?.backward().map(drop))?;
        println!("{name:>12}: forward {forward:8.1} ms, forward and gradients {training:8.1} ms");
    }
    let difference = (of_candle.forward(&x)? - of_this_crate.forward(&x)?)?.abs()?.max_all()?.to_scalar::<f32>()?;
    println!("largest difference: {difference:e}");
    Ok(())
}
