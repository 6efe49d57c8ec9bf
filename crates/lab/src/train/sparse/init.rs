//! The first masks: densities of layers, and which weights are kept.

use super::masks::{Mask, Masks, count, group_sums};
use super::random::Random;
use crate::config::SparseInit;
use crate::{Error, Result};
use candle_core::Tensor;
use kernelscope::ops::update::{Keep, read};
use rayon::prelude::*;

/// A layer that keeps this share or more loses its mask and becomes dense for good.
const DENSE: f64 = 0.99;

/// Share of entries per list that SNIP (Lee, Ajanthan and Torr, 2019) would prune: of all scores together the
/// `int(total * (1 - sparsity))`-th largest is the threshold, and what is not above it is pruned.
///
/// # Errors
/// If nothing would be left.
pub fn snip_sparsities(scores: &[Vec<f32>], sparsity: f64) -> Result<Vec<f64>> {
    let mut all: Vec<f32> = scores.iter().flatten().copied().collect();
    let keep = (all.len() as f64 * (1.0 - sparsity)) as usize;
    if keep == 0 {
        let given = format!("{sparsity} of {} groups", all.len());
        return Err(Error::argument("sparsity", given, "a value that keeps at least one"));
    }
    let (_, &mut threshold, _) = all.select_nth_unstable_by(keep - 1, |a, b| b.total_cmp(a));
    let pruned = |scores: &Vec<f32>| scores.iter().filter(|&&score| score <= threshold).count();
    Ok(scores.iter().map(|scores| pruned(scores) as f64 / scores.len().max(1) as f64).collect())
}

/// Densities of the Erdos-Renyi kernel (Evci et al., 2020) for masks of these shapes: proportional to the sum of a
/// shape's sides by their product, scaled so that the share `density` of all values is kept; layers that this would
/// fill more than completely are dense, and the others share what is left.
pub fn erk_densities(shapes: &[Vec<usize>], density: f64) -> Vec<f64> {
    let size = |shape: &Vec<usize>| shape.iter().product::<usize>().max(1) as f64;
    let raw: Vec<f64> = shapes.iter().map(|shape| shape.iter().sum::<usize>() as f64 / size(shape)).collect();
    let mut dense = vec![false; shapes.len()];
    loop {
        let (mut wanted, mut divisor, mut largest) = (0.0, 0.0, 0.0f64);
        for ((shape, raw), dense) in shapes.iter().zip(&raw).zip(&dense) {
            if *dense {
                wanted -= size(shape) * (1.0 - density);
            } else {
                wanted += size(shape) * density;
                divisor += raw * size(shape);
                largest = largest.max(*raw);
            }
        }
        let scale = wanted / divisor;
        let full = largest * scale > 1.0;
        if !full {
            return raw.iter().zip(&dense).map(|(raw, dense)| if *dense { 1.0 } else { raw * scale }).collect();
        }
        for (raw, dense) in raw.iter().zip(&mut dense) {
            *dense |= *raw == largest;
        }
    }
}

impl Masks {
    /// What SNIP compares, one list per unit: `|weight * gradient|` of every weight, or its mean over every kernel of
    /// coarse masks; the lists of parallel paths are joined. `gradient` gives a weight's by its name.
    ///
    /// # Errors
    /// If a gradient is missing or has another shape than the weight.
    pub fn scores(&self, gradient: impl Fn(&str) -> Option<Tensor> + Sync) -> Result<Vec<Vec<f32>>> {
        let of_mask = |mask: &Mask| -> Result<Vec<f32>> {
            let gradient = gradient(&mask.name).filter(|g| g.dims() == mask.var.dims()).ok_or_else(|| {
                Error::argument("gradients", format!("none for {}", mask.name), "one for every weight with a mask")
            })?;
            let products = (mask.var.as_tensor() * gradient)?;
            let sums = read(&products, |values| group_sums(values, mask.group))?;
            Ok(sums.into_iter().map(|sum| (sum / mask.group as f64) as f32).collect())
        };
        self.units
            .par_iter()
            .map(|unit| unit.masks.iter().map(of_mask).collect::<Result<Vec<_>>>().map(|lists| lists.concat()))
            .collect()
    }

    /// Densities of all units. SNIP needs the scores of [`Masks::scores`]; large kernels and linear maps beside coarse
    /// masks each have a threshold of their own.
    ///
    /// # Errors
    /// If SNIP would leave nothing.
    pub fn densities(&self, init: SparseInit, sparsity: f64, scores: &[Vec<f32>]) -> Result<Vec<f64>> {
        match init {
            SparseInit::Uniform => Ok(vec![1.0 - sparsity; self.units.len()]),
            SparseInit::Erk => {
                let shapes = self.units.iter().filter_map(|unit| unit.masks.first());
                Ok(erk_densities(&shapes.map(Mask::shape).collect::<Vec<_>>(), 1.0 - sparsity))
            }
            SparseInit::Resume => Ok(vec![1.0; self.units.len()]),
            SparseInit::Snip => {
                let mut densities = vec![1.0; self.units.len()];
                for pointwise in [false, true] {
                    let mine: Vec<usize> =
                        (0..self.units.len()).filter(|&i| self.units[i].pointwise == pointwise).collect();
                    if mine.is_empty() {
                        continue;
                    }
                    let scores: Vec<Vec<f32>> = mine.iter().filter_map(|&i| scores.get(i).cloned()).collect();
                    for (i, pruned) in mine.into_iter().zip(snip_sparsities(&scores, sparsity)?) {
                        densities[i] = 1.0 - pruned;
                    }
                }
                Ok(densities)
            }
        }
    }

    /// Keeps every group with the probability of its unit: where `random < density`. Parallel paths get the same mask.
    ///
    /// # Errors
    /// If there is nothing left to prune, or if there is not one density per unit.
    pub fn draw(&mut self, densities: &[f64], random: &Random) -> Result<()> {
        if densities.len() != self.units.len() {
            return Err(Error::argument("densities", densities.len(), format!("one per unit, {}", self.units.len())));
        }
        for (unit, &density) in self.units.iter_mut().zip(densities) {
            let Some(first) = unit.masks.first() else { continue };
            // Both sides in single precision, as in the official code.
            let drawn = random(&first.name, first.keep.len());
            let keep: Keep = drawn.iter().map(|u| u8::from(*u < density as f32)).collect();
            unit.masks.iter_mut().for_each(|mask| mask.keep = keep.clone());
        }
        self.drop_dense()
    }

    /// Keeps what is not zero in the weights; parallel paths get the mask of the first.
    ///
    /// # Errors
    /// If there is nothing left to prune, or if a weight is not f32.
    pub fn take_zeros(&mut self) -> Result<()> {
        for unit in &mut self.units {
            let Some(first) = unit.masks.first() else { continue };
            let sums = read(first.var.as_tensor(), |values| group_sums(values, first.group))?;
            let keep: Keep = sums.iter().map(|sum| u8::from(*sum != 0.0)).collect();
            unit.masks.iter_mut().for_each(|mask| mask.keep = keep.clone());
        }
        self.drop_dense()
    }

    /// Removes the masks of units that keep 99 % of their groups or more, which become dense for good, and starts to
    /// record what is explored.
    ///
    /// # Errors
    /// If no mask remains.
    fn drop_dense(&mut self) -> Result<()> {
        let before = self.units.len();
        let dense = |mask: &Mask| count(&mask.keep) as f64 / mask.keep.len().max(1) as f64 >= DENSE;
        self.units.retain(|unit| !unit.masks.first().is_none_or(dense));
        if self.units.is_empty() {
            let given = format!("99% or more of the weights of all {before} layers kept");
            let allowed = "at least one sparse layer: a larger sparsity, or weights with zeros for init = resume";
            return Err(Error::argument("first masks", given, allowed));
        }
        self.iter_mut().for_each(|mask| mask.explored = mask.keep.to_vec());
        Ok(())
    }
}
