//! The exact GELU of Hendrycks and Gimpel (2016): `y = x * Phi(x)`, with Phi the normal distribution function
//! `(1 + erf(x / sqrt 2)) / 2` and derivative `dy/dx = Phi(x) + x * phi(x)`. Not the tanh approximation.
//!
//! In single precision Phi is within 3e-7 of the true value; in double precision it is exact to rounding.

use super::storage::{self, Element, with_element, with_values};
use crate::{Result, profile};
use candle_core::{CpuStorage, CustomOp1, Layout, Shape, Tensor, WithDType};
use num_traits::Zero;
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// Elements per parallel task.
const CHUNK: usize = 8192;

/// Applies GELU to every element. Differentiable; f32 and f64; any shape.
///
/// # Errors
/// If the dtype is another.
///
/// ```
/// use candle_core::{Device, Tensor};
/// let y = kernelscope::ops::gelu::gelu(&Tensor::new(&[-1f64, 0., 1.], &Device::Cpu)?)?.to_vec1::<f64>()?;
/// assert!((y[2] - 0.841344746).abs() < 1e-9 && y[1] == 0.0);
/// # Ok::<(), kernelscope::Error>(())
/// ```
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    Ok(x.contiguous()?.apply_op1(Gelu)?)
}

struct Gelu;

impl CustomOp1 for Gelu {
    fn name(&self) -> &'static str {
        "gelu"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        let _span = profile::span("gelu");
        with_element!(candle_core::backend::BackendStorage::dtype(x), "input", T => {
            let x = storage::slice::<T>(x, layout)?;
            let mut y = vec![T::zero(); x.len()];
            y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(y, x)| {
                pulp::Arch::new().dispatch(Forward { x, y });
            });
            Ok((T::to_cpu_storage_owned(y), layout.shape().clone()))
        })
    }

    fn bwd(&self, x: &Tensor, _y: &Tensor, dy: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let _span = profile::span("gelu, gradients");
        with_element!(x.dtype(), "input", T => with_values::<T, _>(x, |x_values| with_values::<T, _>(dy, |dy| {
            let mut dx = vec![T::zero(); dy.len()];
            dx.par_chunks_mut(CHUNK).zip(x_values.par_chunks(CHUNK)).zip(dy.par_chunks(CHUNK)).for_each(
                |((dx, x), dy)| {
                    pulp::Arch::new().dispatch(Backward { x, dy, dx });
                },
            );
            Tensor::from_vec(dx, x.shape(), x.device()).map(Some)
        })))
    }
}

struct Forward<'a, T> {
    x: &'a [T],
    y: &'a mut [T],
}

impl<T: Element> pulp::NullaryFnOnce for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for (y, &x) in self.y.iter_mut().zip(self.x) {
            *y = x * x.normal_cdf();
        }
    }
}

struct Backward<'a, T> {
    x: &'a [T],
    dy: &'a [T],
    dx: &'a mut [T],
}

impl<T: Element> pulp::NullaryFnOnce for Backward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for ((dx, &x), &dy) in self.dx.iter_mut().zip(self.x).zip(self.dy) {
            *dx = dy * (x.normal_cdf() + x * x.normal_pdf());
        }
    }
}

impl Element for f64 {
    #[inline(always)]
    fn normal_cdf(self) -> Self {
        0.5 * libm::erfc(-self * std::f64::consts::FRAC_1_SQRT_2)
    }

    #[inline(always)]
    fn normal_pdf(self) -> Self {
        (-0.5 * self * self).exp() * std::f64::consts::FRAC_1_SQRT_2 * std::f64::consts::FRAC_2_SQRT_PI * 0.5
    }
}

impl Element for f32 {
    fn as_f32(values: &[f32]) -> Option<&[f32]> {
        Some(values)
    }

    fn as_f32_mut(values: &mut [MaybeUninit<f32>]) -> Option<&mut [MaybeUninit<f32>]> {
        Some(values)
    }

    #[inline(always)]
    fn normal_cdf(self) -> Self {
        0.5 + 0.5 * erf(self * std::f32::consts::FRAC_1_SQRT_2)
    }

    #[inline(always)]
    fn normal_pdf(self) -> Self {
        const SCALE: f32 = 0.398_942_3;
        SCALE * exp_negative(-0.5 * self * self)
    }
}

/// The error function by a rational approximation in `x^2`, without branches so that it vectorises.
#[inline(always)]
fn erf(x: f32) -> f32 {
    // Beyond 3.9, erf is 1 in single precision; the polynomials are only good up to 3.92. Comparisons are written so that
    // NaN passes through.
    let inside = if x > 3.9 { 3.9 } else { x };
    let inside = if inside < -3.9 { -3.9 } else { inside };
    let z = inside * inside;
    let p = polynomial(z, ERF_P);
    let q = polynomial(z, ERF_Q);
    let erf = inside * p / q;
    let erf = if x >= 3.9 { 1.0 } else { erf };
    if x <= -3.9 { -1.0 } else { erf }
}

/// `exp(x)` for `x <= 0`: `2^n * 2^f` with a Taylor polynomial for `|f| <= 1/2` (relative error below 2e-7).
#[inline(always)]
fn exp_negative(x: f32) -> f32 {
    let x = if x < -87.0 { -87.0 } else { x };
    let t = x * std::f32::consts::LOG2_E;
    let n = (t - 0.5) as i32;
    let f = t - n as f32;
    let mantissa = polynomial(f, EXP2);
    mantissa * f32::from_bits(((n + 127) << 23) as u32)
}

/// Horner's rule, highest coefficient first.
#[inline(always)]
fn polynomial<const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    let mut sum = coefficients[0];
    for &c in &coefficients[1..] {
        sum = sum * x + c;
    }
    sum
}

/// `ln(2)^k / k!` for k = 7 ... 0.
const EXP2: [f32; 8] = [
    1.525_273_4e-5,
    1.540_353e-4,
    1.333_355_8e-3,
    9.618_129e-3,
    5.550_411e-2,
    2.402_265e-1,
    std::f32::consts::LN_2,
    1.0,
];

/// Numerator of `erf(x) / x` in `x^2` on [0, 3.92^2], from an iterated least-squares fit; below 5e-7 in all.
const ERF_P: [f32; 7] = [
    -1.333_764_2e-8,
    4.718_132_5e-6,
    3.803_827e-4,
    3.832_380_5e-3,
    5.427_851e-2,
    1.847_003_6e-1,
    std::f32::consts::FRAC_2_SQRT_PI,
];

/// Denominator of the same fit.
const ERF_Q: [f32; 6] = [6.342_212e-5, 1.305_044_8e-3, 1.543_099_1e-2, 1.137_754_9e-1, 4.970_199_5e-1, 1.0];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_precision_follows_double() {
        for i in -100_000..=100_000 {
            let x = i as f32 * 1e-4;
            let cdf = (f64::from(x.normal_cdf()) - f64::from(x).normal_cdf()).abs();
            let pdf = (f64::from(x.normal_pdf()) - f64::from(x).normal_pdf()).abs();
            assert!(cdf < 3e-7 && pdf < 3e-7, "x = {x}: {cdf:e} {pdf:e}");
        }
        assert!(f32::NAN.normal_cdf().is_nan());
        assert_eq!((-20f32).normal_cdf(), 0.0);
        assert_eq!(20f32.normal_cdf(), 1.0);
    }
}
