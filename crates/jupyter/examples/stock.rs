//! The stock Rust kernel, evcxr_jupyter, for the tests that run a notebook with it. It is built here and not by
//! `cargo install`, since nearly all it consists of is in kernelscope's kernel as well and need not be compiled again.

// A command prints.
#![allow(clippy::print_stderr, reason = "a program prints")]

use std::process::ExitCode;

fn main() -> ExitCode {
    match evcxr_jupyter::main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
