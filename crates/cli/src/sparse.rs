//! The options of `kernelscope train` on sparse training.

use kernelscope_lab::train::sparse::{Growth, Moments, SparseConfig, SparseInit, SparseKind};

/// Options of sparse training. All need `--sparse`.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Sparse training")]
pub struct SparseArgs {
    /// Train with masks that have one value per weight, per small kernel, or per small kernel of all parallel paths
    #[arg(long, value_enum, value_name = "TYPE")]
    sparse: Option<SparseKind>,
    /// How the first masks are initialized [default: snip]
    #[arg(long, value_enum, value_name = "INIT", requires = "sparse")]
    sparse_init: Option<SparseInit>,
    /// Share of weights that are zero [default: 0.4]
    #[arg(long, value_name = "SHARE", requires = "sparse")]
    sparsity: Option<f64>,
    /// Share of a layer's remaining weights that the first updates prune; it decreases to 0.005 [default: 0.3]
    #[arg(long, value_name = "SHARE", requires = "sparse")]
    prune_rate: Option<f64>,
    /// Steps between updates of the masks [default: 100]
    #[arg(long, short = 'u', value_name = "STEPS", requires = "sparse")]
    update_frequency: Option<usize>,
    /// Which weights grow [default: random]
    #[arg(long, value_enum, value_name = "GROWTH", requires = "sparse")]
    growth: Option<Growth>,
    /// Make only large kernels sparse (weights named ...large_kernel.LoRA...)
    #[arg(long, requires = "sparse")]
    only_large: bool,
    /// Number of updates after which all paths share one mask again; only with --sparse rep-coarse [default: 1]
    #[arg(long, value_name = "UPDATES", requires = "sparse")]
    sparse_gap: Option<usize>,
    /// What happens to the optimizer's moments of pruned weights [default: keep]
    #[arg(long, value_enum, value_name = "WHAT", requires = "sparse")]
    moments: Option<Moments>,
}

impl SparseArgs {
    /// The settings, where sparse training is wanted.
    pub fn config(&self) -> Option<SparseConfig> {
        let default = SparseConfig::default();
        self.sparse.map(|kind| SparseConfig {
            kind,
            init: self.sparse_init.unwrap_or(default.init),
            sparsity: self.sparsity.unwrap_or(default.sparsity),
            prune_rate: self.prune_rate.unwrap_or(default.prune_rate),
            update_frequency: self.update_frequency.unwrap_or(default.update_frequency),
            growth: self.growth.unwrap_or(default.growth),
            prune: default.prune,
            only_large: self.only_large,
            sparse_gap: self.sparse_gap.unwrap_or(default.sparse_gap),
            moments: self.moments.unwrap_or(default.moments),
        })
    }
}
