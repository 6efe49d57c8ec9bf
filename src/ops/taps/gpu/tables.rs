//! The tables that the kernels read: a `GroupParams` for every tap group, the group of every channel, and lists.

use super::chunks::{ChunkedTaps, LinePlace, MOST_TAPS, chunks_per_pack};
use super::layout::{GroupLayout, LaneOrder, SharedTile};
use super::phases::{Pass, PassShape, PhaseTap, Size};
use super::tiling::Tiling;
use super::toeplitz::{ToeplitzBlock, block_words, toeplitz_blocks};
use crate::ops::gpu::FastDivisor;
use crate::ops::gpu::params::{GroupParams, TileLayout};
use crate::ops::taps::{TapGroup, TapTable};

/// Words of a group.
const GROUP_WORDS: usize = size_of::<GroupParams>() / size_of::<i32>();

/// Tables, and what is where in them.
pub(super) struct TapTables {
    pub words: Vec<i32>,
    pub groups_at: usize,
    pub group_of_channel_at: usize,
    /// Distinct taps of the group that has most.
    pub most_taps: usize,
}

/// A pass with tiles.
pub(super) struct TiledPass<'a> {
    pub pass: Pass,
    pub shape: PassShape,
    pub tiling: &'a Tiling,
    /// The taps of every group along its direction.
    pub groups: Vec<&'a ChunkedTaps>,
}

/// Lists behind the groups; what is returned for one is its index in the whole tables.
struct Lists {
    start: usize,
    words: Vec<i32>,
}

impl Lists {
    fn add(&mut self, words: impl IntoIterator<Item = i32>) -> i32 {
        let index = self.start + self.words.len();
        self.words.extend(words);
        index as i32
    }
}

/// The tables of a pass with tiles, or without `tiled`, of the kernels without tiles.
pub(super) fn build(table: &TapTable, tiled: Option<&TiledPass>) -> TapTables {
    let groups = table.groups();
    let group_of_channel_at = groups.len() * GROUP_WORDS;
    let mut lists = Lists { start: group_of_channel_at + table.channels(), words: Vec::new() };
    let mut words = Vec::with_capacity(group_of_channel_at);
    for (index, group) in groups.iter().enumerate() {
        let params = match tiled {
            Some(tiled) => tiled_group(&mut lists, group, tiled.groups[index], tiled),
            None => GroupParams::default(),
        };
        let is_read = |slot: usize| tiled.is_none_or(|tiled| tiled.groups[index].taps().any(|tap| tap.slot == slot));
        let is_read: Vec<bool> = (0..group.taps().len()).map(is_read).collect();
        let slots_at = lists.add(group.slots().iter().map(|&slot| if is_read[slot] { slot as i32 } else { -1 }));
        let taps = group.slots().iter().map(|&slot| group.taps()[slot]);
        let offsets_at = lists.add(taps.flat_map(|tap| [tap.dh, tap.dw]));
        let (taps, weights) = (group.taps().len() as i32, group.slots().len() as i32);
        let params = GroupParams { taps, slots_at, offsets_at, weights, ..params };
        words.extend_from_slice(bytemuck::cast_slice::<GroupParams, i32>(&[params]));
    }
    words.extend(table.group_of_channel().iter().map(|&group| group as i32));
    words.extend(lists.words);
    let most_taps = groups.iter().map(|group| group.taps().len()).max().unwrap_or(0);
    TapTables { words, groups_at: 0, group_of_channel_at, most_taps }
}

/// A group of a pass with tiles, but for what groups without tiles have as well.
fn tiled_group(lists: &mut Lists, group: &TapGroup, taps: &ChunkedTaps, tiled: &TiledPass) -> GroupParams {
    let TiledPass { pass, shape, tiling, .. } = tiled;
    let layout = GroupLayout::new(taps, tiling.tile, tiling.results, tiling.order);
    let phase_words = phase_words(taps, &layout, shape.phases());
    let (first_row, first_col) = (layout.extent.rows.first, layout.extent.cols.first);
    let phase_words_at = lists.add(phase_words.iter().copied());
    // Rows from the first staged one to the last that are in the image. Where a block has several images, it has whole
    // planes; otherwise the quotient must be 0.
    let end_row = (first_row + layout.source.rows as i32).min(shape.source.rows as i32);
    let height = if tiling.tiles(shape).rows == 1 { (end_row - first_row.max(0)).max(1) as usize } else { 1 << 30 };

    let line_blocks = layout.line_blocks().count();
    let blocks = if line_blocks > 0 { toeplitz_blocks(taps, tiling.results, layout.strips) } else { Vec::new() };
    let entry = |chunk: &[PhaseTap]| chunk_entry(chunk, taps, &layout.source, &phase_words);
    let work = if line_blocks > 0 {
        ListedWork::of_blocks(&blocks, &layout, tiling.results)
    } else {
        ListedWork::of_chunks(taps, entry)
    };
    let weight_lists_at = add_weight_lists(lists, &work.weight_slots, group);
    let zero = group.taps().iter().position(|tap| (tap.dh, tap.dw) == (0, 0));
    let center = work.weight_slots.iter().position(|slot| slot.is_some() && *slot == zero);
    let chunk_list_at = lists.add(work.entries);
    let output_phases_at = lists.add(work.output_phases);
    let packs = match pass {
        Pass::WeightGrad if line_blocks > 0 => {
            let none = lists.add([0; MOST_TAPS + 1]);
            Packs { count: 0, counts_at: none, list_at: chunk_list_at, taps_at: none }
        }
        Pass::WeightGrad => add_packs(lists, taps, entry),
        Pass::Forward | Pass::InputGrad => Packs::default(),
    };
    let toeplitz_taps_at = lists.add(toeplitz_places(&blocks, group.taps().len(), tiling.results));

    let int = |number: usize| number as i32;
    GroupParams {
        direction: taps.direction as i32,
        first_row,
        first_col,
        source: tile_layout(&layout.source, shape.source_stride),
        by_height: FastDivisor::new(height),
        image_words: int(layout.source_words),
        phase_words_at,
        results: tile_layout(&layout.results, Size { rows: 1, cols: 1 }),
        result_words: int(layout.result_words),
        strips: int(layout.strips),
        lines: int(layout.lines),
        active_lines: int(layout.active_lines),
        by_lines: FastDivisor::new(layout.lines),
        by_positions: FastDivisor::new(layout.strips * layout.lines),
        warp_lines_log2: match layout.order {
            LaneOrder::AcrossImages { lines_log2 } => lines_log2 as i32,
            LaneOrder::WithinImage { .. } => -1,
        },
        line_blocks: int(line_blocks),
        by_line_blocks: FastDivisor::new(line_blocks),
        by_warps: FastDivisor::new(line_blocks * layout.strips),
        first_line: layout.lines_inside().start,
        end_line: layout.lines_inside().end,
        weight_words: int(work.weight_slots.len()),
        weight_lists_at,
        center: center.map_or(-1, int),
        chunks: int(work.chunks),
        chunk_list_at,
        output_phases_at,
        packs: packs.count,
        pack_counts_at: packs.counts_at,
        pack_list_at: packs.list_at,
        pack_taps_at: packs.taps_at,
        toeplitz_blocks: int(blocks.len()),
        toeplitz_taps_at,
        ..GroupParams::default()
    }
}

/// Where each phase starts within an image. Phases that no tap reads are not staged, unless there is only one: -1.
fn phase_words(taps: &ChunkedTaps, layout: &GroupLayout, phases: usize) -> Vec<i32> {
    let mut is_read = vec![phases == 1; phases];
    taps.taps().for_each(|tap| is_read[tap.phase] = true);
    let mut next = 0;
    let place = |is_read: bool| {
        let place = if is_read { next } else { -1 };
        next += if is_read { layout.source.words() as i32 } else { 0 };
        place
    };
    is_read.into_iter().map(place).collect()
}

/// What threads go through: chunks or Toeplitz blocks.
#[derive(Default)]
struct ListedWork {
    /// Two words each: how far it is across the lines, and along them.
    entries: Vec<i32>,
    /// How many of them are chunks.
    chunks: usize,
    /// For every word of weights the tap that it belongs to, or none where chunks and blocks are padded.
    weight_slots: Vec<Option<usize>>,
    /// Per output phase: chunks of every length from the longest on, the first chunk, and its first word of weights.
    output_phases: Vec<i32>,
}

impl ListedWork {
    fn of_chunks(taps: &ChunkedTaps, entry: impl Fn(&[PhaseTap]) -> [i32; 2]) -> Self {
        let mut work = ListedWork::default();
        for chunks in &taps.output_phases {
            let count = |length: usize| chunks.iter().filter(|chunk| chunk.len() == length).count() as i32;
            work.output_phases.extend((1..=MOST_TAPS).rev().map(count));
            work.output_phases.extend([work.chunks as i32, work.weight_slots.len() as i32]);
            for chunk in chunks {
                work.entries.extend(entry(chunk));
                work.weight_slots.extend(chunk.iter().map(|tap| Some(tap.slot)));
                work.weight_slots.resize(work.weight_slots.len().next_multiple_of(4), None);
            }
            work.chunks += chunks.len();
        }
        work
    }

    fn of_blocks(blocks: &[ToeplitzBlock], layout: &GroupLayout, results: usize) -> Self {
        // One output phase without chunks.
        let mut work = ListedWork { output_phases: vec![0; MOST_TAPS + 2], ..ListedWork::default() };
        for block in blocks {
            // A line relative to that of the results is relative to the first staged one here.
            let lines = block.across + layout.lines_inside().start;
            work.entries.extend([lines * layout.source.pitch as i32, block.strips * results as i32]);
            let end = work.weight_slots.len() + block_words(results);
            work.weight_slots.extend(block.slots.iter().copied());
            work.weight_slots.resize(end, None);
        }
        work
    }
}

/// Adds, for every word of weights, the list of the weights that it is the sum of: all lists one after the other, and then
/// where each starts, and the end of the last. The index of the starts.
fn add_weight_lists(lists: &mut Lists, weight_slots: &[Option<usize>], group: &TapGroup) -> i32 {
    let mut weights_of = vec![Vec::new(); group.taps().len()];
    group.slots().iter().enumerate().for_each(|(weight, &slot)| weights_of[slot].push(weight as i32));
    let of = |slot: &Option<usize>| slot.map_or(&[][..], |slot| &weights_of[slot]);
    let first = lists.add(weight_slots.iter().flat_map(|slot| of(slot).iter().copied()));
    let starts = weight_slots.iter().scan(first, |next, slot| {
        let start = *next;
        *next += of(slot).len() as i32;
        Some(start)
    });
    let starts: Vec<i32> = starts.collect();
    let end = first + weight_slots.iter().map(|slot| of(slot).len() as i32).sum::<i32>();
    lists.add(starts.into_iter().chain([end]))
}

/// The packs of the weight gradient.
#[derive(Default)]
struct Packs {
    count: i32,
    counts_at: i32,
    list_at: i32,
    taps_at: i32,
}

/// Adds the packs of chunks of one length each, the last padded by repetition.
fn add_packs(lists: &mut Lists, taps: &ChunkedTaps, entry: impl Fn(&[PhaseTap]) -> [i32; 2]) -> Packs {
    let (mut entries, mut tap_of_sum) = (Vec::new(), Vec::new());
    for length in (1..=MOST_TAPS).rev() {
        let of_length = |chunk: &&Vec<PhaseTap>| chunk.len() == length;
        let chunks: Vec<&Vec<PhaseTap>> = taps.output_phases[0].iter().filter(of_length).collect();
        for pack in chunks.chunks(chunks_per_pack(length)) {
            let last = pack[pack.len() - 1];
            for chunk in pack.iter().copied().chain(std::iter::repeat(last)).take(chunks_per_pack(length)) {
                entries.extend(entry(chunk));
            }
            let before = tap_of_sum.len();
            tap_of_sum.extend(pack.iter().copied().flatten().map(|tap| tap.slot as i32));
            tap_of_sum.resize(before + MOST_TAPS, -1);
        }
    }
    let counts = (1..=MOST_TAPS).rev().map(|length| taps.packs(length) as i32);
    let counts_at = lists.add(counts.chain([entries.len() as i32 / 2]));
    let (list_at, taps_at) = (lists.add(entries), lists.add(tap_of_sum));
    Packs { count: taps.pack_count() as i32, counts_at, list_at, taps_at }
}

/// Where each tap has its sums: places in up to two Toeplitz blocks, or -1.
fn toeplitz_places(blocks: &[ToeplitzBlock], taps: usize, results: usize) -> Vec<i32> {
    let mut places = vec![-1; 2 * taps];
    for (index, block) in blocks.iter().enumerate() {
        for (diagonal, slot) in block.slots.iter().enumerate() {
            let Some(slot) = *slot else { continue };
            let free = usize::from(places[2 * slot] >= 0);
            places[2 * slot + free] = (index * block_words(results) + diagonal) as i32;
        }
    }
    places
}

/// Where a chunk is relative to a thread's first result: words across the lines, and words along them.
fn chunk_entry(chunk: &[PhaseTap], taps: &ChunkedTaps, tile: &SharedTile, phase_words: &[i32]) -> [i32; 2] {
    let first = chunk[0];
    let (row, col) = (first.row - taps.extent.rows.first, first.col - taps.extent.cols.first);
    let LinePlace { across, along } = taps.direction.place(row, col);
    // Only diagonals wrap around.
    let line = if taps.direction.is_diagonal() { across.rem_euclid(tile.lines as i32) } else { across };
    [line * tile.pitch as i32, phase_words[first.phase] + along]
}

fn tile_layout(tile: &SharedTile, stride: Size) -> TileLayout {
    let int = |number: usize| number as i32;
    TileLayout {
        rows: int(tile.rows),
        cols: int(tile.cols),
        pitch: int(tile.pitch),
        lines: int(tile.lines),
        wrap_bias: int(tile.wrap_bias),
        words: int(tile.words()),
        by_cols: FastDivisor::new(tile.cols * stride.cols),
        by_rows: FastDivisor::new(tile.rows * stride.rows),
        by_lines: FastDivisor::new(tile.lines),
    }
}
