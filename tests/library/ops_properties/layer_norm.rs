//! Layer normalization against its definition, and its gradients against a composition of elementary operators.

use super::support::{View, compare, config, dtype};
use crate::common::{Arg, Outcome, computed, differentiate, differentiate_exactly};
use candle_core::{DType, Tensor};
use kernelscope::ops::Layout;
use kernelscope::ops::layer_norm::{EPS, layer_norm, reference};
use proptest::prelude::*;

#[derive(Debug, Clone)]
struct Case {
    dims: Vec<usize>,
    layout: Layout,
    /// Added to every input.
    mean: f32,
    view: View,
    dtype: DType,
}

impl Arbitrary for Case {
    type Parameters = ();
    type Strategy = BoxedStrategy<Self>;

    fn arbitrary_with((): ()) -> Self::Strategy {
        let channels = prop_oneof![1..=6usize, 1..=200usize];
        let positions = prop::collection::vec(1..=20usize, 0..=2);
        (1..=3usize, channels, positions, any::<bool>(), any::<bool>(), View::any(), dtype())
            .prop_map(|(images, channels, positions, last, shifted, view, dtype)| {
                let mut dims = positions;
                dims.insert(0, images);
                dims.insert(if last { dims.len() } else { 1 }, channels);
                let layout = if last { Layout::ChannelsLast } else { Layout::ChannelsFirst };
                let mean = if shifted && dtype == DType::F64 { 1e3 } else { 0.0 };
                Case { dims, layout, mean, view, dtype }
            })
            .boxed()
    }
}

impl Case {
    /// The shape as (outer, channels, inner).
    fn sizes(&self) -> (usize, usize, usize) {
        match self.layout {
            Layout::ChannelsFirst => (self.dims[0], self.dims[1], self.dims[2..].iter().product()),
            Layout::ChannelsLast => {
                let (channels, outer) = self.dims.split_last().unwrap();
                (outer.iter().product(), *channels, 1)
            }
        }
    }

    fn args(&self) -> [Arg; 3] {
        let channels = self.sizes().1;
        let mut x = Arg::fill("x", &self.dims, "input");
        x.values.iter_mut().for_each(|x| *x = f64::from(*x as f32 + self.mean));
        [x, Arg::fill("weight", &[channels], "norm_weight"), Arg::fill("bias", &[channels], "bias")]
    }

    fn cotangent(&self) -> Arg {
        Arg::fill("cotangent", &self.dims, "input")
    }

    /// The definition's y; and y and the gradients of its composition from means, products and a root.
    fn references(&self) -> kernelscope::Result<(Vec<f64>, Outcome)> {
        let (args, sizes) = (self.args(), self.sizes());
        let y = reference::forward(sizes, &args[0].values, &args[1].values, &args[2].values, EPS);
        let composed = differentiate_exactly(&args, &self.cotangent(), |args| {
            let x = args[0].reshape(sizes)?;
            let channelwise = |t: &Tensor| t.reshape((1, sizes.1, 1));
            let centered = x.broadcast_sub(&x.mean_keepdim(1)?)?;
            let deviation = (centered.sqr()?.mean_keepdim(1)? + EPS)?.sqrt()?;
            let normal = centered.broadcast_div(&deviation)?;
            let y = normal.broadcast_mul(&channelwise(&args[1])?)?.broadcast_add(&channelwise(&args[2])?)?;
            Ok(y.reshape(&self.dims[..])?)
        })?;
        Ok((y, composed))
    }

    fn run(&self) -> kernelscope::Result<Outcome> {
        differentiate(self.dtype, &self.args(), &self.cotangent(), |args| {
            layer_norm(&self.view.of(&args[0])?, &args[1], &args[2], EPS, self.layout)
        })
    }

    /// The largest `1 / sqrt(var + eps)`: rounding errors of the centered input are multiplied by it.
    fn amplification(&self) -> f64 {
        let ((outer, channels, inner), [x, ..]) = (self.sizes(), self.args());
        let deviation = |position: usize| {
            let at = |c: usize| x.values[(position / inner * channels + c) * inner + position % inner];
            let mean = (0..channels).map(at).sum::<f64>() / channels as f64;
            ((0..channels).map(|c| (at(c) - mean).powi(2)).sum::<f64>() / channels as f64 + EPS).sqrt()
        };
        (0..outer * inner).map(|position| 1.0 / deviation(position)).fold(1.0, f64::max)
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let (y, composed) = self.references()?;
        let precision = match computed(self.dtype) {
            DType::F32 => f64::from(f32::EPSILON),
            DType::F16 => f64::from(half::f16::EPSILON),
            DType::BF16 => f64::from(half::bf16::EPSILON),
            _ => f64::EPSILON,
        };
        let unit = 64.0 * precision * f64::from(self.mean).max(1.0) * self.amplification();
        let actual = self.run()?;
        compare(&vec![actual[0].clone()], &vec![("y", y)], |_| unit)?;
        compare(&actual, &composed, |name| if name == "x" { unit * self.amplification() } else { unit })
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn follows_the_definition(case: Case) {
        case.check()?;
    }
}

#[test]
fn several_groups_of_images() -> Result<(), TestCaseError> {
    for (dims, layout) in [(vec![5, 33, 31, 29], Layout::ChannelsFirst), (vec![5, 31, 29, 33], Layout::ChannelsLast)] {
        Case { dims, layout, mean: 0.0, view: View::Contiguous, dtype: DType::F64 }.check()?;
    }
    Ok(())
}

/// One channel: the input equals its mean, so only the bias is left and nothing flows back.
#[test]
fn a_single_channel_is_its_bias() -> kernelscope::Result<()> {
    let (layout, view, dtype) = (Layout::ChannelsFirst, View::Contiguous, DType::F32);
    let case = Case { dims: vec![2, 1, 3, 5], layout, mean: 0.0, view, dtype };
    let outcome = case.run()?;
    let bias = case.args()[2].values[0];
    assert!(outcome[0].1.iter().all(|&y| y == bias), "{:?}", outcome[0]);
    assert!(outcome[1].1.iter().all(|&dx| dx == 0.0), "{:?}", outcome[1]);
    Ok(())
}
