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
//! | [`nn`] | layers, named parameters, seeded initialisation |
//! | [`zoo`] | networks and their registry |
//! | [`weights`] | safetensors and PyTorch files in, safetensors out |
//! | [`data`] | built-in images, folders, CIFAR-10, transforms, loader |
//! | [`train`] | loss, optimiser, schedule, trainer |
//! | [`run`] | the run folder |
//! | [`open`] | what is at a path, as far as it can be read |
//! | [`analysis`] | receptive fields, orientations, shape bias, sparsity, costs |
//! | [`plot`] | figures |
//! | [`report`] | all analyses of trained networks on one page |
//! | [`ablate`] | grids of variants, trained over several seeds and compared |
//! | [`mod@bench`] | times, rooflines, and PyTorch's times for the same |
//! | [`profile`] | where the time of a network goes |
//! | [`cli`] | the command |

// A test stops at the first surprise.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

pub mod ablate;
pub mod analysis;
pub mod bench;
pub mod cli;
pub mod data;
pub mod device;
pub mod error;
pub mod files;
pub mod nn;
pub mod open;
pub mod ops;
pub mod plot;
pub mod profile;
pub mod report;
pub mod rng;
pub mod run;
#[doc(hidden)]
pub mod test_hooks;
pub mod train;
pub mod weights;
pub mod zoo;

pub use error::{Error, Result};
