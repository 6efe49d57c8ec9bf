//! What the passes need to know of each group of channels.

use super::source::{Cut, Lot};
use crate::ops::taps::lanes::Supported;
use crate::ops::taps::lanes::plan::{Chunk, Chunks, Gather, IndexedTap, Outline, Sheet};
use crate::ops::taps::lanes::scratch::Owner;
use crate::ops::taps::{Geometry, Tap};

/// Taps of a channel as seen from the first row that their strips read: `above` rows above the output, of `rows` in all.
struct Shifted {
    pub above: usize,
    pub rows: usize,
    pub taps: Vec<IndexedTap>,
}

impl Shifted {
    /// None if there are no taps.
    pub fn new(taps: &[IndexedTap], lot: Lot, source_rows: usize) -> Option<Self> {
        let first = taps.iter().map(|(tap, _)| tap.dh).min()?.min(0);
        let last = taps.iter().map(|(tap, _)| tap.dh).max()?.max(0);
        if lot.strips == 1 {
            return Some(Shifted { above: 0, rows: source_rows, taps: taps.to_vec() });
        }
        let shift = |&(tap, index): &IndexedTap| (Tap { dh: tap.dh - first, dw: tap.dw }, index);
        let taps = taps.iter().map(shift).collect();
        Some(Shifted { above: -first as usize, rows: lot.step + (last - first) as usize, taps })
    }

    /// The sizes of one strip.
    pub fn geometry(&self, lot: Lot, cols: (usize, usize)) -> Geometry {
        Geometry { input: (self.rows, cols.0), output: (lot.step, cols.1), stride: (1, 1) }
    }
}

/// Rows that any of some lists of taps reads, as seen from an output.
fn reach(lists: &[Option<Shifted>], lot: Lot) -> (i32, i32) {
    let lists = || lists.iter().flatten();
    let above = lists().map(|list| list.above).max().unwrap_or(0);
    let below = |list: &Shifted| list.rows as i32 - (list.above + lot.step) as i32;
    (-(above as i32), lists().map(below).max().unwrap_or(0))
}

/// Sums over taps from planes of one size to planes of another: the forward pass or the input gradient.
#[derive(Debug)]
pub(super) struct Sums {
    pub owner: Owner,
    pub cut: Cut,
    pub target: (usize, usize),
    /// For each group of the table that has taps which read inside the image: the rows above the output that they
    /// reach, the layout of a strip of the source, and the work.
    pub groups: Vec<Option<(usize, Sheet, Gather)>>,
    /// Values of the largest sheet, and of the most weights.
    pub floats: [usize; 2],
}

impl Sums {
    pub fn new(
        (set, images): (Supported, usize),
        taps: &[Vec<IndexedTap>],
        source: (usize, usize),
        target: (usize, usize),
    ) -> Self {
        let (lanes, many) = (set.lanes(), set.has_many_registers());
        let lot = Lot::new(images, target.0, lanes);
        let shifted: Vec<_> = taps.iter().map(|taps| Shifted::new(taps, lot, source.0)).collect();
        let outline = |list: &Shifted| {
            Outline::forward(&list.taps, &list.geometry(lot, (source.1, target.1))).for_registers(many)
        };
        let outlines: Vec<_> = shifted.iter().map(|list| list.as_ref().map(outline)).collect();
        // One margin for all, so that it stays zero from channel to channel.
        let halo = outlines.iter().flatten().map(Outline::halo).max().unwrap_or(0);
        let resolve = |(list, outline): (&Option<Shifted>, Option<Outline>)| {
            let (list, outline) = (list.as_ref()?, outline?);
            let sheet = Sheet { rows: list.rows, cols: source.1, halo };
            Some((list.above, sheet, outline.resolve(&sheet, lanes, many)))
        };
        let groups: Vec<_> = shifted.iter().zip(outlines).map(resolve).collect();
        let sheet = groups.iter().flatten().map(|(_, sheet, _)| sheet.floats(lanes)).max().unwrap_or(0);
        let weights = taps.iter().flatten().map(|&(_, index)| index as usize + 1).max().unwrap_or(0);
        let cut = Cut::new(source, reach(&shifted, lot), lot);
        Sums { owner: Owner::new(), cut, target, groups, floats: [sheet, weights * lanes] }
    }
}

/// Sums over outputs: the weight gradient.
#[derive(Debug)]
pub(super) struct Correlations {
    pub owner: Owner,
    pub x: Cut,
    pub dy: Cut,
    /// As those of [`Sums`].
    pub groups: Vec<Option<(usize, Sheet, Vec<Chunk>)>>,
    pub floats: usize,
}

impl Correlations {
    pub fn new((set, images): (Supported, usize), taps: &[Vec<IndexedTap>], geometry: &Geometry) -> Self {
        let lanes = set.lanes();
        let lot = Lot::new(images, geometry.output.0, lanes);
        let shifted: Vec<_> = taps.iter().map(|taps| Shifted::new(taps, lot, geometry.input.0)).collect();
        let strip = |list: &Shifted| list.geometry(lot, (geometry.input.1, geometry.output.1));
        let strips: Vec<_> = shifted.iter().map(|list| list.as_ref().map(strip)).collect();
        let chunks =
            |(list, strip): (&Option<Shifted>, _)| Some(Chunks::new(&list.as_ref()?.taps, Option::as_ref(strip)?));
        let chunks: Vec<_> = shifted.iter().zip(&strips).map(chunks).collect();
        let halo = chunks.iter().flatten().map(Chunks::halo).max().unwrap_or(0);
        let resolve = |(list, chunks): (&Option<Shifted>, Option<Chunks>)| {
            let list = list.as_ref()?;
            let sheet = Sheet { rows: list.rows, cols: geometry.input.1, halo };
            Some((list.above, sheet, chunks?.resolve(&sheet, lanes)))
        };
        let groups: Vec<_> = shifted.iter().zip(chunks).map(resolve).collect();
        Correlations {
            owner: Owner::new(),
            x: Cut::new(geometry.input, reach(&shifted, lot), lot),
            dy: Cut::new(geometry.output, (0, 0), lot),
            floats: groups.iter().flatten().map(|(_, sheet, _)| sheet.floats(lanes)).max().unwrap_or(0),
            groups,
        }
    }
}
