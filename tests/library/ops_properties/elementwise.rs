//! GELU and the scaled residual sum against plain loops.

use super::support::{View, compare, config, dtype, tolerance};
use crate::common::{Arg, Outcome, computed, differentiate};
use candle_core::{DType, Device, Tensor};
use kernelscope::ops::gelu::gelu;
use kernelscope::ops::scale_residual::scale_residual;
use proptest::prelude::*;

#[derive(Debug, Clone)]
struct ResidualCase {
    keep: Vec<f64>,
    channels: usize,
    size: (usize, usize),
    view: View,
    dtype: DType,
}

impl Arbitrary for ResidualCase {
    type Parameters = ();
    type Strategy = BoxedStrategy<Self>;

    fn arbitrary_with((): ()) -> Self::Strategy {
        let keep = prop::collection::vec(prop_oneof![Just(0.0), Just(1.0), Just(1.25)], 1..=4);
        (keep, 1..=9usize, (1..=20usize, 1..=20usize), View::any(), dtype())
            .prop_map(|(keep, channels, size, view, dtype)| ResidualCase { keep, channels, size, view, dtype })
            .boxed()
    }
}

impl ResidualCase {
    fn arg(&self, name: &'static str) -> Arg {
        Arg::fill(name, &[self.keep.len(), self.channels, self.size.0, self.size.1], "input")
    }

    fn args(&self) -> [Arg; 3] {
        [self.arg("x"), self.arg("branch"), Arg::fill("gamma", &[self.channels], "gamma")]
    }

    fn reference(&self) -> Outcome {
        let ([x, f, gamma], dy) = (self.args(), self.arg("cotangent").values);
        let positions = self.size.0 * self.size.1;
        let (mut y, mut df, mut dgamma) = (x.values, vec![0.0; dy.len()], vec![0.0; self.channels]);
        for i in 0..dy.len() {
            let (keep, c) = (self.keep[i / positions / self.channels], i / positions % self.channels);
            y[i] += keep * gamma.values[c] * f.values[i];
            df[i] = keep * gamma.values[c] * dy[i];
            dgamma[c] += keep * f.values[i] * dy[i];
        }
        vec![("y", y), ("x", dy), ("branch", df), ("gamma", dgamma)]
    }

    fn run(&self) -> kernelscope::Result<Outcome> {
        differentiate(self.dtype, &self.args(), &self.arg("cotangent"), |args| {
            scale_residual(&self.view.of(&args[0])?, &self.view.of(&args[1])?, &args[2], &self.keep)
        })
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn scale_residual_follows_plain_loops(case: ResidualCase) {
        compare(&case.run()?, &case.reference(), |_| tolerance(case.dtype))?;
    }
}

/// `Phi(x)` by Simpson's rule on the density.
fn normal_cdf(x: f64) -> f64 {
    let density = |t: f64| (-0.5 * t * t).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let steps = 4000;
    let width = x / f64::from(steps);
    let inner: f64 = (1..steps).map(|i| density(f64::from(i) * width) * if i % 2 == 1 { 4.0 } else { 2.0 }).sum();
    0.5 + (density(0.0) + inner + density(x)) * width / 3.0
}

#[test]
fn gelu_is_x_times_the_normal_distribution_function() -> Result<(), TestCaseError> {
    let x: Vec<f32> = (-160..=160).map(|i| i as f32 / 20.0).collect();
    let arg = Arg::new("x", &[x.len()], x);
    let cotangent = Arg::fill("cotangent", &arg.shape, "input");
    let y = arg.values.iter().map(|&x| x * normal_cdf(x)).collect();
    let slope = |x: f64| normal_cdf(x) + x * (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
    let dx = arg.values.iter().zip(&cotangent.values).map(|(&x, dy)| dy * slope(x)).collect();
    let expected = vec![("y", y), ("x", dx)];
    for (dtype, allowed) in [(DType::F32, 5e-7), (DType::F64, 1e-12)] {
        if computed(dtype) != dtype {
            continue;
        }
        let outcome = differentiate(dtype, std::slice::from_ref(&arg), &cotangent, |args| gelu(&args[0]))?;
        compare(&outcome, &expected, |_| allowed)?;
    }
    Ok(())
}

#[test]
fn gelu_keeps_layouts_and_special_values() -> kernelscope::Result<()> {
    let x = Arg::fill("x", &[3, 4, 5], "input").tensor(DType::F32)?;
    let plain = gelu(&x)?;
    for view in [View::Transposed, View::Offset] {
        let y = gelu(&view.of(&x)?)?;
        assert_eq!(y.flatten_all()?.to_vec1::<f32>()?, plain.flatten_all()?.to_vec1::<f32>()?, "{view:?}");
    }
    let special = Tensor::new(&[f32::NAN, f32::MAX, -40.0, f32::INFINITY], &Device::Cpu)?;
    let y = gelu(&special)?.to_vec1::<f32>()?;
    assert!(y[0].is_nan() && y[1] == f32::MAX && y[2] == 0.0 && y[3] == f32::INFINITY, "{y:?}");
    assert_eq!(gelu(&Tensor::zeros((0, 3), DType::F32, &Device::Cpu)?)?.dims(), [0, 3]);
    Ok(())
}
