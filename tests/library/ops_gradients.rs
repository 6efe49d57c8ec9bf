//! Every operator's gradients against central differences of its forward pass, in double precision.

use crate::common::{Arg, differentiate, values};
use candle_core::{DType, Tensor};
use kernelscope::Result;
use kernelscope::ops::Layout;
use kernelscope::ops::batch_norm::{self, statistics};
use kernelscope::ops::depthwise2d::{self, Depthwise2d};
use kernelscope::ops::fused::{gelu_pointwise, norm_pointwise};
use kernelscope::ops::gelu::gelu;
use kernelscope::ops::layer_norm::{EPS, layer_norm};
use kernelscope::ops::oriented1d::{self, Oriented1d, SizeMode};
use kernelscope::ops::pointwise::pointwise;
use kernelscope::ops::scale_residual::{residual, scale_residual};

/// Half the distance of the two evaluations: a compromise between curvature and rounding.
const STEP: f64 = 2e-5;

/// Allowed error of a derivative, relative to `max(1, |derivative|)`.
const TOLERANCE: f64 = 1e-6;

/// Compares the derivative of `sum(y * cotangent)` for every element of every argument.
fn check(args: &[Arg], y_shape: &[usize], f: impl Fn(&[Tensor]) -> Result<Tensor>) -> Result<()> {
    let cotangent = Arg::fill("cotangent", y_shape, "input");
    let loss = |args: &[Arg]| -> Result<f64> {
        let tensors = args.iter().map(|arg| arg.tensor(DType::F64)).collect::<candle_core::Result<Vec<_>>>()?;
        Ok(values(&f(&tensors)?).iter().zip(&cotangent.values).map(|(y, c)| y * c).sum())
    };
    let outcome = differentiate(DType::F64, args, &cotangent, &f)?;
    let mut moved = args.to_vec();
    for (which, (name, gradient)) in outcome.iter().skip(1).enumerate() {
        for (i, &derivative) in gradient.iter().enumerate() {
            let value = args[which].values[i];
            let mut at = |x: f64| {
                moved[which].values[i] = x;
                loss(&moved)
            };
            let difference = (at(value + STEP)? - at(value - STEP)?) / (2.0 * STEP);
            at(value)?;
            let error = (derivative - difference).abs() / derivative.abs().max(1.0);
            assert!(error < TOLERANCE, "{name}[{i}]: gradient {derivative}, central difference {difference}");
        }
        assert!(gradient.iter().any(|g| g.abs() > 1e-3), "{name}: the gradient is all but zero, which proves nothing");
    }
    Ok(())
}

fn oriented(options: oriented1d::Options, x_shape: [usize; 4], y_shape: [usize; 4], taps: usize) -> Result<()> {
    let channels = if options.layout == Layout::ChannelsLast { x_shape[3] } else { x_shape[1] };
    let theta: Vec<f32> = (0..channels).map(|c| 0.1 + 0.9 * c as f32).collect();
    let op = Oriented1d::new(&theta, taps, options)?;
    let args = [
        Arg::fill("x", &x_shape, "input"),
        Arg::fill("weight", &[channels, 1, 1, taps], "weight"),
        Arg::fill("bias", &[channels], "bias"),
    ];
    check(&args, &y_shape, |args| op.forward(&args[0], &args[1], Some(&args[2])))?;
    check(&args[..2], &y_shape, |args| op.forward(&args[0], &args[1], None))
}

#[test]
fn oriented_plain() -> Result<()> {
    oriented(oriented1d::Options::default(), [2, 3, 5, 6], [2, 3, 5, 6], 7)
}

#[test]
fn oriented_with_residual() -> Result<()> {
    let options = oriented1d::Options { residual: true, ..Default::default() };
    oriented(options, [2, 3, 5, 6], [2, 3, 5, 6], 9)
}

#[test]
fn oriented_with_stride() -> Result<()> {
    let options = oriented1d::Options { stride: 2, ..Default::default() };
    oriented(options, [2, 3, 6, 8], [2, 3, 3, 4], 5)
}

#[test]
fn oriented_with_stride_and_any_size() -> Result<()> {
    let options = oriented1d::Options { stride: 3, sizes: SizeMode::Arbitrary, ..Default::default() };
    oriented(options, [1, 4, 7, 8], [1, 4, 3, 3], 11)
}

#[test]
fn oriented_with_channels_last() -> Result<()> {
    let options = oriented1d::Options { layout: Layout::ChannelsLast, residual: true, ..Default::default() };
    oriented(options, [2, 5, 6, 3], [2, 5, 6, 3], 7)
}

fn depthwise(options: depthwise2d::Options, y_shape: [usize; 4]) -> Result<()> {
    let op = Depthwise2d::new(2, options)?;
    let args = [
        Arg::fill("x", &[2, 2, 6, 7], "input"),
        Arg::fill("weight", &[2, 1, options.kernel.0, options.kernel.1], "weight"),
        Arg::fill("bias", &[2], "bias"),
    ];
    check(&args, &y_shape, |args| op.forward(&args[0], &args[1], Some(&args[2])))?;
    check(&args[..2], &y_shape, |args| op.forward(&args[0], &args[1], None))
}

#[test]
fn depthwise_plain() -> Result<()> {
    depthwise(depthwise2d::Options::same(3, 5), [2, 2, 6, 7])
}

#[test]
fn depthwise_with_stride_dilation_and_padding() -> Result<()> {
    let options = depthwise2d::Options { kernel: (3, 2), stride: (2, 1), padding: (3, 0), dilation: (1, 3) };
    depthwise(options, [2, 2, 5, 4])
}

#[test]
fn layer_norm_in_both_layouts() -> Result<()> {
    for (layout, shape) in [(Layout::ChannelsFirst, [2, 5, 3, 4]), (Layout::ChannelsLast, [2, 3, 4, 5])] {
        let args = [
            Arg::fill("x", &shape, "input"),
            Arg::fill("weight", &[5], "norm_weight"),
            Arg::fill("bias", &[5], "bias"),
        ];
        check(&args, &shape, |args| layer_norm(&args[0], &args[1], &args[2], EPS, layout))?;
    }
    Ok(())
}

#[test]
fn gelu_over_its_curve() -> Result<()> {
    let x: Vec<f32> = (-50..=50).map(|i| i as f32 / 8.0).collect();
    let shape = [x.len()];
    check(&[Arg::new("x", &shape, x)], &shape, |args| gelu(&args[0]))
}

#[test]
fn pointwise_with_and_without_bias() -> Result<()> {
    for images in [1, 2] {
        let y_shape = [images, 5, 2, 4];
        let args = [
            Arg::fill("x", &[images, 3, 2, 4], "input"),
            Arg::fill("weight", &[5, 3], "weight"),
            Arg::fill("bias", &[5], "bias"),
        ];
        check(&args, &y_shape, |args| pointwise(&args[0], &args[1], Some(&args[2])))?;
        check(&args[..2], &y_shape, |args| pointwise(&args[0], &args[1], None))?;
    }
    Ok(())
}

#[test]
fn layer_norm_and_pointwise_in_one() -> Result<()> {
    for (images, height, width) in [(1, 2, 4), (3, 3, 3), (2, 9, 11)] {
        let args = [
            Arg::fill("x", &[images, 4, height, width], "input"),
            Arg::fill("weight", &[5, 4], "weight"),
            Arg::fill("norm weight", &[4], "norm_weight"),
            Arg::fill("norm bias", &[4], "bias"),
            Arg::fill("bias", &[5], "bias"),
        ];
        check(&args, &[images, 5, height, width], |args| {
            norm_pointwise(&args[0], (&args[2], &args[3]), EPS, &args[1], &args[4])
        })?;
    }
    Ok(())
}

#[test]
fn gelu_and_pointwise_in_one() -> Result<()> {
    for (images, height, width) in [(1, 2, 4), (3, 3, 3), (2, 9, 11)] {
        let args = [
            Arg::fill("h", &[images, 4, height, width], "input"),
            Arg::fill("weight", &[5, 4], "weight"),
            Arg::fill("bias", &[5], "bias"),
            Arg::fill("gamma", &[5], "gamma"),
        ];
        check(&args, &[images, 5, height, width], |args| gelu_pointwise(&args[0], &args[1], &args[2], &args[3]))?;
    }
    Ok(())
}

#[test]
fn residual_with_and_without_dropped_images() -> Result<()> {
    let shape = [3, 4, 2, 3];
    let args = [Arg::fill("x", &shape, "input"), Arg::fill("branch", &shape, "input")];
    check(&args, &shape, |args| residual(&args[0], &args[1], &[1.25, 0.0, 1.0]))?;
    check(&args, &shape, |args| residual(&args[0], &args[1], &[1.0; 3]))
}

#[test]
fn scale_residual_with_dropped_images() -> Result<()> {
    let shape = [3, 4, 2, 3];
    let args =
        [Arg::fill("x", &shape, "input"), Arg::fill("branch", &shape, "input"), Arg::fill("gamma", &[4], "gamma")];
    check(&args, &shape, |args| scale_residual(&args[0], &args[1], &args[2], &[1.25, 0.0, 1.0]))
}

#[test]
fn batch_norm_by_its_own_statistics() -> Result<()> {
    let shape = [3, 4, 3, 5];
    let args =
        [Arg::fill("x", &shape, "input"), Arg::fill("weight", &[4], "norm_weight"), Arg::fill("bias", &[4], "bias")];
    // The statistics move with x, so the difference quotient sees the gradient that flows through them.
    check(&args, &shape, |args| batch_norm::batch_norm(&args[0], &args[1], &args[2], &statistics(&args[0])?, 1e-5))
}

#[test]
fn batch_norm_does_not_depend_on_threads() -> Result<()> {
    let shape = [5, 7, 9, 11];
    let args =
        [Arg::fill("x", &shape, "input"), Arg::fill("weight", &[7], "norm_weight"), Arg::fill("bias", &[7], "bias")];
    let cotangent = Arg::fill("cotangent", &shape, "input");
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            differentiate(DType::F32, &args, &cotangent, |args: &[Tensor]| {
                batch_norm::batch_norm(&args[0], &args[1], &args[2], &statistics(&args[0])?, 1e-5)
            })
        })
    };
    let one = run(1)?;
    for threads in [2, 3] {
        assert_eq!(one, run(threads)?, "{threads} threads");
    }
    Ok(())
}
