//! Which channels are computed together.
//!
//! A block of the `lanes` engine costs the same with any number of channels, and the same whether all of its channels
//! have a tap or one of them has. So channels with the same taps are taken in full blocks. What is left over is put into
//! blocks of similar channels, each of which computes the union of their taps, where that is cheaper than to compute each
//! channel alone; or all of it computes the union of all its taps, where that is cheaper still, since complete kernels
//! have the fastest loops.

use super::bundle::Bundle;
use super::{Geometry, Tap, TapTable};
use std::collections::HashMap;

/// Estimated times are in multiply-adds of a vector. This is that of reading or writing a vector of pixels through a
/// transposition,
const TRANSPOSED: f64 = 5.0;
/// of moving the lanes of a vector of pixels,
const MOVED: f64 = 2.0;
/// of a tap of a plane in bands, beside its multiply-adds,
const BAND_TAP: f64 = 10.0;
/// and of a plane in bands, beside all of these.
const BAND_PLANE: f64 = 500.0;

/// The sums of a block of different channels take so many times as long as those of equal channels with the union of their
/// taps: taps have fewer neighbors to share loads with, weights are gathered one by one, and each such block has a plan of
/// its own to read.
const DIFFERENT: f64 = 1.5;
/// The same where all blocks compute one union, and have one plan.
const ONE_UNION: f64 = 1.2;

/// Outputs that a tap computes in vain at the border of an image, on average: tiles are 7 to 14 wide.
const TILE_WASTE: usize = 6;

/// Channels that are considered for one place of a block: more would make plans of wide layers slow.
const MOST_CANDIDATES: usize = 512;

/// What computes a channel that shares a block with no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alone {
    /// The engine with one lane per band of the plane, in vectors that so many images share.
    Bands { shared: usize },
    /// The engine with one plane at a time.
    Planes,
    /// Nothing: every channel is in a block.
    Never,
}

/// What a block of channels takes, as the engine that computes it estimates.
#[derive(Clone, Copy)]
pub(super) struct BlockCosts<'a> {
    pub geometry: &'a Geometry,
    /// Channels of a block.
    pub lanes: usize,
    /// Time of the sums of a block with some taps, in multiply-adds of a vector.
    pub sums: fn(&[Tap], &Geometry) -> f64,
}

/// The channels of a table, divided among blocks; the others are alone.
#[derive(Debug)]
pub(super) struct Division {
    pub bundles: Vec<Bundle>,
    /// For each channel, whether it is in no block.
    pub alone: Vec<bool>,
}

impl Division {
    /// Divides the channels for vectors of `lanes` values.
    pub fn new(table: &TapTable, block: BlockCosts, alone: Alone) -> Self {
        let BlockCosts { geometry, lanes, .. } = block;
        let mut channels = vec![Vec::new(); table.groups().len()];
        for (channel, &group) in table.group_of_channel().iter().enumerate() {
            channels[group].push(channel);
        }
        let mut bundles = Vec::new();
        let mut rest = Vec::new();
        for (group, mut channels) in channels.into_iter().enumerate() {
            let left_over = channels.split_off(channels.len() / lanes * lanes);
            if !channels.is_empty() {
                bundles.push(Bundle { taps: table.groups()[group].taps().to_vec(), channels });
            }
            rest.extend(left_over.into_iter().map(|channel| (group, channel)));
        }
        let mut division = Division { bundles, alone: vec![false; table.channels()] };
        if !rest.is_empty() {
            Pool::new(table, Costs { block, geometry, lanes, alone }, rest).divide(&mut division);
        }
        division
    }
}

/// Estimated times.
struct Costs<'a> {
    block: BlockCosts<'a>,
    geometry: &'a Geometry,
    lanes: usize,
    alone: Alone,
}

impl Costs<'_> {
    fn pixels((rows, cols): (usize, usize)) -> usize {
        rows * cols
    }

    /// A block, beside its taps.
    fn transposed(&self) -> f64 {
        TRANSPOSED * (Self::pixels(self.geometry.input) + Self::pixels(self.geometry.output)) as f64
    }

    /// A block with these taps, whose sums take `factor` times as long as those of equal channels.
    fn block(&self, taps: &[Tap], factor: f64) -> f64 {
        self.transposed() + factor * (self.block.sums)(taps, self.geometry)
    }

    /// Columns of outputs that a tap computes.
    fn cols(&self, tap: Tap) -> usize {
        let (first, end) = self.geometry.valid(tap).cols;
        if first == end { 0 } else { (end - first + TILE_WASTE).min(self.geometry.output.1) }
    }

    /// One tap of a block, roughly.
    fn tap(&self, tap: Tap) -> f64 {
        let (first, end) = self.geometry.valid(tap).rows;
        ((end - first) * self.cols(tap)) as f64
    }

    /// A channel by itself.
    fn alone(&self, taps: &[Tap]) -> f64 {
        match self.alone {
            Alone::Never => f64::INFINITY,
            // Its scaled additions read and write the outputs for each tap.
            Alone::Planes => (taps.iter().map(|&tap| self.tap(tap)).sum::<f64>() + self.transposed()) / 4.0,
            Alone::Bands { shared } => {
                let Geometry { input, output, .. } = *self.geometry;
                let reading = taps.iter().filter(|&&tap| self.cols(tap) > 0);
                let bands = self.lanes / shared;
                let rows = output.0.div_ceil(bands);
                let dh = || reading.clone().map(|tap| tap.dh);
                let span = dh().max().unwrap_or(0) - dh().min().unwrap_or(0);
                let transposed = rows * (input.1 + output.1);
                let moved = if bands == 1 { 0 } else { span as usize * input.1 };
                let sum = |&tap: &Tap| {
                    let (first, end) = self.geometry.valid(tap).rows;
                    let rows = if bands == 1 { end - first } else { rows };
                    (rows * self.cols(tap)) as f64 + BAND_TAP
                };
                let sums: f64 = reading.clone().map(sum).sum();
                let vector = sums + TRANSPOSED * transposed as f64 + MOVED * moved as f64 + BAND_PLANE;
                vector / shared as f64
            }
        }
    }
}

/// Channels that have no block yet.
struct Pool<'a> {
    table: &'a TapTable,
    costs: Costs<'a>,
    /// Distinct taps, and what each costs in a block.
    taps: Vec<Tap>,
    tap_costs: Vec<f64>,
    /// For each group of the table, a bit per distinct tap.
    bits: HashMap<usize, Vec<u64>>,
    /// Groups and channels, those with most taps first.
    left: Vec<(usize, usize)>,
}

impl<'a> Pool<'a> {
    fn new(table: &'a TapTable, costs: Costs<'a>, mut left: Vec<(usize, usize)>) -> Self {
        let mut groups: Vec<usize> = left.iter().map(|&(group, _)| group).collect();
        groups.dedup();
        let mut taps: Vec<Tap> = groups.iter().flat_map(|&group| table.groups()[group].taps()).copied().collect();
        taps.sort_unstable();
        taps.dedup();
        let of_group = |group: usize| {
            let mut bits = vec![0u64; taps.len().div_ceil(64)];
            for tap in table.groups()[group].taps() {
                if let Ok(place) = taps.binary_search(tap) {
                    bits[place / 64] |= 1 << (place % 64);
                }
            }
            (group, bits)
        };
        let bits = groups.into_iter().map(of_group).collect();
        let tap_costs = taps.iter().map(|&tap| costs.tap(tap)).collect();
        left.sort_by_key(|&(group, channel)| (std::cmp::Reverse(table.groups()[group].taps().len()), group, channel));
        Pool { table, costs, taps, tap_costs, bits, left }
    }

    /// Puts each channel into a block or leaves it alone.
    fn divide(mut self, division: &mut Division) {
        let everything = Bundle { taps: self.taps.clone(), channels: self.left.iter().map(|left| left.1).collect() };
        let mut total = 0.0;
        let mut bundles = Vec::new();
        let mut loose = Vec::new();
        while let Some(&(seed, channel)) = self.left.first() {
            let (members, union) = self.around(seed);
            let union = self.of(&union);
            let block = self.costs.block(&union, DIFFERENT);
            let alone: f64 = members.iter().map(|&place| self.alone(self.left[place].0)).sum();
            if block < alone {
                total += block;
                let channels = members.iter().map(|&place| self.left[place].1).collect();
                bundles.push(Bundle { taps: union, channels });
                let mut place = 0;
                self.left.retain(|_| {
                    place += 1;
                    !members.contains(&(place - 1))
                });
            } else {
                total += self.alone(seed);
                loose.push(channel);
                self.left.remove(0);
            }
        }
        let blocks = everything.channels.len().div_ceil(self.costs.lanes);
        if blocks as f64 * self.costs.block(&everything.taps, ONE_UNION) < total {
            division.bundles.push(everything);
        } else {
            division.bundles.extend(bundles);
            loose.into_iter().for_each(|channel| division.alone[channel] = true);
        }
    }

    /// The block of channels that suit the first one best, as places in `left`, and the union of their taps.
    fn around(&self, seed: usize) -> (Vec<usize>, Vec<u64>) {
        let mut union = self.bits[&seed].clone();
        let mut members = vec![0];
        let mut candidates: Vec<usize> = (1..self.left.len().min(MOST_CANDIDATES)).collect();
        while members.len() < self.costs.lanes {
            // What adds the fewest taps; of these, what has most, which comes first.
            let added = |place: usize| -> u32 {
                let own = &self.bits[&self.left[place].0];
                own.iter().zip(&union).map(|(own, union)| (own & !union).count_ones()).sum()
            };
            let Some((index, _)) = candidates.iter().enumerate().min_by_key(|(_, place)| added(**place)) else { break };
            let place = candidates.remove(index);
            let own = &self.bits[&self.left[place].0];
            let new: Vec<u64> = own.iter().zip(&union).map(|(own, union)| own & !union).collect();
            if DIFFERENT * self.cost(&new) > self.alone(self.left[place].0) {
                break;
            }
            union.iter_mut().zip(own).for_each(|(union, own)| *union |= own);
            members.push(place);
        }
        (members, union)
    }

    fn places<'b>(&self, bits: &'b [u64]) -> impl Iterator<Item = usize> + use<'b, '_, 'a> {
        (0..self.taps.len()).filter(|place| bits[place / 64] >> (place % 64) & 1 == 1)
    }

    /// What some taps cost in a block.
    fn cost(&self, bits: &[u64]) -> f64 {
        self.places(bits).map(|place| self.tap_costs[place]).sum()
    }

    fn of(&self, bits: &[u64]) -> Vec<Tap> {
        self.places(bits).map(|place| self.taps[place]).collect()
    }

    fn alone(&self, group: usize) -> f64 {
        self.costs.alone(self.table.groups()[group].taps())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::taps::lanes::time_of_sums;
    use std::collections::HashSet;

    fn square(side: usize) -> Geometry {
        Geometry { input: (side, side), output: (side, side), stride: (1, 1) }
    }

    /// A row of taps in row `dh`.
    fn row(dh: i32, taps: i32) -> Vec<Tap> {
        (0..taps).map(|i| Tap { dh, dw: i - taps / 2 }).collect()
    }

    /// Every channel is in one place, and a bundle has all of its channels' taps and no others.
    fn check(table: &TapTable, division: &Division) {
        let mut seen: Vec<usize> = (0..table.channels()).filter(|&channel| division.alone[channel]).collect();
        for Bundle { taps, channels } in &division.bundles {
            seen.extend(channels);
            let union: HashSet<Tap> = channels.iter().flat_map(|&c| table.group_of(c).taps()).copied().collect();
            assert_eq!((union.len(), taps.iter().copied().collect()), (taps.len(), union));
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..table.channels()).collect::<Vec<_>>());
    }

    fn divide(lists: &[Vec<Tap>], geometry: &Geometry, alone: Alone) -> crate::Result<Division> {
        let table = TapTable::ragged(lists)?;
        let division = Division::new(&table, BlockCosts { geometry, lanes: 16, sums: time_of_sums }, alone);
        check(&table, &division);
        Ok(division)
    }

    #[test]
    fn channels_with_the_same_taps_share_blocks() -> crate::Result<()> {
        let lists: Vec<_> = (0..64).map(|channel| row(channel % 2, 7)).collect();
        let division = divide(&lists, &square(28), Alone::Bands { shared: 1 })?;
        assert_eq!(division.bundles.iter().map(|bundle| bundle.channels.len()).collect::<Vec<_>>(), [32, 32]);
        Ok(())
    }

    #[test]
    fn similar_channels_share_a_block_and_others_do_not() -> crate::Result<()> {
        // 15 channels without one of 31 taps below each other, and one channel far away from them.
        let column: Vec<Tap> = (-15..=15).map(|dh| Tap { dh, dw: 0 }).collect();
        let mut lists: Vec<_> = (0..15).map(|i| [&column[..i], &column[i + 1..]].concat()).collect();
        let far = |dh: i32| row(dh, 9).into_iter().map(|tap| Tap { dw: tap.dw + 8, ..tap });
        lists.push((9..12).flat_map(far).collect());
        let division = divide(&lists, &square(28), Alone::Bands { shared: 1 })?;
        assert_eq!(division.bundles, [Bundle { taps: column, channels: (0..15).collect() }]);
        assert!(division.alone[15]);
        Ok(())
    }

    #[test]
    fn channels_are_cheaper_alone_if_images_share_vectors() -> crate::Result<()> {
        // Every other tap of a 9x9 kernel, or nearly.
        let complete: Vec<Tap> = (-4..=4).flat_map(|dh| row(dh, 9)).collect();
        let half = |i: usize| (0..81).filter(move |place| (place * (2 * i + 1)) % 81 < 40);
        let lists: Vec<Vec<Tap>> = (0..16).map(|i| half(i).map(|place| complete[place]).collect()).collect();
        assert!(!divide(&lists, &square(14), Alone::Bands { shared: 1 })?.alone.contains(&true));
        assert!(!divide(&lists, &square(14), Alone::Bands { shared: 16 })?.alone.contains(&false));
        Ok(())
    }

    #[test]
    fn channels_with_nothing_in_common_are_alone() -> crate::Result<()> {
        let lists: Vec<_> = (0..16).map(|i| row(3 * i - 24, 9)).collect();
        assert!(divide(&lists, &square(56), Alone::Bands { shared: 1 })?.bundles.is_empty());
        assert_eq!(divide(&lists, &square(56), Alone::Never)?.bundles.len(), 1);
        Ok(())
    }

    #[test]
    fn nearly_complete_kernels_are_computed_complete() -> crate::Result<()> {
        let complete: Vec<Tap> = (-15..=15).flat_map(|dh| row(dh, 31)).collect();
        let without = |i: usize| complete.iter().copied().enumerate().filter(move |(place, _)| place % 32 != i);
        let lists: Vec<Vec<Tap>> = (0..32).map(|i| without(i).map(|(_, tap)| tap).collect()).collect();
        let division = divide(&lists, &square(14), Alone::Bands { shared: 1 })?;
        assert!(!division.alone.contains(&true));
        assert!(division.bundles.iter().all(|bundle| bundle.taps.len() == 31 * 31), "{:?}", division.bundles);
        Ok(())
    }
}
