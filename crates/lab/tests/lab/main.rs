//! Experiments: training, sparse training, and analyses with their figures and files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "the largest errors, captured by the test harness, are worth quoting")]

#[path = "../../../../tests/common/mod.rs"]
mod common;

mod analysis;
mod images;
mod sparse;
