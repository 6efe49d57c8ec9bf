//! The definition of the depthwise 2-D convolution: plain loops.

use super::Options;
use crate::ops::storage::Element;

/// Sizes of one call: x is (n, c, h, w) and y is (n, c, p, q).
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
    /// Output rows.
    pub p: usize,
    /// Output columns.
    pub q: usize,
}

/// Calls `f(index of w, index of y, index of x)` for every product of the definition that reads inside the image.
fn products(shape: &Shape, options: &Options, mut f: impl FnMut(usize, usize, usize)) {
    let (kh, kw) = options.kernel;
    for plane in 0..shape.n * shape.c {
        for p in 0..shape.p {
            for q in 0..shape.q {
                for i in 0..kh {
                    for j in 0..kw {
                        let row = (options.stride.0 * p + options.dilation.0 * i).checked_sub(options.padding.0);
                        let col = (options.stride.1 * q + options.dilation.1 * j).checked_sub(options.padding.1);
                        if let (Some(row), Some(col)) = (row, col)
                            && row < shape.h
                            && col < shape.w
                        {
                            let w = ((plane % shape.c) * kh + i) * kw + j;
                            f(w, (plane * shape.p + p) * shape.q + q, (plane * shape.h + row) * shape.w + col);
                        }
                    }
                }
            }
        }
    }
}

/// `y[n,c,p,q] = bias[c] + sum_ij w[c,i,j] * x[n, c, S_h*p + D_h*i - P_h, S_w*q + D_w*j - P_w]`.
pub fn forward<T: Element>(shape: &Shape, options: &Options, x: &[T], weight: &[T], bias: &[T]) -> Vec<T> {
    let mut y: Vec<T> =
        (0..shape.n * shape.c * shape.p * shape.q).map(|i| bias[i / (shape.p * shape.q) % shape.c]).collect();
    products(shape, options, |w, yi, xi| y[yi] += weight[w] * x[xi]);
    y
}

/// The gradient with respect to x.
pub fn input_grad<T: Element>(shape: &Shape, options: &Options, dy: &[T], weight: &[T]) -> Vec<T> {
    let mut dx = vec![T::zero(); shape.n * shape.c * shape.h * shape.w];
    products(shape, options, |w, yi, xi| dx[xi] += weight[w] * dy[yi]);
    dx
}

/// The gradient with respect to the weights.
pub fn weight_grad<T: Element>(shape: &Shape, options: &Options, x: &[T], dy: &[T]) -> Vec<T> {
    let mut dw = vec![T::zero(); shape.c * options.kernel.0 * options.kernel.1];
    products(shape, options, |w, yi, xi| dw[w] += dy[yi] * x[xi]);
    dw
}
