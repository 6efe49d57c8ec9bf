//! The oriented convolution against its definition.

use super::support::{View, compare, config, dtype, tolerance};
use crate::common::{Arg, Outcome, differentiate};
use candle_core::DType;
use kernelscope::ops::Layout;
use kernelscope::ops::oriented1d::{Options, Oriented1d, SizeMode, reference};
use proptest::prelude::*;

#[derive(Debug, Clone)]
struct Case {
    images: usize,
    /// One angle per channel.
    theta: Vec<f32>,
    size: (usize, usize),
    taps: usize,
    options: Options,
    bias: bool,
    view: View,
    dtype: DType,
}

/// Multiples of 22.5 degrees, or any angle within a few turns, or far outside.
fn angle() -> impl Strategy<Value = f32> {
    prop_oneof![
        3 => (0..16u8).prop_map(|i| f32::from(i) * std::f32::consts::PI / 8.0),
        3 => -10f32..10.0,
        1 => -1e6f32..1e6,
    ]
}

impl Arbitrary for Case {
    type Parameters = ();
    type Strategy = BoxedStrategy<Self>;

    fn arbitrary_with((): ()) -> Self::Strategy {
        let radius = prop_oneof![0..=4usize, 0..=31usize];
        let arbitrary_sizes = any::<bool>();
        let theta = prop::collection::vec(angle(), 1..=9);
        let flags = (arbitrary_sizes, any::<bool>(), any::<bool>(), any::<bool>());
        ((1..=3usize, 1..=40usize, 1..=40usize), theta, radius, 1..=4usize, flags, View::any(), dtype())
            .prop_map(|((images, h, w), theta, radius, stride, flags, view, dtype)| {
                let (arbitrary_sizes, residual, last, bias) = flags;
                let options = Options {
                    stride,
                    sizes: if arbitrary_sizes { SizeMode::Arbitrary } else { SizeMode::Strict },
                    residual: residual && stride == 1,
                    layout: if last { Layout::ChannelsLast } else { Layout::ChannelsFirst },
                };
                let side = |size: usize| if arbitrary_sizes { size } else { size.next_multiple_of(stride) };
                Case { images, theta, size: (side(h), side(w)), taps: 2 * radius + 1, options, bias, view, dtype }
            })
            .boxed()
    }
}

impl Case {
    fn shape(&self) -> reference::Shape {
        let (n, c, (h, w)) = (self.images, self.theta.len(), self.size);
        reference::Shape { n, c, h, w, taps: self.taps, stride: self.options.stride }
    }

    /// x, the weights, and the bias if there is one.
    fn args(&self) -> Vec<Arg> {
        let channels = self.theta.len();
        let mut args = vec![
            Arg::fill("x", &[self.images, channels, self.size.0, self.size.1], "input"),
            Arg::fill("weight", &[channels, 1, 1, self.taps], "weight"),
        ];
        args.extend(self.bias.then(|| Arg::fill("bias", &[channels], "bias")));
        args
    }

    fn cotangent(&self) -> Arg {
        let (rows, cols) = self.shape().output();
        Arg::fill("cotangent", &[self.images, self.theta.len(), rows, cols], "input")
    }

    fn reference(&self) -> Outcome {
        let (shape, args, dy) = (self.shape(), self.args(), self.cotangent().values);
        let (x, weight) = (&args[0].values, &args[1].values);
        let bias = args.get(2).map_or(vec![0.0; shape.c], |bias| bias.values.clone());
        let mut y = reference::forward(&shape, &self.theta, x, weight, &bias);
        let mut dx = reference::input_grad(&shape, &self.theta, &dy, weight);
        if self.options.residual {
            y.iter_mut().zip(x).for_each(|(y, x)| *y += x);
            dx.iter_mut().zip(&dy).for_each(|(dx, dy)| *dx += dy);
        }
        let mut outcome = vec![("y", y), ("x", dx), ("weight", reference::weight_grad(&shape, &self.theta, x, &dy))];
        if self.bias {
            let mut db = vec![0.0; shape.c];
            let (rows, cols) = shape.output();
            dy.iter().enumerate().for_each(|(i, dy)| db[i / (rows * cols) % shape.c] += dy);
            outcome.push(("bias", db));
        }
        outcome
    }

    fn run(&self) -> kernelscope::Result<Outcome> {
        let op = Oriented1d::new(&self.theta, self.taps, self.options)?;
        differentiate(self.dtype, &self.args(), &self.cotangent(), |args| {
            let weight = self.view.of(&args[1])?;
            if self.options.layout == Layout::ChannelsFirst {
                return op.forward(&self.view.of(&args[0])?, &weight, args.get(2));
            }
            let x = self.view.of(&args[0].permute((0, 2, 3, 1))?)?;
            Ok(op.forward(&x, &weight, args.get(2))?.permute((0, 3, 1, 2))?)
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

/// A plain case to vary.
fn plain(theta: &[f32], size: (usize, usize), taps: usize, options: Options) -> Case {
    let (theta, bias, view, dtype) = (theta.to_vec(), true, View::Contiguous, DType::F64);
    Case { images: 2, theta, size, taps, options, bias, view, dtype }
}

#[test]
fn one_pixel_under_the_longest_filter() -> Result<(), TestCaseError> {
    plain(&[0.0, 0.7, 1.57, -2.0], (1, 1), 127, Options::default()).check()
}

#[test]
fn one_pixel_with_a_stride_of_four() -> Result<(), TestCaseError> {
    let options = Options { stride: 4, sizes: SizeMode::Arbitrary, ..Options::default() };
    plain(&[0.0, 2.5], (1, 1), 31, options).check()
}

#[test]
fn more_rows_than_one_block_of_outputs() -> Result<(), TestCaseError> {
    plain(&[0.4, 1.2], (67, 61), 31, Options::default()).check()
}

#[test]
fn rows_longer_than_a_block_of_outputs() -> Result<(), TestCaseError> {
    plain(&[0.0, 0.02, 3.0], (3, 2500), 63, Options::default()).check()
}

#[test]
fn residual_where_several_taps_meet_at_the_center() -> Result<(), TestCaseError> {
    let options = Options { residual: true, layout: Layout::ChannelsLast, ..Options::default() };
    plain(&[std::f32::consts::FRAC_PI_4], (5, 6), 7, options).check()
}

#[test]
fn residual_of_a_single_tap() -> Result<(), TestCaseError> {
    plain(&[1.0, 2.0], (3, 3), 1, Options { residual: true, ..Options::default() }).check()
}

#[test]
fn stride_that_skips_more_than_the_image() -> Result<(), TestCaseError> {
    let options = Options { stride: 7, sizes: SizeMode::Arbitrary, ..Options::default() };
    plain(&[0.3, 1.8, -0.9], (5, 23), 9, options).check()
}
