//! Taps that follow each other along a direction, which a thread multiplies with the same few pixels.

use super::phases::{PassShape, PhaseTap};
use std::collections::BTreeSet;

/// Most taps of a chunk, and sums that a warp of the weight gradient keeps in registers at once.
pub(super) const MOST_TAPS: usize = 8;

/// The direction along which the results of a register tile and the taps of a chunk follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    AlongRows,
    AlongColumns,
    DownRight,
    DownLeft,
}

/// A place across the lines of a direction and along them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LinePlace {
    pub across: i32,
    pub along: i32,
}

impl Direction {
    /// All, or those that go with strides: a diagonal of pixels is not one of cells.
    pub fn all(shape: &PassShape) -> &'static [Direction] {
        let all = &[Direction::AlongRows, Direction::AlongColumns, Direction::DownRight, Direction::DownLeft];
        if shape.phases() == 1 { all } else { &all[..2] }
    }

    pub fn is_diagonal(self) -> bool {
        matches!(self, Direction::DownRight | Direction::DownLeft)
    }

    /// Where a row and a column are; lines of diagonals are numbered without wrapping around.
    pub fn place(self, row: i32, col: i32) -> LinePlace {
        match self {
            Direction::AlongRows => LinePlace { across: row, along: col },
            Direction::AlongColumns => LinePlace { across: col, along: row },
            Direction::DownRight => LinePlace { across: col - row, along: row },
            Direction::DownLeft => LinePlace { across: col + row, along: row },
        }
    }
}

/// Smallest and largest offset along an axis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OffsetRange {
    pub first: i32,
    pub last: i32,
}

impl OffsetRange {
    pub const ZERO: OffsetRange = OffsetRange { first: 0, last: 0 };

    fn of(offsets: impl Iterator<Item = i32> + Clone) -> Self {
        OffsetRange { first: offsets.clone().min().unwrap_or(0), last: offsets.max().unwrap_or(0) }
    }

    /// By how many cells a source is longer than its results.
    pub fn halo(self) -> usize {
        (self.last - self.first) as usize
    }
}

/// Offsets of some taps, in cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TapExtent {
    pub rows: OffsetRange,
    pub cols: OffsetRange,
}

/// The taps of a group, in chunks along one direction.
#[derive(Debug, Clone)]
pub(super) struct ChunkedTaps {
    pub direction: Direction,
    /// For each output phase its chunks, the longest first.
    pub output_phases: Vec<Vec<Vec<PhaseTap>>>,
    pub extent: TapExtent,
    /// Phases of the source that are read.
    pub phases: usize,
    /// Chunks of each length, over all output phases.
    counts: [usize; MOST_TAPS + 1],
}

impl ChunkedTaps {
    pub fn new(output_phases: &[Vec<PhaseTap>], direction: Direction) -> Self {
        let taps = || output_phases.iter().flatten();
        let phases: BTreeSet<usize> = taps().map(|tap| tap.phase).collect();
        let extent = TapExtent {
            rows: OffsetRange::of(taps().map(|tap| tap.row)),
            cols: OffsetRange::of(taps().map(|tap| tap.col)),
        };
        let output_phases: Vec<_> = output_phases.iter().map(|taps| chunks(taps, direction)).collect();
        let mut counts = [0; MOST_TAPS + 1];
        output_phases.iter().flatten().for_each(|chunk| counts[chunk.len()] += 1);
        ChunkedTaps { direction, output_phases, extent, phases: phases.len().max(1), counts }
    }

    /// All taps.
    pub fn taps(&self) -> impl Iterator<Item = &PhaseTap> {
        self.output_phases.iter().flatten().flatten()
    }

    /// Chunks of a length.
    pub fn count(&self, length: usize) -> usize {
        self.counts[length]
    }

    /// Chunks of any length.
    pub fn chunk_count(&self) -> usize {
        self.counts.iter().sum()
    }

    /// Words of weights, each chunk padded to a multiple of four.
    pub fn weight_words(&self) -> usize {
        (1..=MOST_TAPS).map(|length| self.counts[length] * length.next_multiple_of(4)).sum()
    }

    /// Packs of chunks of a length.
    pub fn packs(&self, length: usize) -> usize {
        self.counts[length].div_ceil(chunks_per_pack(length))
    }

    /// Packs of chunks of any length.
    pub fn pack_count(&self) -> usize {
        (1..=MOST_TAPS).map(|length| self.packs(length)).sum()
    }

    /// Chunks of all packs, with those that the last one of a length is padded with.
    pub fn packed_chunk_count(&self) -> usize {
        (1..=MOST_TAPS).map(|length| self.packs(length) * chunks_per_pack(length)).sum()
    }
}

/// How many chunks of a length have at most eight taps together: a pack of the weight gradient.
pub(super) fn chunks_per_pack(length: usize) -> usize {
    match length {
        1 => 8,
        2 => 4,
        3 | 4 => 2,
        _ => 1,
    }
}

/// Runs of taps that follow each other along a direction, cut into chunks of at most eight of about the same length; the
/// longest first.
fn chunks(taps: &[PhaseTap], direction: Direction) -> Vec<Vec<PhaseTap>> {
    let mut taps = taps.to_vec();
    let key = |tap: &PhaseTap| (tap.phase, direction.place(tap.row, tap.col));
    taps.sort_by_key(key);
    let follows = |a: &PhaseTap, b: &PhaseTap| {
        let ((phase, LinePlace { across, along }), next) = (key(a), key(b));
        next == (phase, LinePlace { across, along: along + 1 })
    };
    let mut chunks = Vec::new();
    for run in taps.chunk_by(follows) {
        let mut rest = run;
        for left in (1..=run.len().div_ceil(MOST_TAPS)).rev() {
            let (chunk, after) = rest.split_at(rest.len().div_ceil(left));
            chunks.push(chunk.to_vec());
            rest = after;
        }
    }
    chunks.sort_by_key(|chunk| std::cmp::Reverse(chunk.len()));
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nine taps on a line are two chunks of about the same length, not eight and one.
    #[test]
    fn long_runs_are_cut_evenly() {
        let line: Vec<_> = (0..9).map(|i| PhaseTap { phase: 0, row: i, col: i, slot: i as usize }).collect();
        let lengths = |direction| {
            let taps = ChunkedTaps::new(std::slice::from_ref(&line), direction);
            (1..=MOST_TAPS).map(|length| taps.count(length)).collect::<Vec<_>>()
        };
        assert_eq!(lengths(Direction::DownRight), [0, 0, 0, 1, 1, 0, 0, 0]);
        assert_eq!(lengths(Direction::AlongRows), [9, 0, 0, 0, 0, 0, 0, 0]);
    }
}
