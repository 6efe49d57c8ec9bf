//! Work that takes longer than a frame.
//!
//! A job has a slot, what it is for. A new job in a slot cancels the one before, and what that one still reports is
//! dropped: every report carries the number of its job. Work asks [`Link::stopped`] between its parts, and ends with an
//! error that nobody sees.

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
