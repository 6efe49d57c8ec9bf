//! The fused operators against the separate operators that they replace, in double precision.

use super::support::{View, compare, config, dtype, tolerance};
use crate::common::{Arg, Outcome, device, differentiate, differentiate_exactly};
use candle_core::{DType, Tensor};
use kernelscope::Result;
use kernelscope::ops::Layout;
use kernelscope::ops::fused::{gelu_pointwise, norm_pointwise};
use kernelscope::ops::gelu::gelu;
use kernelscope::ops::layer_norm::{EPS, layer_norm};
use kernelscope::ops::pointwise::pointwise;
use kernelscope::ops::scale_residual::{residual, scale_residual};
use proptest::prelude::*;

#[derive(Debug, Clone)]
struct Case {
    images: usize,
    channels: usize,
    outputs: usize,
    size: (usize, usize),
    view: View,
    dtype: DType,
}

impl Arbitrary for Case {
    type Parameters = ();
    type Strategy = BoxedStrategy<Self>;

    fn arbitrary_with((): ()) -> Self::Strategy {
        // Images that are joined, whole and divided.
        let size = prop_oneof![(1..=9usize, 1..=9usize), (1..=26usize, 1..=26usize)];
        (1..=9usize, 1..=40usize, 1..=40usize, size, View::any(), dtype())
            .prop_map(|(images, channels, outputs, size, view, dtype)| Case {
                images,
                channels,
                outputs,
                size,
                view,
                dtype,
            })
            .boxed()
    }
}

impl Case {
    fn map(&self, name: &'static str, channels: usize) -> Arg {
        Arg::fill(name, &[self.images, channels, self.size.0, self.size.1], "input")
    }

    fn weight(&self) -> Arg {
        Arg::fill("weight", &[self.outputs, self.channels], "weight")
    }

    /// Runs `fused` in the case's precision and layout, and `separate` in double precision.
    fn outcomes(
        &self,
        args: &[Arg],
        fused: impl Fn(&[Tensor]) -> Result<Tensor>,
        separate: impl Fn(&[Tensor]) -> Result<Tensor>,
    ) -> Result<(Outcome, Outcome)> {
        let cotangent = self.map("cotangent", self.outputs);
        let viewed = |args: &[Tensor]| {
            let mut args = args.to_vec();
            for arg in &mut args[..2] {
                *arg = self.view.of(arg)?;
            }
            fused(&args)
        };
        Ok((differentiate(self.dtype, args, &cotangent, viewed)?, differentiate_exactly(args, &cotangent, separate)?))
    }

    fn check_gelu(&self) -> Result<(), TestCaseError> {
        let mut h = self.map("x", self.channels);
        // Through both tails.
        h.values.iter_mut().for_each(|h| *h *= 4.0);
        let args = [
            h,
            self.weight(),
            Arg::fill("bias", &[self.outputs], "bias"),
            Arg::fill("gamma", &[self.outputs], "gamma"),
        ];
        let (actual, expected) = self.outcomes(
            &args,
            |args| gelu_pointwise(&args[0], &args[1], &args[2], &args[3]),
            |args| {
                let f = pointwise(&gelu(&args[0])?, &args[1], Some(&args[2]))?;
                let zeros = f.zeros_like()?;
                scale_residual(&zeros, &f, &args[3], &vec![1.0; self.images])
            },
        )?;
        compare(&actual, &expected, |_| tolerance(self.dtype))
    }

    fn check_norm(&self) -> Result<(), TestCaseError> {
        let args = [
            self.map("x", self.channels),
            self.weight(),
            Arg::fill("norm weight", &[self.channels], "norm_weight"),
            Arg::fill("norm bias", &[self.channels], "bias"),
            Arg::fill("bias", &[self.outputs], "bias"),
        ];
        let (actual, expected) = self.outcomes(
            &args,
            |args| norm_pointwise(&args[0], (&args[2], &args[3]), EPS, &args[1], &args[4]),
            |args| {
                let h = layer_norm(&args[0], &args[2], &args[3], EPS, Layout::ChannelsFirst)?;
                pointwise(&h, &args[1], Some(&args[4]))
            },
        )?;
        let amplification = self.amplification(&args[0]);
        let allowed = tolerance(self.dtype) * amplification;
        compare(&actual, &expected, |name| if name == "x" { allowed * amplification } else { allowed })
    }

    /// The largest `1 / sqrt(var + eps)`: rounding errors of the centered input are multiplied by it.
    fn amplification(&self, x: &Arg) -> f64 {
        let positions = self.size.0 * self.size.1;
        let deviation = |position: usize| {
            let at = |c: usize| x.values[(position / positions * self.channels + c) * positions + position % positions];
            let mean = (0..self.channels).map(at).sum::<f64>() / self.channels as f64;
            ((0..self.channels).map(|c| (at(c) - mean).powi(2)).sum::<f64>() / self.channels as f64 + EPS).sqrt()
        };
        (0..self.images * positions).map(|position| 1.0 / deviation(position)).fold(1.0, f64::max)
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn norm_pointwise_follows_the_separate_operators(case: Case) {
        case.check_norm()?;
    }

    #[test]
    fn gelu_pointwise_follows_the_separate_operators(case: Case) {
        case.check_gelu()?;
    }
}

fn case(images: usize, (channels, outputs): (usize, usize), size: (usize, usize), dtype: DType) -> Case {
    Case { images, channels, outputs, size, view: View::Contiguous, dtype }
}

#[test]
fn one_of_everything() -> Result<(), TestCaseError> {
    let case = case(1, (1, 1), (1, 1), DType::F64);
    case.check_norm()?;
    case.check_gelu()
}

/// The backward pass takes several groups of images where maps are large.
#[test]
fn several_groups_of_images() -> Result<(), TestCaseError> {
    case(9, (16, 112), (64, 64), DType::F64).check_gelu()?;
    case(168, (64, 448), (7, 7), DType::F64).check_norm()
}

/// One channel: the input equals its mean, so only biases are left and nothing flows back.
#[test]
fn a_single_channel_has_no_variance() -> Result<()> {
    let case = case(2, (1, 3), (4, 5), DType::F32);
    let x = case.map("x", 1).tensor(DType::F32)?;
    let vector = |values: &[f32]| Tensor::new(values, x.device());
    let weight = vector(&[1.0, 2.0, 3.0])?.reshape((3, 1))?;
    let y = norm_pointwise(&x, (&vector(&[7.0])?, &vector(&[0.5])?), EPS, &weight, &vector(&[0.0, 1.0, 2.0])?)?;
    for (index, plane) in y.flatten_all()?.to_vec1::<f32>()?.chunks(20).enumerate() {
        let expected = [0.5, 2.0, 3.5][index % 3];
        assert!(plane.iter().all(|&y| y == expected), "{plane:?} {expected}");
    }
    Ok(())
}

/// Only what is not frozen gets a gradient, and the same one as when nothing is.
#[test]
fn frozen_arguments_change_no_other_gradient() -> Result<()> {
    let case = case(3, (5, 6), (7, 8), DType::F32);
    let (h, weight) = (case.map("x", 5), case.weight());
    let (bias, gamma) = (Arg::fill("bias", &[6], "bias"), Arg::fill("gamma", &[6], "gamma"));
    let all = [h, weight, bias, gamma];
    let cotangent = case.map("cotangent", 6);
    let constant = |arg: &Arg| arg.tensor(DType::F32)?.to_device(&device());
    let constants = all.iter().map(constant).collect::<candle_core::Result<Vec<_>>>()?;
    let whole = differentiate(DType::F32, &all, &cotangent, |a| gelu_pointwise(&a[0], &a[1], &a[2], &a[3]))?;
    for (index, arg) in all.iter().enumerate() {
        let part = differentiate(DType::F32, std::slice::from_ref(arg), &cotangent, |free| {
            let mut args = constants.clone();
            args[index] = free[0].clone();
            gelu_pointwise(&args[0], &args[1], &args[2], &args[3])
        })?;
        assert_eq!(part, [whole[0].clone(), whole[index + 1].clone()]);
    }
    Ok(())
}

#[test]
fn residual_is_a_scaled_sum() -> Result<(), TestCaseError> {
    for keep in [[1.0, 1.0, 1.0], [0.0, 1.25, 1.0]] {
        for dtype in [DType::F32, DType::F64] {
            let case = case(3, (4, 4), (5, 6), dtype);
            let args = [case.map("x", 4), case.map("branch", 4)];
            let (actual, expected) = case.outcomes(
                &args,
                |args| residual(&args[0], &args[1], &keep),
                |args| scale_residual(&args[0], &args[1], &Tensor::ones(4, DType::F64, args[0].device())?, &keep),
            )?;
            compare(&actual, &expected, |_| tolerance(dtype))?;
        }
    }
    Ok(())
}
