//! Shift-wise operators and networks: index tables, operators and every form of the networks against values from the
//! official code; tap lists and merged forms against definitions; checkpoints of every form.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "the largest errors, captured by the test harness, are worth quoting")]

#[path = "../common/mod.rs"]
mod common;

mod networks;
mod operators;
mod taplist;
