//! # kernelscope
//!
//! Research on convolutional networks with oriented-1D and very large kernels, for users of candle: operators with all
//! gradients, networks that load the official checkpoints, training, and analyses that look inside.
//!
//! ```no_run
//! use kernelscope::nn::BuildOptions;
//! use kernelscope::{weights, zoo::Network};
//!
//! # fn main() -> kernelscope::Result<()> {
//! // An official checkpoint, strictly: every name and shape must fit.
//! let checkpoint = weights::load("convnext_tiny_1d_best.pth".as_ref())?;
//! let network = Network::from_checkpoint::<&str>(Some("convnext-t-1d"), checkpoint, &[], BuildOptions::frozen())?;
//! println!("{} parameters", network.params().count());
//! # Ok(())
//! # }
//! ```
//!
//! | room | holds |
//! |---|---|
//! | [`device`] | the CPU, or the GPU of this process |
//! | [`files`] | files that appear complete or not at all |
//! | [`ops`] | operators: oriented and dense depthwise convolution, norms, pointwise maps |
//! | [`nn`] | layers, named parameters, seeded initialization |
//! | [`zoo`] | networks and their registry |
//! | [`weights`] | safetensors and PyTorch files in, safetensors out |
//! | [`analysis`] | receptive fields, orientations, shape bias, sparsity, costs |
//! | [`profile`] | where the time of a network goes |

// A test stops at the first surprise.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking"))]

pub mod analysis;
pub mod device;
pub mod error;
pub mod files;
mod mismatch;
pub mod nn;
pub mod ops;
pub mod profile;
pub mod rng;
#[doc(hidden)]
pub mod test_hooks;
mod text;
pub mod weights;
pub mod zoo;

pub use error::{Error, Result};
