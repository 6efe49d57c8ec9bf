//! The exact GELU of Hendrycks and Gimpel (2016): `y = x * Phi(x)`, with Phi the normal distribution function
//! `(1 + erf(x / sqrt 2)) / 2` and derivative `dy/dx = Phi(x) + x * phi(x)`. Not the tanh approximation.
//!
//! In single precision Phi is within 2e-7 of the true value; in double precision it is exact to rounding.

use super::fill::{Filled, Unfilled, results};
use super::gpu::{Gpu, Values};
use super::operator::{self, Op1};
use super::storage::{Element, Single};
use crate::Result;
use candle_core::Storage;
use candle_core::Tensor;
use rayon::prelude::*;

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
    operator::apply1(Gelu, x)
}

struct Gelu;

impl Op1 for Gelu {
    const NAME: &'static str = "gelu";
    const GRADIENT_NAME: &'static str = "gelu, gradients";

    fn forward<T: Element>(&self, x: &[T]) -> Result<Vec<T>> {
        results(x.len(), |y| {
            let chunks = y.par_chunks(CHUNK).zip(x.par_chunks(CHUNK));
            chunks.map(|(y, x)| pulp::Arch::new().dispatch(Forward { x, y })).sum()
        })
    }

    fn gradient<T: Element>(&self, x: &[T], dy: &[T]) -> Result<Vec<T>> {
        results(dy.len(), |dx| {
            let inputs = x.par_chunks(CHUNK).zip(dy.par_chunks(CHUNK));
            let chunks = dx.par_chunks(CHUNK).zip(inputs);
            chunks.map(|(dx, (x, dy))| pulp::Arch::new().dispatch(Backward { x, dy, dx })).sum()
        })
    }

    fn gpu_forward(&self, gpu: &Gpu, x: Values) -> candle_core::Result<Storage> {
        gpu.map("gelu", x)
    }

    fn gpu_gradient(&self, gpu: &Gpu, x: Values, dy: Values) -> candle_core::Result<Storage> {
        gpu.map_gradient("gelu_grad", x, dy)
    }
}

struct Forward<'x, 'y, T> {
    x: &'x [T],
    y: Unfilled<'y, T>,
}

impl<'y, T: Element> pulp::NullaryFnOnce for Forward<'_, 'y, T> {
    type Output = Filled<'y>;

    #[inline(always)]
    fn call(self) -> Filled<'y> {
        self.y.write(self.x.iter().map(|&x| x * x.normal_cdf()))
    }
}

struct Backward<'x, 'dx, T> {
    x: &'x [T],
    dy: &'x [T],
    dx: Unfilled<'dx, T>,
}

impl<'dx, T: Element> pulp::NullaryFnOnce for Backward<'_, 'dx, T> {
    type Output = Filled<'dx>;

    #[inline(always)]
    fn call(self) -> Filled<'dx> {
        let slope = |x: T| {
            let (cdf, pdf) = x.normal();
            cdf + x * pdf
        };
        self.dx.write(self.x.iter().zip(self.dy).map(|(&x, &dy)| dy * slope(x)))
    }
}

impl Element for f64 {
    #[inline(always)]
    fn normal_cdf(self) -> Self {
        0.5 * libm::erfc(-self * std::f64::consts::FRAC_1_SQRT_2)
    }

    #[inline(always)]
    fn normal(self) -> (Self, Self) {
        let scale = std::f64::consts::FRAC_1_SQRT_2 * std::f64::consts::FRAC_2_SQRT_PI * 0.5;
        (self.normal_cdf(), scale * (-0.5 * self * self).exp())
    }
}

impl Element for f32 {
    const SINGLE: Option<Single<f32>> = Some(Single { slice: |values| values, vec: |values| values });

    #[inline(always)]
    fn normal_cdf(self) -> Self {
        self.normal().0
    }

    /// `Phi(-|x|) = exp(-x^2 / 2) * P(v)` with `v = (1 - p |x|) / (1 + p |x|)`, which runs from 1 to -1: the form of
    /// Abramowitz and Stegun, 7.1.26, in a variable whose powers do not cancel. The exponential is the density's too.
    #[inline(always)]
    fn normal(self) -> (Self, Self) {
        const DENSITY: f32 = 0.398_942_3;
        let bell = exp_negative(-0.5 * self * self);
        // Not by one division of a difference by a sum: it has no value at infinity.
        let v = 2.0 / (1.0 + TAIL_SCALE * self.abs()) - 1.0;
        let tail = polynomial(v, TAIL) * bell;
        (if self > 0.0 { 1.0 - tail } else { tail }, DENSITY * bell)
    }
}

/// `exp(x)` for `x <= 0`, and 0 below -80: `2^n * 2^f` with a polynomial for `|f| <= 1/2` (relative error below 2e-7
/// for moderate x). Without branches, and without conversions of types, so that it vectorizes.
#[inline(always)]
fn exp_negative(x: f32) -> f32 {
    // Adding 1.5 * 2^23 rounds to an integer, and leaves it in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    let t = x * std::f32::consts::LOG2_E;
    let rounded = t + ROUND;
    let mantissa = polynomial(t - (rounded - ROUND), EXP2);
    let power = f32::from_bits(mantissa.to_bits().wrapping_add(rounded.to_bits() << 23));
    // Comparisons are written so that NaN passes through.
    if x < -80.0 { 0.0 } else { power }
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

/// `2^f` on [-1/2, 1/2], from the Cephes library's `exp2f`.
const EXP2: [f32; 7] =
    [1.535_336_2e-4, 1.339_887_5e-3, 9.618_437e-3, 5.550_332_5e-2, 2.402_264_8e-1, std::f32::consts::LN_2, 1.0];

/// p in [`Element::normal`].
const TAIL_SCALE: f32 = 0.32;

/// P in [`Element::normal`], from an iterated least-squares fit with weight `exp(-x^2 / 2)`; below 3e-8 in exact
/// arithmetic.
const TAIL: [f32; 6] = [-4.004_005e-3, 1.053_242e-2, 5.036_110_6e-2, 1.243_913_4e-1, 2.013_688_9e-1, 1.173_502_2e-1];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_precision_follows_double() {
        for i in -100_000..=100_000 {
            let x = i as f32 * 1e-4;
            let ((cdf, pdf), (exact_cdf, exact_pdf)) = (x.normal(), f64::from(x).normal());
            let (cdf, pdf) = ((f64::from(cdf) - exact_cdf).abs(), (f64::from(pdf) - exact_pdf).abs());
            assert!(cdf < 2e-7 && pdf < 1e-7, "x = {x}: {cdf:e} {pdf:e}");
        }
        assert!(f32::NAN.normal_cdf().is_nan());
        assert_eq!((-20f32).normal_cdf(), 0.0);
        assert_eq!(20f32.normal_cdf(), 1.0);
    }
}
