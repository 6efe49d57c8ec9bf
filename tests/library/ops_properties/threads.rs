//! The number of threads must not change a single bit.

use crate::common::{Arg, differentiate};
use candle_core::{DType, Tensor};
use kernelscope::Result;
use kernelscope::ops::Layout;
use kernelscope::ops::depthwise2d::{self, Depthwise2d};
use kernelscope::ops::fused::{gelu_pointwise, norm_pointwise};
use kernelscope::ops::gelu::gelu;
use kernelscope::ops::layer_norm::{EPS, layer_norm};
use kernelscope::ops::oriented1d::{Options, Oriented1d, channel_angles};
use kernelscope::ops::pointwise::pointwise;
use kernelscope::ops::scale_residual::scale_residual;

/// Runs the operator and its gradients in pools of 1, 2 and 3 threads, in both precisions.
fn assert_independent(args: &[Arg], y_shape: &[usize], op: impl Fn(&[Tensor]) -> Result<Tensor> + Sync) {
    let cotangent = Arg::fill("cotangent", y_shape, "input");
    for dtype in [DType::F32, DType::F64] {
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| differentiate(dtype, args, &cotangent, &op)).unwrap()
        };
        let one = run(1);
        for threads in [2, 3] {
            for ((name, expected), (_, actual)) in one.iter().zip(&run(threads)) {
                let different = expected.iter().zip(actual).filter(|(a, b)| a.to_bits() != b.to_bits()).count();
                assert_eq!(different, 0, "{name} in {dtype:?} on {threads} threads, of {} values", expected.len());
            }
        }
    }
}

fn maps(n: usize, c: usize, h: usize, w: usize) -> Arg {
    Arg::fill("x", &[n, c, h, w], "input")
}

#[test]
fn oriented_convolution() -> Result<()> {
    let theta = channel_angles(10, 8, 0.0)?;
    for (stride, residual, y_shape) in [(1, true, [3, 10, 36, 28]), (2, false, [3, 10, 18, 14])] {
        let op = Oriented1d::new(&theta, 31, Options { stride, residual, ..Options::default() })?;
        let args =
            [maps(3, 10, 36, 28), Arg::fill("weight", &[10, 1, 1, 31], "weight"), Arg::fill("bias", &[10], "bias")];
        assert_independent(&args, &y_shape, |args| op.forward(&args[0], &args[1], Some(&args[2])));
    }
    Ok(())
}

#[test]
fn depthwise_convolution() -> Result<()> {
    let op = Depthwise2d::new(7, depthwise2d::Options::same(13, 5))?;
    let args = [maps(3, 7, 37, 29), Arg::fill("weight", &[7, 1, 13, 5], "weight"), Arg::fill("bias", &[7], "bias")];
    assert_independent(&args, &[3, 7, 37, 29], |args| op.forward(&args[0], &args[1], Some(&args[2])));
    Ok(())
}

/// One image takes another path (threads inside the matrix product) than several (threads over images).
#[test]
fn pointwise_convolution() {
    for images in [1, 3] {
        let args =
            [maps(images, 80, 40, 24), Arg::fill("weight", &[96, 80], "weight"), Arg::fill("bias", &[96], "bias")];
        let y_shape = [images, 96, 40, 24];
        assert_independent(&args, &y_shape, |args| pointwise(&args[0], &args[1], Some(&args[2])));
    }
}

#[test]
fn layer_normalization() {
    for (layout, shape) in [(Layout::ChannelsFirst, [5, 48, 28, 26]), (Layout::ChannelsLast, [5, 28, 26, 48])] {
        let args = [
            Arg::fill("x", &shape, "input"),
            Arg::fill("weight", &[48], "norm_weight"),
            Arg::fill("bias", &[48], "bias"),
        ];
        assert_independent(&args, &shape, |args| layer_norm(&args[0], &args[1], &args[2], EPS, layout));
    }
}

#[test]
fn gelu_and_scale_residual() {
    let (x, branch) = (maps(3, 17, 31, 29), Arg::fill("branch", &[3, 17, 31, 29], "input"));
    let shape = x.shape.clone();
    assert_independent(std::slice::from_ref(&x), &shape, |args| gelu(&args[0]));
    let args = [x, branch, Arg::fill("gamma", &[17], "gamma")];
    assert_independent(&args, &shape, |args| scale_residual(&args[0], &args[1], &args[2], &[0.0, 1.0, 1.25]));
}

/// Images that are divided, whole and joined; one image takes threads inside of its products.
#[test]
fn fused_operators() {
    for (images, height, width) in [(1, 40, 24), (3, 40, 24), (2, 14, 14), (9, 7, 7)] {
        let y_shape = [images, 96, height, width];
        let args = [
            maps(images, 80, height, width),
            Arg::fill("weight", &[96, 80], "weight"),
            Arg::fill("bias", &[96], "bias"),
            Arg::fill("gamma", &[96], "gamma"),
        ];
        assert_independent(&args, &y_shape, |args| gelu_pointwise(&args[0], &args[1], &args[2], &args[3]));
        let args = [
            maps(images, 80, height, width),
            Arg::fill("weight", &[96, 80], "weight"),
            Arg::fill("norm weight", &[80], "norm_weight"),
            Arg::fill("norm bias", &[80], "bias"),
            Arg::fill("bias", &[96], "bias"),
        ];
        assert_independent(&args, &y_shape, |args| {
            norm_pointwise(&args[0], (&args[2], &args[3]), EPS, &args[1], &args[4])
        });
    }
}
