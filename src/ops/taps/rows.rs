//! The engine with one lane per pixel of a row: forward pass and input gradient of channels with taps of their own, in
//! f32 at stride 1.
//!
//! A plane is copied between margins of zeros; then each tap of a few rows of outputs is one broadcast weight and one
//! multiply-add per vector of pixels, with the sums in registers: two rows of four vectors, or, where images are
//! narrower than that, four rows of one or two. Most loads straddle two cache lines, so a tap costs
//! about twice as much as in the engine with one lane per channel, but only the channel's own taps are computed: this is
//! what makes pruned kernels cheaper.

use super::Tap;
use super::lanes::scratch::{Owner, with_buffers};
use super::lanes::vector::{InstructionSet, MAX_LANES, Task, Vector, dispatch};
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// Most vectors of one row that are added up together.
const VECTORS: usize = 4;

/// Most rows that are added up together. More would hide the latency of additions better, but compute more taps that
/// read inside the image for some of the rows alone.
const ROWS: usize = 4;

/// One tap: where it reads relative to an output, and which of the channel's weights it has.
#[derive(Debug, Clone, Copy)]
struct Entry {
    dh: i32,
    offset: isize,
    weight: usize,
}

/// Sums over taps from planes of one size to planes of another: `y[p, q] = start + sum_i w_i * x[p + dh_i, q + dw_i]`.
#[derive(Debug)]
pub(super) struct Rows {
    set: InstructionSet,
    owner: Owner,
    source: (usize, usize),
    target: (usize, usize),
    margin: usize,
    /// The taps of each group of the table, by rows.
    groups: Vec<Vec<Entry>>,
}

impl Rows {
    /// For the taps of each group; `source` and `target` are heights and widths.
    pub fn new<'a>(
        set: InstructionSet,
        groups: impl Iterator<Item = Vec<Tap>> + Clone + 'a,
        source: (usize, usize),
        target: (usize, usize),
    ) -> Self {
        // A tap further away than an image is wide reads nothing but zeros.
        let reach = source.1.max(target.1) as i32;
        let reads = move |tap: &Tap| tap.dw.abs() < reach;
        let margin =
            groups.clone().flatten().filter(reads).map(|tap| tap.dw.unsigned_abs() as usize).max().unwrap_or(0);
        // Outputs beyond the source's width read further right.
        let margin = margin + target.1.saturating_sub(source.1);
        let mut rows = Rows { set, owner: Owner::new(), source, target, margin, groups: Vec::new() };
        let pitch = rows.pitch() as isize;
        rows.groups = groups
            .map(|taps| {
                let mut sorted: Vec<(Tap, usize)> = taps
                    .into_iter()
                    .enumerate()
                    .map(|(index, tap)| (tap, index))
                    .filter(|(tap, _)| reads(tap))
                    .collect();
                sorted.sort_unstable();
                let entry = |(tap, weight): (Tap, usize)| Entry {
                    dh: tap.dh,
                    offset: tap.dh as isize * pitch + tap.dw as isize,
                    weight,
                };
                sorted.into_iter().map(entry).collect()
            })
            .collect();
        rows
    }

    /// Floats from one row of the padded plane to the next: one margin serves both rows beside it.
    fn pitch(&self) -> usize {
        self.source.1 + self.margin
    }

    /// Floats before a pixel of the padded plane. The `ROWS - 1` rows before row 0 are zeros.
    fn index(&self, row: usize, col: usize) -> usize {
        self.margin + (row + ROWS - 1) * self.pitch() + col
    }

    /// Floats of the padded plane: rows of zeros above and below, since outputs are computed in blocks of rows, and what
    /// vectors read beyond the last pixel.
    fn padded_len(&self) -> usize {
        self.index(self.source.0 + ROWS, self.margin) + VECTORS * MAX_LANES
    }

    /// Writes the planes of `channels` into `y`. `group_of_channel` and `weights` (one value per distinct tap) are per
    /// channel, as is what the sums `start` from.
    pub fn apply(
        &self,
        x: &[f32],
        group_of_channel: &[usize],
        weights: &[&[f32]],
        start: &[f32],
        y: &mut [MaybeUninit<f32>],
        channels: &[bool],
    ) {
        let (in_len, out_len) = (self.source.0 * self.source.1, self.target.0 * self.target.1);
        let count = channels.len();
        let planes = y.par_chunks_exact_mut(out_len).zip(x.par_chunks_exact(in_len)).enumerate();
        planes.filter(|(index, _)| channels[index % count]).for_each(|(index, (y, x))| {
            let channel = index % count;
            with_buffers(self.owner, [self.padded_len(), 0, 0], |[padded, ..]| {
                let task = PlaneTask {
                    rows: self,
                    entries: &self.groups[group_of_channel[channel]],
                    weights: weights[channel],
                    start: start[channel],
                    x,
                    padded,
                    y,
                };
                // SAFETY: the instruction set is available, and the buffer has room for the padded plane.
                unsafe { dispatch(self.set, task) };
            });
        });
    }
}

/// One plane.
struct PlaneTask<'a> {
    rows: &'a Rows,
    entries: &'a [Entry],
    weights: &'a [f32],
    start: f32,
    x: &'a [f32],
    padded: *mut f32,
    y: &'a mut [MaybeUninit<f32>],
}

impl Task for PlaneTask<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        // SAFETY: the caller's promise.
        unsafe {
            match self.rows.target.1.div_ceil(V::LANES) {
                1 => self.blocks::<V, 4, 1>(),
                2 => self.blocks::<V, 4, 2>(),
                _ => self.blocks::<V, 2, VECTORS>(),
            }
        }
    }
}

impl PlaneTask<'_> {
    /// Computes the plane in blocks of R rows of C vectors.
    ///
    /// # Safety
    /// As [`Task::run`]; R is at most `ROWS` and C at most `VECTORS`.
    #[inline(always)]
    unsafe fn blocks<V: Vector, const R: usize, const C: usize>(self) {
        let PlaneTask { rows, entries, weights, start, x, padded, y } = self;
        let pitch = rows.pitch();
        // SAFETY: a row and its place between the margins are inside x and the padded plane.
        unsafe {
            for (row, values) in x.chunks_exact(rows.source.1).enumerate() {
                let to = padded.add(rows.index(row, 0));
                to.copy_from_nonoverlapping(values.as_ptr(), values.len());
            }
        }
        let (height, width) = rows.target;
        for p in (0..height).step_by(R) {
            // Taps that read inside the image for one of the rows.
            let first = entries.partition_point(|entry| i64::from(entry.dh) < -((p + R - 1) as i64));
            let end = entries.partition_point(|entry| i64::from(entry.dh) < rows.source.0 as i64 - p as i64);
            let taps = &entries[first..end.max(first)];
            let mut q = 0;
            while q < width {
                let from = padded.wrapping_add(rows.index(p, q));
                // SAFETY: the taps read rows 1 - R to height + R - 2 of the image and columns from -margin to what
                // vectors read beyond the last pixel; all of that is in the padded plane.
                let sums = unsafe { block::<V, R, C>(from, pitch, taps, weights, start) };
                let cols = (C * V::LANES).min(width - q);
                for (row, sums) in sums.iter().enumerate().take(height - p) {
                    let to = &mut y[(p + row) * width + q..][..cols];
                    for (to, sum) in to.chunks_mut(V::LANES).zip(sums) {
                        // SAFETY: a whole vector where there is room, else through a buffer of that size.
                        unsafe {
                            if to.len() == V::LANES {
                                sum.store(to.as_mut_ptr().cast());
                            } else {
                                let mut lanes = [0f32; MAX_LANES];
                                sum.store(lanes.as_mut_ptr());
                                to.write_copy_of_slice(&lanes[..to.len()]);
                            }
                        }
                    }
                }
                q += C * V::LANES;
            }
        }
    }
}

/// The sums of C vectors of outputs in R rows.
///
/// # Safety
/// `x` is where the first output reads without a tap, which may be outside; all that the taps read from there is in the
/// padded plane; there is a weight for each. The machine has the instructions.
#[inline(always)]
unsafe fn block<V: Vector, const R: usize, const C: usize>(
    x: *const f32,
    pitch: usize,
    taps: &[Entry],
    weights: &[f32],
    start: f32,
) -> [[V; C]; R] {
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [[V::splat(start); C]; R];
        for tap in taps {
            let weight = V::splat(*weights.get_unchecked(tap.weight));
            let from = x.wrapping_offset(tap.offset);
            for (row, sums) in sums.iter_mut().enumerate() {
                let from = from.add(row * pitch);
                for (i, sum) in sums.iter_mut().enumerate() {
                    *sum = V::load(from.add(i * V::LANES)).multiply_add(weight, *sum);
                }
            }
        }
        sums
    }
}
