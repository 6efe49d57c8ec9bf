//! Layer normalization on the CPU, for x seen as (outer, channels, inner).
//!
//! Positions are processed in blocks of consecutive `inner` positions, so that with channels first the loops run along
//! memory; with channels last `inner` is 1 and a block is one position. Statistics take two passes (mean, then squared
//! deviations), which keeps them exact where the mean is large. The backward pass recomputes them.

use crate::Result;
use crate::ops::Layout;
use crate::ops::fill::{Filled, Unfilled, results};
use crate::ops::matrix::UnfilledMatrix;
use crate::ops::storage::Element;
use rayon::prelude::*;

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

    /// Columns of an image's matrix (channels, inner) that are processed together.
    #[inline(always)]
    fn blocks<'a, T: Copy>(&self, image: Unfilled<'a, T>) -> impl Iterator<Item = UnfilledMatrix<'a, T>> + use<'a, T> {
        UnfilledMatrix::new(image, self.channels, self.inner).split_cols(BLOCK)
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

/// A sum in 16 independent lanes, so that it vectorizes with the same rounding everywhere.
#[inline(always)]
fn lane_sum<T: Element>(values: impl Iterator<Item = T>) -> T {
    let mut lanes = [T::zero(); 16];
    for (i, value) in values.enumerate() {
        lanes[i % 16] += value;
    }
    lanes.iter().copied().sum()
}

/// `y = w * (x - mean) * rstd + b`.
pub(crate) fn forward<T: Element>(sizes: Sizes, x: &[T], w: &[T], b: &[T], eps: T) -> Result<Vec<T>> {
    results(x.len(), |y| {
        let groups = y.par_chunks(sizes.group()).zip(x.par_chunks(sizes.group()));
        groups.map(|(y, x)| pulp::Arch::new().dispatch(Forward { sizes, x, w, b, eps, y })).sum()
    })
}

struct Forward<'x, 'y, T> {
    sizes: Sizes,
    x: &'x [T],
    w: &'x [T],
    b: &'x [T],
    eps: T,
    y: Unfilled<'y, T>,
}

impl<'y, T: Element> pulp::NullaryFnOnce for Forward<'_, 'y, T> {
    type Output = Filled<'y>;

    #[inline(always)]
    fn call(self) -> Filled<'y> {
        let Forward { sizes, x, w, b, eps, y } = self;
        let mut filled = Filled::none();
        for (y, x) in y.chunks(sizes.image()).zip(x.chunks_exact(sizes.image())) {
            if sizes.inner == 1 {
                let stats = Stats::of(x, sizes, 0, 1, eps);
                let (mean, rstd) = (stats.mean[0], stats.rstd[0]);
                filled += y.write(x.iter().zip(w).zip(b).map(|((&x, &w), &b)| w * ((x - mean) * rstd) + b));
                continue;
            }
            for (y, start) in sizes.blocks(y).zip((0..sizes.inner).step_by(BLOCK)) {
                let len = y.cols();
                let stats = Stats::of(x, sizes, start, len, eps);
                for (c, (y, x)) in y.into_rows().zip(x.chunks_exact(sizes.inner)).enumerate() {
                    let stats = stats.mean[..len].iter().zip(&stats.rstd[..len]);
                    let x = &x[start..start + len];
                    filled += y.write(x.iter().zip(stats).map(|(&x, (&m, &r))| w[c] * ((x - m) * r) + b[c]));
                }
            }
        }
        filled
    }
}

/// What the backward pass reads.
#[derive(Clone, Copy)]
struct Inputs<'a, T> {
    x: &'a [T],
    w: &'a [T],
    dy: &'a [T],
}

/// Gradients of weight and bias that are added to.
struct Sums<'a, T> {
    dw: &'a mut [T],
    db: &'a mut [T],
}

/// With `h = (x - mean) * rstd` and `g = w * dy`: `dx = rstd * (g - mean_c g - h * mean_c(g h))`, `dw = sum dy * h`,
/// `db = sum dy`.
pub(crate) fn backward<T: Element>(sizes: Sizes, x: &[T], w: &[T], dy: &[T], eps: T) -> Result<Grads<T>> {
    let group = sizes.group();
    let mut partial: Vec<(Vec<T>, Vec<T>)> = Vec::new();
    let dx = results(x.len(), |dx| {
        let inputs = x.par_chunks(group).zip(dy.par_chunks(group));
        let groups = dx.par_chunks(group).zip(inputs).map(|(dx, (x, dy))| {
            let (mut dw, mut db) = (vec![T::zero(); sizes.channels], vec![T::zero(); sizes.channels]);
            let sums = Sums { dw: &mut dw, db: &mut db };
            let filled = pulp::Arch::new().dispatch(Backward { sizes, inputs: Inputs { x, w, dy }, eps, dx, sums });
            (filled, (dw, db))
        });
        let (filled, sums): (Vec<_>, Vec<_>) = groups.unzip();
        partial = sums;
        filled.into_iter().sum()
    })?;
    let (mut dw, mut db) = (vec![T::zero(); sizes.channels], vec![T::zero(); sizes.channels]);
    for (part_w, part_b) in &partial {
        add(&mut dw, part_w);
        add(&mut db, part_b);
    }
    Ok(Grads { dx, dw, db })
}

fn add<T: Element>(total: &mut [T], part: &[T]) {
    for (t, &p) in total.iter_mut().zip(part) {
        *t += p;
    }
}

struct Backward<'x, 'dx, T> {
    sizes: Sizes,
    inputs: Inputs<'x, T>,
    eps: T,
    dx: Unfilled<'dx, T>,
    sums: Sums<'x, T>,
}

impl<'dx, T: Element> pulp::NullaryFnOnce for Backward<'_, 'dx, T> {
    type Output = Filled<'dx>;

    #[inline(always)]
    fn call(self) -> Filled<'dx> {
        let Backward { sizes, inputs: Inputs { x, w, dy }, eps, dx, mut sums } = self;
        let image = sizes.image();
        let mut filled = Filled::none();
        for ((dx, x), dy) in dx.chunks(image).zip(x.chunks_exact(image)).zip(dy.chunks_exact(image)) {
            let inputs = Inputs { x, w, dy };
            if sizes.inner == 1 {
                filled += position(inputs, &Stats::of(x, sizes, 0, 1, eps), dx, &mut sums);
                continue;
            }
            for (dx, start) in sizes.blocks(dx).zip((0..sizes.inner).step_by(BLOCK)) {
                let stats = Stats::of(x, sizes, start, dx.cols(), eps);
                filled += block(sizes, start, inputs, &stats, dx, &mut sums);
            }
        }
        filled
    }
}

/// The backward pass of one position with channels last.
#[inline(always)]
fn position<'dx, T: Element>(
    Inputs { x, w, dy }: Inputs<T>,
    stats: &Stats<T>,
    dx: Unfilled<'dx, T>,
    sums: &mut Sums<T>,
) -> Filled<'dx> {
    let (mean, rstd) = (stats.mean[0], stats.rstd[0]);
    let count = T::from_f64(x.len() as f64);
    let g_mean = lane_sum(w.iter().zip(dy).map(|(&w, &dy)| w * dy)) / count;
    let gh_mean = lane_sum(x.iter().zip(w).zip(dy).map(|((&x, &w), &dy)| w * dy * ((x - mean) * rstd))) / count;
    let sums = sums.dw.iter_mut().zip(sums.db.iter_mut());
    dx.write(x.iter().zip(w).zip(dy).zip(sums).map(
        #[inline(always)]
        |(((&x, &w), &dy), (dw, db))| {
            let h = (x - mean) * rstd;
            *dw += dy * h;
            *db += dy;
            rstd * (w * dy - g_mean - h * gh_mean)
        },
    ))
}

/// The backward pass of a block of positions with channels first.
#[inline(always)]
fn block<'dx, T: Element>(
    sizes: Sizes,
    start: usize,
    Inputs { x, w, dy }: Inputs<T>,
    stats: &Stats<T>,
    dx: UnfilledMatrix<'dx, T>,
    sums: &mut Sums<T>,
) -> Filled<'dx> {
    let len = dx.cols();
    let count = T::from_f64(sizes.channels as f64);
    let (mut g_mean, mut gh_mean) = ([T::zero(); BLOCK], [T::zero(); BLOCK]);
    let (mean, rstd) = (&stats.mean[..len], &stats.rstd[..len]);
    for (c, &w) in w.iter().enumerate() {
        let at = c * sizes.inner + start;
        let (x, dy) = (&x[at..at + len], &dy[at..at + len]);
        let (mut dw_lanes, mut db_lanes) = ([T::zero(); 16], [T::zero(); 16]);
        for i in 0..len {
            let h = (x[i] - mean[i]) * rstd[i];
            g_mean[i] += w * dy[i];
            gh_mean[i] += w * dy[i] * h;
            dw_lanes[i % 16] += dy[i] * h;
            db_lanes[i % 16] += dy[i];
        }
        sums.dw[c] += dw_lanes.iter().copied().sum::<T>();
        sums.db[c] += db_lanes.iter().copied().sum::<T>();
    }
    for i in 0..len {
        g_mean[i] /= count;
        gh_mean[i] /= count;
    }
    let mut filled = Filled::none();
    for (c, (&w, dx)) in w.iter().zip(dx.into_rows()).enumerate() {
        let at = c * sizes.inner + start;
        let (x, dy) = (&x[at..at + len], &dy[at..at + len]);
        let means = g_mean[..len].iter().zip(&gh_mean[..len]);
        let columns = x.iter().zip(dy).zip(mean.iter().zip(rstd)).zip(means);
        filled += dx.write(columns.map(
            #[inline(always)]
            |(((&x, &dy), (&mean, &rstd)), (&g_mean, &gh_mean))| {
                let h = (x - mean) * rstd;
                rstd * (w * dy - g_mean - h * gh_mean)
            },
        ));
    }
    filled
}
