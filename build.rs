//! Compiles the kernels of `kernels/`, if a feature asks for them: `emu` for the CPU with a C++ compiler, for tests;
//! `cuda` for NVIDIA GPUs with nvcc. Without these features nothing is compiled or looked for.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(gpu)");
    if cfg!(any(feature = "emu", feature = "cuda")) {
        println!("cargo::rustc-cfg=gpu");
        println!("cargo::rerun-if-changed=kernels");
    }
    #[cfg(feature = "emu")]
    emulator();
    #[cfg(feature = "cuda")]
    cuda::fatbins();
}

/// Machine code for GPUs.
#[cfg(feature = "cuda")]
mod cuda {
    use std::path::{Path, PathBuf};
    use std::process::Command;

    /// Files with kernels.
    const FILES: [&str; 5] = ["taps", "layer_norm", "planes", "elementwise", "probe"];

    /// Code for the compute capabilities of A100 and H100, and PTX that drivers compile for later ones.
    const TARGETS: [&str; 3] =
        ["arch=compute_80,code=sm_80", "arch=compute_90,code=sm_90", "arch=compute_80,code=compute_80"];

    /// Compiles every file to a fatbin, with warnings as errors.
    pub fn fatbins() {
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

/// The unchanged kernels, compiled by the C++ compiler with the emulator's header.
#[cfg(feature = "emu")]
fn emulator() {
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .define("KS_EMULATOR", None)
        // Fibres leave functions by longjmp, which the checks of glibc take for an attack.
        .flag("-U_FORTIFY_SOURCE")
        .flag("-Wno-unknown-pragmas")
        .opt_level(2)
        .warnings_into_errors(true)
        .file("kernels/emulator/emulator.cpp")
        .compile("kernelscope_emulator");
}
