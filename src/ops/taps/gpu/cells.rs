//! A tap table as the tiled kernels see it: cells of phases, and chunks of taps that follow each other.

use crate::ops::taps::{Geometry, Tap, TapGroup};

/// Most taps of a chunk.
pub(super) const MOST_CHUNK: usize = 8;

/// Which of the three convolutions is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    Forward,
    InputGrad,
    WeightGrad,
}

/// Planes and strides of a pass: what is read at strides, or written at strides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Planes {
    pub source: (usize, usize),
    pub result: (usize, usize),
    pub source_stride: (usize, usize),
    pub result_stride: (usize, usize),
}

impl Planes {
    pub fn of(geometry: &Geometry, pass: Pass) -> Self {
        let Geometry { input, output, stride } = *geometry;
        match pass {
            Pass::InputGrad => Planes { source: output, result: input, source_stride: (1, 1), result_stride: stride },
            _ => Planes { source: input, result: output, source_stride: stride, result_stride: (1, 1) },
        }
    }

    /// Rows and columns of one phase of the result.
    pub fn cells(&self) -> (usize, usize) {
        (self.result.0.div_ceil(self.result_stride.0), self.result.1.div_ceil(self.result_stride.1))
    }

    /// Phases of the source.
    pub fn phases(&self) -> usize {
        self.source_stride.0 * self.source_stride.1
    }

    /// Phases of the result, each of which is a convolution of its own.
    pub fn programs(&self) -> usize {
        self.result_stride.0 * self.result_stride.1
    }
}

/// A tap: it reads, for result cell (p, q), cell (p + row, q + col) of a phase of the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cell {
    pub phase: usize,
    pub row: i32,
    pub col: i32,
    /// Which of the group's distinct taps it is.
    pub slot: usize,
}

/// The taps of a group by program, without those that never read inside the image.
pub(super) fn programs(group: &TapGroup, geometry: &Geometry, pass: Pass) -> Vec<Vec<Cell>> {
    let planes = Planes::of(geometry, pass);
    let mut programs = vec![Vec::new(); planes.programs()];
    let (down, across) = (geometry.stride.0 as i32, geometry.stride.1 as i32);
    for (slot, &tap) in group.taps().iter().enumerate() {
        if geometry.valid(tap).count() == 0 {
            continue;
        }
        let Tap { dh, dw } = tap;
        let phase = (dh.rem_euclid(down) * across + dw.rem_euclid(across)) as usize;
        let (row, col) = (dh.div_euclid(down), dw.div_euclid(across));
        match pass {
            Pass::InputGrad => programs[phase].push(Cell { phase: 0, row: -row, col: -col, slot }),
            _ => programs[0].push(Cell { phase, row, col, slot }),
        }
    }
    programs
}

/// The direction along which a thread's results and a chunk's taps follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    AlongRows,
    AlongColumns,
    DownRight,
    DownLeft,
}

impl Direction {
    /// All, or those that go with strides: a diagonal of pixels is none of cells.
    pub fn all(planes: &Planes) -> &'static [Direction] {
        let all = &[Direction::AlongRows, Direction::AlongColumns, Direction::DownRight, Direction::DownLeft];
        if planes.phases() == 1 { all } else { &all[..2] }
    }

    /// Coordinates across and along the direction.
    fn coordinates(self, Cell { row, col, .. }: Cell) -> (i32, i32) {
        match self {
            Direction::AlongRows => (row, col),
            Direction::AlongColumns => (col, row),
            Direction::DownRight => (col - row, row),
            Direction::DownLeft => (col + row, row),
        }
    }
}

/// Runs of taps next to each other along a direction, cut into chunks of at most eight of about the same length; the
/// longest first.
pub(super) fn chunks(program: &[Cell], direction: Direction) -> Vec<Vec<Cell>> {
    let mut cells = program.to_vec();
    let key = |cell: &Cell| {
        let (across, along) = direction.coordinates(*cell);
        (cell.phase, across, along)
    };
    cells.sort_by_key(key);
    let follows = |a: &Cell, b: &Cell| {
        let ((phase, across, along), next) = (key(a), key(b));
        next == (phase, across, along + 1)
    };
    let mut chunks = Vec::new();
    for run in cells.chunk_by(follows) {
        let mut rest = run;
        for left in (1..=run.len().div_ceil(MOST_CHUNK)).rev() {
            let (chunk, after) = rest.split_at(rest.len().div_ceil(left));
            chunks.push(chunk.to_vec());
            rest = after;
        }
    }
    chunks.sort_by_key(|chunk| std::cmp::Reverse(chunk.len()));
    chunks
}

/// Smallest and largest offsets of some taps, from 0 to 0 where there are none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    pub rows: (i32, i32),
    pub cols: (i32, i32),
}

impl Extent {
    pub fn of(programs: &[Vec<Cell>]) -> Self {
        let cells = || programs.iter().flatten();
        let range = |of: fn(&Cell) -> i32| (cells().map(of).min().unwrap_or(0), cells().map(of).max().unwrap_or(0));
        Extent { rows: range(|cell| cell.row), cols: range(|cell| cell.col) }
    }

    /// By how many cells the source of a tile is larger than its results.
    pub fn margin(&self) -> (usize, usize) {
        ((self.rows.1 - self.rows.0) as usize, (self.cols.1 - self.cols.0) as usize)
    }
}
