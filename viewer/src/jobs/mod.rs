//! Work that takes longer than a frame.
//!
//! A job has a slot, which says what it is for. A new job cancels the previous one in its slot. Every report carries the
//! number of its job, so that late reports of a canceled job are dropped. Work checks [`Link::stopped`] between its
//! parts, and then ends with an error that is not shown.

mod analyze;
mod link;
mod open;
mod queue;
mod runner;

pub use analyze::{BiasTask, ErfTask, bias, erf};
pub use link::{End, Link, Opened, Report, Slot};
pub use open::{OpenTask, follow, open};
pub use queue::Jobs;
pub use runner::{InlineRunner, Lane, Runner, ThreadRunner, Work};
