//! The library: operators, layers, networks and files of weights.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "the largest errors, captured by the test harness, are worth quoting")]

#[path = "../common/mod.rs"]
mod common;

mod cnns;
mod containers;
mod dense;
mod models;
mod models_golden;
mod ops_golden;
mod ops_gradients;
mod ops_properties;
mod replknet;
mod shiftwise;
mod slak;
mod weights;
