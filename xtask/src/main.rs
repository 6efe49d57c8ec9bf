//! Set-up and checks of the workspace, with nothing but the standard library so that it builds in seconds.
//!
//! - `cargo xtask test [ARGS...]`: runs the tests, those of the GPU kernels emulated; arguments go to `cargo test`. They
//!   need nothing but Rust and a C and C++ compiler. The smoke test of the viewer's window needs Xvfb and OpenGL in
//!   software besides; where they are missing and `apt-get` can be used, they are installed, and elsewhere that test is
//!   left out. Without arguments `cuda-lint` and the notebooks follow.
//! - `cargo xtask notebooks`: runs the notebooks and tests their kernel, with a Jupyter client, in JupyterLab and beside the
//!   stock Rust kernel. Python 3 and Chromium are installed in the same way; Jupyter comes from PyPI into the target folder.
//! - `cargo xtask check`: `tidy`, whether tests and command share what they build, then formatting, lints and
//!   documentation, with warnings as errors.
//! - `cargo xtask tidy`: rules of this project that the compiler does not check, in a second; the tests begin with it.
//!   With `--fix-spelling` it rewrites British words as American ones.
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

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command prints")]
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "a test stops at the first surprise"))]

mod cuda;
mod files;
mod gpu;
mod notebooks;
mod packages;
mod python;
mod sharing;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::OnceLock;

const USAGE: &str = "usage: cargo xtask test [ARGS for cargo test...] | notebooks | check | tidy [--fix-spelling] | \
                     cuda-toolchain [FOLDER] | kernels | cuda-lint | cuda-check | gpu-check | gpu-bundle";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match start(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: &[String]) -> Result<(), String> {
    let here = std::env::current_dir().map_err(|e| format!("cannot find the current folder: {e}"))?;
    // Cargo looks for its settings from the current folder on, so it is asked before that changes.
    target();
    let root = root();
    std::env::set_current_dir(&root).map_err(|e| format!("cannot enter {}: {e}", root.display()))?;
    match arguments.split_first() {
        Some((verb, rest)) if verb == "test" => test(rest),
        Some((verb, [])) if verb == "notebooks" => notebooks::test(),
        Some((verb, [])) if verb == "check" => check(),
        Some((verb, [])) if verb == "tidy" => tidy::check(&root),
        Some((verb, [option])) if verb == "tidy" && option == "--fix-spelling" => tidy::fix_spelling(&root),
        Some((verb, [])) if verb == "cuda-toolchain" => cuda::toolchain(&cuda::usual_folder()),
        Some((verb, [folder])) if verb == "cuda-toolchain" => cuda::toolchain(&here.join(folder)),
        Some((verb, [])) if verb == "kernels" => cuda::kernels(),
        Some((verb, [])) if verb == "cuda-lint" => gpu::lint(),
        Some((verb, [])) if verb == "cuda-check" => gpu::cuda_check(),
        Some((verb, [])) if verb == "gpu-check" => gpu::gpu_check(),
        Some((verb, [])) if verb == "gpu-bundle" => gpu::bundle(),
        _ => Err(USAGE.to_string()),
    }
}

/// Runs the tests in release mode, like the command itself: the networks' reference values are computed at full size.
fn test(arguments: &[String]) -> Result<(), String> {
    tidy::check(&root())?;
    sharing::check()?;
    if let Err(message) = packages::display() {
        eprintln!("xtask: the test of the viewer's window is skipped: {message}");
    }
    // The notebook kernel has a profile of its own.
    run(cargo().args(["test", "--release", "--workspace", "--exclude", "kernelscope-jupyter"]).args(arguments))?;
    if !arguments.is_empty() {
        return Ok(());
    }
    outside()?;
    match packages::python().and_then(|()| cuda::toolchain(&cuda::usual_folder())) {
        Ok(()) => gpu::lint()?,
        Err(message) => eprintln!("xtask: compiling the feature cuda is skipped: {message}"),
    }
    notebooks::test()
}

/// Tests a crate outside of the workspace, as a user of the library has one: with the versions of the workspace, so that
/// what both consist of is compiled once.
fn outside() -> Result<(), String> {
    let package = root().join("tests/outside");
    files::write(&package.join("Cargo.lock"), &files::read(&root().join("Cargo.lock"))?)?;
    let test = ["test", "--release", "--manifest-path"];
    run(cargo().args(test).arg(package.join("Cargo.toml")).env("CARGO_TARGET_DIR", target()))
}

/// The root of the source tree.
fn root() -> PathBuf {
    // Cargo says where this package is now; what was compiled may have come from elsewhere.
    let own = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let own = PathBuf::from(own);
    own.parent().map_or_else(|| own.clone(), Path::to_path_buf)
}

/// Where Cargo puts what it builds, which the environment and several files can say.
fn target() -> &'static Path {
    static TARGET: OnceLock<PathBuf> = OnceLock::new();
    TARGET.get_or_init(|| {
        let mut metadata = Command::new(cargo_program());
        metadata.args(["metadata", "--no-deps", "--format-version", "1", "--manifest-path"]);
        let said = metadata.arg(root().join("Cargo.toml")).output().map(|output| output.stdout).unwrap_or_default();
        let found = text_after(&String::from_utf8_lossy(&said), "\"target_directory\":\"");
        found.map_or_else(|| root().join("target"), PathBuf::from)
    })
}

/// The text of JSON that begins after a mark.
fn text_after(json: &str, mark: &str) -> Option<String> {
    let mut letters = json.split_once(mark)?.1.chars();
    let mut text = String::new();
    loop {
        match letters.next()? {
            '"' => return Some(text),
            // In a path that is a quotation mark or a backslash.
            '\\' => text.push(letters.next()?),
            letter => text.push(letter),
        }
    }
}

/// A text as TOML has it.
fn toml_string(text: &str) -> String {
    format!("\"{}\"", toml_escaped(text))
}

/// The same without the quotation marks.
fn toml_escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

fn check() -> Result<(), String> {
    tidy::check(&root())?;
    sharing::check()?;
    run(cargo().args(["fmt", "--all", "--", "--check"]))?;
    run(cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]))?;
    run(cargo().args(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"))
}

fn cargo_program() -> String {
    std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_string())
}

/// Cargo, which builds where it does for the caller of this program.
fn cargo() -> Command {
    let mut cargo = Command::new(cargo_program());
    cargo.env("CARGO_TARGET_DIR", target());
    cargo
}

fn run(command: &mut Command) -> Result<(), String> {
    let name = format!("{command:?}");
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{name} failed ({status})")),
        Err(error) => Err(format!("cannot run {name}: {error}")),
    }
}

/// What a program prints that must succeed.
fn printed(command: &mut Command) -> Result<String, String> {
    let name = format!("{command:?}");
    let output = command.output().map_err(|error| format!("cannot run {name}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{name} failed ({}): {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_from_json() {
        let json = r#"{"a":"b","target_directory":"/home/a \"user\"/klönen\\x/target","c":1}"#;
        let found = text_after(json, "\"target_directory\":\"");
        assert_eq!(found.as_deref(), Some(r#"/home/a "user"/klönen\x/target"#));
        assert_eq!(text_after(r#"{"a":"b"#, "\"a\":\""), None);
    }

    #[test]
    fn texts_are_escaped_for_toml() {
        assert_eq!(toml_string(r#"/a "b"\c"#), r#""/a \"b\"\\c""#);
    }
}
