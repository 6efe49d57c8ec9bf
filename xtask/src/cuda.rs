//! What the feature `cuda` needs on a machine without a GPU, from Python wheels, and the kernels' use of registers.

use crate::{files, python, run, target};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// nvcc and what it needs, and the libraries that are linked. All pinned: companions that are newer write code that
/// this assembler refuses.
const WHEELS: [&str; 8] = [
    "nvidia-cuda-nvcc==13.0.88",
    "nvidia-nvvm==13.0.88",
    "nvidia-cuda-crt==13.0.88",
    "nvidia-cuda-runtime==13.0.96",
    "nvidia-cuda-cccl==13.0.85",
    "nvidia-cublas==13.0.2.14",
    "nvidia-curand==10.4.0.35",
    "nvidia-cuda-nvrtc==13.0.88",
];

/// Libraries that the linker looks for without a version.
const LIBRARIES: [&str; 5] = ["cudart", "cublas", "cublasLt", "curand", "nvrtc"];

/// Files with kernels, as in build.rs.
const KERNELS: [&str; 6] = ["taps", "layer_norm", "planes", "elementwise", "update", "probe"];

/// Where `cuda-toolchain` installs, unless it is told.
pub fn usual_folder() -> PathBuf {
    target().join("cuda-toolchain")
}

/// Installs the wheels into a folder, and writes `env.sh` there.
pub fn toolchain(folder: &Path) -> Result<(), String> {
    files::make(folder)?;
    let folder = folder.canonicalize().map_err(|e| format!("cannot find {}: {e}", folder.display()))?;
    python::environment(&folder.join("venv"), &WHEELS)?;
    let home = home_in(&folder.join("venv/lib"))?;
    link_libraries(&home)?;
    driver_stub(&home)?;
    let path = folder.join("env.sh");
    let name = quoted(&path.display().to_string());
    let exports = environment(&home).map(|(name, value, list)| export(name, &value, list)).concat();
    files::write(&path, &format!("# Compiles and links the feature cuda: `. {name}`\n{exports}"))?;
    println!("installed; then: . {name} && cargo build --release --features cuda");
    Ok(())
}

/// A line of a shell that sets a variable, or adds to a list of folders.
fn export(name: &str, value: &str, list: bool) -> String {
    let before = if list { format!("\"${{{name}:+:${name}}}\"") } else { String::new() };
    format!("export {name}={}{before}\n", quoted(value))
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = word.chars().all(|c| c.is_alphanumeric() || "/._-:".contains(c));
    if plain { word.to_string() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

/// Variables for compiling and linking, and whether they add to a list of folders.
fn environment(home: &Path) -> [(&'static str, String, bool); 5] {
    let home = home.display();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    [
        ("CUDA_HOME", format!("{home}"), false),
        ("PATH", format!("{home}/bin"), true),
        // candle's code, which drivers compile for the GPU they find; our own kernels have machine code as well.
        ("CUDA_COMPUTE_CAP", "80".to_string(), false),
        ("LIBRARY_PATH", format!("{home}/lib:{home}/stub"), true),
        // Files that candle's build compiles at a time; half of the cores otherwise.
        ("CUDAFORGE_THREADS", threads.to_string(), false),
    ]
}

/// Where CUDA is: `CUDA_HOME`, or what `cuda-toolchain` has installed.
pub fn home() -> Option<PathBuf> {
    let installed = || home_in(&usual_folder().canonicalize().ok()?.join("venv/lib")).ok();
    std::env::var_os("CUDA_HOME").map(PathBuf::from).or_else(installed)
}

/// Has a command compile and link with what `cuda-toolchain` has installed, unless `CUDA_HOME` names another CUDA.
pub fn with_toolchain(command: &mut Command) -> &mut Command {
    if std::env::var_os("CUDA_HOME").is_some() {
        return command;
    }
    let Some(home) = home() else { return command };
    for (name, value, list) in environment(&home) {
        let before = std::env::var(name).ok().filter(|before| list && !before.is_empty());
        command.env(name, before.map_or(value.clone(), |before| format!("{value}:{before}")));
    }
    command
}

/// The folder of the wheels within a virtual environment's `lib`.
fn home_in(lib: &Path) -> Result<PathBuf, String> {
    let pythons = fs::read_dir(lib).map_err(|e| format!("cannot read {}: {e}", lib.display()))?;
    pythons
        .filter_map(|python| Some(python.ok()?.path().join("site-packages/nvidia/cu13")))
        .find(|home| home.join("bin/nvcc").exists())
        .ok_or_else(|| format!("no nvcc below {}", lib.display()))
}

/// `lib64`, and every library under its name without a version.
fn link_libraries(home: &Path) -> Result<(), String> {
    let lib = home.join("lib");
    let files = fs::read_dir(&lib).map_err(|e| format!("cannot read {}: {e}", lib.display()))?;
    let names: Vec<String> = files.filter_map(|file| file.ok()?.file_name().into_string().ok()).collect();
    for library in LIBRARIES {
        let versioned = format!("lib{library}.so.");
        let name = names.iter().find(|name| name.starts_with(&versioned));
        let name = name.ok_or_else(|| format!("no {versioned}* in {}", lib.display()))?;
        files::link(name, &lib.join(format!("lib{library}.so")))?;
    }
    files::link("lib", &home.join("lib64"))
}

/// The driver's library comes with a GPU; linking needs one of its name, with the functions that are called.
fn driver_stub(home: &Path) -> Result<(), String> {
    let stub = home.join("stub");
    files::make(&stub)?;
    // Every function that the header declares.
    let header = home.join("include/cuda.h");
    let text = files::read(&header)?;
    let mut source = String::new();
    for name in driver_functions(&text) {
        source.push_str(&format!("int {name}(void) {{ return 100; }}\n"));
    }
    let path = stub.join("cuda.c");
    files::write(&path, &source)?;
    let out = stub.join("libcuda.so");
    run(Command::new("cc").args(["-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-o"]).arg(&out).arg(&path))
}

/// Names of the functions that `cuda.h` declares: the last word before the parameters of every `CUresult CUDAAPI`, with
/// the versions that macros give them.
fn driver_functions(header: &str) -> Vec<String> {
    let words = |line: &str| {
        let name: String = line.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        (name.starts_with("cu") && name.len() > 2).then_some(name)
    };
    let declared = header.split("CUDAAPI ").skip(1).filter_map(|rest| words(rest.trim_start()));
    // #define cuMemAlloc cuMemAlloc_v2, also with __CUDA_API_PTDS(...) and the like around the name.
    let versions = header.lines().filter(|line| line.trim_start().starts_with("#")).flat_map(|line| {
        line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).filter_map(words).collect::<Vec<_>>()
    });
    let mut names: Vec<String> = declared.chain(versions).collect();
    let with_streams: Vec<String> = names.iter().flat_map(|n| [format!("{n}_ptsz"), format!("{n}_ptds")]).collect();
    names.extend(with_streams);
    names.sort();
    names.dedup();
    names
}

/// Compiles the kernels for both machines, with warnings as errors, prints what they use, and fails if one spills.
pub fn kernels() -> Result<(), String> {
    let nvcc = home().map_or(PathBuf::from("nvcc"), |home| home.join("bin/nvcc"));
    let mut spilling = Vec::new();
    println!("{:40} {:>6} {:>9} {:>6} {:>7}", "kernel", "sm", "registers", "stack", "spills");
    for file in KERNELS {
        for machine in ["80", "90"] {
            let mut command = Command::new(&nvcc);
            command.args(["-cubin", "-O3", "-std=c++17", "-Werror", "all-warnings", "-Xptxas", "-v"]);
            command.args(["-o", "/dev/null"]).arg(format!("-arch=sm_{machine}")).arg(format!("kernels/{file}.cu"));
            let cannot = |e| format!("cannot run {} ({e}); `cargo xtask cuda-toolchain` installs it", nvcc.display());
            let output = with_toolchain(&mut command).output().map_err(cannot)?;
            let text = String::from_utf8_lossy(&output.stderr);
            if !output.status.success() {
                return Err(format!("nvcc failed on kernels/{file}.cu:\n{text}"));
            }
            for (name, Usage { registers, stack, spills }) in usages(&text) {
                println!("{name:40} {machine:>6} {registers:>9} {stack:>6} {spills:>7}");
                if spills > 0 {
                    spilling.push(format!("{name} (sm_{machine})"));
                }
            }
        }
    }
    if spilling.is_empty() { Ok(()) } else { Err(format!("registers are spilled by {}", spilling.join(", "))) }
}

/// What a kernel uses, as the assembler reports it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Usage {
    registers: u32,
    stack: u32,
    /// Bytes stored and loaded.
    spills: u32,
}

/// Reads the report of `ptxas -v`: a line names the kernel, one has the stack and the spills, one the registers.
fn usages(report: &str) -> BTreeMap<String, Usage> {
    let number = |text: &str, after: &str| -> u32 {
        let before = text.split(after).next().unwrap_or_default();
        before.rsplit([' ', ',']).find(|word| !word.is_empty()).and_then(|word| word.parse().ok()).unwrap_or(0)
    };
    let mut usages = BTreeMap::new();
    let mut name = String::new();
    for line in report.lines() {
        if let Some(rest) = line.split("entry function '").nth(1) {
            name = rest.split('\'').next().unwrap_or_default().to_string();
        } else if line.contains("bytes stack frame") {
            let usage: &mut Usage = usages.entry(name.clone()).or_default();
            usage.stack = number(line, " bytes stack frame");
            usage.spills = number(line, " bytes spill stores") + number(line, " bytes spill loads");
        } else if let Some(rest) = line.split("Used ").nth(1) {
            let usage: &mut Usage = usages.entry(name.clone()).or_default();
            usage.registers = number(rest, " registers");
        }
    }
    usages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_takes_any_folder() {
        for folder in ["/a b/klönen", "/it's \"$x\""] {
            let (a, b) = (export("A", folder, true), export("B", "/b", true));
            let script = format!("A=/before\n{a}{b}printf %s \"$A|$B\"");
            let output = Command::new("sh").args(["-c", &script]).env_remove("B").output().unwrap();
            assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{folder}:/before|/b"));
        }
    }

    #[test]
    fn the_assemblers_report_is_read() {
        let report = "ptxas info    : Compiling entry function 'a_f32' for 'sm_90'\n\
                      ptxas info    : Function properties for a_f32\n\
                      \u{20}   8 bytes stack frame, 12 bytes spill stores, 20 bytes spill loads\n\
                      ptxas info    : Used 80 registers, used 1 barriers\n\
                      ptxas info    : Compiling entry function 'b' for 'sm_90'\n\
                      \u{20}   0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n\
                      ptxas info    : Used 32 registers\n";
        let found = usages(report);
        assert_eq!(found["a_f32"], Usage { registers: 80, stack: 8, spills: 32 });
        assert_eq!(found["b"], Usage { registers: 32, stack: 0, spills: 0 });
    }

    #[test]
    fn functions_of_the_driver_are_found_with_their_versions() {
        let header = "#define cuMemAlloc cuMemAlloc_v2\nCUresult CUDAAPI cuInit(unsigned int Flags);\n\
                      CUresult CUDAAPI\ncuMemAlloc(CUdeviceptr *dptr, size_t bytesize);\n";
        let names = driver_functions(header);
        for name in ["cuInit", "cuMemAlloc", "cuMemAlloc_v2", "cuMemAlloc_v2_ptsz"] {
            assert!(names.iter().any(|found| found == name), "{name} in {names:?}");
        }
    }
}
