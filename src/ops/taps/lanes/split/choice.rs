//! Which axes are split.

use super::phase::Phase;
use super::{SplitPlan, SubConv};
use crate::ops::taps::lanes::plan::{BlockedLayout, GatherOutline, IndexedTap};
use crate::ops::taps::lanes::reading;
use crate::ops::taps::{Geometry, Tap};
use std::collections::BTreeMap;

/// Sums are split that take less than this share of the direct one's time, by an estimate that errs by a tenth.
const WORTHWHILE: f64 = 0.9;

/// Time of a vector of a part's source or result, in multiply-adds: pixels are combined, results are added.
pub(super) const COMBINED: f64 = 5.0;
/// The same in the weight gradient, whose sums have fewer outputs to share what each takes by itself.
pub(super) const COMBINED_FOR_WEIGHTS: f64 = 30.0;

/// Least columns of a part's results: narrower tiles lose what is gained.
const LEAST_COLUMNS: usize = 14;

/// A part before its layouts are known: its taps, each with the weights that are added up, and its sizes.
pub(super) struct SubConvSpec {
    pub phases: (Phase, Phase),
    pub taps: Vec<(Tap, Vec<u32>)>,
    pub geometry: Geometry,
}

impl SubConvSpec {
    pub fn new(taps: &[IndexedTap], whole: &Geometry, (row, col): (Phase, Phase)) -> Self {
        let geometry = Geometry {
            input: (row.pixels(whole.input.0), col.pixels(whole.input.1)),
            output: (whole.output.0.div_ceil(row.step()), whole.output.1.div_ceil(col.step())),
            stride: (1, 1),
        };
        let mut merged: BTreeMap<Tap, Vec<u32>> = BTreeMap::new();
        for &(tap, index) in taps {
            if let (Some(dh), Some(dw)) = (row.offset(tap.dh), col.offset(tap.dw)) {
                merged.entry(Tap { dh, dw }).or_default().push(index);
            }
        }
        SubConvSpec { phases: (row, col), taps: merged.into_iter().collect(), geometry }
    }

    /// The taps that read inside the part's source.
    pub fn reading(&self) -> Vec<IndexedTap> {
        reading(&self.taps.iter().map(|(tap, _)| *tap).collect::<Vec<_>>(), &self.geometry)
    }

    /// Estimated time, in multiply-adds of a vector.
    pub fn time(&self, combined: f64) -> f64 {
        let (input, output) = (self.geometry.input, self.geometry.output);
        let targets = self.phases.0.outputs().len() * self.phases.1.outputs().len();
        let vectors = input.0 * input.1 + targets * output.0 * output.1;
        GatherOutline::forward(&self.reading(), &self.geometry).time() + combined * vectors as f64
    }
}

/// A way to split a sum.
pub(super) struct SplitChoice(pub Vec<SubConvSpec>);

impl SplitChoice {
    /// The one that takes the least time by estimate, if that is much less than the direct sum's.
    pub fn best(taps: &[IndexedTap], geometry: &Geometry, combined: f64) -> Option<Self> {
        if geometry.stride != (1, 1) {
            return None;
        }
        let choices = [(true, true), (true, false), (false, true)].map(|axes| Self::new(taps, geometry, axes));
        let wide = choices.into_iter().filter(|SplitChoice(pieces)| pieces[0].geometry.output.1 >= LEAST_COLUMNS);
        let timed = wide.map(|choice| (choice.0.iter().map(|piece| piece.time(combined)).sum::<f64>(), choice));
        let (time, choice) = timed.min_by(|a, b| a.0.total_cmp(&b.0))?;
        (time < WORTHWHILE * GatherOutline::forward(taps, geometry).time()).then_some(choice)
    }

    /// With the axes split for which it is said.
    pub fn new(taps: &[IndexedTap], geometry: &Geometry, (rows, cols): (bool, bool)) -> Self {
        let phases = Phase::all(rows).iter().flat_map(|&row| Phase::all(cols).iter().map(move |&col| (row, col)));
        SplitChoice(phases.map(|phases| SubConvSpec::new(taps, geometry, phases)).collect())
    }

    /// The layouts; `work` decides that of a part's source from its taps and sizes, and what is done with it.
    pub fn resolve<W>(
        self,
        geometry: &Geometry,
        work: impl Fn(&[IndexedTap], &Geometry) -> (BlockedLayout, W),
    ) -> SplitPlan<W> {
        let results = self.0.first().map_or((0, 0), |piece| piece.geometry.output);
        let part = |piece: SubConvSpec| {
            let (layout, work) = work(&piece.reading(), &piece.geometry);
            SubConv {
                phases: piece.phases,
                layout,
                weights: piece.taps.into_iter().map(|(_, weights)| weights).collect(),
                work,
            }
        };
        SplitPlan {
            source: BlockedLayout { halo: 1, ..BlockedLayout::bare(geometry.input) },
            target: BlockedLayout::bare(geometry.output),
            results: BlockedLayout::bare(results),
            parts: self.0.into_iter().map(part).collect(),
        }
    }
}
