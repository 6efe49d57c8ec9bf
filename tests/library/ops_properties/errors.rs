//! Wrong arguments: an error that names the argument, never a panic.

use candle_core::{DType, Device, Tensor, Var};
use kernelscope::Result;
use kernelscope::ops::Layout;
use kernelscope::ops::depthwise2d::{self, Depthwise2d};
use kernelscope::ops::fused::{gelu_pointwise, norm_pointwise};
use kernelscope::ops::gelu::gelu;
use kernelscope::ops::layer_norm::{EPS, layer_norm};
use kernelscope::ops::oriented1d::{Options, Oriented1d, SizeMode, channel_angles};
use kernelscope::ops::pointwise::pointwise;
use kernelscope::ops::scale_residual::{residual, scale_residual};

/// The result must be an error that names the argument.
#[track_caller]
fn refused<T>(argument: &str, result: Result<T>) {
    match result {
        Ok(_) => panic!("accepted a wrong {argument}"),
        Err(error) => assert!(error.to_string().contains(argument), "{error:?} does not name {argument}"),
    }
}

fn zeros_of(dtype: DType, shape: &[usize]) -> Tensor {
    Tensor::zeros(shape, dtype, &Device::Cpu).unwrap()
}

fn zeros(shape: &[usize]) -> Tensor {
    zeros_of(DType::F32, shape)
}

/// The element types that operators do not compute in; see [`check_dtypes`] for the depthwise convolutions.
const OTHER_DTYPES: [DType; 4] = [DType::U32, DType::I64, DType::F16, DType::BF16];

/// Depthwise convolutions refuse integers; they accept half precision until one of the arguments has a gradient.
fn check_dtypes(x: &Tensor, w: &Tensor, op: impl Fn(&Tensor, &Tensor) -> Result<Tensor>) -> Result<()> {
    for dtype in [DType::U8, DType::U32, DType::I64] {
        refused("input", op(&x.to_dtype(dtype)?, &w.to_dtype(dtype)?));
    }
    for dtype in [DType::F16, DType::BF16] {
        let (x, w) = (x.to_dtype(dtype)?, w.to_dtype(dtype)?);
        assert_eq!(op(&x, &w)?.dtype(), dtype);
        refused(&format!("{dtype:?}"), op(Var::from_tensor(&x)?.as_tensor(), &w));
        refused(&format!("{dtype:?}"), op(&x, Var::from_tensor(&w)?.as_tensor()));
        refused("weight", op(&x, &w.to_dtype(DType::F32)?));
    }
    Ok(())
}

#[test]
fn oriented_construction() {
    let new = |theta: &[f32], taps, stride, residual| {
        Oriented1d::new(theta, taps, Options { stride, residual, ..Options::default() })
    };
    for taps in [0, 2, 30, 126, 128, 129, usize::MAX] {
        refused("kernel", new(&[0.0], taps, 1, false));
    }
    refused("stride", new(&[0.0], 3, 0, false));
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        refused("theta", new(&[0.0, bad], 3, 1, false));
    }
    refused("residual", new(&[0.0], 3, 2, true));
    assert!(new(&[], 3, 1, false).is_err());
    assert!(new(&[0.0], 127, 1, false).is_ok());
    refused("directions", channel_angles(8, 0, 0.0));
    refused("channels", channel_angles(0, 8, 0.0));
}

#[test]
fn oriented_input() -> Result<()> {
    let op = Oriented1d::new(&[0.0, 1.0], 7, Options { stride: 2, ..Options::default() })?;
    let (x, w) = (zeros(&[1, 2, 8, 6]), zeros(&[2, 1, 1, 7]));
    assert_eq!(op.forward(&x, &w, None)?.dims(), [1, 2, 4, 3]);
    refused("input", op.forward(&zeros(&[1, 3, 8, 6]), &w, None));
    refused("input", op.forward(&zeros(&[2, 8, 6]), &w, None));
    refused("input", op.forward(&zeros(&[1, 1, 2, 8, 6]), &w, None));
    refused("input size", op.forward(&zeros(&[1, 2, 7, 6]), &w, None));
    refused("input size", op.forward(&zeros(&[1, 2, 8, 5]), &w, None));
    refused("input", op.forward(&zeros(&[1, 2, 0, 6]), &w, None));
    for shape in [&[3, 1, 1, 7][..], &[2, 1, 1, 5], &[1, 2, 1, 7], &[14], &[]] {
        refused("weight", op.forward(&x, &zeros(shape), None));
    }
    refused("bias", op.forward(&x, &w, Some(&zeros(&[3]))));
    refused("bias", op.forward(&x, &w, Some(&zeros(&[2, 1]))));
    refused("weight", op.forward(&x, &zeros_of(DType::F64, &[2, 1, 1, 7]), None));
    refused("bias", op.forward(&x, &w, Some(&zeros_of(DType::F64, &[2]))));
    check_dtypes(&x, &w, |x, w| op.forward(x, w, None))?;
    let options = Options { layout: Layout::ChannelsLast, sizes: SizeMode::Arbitrary, ..Options::default() };
    let last = Oriented1d::new(&[0.0, 1.0], 7, options)?;
    refused("input", last.forward(&zeros(&[1, 2, 8, 6]), &w, None));
    refused("input", last.forward(&zeros(&[8, 6, 2]), &w, None));
    Ok(())
}

#[test]
fn depthwise_construction() {
    let same = depthwise2d::Options::same;
    for kernel in [(64, 3), (3, 64), (0, 3), (3, 0)] {
        refused("kernel", Depthwise2d::new(2, depthwise2d::Options { kernel, ..same(3, 3) }));
    }
    for zero in [(0, 1), (1, 0)] {
        refused("dilation", Depthwise2d::new(2, depthwise2d::Options { dilation: zero, ..same(3, 3) }));
        refused("stride", Depthwise2d::new(2, depthwise2d::Options { stride: zero, ..same(3, 3) }));
    }
    refused("channels", Depthwise2d::new(0, same(3, 3)));
    assert!(Depthwise2d::new(1, same(63, 63)).is_ok());
}

#[test]
fn depthwise_input() -> Result<()> {
    let op = Depthwise2d::new(2, depthwise2d::Options { padding: (0, 0), ..depthwise2d::Options::same(5, 3) })?;
    let (x, w) = (zeros(&[1, 2, 8, 6]), zeros(&[2, 1, 5, 3]));
    assert_eq!(op.forward(&x, &w, None)?.dims(), [1, 2, 4, 4]);
    refused("input", op.forward(&zeros(&[1, 3, 8, 6]), &w, None));
    refused("input", op.forward(&zeros(&[2, 8, 6]), &w, None));
    refused("input size", op.forward(&zeros(&[1, 2, 4, 6]), &w, None));
    refused("input size", op.forward(&zeros(&[1, 2, 8, 2]), &w, None));
    for shape in [&[2, 1, 5, 5][..], &[3, 1, 5, 3], &[30]] {
        refused("weight", op.forward(&x, &zeros(shape), None));
    }
    refused("bias", op.forward(&x, &w, Some(&zeros(&[1]))));
    refused("weight", op.forward(&x, &zeros_of(DType::F64, &[2, 1, 5, 3]), None));
    check_dtypes(&x, &w, |x, w| op.forward(x, w, None))?;
    Ok(())
}

/// A kernel turned by 90 degrees has the right number of weights, but would be read in the wrong order.
#[test]
fn turned_kernels_are_refused() -> Result<()> {
    let dense = Depthwise2d::new(2, depthwise2d::Options::same(5, 3))?;
    let x = zeros(&[1, 2, 8, 6]);
    refused("weight", dense.forward(&x, &zeros(&[2, 1, 3, 5]), None));
    let oriented = Oriented1d::new(&[0.0, 1.0], 7, Options::default())?;
    refused("weight", oriented.forward(&x, &zeros(&[2, 1, 7, 1]), None));
    Ok(())
}

#[test]
fn scalar_weights_are_refused() -> Result<()> {
    let x = zeros(&[1, 1, 8, 6]);
    let oriented = Oriented1d::new(&[0.0], 1, Options::default())?;
    refused("weight", oriented.forward(&x, &zeros(&[]), None));
    let dense = Depthwise2d::new(1, depthwise2d::Options::same(1, 1))?;
    refused("weight", dense.forward(&x, &zeros(&[]), None));
    refused("weight", pointwise(&x, &zeros(&[]), None));
    Ok(())
}

/// Distances that no image has must not wrap around.
#[test]
fn huge_dilations_are_refused() {
    let (x, w) = (zeros(&[1, 1, 8, 6]), zeros(&[1, 1, 3, 3]));
    for huge in [1 << 31, 1 << 40, usize::MAX] {
        let options = depthwise2d::Options { dilation: (1, huge), ..depthwise2d::Options::same(3, 3) };
        let result = Depthwise2d::new(1, options).and_then(|op| op.forward(&x, &w, None));
        assert!(result.is_err(), "accepted a dilation of {huge}");
    }
}

#[test]
fn layer_norm_arguments() -> Result<()> {
    let (x, w) = (zeros(&[2, 3, 4, 5]), zeros(&[3]));
    let first = Layout::ChannelsFirst;
    assert!(layer_norm(&x, &w, &w, EPS, first).is_ok());
    refused("input", layer_norm(&zeros(&[3]), &w, &w, EPS, first));
    refused("input", layer_norm(&zeros(&[2, 3, 0]), &w, &w, EPS, first));
    refused("weight", layer_norm(&x, &w, &w, EPS, Layout::ChannelsLast));
    refused("bias", layer_norm(&x, &w, &zeros(&[4]), EPS, first));
    refused("weight", layer_norm(&x, &zeros_of(DType::F64, &[3]), &w, EPS, first));
    for dtype in OTHER_DTYPES {
        let w = w.to_dtype(dtype)?;
        refused("input", layer_norm(&x.to_dtype(dtype)?, &w, &w, EPS, first));
    }
    Ok(())
}

#[test]
fn pointwise_arguments() -> Result<()> {
    let (x, w) = (zeros(&[2, 3, 4, 5]), zeros(&[7, 3]));
    assert_eq!(pointwise(&x, &w, None)?.dims(), [2, 7, 4, 5]);
    refused("input", pointwise(&zeros(&[3, 4, 5]), &w, None));
    for shape in [&[3, 7][..], &[7, 3, 1, 1], &[21], &[0, 3]] {
        refused("weight", pointwise(&x, &zeros(shape), None));
    }
    refused("bias", pointwise(&x, &w, Some(&zeros(&[3]))));
    refused("weight", pointwise(&x, &zeros_of(DType::F64, &[7, 3]), None));
    for dtype in OTHER_DTYPES {
        refused("input", pointwise(&x.to_dtype(dtype)?, &w.to_dtype(dtype)?, None));
    }
    Ok(())
}

#[test]
fn scale_residual_arguments() -> Result<()> {
    let (x, gamma, keep) = (zeros(&[2, 3, 4, 5]), zeros(&[3]), [1.0; 2]);
    assert!(scale_residual(&x, &x, &gamma, &keep).is_ok());
    refused("input", scale_residual(&zeros(&[3, 4, 5]), &x, &gamma, &keep));
    refused("branch", scale_residual(&x, &zeros(&[2, 3, 5, 4]), &gamma, &keep));
    refused("gamma", scale_residual(&x, &x, &zeros(&[4]), &keep));
    refused("keep", scale_residual(&x, &x, &gamma, &[1.0; 3]));
    refused("branch", scale_residual(&x, &x.to_dtype(DType::F64)?, &gamma, &keep));
    for dtype in OTHER_DTYPES {
        let x = x.to_dtype(dtype)?;
        refused("input", scale_residual(&x, &x, &gamma.to_dtype(dtype)?, &keep));
    }
    Ok(())
}

#[test]
fn residual_arguments() -> Result<()> {
    let (x, keep) = (zeros(&[2, 3, 4, 5]), [1.0; 2]);
    assert!(residual(&x, &x, &keep).is_ok());
    refused("input", residual(&zeros(&[3, 4, 5]), &x, &keep));
    refused("branch", residual(&x, &zeros(&[2, 3, 5, 4]), &keep));
    refused("keep", residual(&x, &x, &[1.0; 3]));
    refused("branch", residual(&x, &x.to_dtype(DType::F64)?, &keep));
    for dtype in OTHER_DTYPES {
        let x = x.to_dtype(dtype)?;
        refused("input", residual(&x, &x, &keep));
    }
    Ok(())
}

#[test]
fn norm_pointwise_arguments() -> Result<()> {
    let (x, w, b) = (zeros(&[2, 3, 4, 5]), zeros(&[7, 3]), zeros(&[7]));
    let n = zeros(&[3]);
    assert_eq!(norm_pointwise(&x, (&n, &n), EPS, &w, &b)?.dims(), [2, 7, 4, 5]);
    for shape in [&[3, 4, 5][..], &[2, 3, 0, 5], &[2, 0, 4, 5]] {
        refused("input", norm_pointwise(&zeros(shape), (&n, &n), EPS, &w, &b));
    }
    for shape in [&[3, 7][..], &[7, 3, 1, 1], &[21], &[0, 3], &[]] {
        refused("weight", norm_pointwise(&x, (&n, &n), EPS, &zeros(shape), &b));
    }
    refused("norm weight", norm_pointwise(&x, (&b, &n), EPS, &w, &b));
    refused("norm bias", norm_pointwise(&x, (&n, &b), EPS, &w, &b));
    refused("bias", norm_pointwise(&x, (&n, &n), EPS, &w, &n));
    for eps in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        refused("eps", norm_pointwise(&x, (&n, &n), eps, &w, &b));
    }
    refused("norm bias", norm_pointwise(&x, (&n, &zeros_of(DType::F64, &[3])), EPS, &w, &b));
    for dtype in OTHER_DTYPES {
        let [x, n, w, b] = [&x, &n, &w, &b].map(|t| t.to_dtype(dtype).unwrap());
        refused("input", norm_pointwise(&x, (&n, &n), EPS, &w, &b));
    }
    Ok(())
}

#[test]
fn gelu_pointwise_arguments() -> Result<()> {
    let (h, w, b) = (zeros(&[2, 3, 4, 5]), zeros(&[7, 3]), zeros(&[7]));
    assert_eq!(gelu_pointwise(&h, &w, &b, &b)?.dims(), [2, 7, 4, 5]);
    for shape in [&[3, 4, 5][..], &[2, 3, 0, 5], &[2, 0, 4, 5]] {
        refused("input", gelu_pointwise(&zeros(shape), &w, &b, &b));
    }
    for shape in [&[3, 7][..], &[7, 3, 1, 1], &[21], &[0, 3], &[]] {
        refused("weight", gelu_pointwise(&h, &zeros(shape), &b, &b));
    }
    refused("bias", gelu_pointwise(&h, &w, &zeros(&[3]), &b));
    refused("gamma", gelu_pointwise(&h, &w, &b, &zeros(&[7, 1])));
    refused("gamma", gelu_pointwise(&h, &w, &b, &zeros_of(DType::F64, &[7])));
    for dtype in OTHER_DTYPES {
        let [h, w, b] = [&h, &w, &b].map(|t| t.to_dtype(dtype).unwrap());
        refused("input", gelu_pointwise(&h, &w, &b, &b));
    }
    Ok(())
}

#[test]
fn gelu_dtypes() {
    for dtype in OTHER_DTYPES {
        refused("input", gelu(&zeros_of(dtype, &[3])));
    }
}

/// An image without rows is an error or an empty result, whatever the operator.
#[test]
fn images_without_pixels_do_not_panic() -> Result<()> {
    let empty = zeros(&[2, 3, 0, 5]);
    for result in [
        pointwise(&empty, &zeros(&[7, 3]), None),
        scale_residual(&empty, &empty, &zeros(&[3]), &[1.0; 2]),
        pointwise(&zeros(&[2, 0, 4, 5]), &zeros(&[7, 0]), None),
    ] {
        match result {
            Ok(y) => assert_eq!(y.elem_count(), 0),
            Err(error) => assert!(error.to_string().contains("input"), "{error}"),
        }
    }
    Ok(())
}
