//! Sparse training: masks against values from the official code, their rules on hand-made parameters, and sparse runs
//! that are killed and resumed, repeated with other numbers of threads, or refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

#[path = "../common/mod.rs"]
mod common;

mod networks;
mod official;
mod rules;
mod runs;
mod support;
