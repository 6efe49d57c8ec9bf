//! The micro-kernel of sums over taps: the forward pass and the input gradient.

use super::{BlockBuffers, Prefetcher};
use crate::ops::taps::lanes::plan::{BlockedLayout, GatherPlan, RowPairs, TapRun, TapRuns, TileColumn};
use crate::ops::taps::lanes::vector::Vector;

/// Computes a gather for a block.
///
/// # Safety
/// The gather was resolved for `source`; the buffers are of the sizes of the packed planes and the table; the machine has the
/// instructions.
#[inline(always)]
pub(in crate::ops::taps::lanes) unsafe fn gather<V: Vector>(
    gather: &GatherPlan,
    source: &BlockedLayout,
    target: &BlockedLayout,
    buffers: BlockBuffers,
    ahead: &mut Prefetcher,
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
    gather: &GatherPlan,
    tile: &TileColumn,
    source: &BlockedLayout,
    target: &BlockedLayout,
    buffers: BlockBuffers,
    ahead: &mut Prefetcher,
) {
    let step = if STEP == 0 { gather.stride.1 } else { STEP };
    // SAFETY: a run's offset leads from the tile's first source pixel into the packed plane or its halo. The pixel itself may
    // lie beyond the packed plane, where outputs reach beyond the image: hence the wrapping additions. Targets are inside theirs.
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
unsafe fn begin<V: Vector, const WIDTH: usize>(tile: &TileColumn, bias: V, to: *const f32, step: usize) -> [V; WIDTH] {
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
unsafe fn of_row(runs: &TapRuns, row: usize) -> &[TapRun] {
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
    pairs: &RowPairs,
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
unsafe fn pair<V: Vector>(source: *const f32, run: &TapRun, weights: *const f32) -> (*const f32, [V; 2]) {
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
    runs: &[TapRun],
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
    runs: &[TapRun],
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
            runs: &[TapRun],
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
