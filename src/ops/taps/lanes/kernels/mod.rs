//! The inner loops. Everything is compiled into the task that calls it, with that task's instructions.

use super::plan::{Chunk, Gather, Pairs, Run, Runs, Sheet, Strip, Tile};
use super::vector::{MAX_LANES, Stored, Vector};

/// The planes of a block of channels in a tensor; missing channels repeat the first.
pub(super) type Planes<T> = [*const T; MAX_LANES];

/// The planes that a block's results go to: of the block's channels alone.
pub(super) struct Targets<T> {
    pub planes: [*mut T; MAX_LANES],
    pub count: usize,
    /// Whether to write past the caches.
    pub stream: bool,
}

/// Reads the planes of a block into a sheet: pixels by channels.
///
/// # Safety
/// The planes have `sheet.rows * sheet.cols` values, `to` has room for the sheet and is aligned to vectors; the machine
/// has the instructions.
#[inline(always)]
pub(super) unsafe fn copy_in<V: Vector, T: Stored>(planes: &Planes<T>, sheet: &Sheet, to: *mut f32) {
    let pixels = sheet.rows * sheet.cols;
    // SAFETY: `pixel` is below `pixels` and a group of V::LANES pixels ends at most there; rows and columns follow from
    // it, so that the sheet's index is inside the sheet.
    unsafe {
        if pixels < V::LANES {
            for pixel in 0..pixels {
                let line = to.add(sheet.index(pixel / sheet.cols, pixel % sheet.cols) * V::LANES);
                for (lane, plane) in planes.iter().enumerate().take(V::LANES) {
                    *line.add(lane) = (*plane.add(pixel)).to_f32();
                }
            }
            return;
        }
        let (mut row, mut col) = (0, 0);
        let mut pixel = 0;
        loop {
            let mut lines = [V::zero(); MAX_LANES];
            for lane in 0..V::LANES {
                lines[lane] = T::load(planes[lane].add(pixel));
            }
            V::transpose(&mut lines);
            let mut line = to.add(sheet.index(row, col) * V::LANES);
            if col + V::LANES <= sheet.cols {
                for (i, value) in lines.iter().enumerate().take(V::LANES) {
                    value.store_line(line.add(i * V::LANES));
                }
            } else {
                let margin = sheet.halo * V::LANES;
                let mut left = sheet.cols - col;
                for value in lines.iter().take(V::LANES) {
                    value.store_line(line);
                    line = line.add(V::LANES);
                    left -= 1;
                    if left == 0 {
                        line = line.add(margin);
                        left = sheet.cols;
                    }
                }
            }
            pixel += V::LANES;
            if pixel + V::LANES <= pixels {
                col += V::LANES;
                while col >= sheet.cols {
                    col -= sheet.cols;
                    row += 1;
                }
            } else if pixel < pixels {
                // The last group overlaps the one before it.
                pixel = pixels - V::LANES;
                (row, col) = (pixel / sheet.cols, pixel % sheet.cols);
            } else {
                return;
            }
        }
    }
}

/// Copies some vectors with their lanes moved: lane l becomes what was lane `l + by`, or zero.
///
/// # Safety
/// There are `count` vectors in both places, aligned; the machine has the instructions.
#[inline(always)]
pub(super) unsafe fn move_lanes<V: Vector>(from: *const f32, to: *mut f32, count: usize, by: i32) {
    for i in 0..count {
        // SAFETY: the caller's promise.
        unsafe { V::load_line(from.add(i * V::LANES)).move_lanes(by).store_line(to.add(i * V::LANES)) };
    }
}

/// Writes a sheet without margins to the planes of a block.
///
/// # Safety
/// The planes have `pixels` values that nothing else uses, `from` as many vectors and is aligned to them; if the targets
/// are streamed, planes and `pixels` are aligned to vectors; the machine has the instructions.
#[inline(always)]
pub(super) unsafe fn copy_out<V: Vector, T: Stored>(from: *const f32, pixels: usize, targets: &Targets<T>) {
    // SAFETY: the caller's promise; results are streamed only where they are aligned.
    unsafe {
        if targets.stream {
            copy_out_by::<V, T, true>(from, pixels, targets);
            V::fence();
        } else {
            copy_out_by::<V, T, false>(from, pixels, targets);
        }
    }
}

/// # Safety
/// As [`copy_out`]; with `STREAM`, planes and `pixels` are aligned to vectors.
#[inline(always)]
unsafe fn copy_out_by<V: Vector, T: Stored, const STREAM: bool>(from: *const f32, pixels: usize, targets: &Targets<T>) {
    // SAFETY: a group of V::LANES pixels ends at most at `pixels`; only the planes of the block's channels are written.
    unsafe {
        if pixels < V::LANES {
            for pixel in 0..pixels {
                for lane in 0..targets.count {
                    *targets.planes[lane].add(pixel) = T::from_f32(*from.add(pixel * V::LANES + lane));
                }
            }
            return;
        }
        let mut pixel = 0;
        loop {
            let mut lines = [V::zero(); MAX_LANES];
            for (i, line) in lines.iter_mut().enumerate().take(V::LANES) {
                *line = V::load_line(from.add((pixel + i) * V::LANES));
            }
            V::transpose(&mut lines);
            if targets.count == V::LANES {
                for (lane, &line) in lines.iter().enumerate().take(V::LANES) {
                    T::store::<V, STREAM>(line, targets.planes[lane].add(pixel));
                }
            } else {
                for (lane, &line) in lines.iter().enumerate().take(V::LANES) {
                    if lane < targets.count {
                        T::store::<V, STREAM>(line, targets.planes[lane].add(pixel));
                    }
                }
            }
            pixel += V::LANES;
            if pixel == pixels {
                return;
            }
            pixel = pixel.min(pixels - V::LANES);
        }
    }
}

/// The planes that a thread reads next. They are brought into the second-level cache while this block is computed:
/// otherwise memory waits for sums and sums for memory.
pub(super) struct Ahead {
    planes: Option<Planes<u8>>,
    /// Cache lines per plane, and how many to fetch before each row of a tile.
    lines: usize,
    per_row: usize,
    plane: usize,
    line: usize,
}

impl Ahead {
    const LINE: usize = 64;

    /// Fetches planes of `len` values during the given gathers.
    pub fn new<'a, T>(planes: Option<Planes<T>>, len: usize, gathers: impl Iterator<Item = &'a Gather>) -> Self {
        let lines = (len * size_of::<T>()).div_ceil(Self::LINE);
        let planes = planes.map(|planes| planes.map(<*const T>::cast));
        let rows: usize = gathers.flat_map(|gather| &gather.tiles).map(|tile| tile.runs[0].rows.len()).sum();
        Ahead { planes, lines, per_row: (lines * MAX_LANES).div_ceil(rows.max(1)), plane: 0, line: 0 }
    }

    /// Fetches nothing.
    pub fn nothing() -> Self {
        Ahead { planes: None, lines: 0, per_row: 0, plane: 0, line: 0 }
    }

    /// Fetches what belongs to one row of a tile.
    ///
    /// # Safety
    /// The machine has the instructions.
    #[inline(always)]
    unsafe fn advance<V: Vector>(&mut self) {
        let Some(planes) = &self.planes else { return };
        for _ in 0..self.per_row {
            if self.plane == V::LANES {
                return;
            }
            // SAFETY: the caller answers for the instructions. Nothing is read: a fetch of any address is allowed.
            unsafe { V::fetch(planes[self.plane].wrapping_add(self.line * Self::LINE)) };
            self.line += 1;
            if self.line == self.lines {
                (self.line, self.plane) = (0, self.plane + 1);
            }
        }
    }
}

/// What a gather reads and writes, in floats and aligned to vectors.
#[derive(Clone, Copy)]
pub(super) struct Buffers {
    /// The source sheet.
    pub source: *const f32,
    /// The target sheet, without margins.
    pub target: *mut f32,
    /// The weights of the block: taps by channels.
    pub weights: *const f32,
    /// What the sums start from.
    pub bias: *const f32,
}

/// Computes a gather for a block.
///
/// # Safety
/// The gather was resolved for `source`; the buffers are of the sizes of the sheets and the table; the machine has the
/// instructions.
#[inline(always)]
pub(super) unsafe fn gather<V: Vector>(
    gather: &Gather,
    source: &Sheet,
    target: &Sheet,
    buffers: Buffers,
    ahead: &mut Ahead,
) {
    /// One instance of the kernel per width of a tile.
    macro_rules! by_width {
        ($step:literal, $tile:ident: $($width:literal)*) => {
            match $tile.width {
                $($width => gather_tile::<V, $width, $step>(
                    gather, $tile, source, target, buffers, ahead,
                ),)*
                // Widths come from one list.
                _ => {}
            }
        };
    }
    // SAFETY: the caller's promise is what the tiles need.
    unsafe {
        for tile in &gather.tiles {
            match gather.stride.1 {
                1 => by_width!(1, tile: 14 8 7 4 2 1),
                2 => by_width!(2, tile: 14 8 7 4 2 1),
                _ => by_width!(0, tile: 14 8 7 4 2 1),
            }
        }
    }
}

/// One column of tiles. `STEP` is the horizontal stride, or 0 for one known at run time only.
///
/// # Safety
/// As [`gather`].
#[inline(always)]
unsafe fn gather_tile<V: Vector, const WIDTH: usize, const STEP: usize>(
    gather: &Gather,
    tile: &Tile,
    source: &Sheet,
    target: &Sheet,
    buffers: Buffers,
    ahead: &mut Ahead,
) {
    let step = if STEP == 0 { gather.stride.1 } else { STEP };
    // SAFETY: a run's offset leads from the tile's first source pixel into the sheet or its margin. The pixel itself may
    // lie beyond the sheet, where outputs reach beyond the image: hence the wrapping additions. Targets are inside theirs.
    unsafe {
        let bias = V::load_line(buffers.bias);
        let to_step = gather.step.1 * V::LANES;
        let from = |p: usize| {
            let pixel = source.index(p * gather.stride.0, tile.first * step);
            buffers.source.wrapping_add(pixel * V::LANES)
        };
        let to = |p: usize| {
            let row = gather.start.0 + p * gather.step.0;
            let pixel = target.index(row, gather.start.1 + tile.first * gather.step.1);
            buffers.target.add(pixel * V::LANES)
        };
        let rows = tile.runs[0].rows.len();
        let mut p = 0;
        if let Some(pairs) = tile.pairs.as_ref().filter(|_| V::MANY_REGISTERS && STEP == 1) {
            while p + 1 < rows {
                ahead.advance::<V>();
                ahead.advance::<V>();
                let mut upper = begin::<V, WIDTH>(tile, bias, to(p), to_step);
                let mut lower = begin::<V, WIDTH>(tile, bias, to(p + 1), to_step);
                add_pairs::<V, WIDTH>(from(p), pairs, p, buffers.weights, [&mut upper, &mut lower]);
                end(upper, to(p), to_step);
                end(lower, to(p + 1), to_step);
                p += 2;
            }
        }
        while p < rows {
            ahead.advance::<V>();
            let from = from(p);
            let mut sums = begin::<V, WIDTH>(tile, bias, to(p), to_step);
            let [ones, twos, threes, fours] = tile.runs.each_ref().map(|runs| of_row(runs, p));
            add_ones::<V, WIDTH>(from, ones, buffers.weights, step, &mut sums);
            if STEP == 1 {
                add_twos::<V, WIDTH>(from, twos, buffers.weights, &mut sums);
                add_threes::<V, WIDTH>(from, threes, buffers.weights, &mut sums);
                add_fours::<V, WIDTH>(from, fours, buffers.weights, &mut sums);
            }
            add_whole_rows::<V, WIDTH>(from, of_row(&tile.whole, p), buffers.weights, source.cols, &mut sums);
            end(sums, to(p), to_step);
            p += 1;
        }
    }
}

/// What the sums of a row of a tile start from.
///
/// # Safety
/// As [`gather`].
#[inline(always)]
unsafe fn begin<V: Vector, const WIDTH: usize>(tile: &Tile, bias: V, to: *const f32, step: usize) -> [V; WIDTH] {
    let mut sums = [bias; WIDTH];
    if !tile.starts {
        for (j, sum) in sums.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            *sum = unsafe { V::load_line(to.add(j * step)) };
        }
    }
    sums
}

/// Stores the sums of a row of a tile.
///
/// # Safety
/// As [`gather`].
#[inline(always)]
unsafe fn end<V: Vector, const WIDTH: usize>(sums: [V; WIDTH], mut to: *mut f32, step: usize) {
    for sum in sums {
        // SAFETY: the caller's promise; the last pointer is not used.
        unsafe { sum.store_line(to) };
        to = to.wrapping_add(step);
    }
}

/// The runs that read inside the image for a row of outputs.
///
/// # Safety
/// The row is one of the gather's.
#[inline(always)]
unsafe fn of_row(runs: &Runs, row: usize) -> &[Run] {
    // SAFETY: there is a range for every row, of existing runs.
    unsafe {
        let (first, end) = *runs.rows.get_unchecked(row);
        runs.runs.get_unchecked(first as usize..end as usize)
    }
}

/// Adds the taps of two rows of outputs, `row` and the next.
///
/// # Safety
/// As [`gather`]; the horizontal stride is 1.
#[inline(always)]
unsafe fn add_pairs<V: Vector, const WIDTH: usize>(
    source: *const f32,
    pairs: &Pairs,
    row: usize,
    weights: *const f32,
    [upper, lower]: [&mut [V; WIDTH]; 2],
) {
    // SAFETY: the caller's promise.
    unsafe {
        let [below, right, left] = pairs.shared.each_ref().map(|runs| of_row(runs, row));
        for run in below {
            let (from, [a, b]) = pair(source, run, weights);
            for j in 0..WIDTH {
                let value: V = V::load_line(from.add(j * V::LANES));
                upper[j] = value.multiply_add(a, upper[j]);
                lower[j] = value.multiply_add(b, lower[j]);
            }
        }
        for run in right {
            let (from, [a, b]) = pair(source, run, weights);
            add_aside(from, [b, a], [&mut *lower, &mut *upper]);
        }
        for run in left {
            let (from, [a, b]) = pair(source, run, weights);
            add_aside(from, [a, b], [&mut *upper, &mut *lower]);
        }
        let [of_upper, of_lower] = pairs.single.each_ref().map(|runs| of_row(runs, row));
        add_ones::<V, WIDTH>(source, of_upper, weights, 1, upper);
        add_ones::<V, WIDTH>(source, of_lower, weights, 1, lower);
    }
}

/// Where a pair of taps reads, and its weights.
///
/// # Safety
/// As [`gather`].
#[inline(always)]
unsafe fn pair<V: Vector>(source: *const f32, run: &Run, weights: *const f32) -> (*const f32, [V; 2]) {
    // SAFETY: the caller's promise.
    unsafe {
        let first = weights.add(run.weight as usize);
        (
            source.wrapping_offset(run.offset),
            [V::load_line(first), V::load_line(first.offset(run.weight_step as isize))],
        )
    }
}

/// Adds two taps of which the first reads one column to the right of the second.
///
/// # Safety
/// As [`gather`].
#[inline(always)]
unsafe fn add_aside<V: Vector, const WIDTH: usize>(
    from: *const f32,
    [right, left]: [V; 2],
    [of_right, of_left]: [&mut [V; WIDTH]; 2],
) {
    // SAFETY: the caller's promise.
    unsafe {
        of_left[0] = V::load_line(from).multiply_add(left, of_left[0]);
        for j in 1..WIDTH {
            let value: V = V::load_line(from.add(j * V::LANES));
            of_left[j] = value.multiply_add(left, of_left[j]);
            of_right[j - 1] = value.multiply_add(right, of_right[j - 1]);
        }
        of_right[WIDTH - 1] = V::load_line(from.add(WIDTH * V::LANES)).multiply_add(right, of_right[WIDTH - 1]);
    }
}

/// Adds rows of taps that read all of a row of the image: `sums[j] += sum_i w[i - j] * row[i]`. Every pixel is loaded
/// once, and weights are read from memory.
///
/// # Safety
/// As [`gather`].
#[inline(always)]
unsafe fn add_whole_rows<V: Vector, const WIDTH: usize>(
    source: *const f32,
    runs: &[Run],
    weights: *const f32,
    cols: usize,
    sums: &mut [V; WIDTH],
) {
    // SAFETY: the caller's promise.
    unsafe {
        for run in runs {
            let (from, weight) = (source.wrapping_offset(run.offset), weights.wrapping_add(run.weight as usize));
            if run.weight_step > 0 {
                add_whole_row::<V, WIDTH, 1>(from, weight, cols, sums);
            } else {
                add_whole_row::<V, WIDTH, -1>(from, weight, cols, sums);
            }
        }
    }
}

/// # Safety
/// As [`gather`].
#[inline(always)]
unsafe fn add_whole_row<V: Vector, const WIDTH: usize, const STEP: isize>(
    mut from: *const f32,
    mut weight: *const f32,
    cols: usize,
    sums: &mut [V; WIDTH],
) {
    // SAFETY: the caller's promise: there is a tap for every column as seen from every output of the tile.
    unsafe {
        for _ in 0..cols {
            let value = V::load_line(from);
            for (j, sum) in sums.iter_mut().enumerate() {
                let weight = V::load_line(weight.wrapping_offset(-(j as isize) * STEP * V::LANES as isize));
                *sum = weight.multiply_add(value, *sum);
            }
            from = from.wrapping_add(V::LANES);
            weight = weight.wrapping_offset(STEP * V::LANES as isize);
        }
    }
}

/// Adds single taps: `sums[j] += w * source[offset + step * j]`.
///
/// # Safety
/// As [`gather`].
#[inline(always)]
unsafe fn add_ones<V: Vector, const WIDTH: usize>(
    source: *const f32,
    runs: &[Run],
    weights: *const f32,
    step: usize,
    sums: &mut [V; WIDTH],
) {
    // SAFETY: the caller's promise.
    unsafe {
        for run in runs {
            let from = source.wrapping_offset(run.offset);
            let weight = V::load_line(weights.add(run.weight as usize));
            for (j, sum) in sums.iter_mut().enumerate() {
                *sum = V::load_line(from.add(j * step * V::LANES)).multiply_add(weight, *sum);
            }
        }
    }
}

/// A function that adds runs of neighboring taps: `sums[j] += sum_i w[i] * source[offset + i + j]`. The values of an
/// output stay in registers for the next one, so that each is loaded once. Written out per length: in a generic loop the
/// compiler keeps the sums in memory.
macro_rules! add_runs {
    ($name:ident: $last:literal $w_last:ident $x_last:ident, $($i:literal $w:ident $x:ident $next:ident),*) => {
        /// # Safety
        /// As [`gather`]; the horizontal stride is 1.
        #[inline(always)]
        unsafe fn $name<V: Vector, const WIDTH: usize>(
            source: *const f32,
            runs: &[Run],
            weights: *const f32,
            sums: &mut [V; WIDTH],
        ) {
            // SAFETY: the caller's promise.
            unsafe {
                for run in runs {
                    let from = source.wrapping_offset(run.offset);
                    let first = weights.add(run.weight as usize);
                    let step = run.weight_step as isize;
                    $(let $w = V::load_line(first.offset($i * step));)*
                    let $w_last = V::load_line(first.offset($last * step));
                    $(let mut $x = V::load_line(from.add($i * V::LANES));)*
                    for (j, sum) in sums.iter_mut().enumerate() {
                        let $x_last = V::load_line(from.add((j + $last) * V::LANES));
                        $(*sum = $x.multiply_add($w, *sum);)*
                        *sum = $x_last.multiply_add($w_last, *sum);
                        $($x = $next;)*
                    }
                }
            }
        }
    };
}
add_runs!(add_twos: 1 w1 x1, 0 w0 x0 x1);
add_runs!(add_threes: 2 w2 x2, 0 w0 x0 x1, 1 w1 x1 x2);
add_runs!(add_fours: 3 w3 x3, 0 w0 x0 x1, 1 w1 x1 x2, 2 w2 x2 x3);

/// Adds the weight gradients of a block to `sums` (taps by channels): `sum_pq dy[p, q] * x[stride * (p, q) + tap_i]`.
///
/// # Safety
/// The chunks were resolved for the sheet of x; `dy` has its sheet's size, `sums` one vector per tap; all are aligned to
/// vectors; the machine has the instructions.
#[inline(always)]
pub(super) unsafe fn correlate<V: Vector>(
    chunks: &[Chunk],
    stride: (usize, usize),
    (x_sheet, x): (&Sheet, *const f32),
    (dy_sheet, dy): (&Sheet, *const f32),
    sums: *mut f32,
) {
    /// One instance of the kernel per number of taps.
    macro_rules! by_count {
        ($step:literal, $chunk:ident, $strip:ident: $($count:literal)*) => {
            match $strip.count {
                $($count => correlate_strip::<V, $count, $step>(
                    $chunk, $strip, stride, (x_sheet, x), (dy_sheet, dy), sums,
                ),)*
                // Chunks are never longer, and no taps have no gradient.
                _ => {}
            }
        };
    }
    // SAFETY: the caller's promise is what the strips need.
    unsafe {
        for chunk in chunks {
            for strip in &chunk.strips {
                match stride.1 {
                    1 => by_count!(1, chunk, strip: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
                    2 => by_count!(2, chunk, strip: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
                    _ => by_count!(0, chunk, strip: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
                }
            }
        }
    }
}

/// # Safety
/// As [`correlate`].
#[inline(always)]
unsafe fn correlate_strip<V: Vector, const TAPS: usize, const STEP: usize>(
    chunk: &Chunk,
    strip: &Strip,
    stride: (usize, usize),
    (x_sheet, x): (&Sheet, *const f32),
    (dy_sheet, dy): (&Sheet, *const f32),
    sums: *mut f32,
) {
    let step = if STEP == 0 { stride.1 } else { STEP } * V::LANES;
    // The strip's taps are taps of the chunk.
    let (offsets, taps) = (&chunk.offsets[strip.first..], &chunk.taps[strip.first..]);
    let (Some(offsets), Some(taps)) = (offsets.first_chunk::<TAPS>(), taps.first_chunk::<TAPS>()) else { return };
    // SAFETY: the strip's rows and columns are inside dy's sheet; offsets lead from the source pixel, which may lie
    // beyond x's sheet, into the sheet or its margin; the taps have vectors among the sums.
    unsafe {
        let mut totals = [V::zero(); TAPS];
        for p in strip.rows.0..strip.rows.1 {
            let mut dy = dy.add(dy_sheet.index(p, strip.cols.0) * V::LANES);
            let mut from = x.wrapping_add(x_sheet.index(p * stride.0, 0) * V::LANES + strip.cols.0 * step);
            let mut cols = strip.cols.1 - strip.cols.0;
            if V::MANY_REGISTERS && STEP == 1 && strip.neighbours {
                // Neighboring taps read neighboring values: of four outputs, each value is loaded once.
                while cols >= 4 {
                    let gradient = |j: usize| V::load_line(dy.add(j * V::LANES));
                    let (g0, g1, g2, g3) = (gradient(0), gradient(1), gradient(2), gradient(3));
                    let first = from.wrapping_offset(offsets[0]);
                    let value = |i: usize| V::load_line(first.add(i * V::LANES));
                    let (mut x0, mut x1, mut x2) = (value(0), value(1), value(2));
                    for (i, total) in totals.iter_mut().enumerate() {
                        let x3 = value(i + 3);
                        *total = x0.multiply_add(g0, *total);
                        *total = x1.multiply_add(g1, *total);
                        *total = x2.multiply_add(g2, *total);
                        *total = x3.multiply_add(g3, *total);
                        (x0, x1, x2) = (x1, x2, x3);
                    }
                    dy = dy.add(4 * V::LANES);
                    from = from.wrapping_add(4 * step);
                    cols -= 4;
                }
            }
            // Two outputs at a time, so that an offset is read once for both.
            for _ in 0..cols / 2 {
                let (first, second) = (V::load_line(dy), V::load_line(dy.add(V::LANES)));
                for (total, &offset) in totals.iter_mut().zip(offsets) {
                    let from = from.wrapping_offset(offset);
                    *total = V::load_line(from).multiply_add(first, *total);
                    *total = V::load_line(from.add(step)).multiply_add(second, *total);
                }
                dy = dy.add(2 * V::LANES);
                from = from.wrapping_add(2 * step);
            }
            if cols % 2 == 1 {
                let gradient = V::load_line(dy);
                for (total, &offset) in totals.iter_mut().zip(offsets) {
                    *total = V::load_line(from.wrapping_offset(offset)).multiply_add(gradient, *total);
                }
            }
        }
        for (total, &tap) in totals.into_iter().zip(taps) {
            let to = sums.add(tap as usize * V::LANES);
            let one_more = total.add(V::load_line(to));
            one_more.store_line(to);
        }
    }
}

/// Adds the sum of a sheet's pixels to `total` (one vector): the bias gradient of a block.
///
/// # Safety
/// `dy` has the sheet's size and is aligned to vectors, as is `total`; the machine has the instructions.
#[inline(always)]
pub(super) unsafe fn add_up<V: Vector>(sheet: &Sheet, dy: *const f32, total: *mut f32) {
    // SAFETY: rows and columns are inside the sheet.
    unsafe {
        let mut all = V::load_line(total);
        for row in 0..sheet.rows {
            let line = dy.add(sheet.index(row, 0) * V::LANES);
            // Two sums, so that one addition need not wait for the one before; sums of rows round less.
            let (mut even, mut odd) = (V::zero(), V::zero());
            let mut col = 0;
            while col + 1 < sheet.cols {
                even = even.add(V::load_line(line.add(col * V::LANES)));
                odd = odd.add(V::load_line(line.add((col + 1) * V::LANES)));
                col += 2;
            }
            if col < sheet.cols {
                even = even.add(V::load_line(line.add(col * V::LANES)));
            }
            all = all.add(even.add(odd));
        }
        all.store_line(total);
    }
}
