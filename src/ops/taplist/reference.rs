//! The definition of the convolution with lists of taps: plain loops.

use crate::ops::storage::Element;
use crate::ops::taps::Tap;

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
fn products(shape: &Shape, taps: &[Vec<Tap>], mut f: impl FnMut(usize, usize, usize)) {
    let longest = taps.iter().map(Vec::len).max().unwrap_or(0);
    for plane in 0..shape.n * shape.c {
        let channel = plane % shape.c;
        for (i, tap) in taps[channel].iter().enumerate() {
            for p in 0..shape.p {
                for q in 0..shape.q {
                    let (row, col) = (p as i64 + i64::from(tap.dh), q as i64 + i64::from(tap.dw));
                    if (0..shape.h as i64).contains(&row) && (0..shape.w as i64).contains(&col) {
                        let x = (plane * shape.h + row as usize) * shape.w + col as usize;
                        f(channel * longest + i, (plane * shape.p + p) * shape.q + q, x);
                    }
                }
            }
        }
    }
}

/// `y[n,c,p,q] = bias[c] + sum_i w[c,i] * x[n, c, p + dh[c,i], q + dw[c,i]]`.
pub fn forward<T: Element>(shape: &Shape, taps: &[Vec<Tap>], x: &[T], weight: &[T], bias: &[T]) -> Vec<T> {
    let mut y: Vec<T> =
        (0..shape.n * shape.c * shape.p * shape.q).map(|i| bias[i / (shape.p * shape.q) % shape.c]).collect();
    products(shape, taps, |w, yi, xi| y[yi] += weight[w] * x[xi]);
    y
}

/// The gradient with respect to x.
pub fn input_grad<T: Element>(shape: &Shape, taps: &[Vec<Tap>], dy: &[T], weight: &[T]) -> Vec<T> {
    let mut dx = vec![T::zero(); shape.n * shape.c * shape.h * shape.w];
    products(shape, taps, |w, yi, xi| dx[xi] += weight[w] * dy[yi]);
    dx
}

/// The gradient with respect to the weights, zero for those that belong to no tap.
pub fn weight_grad<T: Element>(shape: &Shape, taps: &[Vec<Tap>], x: &[T], dy: &[T]) -> Vec<T> {
    let mut dw = vec![T::zero(); shape.c * taps.iter().map(Vec::len).max().unwrap_or(0)];
    products(shape, taps, |w, yi, xi| dw[w] += dy[yi] * x[xi]);
    dw
}
