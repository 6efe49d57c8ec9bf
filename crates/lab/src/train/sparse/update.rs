//! Updates of masks: pruning and growing.

use super::masks::{Mask, Masks, Unit, count, group_sums};
use super::random::Random;
use crate::{Error, Result};
use candle_core::Tensor;
use candle_core::backprop::GradStore;
use kernelscope::ops::update::{Keep, read};
use kernelscope::profile;
use rayon::prelude::*;
use std::cmp::Ordering;

/// Share of kept weights that an update prunes, a half cosine over the run:
///
/// ```text
/// rate(t) = 0.005 + (base - 0.005) * (1 + cos(pi * t / T)) / 2
/// ```
///
/// after t of T optimizer steps.
///
/// ```
/// let rate = kernelscope_lab::train::sparse::PruneRate { base: 0.3, steps: 1000 };
/// assert_eq!((rate.at(0), rate.at(1000)), (0.3, 0.005));
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PruneRate {
    /// Rate at the start.
    pub base: f64,
    /// Steps of the run, T.
    pub steps: usize,
}

impl PruneRate {
    /// Rate at the end.
    pub const LAST: f64 = 0.005;

    /// The rate after this number of steps.
    pub fn at(&self, step: usize) -> f64 {
        let angle = std::f64::consts::PI * step as f64 / self.steps.max(1) as f64;
        Self::LAST + (self.base - Self::LAST) * (1.0 + angle.cos()) / 2.0
    }
}

/// How an update chooses what to grow.
pub enum Grow<'a> {
    /// Every group that is not kept, with the probability that grows as many as were pruned on average.
    Random(&'a Random<'a>),
    /// The groups with the largest sum of absolute gradients, exactly as many as were pruned.
    Gradient(&'a GradStore),
}

impl Masks {
    /// Prunes the share `rate` of the kept groups of every mask, those with the smallest sum of absolute weights, grows
    /// others in their place, and sets pruned weights to zero. Grown weights start at zero, where they were.
    ///
    /// With `aligned`, parallel paths are one: their magnitudes (and gradients) are added, the mask of the first is
    /// updated, and the others get a copy. Without, every path updates its own, so that they differ until the next
    /// aligned update. Where units have one weight each, both are the same.
    ///
    /// # Errors
    /// If a gradient is missing or a weight is not f32. The masks are then useless.
    pub fn update(&mut self, rate: f64, aligned: bool, grow: &Grow) -> Result<()> {
        {
            let _span = profile::span("mask update");
            self.units.par_iter_mut().try_for_each(|unit| unit.update(rate, aligned, grow))?;
        }
        self.apply()
    }
}

impl Unit {
    fn update(&mut self, rate: f64, aligned: bool, grow: &Grow) -> Result<()> {
        if aligned {
            let keep = Keep::from(updated(&self.masks, rate, grow)?);
            self.masks.iter_mut().for_each(|mask| mask.keep = keep.clone());
        } else {
            for mask in &mut self.masks {
                mask.keep = updated(std::slice::from_ref(mask), rate, grow)?.into();
            }
        }
        self.masks.iter_mut().for_each(Mask::explore);
        Ok(())
    }
}

/// The new mask of the first of some paths, by the magnitudes of all.
fn updated(paths: &[Mask], rate: f64, grow: &Grow) -> Result<Vec<u8>> {
    let Some(first) = paths.first() else { return Ok(Vec::new()) };
    let mut keep = first.keep.to_vec();
    let removed = prune(&mut keep, &sums(paths, |mask| Some(mask.var.as_tensor()))?, rate);
    match grow {
        Grow::Random(random) => grow_randomly(&mut keep, removed, |count| random(&first.name, count)),
        Grow::Gradient(grads) => {
            let gradients = sums(paths, |mask| grads.get(mask.var.as_tensor()))?;
            grow_largest(&mut keep, removed, &gradients);
        }
    }
    Ok(keep)
}

/// Sums of absolute values over groups, added over the paths.
fn sums<'a>(paths: &'a [Mask], of: impl Fn(&'a Mask) -> Option<&'a Tensor>) -> Result<Vec<f64>> {
    let mut total: Vec<f64> = Vec::new();
    for mask in paths {
        let tensor = of(mask).ok_or_else(|| {
            Error::argument("gradients", format!("none for {}", mask.name), "one for every weight with a mask")
        })?;
        let sums = read(tensor, |values| group_sums(values, mask.group))?;
        if total.is_empty() {
            total = sums;
        } else {
            total.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
        }
    }
    Ok(total)
}

/// Prunes `ceil(rate * kept)` groups; how many were removed.
///
/// As in the official code, the `zeros + ceil(rate * kept)` groups of least magnitude are set to 0. That removes fewer
/// where other paths gave a pruned group a magnitude. Among equals those that are pruned already come first.
fn prune(keep: &mut [u8], magnitudes: &[f64], rate: f64) -> usize {
    let kept = count(keep);
    let least = keep.len() - kept + (rate * kept as f64).ceil() as usize;
    let order = |&a: &u32, &b: &u32| {
        let (a, b) = (a as usize, b as usize);
        magnitudes[a].total_cmp(&magnitudes[b]).then(keep[a].cmp(&keep[b])).then(a.cmp(&b))
    };
    for i in first_by(0..keep.len() as u32, least, order) {
        keep[i as usize] = 0;
    }
    kept - count(keep)
}

/// Grows each group that is not kept with probability `removed / zeros`.
fn grow_randomly(keep: &mut [u8], removed: usize, random: impl Fn(usize) -> Vec<f32>) {
    let zeros = keep.len() - count(keep);
    if zeros == 0 {
        return;
    }
    let probability = (removed as f64 / zeros as f64) as f32;
    let drawn = random(keep.len());
    for (keep, u) in keep.iter_mut().zip(drawn) {
        *keep |= u8::from(u < probability);
    }
}

/// Grows the `removed` groups with the largest gradients among those that are not kept; the first among equals.
fn grow_largest(keep: &mut [u8], removed: usize, gradients: &[f64]) {
    let order = |&a: &u32, &b: &u32| gradients[b as usize].total_cmp(&gradients[a as usize]).then(a.cmp(&b));
    let pruned = (0..keep.len() as u32).filter(|&i| keep[i as usize] == 0);
    for i in first_by(pruned, removed, order) {
        keep[i as usize] = 1;
    }
}

/// The `count` items that come first in an order, in any order. Networks have fewer weights than 32 bits can count.
fn first_by(items: impl Iterator<Item = u32>, count: usize, order: impl FnMut(&u32, &u32) -> Ordering) -> Vec<u32> {
    let mut items: Vec<u32> = items.collect();
    if count < items.len() {
        items.select_nth_unstable_by(count, order);
        items.truncate(count);
    }
    items
}
