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

use super::kernels::{self, Ahead, Buffers, Planes, Targets};
use super::plan::{Chunk, Chunks, Gather, Numbered, Outline, Sheet};
use super::vector::{Stored, Task, Vector};
use super::{Aligned, Supported, reading};
use crate::ops::taps::{Geometry, Tap};
use std::collections::BTreeMap;

/// Sums are split that take less than this share of the direct one's time, by an estimate that errs by a tenth.
const WORTHWHILE: f64 = 0.9;

/// Time of a vector of a part's source or result, in multiply-adds: pixels are combined, results are added.
const COMBINED: f64 = 5.0;
/// The same in the weight gradient, whose sums have fewer outputs to share what each takes by itself.
const COMBINED_FOR_WEIGHTS: f64 = 30.0;

/// Least columns of a part's results: narrower tiles lose what is gained.
const LEAST_COLUMNS: usize = 14;

/// What a part of the sums takes along one axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Half {
    /// Everything: the axis is not split.
    Whole,
    /// All taps on odd pixels, for all outputs.
    Sum,
    /// Even taps, on even pixels less their successors, for even outputs.
    Even,
    /// Odd taps, on even pixels less their predecessors, for odd outputs.
    Odd,
}

impl Half {
    fn all(split: bool) -> &'static [Half] {
        if split { &[Half::Sum, Half::Even, Half::Odd] } else { &[Half::Whole] }
    }

    /// Pixels from one to the next, and the same for outputs.
    fn step(self) -> usize {
        if self == Half::Whole { 1 } else { 2 }
    }

    /// Pixels of the part's source, of `size` pixels.
    fn pixels(self, size: usize) -> usize {
        match self {
            Half::Whole => size,
            Half::Sum => size / 2,
            Half::Even => size.div_ceil(2),
            Half::Odd => size / 2 + 1,
        }
    }

    /// Where the part's first pixel is, and where the pixel that is taken from it.
    fn first(self) -> (isize, Option<isize>) {
        match self {
            Half::Whole => (0, None),
            Half::Sum => (1, None),
            Half::Even => (0, Some(1)),
            Half::Odd => (0, Some(-1)),
        }
    }

    /// The offset of a tap in the part's source, if it belongs to the part.
    fn offset(self, offset: i32) -> Option<i32> {
        let half = offset.div_euclid(2);
        let odd = offset.rem_euclid(2) == 1;
        match self {
            Half::Whole => Some(offset),
            Half::Sum => Some(half),
            Half::Even => (!odd).then_some(half),
            Half::Odd => odd.then_some(half + 1),
        }
    }

    /// The first outputs that the part is added to.
    fn outputs(self) -> &'static [usize] {
        match self {
            Half::Whole | Half::Even => &[0],
            Half::Sum => &[0, 1],
            Half::Odd => &[1],
        }
    }
}

/// One of the sums.
#[derive(Debug)]
struct Part<W> {
    /// Along the rows' and the columns' axis.
    halves: (Half, Half),
    /// The layout of its source.
    sheet: Sheet,
    /// For each tap, the weights that are added up.
    weights: Vec<Vec<u32>>,
    /// What is done with it.
    work: W,
}

/// A sum over taps in parts, or the gradient of its weights.
#[derive(Debug)]
pub(super) struct Split<W> {
    /// The source, between a row of zeros above and one below.
    source: Sheet,
    target: Sheet,
    /// Results of a part.
    results: Sheet,
    parts: Vec<Part<W>>,
}

/// The sums of the forward pass, or of the input gradient.
pub(super) type SplitSums = Split<Gather>;

/// The weight gradient.
pub(super) type SplitCorrelations = Split<Vec<Chunk>>;

/// Where a split sum is computed.
#[derive(Clone, Copy)]
pub(super) struct Places {
    /// Room for [`Split::floats`] values each.
    pub places: [*mut f32; 4],
    /// The weights of all parts, as made by [`Split::merge`].
    pub weights: *const f32,
    /// What the sums start from, and zeros.
    pub starts: [*const f32; 2],
}

impl SplitSums {
    /// The sum over `taps` of pixels of `geometry.input`, for outputs `geometry.output`, in the parts that take the least
    /// time by estimate; none if that is the direct sum, or strides are not 1.
    pub fn new(set: Supported, taps: &[Numbered], geometry: &Geometry) -> Option<Self> {
        Some(Self::of(set, Choice::best(taps, geometry, COMBINED)?, geometry))
    }

    fn of(set: Supported, choice: Choice, geometry: &Geometry) -> Self {
        let lanes = set.lanes();
        choice.resolve(geometry, |taps, part| {
            let many = set.has_many_registers();
            let outline = Outline::forward(taps, part).for_registers(many);
            let sheet = Outline::source_sheet(&[&outline], part.input, lanes);
            (sheet, outline.resolve(&sheet, lanes, many))
        })
    }

    /// The weights of all parts from those of the taps, vectors of `lanes` values.
    pub fn merge(&self, lanes: usize, weights: &[f32]) -> Aligned {
        let taps = self.parts.iter().flat_map(|part| &part.weights);
        let mut merged = Aligned::zeros(taps.clone().count() * lanes);
        for (sum, indices) in merged.as_mut().chunks_exact_mut(lanes).zip(taps) {
            for &index in indices {
                let weights = &weights[index as usize * lanes..][..lanes];
                sum.iter_mut().zip(weights).for_each(|(sum, weight)| *sum += weight);
            }
        }
        merged
    }

    /// The sums of all parts, in the order in which they are computed.
    pub fn gathers(&self) -> impl Iterator<Item = &Gather> {
        self.parts.iter().map(|part| &part.work)
    }

    /// Computes the sums of the source into the target, which has no margins.
    ///
    /// # Safety
    /// The places have the sizes of the plan, with the source in the first and cleared around it; the machine has the
    /// instructions.
    #[inline(always)]
    unsafe fn sums<V: Vector>(&self, Places { places, weights, starts }: Places, ahead: &mut Ahead) {
        let [source, target, part_source, results] = places;
        let mut weight = weights;
        for (index, part) in self.parts.iter().enumerate() {
            let bias = starts[usize::from(index > 0)];
            // SAFETY: the sheets are those of the plan, and each part has its weights.
            unsafe {
                self.combine::<V>(part, source, part_source);
                let buffers = Buffers { source: part_source, target: results, weights: weight, bias };
                kernels::gather::<V>(&part.work, &part.sheet, &self.results, buffers, ahead);
                self.add::<V>(part, results, target, index == 0);
                weight = weight.add(part.weights.len() * V::LANES);
            }
        }
    }

    /// Adds the results of a part to all outputs that they belong to, or writes them there first.
    ///
    /// # Safety
    /// As [`Split::sums`].
    #[inline(always)]
    unsafe fn add<V: Vector>(&self, part: &Part<Gather>, results: *const f32, target: *mut f32, first: bool) {
        self.for_outputs(part, |result, output| {
            // SAFETY: both are inside the sheets.
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
    pub fn new(set: Supported, taps: &[Numbered], geometry: &Geometry) -> Option<Self> {
        Some(Self::of(set, Choice::best(taps, geometry, COMBINED_FOR_WEIGHTS)?, geometry))
    }

    fn of(set: Supported, choice: Choice, geometry: &Geometry) -> Self {
        choice.resolve(geometry, |taps, part| {
            let chunks = Chunks::new(taps, part);
            let sheet = Sheet { halo: chunks.halo(), ..Sheet::bare(part.input) };
            (sheet, chunks.resolve(&sheet, set.lanes()))
        })
    }

    /// Adds the gradients of the weights to `sums`, one vector for each: the source is x, the target dy.
    ///
    /// # Safety
    /// As [`Split::sums`]; dy is in the second of the places.
    #[inline(always)]
    unsafe fn correlate<V: Vector>(&self, places: [*mut f32; 4], sums: &mut [f32]) {
        let [x, dy, part_x, part_dy] = places;
        for part in &self.parts {
            let mut of_part = Aligned::zeros(part.weights.len() * V::LANES);
            // SAFETY: the sheets are those of the plan, and there is a vector for each tap of the part.
            unsafe {
                self.combine::<V>(part, x, part_x);
                self.fold::<V>(part, dy, part_dy);
                let sums = of_part.as_mut().as_mut_ptr();
                kernels::correlate::<V>(&part.work, (1, 1), (&part.sheet, part_x), (&self.results, part_dy), sums);
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
    /// As [`Split::correlate`].
    #[inline(always)]
    unsafe fn fold<V: Vector>(&self, part: &Part<Vec<Chunk>>, dy: *const f32, to: *mut f32) {
        // SAFETY: both are inside the sheets.
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

impl<W> Split<W> {
    /// Values at each of the [`Places`].
    pub fn floats(&self, lanes: usize) -> [usize; 4] {
        // With a row above and one below.
        let source = Sheet { rows: self.source.rows + 2, ..self.source };
        let part = self.parts.iter().map(|part| part.sheet.floats(lanes)).max().unwrap_or(0);
        [source.floats(lanes), self.target.floats(lanes), part, self.results.floats(lanes)]
    }

    /// The layout of the source, and how many values of its place are before it.
    fn source(&self, lanes: usize) -> (&Sheet, usize) {
        (&self.source, self.source.pitch() * lanes)
    }

    /// The layout of the target.
    fn target(&self) -> &Sheet {
        &self.target
    }

    /// Writes zeros around the place of the source.
    ///
    /// # Safety
    /// The place has [`Split::floats`] values and is aligned to vectors; the machine has the instructions.
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

    /// Writes the source of a part, margins included.
    ///
    /// # Safety
    /// As [`Split::sums`].
    #[inline(always)]
    unsafe fn combine<V: Vector>(&self, part: &Part<W>, source: *const f32, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe {
            match (part.halves.0.first().1, part.halves.1.first().1) {
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
    /// As [`Split::sums`].
    #[inline(always)]
    unsafe fn combine_by<V: Vector, const ROWS: bool, const COLS: bool>(
        &self,
        part: &Part<W>,
        source: *const f32,
        mut to: *mut f32,
    ) {
        let (rows, cols) = part.halves;
        let ((row, row_less), (col, col_less)) = (rows.first(), cols.first());
        let pitch = self.source.pitch() as isize;
        let below = (row_less.unwrap_or(row) - row) * pitch * V::LANES as isize;
        let beside = (col_less.unwrap_or(col) - col) * V::LANES as isize;
        // SAFETY: pixels are read from one row and column before the source's to one behind.
        unsafe {
            let first = source.offset(((1 + row) * pitch + self.source.halo as isize + col) * V::LANES as isize);
            for r in 0..part.sheet.rows {
                for _ in 0..part.sheet.halo {
                    V::zero().store_line(to);
                    to = to.add(V::LANES);
                }
                let mut from = first.add(r * rows.step() * self.source.pitch() * V::LANES);
                for _ in 0..part.sheet.cols {
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
            for _ in 0..part.sheet.halo {
                V::zero().store_line(to);
                to = to.add(V::LANES);
            }
        }
    }

    /// Calls `f(result, output)` with the places of every result of the part and of all outputs that it belongs to.
    #[inline(always)]
    fn for_outputs(&self, part: &Part<W>, f: impl Fn(usize, usize)) {
        let (rows, cols) = part.halves;
        for (&a, &b) in rows.outputs().iter().flat_map(|a| cols.outputs().iter().map(move |b| (a, b))) {
            for (m, row) in (a..self.target.rows).step_by(rows.step()).enumerate() {
                for (n, col) in (b..self.target.cols).step_by(cols.step()).enumerate() {
                    f(self.results.index(m, n), self.target.index(row, col));
                }
            }
        }
    }
}

/// One block through the forward pass or the input gradient, in parts.
pub(super) struct SplitTask<'a, T> {
    pub split: &'a SplitSums,
    /// The planes of the source and of the target.
    pub maps: (Planes<T>, Targets<T>),
    pub places: Places,
    pub ahead: Ahead,
}

impl<T: Stored> Task for SplitTask<'_, T> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let SplitTask { split, maps: (planes, targets), places, mut ahead } = self;
        let ([source, target, ..], (sheet, start)) = (places.places, split.source(V::LANES));
        // SAFETY: whoever made the task gave planes and places of the plan's sizes.
        unsafe {
            split.clear_around::<V>(source);
            kernels::copy_in::<V, T>(&planes, sheet, source.add(start));
            split.sums::<V>(places, &mut ahead);
            kernels::copy_out::<V, T>(target, split.target().len(), &targets);
        }
    }
}

/// The weight and bias gradients of one block, in parts.
pub(super) struct SplitCorrelateTask<'a> {
    pub split: &'a SplitCorrelations,
    /// x and dy.
    pub maps: [Planes<f32>; 2],
    /// Room for [`Split::floats`] values each.
    pub places: [*mut f32; 4],
    /// One vector per weight, and one for the bias.
    pub sums: &'a mut [f32],
}

impl Task for SplitCorrelateTask<'_> {
    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let SplitCorrelateTask { split, maps: [x, dy], places, sums } = self;
        let (sheet, start) = split.source(V::LANES);
        // SAFETY: whoever made the task gave planes and places of the plan's sizes, and sums with one vector per tap and one
        // more.
        unsafe {
            split.clear_around::<V>(places[0]);
            kernels::copy_in::<V, f32>(&x, sheet, places[0].add(start));
            kernels::copy_in::<V, f32>(&dy, split.target(), places[1]);
            split.correlate::<V>(places, sums);
            kernels::add_up::<V>(split.target(), places[1], sums.as_mut_ptr().add(sums.len() - V::LANES));
        }
    }
}

/// A part before its layouts are known: its taps, each with the weights that are added up, and its sizes.
struct Piece {
    halves: (Half, Half),
    taps: Vec<(Tap, Vec<u32>)>,
    geometry: Geometry,
}

impl Piece {
    fn new(taps: &[Numbered], whole: &Geometry, (row, col): (Half, Half)) -> Self {
        let geometry = Geometry {
            input: (row.pixels(whole.input.0), col.pixels(whole.input.1)),
            output: (whole.output.0.div_ceil(row.step()), whole.output.1.div_ceil(col.step())),
            stride: (1, 1),
        };
        let mut merged: BTreeMap<Tap, Vec<u32>> = BTreeMap::new();
        for &(tap, index) in taps {
            if let (Some(dh), Some(dw)) = (row.offset(tap.dh), col.offset(tap.dw)) {
                merged.entry(Tap { dh, dw }).or_default().push(index);
            }
        }
        Piece { halves: (row, col), taps: merged.into_iter().collect(), geometry }
    }

    /// The taps that read inside the part's source.
    fn reading(&self) -> Vec<Numbered> {
        reading(&self.taps.iter().map(|(tap, _)| *tap).collect::<Vec<_>>(), &self.geometry)
    }

    /// Estimated time, in multiply-adds of a vector.
    fn time(&self, combined: f64) -> f64 {
        let (input, output) = (self.geometry.input, self.geometry.output);
        let targets = self.halves.0.outputs().len() * self.halves.1.outputs().len();
        let vectors = input.0 * input.1 + targets * output.0 * output.1;
        Outline::forward(&self.reading(), &self.geometry).time() + combined * vectors as f64
    }
}

/// A way to split a sum.
struct Choice(Vec<Piece>);

impl Choice {
    /// The one that takes the least time by estimate, if that is much less than the direct sum's.
    fn best(taps: &[Numbered], geometry: &Geometry, combined: f64) -> Option<Self> {
        if geometry.stride != (1, 1) {
            return None;
        }
        let choices = [(true, true), (true, false), (false, true)].map(|axes| Self::new(taps, geometry, axes));
        let wide = choices.into_iter().filter(|Choice(pieces)| pieces[0].geometry.output.1 >= LEAST_COLUMNS);
        let timed = wide.map(|choice| (choice.0.iter().map(|piece| piece.time(combined)).sum::<f64>(), choice));
        let (time, choice) = timed.min_by(|a, b| a.0.total_cmp(&b.0))?;
        (time < WORTHWHILE * Outline::forward(taps, geometry).time()).then_some(choice)
    }

    /// With the axes split for which it is said.
    fn new(taps: &[Numbered], geometry: &Geometry, (rows, cols): (bool, bool)) -> Self {
        let halves = Half::all(rows).iter().flat_map(|&row| Half::all(cols).iter().map(move |&col| (row, col)));
        Choice(halves.map(|halves| Piece::new(taps, geometry, halves)).collect())
    }

    /// The layouts; `work` decides that of a part's source from its taps and sizes, and what is done with it.
    fn resolve<W>(self, geometry: &Geometry, work: impl Fn(&[Numbered], &Geometry) -> (Sheet, W)) -> Split<W> {
        let results = self.0.first().map_or((0, 0), |piece| piece.geometry.output);
        let part = |piece: Piece| {
            let (sheet, work) = work(&piece.reading(), &piece.geometry);
            Part {
                halves: piece.halves,
                sheet,
                weights: piece.taps.into_iter().map(|(_, weights)| weights).collect(),
                work,
            }
        };
        Split {
            source: Sheet { halo: 1, ..Sheet::bare(geometry.input) },
            target: Sheet::bare(geometry.output),
            results: Sheet::bare(results),
            parts: self.0.into_iter().map(part).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::vector::{MAX_LANES, dispatch};
    use super::super::{Start, with_room};
    use super::*;

    const AXES: [(bool, bool); 3] = [(true, true), (true, false), (false, true)];

    fn value(i: usize) -> f32 {
        (i * 7919 % 1009) as f32 / 1009.0 - 0.5
    }

    /// What the sums and the gradients of their weights should be, in lane 0 of planes `x` and `dy`.
    fn expected(taps: &[Tap], geometry: &Geometry, [x, dy, w]: [&[f32]; 3]) -> [Vec<f64>; 2] {
        let (height, width) = geometry.input;
        let mut y = vec![0.0; dy.len()];
        let mut dw = vec![0.0; taps.len()];
        for (out, (y, &dy)) in y.iter_mut().zip(dy).enumerate() {
            let (p, q) = (out / geometry.output.1, out % geometry.output.1);
            for (k, tap) in taps.iter().enumerate() {
                let (row, col) = (p as i64 + i64::from(tap.dh), q as i64 + i64::from(tap.dw));
                if (0..height as i64).contains(&row) && (0..width as i64).contains(&col) {
                    let x = f64::from(x[row as usize * width + col as usize]);
                    *y += f64::from(w[k]) * x;
                    dw[k] += f64::from(dy) * x;
                }
            }
        }
        [y, dw]
    }

    /// Every way to split follows the definition, on sides that are even or odd or smaller than the kernel, with more or
    /// fewer outputs than pixels, and with taps of any pattern.
    #[test]
    fn parts_follow_the_definition() {
        let rectangle = |height: i32, width: i32| -> Vec<Tap> {
            let tap = |i: i32| Tap { dh: i / width - height / 2, dw: i % width - width / 2 };
            (0..height * width).map(tap).collect()
        };
        let scattered = [(0, 0), (3, -4), (-2, 1), (5, 5), (-7, 0), (40, 1)].map(|(dh, dw)| Tap { dh, dw }).to_vec();
        let patterns = [rectangle(1, 1), rectangle(3, 3), rectangle(5, 4), rectangle(9, 7), scattered];
        let sizes = [((1, 1), (1, 1)), ((2, 3), (2, 3)), ((5, 8), (5, 8)), ((9, 7), (8, 9)), ((16, 15), (17, 14))];
        for (taps, ((input, output), axes)) in
            patterns.iter().flat_map(|taps| sizes.iter().flat_map(move |size| AXES.map(|axes| (taps, (*size, axes)))))
        {
            let geometry = Geometry { input, output, stride: (1, 1) };
            let pixels = |seed: usize, (rows, cols): (usize, usize)| -> Vec<f32> {
                (0..rows * cols).map(|i| value(i + seed)).collect()
            };
            let (x, dy) = (pixels(1, input), pixels(500, output));
            let w: Vec<f32> = (0..taps.len()).map(|i| value(i + 77)).collect();
            let [y, dw] = expected(taps, &geometry, [&x, &dy, &w]);
            for set in Supported::all() {
                let what = format!("{taps:?} on {geometry:?}, split {axes:?}, {set}");
                let numbered: Vec<Numbered> = taps.iter().copied().zip(0..).collect();
                let choice = || Choice::new(&numbered, &geometry, axes);
                let actual = sums(set, &SplitSums::of(set, choice(), &geometry), [&x, &w], output.0 * output.1);
                for (actual, expected) in actual.iter().zip(&y) {
                    assert!((f64::from(*actual) - expected).abs() < 1e-5, "{actual}, not {expected}: {what}");
                }
                let actual = gradients(set, &SplitCorrelations::of(set, choice(), &geometry), [&x, &dy], taps.len());
                for (actual, expected) in actual.iter().zip(dw.iter().chain([&dy.iter().map(|&v| f64::from(v)).sum()]))
                {
                    assert!((f64::from(*actual) - expected).abs() < 1e-5, "{actual}, not {expected}: {what}");
                }
            }
        }
    }

    /// Starts are a quarter, which is taken off again.
    fn sums(set: Supported, split: &SplitSums, [x, w]: [&[f32]; 2], outputs: usize) -> Vec<f32> {
        let lanes = set.lanes();
        let mut weights = Aligned::zeros(w.len() * lanes);
        weights.as_mut().chunks_exact_mut(lanes).zip(w).for_each(|(to, &w)| to.fill(w));
        let weights = split.merge(lanes, weights.as_ref());
        let starts = [Start([0.25; MAX_LANES]), Start([0.0; MAX_LANES])];
        let mut results = vec![vec![f32::NAN; outputs]; MAX_LANES];
        let mut planes = results.iter_mut().map(|plane| plane.as_mut_ptr()).collect::<Vec<_>>().into_iter();
        let targets = Targets {
            planes: std::array::from_fn(|_| planes.next().unwrap_or(std::ptr::null_mut())),
            count: lanes,
            stream: false,
        };
        with_room(split.floats(lanes), |places| {
            let starts = starts.each_ref().map(|start| start.0.as_ptr());
            let places = Places { places, weights: weights.as_ptr(), starts };
            let maps = ([x.as_ptr(); MAX_LANES], targets);
            // SAFETY: planes and places have the sizes of the plan, and the weights are merged for it.
            unsafe { dispatch(set, SplitTask::<f32> { split, maps, places, ahead: Ahead::nothing() }) };
        });
        for lane in &results[1..lanes] {
            assert_eq!(lane, &results[0]);
        }
        results.swap_remove(0).into_iter().map(|y| y - 0.25).collect()
    }

    fn gradients(set: Supported, split: &SplitCorrelations, [x, dy]: [&[f32]; 2], taps: usize) -> Vec<f32> {
        let lanes = set.lanes();
        let mut sums = Aligned::zeros((taps + 1) * lanes);
        with_room(split.floats(lanes), |places| {
            let maps = [x, dy].map(|map| [map.as_ptr(); MAX_LANES]);
            // SAFETY: planes and places have the sizes of the plan, and there is a vector of sums for each tap and one more.
            unsafe { dispatch(set, SplitCorrelateTask { split, maps, places, sums: sums.as_mut() }) };
        });
        sums.as_ref().iter().step_by(lanes).copied().collect()
    }

    /// Large kernels on large images are worth it; small ones, and small images, are not.
    #[test]
    fn what_is_split() {
        let split = |height: i32, width: i32, side: usize| {
            let tap = |i: i32| Tap { dh: i / width - height / 2, dw: i % width - width / 2 };
            let taps: Vec<Numbered> = (0..height * width).map(tap).zip(0..).collect();
            let geometry = Geometry { input: (side, side), output: (side, side), stride: (1, 1) };
            [COMBINED, COMBINED_FOR_WEIGHTS].map(|combined| Choice::best(&taps, &geometry, combined).is_some())
        };
        assert_eq!(split(31, 31, 56), [true, true]);
        for (height, width, side) in [(31, 31, 28), (13, 13, 28), (13, 13, 56), (51, 5, 56), (51, 5, 28)] {
            assert_eq!(split(height, width, side), [true, false], "{height}x{width} at {side}");
        }
        for (height, width, side) in [(7, 7, 56), (9, 9, 56), (1, 31, 56), (31, 1, 56), (13, 13, 14), (31, 31, 7)] {
            assert_eq!(split(height, width, side), [false, false], "{height}x{width} at {side}");
        }
    }
}
