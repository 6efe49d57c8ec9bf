//! The tests of the operators with the kernels for GPUs in place of the CPU's engines: on a GPU with
//! `KERNELSCOPE_TEST_DEVICE=cuda` (feature `cuda`), else emulated.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::duplicate_mod, reason = "the golden tests are a program of their own too, with the same helpers")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../ops_properties/support.rs"]
mod support;

mod counts;
#[path = "../ops_properties/depthwise.rs"]
mod depthwise;
#[path = "../ops_properties/elementwise.rs"]
mod elementwise;
mod emulator;
#[path = "../ops_properties/fused.rs"]
mod fused;
#[path = "../ops_golden.rs"]
mod golden;
#[path = "../ops_properties/layer_norm.rs"]
mod layer_norm;
mod networks;
#[path = "../ops_properties/oriented.rs"]
mod oriented;
mod others;
mod params;
#[path = "../ops_properties/pointwise.rs"]
mod pointwise;
#[path = "../ops_properties/taplist.rs"]
mod taplist;
mod toeplitz;
mod updates;
