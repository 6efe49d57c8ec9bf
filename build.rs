//! Compiles the kernels of `kernels/` with nvcc for the feature `cuda`; without it, nothing is compiled or looked for.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "cuda")]
    cuda::fatbins();
}

/// Machine code for GPUs.
#[cfg(feature = "cuda")]
mod cuda {
    use std::path::{Path, PathBuf};
    use std::process::Command;

    /// Files with kernels.
    const FILES: [&str; 6] = ["taps", "layer_norm", "planes", "elementwise", "update", "probe"];

    /// Code for the compute capabilities of A100 and H100, and PTX that drivers compile for later ones.
    const TARGETS: [&str; 3] =
        ["arch=compute_80,code=sm_80", "arch=compute_90,code=sm_90", "arch=compute_80,code=compute_80"];

    /// Compiles every file to a fatbin, with warnings as errors.
    pub fn fatbins() {
        println!("cargo::rerun-if-changed=kernels");
        println!("cargo::rerun-if-env-changed=CUDA_HOME");
        println!("cargo::rerun-if-env-changed=PATH");
        let out = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default());
        let nvcc = match std::env::var_os("CUDA_HOME") {
            Some(home) => Path::new(&home).join("bin/nvcc"),
            None => PathBuf::from("nvcc"),
        };
        for file in FILES {
            let mut command = Command::new(&nvcc);
            command.args(["-fatbin", "-O3", "-std=c++17", "-Werror", "all-warnings"]);
            command.args(TARGETS.iter().flat_map(|target| ["-gencode", target]));
            command.arg("-o").arg(out.join(format!("{file}.fatbin"))).arg(format!("kernels/{file}.cu"));
            let problem = match command.status() {
                Ok(status) if status.success() => continue,
                Ok(status) => format!("nvcc failed on kernels/{file}.cu ({status})"),
                Err(error) => format!("cannot run {} ({error})", nvcc.display()),
            };
            println!("cargo::error={problem}; the feature cuda needs nvcc: `cargo xtask cuda-toolchain` installs one");
            std::process::exit(1);
        }
    }
}
