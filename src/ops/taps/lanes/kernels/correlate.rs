//! The micro-kernel of sums over outputs: the weight gradient.

use crate::ops::taps::lanes::plan::{BlockedLayout, OutputRect, TapChunk};
use crate::ops::taps::lanes::vector::Vector;

/// Adds the weight gradients of a block to `sums` (taps by channels): `sum_pq dy[p, q] * x[stride * (p, q) + tap_i]`.
///
/// # Safety
/// The chunks were resolved for the packed plane of x; `dy` has its packed plane's size, `sums` one vector per tap; all are aligned to
/// vectors; the machine has the instructions.
#[inline(always)]
pub(in crate::ops::taps::lanes) unsafe fn correlate<V: Vector>(
    chunks: &[TapChunk],
    stride: (usize, usize),
    (x_layout, x): (&BlockedLayout, *const f32),
    (dy_layout, dy): (&BlockedLayout, *const f32),
    sums: *mut f32,
) {
    /// One instance of the kernel per number of taps.
    macro_rules! by_count {
        ($step:literal, $chunk:ident, $rect:ident: $($count:literal)*) => {
            match $rect.count {
                $($count => correlate_rect::<V, $count, $step>(
                    $chunk, $rect, stride, (x_layout, x), (dy_layout, dy), sums,
                ),)*
                // Chunks are never longer, and no taps have no gradient.
                _ => {}
            }
        };
    }
    // SAFETY: the caller's promise is what the rectangles need.
    unsafe {
        for chunk in chunks {
            for rect in &chunk.rects {
                match stride.1 {
                    1 => by_count!(1, chunk, rect: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
                    2 => by_count!(2, chunk, rect: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
                    _ => by_count!(0, chunk, rect: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
                }
            }
        }
    }
}

/// # Safety
/// As [`correlate`].
#[inline(always)]
unsafe fn correlate_rect<V: Vector, const TAPS: usize, const STEP: usize>(
    chunk: &TapChunk,
    rect: &OutputRect,
    stride: (usize, usize),
    (x_layout, x): (&BlockedLayout, *const f32),
    (dy_layout, dy): (&BlockedLayout, *const f32),
    sums: *mut f32,
) {
    let step = if STEP == 0 { stride.1 } else { STEP } * V::LANES;
    // The rectangle's taps are taps of the chunk.
    let (offsets, taps) = (&chunk.offsets[rect.first..], &chunk.taps[rect.first..]);
    let (Some(offsets), Some(taps)) = (offsets.first_chunk::<TAPS>(), taps.first_chunk::<TAPS>()) else { return };
    // SAFETY: the rectangle's rows and columns are inside dy's packed plane; offsets lead from the source pixel, which may lie
    // beyond x's packed plane, into the packed plane or its halo; the taps have vectors among the sums.
    unsafe {
        let mut totals = [V::zero(); TAPS];
        for p in rect.rows.0..rect.rows.1 {
            let mut dy = dy.add(dy_layout.index(p, rect.cols.0) * V::LANES);
            let mut from = x.wrapping_add(x_layout.index(p * stride.0, 0) * V::LANES + rect.cols.0 * step);
            let mut cols = rect.cols.1 - rect.cols.0;
            if V::MANY_REGISTERS && STEP == 1 && rect.neighbors {
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

/// Adds the sum of a packed plane's pixels to `total` (one vector): the bias gradient of a block.
///
/// # Safety
/// `dy` has the packed plane's size and is aligned to vectors, as is `total`; the machine has the instructions.
#[inline(always)]
pub(in crate::ops::taps::lanes) unsafe fn add_up<V: Vector>(layout: &BlockedLayout, dy: *const f32, total: *mut f32) {
    // SAFETY: rows and columns are inside the packed plane.
    unsafe {
        let mut all = V::load_line(total);
        for row in 0..layout.rows {
            let line = dy.add(layout.index(row, 0) * V::LANES);
            // Two sums, so that one addition need not wait for the one before; sums of rows round less.
            let (mut even, mut odd) = (V::zero(), V::zero());
            let mut col = 0;
            while col + 1 < layout.cols {
                even = even.add(V::load_line(line.add(col * V::LANES)));
                odd = odd.add(V::load_line(line.add((col + 1) * V::LANES)));
                col += 2;
            }
            if col < layout.cols {
                even = even.add(V::load_line(line.add(col * V::LANES)));
            }
            all = all.add(even.add(odd));
        }
        all.store_line(total);
    }
}
