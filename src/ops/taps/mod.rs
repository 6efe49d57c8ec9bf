//! Tap tables: the geometry of a depthwise kernel as data, and one convolution engine for all of them.
//!
//! A depthwise convolution is, for every channel c, a list of taps. Tap i has an integer offset
//! `(dh_i, dw_i)` and a weight; with strides `(S_h, S_w)`
//!
//! ```text
//! y[n,c,p,q] = bias[c] + sum_i w[c,i] * x[n, c, S_h*p + dh_i, S_w*q + dw_i]      (x = 0 outside the image)
//! ```
//!
//! An oriented kernel is K taps on a line, a dense one `kh * kw` taps on a rectangle, a dilated one the same further
//! apart. Channels with the same offsets share a [`TapGroup`]; taps of one channel that land on the same pixel are
//! merged (weights added up in the forward pass and the input gradient, one sum copied in the weight gradient).

mod bundle;
pub mod cpu;
mod division;
mod gpu;
mod gradients;
mod lanes;
mod op;
mod output;
mod planes;
mod plans;
#[cfg(test)]
mod tests;

pub use gradients::{TapGradients, Wanted};
pub use lanes::InstructionSet;
pub use op::TapConv;
pub use plans::{TapPlan, TapPlans};

use crate::{Error, Result};
use std::collections::{HashMap, HashSet};

/// Most pixels along an axis, between the first output's and the last one's too.
const MOST_PIXELS: usize = 1 << 30;

/// Most different taps of a table.
const MOST_TAPS: usize = 1 << 26;

/// Offset of one tap from the center of its window, in input pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tap {
    /// Rows down.
    pub dh: i32,
    /// Columns to the right.
    pub dw: i32,
}

/// Distinct taps of the channels that share a geometry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TapGroup {
    taps: Vec<Tap>,
    slots: Vec<usize>,
}

impl TapGroup {
    /// Merges coinciding offsets: `offsets[k]` is where weight k of a channel reads.
    fn new(offsets: &[Tap]) -> Self {
        let mut index = HashMap::new();
        let mut taps = Vec::new();
        let slots = offsets
            .iter()
            .map(|&tap| {
                *index.entry(tap).or_insert_with(|| {
                    taps.push(tap);
                    taps.len() - 1
                })
            })
            .collect();
        // The engines want a tap; one that no weight belongs to adds nothing.
        if taps.is_empty() {
            taps.push(Tap { dh: 0, dw: 0 });
        }
        TapGroup { taps, slots }
    }

    /// Distinct taps, in the order of their first weight.
    pub fn taps(&self) -> &[Tap] {
        &self.taps
    }

    /// For each stored weight of a channel, the index of its tap in [`TapGroup::taps`].
    pub fn slots(&self) -> &[usize] {
        &self.slots
    }
}

/// The taps of every channel of a depthwise layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TapTable {
    groups: Vec<TapGroup>,
    group_of_channel: Vec<usize>,
    weights_per_channel: usize,
}

impl TapTable {
    /// A table from the offsets of every channel's weights; channels with equal offsets are grouped.
    ///
    /// # Errors
    /// If there is no channel, or the channels have different numbers of weights.
    pub fn from_offsets(offsets: &[Vec<Tap>]) -> Result<Self> {
        let weights_per_channel = offsets.first().map_or(0, Vec::len);
        if weights_per_channel == 0 || offsets.iter().any(|o| o.len() != weights_per_channel) {
            return Err(Error::argument("taps", "empty or ragged offsets", "the same number of taps in every channel"));
        }
        TapTable::ragged(offsets)
    }

    /// The same where channels may have different numbers of offsets, or none. As many weights are stored for every
    /// channel as the longest list has; a shorter one uses the first of them, and the gradient of the others is zero.
    ///
    /// # Errors
    /// If no channel has an offset.
    pub fn ragged(offsets: &[Vec<Tap>]) -> Result<Self> {
        let weights_per_channel = offsets.iter().map(Vec::len).max().unwrap_or(0);
        if weights_per_channel == 0 {
            return Err(Error::argument("taps", "no taps", "at least one tap in some channel"));
        }
        let mut index = HashMap::new();
        let mut groups = Vec::new();
        let group_of_channel = offsets
            .iter()
            .map(|channel| {
                *index.entry(channel).or_insert_with(|| {
                    groups.push(TapGroup::new(channel));
                    groups.len() - 1
                })
            })
            .collect();
        Ok(TapTable { groups, group_of_channel, weights_per_channel })
    }

    /// A table in which all `channels` share the same offsets.
    ///
    /// # Errors
    /// If there are no channels or no offsets.
    pub fn shared(channels: usize, offsets: &[Tap]) -> Result<Self> {
        if channels == 0 || offsets.is_empty() {
            return Err(Error::argument("taps", "no channels or no taps", "at least one of each"));
        }
        Ok(TapTable {
            groups: vec![TapGroup::new(offsets)],
            group_of_channel: vec![0; channels],
            weights_per_channel: offsets.len(),
        })
    }

    /// Number of channels.
    pub fn channels(&self) -> usize {
        self.group_of_channel.len()
    }

    /// Stored weights per channel (K, or `kh * kw`), before merging.
    pub fn weights_per_channel(&self) -> usize {
        self.weights_per_channel
    }

    /// The distinct geometries.
    pub fn groups(&self) -> &[TapGroup] {
        &self.groups
    }

    /// The geometry of one channel.
    pub fn group_of(&self, channel: usize) -> &TapGroup {
        &self.groups[self.group_of_channel[channel]]
    }

    /// Index into [`TapTable::groups`] of every channel.
    pub fn group_of_channel(&self) -> &[usize] {
        &self.group_of_channel
    }

    /// Checks that places of weights fit into 32 bits, with as many weights per tap as vectors have lanes.
    ///
    /// # Errors
    /// If the channels have too many different taps.
    fn check(&self) -> Result<()> {
        let bound: usize = self.groups.iter().map(|group| group.taps.len()).sum();
        let distinct = || self.groups.iter().flat_map(|group| &group.taps).collect::<HashSet<_>>().len();
        if bound <= MOST_TAPS || distinct() <= MOST_TAPS {
            return Ok(());
        }
        Err(Error::argument("taps", format!("{bound} in all"), format!("at most {MOST_TAPS} different ones")))
    }

    /// Multiply-adds of one image that read inside it, after merging: the work that cannot be avoided.
    pub fn useful_macs(&self, geometry: &Geometry) -> u64 {
        let per_group: Vec<u64> = self
            .groups
            .iter()
            .map(|group| match group.slots.as_slice() {
                [] => 0,
                _ => group.taps.iter().map(|&tap| geometry.valid(tap).count() as u64).sum(),
            })
            .collect();
        self.group_of_channel.iter().map(|&g| per_group[g]).sum()
    }
}

/// Sizes and strides of one convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Geometry {
    /// Input height and width.
    pub input: (usize, usize),
    /// Output height and width.
    pub output: (usize, usize),
    /// Vertical and horizontal stride.
    pub stride: (usize, usize),
}

/// The half-open ranges of output rows and columns for which a tap reads inside the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ValidRange {
    /// First and one past the last output row.
    pub rows: (usize, usize),
    /// First and one past the last output column.
    pub cols: (usize, usize),
}

impl ValidRange {
    /// Number of outputs in the range.
    pub fn count(&self) -> usize {
        (self.rows.1 - self.rows.0) * (self.cols.1 - self.cols.0)
    }
}

impl Geometry {
    /// Checks that nothing is empty, and that offsets between pixels fit into 32 bits with room to spare.
    ///
    /// # Errors
    /// If a size or stride is zero, or pixels or outputs lie 2^30 pixels apart.
    fn check(&self) -> Result<()> {
        let Geometry { input, output, stride } = *self;
        for (name, (h, w)) in [("input size", input), ("output size", output), ("stride", stride)] {
            if h == 0 || w == 0 {
                return Err(Error::argument(name, format!("{h}x{w}"), "at least 1x1"));
            }
        }
        let steps = |outputs: usize, stride: usize| (outputs - 1).saturating_mul(stride);
        let spanned = (steps(output.0, stride.0), steps(output.1, stride.1));
        for (name, (h, w)) in [("input size", input), ("output size", output), ("pixels that outputs span", spanned)] {
            if h.max(w) > MOST_PIXELS {
                return Err(Error::argument(name, format!("{h}x{w}"), format!("at most {MOST_PIXELS} along an axis")));
            }
        }
        Ok(())
    }

    /// Solves `0 <= S*p + d < size` for p within the output: `ceil(-d / S) <= p < ceil((size - d) / S)`.
    pub fn valid(&self, tap: Tap) -> ValidRange {
        let solve = |d: i32, size: usize, stride: usize, out: usize| {
            let (d, stride) = (d as i64, stride as i64);
            let first = (-d).max(0).div_ceil_i64(stride);
            let last = (size as i64 - d).max(0).div_ceil_i64(stride).min(out as i64);
            if first < last { (first as usize, last as usize) } else { (0, 0) }
        };
        let rows = solve(tap.dh, self.input.0, self.stride.0, self.output.0);
        let cols = solve(tap.dw, self.input.1, self.stride.1, self.output.1);
        let empty = rows.0 == rows.1 || cols.0 == cols.1;
        if empty { ValidRange { rows: (0, 0), cols: (0, 0) } } else { ValidRange { rows, cols } }
    }

    /// The same convolution with stride 1 along axes with one output, where nothing is stepped: work and memory grow with
    /// strides.
    fn without_idle_strides(self) -> Self {
        let stride = |stride: usize, outputs: usize| if outputs == 1 { 1 } else { stride };
        let (rows, cols) = self.output;
        Geometry { stride: (stride(self.stride.0, rows), stride(self.stride.1, cols)), ..self }
    }
}

/// Rounding-up division of a non-negative number (`i64::div_ceil` is not stable).
trait DivCeil {
    fn div_ceil_i64(self, by: i64) -> i64;
}

impl DivCeil for i64 {
    fn div_ceil_i64(self, by: i64) -> i64 {
        (self + by - 1) / by
    }
}
