//! # kernelscope-viewer
//!
//! The desktop program: drop a run folder or a checkpoint on it to see what the network is and what it has learned. It
//! draws what [`kernelscope`] computes.
//!
//! | room | holds |
//! |---|---|
//! | [`state`] | what is open, what is being looked at, settings, undo, messages |
//! | [`command`] | everything that can be done by menu, palette, shortcut, script or test |
//! | [`options`] | how things are shown, as options of the command |
//! | [`widgets`] | heat maps, color bars, polar plots |
//! | [`views`] | one file per view; they read the state and emit commands |
//! | [`export`] | figures as files, with the recipe that made them; the command line that shows the same thing |
//! | [`jobs`] | work that takes longer than a frame: progress, cancellation, stale results |
//! | [`app`] | one frame: results of jobs, views, commands, and the jobs that are due |
//! | [`window`] | the window on the screen |
//! | [`raster`] | the same pixels without a window, for tests and scripts |
//! | [`mod@bench`] | time per frame |
//! | [`cli`] | arguments, and the program without a window |
//!
//! A room uses only rooms above it; a test checks this.

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking"))]

pub mod app;
pub mod bench;
pub mod cli;
pub mod command;
pub mod export;
pub mod jobs;
pub mod options;
pub mod raster;
pub mod state;
pub mod views;
pub mod widgets;
pub mod window;

pub use app::Viewer;

pub use cli::run_in as run;
