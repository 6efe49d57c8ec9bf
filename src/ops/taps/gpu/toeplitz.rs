//! Taps as Toeplitz blocks, for kernels about as large as the image.
//!
//! A block is what the Q pixels of a strip add to the Q results of the same strip or another one, on the same line or
//! another one: the product with a Q x Q Toeplitz matrix, whose 2 Q - 1 diagonals are the weights of the distances between
//! them. Chunks of taps multiply what is beside the image as well, since the results of a register tile have the border at
//! different taps. The pixels of a block are all inside, and weights beyond the kernel are zero.

use super::chunks::{ChunkedTaps, LinePlace};
use std::collections::BTreeMap;

/// The taps from the results of a strip to the pixels of a strip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ToeplitzBlock {
    /// Lines from the results' to the pixels'.
    pub across: i32,
    /// Strips from the results' to the pixels'.
    pub strips: i32,
    /// The tap of each diagonal, if there is one: distances along the line from 1 - Q to Q - 1, beyond that of the strips.
    pub slots: Vec<Option<usize>>,
}

/// Words of a block's weights, and of its sums in the weight gradient: a multiple of eight.
pub(super) fn block_words(results: usize) -> usize {
    (2 * results - 1).next_multiple_of(8)
}

/// Whether taps can be blocks: of one phase, along rows or columns.
pub(super) fn can_be_blocks(taps: &ChunkedTaps) -> bool {
    !taps.direction.is_diagonal() && taps.phases == 1 && taps.output_phases.len() == 1
}

/// The blocks of lines that are cut into `strips` of `results`, in the order of lines.
pub(super) fn toeplitz_blocks(taps: &ChunkedTaps, results: usize, strips: usize) -> Vec<ToeplitzBlock> {
    let mut found: BTreeMap<(i32, i32), Vec<Option<usize>>> = BTreeMap::new();
    let (side, most) = (results as i32, strips as i32 - 1);
    for tap in taps.taps() {
        let LinePlace { across, along } = taps.direction.place(tap.row, tap.col);
        // The distances of a strip overlap with those of the next one.
        let below = along.div_euclid(side);
        for strips in [below, below + 1].into_iter().filter(|strips| strips.abs() <= most) {
            let distance = along - strips * side;
            if distance.abs() < side {
                let slots = found.entry((across, strips)).or_insert_with(|| vec![None; 2 * results - 1]);
                slots[(distance + side - 1) as usize] = Some(tap.slot);
            }
        }
    }
    found.into_iter().map(|((across, strips), slots)| ToeplitzBlock { across, strips, slots }).collect()
}
