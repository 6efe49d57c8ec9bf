//! Set-up and checks of the workspace, with nothing but the standard library so that it builds in a second.
//!
//! - `cargo xtask test [ARGS...]`: installs what the tests need and runs them; arguments go to `cargo test`.
//! - `cargo xtask check`: formatting, lints and documentation, with warnings as errors.

// A command prints.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::process::{Command, ExitCode};

const USAGE: &str = "usage: cargo xtask test [ARGS for cargo test...] | check";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.split_first() {
        Some((verb, rest)) if verb == "test" => test(rest),
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
    ensure_c_compiler()?;
    run(cargo().args(["test", "--release", "--workspace"]).args(arguments))
}

fn check() -> Result<(), String> {
    run(cargo().args(["fmt", "--all", "--", "--check"]))?;
    run(cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    run(cargo().args(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))
}

/// The linker and the allocator need a C compiler; Debian and Ubuntu have one in `build-essential`.
fn ensure_c_compiler() -> Result<(), String> {
    if Command::new("cc").arg("--version").output().is_ok_and(|output| output.status.success()) {
        return Ok(());
    }
    eprintln!("xtask: no C compiler found; installing build-essential");
    let as_root = Command::new("id").arg("-u").output().is_ok_and(|o| o.stdout.starts_with(b"0\n"));
    for arguments in [&["update"][..], &["install", "--yes", "build-essential"]] {
        let mut command = Command::new(if as_root { "apt-get" } else { "sudo" });
        if !as_root {
            command.arg("apt-get");
        }
        run(command.args(arguments))?;
    }
    Ok(())
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
