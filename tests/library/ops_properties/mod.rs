//! The operators against plain loops on generated shapes, on any number of threads, and their error messages.
//!
//! A case is a struct that generates itself, computes its reference and runs: what proptest prints for a failure can be
//! pasted as a named case.

mod depthwise;
mod elementwise;
mod engines;
mod errors;
mod fused;
mod layer_norm;
mod oriented;
mod pointwise;
mod support;
mod taplist;
mod threads;
