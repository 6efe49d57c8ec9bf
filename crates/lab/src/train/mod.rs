//! Training: loss, optimizer, schedule, averaging, sparse masks, and the trainer that ties them to a run folder.

pub(crate) mod batch;
mod ema;
mod loss;
mod observer;
mod optimizer;
mod schedule;
pub mod sparse;
mod sums;
mod trainer;

pub use crate::config::AdamWConfig;
pub use ema::Ema;
pub use loss::{accuracy, soft_cross_entropy};
pub use observer::{EpochReport, Evaluation, Observer, Outcome, Silent, StepReport};
pub use optimizer::AdamW;
pub use schedule::CosineSchedule;
pub use trainer::{Trainer, evaluate};
