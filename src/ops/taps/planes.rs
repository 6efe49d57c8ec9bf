//! The engine with one plane at a time: forward pass, input gradient and weight gradient of a tap table, in any type.
//!
//! # How it works
//! A strided convolution reads, for tap offset `d = S*o + a` with `0 <= a < S`, the pixels `S*(p + o) + a`: the
//! *phase* a of the image, at unit stride. So every plane is first split into its `S_h * S_w` phases (for stride 1 the
//! plane is its own single phase), and then each tap becomes, per output row, one contiguous scaled addition:
//!
//! ```text
//! forward          y[p, q]             += w_i * phase_i[p + o_i, q + v_i]
//! input gradient   phase_i[p+o_i, q+v_i] += w_i * dy[p, q]
//! weight gradient  dw_i                += sum_pq dy[p, q] * phase_i[p + o_i, q + v_i]
//! ```
//!
//! over the rows and columns where the tap reads inside the image ([`Geometry::valid`]), so inner loops have no border
//! tests. Planes (one image, one channel) are independent and run in parallel; the weight gradient sums the planes of a
//! channel in order of the image afterwards. Nothing depends on the number of threads.

use super::output::UnfilledPlanes;
use super::{Geometry, Tap, TapTable};
use crate::ops::fill::Filled;
use crate::ops::storage::Element;
use rayon::prelude::*;
use std::borrow::Cow;
use std::sync::Arc;

/// Outputs per block of rows: a block of y and the rows of x it reads stay in the first-level cache.
const BLOCK_OUTPUTS: usize = 2048;

/// Independent partial sums of a dot product: one 512-bit register of f32, and a fixed order of additions on every
/// machine.
const LANES: usize = 16;

/// One tap, resolved for a geometry.
#[derive(Debug, Clone, Copy)]
struct Run {
    rows: (usize, usize),
    cols: (usize, usize),
    /// Index of the value that output (0, 0) would read in the phase planes; may be negative, since (0, 0) may be
    /// outside the valid range.
    origin: isize,
}

/// A tap table resolved for one geometry.
#[derive(Debug)]
pub(super) struct PlaneEngine {
    table: Arc<TapTable>,
    geometry: Geometry,
    runs: Vec<Vec<Run>>,
    /// Rows and columns of one phase plane.
    phase: (usize, usize),
}

impl PlaneEngine {
    /// Resolves every tap of the table.
    pub fn new(table: Arc<TapTable>, geometry: Geometry) -> Self {
        let (sh, sw) = geometry.stride;
        let phase = (geometry.input.0.div_ceil(sh), geometry.input.1.div_ceil(sw));
        let resolve = |tap: &Tap| {
            let valid = geometry.valid(*tap);
            let (a, b) = (tap.dh.rem_euclid(sh as i32) as usize, tap.dw.rem_euclid(sw as i32) as usize);
            let (o, v) = (tap.dh.div_euclid(sh as i32) as isize, tap.dw.div_euclid(sw as i32) as isize);
            let plane = (a * sw + b) * phase.0 * phase.1;
            Run { rows: valid.rows, cols: valid.cols, origin: plane as isize + o * phase.1 as isize + v }
        };
        let runs = table.groups().iter().map(|group| group.taps().iter().map(resolve).collect()).collect();
        PlaneEngine { table, geometry, runs, phase }
    }

    fn unit_stride(&self) -> bool {
        self.geometry.stride == (1, 1)
    }

    fn in_len(&self) -> usize {
        self.geometry.input.0 * self.geometry.input.1
    }

    fn out_len(&self) -> usize {
        self.geometry.output.0 * self.geometry.output.1
    }

    fn phases_len(&self) -> usize {
        self.geometry.stride.0 * self.geometry.stride.1 * self.phase.0 * self.phase.1
    }

    /// Copies a plane into its phases. Cells beyond the image stay as they are: no valid tap reads them.
    fn split<T: Element>(&self, plane: &[T], phases: &mut [T]) {
        let (sh, sw) = self.geometry.stride;
        let (ph, pw) = self.phase;
        for (row, line) in plane.chunks_exact(self.geometry.input.1).enumerate() {
            for b in 0..sw {
                let start = (((row % sh) * sw + b) * ph + row / sh) * pw;
                for (to, from) in phases[start..start + pw].iter_mut().zip(line.iter().skip(b).step_by(sw)) {
                    *to = *from;
                }
            }
        }
    }

    /// The inverse of [`PlaneEngine::split`].
    fn join<T: Element>(&self, phases: &[T], plane: &mut [T]) {
        let (sh, sw) = self.geometry.stride;
        let (ph, pw) = self.phase;
        for (row, line) in plane.chunks_exact_mut(self.geometry.input.1).enumerate() {
            for b in 0..sw {
                let start = (((row % sh) * sw + b) * ph + row / sh) * pw;
                for (to, from) in line.iter_mut().skip(b).step_by(sw).zip(&phases[start..start + pw]) {
                    *to = *from;
                }
            }
        }
    }

    fn runs_of(&self, channel: usize) -> &[Run] {
        &self.runs[self.table.group_of_channel()[channel]]
    }

    /// Writes planes of the result. `merged` has one weight per distinct tap of every channel.
    pub fn forward<'a, T: Element>(
        &self,
        x: &[T],
        merged: &[Cow<[T]>],
        bias: &[T],
        y: UnfilledPlanes<'a, '_, T>,
    ) -> Filled<'a> {
        let planes = y.into_par_iter().map_init(
            || self.scratch(),
            |phases, (image, channel, y)| {
                let x = self.plane(x, self.in_len(), image, channel);
                let (y, filled) = y.fill(bias[channel]);
                let source = if self.unit_stride() {
                    x
                } else {
                    self.split(x, phases);
                    phases
                };
                let (runs, w) = (self.runs_of(channel), &merged[channel][..]);
                simd(PlaneSum::<T, false> { plan: self, runs, w, target: y, source });
                filled
            },
        );
        planes.sum()
    }

    /// Writes planes of the gradient with respect to x.
    pub fn input_grad<'a, T: Element>(
        &self,
        dy: &[T],
        merged: &[Cow<[T]>],
        dx: UnfilledPlanes<'a, '_, T>,
    ) -> Filled<'a> {
        let planes = dx.into_par_iter().map_init(
            || self.scratch(),
            |phases, (image, channel, dx)| {
                let dy = self.plane(dy, self.out_len(), image, channel);
                let (dx, filled) = dx.fill(T::zero());
                let (runs, w) = (self.runs_of(channel), &merged[channel][..]);
                if self.unit_stride() {
                    simd(PlaneSum::<T, true> { plan: self, runs, w, target: dx, source: dy });
                } else {
                    phases.fill(T::zero());
                    simd(PlaneSum::<T, true> { plan: self, runs, w, target: phases, source: dy });
                    self.join(phases, dx);
                }
                filled
            },
        );
        planes.sum()
    }

    /// The gradients with respect to the distinct taps of each of `channels`; empty for the others.
    pub fn weight_grad<T: Element>(&self, x: &[T], dy: &[T], channels: &[bool]) -> Vec<Vec<T>> {
        let count = channels.len();
        let planes = x.par_chunks_exact(self.in_len()).zip(dy.par_chunks_exact(self.out_len())).enumerate();
        let per_plane: Vec<Vec<T>> = planes
            .map_init(
                || self.scratch(),
                |phases, (index, (x, dy))| {
                    if !channels[index % count] {
                        return Vec::new();
                    }
                    let source = if self.unit_stride() {
                        x
                    } else {
                        self.split(x, phases);
                        phases
                    };
                    let runs = self.runs_of(index % count);
                    let mut sums = vec![T::zero(); runs.len()];
                    simd(PlaneWeightGrad { plan: self, runs, dy, source, sums: &mut sums });
                    sums
                },
            )
            .collect();
        // Images in their order, so that the sum does not depend on threads.
        let mut total: Vec<Vec<T>> = per_plane[..count].to_vec();
        for (index, sums) in per_plane.iter().enumerate().skip(count) {
            for (to, &from) in total[index % count].iter_mut().zip(sums) {
                *to += from;
            }
        }
        total
    }

    /// A plane of `len` values of maps.
    fn plane<'a, T>(&self, maps: &'a [T], len: usize, image: usize, channel: usize) -> &'a [T] {
        &maps[(image * self.table.channels() + channel) * len..][..len]
    }

    fn scratch<T: Element>(&self) -> Vec<T> {
        if self.unit_stride() { Vec::new() } else { vec![T::zero(); self.phases_len()] }
    }

    /// Calls `f(tap, strip)` for every tap's rows within every block of output rows.
    #[inline(always)]
    fn for_strips(&self, runs: &[Run], mut f: impl FnMut(usize, Strip)) {
        let (rows, cols) = self.geometry.output;
        let block = (BLOCK_OUTPUTS / cols.max(1)).max(1);
        for first in (0..rows).step_by(block) {
            for (tap, run) in runs.iter().enumerate() {
                let (start, end) = (run.rows.0.max(first), run.rows.1.min(first + block));
                if start < end {
                    let source = run.origin + (start * self.phase.1 + run.cols.0) as isize;
                    f(
                        tap,
                        Strip {
                            rows: end - start,
                            len: run.cols.1 - run.cols.0,
                            out: start * cols + run.cols.0,
                            out_pitch: cols,
                            source: source as usize,
                            source_pitch: self.phase.1,
                        },
                    );
                }
            }
        }
    }
}

/// Some rows of one tap: where they start in the output plane and in the phase planes.
#[derive(Clone, Copy)]
struct Strip {
    rows: usize,
    len: usize,
    out: usize,
    out_pitch: usize,
    source: usize,
    source_pitch: usize,
}

impl Strip {
    /// Calls `f(start in the output plane, start in the phase planes)` for every row.
    #[inline(always)]
    fn for_rows(self, mut f: impl FnMut(usize, usize)) {
        for row in 0..self.rows {
            f(self.out + row * self.out_pitch, self.source + row * self.source_pitch);
        }
    }

    /// Calls `f(start in the output plane, start in the phase planes, the same of the next row)` for every second row.
    #[inline(always)]
    fn for_row_pairs(self, mut f: impl FnMut(usize, usize, Option<(usize, usize)>)) {
        let at = |row: usize| (self.out + row * self.out_pitch, self.source + row * self.source_pitch);
        for row in (0..self.rows).step_by(2) {
            let (out, from) = at(row);
            f(out, from, (row + 1 < self.rows).then(|| at(row + 1)));
        }
    }
}

/// Runs a plane's loops compiled for the widest vectors that the machine has.
fn simd(work: impl pulp::NullaryFnOnce<Output = ()>) {
    pulp::Arch::new().dispatch(work);
}

/// The scaled additions of one plane: from the phases to the outputs, or back if `BACK`.
struct PlaneSum<'a, T, const BACK: bool> {
    plan: &'a PlaneEngine,
    runs: &'a [Run],
    w: &'a [T],
    target: &'a mut [T],
    source: &'a [T],
}

impl<T: Element, const BACK: bool> pulp::NullaryFnOnce for PlaneSum<'_, T, BACK> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let PlaneSum { plan, runs, w, target, source } = self;
        plan.for_strips(
            runs,
            #[inline(always)]
            |tap, strip| {
                let len = strip.len;
                strip.for_rows(
                    #[inline(always)]
                    |out, phase| {
                        let (to, from) = if BACK { (phase, out) } else { (out, phase) };
                        axpy(&mut target[to..to + len], &source[from..from + len], w[tap]);
                    },
                );
            },
        );
    }
}

struct PlaneWeightGrad<'a, T> {
    plan: &'a PlaneEngine,
    runs: &'a [Run],
    dy: &'a [T],
    source: &'a [T],
    sums: &'a mut [T],
}

impl<T: Element> pulp::NullaryFnOnce for PlaneWeightGrad<'_, T> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let PlaneWeightGrad { plan, runs, dy, source, sums } = self;
        plan.for_strips(
            runs,
            #[inline(always)]
            |tap, strip| {
                let len = strip.len;
                // Local, so that the partial sums live in registers while the rows go by; two sets, so that a row need
                // not wait for the sums of the one before.
                let mut even = [T::zero(); LANES];
                let mut odd = [T::zero(); LANES];
                strip.for_row_pairs(
                    #[inline(always)]
                    |out, from, next| {
                        dot(&mut even, &dy[out..out + len], &source[from..from + len]);
                        if let Some((out, from)) = next {
                            dot(&mut odd, &dy[out..out + len], &source[from..from + len]);
                        }
                    },
                );
                sums[tap] += even.iter().chain(&odd).copied().sum::<T>();
            },
        );
    }
}

/// `y += w * x`. Multiplication and addition are kept apart so that every vector width rounds alike.
#[inline(always)]
fn axpy<T: Element>(y: &mut [T], x: &[T], w: T) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y += w * x;
    }
}

/// Adds the products of a and b to the lanes.
#[inline(always)]
fn dot<T: Element>(lanes: &mut [T; LANES], a: &[T], b: &[T]) {
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for i in 0..LANES {
            lanes[i] += a[i] * b[i];
        }
    }
    // Half a register at a time: the sides of feature maps are multiples of 7 or 8, seldom of 16.
    let (a_half, a_rest) = a_rest.as_chunks::<{ LANES / 2 }>();
    let (b_half, b_rest) = b_rest.as_chunks::<{ LANES / 2 }>();
    for (a, b) in a_half.iter().zip(b_half) {
        for i in 0..LANES / 2 {
            lanes[i] += a[i] * b[i];
        }
    }
    for ((lane, &a), &b) in lanes.iter_mut().zip(a_rest).zip(b_rest) {
        *lane += a * b;
    }
}
