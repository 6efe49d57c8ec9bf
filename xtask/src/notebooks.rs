//! The notebooks: every one through kernelscope's kernel, the kernel's protocol with a Jupyter client, JupyterLab in a
//! browser, and one notebook with the stock Rust kernel.

use crate::{cargo, files, packages, printed, python, run, toml_escaped};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What the tests need of Python.
const PYTHON: [&str; 3] = ["jupyter_client>=8", "nbconvert>=7", "jupyterlab>=4.4,<5"];
/// The notebook that runs with the stock kernel.
const WITH_STOCK: &str = "6-your-own.ipynb";

/// Where the tests keep what they make.
struct Places {
    root: PathBuf,
    target: PathBuf,
    work: PathBuf,
    /// What the kernel keeps: in `work`, unless cells cannot be run there.
    cache: PathBuf,
}

impl Places {
    /// Asks the kernel, which must have been built, where cells can be run.
    fn new() -> Result<Self, String> {
        let target = crate::target().to_path_buf();
        let work = target.join("notebooks");
        files::make(&work)?;
        let mut places = Places { cache: work.join("cache"), work, root: crate::root(), target };
        places.cache = PathBuf::from(printed(places.command(places.kernel()).arg("cache"))?.trim_end());
        Ok(places)
    }

    fn kernel(&self) -> PathBuf {
        self.target.join("kernel").join(format!("kernelscope-jupyter{}", std::env::consts::EXE_SUFFIX))
    }

    fn venv(&self) -> PathBuf {
        self.work.join("venv")
    }

    /// A command that keeps to the tests' own folders.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.env("KERNELSCOPE_CACHE", &self.cache).env("KERNELSCOPE_SOURCE", &self.root);
        // The stock kernel installs itself where the second one says, ours where the first one does.
        let jupyter = self.work.join("jupyter");
        command.env("JUPYTER_DATA_DIR", &jupyter).env("JUPYTER_PATH", &jupyter).env("CARGO_TARGET_DIR", &self.target);
        // Nor do the user's settings of Jupyter matter.
        command.env("JUPYTER_CONFIG_DIR", jupyter.join("config")).env("JUPYTER_RUNTIME_DIR", jupyter.join("runtime"));
        command
    }
}

/// Runs all of it. Without Python 3, what needs it is left out, with a line that says so.
pub fn test() -> Result<(), String> {
    let package = ["--profile", "kernel", "--package", "kernelscope-jupyter"];
    // The examples have the stock kernel; with them, everything is built for the same set of features once.
    run(cargo().arg("build").args(package).args(["--bins", "--examples"]))?;
    let places = Places::new()?;
    run(places.command(places.kernel()).arg("setup"))?;
    let copies = copy_notebooks(&places, "run")?;
    execute(&places, &copies)?;
    if let Err(message) = packages::python() {
        eprintln!(
            "xtask: no Python 3 with venv ({message}); tests with a Jupyter client, JupyterLab, and nbconvert are skipped"
        );
    } else {
        with_python(&places)?;
    }
    run(cargo().arg("test").args(package))
}

/// The tests that need Python 3.
fn with_python(places: &Places) -> Result<(), String> {
    if let Err(message) = packages::browser() {
        eprintln!("xtask: no Chromium ({message}); the test of JupyterLab is skipped");
    }
    let python = python::environment(&places.venv(), &PYTHON)?;
    run(places.command(places.kernel()).arg("install").arg("--prefix").arg(places.venv()))?;
    let tests = places.root.join("crates/jupyter/tests");
    let discover = ["-m", "unittest", "discover", "--verbose", "--start-directory"];
    run(places.command(&python).args(discover).arg(tests))?;
    stock(places, &python)
}

/// Runs the notebooks with our kernel, two at a time: while one compiles a cell, another trains.
fn execute(places: &Places, files: &[PathBuf]) -> Result<(), String> {
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(file) = files.get(next.fetch_add(1, Ordering::Relaxed)) {
            run(places.command(places.kernel()).arg("exec").arg(file))?;
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let workers = [scope.spawn(work), scope.spawn(work)];
        let ended = workers.map(|worker| worker.join().unwrap_or_else(|_| Err("a thread panicked".to_string())));
        ended.into_iter().collect()
    })
}

/// One notebook through nbconvert with the stock kernel, which reads `evcxr.toml` beside it.
fn stock(places: &Places, python: &Path) -> Result<(), String> {
    run(places.command(places.target.join("kernel/examples/stock")).arg("--install"))?;
    let folder = places.work.join("stock-run");
    let copies = copy_notebooks(places, "stock-run")?;
    // What is compiled for our kernel need not be compiled again.
    let text = files::read(&places.root.join("notebooks/evcxr.toml"))?;
    // A string inside of a string.
    let library = places.cache.join("source/crates/prelude").display().to_string();
    files::write(
        &folder.join("evcxr.toml"),
        &text.replace("../crates/prelude", &toml_escaped(&toml_escaped(&library))),
    )?;
    let chosen = copies.iter().find(|path| path.ends_with(WITH_STOCK));
    let chosen = chosen.ok_or_else(|| format!("no {WITH_STOCK} in notebooks"))?;
    // What cells use is compiled with the same settings for both kernels.
    let session = places.cache.join("stock-session");
    files::remove(&session)?;
    run(Command::new("cp").arg("-a").arg(places.cache.join("prepared")).arg(&session))?;
    let mut convert = places.command(python);
    convert.args(["-m", "nbconvert", "--to", "notebook", "--execute", "--inplace"]).arg(chosen);
    convert.args(["--ExecutePreprocessor.kernel_name=rust", "--ExecutePreprocessor.startup_timeout=3600"]);
    convert.args(["--ExecutePreprocessor.timeout=1800"]).env("EVCXR_TMPDIR", &session);
    // Without the network, what is resolved are the versions that our lock file has brought here.
    convert.env("CARGO_NET_OFFLINE", "true");
    // evcxr moves what it has compiled away from the place relative to which that finds the standard library.
    let library = printed(Command::new("rustc").args(["--print", "target-libdir"]))?;
    let mut folders = vec![PathBuf::from(library.trim())];
    folders.extend(std::env::split_paths(&std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default()));
    // An empty name would be the current folder.
    folders.retain(|folder| !folder.as_os_str().is_empty());
    convert.env("LD_LIBRARY_PATH", std::env::join_paths(folders).map_err(|e| format!("LD_LIBRARY_PATH: {e}"))?);
    run(convert.current_dir(&folder))?;
    // The stock kernel calls every cell a success; a failed one has written to standard error and shown nothing.
    let shown = files::read(chosen)?;
    for expected in ["central difference", "parameters", "image/svg+xml"] {
        if !shown.contains(expected) || shown.contains("\"name\": \"stderr\"") {
            return Err(format!("{}: no \"{expected}\" in its outputs, or an error", chosen.display()));
        }
    }
    Ok(())
}

/// Copies the notebooks to a new folder, where they can write.
fn copy_notebooks(places: &Places, name: &str) -> Result<Vec<PathBuf>, String> {
    let folder = places.work.join(name);
    files::remove(&folder)?;
    files::make(&folder)?;
    let from = places.root.join("notebooks");
    let found = std::fs::read_dir(&from).map_err(|e| format!("cannot read {}: {e}", from.display()))?;
    let mut files: Vec<PathBuf> = found.filter_map(|item| item.ok().map(|i| i.path())).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "ipynb"));
    files.sort();
    let mut copies = Vec::new();
    for file in files {
        let copy = folder.join(file.file_name().unwrap_or_default());
        std::fs::copy(&file, &copy).map_err(|e| format!("cannot copy {}: {e}", file.display()))?;
        copies.push(copy);
    }
    Ok(copies)
}
