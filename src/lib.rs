//! # kernelscope
//! Convolutional networks with oriented-1D, shift-wise and very large kernels, for users of candle.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod analysis;
pub mod cli;
pub mod data;
pub mod error;
pub mod nn;
pub mod ops;
pub mod plot;
pub mod report;
pub mod rng;
pub mod run;
pub mod train;
pub mod weights;
pub mod zoo;

pub use error::{Error, Result};
