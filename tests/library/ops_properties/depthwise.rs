//! The dense depthwise convolution against its definition.

use super::support::{View, compare, config, dtype, tolerance};
use crate::common::{Arg, Outcome, differentiate};
use candle_core::DType;
use kernelscope::ops::depthwise2d::{Depthwise2d, Options, reference};
use proptest::prelude::*;

#[derive(Debug, Clone)]
struct Case {
    images: usize,
    channels: usize,
    size: (usize, usize),
    options: Options,
    bias: bool,
    view: View,
    dtype: DType,
}

/// The geometry of one axis.
#[derive(Debug, Clone, Copy)]
struct Axis {
    size: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
    dilation: usize,
}

/// An axis whose padded image holds the kernel: with as little padding as possible (often none), up to 8 more than
/// that, or the padding that keeps the size.
fn axis() -> impl Strategy<Value = Axis> {
    let kernel = prop_oneof![3 => 1..=9usize, 2 => 1..=63usize];
    (1..=40usize, kernel, 1..=3usize, 1..=4usize, prop::option::of(0..=8usize)).prop_map(
        |(size, kernel, stride, dilation, extra)| {
            let needed = (dilation * (kernel - 1) + 1).saturating_sub(size).div_ceil(2);
            let padding = extra.map_or((dilation * (kernel / 2)).max(needed), |extra| needed + extra);
            Axis { size, kernel, stride, padding, dilation }
        },
    )
}

impl Arbitrary for Case {
    type Parameters = ();
    type Strategy = BoxedStrategy<Self>;

    fn arbitrary_with((): ()) -> Self::Strategy {
        (1..=3usize, 1..=5usize, axis(), axis(), any::<bool>(), View::any(), dtype())
            .prop_map(|(images, channels, v, h, bias, view, dtype)| {
                let options = Options {
                    kernel: (v.kernel, h.kernel),
                    stride: (v.stride, h.stride),
                    padding: (v.padding, h.padding),
                    dilation: (v.dilation, h.dilation),
                };
                Case { images, channels, size: (v.size, h.size), options, bias, view, dtype }
            })
            .boxed()
    }
}

impl Case {
    /// Sizes, with the output by its own formula: the number of windows that fit, counted.
    fn shape(&self) -> reference::Shape {
        let o = &self.options;
        let count = |size: usize, kernel: usize, stride: usize, padding: usize, dilation: usize| {
            (0..).take_while(|i| i * stride + dilation * (kernel - 1) < size + 2 * padding).count()
        };
        let p = count(self.size.0, o.kernel.0, o.stride.0, o.padding.0, o.dilation.0);
        let q = count(self.size.1, o.kernel.1, o.stride.1, o.padding.1, o.dilation.1);
        reference::Shape { n: self.images, c: self.channels, h: self.size.0, w: self.size.1, p, q }
    }

    /// x, the weights, and the bias if there is one.
    fn args(&self) -> Vec<Arg> {
        let kernel = self.options.kernel;
        let mut args = vec![
            Arg::fill("x", &[self.images, self.channels, self.size.0, self.size.1], "input"),
            Arg::fill("weight", &[self.channels, 1, kernel.0, kernel.1], "weight"),
        ];
        args.extend(self.bias.then(|| Arg::fill("bias", &[self.channels], "bias")));
        args
    }

    fn cotangent(&self) -> Arg {
        let shape = self.shape();
        Arg::fill("cotangent", &[shape.n, shape.c, shape.p, shape.q], "input")
    }

    fn reference(&self) -> Outcome {
        let (shape, args, dy) = (self.shape(), self.args(), self.cotangent().values);
        let (x, weight) = (&args[0].values, &args[1].values);
        let bias = args.get(2).map_or(vec![0.0; shape.c], |bias| bias.values.clone());
        let mut outcome = vec![
            ("y", reference::forward(&shape, &self.options, x, weight, &bias)),
            ("x", reference::input_grad(&shape, &self.options, &dy, weight)),
            ("weight", reference::weight_grad(&shape, &self.options, x, &dy)),
        ];
        if self.bias {
            let mut db = vec![0.0; shape.c];
            dy.iter().enumerate().for_each(|(i, dy)| db[i / (shape.p * shape.q) % shape.c] += dy);
            outcome.push(("bias", db));
        }
        outcome
    }

    fn run(&self) -> kernelscope::Result<Outcome> {
        let op = Depthwise2d::new(self.channels, self.options)?;
        differentiate(self.dtype, &self.args(), &self.cotangent(), |args| {
            op.forward(&self.view.of(&args[0])?, &self.view.of(&args[1])?, args.get(2))
        })
    }

    fn check(&self) -> Result<(), TestCaseError> {
        compare(&self.run()?, &self.reference(), |_| tolerance(self.dtype))
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn engine_follows_the_definition(case: Case) {
        case.check()?;
    }
}

fn plain(size: (usize, usize), options: Options) -> Case {
    Case { images: 2, channels: 3, size, options, bias: true, view: View::Contiguous, dtype: DType::F64 }
}

#[test]
fn windows_that_lie_wholly_outside_the_image() -> Result<(), TestCaseError> {
    plain((4, 5), Options { padding: (6, 7), ..Options::same(3, 2) }).check()
}

#[test]
fn taps_that_never_read_the_image() -> Result<(), TestCaseError> {
    plain((1, 2), Options::same(31, 5).with_dilation(3)).check()
}

#[test]
fn no_padding_and_one_window() -> Result<(), TestCaseError> {
    plain((7, 9), Options { padding: (0, 0), ..Options::same(7, 9) }).check()
}

#[test]
fn strides_larger_than_the_kernel() -> Result<(), TestCaseError> {
    plain((11, 14), Options { stride: (3, 5), padding: (0, 1), ..Options::same(1, 2) }).check()
}

#[test]
fn stride_that_shares_a_factor_with_the_dilation() -> Result<(), TestCaseError> {
    plain((13, 12), Options::same(5, 3).with_dilation(4).with_stride(2)).check()
}
