//! Masks of weights, and which weights have one.

use crate::config::{SparseConfig, SparseKind};
use crate::run::MaskRow;
use crate::{Error, Result};
use candle_core::Var;
use kernelscope::nn::{Kind, Param, Params};
use kernelscope::ops::update::{GroupMask, Keep};
use kernelscope::profile;

/// What names of large kernels contain (`LoRA1.conv.weight` in SLaK, `LoRAs.0.weight` in shift-wise networks).
const LARGE: &str = "large_kernel.LoRA";
/// What stands before the number of a path in the weights of a shift-wise convolution.
const PATHS: &str = "large_kernel.LoRAs.";
/// What names of the wide linear maps of a block contain.
const POINTWISE: &str = "pwconv";

/// The mask of one weight tensor.
///
/// The tensor's values, row-major, are divided into groups of equal size; the mask has one value per group. Fine masks
/// have groups of one value, coarse masks one group per output channel.
#[derive(Debug, Clone)]
pub struct Mask {
    pub(super) name: String,
    pub(super) var: Var,
    pub(super) group: usize,
    pub(super) keep: Keep,
    pub(super) explored: Vec<u8>,
}

impl Mask {
    /// A mask that keeps everything.
    fn new(name: &str, param: &Param, coarse: bool) -> Self {
        let groups = if coarse { param.var.dims()[0] } else { param.var.elem_count() };
        Mask {
            name: name.to_string(),
            var: param.var.clone(),
            group: param.var.elem_count() / groups.max(1),
            keep: vec![1; groups].into(),
            explored: vec![1; groups],
        }
    }

    /// Name of the weight.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// 1 for every group that is kept and 0 for every other.
    pub fn keep(&self) -> &[u8] {
        &self.keep
    }

    /// 1 for every group that has been kept since the start of training.
    pub fn explored(&self) -> &[u8] {
        &self.explored
    }

    /// Number of weights in a group.
    pub fn group(&self) -> usize {
        self.group
    }

    /// Shape of the mask: the weight's, or (outputs, 1, 1, 1).
    pub fn shape(&self) -> Vec<usize> {
        match self.group {
            1 => self.var.dims().to_vec(),
            _ => vec![self.keep.len(), 1, 1, 1],
        }
    }

    /// Number of groups that are kept.
    pub fn kept(&self) -> usize {
        count(&self.keep)
    }

    /// Sets the values of all groups that are not kept to zero. `values` are laid out as the weight's.
    pub fn erase(&self, values: &mut [f32]) {
        self.groups().erase(values);
    }

    /// Which groups of the weight's values are kept.
    pub fn groups(&self) -> GroupMask<'_> {
        GroupMask { keep: &self.keep, size: self.group }
    }

    /// Erases the weight itself.
    fn apply(&self) -> Result<()> {
        self.groups().apply(self.var.as_tensor())
    }

    /// Takes note of what is kept now.
    pub(super) fn explore(&mut self) {
        self.explored.iter_mut().zip(self.keep.iter()).for_each(|(explored, keep)| *explored |= keep);
    }
}

/// Sums of absolute values over groups.
pub(super) fn group_sums(values: &[f32], group: usize) -> Vec<f64> {
    let sum = |group: &[f32]| group.iter().map(|v| f64::from(v.abs())).sum();
    values.chunks(group.max(1)).map(sum).collect()
}

/// Number of ones.
pub(super) fn count(values: &[u8]) -> usize {
    values.iter().filter(|value| **value != 0).count()
}

/// Weights whose masks are decided together: the paths of a block in rep-coarse masks, a single weight otherwise.
#[derive(Debug, Clone)]
pub(super) struct Unit {
    pub(super) masks: Vec<Mask>,
    /// Which weights compete for the threshold of SNIP: large kernels, or linear maps beside coarse masks.
    pub(super) pointwise: bool,
}

/// All masks of a network, in the order of its parameters.
///
/// ```
/// use kernelscope::nn::BuildOptions;
/// use kernelscope_lab::train::sparse::{Masks, SparseConfig};
/// use kernelscope::zoo::{ModelSpec, Network};
/// # fn main() -> kernelscope::Result<()> {
/// let network = Network::build(ModelSpec::named("nano-replk")?, BuildOptions::default())?;
/// let mut masks = Masks::select(&SparseConfig::default(), network.params())?;
/// assert_eq!(masks.density(), 1.0);
/// let density = vec![0.25; masks.units()];
/// masks.draw(&density, &|_, count| (0..count).map(|i| i as f32 / count as f32).collect())?;
/// masks.apply()?;
/// assert!((masks.density() - 0.25).abs() < 0.01);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Masks {
    pub(super) units: Vec<Unit>,
}

impl Masks {
    /// Masks that keep everything, for the weights that the configuration names.
    ///
    /// - [`SparseKind::Fine`]: weights of convolutions and linear maps, that is those with 2 or 4 axes; with
    ///   `only_large` those whose name contains `large_kernel.LoRA`.
    /// - [`SparseKind::Coarse`] and [`SparseKind::RepCoarse`]: `large_kernel.LoRAs.N.weight` of shape (outputs, 1, n, n),
    ///   one value per n x n kernel; without `only_large` also the weights of linear maps whose name contains `pwconv`,
    ///   one value per weight.
    ///
    /// The official code takes any parameter with 2 or 4 axes, which the scale of a global response norm has too. Norms
    /// have no masks here.
    ///
    /// # Errors
    /// If no weight is named, or paths of a block have different shapes.
    pub fn select(config: &SparseConfig, params: &Params) -> Result<Self> {
        let mut units: Vec<Unit> = Vec::new();
        let mut last_block = None;
        let weights = params.iter().filter(|(_, p)| p.kind == Kind::Weight && matches!(p.var.rank(), 2 | 4));
        for (name, param) in weights {
            let mut push = |coarse, pointwise| {
                units.push(Unit { masks: vec![Mask::new(name, param, coarse)], pointwise });
            };
            match (config.kind, block_of(name).filter(|_| param.var.rank() == 4)) {
                (SparseKind::Fine, _) if !config.only_large || name.contains(LARGE) => push(false, false),
                (SparseKind::Fine, _) => {}
                (SparseKind::RepCoarse, Some(block)) if last_block == Some(block) => {
                    if let Some(unit) = units.last_mut() {
                        unit.add(name, param)?;
                    }
                }
                (_, Some(block)) => {
                    push(true, false);
                    last_block = Some(block);
                }
                (_, None) if !config.only_large && name.contains(POINTWISE) => push(false, true),
                (_, None) => {}
            }
        }
        let wanted = match (config.kind, config.only_large) {
            (SparseKind::Fine, false) => "a network with weights of convolutions or linear maps".to_string(),
            (SparseKind::Fine, true) => format!("a network with weights named ...{LARGE}..., or all weights"),
            _ => format!("a network with weights named ...{PATHS}N.weight, or type fine"),
        };
        if units.iter().all(|unit| unit.pointwise) {
            let given = format!("{}, but this network has no such weights", config.kind.name());
            return Err(Error::argument("type of sparse training", given, wanted));
        }
        Ok(Masks { units })
    }

    /// Number of units: weights, but the parallel paths of a block count once in rep-coarse masks.
    pub fn units(&self) -> usize {
        self.units.len()
    }

    /// All masks.
    pub fn iter(&self) -> impl Iterator<Item = &Mask> {
        self.units.iter().flat_map(|unit| &unit.masks)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Mask> {
        self.units.iter_mut().flat_map(|unit| &mut unit.masks)
    }

    /// The mask of a weight, if it has one.
    pub fn get(&self, name: &str) -> Option<&Mask> {
        self.iter().find(|mask| mask.name == name)
    }

    /// Sets all pruned weights to zero.
    ///
    /// # Errors
    /// If a weight is not f32.
    pub fn apply(&self) -> Result<()> {
        let _span = profile::span("masks");
        self.iter().try_for_each(Mask::apply)
    }

    /// As [`Masks::apply`], but of the parallel paths of a block only the first: what the official code does with the
    /// initial masks. The others follow after the first optimizer step.
    ///
    /// # Errors
    /// If a weight is not f32.
    pub fn apply_first(&self) -> Result<()> {
        self.units.iter().filter_map(|unit| unit.masks.first()).try_for_each(Mask::apply)
    }

    /// Share of the weights with masks that are kept.
    pub fn density(&self) -> f64 {
        let (kept, all) = self
            .iter()
            .fold((0, 0), |(kept, all), mask| (kept + mask.kept() * mask.group, all + mask.keep.len() * mask.group));
        kept as f64 / all.max(1) as f64
    }

    /// One row per weight, for `masks.csv`.
    pub fn rows(&self, step: usize) -> Vec<MaskRow> {
        let row = |(mask, merged): (&Mask, f64)| MaskRow {
            step,
            layer: mask.name.clone(),
            density: share(&mask.keep),
            merged_density: merged,
            explored: share(&mask.explored),
        };
        self.units
            .iter()
            .flat_map(|unit| {
                let merged = unit.merged_density();
                unit.masks.iter().map(move |mask| (mask, merged))
            })
            .map(row)
            .collect()
    }
}

impl Unit {
    /// Adds another path of a block.
    fn add(&mut self, name: &str, param: &Param) -> Result<()> {
        if let Some(first) = self.masks.first().filter(|first| first.var.dims() != param.var.dims()) {
            let allowed = format!("{:?}, as {}", first.var.dims(), first.name);
            return Err(Error::shape(name, param.var.dims(), allowed));
        }
        self.masks.push(Mask::new(name, param, true));
        Ok(())
    }

    /// Share of groups that any path keeps.
    fn merged_density(&self) -> f64 {
        let mut any = self.masks.first().map_or_else(Vec::new, |mask| mask.keep.to_vec());
        for mask in self.masks.iter().skip(1) {
            any.iter_mut().zip(mask.keep.iter()).for_each(|(any, keep)| *any |= keep);
        }
        share(&any)
    }
}

fn share(values: &[u8]) -> f64 {
    count(values) as f64 / values.len().max(1) as f64
}

/// The block that a weight is a path of: what stands before the path's number.
fn block_of(name: &str) -> Option<&str> {
    let at = name.rfind(PATHS)?;
    let number = name.get(at + PATHS.len()..)?.strip_suffix(".weight")?;
    number.parse::<usize>().ok().and(name.get(..at))
}
