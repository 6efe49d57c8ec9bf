//! The command as a person uses it, and its mistakes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::print_stdout, reason = "the largest errors, captured by the test harness, are worth quoting")]

#[path = "../../../../tests/common/mod.rs"]
mod common;

mod ablate;
mod bench_command;
mod command;
mod costs;
mod erf_table;
mod evaluation;
mod index_tables;
mod merge;
mod notebook_command;
mod sparse_training;
mod sparsity;
mod training;
