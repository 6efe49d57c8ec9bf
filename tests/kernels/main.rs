//! The tests of the operators with the kernels for GPUs in place of the CPU's engines: on a GPU with
//! `KERNELSCOPE_TEST_DEVICE=cuda` (feature `cuda`), else emulated.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "the largest errors, captured by the test harness, are worth quoting")]
#![allow(clippy::duplicate_mod, reason = "the golden tests are a program of their own too, with the same helpers")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../library/ops_properties/support.rs"]
mod support;

mod counts;
#[path = "../library/ops_properties/depthwise.rs"]
mod depthwise;
#[path = "../library/ops_properties/elementwise.rs"]
mod elementwise;
mod emulator;
#[path = "../library/ops_properties/fused.rs"]
mod fused;
#[path = "../library/ops_golden.rs"]
mod golden;
#[path = "../library/ops_properties/layer_norm.rs"]
mod layer_norm;
mod networks;
#[path = "../library/ops_properties/oriented.rs"]
mod oriented;
mod others;
mod params;
#[path = "../library/ops_properties/pointwise.rs"]
mod pointwise;
#[path = "../library/ops_properties/taplist.rs"]
mod taplist;
mod toeplitz;
mod updates;
