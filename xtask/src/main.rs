//! Set-up and checks of the workspace, with nothing but the standard library so that it builds in a second.
//!
//! - `cargo xtask test [ARGS...]`: runs the tests, those of the GPU kernels emulated; arguments go to `cargo test`. They
//!   need nothing but Rust and a C and C++ compiler. The smoke test of the viewer's window needs Xvfb and OpenGL in
//!   software besides; where they are missing and `apt-get` can be used, they are installed, and elsewhere that test is
//!   left out. Without arguments `cuda-lint` and the notebooks follow.
//! - `cargo xtask notebooks`: runs the notebooks and tests their kernel, with a Jupyter client, in JupyterLab and beside the
//!   stock Rust kernel. Python 3 and Chromium are installed in the same way; Jupyter comes from PyPI into the target folder.
//! - `cargo xtask check`: formatting, lints and documentation, with warnings as errors.
//!
//! For NVIDIA GPUs:
//!
//! - `cargo xtask cuda-toolchain [FOLDER]`: installs what the feature `cuda` needs to compile and link, without a GPU.
//! - `cargo xtask kernels`: compiles the kernels and reports registers; fails if one spills.
//! - `cargo xtask cuda-lint`: the same, and compiles the feature `cuda` with warnings as errors. The tests install the
//!   toolchain for it; where that fails, they leave it out and say so.
//! - `cargo xtask cuda-check`: the same, builds the program and runs it without a GPU.
//! - `cargo xtask gpu-check`: on a machine with a GPU, the kernels' tests there, also under compute-sanitizer.
//! - `cargo xtask gpu-bundle`: packs a program and a script that checks and measures a GPU elsewhere.

// A command prints.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod cuda;
mod gpu;
mod notebooks;
mod packages;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const USAGE: &str = "usage: cargo xtask test [ARGS for cargo test...] | notebooks | check | cuda-toolchain [FOLDER] | \
                     kernels | cuda-lint | cuda-check | gpu-check | gpu-bundle";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.split_first() {
        Some((verb, rest)) if verb == "test" => test(rest),
        Some((verb, [])) if verb == "notebooks" => notebooks::test(),
        Some((verb, [])) if verb == "check" => check(),
        Some((verb, [])) if verb == "cuda-toolchain" => cuda::toolchain(None),
        Some((verb, [folder])) if verb == "cuda-toolchain" => cuda::toolchain(Some(folder)),
        Some((verb, [])) if verb == "kernels" => cuda::kernels(),
        Some((verb, [])) if verb == "cuda-lint" => gpu::lint(),
        Some((verb, [])) if verb == "cuda-check" => gpu::cuda_check(),
        Some((verb, [])) if verb == "gpu-check" => gpu::gpu_check(),
        Some((verb, [])) if verb == "gpu-bundle" => gpu::bundle(),
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
    if let Err(message) = packages::display() {
        eprintln!("xtask: the viewer's window will not be tried: {message}");
    }
    // The notebook kernel has a profile of its own.
    run(cargo().args(["test", "--release", "--workspace", "--exclude", "kernelscope-jupyter"]).args(arguments))?;
    if !arguments.is_empty() {
        return Ok(());
    }
    match packages::python().and_then(|()| cuda::toolchain(None)) {
        Ok(()) => gpu::lint()?,
        Err(message) => eprintln!("xtask: the feature cuda will not be compiled: {message}"),
    }
    notebooks::test()
}

/// Where cargo puts what it builds.
fn target() -> PathBuf {
    let usual = || Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("target");
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(usual, PathBuf::from)
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
