//! Set-up and checks of the workspace, with nothing but the standard library so that it builds in a second.
//!
//! - `cargo xtask test [ARGS...]`: runs the tests, those of the GPU kernels emulated; arguments go to `cargo test`. They
//!   need nothing but Rust and a C and C++ compiler. The smoke test of the viewer's window needs Xvfb and OpenGL in
//!   software besides; where they are missing and `apt-get` can be used, they are installed, and elsewhere that test is
//!   left out. Without arguments the notebooks follow.
//! - `cargo xtask notebooks`: runs the notebooks and tests their kernel. With Python 3, a Jupyter client, JupyterLab (with
//!   Chromium) and the stock Rust kernel take part.
//! - `cargo xtask check`: formatting, lints and documentation, with warnings as errors.
//!
//! For NVIDIA GPUs; none of these is part of the above:
//!
//! - `cargo xtask cuda-toolchain [FOLDER]`: installs what the feature `cuda` needs to compile and link, without a GPU.
//! - `cargo xtask kernels`: compiles the kernels and reports registers; fails if one spills.
//! - `cargo xtask cuda-check`: the same, lints and builds the feature `cuda`, and runs the program without a GPU.
//! - `cargo xtask gpu-check`: on a machine with a GPU, the kernels' tests there, also under compute-sanitizer.
//! - `cargo xtask gpu-bundle`: packs a program and a script that checks and measures a GPU elsewhere.

// A command prints.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod cuda;
mod gpu;
mod notebooks;

use std::process::{Command, ExitCode};

const USAGE: &str = "usage: cargo xtask test [ARGS for cargo test...] | notebooks | check | cuda-toolchain [FOLDER] | \
                     kernels | cuda-check | gpu-check | gpu-bundle";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.split_first() {
        Some((verb, rest)) if verb == "test" => test(rest),
        Some((verb, [])) if verb == "notebooks" => notebooks::test(),
        Some((verb, [])) if verb == "check" => check(),
        Some((verb, [])) if verb == "cuda-toolchain" => cuda::toolchain(None),
        Some((verb, [folder])) if verb == "cuda-toolchain" => cuda::toolchain(Some(folder)),
        Some((verb, [])) if verb == "kernels" => cuda::kernels(),
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
    if let Err(message) = virtual_display() {
        eprintln!("xtask: the viewer's window will not be tried: {message}");
    }
    // The notebook kernel has a profile of its own.
    run(cargo().args(["test", "--release", "--workspace", "--exclude", "kernelscope-kernel"]).args(arguments))?;
    if arguments.is_empty() { notebooks::test() } else { Ok(()) }
}

/// Packages of Debian and Ubuntu with a virtual display and OpenGL in software, and the compiler of the emulator.
const PACKAGES: [&str; 5] = ["xvfb", "libgl1-mesa-dri", "libegl1", "libgl1", "g++"];

/// Installs what the smoke test of the viewer's window and the emulator of GPUs need, unless it is there.
fn virtual_display() -> Result<(), String> {
    let found = |name: &str| Command::new("sh").args(["-c", &format!("command -v {name}")]).output();
    let has = |name: &str| found(name).is_ok_and(|output| output.status.success());
    let library = |name: &str| {
        let known = Command::new("ldconfig").arg("-p").output();
        known.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(name))
    };
    if cfg!(not(target_os = "linux")) || (has("c++") && has("Xvfb") && library("libEGL.so.1") && library("libGL.so.1"))
    {
        return Ok(());
    }
    if !has("apt-get") {
        return Err(format!("there is no apt-get to install {}", PACKAGES.join(" ")));
    }
    let identity = Command::new("id").arg("-u").output().map_err(|error| format!("cannot run id: {error}"))?;
    // Without a password, so that nobody is asked for one.
    let rights: &[&str] = if identity.stdout.starts_with(b"0") { &["env"] } else { &["sudo", "-n", "env"] };
    let apt = |arguments: &[&str]| {
        let words: Vec<&str> = rights.iter().copied().chain(["DEBIAN_FRONTEND=noninteractive", "apt-get"]).collect();
        run(Command::new(words[0]).args(&words[1..]).args(["-qq", "-y"]).args(arguments))
    };
    apt(&["update"])?;
    apt(&[&["install", "--no-install-recommends"][..], &PACKAGES[..]].concat())
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
