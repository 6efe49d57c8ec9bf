//! Between the planes of tensors and the blocked layout.

use super::{SourcePlanes, TargetPlanes};
use crate::ops::taps::lanes::plan::BlockedLayout;
use crate::ops::taps::lanes::vector::{MAX_LANES, Stored, Vector};

/// Reads the planes of a block into a packed plane: pixels by channels.
///
/// # Safety
/// The planes have `layout.rows * layout.cols` values, `to` has space for the packed plane and is aligned to vectors; the machine
/// has the instructions.
#[inline(always)]
pub(in crate::ops::taps::lanes) unsafe fn pack<V: Vector, T: Stored>(
    planes: &SourcePlanes<T>,
    layout: &BlockedLayout,
    to: *mut f32,
) {
    let pixels = layout.rows * layout.cols;
    // SAFETY: `pixel` is below `pixels` and a group of V::LANES pixels ends at most there; rows and columns follow from
    // it, so that the packed plane's index is inside the packed plane.
    unsafe {
        if pixels < V::LANES {
            for pixel in 0..pixels {
                let line = to.add(layout.index(pixel / layout.cols, pixel % layout.cols) * V::LANES);
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
            let mut line = to.add(layout.index(row, col) * V::LANES);
            if col + V::LANES <= layout.cols {
                for (i, value) in lines.iter().enumerate().take(V::LANES) {
                    value.store_line(line.add(i * V::LANES));
                }
            } else {
                let margin = layout.halo * V::LANES;
                let mut left = layout.cols - col;
                for value in lines.iter().take(V::LANES) {
                    value.store_line(line);
                    line = line.add(V::LANES);
                    left -= 1;
                    if left == 0 {
                        line = line.add(margin);
                        left = layout.cols;
                    }
                }
            }
            pixel += V::LANES;
            if pixel + V::LANES <= pixels {
                col += V::LANES;
                while col >= layout.cols {
                    col -= layout.cols;
                    row += 1;
                }
            } else if pixel < pixels {
                // The last group overlaps the one before it.
                pixel = pixels - V::LANES;
                (row, col) = (pixel / layout.cols, pixel % layout.cols);
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
pub(in crate::ops::taps::lanes) unsafe fn move_lanes<V: Vector>(from: *const f32, to: *mut f32, count: usize, by: i32) {
    for i in 0..count {
        // SAFETY: the caller's promise.
        unsafe { V::load_line(from.add(i * V::LANES)).move_lanes(by).store_line(to.add(i * V::LANES)) };
    }
}

/// Writes a packed plane without halos to the planes of a block.
///
/// # Safety
/// The planes have `pixels` values that nothing else uses, `from` as many vectors and is aligned to them; if the targets
/// are streamed, planes and `pixels` are aligned to vectors; the machine has the instructions.
#[inline(always)]
pub(in crate::ops::taps::lanes) unsafe fn unpack<V: Vector, T: Stored>(
    from: *const f32,
    pixels: usize,
    targets: &TargetPlanes<T>,
) {
    // SAFETY: the caller's promise; results are streamed only where they are aligned.
    unsafe {
        if targets.stream {
            unpack_by::<V, T, true>(from, pixels, targets);
            V::fence();
        } else {
            unpack_by::<V, T, false>(from, pixels, targets);
        }
    }
}

/// # Safety
/// As [`unpack`]; with `STREAM`, planes and `pixels` are aligned to vectors.
#[inline(always)]
unsafe fn unpack_by<V: Vector, T: Stored, const STREAM: bool>(
    from: *const f32,
    pixels: usize,
    targets: &TargetPlanes<T>,
) {
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
