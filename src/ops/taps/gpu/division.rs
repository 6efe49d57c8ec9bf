//! How a group's part of a tile lies in shared memory and is divided among threads.

use super::cells::{Direction, Extent};
use super::tiling::Pattern;

/// Cells of a tile and where they lie in memory: the numbers of the kernels' `Area`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Area {
    pub rows: usize,
    pub cols: usize,
    pub pitch: usize,
    pub lines: usize,
    pub bias: usize,
}

/// Banks of shared memory, and lanes of a warp.
const BANKS: usize = 32;

/// How the positions of a group lie in shared memory, as far as banks see it: the next line is a pitch of words further,
/// the next strip Q words along the lines and, on a diagonal, Q lines back or ahead. Lanes meet in no bank if that is as
/// if the lines went on: `Q = steps * pitch` modulo the banks.
#[derive(Debug, Clone, Copy)]
struct Banks {
    direction: Direction,
    results: usize,
    strips: usize,
    lines: usize,
}

impl Banks {
    /// With a few lines of threads without work, if that lets a pitch be found: Q and the steps must have the same powers
    /// of two.
    fn of(direction: Direction, results: usize, strips: usize, live: usize) -> Self {
        let banks = |lines| Banks { direction, results, strips, lines };
        (live..live + 4).map(banks).find(Banks::fit).unwrap_or(banks(live))
    }

    /// Whether there is such a pitch.
    fn fit(&self) -> bool {
        self.strips == 1 || (self.steps() % BANKS).trailing_zeros() == self.results.trailing_zeros()
    }

    fn steps(&self) -> usize {
        match self.direction {
            Direction::AlongRows | Direction::AlongColumns => self.lines,
            Direction::DownRight => self.lines + self.results,
            Direction::DownLeft => self.lines - self.results,
        }
    }

    fn is_diagonal(&self) -> bool {
        matches!(self.direction, Direction::DownRight | Direction::DownLeft)
    }

    /// The smallest pitch for `along` words. It is odd, so that neighbouring lines are in different banks.
    fn pitch(&self, along: usize) -> usize {
        let pitches = (0..BANKS / 2).map(|i| (along | 1) + 2 * i);
        let fits = |pitch: &usize| self.strips == 1 || (self.steps() * pitch) % BANKS == self.results % BANKS;
        pitches.clone().find(fits).unwrap_or(along | 1)
    }

    /// `words` of an image, rounded up so that the next image goes on where this one's positions end.
    fn image(&self, words: usize, pitch: usize) -> usize {
        let positions = self.strips * self.lines * pitch;
        words + (positions % BANKS + BANKS - words % BANKS) % BANKS
    }
}

impl Area {
    fn new(banks: Banks, rows: usize, cols: usize) -> Self {
        let (along, lines) = if banks.direction == Direction::AlongRows { (cols, rows) } else { (rows, cols) };
        // A diagonal that leaves the last line goes on in the first, in the next bank if there are whole rounds of lines.
        let whole = lines.next_multiple_of(BANKS);
        let lines = if banks.is_diagonal() && 2 * whole <= 3 * lines { whole } else { lines };
        Area { rows, cols, pitch: banks.pitch(along), lines, bias: (rows + banks.results).next_multiple_of(lines) }
    }

    pub fn words(&self) -> usize {
        self.lines * self.pitch
    }
}

/// How threads' positions follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Line after line, strip after strip, image after image; if `filled`, with lines without work between strips where
    /// that avoids conflicts.
    Lines { filled: bool },
    /// Lanes of a warp have `1 << band` lines, at one strip, of `32 >> band` images, so that all of them leave the image
    /// together. Taps are squares; see [`squares`](super::squares).
    Bands { band: u32 },
}

impl Order {
    /// Images that a block needs at least.
    pub fn images(self) -> usize {
        match self {
            Order::Lines { .. } => 1,
            Order::Bands { band } => BANKS >> band,
        }
    }
}

/// How a group's part of a tile is divided among threads.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Division {
    pub strips: usize,
    /// Lines of threads, of which those from `live` on have nothing to do.
    pub lines: usize,
    pub live: usize,
    pub order: Order,
    /// Offsets of the first and last staged cells: those of the taps, or what bands need of them.
    pub extent: Extent,
    pub source: Area,
    pub results: Area,
    /// Words of all phases of one image, and of its results' gradients.
    pub source_words: usize,
    pub result_words: usize,
    /// Cycles that a read of a warp takes, about.
    pub conflicts: f64,
}

impl Division {
    pub fn new(pattern: &Pattern, (rows, cols): (usize, usize), results: usize, order: Order) -> Self {
        if let Order::Bands { band } = order {
            return Self::in_bands(pattern, (rows, cols), results, band);
        }
        let direction = pattern.direction;
        let (strips, live) = match direction {
            Direction::AlongRows => (cols.div_ceil(results), rows),
            Direction::AlongColumns => (rows.div_ceil(results), cols),
            _ => (rows.div_ceil(results), cols + results - 1),
        };
        let whole = strips * results;
        let (rows, cols, lined) = match direction {
            Direction::AlongRows => (rows, whole, whole),
            Direction::AlongColumns => (whole, cols, cols),
            _ => (whole, cols, live),
        };
        let extent = pattern.extent;
        let (down, across) = extent.margin();
        let filled = order == Order::Lines { filled: true };
        let banks = match filled {
            true => Banks::of(direction, results, strips, live),
            false => Banks { direction, results, strips, lines: live },
        };
        let source = Area::new(banks, rows + down, cols + across);
        let results = Area::new(banks, rows, lined);
        let source_words = banks.image(pattern.phases * source.words(), source.pitch);
        let result_words = banks.image(results.words(), results.pitch);
        // Where lines do not go on from strip to strip, warps with lines of two strips may take every bank twice.
        let parted = if banks.fit() { 0.0 } else { ((strips - 1) * BANKS) as f64 / (strips * live) as f64 };
        let wrapped = if banks.is_diagonal() && !source.lines.is_multiple_of(BANKS) { 0.6 } else { 0.0 };
        let conflicts = 1.0 + f64::min(parted.max(wrapped), 1.0);
        let lines = banks.lines;
        Division { strips, lines, live, order, extent, source, results, source_words, result_words, conflicts }
    }

    /// Bands of a whole plane, whose lines outside of the image are staged only as far as other lanes of a warp are still
    /// inside. Neighbouring lanes are an odd number of words apart, lines and images alike.
    fn in_bands(pattern: &Pattern, (rows, cols): (usize, usize), results: usize, band: u32) -> Self {
        let along_rows = pattern.direction == Direction::AlongRows;
        let (live, along) = if along_rows { (rows, cols) } else { (cols, rows) };
        let (strips, more) = (along.div_ceil(results), (1 << band) - 1);
        let trimmed = |(first, last): (i32, i32)| (first.max(-more), last.min(more));
        let extent = match along_rows {
            true => Extent { rows: trimmed(pattern.extent.rows), cols: (0, 0) },
            false => Extent { rows: (0, 0), cols: trimmed(pattern.extent.cols) },
        };
        let (down, across) = extent.margin();
        let pitch = (strips * results) | 1;
        let area = |lines: usize| {
            let (rows, cols) = if along_rows { (lines, strips * results) } else { (strips * results, lines) };
            Area { rows, cols, pitch, lines, bias: 0 }
        };
        let image = |area: Area| {
            let words = area.words();
            words + ((pitch << band) % BANKS + BANKS - words % BANKS) % BANKS
        };
        let (source, results) = (area(live + down + across), area(live));
        let (source_words, result_words, order) = (image(source), image(results), Order::Bands { band });
        Division {
            strips,
            lines: live,
            live,
            order,
            extent,
            source,
            results,
            source_words,
            result_words,
            conflicts: 1.0,
        }
    }

    /// Bands of lines, and the first line of each with the last.
    pub fn bands(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (live, height) = match self.order {
            Order::Bands { band } => (self.live, 1 << band),
            Order::Lines { .. } => (0, 1),
        };
        (0..live).step_by(height).map(move |first| (first, live.min(first + height) - 1))
    }

    /// Positions of a block of images, and of one.
    pub fn positions(&self, images: usize) -> usize {
        match self.order {
            Order::Lines { .. } => images * self.strips * self.lines,
            Order::Bands { .. } => images.div_ceil(self.order.images()) * self.strips * self.bands().count() * BANKS,
        }
    }

    /// Staged lines that are in the image, from the first to before the end.
    pub fn lines_inside(&self) -> (i32, i32) {
        // Of the two directions, one is not staged beyond the image.
        let first = -(self.extent.rows.0 + self.extent.cols.0);
        (first, first + self.live as i32)
    }
}
