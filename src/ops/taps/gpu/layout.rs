//! How the tile of a tap group lies in shared memory, and how its register tiles are divided among threads.
//!
//! Shared memory has 32 banks, and a warp reads it in one cycle if no two lanes want different words of a bank. All of
//! this file is about that: the *pitch* from one line to the next, padding lines between strips, and which lines, strips
//! and images the lanes of a warp have.

use super::chunks::{ChunkedTaps, Direction, OffsetRange, TapExtent};
use super::phases::Size;

/// Banks of shared memory, and lanes of a warp.
const BANKS: usize = 32;

/// Cells of a tile and where they lie in shared memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SharedTile {
    pub rows: usize,
    pub cols: usize,
    /// Words from one line to the next.
    pub pitch: usize,
    pub lines: usize,
    /// A multiple of the lines that makes column minus row positive.
    pub wrap_bias: usize,
}

impl SharedTile {
    fn new(banks: BankLayout, rows: usize, cols: usize) -> Self {
        let (along, lines) = if banks.direction == Direction::AlongRows { (cols, rows) } else { (rows, cols) };
        // A diagonal that leaves the last line goes on in the first, in the next bank if the lines are whole rounds of banks.
        let whole = lines.next_multiple_of(BANKS);
        let lines = if banks.direction.is_diagonal() && 2 * whole <= 3 * lines { whole } else { lines };
        let wrap_bias = (rows + banks.results).next_multiple_of(lines);
        SharedTile { rows, cols, pitch: banks.pitch(along), lines, wrap_bias }
    }

    pub fn words(&self) -> usize {
        self.lines * self.pitch
    }
}

/// The register tiles of a group as banks see them: the next line is a pitch of words further, the next strip Q words along
/// the lines and, on a diagonal, Q lines back or ahead. Lanes that go on from the last line of a strip to the first of the
/// next meet in no bank if that is as if the lines went on: `Q = steps * pitch` modulo the banks.
#[derive(Debug, Clone, Copy)]
struct BankLayout {
    direction: Direction,
    results: usize,
    strips: usize,
    lines: usize,
}

impl BankLayout {
    /// With a few padding lines, if that lets a pitch be found: Q and the steps must have the same powers of two.
    fn padded(direction: Direction, results: usize, strips: usize, active_lines: usize) -> Self {
        let banks = |lines| BankLayout { direction, results, strips, lines };
        (active_lines..active_lines + 4).map(banks).find(BankLayout::fits).unwrap_or(banks(active_lines))
    }

    /// Whether there is such a pitch.
    fn fits(&self) -> bool {
        self.strips == 1 || (self.steps() % BANKS).trailing_zeros() == self.results.trailing_zeros()
    }

    fn steps(&self) -> usize {
        match self.direction {
            Direction::AlongRows | Direction::AlongColumns => self.lines,
            Direction::DownRight => self.lines + self.results,
            Direction::DownLeft => self.lines - self.results,
        }
    }

    /// The smallest pitch for `along` words. It is odd, so that neighboring lines are in different banks.
    fn pitch(&self, along: usize) -> usize {
        let mut pitches = (0..BANKS / 2).map(|i| (along | 1) + 2 * i);
        let fits = |pitch: &usize| self.strips == 1 || (self.steps() * pitch) % BANKS == self.results % BANKS;
        pitches.find(fits).unwrap_or(along | 1)
    }

    /// `words` of an image, padded so that the banks of the next image go on where this one's register tiles end.
    fn image_words(&self, words: usize, pitch: usize) -> usize {
        pad_to_bank(words, self.strips * self.lines * pitch)
    }
}

/// `words` rounded up to what is in the same bank as `like`.
fn pad_to_bank(words: usize, like: usize) -> usize {
    words + (like % BANKS + BANKS - words % BANKS) % BANKS
}

/// Which register tiles the lanes of a warp have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LaneOrder {
    /// Line after line, strip after strip, image after image; if `padded`, with padding lines between strips where that
    /// avoids bank conflicts.
    WithinImage { padded: bool },
    /// `1 << lines_log2` lines, at one strip, of `32 >> lines_log2` images, so that all lanes leave the image together.
    /// Taps are Toeplitz blocks.
    AcrossImages { lines_log2: u32 },
}

impl LaneOrder {
    /// Images of a warp, which a block needs at least.
    pub fn images(self) -> usize {
        match self {
            LaneOrder::WithinImage { .. } => 1,
            LaneOrder::AcrossImages { lines_log2 } => BANKS >> lines_log2,
        }
    }
}

/// Adjacent lines that the lanes of a warp have, with the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LineBlock {
    pub first: usize,
    pub last: usize,
}

/// How the tile of a tap group lies in shared memory and is divided among threads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct GroupLayout {
    /// Register tiles along a line.
    pub strips: usize,
    /// Lines of register tiles, of which those from `active_lines` on are padding.
    pub lines: usize,
    pub active_lines: usize,
    pub order: LaneOrder,
    /// Offsets of the first and last staged cells: those of the taps, or what Toeplitz blocks need of them.
    pub extent: TapExtent,
    pub source: SharedTile,
    pub results: SharedTile,
    /// Words of all phases of one image, and of the gradients of its results.
    pub source_words: usize,
    pub result_words: usize,
    /// Cycles that a read of a warp takes, about.
    pub conflicts: f64,
}

impl GroupLayout {
    /// For a tile, with register tiles of `results`.
    pub fn new(taps: &ChunkedTaps, tile: Size, results: usize, order: LaneOrder) -> Self {
        match order {
            LaneOrder::WithinImage { padded } => Self::within_image(taps, tile, results, padded),
            LaneOrder::AcrossImages { lines_log2 } => Self::across_images(taps, tile, results, lines_log2),
        }
    }

    fn within_image(taps: &ChunkedTaps, Size { rows, cols }: Size, results: usize, padded: bool) -> Self {
        let direction = taps.direction;
        let (strips, active_lines) = match direction {
            Direction::AlongRows => (cols.div_ceil(results), rows),
            Direction::AlongColumns => (rows.div_ceil(results), cols),
            _ => (rows.div_ceil(results), cols + results - 1),
        };
        // The tile is rounded up to whole strips; of diagonals, the results' lines to all that enter it.
        let whole = strips * results;
        let (rows, cols, result_cols) = match direction {
            Direction::AlongRows => (rows, whole, whole),
            Direction::AlongColumns => (whole, cols, cols),
            _ => (whole, cols, active_lines),
        };
        let extent = taps.extent;
        let banks = match padded {
            true => BankLayout::padded(direction, results, strips, active_lines),
            false => BankLayout { direction, results, strips, lines: active_lines },
        };
        let source = SharedTile::new(banks, rows + extent.rows.halo(), cols + extent.cols.halo());
        let results = SharedTile::new(banks, rows, result_cols);
        let source_words = banks.image_words(taps.phases * source.words(), source.pitch);
        let result_words = banks.image_words(results.words(), results.pitch);
        // Where lines do not go on from strip to strip, warps with lines of two strips may take every bank twice.
        let parted = if banks.fits() { 0.0 } else { ((strips - 1) * BANKS) as f64 / (strips * active_lines) as f64 };
        let wrapped = if direction.is_diagonal() && !source.lines.is_multiple_of(BANKS) { 0.6 } else { 0.0 };
        let conflicts = 1.0 + f64::min(parted.max(wrapped), 1.0);
        let (lines, order) = (banks.lines, LaneOrder::WithinImage { padded });
        GroupLayout {
            strips,
            lines,
            active_lines,
            order,
            extent,
            source,
            results,
            source_words,
            result_words,
            conflicts,
        }
    }

    /// A whole plane, whose lines outside of the image are staged only as far as other lanes of a warp are still inside.
    /// Neighboring lanes are an odd number of words apart, lines and images alike.
    fn across_images(taps: &ChunkedTaps, Size { rows, cols }: Size, results: usize, lines_log2: u32) -> Self {
        let along_rows = taps.direction == Direction::AlongRows;
        let (active_lines, along) = if along_rows { (rows, cols) } else { (cols, rows) };
        let (strips, others) = (along.div_ceil(results), (1 << lines_log2) - 1);
        let trimmed =
            |range: OffsetRange| OffsetRange { first: range.first.max(-others), last: range.last.min(others) };
        let extent = match along_rows {
            true => TapExtent { rows: trimmed(taps.extent.rows), cols: OffsetRange::ZERO },
            false => TapExtent { rows: OffsetRange::ZERO, cols: trimmed(taps.extent.cols) },
        };
        let pitch = (strips * results) | 1;
        let tile = |lines: usize| {
            let (rows, cols) = if along_rows { (lines, strips * results) } else { (strips * results, lines) };
            SharedTile { rows, cols, pitch, lines, wrap_bias: 0 }
        };
        let image_words = |tile: SharedTile| pad_to_bank(tile.words(), pitch << lines_log2);
        let source = tile(active_lines + extent.rows.halo() + extent.cols.halo());
        let results = tile(active_lines);
        GroupLayout {
            strips,
            lines: active_lines,
            active_lines,
            order: LaneOrder::AcrossImages { lines_log2 },
            extent,
            source,
            results,
            source_words: image_words(source),
            result_words: image_words(results),
            conflicts: 1.0,
        }
    }

    /// The blocks of lines of warps across images; none within an image.
    pub fn line_blocks(&self) -> impl Iterator<Item = LineBlock> + use<> {
        let (lines, height) = match self.order {
            LaneOrder::AcrossImages { lines_log2 } => (self.active_lines, 1 << lines_log2),
            LaneOrder::WithinImage { .. } => (0, 1),
        };
        (0..lines).step_by(height).map(move |first| LineBlock { first, last: lines.min(first + height) - 1 })
    }

    /// Register tiles of a block of images.
    pub fn positions(&self, images: usize) -> usize {
        match self.order {
            LaneOrder::WithinImage { .. } => images * self.strips * self.lines,
            LaneOrder::AcrossImages { .. } => {
                images.div_ceil(self.order.images()) * self.strips * self.line_blocks().count() * BANKS
            }
        }
    }

    /// Staged lines that are in the image, across images.
    pub fn lines_inside(&self) -> std::ops::Range<i32> {
        // Of the two directions, one is not staged beyond the image.
        let first = -(self.extent.rows.first + self.extent.cols.first);
        first..first + self.active_lines as i32
    }
}
