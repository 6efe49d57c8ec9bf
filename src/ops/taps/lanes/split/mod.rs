//! Large kernels with fewer products: the fast FIR algorithm (Mou and Duhamel, *Short-length FIR filters and their use
//! in fast nonrecursive filtering*, IEEE Transactions on Signal Processing 39, 1991), along rows, columns or both.
//!
//! Along an axis, let `h_0` and `h_1` be the taps with even and odd offsets, and `y_0` and `y_1` the even and odd
//! outputs. Four sums of half the length on half the outputs become three:
//!
//! ```text
//! s[m]   = sum_j (h_0[j] + h_1[j]) x[2 (m + j) + 1]
//! y_0[m] = s[m] + sum_j h_0[j] (x[2 (m + j)]     - x[2 (m + j) + 1])
//! y_1[m] = s[m] + sum_j h_1[j] (x[2 (m + j) + 2] - x[2 (m + j) + 1])
//! ```
//!
//! Along both axes, nine sums of a quarter of the taps on a quarter of the outputs take the place of sixteen. Each is a
//! tap list like any other. Differences of pixels and sums of weights are rounded, but sums are shorter: errors are about
//! those of a direct sum. Products with pixels one beyond the kernel are added and taken off again, to rounding.

mod choice;
mod phase;
mod tasks;
#[cfg(test)]
mod tests;

pub(super) use tasks::{SplitCorrelateTask, SplitTask};

use super::kernels::{self, BlockBuffers, Prefetcher};
use super::plan::{BlockedLayout, GatherOutline, GatherPlan, IndexedTap, TapChunk, TapChunkOutlines};
use super::vector::Vector;
use super::{AlignedVec, Supported};
use crate::ops::taps::Geometry;
use choice::{COMBINED, COMBINED_FOR_WEIGHTS, SplitChoice};
use phase::Phase;

/// One of the sums.
#[derive(Debug)]
struct SubConv<W> {
    /// Along the rows' and the columns' axis.
    phases: (Phase, Phase),
    /// The layout of its source.
    layout: BlockedLayout,
    /// For each tap, the weights that are added up.
    weights: Vec<Vec<u32>>,
    /// What is done with it.
    work: W,
}

/// A sum over taps in parts, or the gradient of its weights.
#[derive(Debug)]
pub(super) struct SplitPlan<W> {
    /// The source, between a row of zeros above and one below.
    source: BlockedLayout,
    target: BlockedLayout,
    /// Results of a part.
    results: BlockedLayout,
    parts: Vec<SubConv<W>>,
}

/// The sums of the forward pass, or of the input gradient.
pub(super) type SplitSums = SplitPlan<GatherPlan>;

/// The weight gradient.
pub(super) type SplitCorrelations = SplitPlan<Vec<TapChunk>>;

/// Where a split sum is computed.
#[derive(Clone, Copy)]
pub(super) struct SplitBuffers {
    /// Room for [`SplitPlan::floats`] values each.
    pub places: [*mut f32; 4],
    /// The weights of all parts, as made by [`SplitPlan::merge`].
    pub weights: *const f32,
    /// What the sums start from, and zeros.
    pub starts: [*const f32; 2],
}

impl SplitSums {
    /// The sum over `taps` of pixels of `geometry.input`, for outputs `geometry.output`, in the parts that take the least
    /// time by estimate; none if that is the direct sum, or strides are not 1.
    pub fn new(set: Supported, taps: &[IndexedTap], geometry: &Geometry) -> Option<Self> {
        Some(Self::of(set, SplitChoice::best(taps, geometry, COMBINED)?, geometry))
    }

    fn of(set: Supported, choice: SplitChoice, geometry: &Geometry) -> Self {
        let lanes = set.lanes();
        choice.resolve(geometry, |taps, part| {
            let many = set.has_many_registers();
            let outline = GatherOutline::forward(taps, part).for_registers(many);
            let layout = GatherOutline::source_layout(&[&outline], part.input, lanes);
            (layout, outline.resolve(&layout, lanes, many))
        })
    }

    /// The weights of all parts from those of the taps, vectors of `lanes` values.
    pub fn merge(&self, lanes: usize, weights: &[f32]) -> AlignedVec {
        let taps = self.parts.iter().flat_map(|part| &part.weights);
        let mut merged = AlignedVec::zeros(taps.clone().count() * lanes);
        for (sum, indices) in merged.as_mut().chunks_exact_mut(lanes).zip(taps) {
            for &index in indices {
                let weights = &weights[index as usize * lanes..][..lanes];
                sum.iter_mut().zip(weights).for_each(|(sum, weight)| *sum += weight);
            }
        }
        merged
    }

    /// The sums of all parts, in the order in which they are computed.
    pub fn gathers(&self) -> impl Iterator<Item = &GatherPlan> {
        self.parts.iter().map(|part| &part.work)
    }

    /// Computes the sums of the source into the target, which has no halos.
    ///
    /// # Safety
    /// The places have the sizes of the plan, with the source in the first and cleared around it; the machine has the
    /// instructions.
    #[inline(always)]
    unsafe fn sums<V: Vector>(&self, SplitBuffers { places, weights, starts }: SplitBuffers, ahead: &mut Prefetcher) {
        let [source, target, part_source, results] = places;
        let mut weight = weights;
        for (index, part) in self.parts.iter().enumerate() {
            let bias = starts[usize::from(index > 0)];
            // SAFETY: the packed planes are those of the plan, and each part has its weights.
            unsafe {
                self.combine::<V>(part, source, part_source);
                let buffers = BlockBuffers { source: part_source, target: results, weights: weight, bias };
                kernels::gather::<V>(&part.work, &part.layout, &self.results, buffers, ahead);
                self.add::<V>(part, results, target, index == 0);
                weight = weight.add(part.weights.len() * V::LANES);
            }
        }
    }

    /// Adds the results of a part to all outputs that they belong to, or writes them there first.
    ///
    /// # Safety
    /// As [`SplitPlan::sums`].
    #[inline(always)]
    unsafe fn add<V: Vector>(&self, part: &SubConv<GatherPlan>, results: *const f32, target: *mut f32, first: bool) {
        self.for_outputs(part, |result, output| {
            // SAFETY: both are inside the packed planes.
            unsafe {
                let (from, to) = (results.add(result * V::LANES), target.add(output * V::LANES));
                let value = V::load_line(from);
                (if first { value } else { value.add(V::load_line(to)) }).store_line(to);
            }
        });
    }
}

impl SplitCorrelations {
    /// The weight gradient of the sum over `taps`, as [`SplitSums::new`].
    pub fn new(set: Supported, taps: &[IndexedTap], geometry: &Geometry) -> Option<Self> {
        Some(Self::of(set, SplitChoice::best(taps, geometry, COMBINED_FOR_WEIGHTS)?, geometry))
    }

    fn of(set: Supported, choice: SplitChoice, geometry: &Geometry) -> Self {
        choice.resolve(geometry, |taps, part| {
            let chunks = TapChunkOutlines::new(taps, part);
            let layout = BlockedLayout { halo: chunks.halo(), ..BlockedLayout::bare(part.input) };
            (layout, chunks.resolve(&layout, set.lanes()))
        })
    }

    /// Adds the gradients of the weights to `sums`, one vector for each: the source is x, the target dy.
    ///
    /// # Safety
    /// As [`SplitPlan::sums`]; dy is in the second of the places.
    #[inline(always)]
    unsafe fn correlate<V: Vector>(&self, places: [*mut f32; 4], sums: &mut [f32]) {
        let [x, dy, part_x, part_dy] = places;
        for part in &self.parts {
            let mut of_part = AlignedVec::zeros(part.weights.len() * V::LANES);
            // SAFETY: the packed planes are those of the plan, and there is a vector for each tap of the part.
            unsafe {
                self.combine::<V>(part, x, part_x);
                self.fold::<V>(part, dy, part_dy);
                let sums = of_part.as_mut().as_mut_ptr();
                kernels::correlate::<V>(&part.work, (1, 1), (&part.layout, part_x), (&self.results, part_dy), sums);
            }
            for (of_tap, indices) in of_part.as_ref().chunks_exact(V::LANES).zip(&part.weights) {
                for &index in indices {
                    let sums = &mut sums[index as usize * V::LANES..][..V::LANES];
                    sums.iter_mut().zip(of_tap).for_each(|(sum, value)| *sum += value);
                }
            }
        }
    }

    /// Adds up dy of all outputs that a result of the part belongs to.
    ///
    /// # Safety
    /// As [`SplitPlan::correlate`].
    #[inline(always)]
    unsafe fn fold<V: Vector>(&self, part: &SubConv<Vec<TapChunk>>, dy: *const f32, to: *mut f32) {
        // SAFETY: both are inside the packed planes.
        unsafe {
            for result in 0..self.results.len() {
                V::zero().store_line(to.add(result * V::LANES));
            }
            self.for_outputs(part, |result, output| {
                let to = to.add(result * V::LANES);
                V::load_line(to).add(V::load_line(dy.add(output * V::LANES))).store_line(to);
            });
        }
    }
}

impl<W> SplitPlan<W> {
    /// Values at each of the [`SplitBuffers`].
    pub fn floats(&self, lanes: usize) -> [usize; 4] {
        // With a row above and one below.
        let source = BlockedLayout { rows: self.source.rows + 2, ..self.source };
        let part = self.parts.iter().map(|part| part.layout.floats(lanes)).max().unwrap_or(0);
        [source.floats(lanes), self.target.floats(lanes), part, self.results.floats(lanes)]
    }

    /// The layout of the source, and how many values of its place are before it.
    fn source(&self, lanes: usize) -> (&BlockedLayout, usize) {
        (&self.source, self.source.pitch() * lanes)
    }

    /// The layout of the target.
    fn target(&self) -> &BlockedLayout {
        &self.target
    }

    /// Writes zeros around the place of the source.
    ///
    /// # Safety
    /// The place has [`SplitPlan::floats`] values and is aligned to vectors; the machine has the instructions.
    #[inline(always)]
    unsafe fn clear_around<V: Vector>(&self, place: *mut f32) {
        let (rows, pitch) = (self.source.rows, self.source.pitch());
        let around =
            (0..=pitch).chain((1..rows).map(|row| (1 + row) * pitch)).chain((rows + 1) * pitch..=(rows + 2) * pitch);
        for vector in around {
            // SAFETY: the last vector is the place's.
            unsafe { V::zero().store_line(place.add(vector * V::LANES)) };
        }
    }

    /// Writes the source of a part, halos included.
    ///
    /// # Safety
    /// As [`SplitPlan::sums`].
    #[inline(always)]
    unsafe fn combine<V: Vector>(&self, part: &SubConv<W>, source: *const f32, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe {
            match (part.phases.0.first().1, part.phases.1.first().1) {
                (None, None) => self.combine_by::<V, false, false>(part, source, to),
                (None, Some(_)) => self.combine_by::<V, false, true>(part, source, to),
                (Some(_), None) => self.combine_by::<V, true, false>(part, source, to),
                (Some(_), Some(_)) => self.combine_by::<V, true, true>(part, source, to),
            }
        }
    }

    /// `ROWS` and `COLS` say whether pixels are differences along that axis.
    ///
    /// # Safety
    /// As [`SplitPlan::sums`].
    #[inline(always)]
    unsafe fn combine_by<V: Vector, const ROWS: bool, const COLS: bool>(
        &self,
        part: &SubConv<W>,
        source: *const f32,
        mut to: *mut f32,
    ) {
        let (rows, cols) = part.phases;
        let ((row, row_less), (col, col_less)) = (rows.first(), cols.first());
        let pitch = self.source.pitch() as isize;
        let below = (row_less.unwrap_or(row) - row) * pitch * V::LANES as isize;
        let beside = (col_less.unwrap_or(col) - col) * V::LANES as isize;
        // SAFETY: pixels are read from one row and column before the source's to one behind.
        unsafe {
            let first = source.offset(((1 + row) * pitch + self.source.halo as isize + col) * V::LANES as isize);
            for r in 0..part.layout.rows {
                for _ in 0..part.layout.halo {
                    V::zero().store_line(to);
                    to = to.add(V::LANES);
                }
                let mut from = first.add(r * rows.step() * self.source.pitch() * V::LANES);
                for _ in 0..part.layout.cols {
                    let mut value = V::load_line(from);
                    if ROWS {
                        value = value.sub(V::load_line(from.wrapping_offset(below)));
                    }
                    if COLS {
                        let mut less = V::load_line(from.wrapping_offset(beside));
                        if ROWS {
                            less = less.sub(V::load_line(from.wrapping_offset(below + beside)));
                        }
                        value = value.sub(less);
                    }
                    value.store_line(to);
                    to = to.add(V::LANES);
                    from = from.wrapping_add(cols.step() * V::LANES);
                }
            }
            for _ in 0..part.layout.halo {
                V::zero().store_line(to);
                to = to.add(V::LANES);
            }
        }
    }

    /// Calls `f(result, output)` with the places of every result of the part and of all outputs that it belongs to.
    #[inline(always)]
    fn for_outputs(&self, part: &SubConv<W>, f: impl Fn(usize, usize)) {
        let (rows, cols) = part.phases;
        for (&a, &b) in rows.outputs().iter().flat_map(|a| cols.outputs().iter().map(move |b| (a, b))) {
            for (m, row) in (a..self.target.rows).step_by(rows.step()).enumerate() {
                for (n, col) in (b..self.target.cols).step_by(cols.step()).enumerate() {
                    f(self.results.index(m, n), self.target.index(row, col));
                }
            }
        }
    }
}
