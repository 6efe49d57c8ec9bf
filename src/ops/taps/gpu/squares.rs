//! Taps as squares, for kernels about as large as the image: Q results times the Q pixels of another strip, or of their
//! own, with the weights of all 2 Q - 1 distances between them.
//!
//! Chunks of taps multiply what is beside the image as well, since a thread's results have the border at different taps.
//! A square has a strip of pixels instead, all inside the image, and the weights that are outside of the kernel are zero.

use super::cells::{Cell, Direction, Pass};
use super::division::Division;
use super::tiling::Pattern;
use std::collections::BTreeMap;

/// The taps of one line, relative to that of the results, at one strip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Square {
    /// Lines from the results' to the pixels'.
    pub across: i32,
    /// Strips from the results' to the pixels'.
    pub strips: i32,
    /// For each distance along the line from 1 - Q to Q - 1, beyond that of the strips, the tap if there is one.
    pub slots: Vec<Option<usize>>,
}

/// Words of a square's weights, and of its sums in the weight gradient: multiples of eight.
pub(super) fn words(results: usize) -> usize {
    (2 * results - 1).next_multiple_of(8)
}

impl Pattern {
    /// Whether the taps can be squares: of one phase, along rows or columns.
    pub fn can_be_squares(&self) -> bool {
        let along = matches!(self.direction, Direction::AlongRows | Direction::AlongColumns);
        along && self.phases == 1 && self.chunks.len() == 1
    }

    /// The squares of strips of `results`, by lines.
    pub fn squares(&self, results: usize, strips: usize) -> Vec<Square> {
        let mut found: BTreeMap<(i32, i32), Vec<Option<usize>>> = BTreeMap::new();
        let (side, most) = (results as i32, strips as i32 - 1);
        for &cell in self.chunks.iter().flatten().flatten() {
            let Cell { row, col, slot, .. } = cell;
            let (across, along) = if self.direction == Direction::AlongRows { (row, col) } else { (col, row) };
            // Distances of a strip and the next overlap.
            let below = along.div_euclid(side);
            for strips in [below, below + 1].into_iter().filter(|strips| strips.abs() <= most) {
                let distance = along - strips * side;
                if distance.abs() < side {
                    let slots = found.entry((across, strips)).or_insert_with(|| vec![None; 2 * results - 1]);
                    slots[(distance + side - 1) as usize] = Some(slot);
                }
            }
        }
        found.into_iter().map(|((across, strips), slots)| Square { across, strips, slots }).collect()
    }

    /// Cycles of a multiprocessor for the results of one image, as [`Pattern::cycles`] has them for a warp.
    pub fn square_cycles(&self, squares: &[Square], division: &Division, results: usize, pass: Pass) -> f64 {
        let (q, weights) = (results as f64, words(results) as f64 / 4.0);
        // Beside multiply-adds: reads, and instructions for places and loops.
        let (reads, others) = match pass {
            Pass::WeightGrad => (2.0 * q + 3.0, 50.0),
            _ => (q + weights + 1.0, 20.0),
        };
        let each = ((q * q + reads + others) / 4.0).max(reads);
        let lines = division.live as i32;
        let mut done = 0;
        for square in squares {
            let inside = |&(first, last): &(usize, usize)| {
                last as i32 + square.across >= 0 && first as i32 + square.across < lines
            };
            done += division.bands().filter(inside).count() * (division.strips - square.strips.unsigned_abs() as usize);
        }
        let tested = squares.len() * division.bands().count() * division.strips;
        (done as f64 * each + tested as f64 * 2.0) / division.order.images() as f64
    }
}
