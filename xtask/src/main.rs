//! Set-up and checks of the workspace, with nothing but the standard library so that it builds in a second.
//!
//! - `cargo xtask test [ARGS...]`: runs the tests; arguments go to `cargo test`, and the notebooks are left out then. They
//!   need nothing but Rust and the C compiler that Rust links with.
//! - `cargo xtask notebooks`: runs the notebooks and tests their kernel; also a part of `test`. With Python 3, a Jupyter
//!   client, JupyterLab (with Chromium) and the stock Rust kernel take part.
//! - `cargo xtask check`: formatting, lints and documentation, with warnings as errors.

// A command prints.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod notebooks;

use std::process::{Command, ExitCode};

const USAGE: &str = "usage: cargo xtask test [ARGS for cargo test...] | notebooks | check";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.split_first() {
        Some((verb, rest)) if verb == "test" => test(rest),
        Some((verb, [])) if verb == "notebooks" => notebooks::test(),
        Some((verb, [])) if verb == "check" => check(),
        _ => Err(USAGE.to_string()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the tests in release mode, like the command itself: the networks' reference values are computed at full size.
fn test(arguments: &[String]) -> Result<(), String> {
    // The notebook kernel has a profile of its own.
    run(cargo().args(["test", "--release", "--workspace", "--exclude", "kernelscope-kernel"]).args(arguments))?;
    if arguments.is_empty() { notebooks::test() } else { Ok(()) }
}

fn check() -> Result<(), String> {
    run(cargo().args(["fmt", "--all", "--", "--check"]))?;
    run(cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    run(cargo().args(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))
}

fn cargo() -> Command {
    Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_string()))
}

fn run(command: &mut Command) -> Result<(), String> {
    let name = format!("{command:?}");
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{name} failed ({status})")),
        Err(error) => Err(format!("cannot run {name}: {error}")),
    }
}
