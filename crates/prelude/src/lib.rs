//! What the cells of a notebook use: kernelscope, candle and plotters in one shared library, and how values show
//! themselves.
//!
//! Cells are compiled one by one. If each had a copy of candle of its own, the numbers that tell tensors apart would
//! start anew in every cell, and gradients of a network built in one and trained in another would be wrong. A shared
//! library is loaded once; therefore cells depend on this crate alone, and find the others in it.
//!
//! ```text
//! use kernelscope_prelude::prelude::*;       // every session starts with it
//!
//! let run = train("nano-1d")?;                // a curve that grows while the cell runs
//! run.erf(8)?                                 // the last expression shows itself
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`prelude`] | what every cell can use without naming its place |
//! | [`show`] | how values become pictures, tables and text; displays that change |
//! | [`training`] | training with a live curve |
//! | [`run`] | what a trained network can be asked |
//! | [`grid`] | ablations that run in the background |
//! | [`pictures`] | images with labels and answers |
//! | [`viewer`] | opens run folders in the viewer |
//! | [`interrupt`] | the flag that Jupyter's stop button sets |

// A test stops at the first surprise.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking"))]

pub mod grid;
pub mod interrupt;
pub mod pictures;
pub mod prelude;
pub mod run;
pub mod show;
pub mod training;
pub mod viewer;

pub use candle_core;
pub use candle_nn;
pub use kernelscope;
pub use kernelscope_lab;
pub use plotters;
pub use serde;
pub use toml;

use std::sync::Once;

/// Prepares a process that runs cells: panics are reported with their place, and the stop button is heard. Calls after the
/// first do nothing.
pub fn start() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        if show::wire::in_kernel() {
            show::wire::report_panics();
            interrupt::watch();
        }
    });
}
