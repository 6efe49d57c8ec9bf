//! What the passes need to know of each group of channels.

use super::source::{LaneMap, PaddedPlanes};
use crate::ops::taps::lanes::Supported;
use crate::ops::taps::lanes::plan::{BlockedLayout, GatherOutline, GatherPlan, IndexedTap, TapChunk, TapChunkOutlines};
use crate::ops::taps::lanes::scratch::BufferOwner;
use crate::ops::taps::{Geometry, Tap};

/// Taps of a channel as seen from the first row that their bands read: `above` rows above the output, of `rows` in all.
struct ShiftedTaps {
    pub above: usize,
    pub rows: usize,
    pub taps: Vec<IndexedTap>,
}

impl ShiftedTaps {
    /// None if there are no taps.
    pub fn new(taps: &[IndexedTap], lane_map: LaneMap, source_rows: usize) -> Option<Self> {
        let first = taps.iter().map(|(tap, _)| tap.dh).min()?.min(0);
        let last = taps.iter().map(|(tap, _)| tap.dh).max()?.max(0);
        if lane_map.bands == 1 {
            return Some(ShiftedTaps { above: 0, rows: source_rows, taps: taps.to_vec() });
        }
        let shift = |&(tap, index): &IndexedTap| (Tap { dh: tap.dh - first, dw: tap.dw }, index);
        let taps = taps.iter().map(shift).collect();
        Some(ShiftedTaps { above: -first as usize, rows: lane_map.step + (last - first) as usize, taps })
    }

    /// The sizes of one band.
    pub fn geometry(&self, lane_map: LaneMap, cols: (usize, usize)) -> Geometry {
        Geometry { input: (self.rows, cols.0), output: (lane_map.step, cols.1), stride: (1, 1) }
    }
}

/// Rows that any of some lists of taps reads, as seen from an output.
fn reach(lists: &[Option<ShiftedTaps>], lane_map: LaneMap) -> (i32, i32) {
    let lists = || lists.iter().flatten();
    let above = lists().map(|list| list.above).max().unwrap_or(0);
    let below = |list: &ShiftedTaps| list.rows as i32 - (list.above + lane_map.step) as i32;
    (-(above as i32), lists().map(below).max().unwrap_or(0))
}

/// Sums over taps from planes of one size to planes of another: the forward pass or the input gradient.
#[derive(Debug)]
pub(super) struct SumsPlan {
    pub owner: BufferOwner,
    pub source_planes: PaddedPlanes,
    pub target: (usize, usize),
    /// For each group of the table that has taps which read inside the image: the rows above the output that they
    /// reach, the layout of a band of the source, and the work.
    pub groups: Vec<Option<(usize, BlockedLayout, GatherPlan)>>,
    /// Values of the largest packed plane, and of the most weights.
    pub floats: [usize; 2],
}

impl SumsPlan {
    pub fn new(
        (set, images): (Supported, usize),
        taps: &[Vec<IndexedTap>],
        source: (usize, usize),
        target: (usize, usize),
    ) -> Self {
        let (lanes, many) = (set.lanes(), set.has_many_registers());
        let lane_map = LaneMap::new(images, target.0, lanes);
        let shifted: Vec<_> = taps.iter().map(|taps| ShiftedTaps::new(taps, lane_map, source.0)).collect();
        let outline = |list: &ShiftedTaps| {
            GatherOutline::forward(&list.taps, &list.geometry(lane_map, (source.1, target.1))).for_registers(many)
        };
        let outlines: Vec<_> = shifted.iter().map(|list| list.as_ref().map(outline)).collect();
        // One halo for all, so that it stays zero from channel to channel.
        let halo = outlines.iter().flatten().map(GatherOutline::halo).max().unwrap_or(0);
        let resolve = |(list, outline): (&Option<ShiftedTaps>, Option<GatherOutline>)| {
            let (list, outline) = (list.as_ref()?, outline?);
            let layout = BlockedLayout { rows: list.rows, cols: source.1, halo };
            Some((list.above, layout, outline.resolve(&layout, lanes, many)))
        };
        let groups: Vec<_> = shifted.iter().zip(outlines).map(resolve).collect();
        let layout = groups.iter().flatten().map(|(_, layout, _)| layout.floats(lanes)).max().unwrap_or(0);
        let weights = taps.iter().flatten().map(|&(_, index)| index as usize + 1).max().unwrap_or(0);
        let source_planes = PaddedPlanes::new(source, reach(&shifted, lane_map), lane_map);
        SumsPlan { owner: BufferOwner::new(), source_planes, target, groups, floats: [layout, weights * lanes] }
    }
}

/// Sums over outputs: the weight gradient.
#[derive(Debug)]
pub(super) struct CorrelationsPlan {
    pub owner: BufferOwner,
    pub x: PaddedPlanes,
    pub dy: PaddedPlanes,
    /// As those of [`SumsPlan`].
    pub groups: Vec<Option<(usize, BlockedLayout, Vec<TapChunk>)>>,
    pub floats: usize,
}

impl CorrelationsPlan {
    pub fn new((set, images): (Supported, usize), taps: &[Vec<IndexedTap>], geometry: &Geometry) -> Self {
        let lanes = set.lanes();
        let lane_map = LaneMap::new(images, geometry.output.0, lanes);
        let shifted: Vec<_> = taps.iter().map(|taps| ShiftedTaps::new(taps, lane_map, geometry.input.0)).collect();
        let band = |list: &ShiftedTaps| list.geometry(lane_map, (geometry.input.1, geometry.output.1));
        let bands: Vec<_> = shifted.iter().map(|list| list.as_ref().map(band)).collect();
        let chunks = |(list, band): (&Option<ShiftedTaps>, _)| {
            Some(TapChunkOutlines::new(&list.as_ref()?.taps, Option::as_ref(band)?))
        };
        let chunks: Vec<_> = shifted.iter().zip(&bands).map(chunks).collect();
        let halo = chunks.iter().flatten().map(TapChunkOutlines::halo).max().unwrap_or(0);
        let resolve = |(list, chunks): (&Option<ShiftedTaps>, Option<TapChunkOutlines>)| {
            let list = list.as_ref()?;
            let layout = BlockedLayout { rows: list.rows, cols: geometry.input.1, halo };
            Some((list.above, layout, chunks?.resolve(&layout, lanes)))
        };
        let groups: Vec<_> = shifted.iter().zip(chunks).map(resolve).collect();
        CorrelationsPlan {
            owner: BufferOwner::new(),
            x: PaddedPlanes::new(geometry.input, reach(&shifted, lane_map), lane_map),
            dy: PaddedPlanes::new(geometry.output, (0, 0), lane_map),
            floats: groups.iter().flatten().map(|(_, layout, _)| layout.floats(lanes)).max().unwrap_or(0),
            groups,
        }
    }
}
