//! Experiments with the networks of [`kernelscope`]: what comes before and after a network's forward pass.
//!
//! | module | holds |
//! |---|---|
//! | [`data`] | built-in images, folders, CIFAR-10, transforms, loader |
//! | [`train`] | loss, optimizer, schedule, sparse training, trainer |
//! | [`run`] | the run folder |
//! | [`open`] | what is at a path, as far as it can be read |
//! | [`save`] | results of analyses as files |
//! | [`plot`] | figures |
//! | [`report`] | all analyses of trained networks on one page |
//! | [`ablate`] | grids of variants, trained over several seeds and compared |
//! | [`mod@bench`] | times, rooflines, and PyTorch's times for the same |
//!
//! Errors are those of [`kernelscope`].

// A test stops at the first surprise.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking"))]

pub mod ablate;
pub mod bench;
mod config;
pub mod data;
pub mod open;
pub mod plot;
pub mod report;
pub mod run;
pub mod save;
mod threads;
pub mod train;

pub use kernelscope::{Error, Result};
