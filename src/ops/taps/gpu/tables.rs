//! The tables that the kernels read: `Group` and `Params` of `kernels/taps.cuh`, word by word.

use super::cells::{Cell, Direction, Extent, MOST_CHUNK, Pass, Planes};
use super::division::{Area, Division, Order};
use super::squares::{self, Square};
use super::tiling::{Pattern, Tiling, per_bundle};
use crate::ops::gpu;
use crate::ops::taps::{TapGroup, TapTable};

/// Words of the kernels' `Group`.
pub(super) const GROUP_WORDS: usize = 74;

/// Lists behind the groups; a place is a word of the whole tables.
struct Lists {
    start: usize,
    words: Vec<i32>,
}

impl Lists {
    fn add(&mut self, words: impl IntoIterator<Item = i32>) -> i32 {
        let place = self.start + self.words.len();
        self.words.extend(words);
        place as i32
    }
}

/// Tables: all groups, the group of every channel, lists.
pub(super) struct Built {
    pub words: Vec<i32>,
    pub group_of_channel: usize,
    pub most_taps: usize,
}

/// The tables of a tiled pass, or without `tiling`, of the kernels without tiles.
pub(super) fn build(table: &TapTable, tiled: Option<(&Tiling, &[Vec<Pattern>], Planes, Pass)>) -> Built {
    let groups = table.groups();
    let group_of_channel = groups.len() * GROUP_WORDS;
    let mut lists = Lists { start: group_of_channel + table.channels(), words: Vec::new() };
    let mut words = Vec::with_capacity(group_of_channel);
    for (index, group) in groups.iter().enumerate() {
        let before = words.len();
        match tiled {
            Some((tiling, patterns, planes, pass)) => {
                let pattern = &patterns[index][tiling.patterns[index]];
                push_tiled(&mut words, &mut lists, (group, pattern), tiling, (planes, pass));
            }
            None => words.resize(before + GROUP_WORDS - 4, 0),
        }
        let live = |slot: usize| {
            let tiled = tiled.map(|(tiling, patterns, ..)| &patterns[index][tiling.patterns[index]]);
            tiled.is_none_or(|pattern| pattern.chunks.iter().flatten().flatten().any(|cell| cell.slot == slot))
        };
        let live: Vec<bool> = (0..group.taps().len()).map(live).collect();
        let slots = lists.add(group.slots().iter().map(|&slot| if live[slot] { slot as i32 } else { -1 }));
        let taps = group.slots().iter().map(|&slot| group.taps()[slot]);
        let offsets = lists.add(taps.flat_map(|tap| [tap.dh, tap.dw]));
        words.extend([group.taps().len() as i32, slots, offsets, group.slots().len() as i32]);
        debug_assert_eq!(words.len(), before + GROUP_WORDS);
    }
    words.extend(table.group_of_channel().iter().map(|&group| group as i32));
    words.extend(lists.words);
    let most_taps = groups.iter().map(|group| group.taps().len()).max().unwrap_or(0);
    Built { words, group_of_channel, most_taps }
}

fn push_tiled(
    words: &mut Vec<i32>,
    lists: &mut Lists,
    (group, pattern): (&TapGroup, &Pattern),
    tiling: &Tiling,
    (planes, pass): (Planes, Pass),
) {
    let division = Division::new(pattern, tiling.tile, tiling.results, tiling.order);
    // Phases that no tap reads are not staged, but for a single one.
    let mut phase_words = vec![if planes.phases() == 1 { 0 } else { -1 }; planes.phases()];
    for cell in pattern.chunks.iter().flatten().flatten() {
        phase_words[cell.phase] = 0;
    }
    let mut image = 0;
    for word in phase_words.iter_mut().filter(|word| **word == 0) {
        *word = image;
        image += division.source.words() as i32;
    }
    let entry = |chunk: &[Cell]| entry(chunk, pattern, &division.source, &phase_words);
    let Extent { rows: (first_row, _), cols: (first_col, _) } = division.extent;
    let phases_at = lists.add(phase_words.iter().copied());
    words.extend([pattern.direction as i32, first_row, first_col]);
    push_area(words, &division.source, planes.source_stride);
    // Rows between the first one and the last one that are in the image.
    let (first, rows) = (first_row, planes.source.0 as i32);
    let height = (first + division.source.rows as i32).min(rows) - first.max(0);
    // Where a block has several images, it has whole planes.
    let several = tiling.tiles(&planes).0 == 1;
    words.extend(gpu::Division::by(if several { height.max(1) as usize } else { 1 << 30 }).words());
    debug_assert!(image <= division.source_words as i32);
    words.extend([division.source_words as i32, phases_at]);
    push_area(words, &division.results, (1, 1));
    let numbers = [division.result_words, division.strips, division.lines, division.live];
    words.extend(numbers.map(|number| number as i32));
    words.extend(gpu::Division::by(division.lines).words());
    words.extend(gpu::Division::by(division.strips * division.lines).words());
    let bands = division.bands().count();
    words.extend([if let Order::Bands { band } = division.order { band as i32 } else { -1 }, bands as i32]);
    words.extend(gpu::Division::by(bands).words());
    words.extend(gpu::Division::by(bands * division.strips).words());
    words.extend([division.lines_inside().0, division.lines_inside().1]);
    let in_squares = if bands > 0 { pattern.squares(tiling.results, division.strips) } else { Vec::new() };

    // Weights and chunks, program by program.
    let (mut order, mut programs, mut entries) = (Vec::new(), Vec::new(), Vec::new());
    for chunks in pattern.chunks.iter().take(if bands > 0 { 0 } else { usize::MAX }) {
        let counts = (1..=MOST_CHUNK).rev().map(|length| chunks.iter().filter(|chunk| chunk.len() == length).count());
        programs.extend(counts.map(|count| count as i32));
        programs.extend([entries.len() as i32 / 2, order.len() as i32]);
        for chunk in chunks {
            entries.extend(entry(chunk));
            order.extend(chunk.iter().map(|cell| Some(cell.slot)));
            order.resize(order.len().next_multiple_of(4), None);
        }
    }
    if bands > 0 {
        programs = vec![0; MOST_CHUNK + 2];
    }
    let chunks = entries.len() as i32 / 2;
    for square in &in_squares {
        let step = |lines: i32| lines * division.source.pitch as i32;
        // A line relative to the results' is relative to the first staged one here.
        entries.extend([step(square.across + division.lines_inside().0), square.strips * tiling.results as i32]);
        let end = order.len() + squares::words(tiling.results);
        order.extend(square.slots.iter().copied());
        order.resize(end, None);
    }
    // The weights of each place: a list from its start to that of the next.
    let mut weights_of = vec![Vec::new(); group.taps().len()];
    group.slots().iter().enumerate().for_each(|(weight, &slot)| weights_of[slot].push(weight as i32));
    let of = |place: &Option<usize>| place.map_or(&[][..], |slot| &weights_of[slot]);
    let flat = lists.add(order.iter().flat_map(|place| of(place).iter().copied()));
    let starts = order.iter().scan(flat, |start, place| {
        let this = *start;
        *start += of(place).len() as i32;
        Some(this)
    });
    let starts: Vec<i32> = starts.collect();
    let end = flat + order.iter().map(|place| of(place).len() as i32).sum::<i32>();
    let weight_lists = lists.add(starts.into_iter().chain([end]));
    let zero = group.taps().iter().position(|tap| (tap.dh, tap.dw) == (0, 0));
    let centre = order.iter().position(|place| place.is_some() && *place == zero).map_or(-1, |at| at as i32);
    words.extend([order.len() as i32, weight_lists, centre, chunks]);
    let entries = lists.add(entries);
    words.push(entries);
    words.push(lists.add(programs));
    if pass == Pass::WeightGrad && bands > 0 {
        let none = lists.add([0; MOST_CHUNK + 1]);
        words.extend([0, none, entries, none]);
    } else if pass == Pass::WeightGrad {
        push_bundles(words, lists, pattern, entry);
    } else {
        words.extend([0; 4]);
    }
    let places = square_places(&in_squares, group.taps().len(), tiling.results);
    words.extend([in_squares.len() as i32, lists.add(places)]);
}

/// Where each tap has its sums: places in up to two squares, or -1.
fn square_places(squares: &[Square], taps: usize, results: usize) -> Vec<i32> {
    let mut places = vec![-1; 2 * taps];
    for (index, square) in squares.iter().enumerate() {
        for (distance, slot) in square.slots.iter().enumerate() {
            let Some(slot) = *slot else { continue };
            let free = usize::from(places[2 * slot] >= 0);
            places[2 * slot + free] = (index * squares::words(results) + distance) as i32;
        }
    }
    places
}

/// The bundles of the weight gradient: chunks of a length together, the last filled up by repetition.
fn push_bundles(words: &mut Vec<i32>, lists: &mut Lists, pattern: &Pattern, entry: impl Fn(&[Cell]) -> [i32; 2]) {
    let (mut entries, mut taps) = (Vec::new(), Vec::new());
    let counts = pattern.bundles();
    for length in (1..=MOST_CHUNK).rev() {
        let chunks: Vec<&Vec<Cell>> = pattern.chunks[0].iter().filter(|chunk| chunk.len() == length).collect();
        for bundle in chunks.chunks(per_bundle(length)) {
            let last = bundle[bundle.len() - 1];
            for chunk in bundle.iter().copied().chain(std::iter::repeat(last)).take(per_bundle(length)) {
                entries.extend(entry(chunk));
            }
            let before = taps.len();
            taps.extend(bundle.iter().copied().flatten().map(|cell| cell.slot as i32));
            taps.resize(before + MOST_CHUNK, -1);
        }
    }
    let total = counts.iter().sum::<usize>() as i32;
    let counts = (1..=MOST_CHUNK).rev().map(|length| counts[length] as i32);
    let counts = lists.add(counts.chain([entries.len() as i32 / 2]));
    words.extend([total, counts]);
    words.push(lists.add(entries));
    words.push(lists.add(taps));
}

/// Where a chunk is relative to a thread's first result: words across the lines, and words along them.
fn entry(chunk: &[Cell], pattern: &Pattern, area: &Area, phase_words: &[i32]) -> [i32; 2] {
    let first = chunk[0];
    let (row, col) = (first.row - pattern.extent.rows.0, first.col - pattern.extent.cols.0);
    let lines = area.lines as i32;
    let (across, along) = match pattern.direction {
        Direction::AlongRows => (row, col),
        Direction::AlongColumns => (col, row),
        Direction::DownRight => ((col - row).rem_euclid(lines), row),
        Direction::DownLeft => ((col + row).rem_euclid(lines), row),
    };
    [across * area.pitch as i32, phase_words[first.phase] + along]
}

fn push_area(words: &mut Vec<i32>, area: &Area, stride: (usize, usize)) {
    let numbers = [area.rows, area.cols, area.pitch, area.lines, area.bias, area.words()];
    words.extend(numbers.map(|number| number as i32));
    words.extend(gpu::Division::by(area.cols * stride.1).words());
    words.extend(gpu::Division::by(area.rows * stride.0).words());
    words.extend(gpu::Division::by(area.lines).words());
}
