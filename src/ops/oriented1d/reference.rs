//! The definition of the oriented 1-D convolution: plain loops, one line per line of the equation.
//!
//! Everything else in the crate that computes this operator is tested against these functions.

use crate::ops::storage::Element;

/// Sizes of one call: x is (n, c, h, w), the filter has `taps` weights per channel, y is (n, c, p, q).
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Images.
    pub n: usize,
    /// Channels.
    pub c: usize,
    /// Input rows.
    pub h: usize,
    /// Input columns.
    pub w: usize,
    /// Filter length K.
    pub taps: usize,
    /// Stride S in both directions.
    pub stride: usize,
}

impl Shape {
    /// Output rows and columns, `ceil(H / S)` and `ceil(W / S)`.
    pub fn output(&self) -> (usize, usize) {
        (self.h.div_ceil(self.stride), self.w.div_ceil(self.stride))
    }
}

/// Calls `f(c, k, index of y, index of x)` for every product of the definition that reads inside the image.
fn products(shape: &Shape, theta: &[f32], mut f: impl FnMut(usize, usize, usize, usize)) {
    let (rows, cols) = shape.output();
    for n in 0..shape.n {
        for (c, &theta) in theta.iter().enumerate() {
            let (sin, cos) = (f64::from(theta).sin() as f32, f64::from(theta).cos() as f32);
            for p in 0..rows {
                for q in 0..cols {
                    for k in 0..shape.taps {
                        let t = k as f32 - (shape.taps / 2) as f32;
                        let i = (shape.stride * p) as i64 + (-sin * t).trunc() as i64;
                        let j = (shape.stride * q) as i64 + (cos * t).trunc() as i64;
                        if (0..shape.h as i64).contains(&i) && (0..shape.w as i64).contains(&j) {
                            let plane = n * shape.c + c;
                            let y = (plane * rows + p) * cols + q;
                            f(c, k, y, (plane * shape.h + i as usize) * shape.w + j as usize);
                        }
                    }
                }
            }
        }
    }
}

/// `y[n,c,p,q] = bias[c] + sum_k w[c,k] * x[n, c, S*p + dh, S*q + dw]`.
pub fn forward<T: Element>(shape: &Shape, theta: &[f32], x: &[T], weight: &[T], bias: &[T]) -> Vec<T> {
    let (rows, cols) = shape.output();
    let mut y = vec![T::zero(); shape.n * shape.c * rows * cols];
    for (index, y) in y.iter_mut().enumerate() {
        *y = bias[index / (rows * cols) % shape.c];
    }
    products(shape, theta, |c, k, yi, xi| y[yi] += weight[c * shape.taps + k] * x[xi]);
    y
}

/// The gradient with respect to x.
pub fn input_grad<T: Element>(shape: &Shape, theta: &[f32], dy: &[T], weight: &[T]) -> Vec<T> {
    let mut dx = vec![T::zero(); shape.n * shape.c * shape.h * shape.w];
    products(shape, theta, |c, k, yi, xi| dx[xi] += weight[c * shape.taps + k] * dy[yi]);
    dx
}

/// The gradient with respect to the weights.
pub fn weight_grad<T: Element>(shape: &Shape, theta: &[f32], x: &[T], dy: &[T]) -> Vec<T> {
    let mut dw = vec![T::zero(); shape.c * shape.taps];
    products(shape, theta, |c, k, yi, xi| dw[c * shape.taps + k] += dy[yi] * x[xi]);
    dw
}
