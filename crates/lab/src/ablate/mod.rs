//! Ablations as data: a grid file says what is compared, every combination is trained as a run of its own, and tables
//! and figures show what the variants reach over several seeds.
//!
//! ```text
//! DIR/grid.toml              the grid file that the runs are of
//! DIR/runs/LABEL-seed0/      a run folder per variant and seed, as `kernelscope train` writes it
//! DIR/ablation.csv           a row per finished run
//! DIR/summary.csv, .md, .html    a row per variant: mean, spread, difference to the baseline
//! DIR/comparisons.csv        a row per question of the grid, if it asks any
//! DIR/figures/               accuracy.svg and .png; with a numeric axis also accuracy-lines
//! ```
//!
//! A run is an ordinary run folder, so every other command takes it. Finished runs are skipped, begun ones resumed.
//! Results are the same whatever the number of runs at once, of threads, of shards and of interruptions; only seconds
//! differ.
//!
//! ```no_run
//! use kernelscope_lab::ablate::{Ablation, Grid, Shard, Unwatched};
//! # fn main() -> kernelscope::Result<()> {
//! let ablation = Ablation::new(Grid::read("ablations/oriented1d-table7.toml".as_ref())?, "runs/table7".as_ref())?;
//! let failures = ablation.run(&ablation.shard(Shard::ALL), None, &Default::default(), &Unwatched)?;
//! assert!(failures.is_empty());
//! for summary in ablation.write_results()? {
//!     println!("{}: {:?}", summary.variant, summary.accuracy);
//! }
//! # Ok(())
//! # }
//! ```

mod check;
mod compare;
mod fields;
mod grid;
mod jobs;
mod page;
mod questions;
mod read;
mod records;
mod runner;
mod settings;
mod stats;
mod table;
mod variants;

pub use check::MergeCheck;
pub use compare::Comparison;
pub use grid::{Axis, Check, Compare, Entry, Grid};
pub use jobs::{Ablation, Job, Shard, State};
pub use questions::Question;
pub use records::{Record, Summary};
pub use runner::{Failure, Unwatched, Watch, share_threads};
pub use settings::Settings;
pub use stats::{Difference, Spread};
pub use variants::Variant;
