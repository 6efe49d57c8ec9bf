//! The program as a person uses it, without a display.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking, and says what it leaves out"
)]

mod commands;
mod corrupted;
mod edits;
mod flows;
mod headless;
mod live;
mod monkey;
mod open;
mod pixels;
mod rooms;
mod snapshots;
mod support;
mod window;
