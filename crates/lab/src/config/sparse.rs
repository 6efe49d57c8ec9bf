//! Settings of sparse training.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Settings of sparse training: the section `[train.sparse]` of a run's configuration. The defaults are the official
/// scripts'; names in brackets are theirs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SparseConfig {
    /// What one value of a mask decides on.
    #[serde(rename = "type")]
    pub kind: SparseKind,
    /// How the first masks are made.
    pub init: SparseInit,
    /// Share of the weights that are zero, over all sparse layers together. With [`SparseInit::Resume`] the weights
    /// decide.
    pub sparsity: f64,
    /// Share of a layer's kept weights that an update prunes, at the start; see [`PruneRate`](crate::train::sparse::PruneRate).
    pub prune_rate: f64,
    /// Optimizer steps between updates of the masks.
    pub update_frequency: usize,
    /// Which weights an update grows.
    pub growth: Growth,
    /// Which weights an update prunes.
    pub prune: Prune,
    /// Only the large kernels are sparse: weights whose name contains `large_kernel.LoRA` (`--only-L`).
    pub only_large: bool,
    /// Every how many updates the paths of a block get one mask again; for [`SparseKind::RepCoarse`] alone.
    pub sparse_gap: usize,
    /// What becomes of the optimizer's moments of pruned weights.
    pub moments: Moments,
}

impl Default for SparseConfig {
    fn default() -> Self {
        SparseConfig {
            kind: SparseKind::Fine,
            init: SparseInit::Snip,
            sparsity: 0.4,
            prune_rate: 0.3,
            update_frequency: 100,
            growth: Growth::Random,
            prune: Prune::Magnitude,
            only_large: false,
            sparse_gap: 1,
            moments: Moments::Keep,
        }
    }
}

/// What one value of a mask decides on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum SparseKind {
    /// One value per weight of every convolution and linear map (`origin`)
    #[serde(alias = "origin")]
    #[value(alias = "origin")]
    Fine,
    /// One value per small kernel of a shift-wise convolution
    Coarse,
    /// As coarse, with one mask for all parallel paths of a block (`rep_coarse`)
    #[serde(alias = "rep_coarse")]
    #[value(alias = "rep_coarse")]
    RepCoarse,
}

impl SparseKind {
    /// Its name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            SparseKind::Fine => "fine",
            SparseKind::Coarse => "coarse",
            SparseKind::RepCoarse => "rep-coarse",
        }
    }
}

/// How the first masks are made: the density of every layer. Which of its weights are kept is random, except for
/// [`SparseInit::Resume`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum SparseInit {
    /// Densities according to how strongly the loss of one batch depends on each weight
    Snip,
    /// The same density for all layers
    Uniform,
    /// Higher density for layers with few weights per input and output (Erdős–Rényi kernel)
    #[serde(alias = "ERK")]
    #[value(alias = "ERK")]
    Erk,
    /// The zeros of the weights that training starts from
    Resume,
}

/// Which weights an update grows. They start at zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Growth {
    /// Any weights, with equal probability; on average as many as were pruned (SET)
    Random,
    /// The weights with the largest gradient; exactly as many as were pruned (RigL)
    Gradient,
}

/// Which weights an update prunes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Prune {
    /// Those with the smallest absolute value.
    Magnitude,
}

/// What becomes of the optimizer's moments of pruned weights.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Moments {
    /// They keep following the gradients, so a weight that grows has a history (official code, for AdamW)
    Keep,
    /// They are set to zero, as the official code does with the momentum of SGD
    Reset,
}

/// Larger numbers of steps are refused.
const MAX_STEPS: usize = 1_000_000_000;

impl SparseConfig {
    /// Checks the ranges of all fields.
    ///
    /// # Errors
    /// The first field out of range, by name.
    pub fn check(&self) -> Result<()> {
        for (name, value) in [("sparsity", self.sparsity), ("prune rate", self.prune_rate)] {
            // Comparisons fail for values that are not a number.
            if !(value > 0.0 && value < 1.0) {
                return Err(Error::argument(name, value, "greater than 0 and less than 1"));
            }
        }
        for (name, value) in [("update frequency", self.update_frequency), ("sparse gap", self.sparse_gap)] {
            if !(1..=MAX_STEPS).contains(&value) {
                return Err(Error::argument(name, value, format!("1 to {MAX_STEPS}")));
            }
        }
        if self.sparse_gap > 1 && self.kind != SparseKind::RepCoarse {
            let allowed = format!("1 with type {}, because paths share only rep-coarse masks", self.kind.name());
            return Err(Error::argument("sparse gap", self.sparse_gap, allowed));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_out_of_range_are_named() {
        let good = SparseConfig::default();
        assert!(good.check().is_ok());
        assert!(SparseConfig { kind: SparseKind::RepCoarse, sparse_gap: 131, ..good }.check().is_ok());
        for (name, given, wrong) in [
            ("sparsity", "0", SparseConfig { sparsity: 0.0, ..good }),
            ("sparsity", "1", SparseConfig { sparsity: 1.0, ..good }),
            ("sparsity", "NaN", SparseConfig { sparsity: f64::NAN, ..good }),
            ("prune rate", "-0.1", SparseConfig { prune_rate: -0.1, ..good }),
            ("update frequency", "0", SparseConfig { update_frequency: 0, ..good }),
            ("sparse gap", "0", SparseConfig { sparse_gap: 0, ..good }),
            ("sparse gap", "2", SparseConfig { sparse_gap: 2, ..good }),
        ] {
            let message = wrong.check().unwrap_err().to_string();
            assert!(message.starts_with(&format!("{name}: got {given}, allowed: ")), "{message}");
        }
    }

    #[test]
    fn the_official_names_are_understood() {
        let read = |text: &str| toml::from_str::<SparseConfig>(text).unwrap();
        let config = read("type = \"origin\"\ninit = \"ERK\"");
        assert_eq!((config.kind, config.init), (SparseKind::Fine, SparseInit::Erk));
        assert_eq!(read("type = \"rep_coarse\""), read("type = \"rep-coarse\""));
        assert!(toml::to_string(&config).unwrap().contains("type = \"fine\""));
    }
}
