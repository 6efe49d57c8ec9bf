//! Layer normalisation on the CPU, for x seen as (outer, channels, inner).
//!
//! Positions are processed in blocks of consecutive `inner` positions, so that with channels first the loops run along
//! memory; with channels last `inner` is 1 and a block is one position. Statistics take two passes (mean, then squared
//! deviations), which keeps them exact where the mean is large. The backward pass recomputes them.

use crate::ops::Layout;
use crate::ops::storage::{Element, results, write};
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// Positions per block: their sums fit in registers and the first-level cache.
const BLOCK: usize = 64;

/// Images summed into one partial gradient of weight and bias; fixed, so that sums do not depend on threads.
const GROUP_VALUES: usize = 1 << 16;

/// A tensor seen as (outer, channels, inner).
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    pub channels: usize,
    pub inner: usize,
}

impl Sizes {
    pub fn of(dims: &[usize], layout: Layout) -> Option<Self> {
        if dims.len() < 2 || dims.contains(&0) {
            return None;
        }
        Some(match layout {
            Layout::ChannelsFirst => Sizes { channels: dims[1], inner: dims[2..].iter().product::<usize>() },
            Layout::ChannelsLast => {
                let channels = dims[dims.len() - 1];
                Sizes { channels, inner: 1 }
            }
        })
    }

    fn image(&self) -> usize {
        self.channels * self.inner
    }

    /// Values per parallel task: whole images, about [`GROUP_VALUES`] of them.
    fn group(&self) -> usize {
        self.image() * (GROUP_VALUES / self.image()).max(1)
    }
}

/// Gradients of a layer norm.
pub struct Grads<T> {
    pub dx: Vec<T>,
    pub dw: Vec<T>,
    pub db: Vec<T>,
}

/// Mean and `1 / sqrt(var + eps)` of up to [`BLOCK`] positions.
struct Stats<T> {
    mean: [T; BLOCK],
    rstd: [T; BLOCK],
}

impl<T: Element> Stats<T> {
    /// Statistics of positions `start .. start + len` of one image.
    #[inline(always)]
    fn of(image: &[T], sizes: Sizes, start: usize, len: usize, eps: T) -> Self {
        let count = T::from_f64(sizes.channels as f64);
        let mut mean = [T::zero(); BLOCK];
        if sizes.inner == 1 {
            let m = lane_sum(image.iter().copied()) / count;
            let v = lane_sum(image.iter().map(|&x| (x - m) * (x - m))) / count;
            mean[0] = m;
            let mut rstd = [T::zero(); BLOCK];
            rstd[0] = T::one() / (v + eps).sqrt();
            return Stats { mean, rstd };
        }
        for row in image.chunks_exact(sizes.inner) {
            for (m, &x) in mean[..len].iter_mut().zip(&row[start..start + len]) {
                *m += x;
            }
        }
        for m in &mut mean[..len] {
            *m /= count;
        }
        let mut var = [T::zero(); BLOCK];
        for row in image.chunks_exact(sizes.inner) {
            for ((v, &x), &m) in var[..len].iter_mut().zip(&row[start..start + len]).zip(&mean[..len]) {
                *v += (x - m) * (x - m);
            }
        }
        for v in &mut var[..len] {
            *v = T::one() / (*v / count + eps).sqrt();
        }
        Stats { mean, rstd: var }
    }
}

/// A sum in 16 independent lanes, so that it vectorises with the same rounding everywhere.
#[inline(always)]
fn lane_sum<T: Element>(values: impl Iterator<Item = T>) -> T {
    let mut lanes = [T::zero(); 16];
    for (i, value) in values.enumerate() {
        lanes[i % 16] += value;
    }
    lanes.iter().copied().sum()
}

/// `y = w * (x - mean) * rstd + b`.
pub fn forward<T: Element>(sizes: Sizes, x: &[T], w: &[T], b: &[T], eps: T) -> Vec<T> {
    results(x.len(), |y| {
        y.par_chunks_mut(sizes.group()).zip(x.par_chunks(sizes.group())).for_each(|(y, x)| {
            pulp::Arch::new().dispatch(Forward { sizes, x, w, b, eps, y });
        });
    })
}

struct Forward<'a, T> {
    sizes: Sizes,
    x: &'a [T],
    w: &'a [T],
    b: &'a [T],
    eps: T,
    y: &'a mut [MaybeUninit<T>],
}

impl<T: Element> pulp::NullaryFnOnce for Forward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Forward { sizes, x, w, b, eps, y } = self;
        for (y, x) in y.chunks_exact_mut(sizes.image()).zip(x.chunks_exact(sizes.image())) {
            for start in (0..sizes.inner).step_by(BLOCK) {
                let len = BLOCK.min(sizes.inner - start);
                let stats = Stats::of(x, sizes, start, len, eps);
                if sizes.inner == 1 {
                    let (mean, rstd) = (stats.mean[0], stats.rstd[0]);
                    write(y, x.iter().zip(w).zip(b).map(|((&x, &w), &b)| w * ((x - mean) * rstd) + b));
                    continue;
                }
                for (c, (y, x)) in y.chunks_exact_mut(sizes.inner).zip(x.chunks_exact(sizes.inner)).enumerate() {
                    let (y, x) = (&mut y[start..start + len], &x[start..start + len]);
                    let stats = stats.mean[..len].iter().zip(&stats.rstd[..len]);
                    write(y, x.iter().zip(stats).map(|(&x, (&m, &r))| w[c] * ((x - m) * r) + b[c]));
                }
            }
        }
    }
}

/// With `h = (x - mean) * rstd` and `g = w * dy`: `dx = rstd * (g - mean_c g - h * mean_c(g h))`, `dw = sum dy * h`,
/// `db = sum dy`.
pub fn backward<T: Element>(sizes: Sizes, x: &[T], w: &[T], dy: &[T], eps: T) -> Grads<T> {
    let group = sizes.group();
    let mut partial: Vec<(Vec<T>, Vec<T>)> = Vec::new();
    let dx = results(x.len(), |dx| {
        let inputs = x.par_chunks(group).zip(dy.par_chunks(group));
        let sums = dx.par_chunks_mut(group).zip(inputs).map(|(dx, (x, dy))| {
            let (mut dw, mut db) = (vec![T::zero(); sizes.channels], vec![T::zero(); sizes.channels]);
            pulp::Arch::new().dispatch(Backward { sizes, x, w, dy, eps, dx, dw: &mut dw, db: &mut db });
            (dw, db)
        });
        partial = sums.collect();
    });
    let (mut dw, mut db) = (vec![T::zero(); sizes.channels], vec![T::zero(); sizes.channels]);
    for (part_w, part_b) in &partial {
        add(&mut dw, part_w);
        add(&mut db, part_b);
    }
    Grads { dx, dw, db }
}

fn add<T: Element>(total: &mut [T], part: &[T]) {
    for (t, &p) in total.iter_mut().zip(part) {
        *t += p;
    }
}

struct Backward<'a, T> {
    sizes: Sizes,
    x: &'a [T],
    w: &'a [T],
    dy: &'a [T],
    eps: T,
    dx: &'a mut [MaybeUninit<T>],
    dw: &'a mut [T],
    db: &'a mut [T],
}

impl<T: Element> pulp::NullaryFnOnce for Backward<'_, T> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Backward { sizes, x, w, dy, eps, dx, dw, db } = self;
        let image = sizes.image();
        for ((dx, x), dy) in dx.chunks_exact_mut(image).zip(x.chunks_exact(image)).zip(dy.chunks_exact(image)) {
            for start in (0..sizes.inner).step_by(BLOCK) {
                let len = BLOCK.min(sizes.inner - start);
                let stats = Stats::of(x, sizes, start, len, eps);
                if sizes.inner == 1 {
                    position(x, w, dy, (stats.mean[0], stats.rstd[0]), dx, dw, db);
                } else {
                    block(sizes, (start, len), (x, w, dy), &stats, dx, (dw, db));
                }
            }
        }
    }
}

/// The backward pass of one position with channels last.
#[inline(always)]
fn position<T: Element>(
    x: &[T],
    w: &[T],
    dy: &[T],
    stats: (T, T),
    dx: &mut [MaybeUninit<T>],
    dw: &mut [T],
    db: &mut [T],
) {
    let (mean, rstd) = stats;
    let count = T::from_f64(x.len() as f64);
    let g_mean = lane_sum(w.iter().zip(dy).map(|(&w, &dy)| w * dy)) / count;
    let gh_mean = lane_sum(x.iter().zip(w).zip(dy).map(|((&x, &w), &dy)| w * dy * ((x - mean) * rstd))) / count;
    for c in 0..x.len() {
        let h = (x[c] - mean) * rstd;
        dx[c].write(rstd * (w[c] * dy[c] - g_mean - h * gh_mean));
        dw[c] += dy[c] * h;
        db[c] += dy[c];
    }
}

/// The backward pass of a block of positions with channels first.
#[inline(always)]
fn block<T: Element>(
    sizes: Sizes,
    (start, len): (usize, usize),
    (x, w, dy): (&[T], &[T], &[T]),
    stats: &Stats<T>,
    dx: &mut [MaybeUninit<T>],
    (dw, db): (&mut [T], &mut [T]),
) {
    let count = T::from_f64(sizes.channels as f64);
    let (mut g_mean, mut gh_mean) = ([T::zero(); BLOCK], [T::zero(); BLOCK]);
    let (mean, rstd) = (&stats.mean[..len], &stats.rstd[..len]);
    for c in 0..sizes.channels {
        let at = c * sizes.inner + start;
        let (x, dy) = (&x[at..at + len], &dy[at..at + len]);
        let (mut dw_lanes, mut db_lanes) = ([T::zero(); 16], [T::zero(); 16]);
        for i in 0..len {
            let h = (x[i] - mean[i]) * rstd[i];
            g_mean[i] += w[c] * dy[i];
            gh_mean[i] += w[c] * dy[i] * h;
            dw_lanes[i % 16] += dy[i] * h;
            db_lanes[i % 16] += dy[i];
        }
        dw[c] += dw_lanes.iter().copied().sum::<T>();
        db[c] += db_lanes.iter().copied().sum::<T>();
    }
    for i in 0..len {
        g_mean[i] /= count;
        gh_mean[i] /= count;
    }
    for (c, &w) in w.iter().enumerate() {
        let at = c * sizes.inner + start;
        let (x, dy, dx) = (&x[at..at + len], &dy[at..at + len], &mut dx[at..at + len]);
        for i in 0..len {
            let h = (x[i] - mean[i]) * rstd[i];
            dx[i].write(rstd[i] * (w * dy[i] - g_mean[i] - h * gh_mean[i]));
        }
    }
}
