//! The definition of the shift-wise operator: plain loops over the results of the small convolutions.

use super::{IndexTables, Window};
use crate::ops::storage::Element;

/// Sizes of one call: x and each branch are (n, c, h, w).
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Images.
    pub n: usize,
    /// Channels.
    pub c: usize,
    /// Rows.
    pub h: usize,
    /// Columns.
    pub w: usize,
}

impl Shape {
    fn values(&self) -> usize {
        self.n * self.c * self.h * self.w
    }
}

/// Calls `f(branch, small kernel, row of z, column of z, index of y)` for every result that is added to an output.
fn sums(shape: &Shape, window: &Window, tables: &IndexTables, mut f: impl FnMut(usize, usize, i64, i64, usize)) {
    let e = window.margin() as i64;
    for index in 0..shape.values() {
        let (x, rest) = (index % shape.w, index / shape.w);
        let (y, c) = (rest % shape.h, rest / shape.h % shape.c);
        let (y, x) = (y as i64, x as i64);
        let kernel = |j: u32| c * tables.groups() + j as usize;
        for g in 0..tables.reps() {
            for s in 0..tables.groups() {
                let offset = i64::from(window.offset(s));
                f(0, kernel(tables.horizontal(g, c)[s]), y + e, x - offset, index);
                f(1, kernel(tables.vertical(g, c)[s]), y - offset, x + e, index);
            }
            f(2, kernel(tables.identity(g, c)), y + e, x + e, index);
        }
    }
}

/// Calls `f(branch, index of w, index of y, index of x)` for every product of the definition.
fn products(shape: &Shape, window: &Window, tables: &IndexTables, mut f: impl FnMut(usize, usize, usize, usize)) {
    let (n, p) = (window.small, window.zeros() as i64);
    let (height, width) = (shape.h as i64, shape.w as i64);
    let (rows, cols) = (height + 2 * window.margin() as i64, width + 2 * window.margin() as i64);
    sums(shape, window, tables, |branch, kernel, row, col, index| {
        if !(0..rows).contains(&row) || !(0..cols).contains(&col) {
            return;
        }
        for (a, b) in (0..n).flat_map(|a| (0..n).map(move |b| (a, b))) {
            let (i, j) = (row - p + a as i64, col - p + b as i64);
            if (0..height).contains(&i) && (0..width).contains(&j) {
                let plane = index / (shape.h * shape.w);
                let x = (plane * shape.h + i as usize) * shape.w + j as usize;
                f(branch, (kernel * n + a) * n + b, index, x);
            }
        }
    });
}

/// h, v and i.
pub fn forward<T: Element>(shape: &Shape, window: &Window, tables: &IndexTables, x: &[T], weight: &[T]) -> [Vec<T>; 3] {
    let mut y = [(); 3].map(|()| vec![T::zero(); shape.values()]);
    products(shape, window, tables, |branch, w, yi, xi| y[branch][yi] += weight[w] * x[xi]);
    y
}

/// The gradient with respect to x, given those of h, v and i.
pub fn input_grad<T: Element>(
    shape: &Shape,
    window: &Window,
    tables: &IndexTables,
    dy: [&[T]; 3],
    weight: &[T],
) -> Vec<T> {
    let mut dx = vec![T::zero(); shape.values()];
    products(shape, window, tables, |branch, w, yi, xi| dx[xi] += weight[w] * dy[branch][yi]);
    dx
}

/// The gradient with respect to the weights.
pub fn weight_grad<T: Element>(shape: &Shape, window: &Window, tables: &IndexTables, x: &[T], dy: [&[T]; 3]) -> Vec<T> {
    let mut dw = vec![T::zero(); shape.c * tables.groups() * window.small * window.small];
    products(shape, window, tables, |branch, w, yi, xi| dw[w] += dy[branch][yi] * x[xi]);
    dw
}
