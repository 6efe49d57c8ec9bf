//! Checks of the feature `cuda`, with and without a GPU, and what is carried to a machine with one.

use crate::{cargo, cuda, files, run, target};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a program without a GPU runs: a case of the benchmark that takes a moment on the CPU.
const TINY: [&str; 8] =
    ["bench", "ops", "--quick", "--images", "1", "--filter", "1x7 eight angles 512x14x14", "--json"];

/// Largest size of the bundle, compressed.
const MOST_BYTES: u64 = 60 << 20;

/// Compiles the kernels and lints the feature `cuda`.
///
/// What candle's kernels do does not matter here, so they are compiled with few optimizations: in a third of the time, and
/// into a folder of its own, so that no program is made of them.
pub fn lint() -> Result<(), String> {
    cuda::kernels()?;
    let mut clippy = cargo();
    clippy.args(["clippy", "--package", "kernelscope", "--all-targets", "--features", "kernelscope/cuda"]);
    clippy.arg("--target-dir").arg(target().join("cuda-lint")).args(["--", "-D", "warnings"]);
    run(cuda::with_toolchain(clippy.env("NVCC_APPEND_FLAGS", "-Xcicc -O1 -Xptxas -O1")))
}

/// Compiles the kernels, lints and builds the feature `cuda`, and runs the program with and without `--device cpu` where
/// there is no GPU.
pub fn cuda_check() -> Result<(), String> {
    lint()?;
    let program = build()?;
    if has_gpu() {
        println!("there is a GPU: `cargo xtask gpu-check` runs the kernels on it");
        return Ok(());
    }
    let output = without_driver(&program, &["--device", "cuda"])?;
    let complaint = String::from_utf8_lossy(&output.stderr).trim().to_string();
    let said = complaint.lines().count() == 1 && complaint.contains("no usable NVIDIA GPU");
    if output.status.success() || !said {
        return Err(format!("without a GPU, the program should say so in one line, but said: {complaint:?}"));
    }
    println!("without a GPU: {complaint}");
    let output = without_driver(&program, &["--device", "cpu"])?;
    if !output.status.success() {
        return Err(format!("--device cpu failed: {}", String::from_utf8_lossy(&output.stderr)));
    }
    println!("with --device cpu, it runs");
    Ok(())
}

/// Builds the program with the feature; its path.
fn build() -> Result<PathBuf, String> {
    run(cuda::with_toolchain(cargo().args(["build", "--release", "--features", "cuda"])))?;
    Ok(target().join("release/kernelscope"))
}

/// Runs the tiny case with the libraries of the wheels, and a stub in place of the driver.
fn without_driver(program: &Path, arguments: &[&str]) -> Result<std::process::Output, String> {
    let mut command = Command::new(program);
    if let Some(home) = cuda::home() {
        let stub = home.join("stub");
        if stub.join("libcuda.so").exists() {
            // The name that programs look for.
            files::link("libcuda.so", &stub.join("libcuda.so.1"))?;
        }
        command.env("LD_LIBRARY_PATH", format!("{}:{}", home.join("lib").display(), stub.display()));
    }
    let out = target().join("cuda-check");
    let output = command.args(arguments).args(TINY).arg("--out").arg(&out).output();
    let _ = fs::remove_dir_all(out);
    output.map_err(|e| format!("cannot run {}: {e}", program.display()))
}

fn has_gpu() -> bool {
    Command::new("nvidia-smi").arg("-L").output().is_ok_and(|o| o.status.success() && o.stdout.starts_with(b"GPU"))
}

/// Runs the kernels' tests on the GPU, plainly and then under compute-sanitizer's tools, if it is installed.
pub fn gpu_check() -> Result<(), String> {
    if !has_gpu() {
        return Err("no NVIDIA GPU here (nvidia-smi lists none); `cargo xtask test` emulates the kernels".to_string());
    }
    let test = ["test", "--release", "--features", "cuda", "--test", "kernels"];
    let device = ("KERNELSCOPE_TEST_DEVICE", "cuda");
    run(cuda::with_toolchain(cargo().args(test).env(device.0, device.1)))?;
    let sanitizer = cuda::home().map(|home| home.join("bin/compute-sanitizer")).filter(|path| path.exists());
    let sanitizer = sanitizer.unwrap_or(PathBuf::from("compute-sanitizer"));
    if Command::new(&sanitizer).arg("--version").output().is_err() {
        return Err(format!("the tests pass, but {} was not found, so races were not checked", sanitizer.display()));
    }
    for tool in ["memcheck", "racecheck", "initcheck", "synccheck"] {
        // A list, since a path may have spaces.
        let words = [&*sanitizer.to_string_lossy(), "--tool", tool, "--error-exitcode", "1"].map(crate::toml_string);
        let runner = format!("target.'cfg(all())'.runner = [{}]", words.join(", "));
        let mut command = cargo();
        // A few cases of each property: the tools slow kernels down by a hundred.
        command.args(["--config", &runner]).args(test).env(device.0, device.1).env("PROPTEST_CASES", "8");
        run(cuda::with_toolchain(command.args(["--", "--test-threads", "1"])))?;
    }
    Ok(())
}

/// Packs the stripped program and a script into `gpu-bundle.tar.gz` in the target folder.
pub fn bundle() -> Result<(), String> {
    let program = build()?;
    let folder = target().join("gpu-bundle");
    files::make(&folder)?;
    run(Command::new("strip").arg("-o").arg(folder.join("kernelscope")).arg(&program))?;
    let script = folder.join("run.sh");
    files::write(&script, include_str!("run.sh"))?;
    run(Command::new("chmod").arg("+x").arg(&script))?;
    let archive = target().join("gpu-bundle.tar.gz");
    run(Command::new("tar").arg("-C").arg(target()).arg("-czf").arg(&archive).arg("gpu-bundle"))?;
    let bytes = fs::metadata(&archive).map_err(|e| format!("cannot read {}: {e}", archive.display()))?.len();
    if bytes > MOST_BYTES {
        return Err(format!("{} has {bytes} bytes, more than {MOST_BYTES}", archive.display()));
    }
    println!(
        "{} has {:.1} MB; on the machine with a GPU, run `gpu-bundle/run.sh`",
        archive.display(),
        bytes as f64 / 1e6
    );
    Ok(())
}
