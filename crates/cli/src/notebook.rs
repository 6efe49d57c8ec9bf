//! `kernelscope notebook`: Jupyter. The kernel is a program of its own, with a compiler's front end inside; it is built
//! from the source tree when it is first needed.

use super::output::note;
use kernelscope::{Error, Result};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  kernelscope notebook lab\n  kernelscope notebook exec notebooks/1-first-look.ipynb\n  \
    kernelscope notebook install --prefix my-venv\n\n\
    The kernel, \"Rust (kernelscope)\", is built from the source tree when it is first needed (about 10 minutes on\n\
    two cores), followed by what cells use (about 5 minutes). Cargo must be on the PATH. If the source tree that this\n\
    program was built from is gone, set KERNELSCOPE_SOURCE to another one."
)]
pub struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Build the kernel and register it with Jupyter
    Install {
        /// Install below DIR, for example into a virtual environment, instead of for the current user
        #[arg(long, value_name = "DIR")]
        prefix: Option<PathBuf>,
    },
    /// Compile now what the first cell would otherwise wait for
    Setup,
    /// Open JupyterLab, after installing it into a virtual environment of its own if necessary (needs python3)
    Lab {
        /// Folder of notebooks; by default that of the source tree
        folder: Option<PathBuf>,
        /// Do not open a browser
        #[arg(long)]
        no_browser: bool,
    },
    /// Run notebooks in place, without Python, and save their outputs; stop at the first cell that fails
    Exec {
        /// Notebook files
        #[arg(required = true, value_name = "FILE.ipynb")]
        files: Vec<PathBuf>,
        /// Run without saving the outputs
        #[arg(long)]
        check: bool,
    },
}

/// JupyterLab, as tested.
const JUPYTERLAB: &str = "jupyterlab>=4.4,<5";

pub fn run(args: &Args) -> Result<()> {
    let root = source_root()?;
    match &args.verb {
        Verb::Install { prefix } => {
            let mut install = Command::new(kernel(&root)?);
            install.arg("install");
            if let Some(prefix) = prefix {
                install.arg("--prefix").arg(prefix);
            }
            become_program(install)
        }
        Verb::Setup => {
            let mut setup = Command::new(kernel(&root)?);
            setup.arg("setup");
            become_program(setup)
        }
        Verb::Lab { folder, no_browser } => lab(&root, folder.as_deref(), *no_browser),
        Verb::Exec { files, check } => {
            // A wrong name is said before anything is built.
            for file in files {
                std::fs::metadata(file).map_err(Error::io("read", file))?;
            }
            let mut exec = Command::new(kernel(&root)?);
            exec.arg("exec").args(check.then_some("--check")).args(files);
            become_program(exec)
        }
    }
}

/// The source tree: cells are compiled against it.
fn source_root() -> Result<PathBuf> {
    let built = || Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap_or(Path::new(".")).to_path_buf();
    let root = std::env::var_os("KERNELSCOPE_SOURCE").map_or_else(built, PathBuf::from);
    if root.join("crates/jupyter/Cargo.toml").is_file() {
        return Ok(root);
    }
    Err(Error::file(root, "is not kernelscope's source tree, which notebooks need; set KERNELSCOPE_SOURCE to the tree"))
}

/// The kernel, built if it is missing or older than its sources.
fn kernel(root: &Path) -> Result<PathBuf> {
    if let Some(kernel) = std::env::var_os("KERNELSCOPE_KERNEL") {
        return Ok(kernel.into());
    }
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let target = std::path::absolute(&target).map_err(Error::io("find", &target))?;
    let kernel = target.join("kernel").join(format!("kernelscope-jupyter{}", std::env::consts::EXE_SUFFIX));
    if !kernel.is_file() {
        note("building the notebook kernel; this takes about 10 minutes, once");
    }
    let mut build = Command::new("cargo");
    build.args(["build", "--profile", "kernel", "--package", "kernelscope-jupyter"]).current_dir(root);
    build.args(kernel.is_file().then_some("--quiet"));
    match build.env("CARGO_TARGET_DIR", &target).stdout(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(kernel),
        // A tree that is being worked on may not compile; a machine may have lost its Cargo.
        Ok(_) | Err(_) if kernel.is_file() => {
            note("the notebook kernel could not be rebuilt; the existing one is used");
            Ok(kernel)
        }
        Ok(status) => Err(Error::file(root, format!("cargo could not build the notebook kernel ({status})"))),
        Err(error) => Err(Error::io("run", "cargo")(error)),
    }
}

fn lab(root: &Path, folder: Option<&Path>, no_browser: bool) -> Result<()> {
    let venv = cache()?.join("venv");
    let (jupyter, python) = (venv.join("bin/jupyter"), venv.join("bin/python"));
    // It may have been interrupted while it was installed, or the system's Python may be another now.
    let works = Command::new(&python).args(["-m", "jupyterlab", "--version"]).output();
    if !works.is_ok_and(|output| output.status.success()) {
        note(format_args!("installing JupyterLab in {}", venv.display()));
        match std::fs::remove_dir_all(&venv) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(Error::io("remove", venv)(error)),
            _ => {}
        }
        let hint = "python3 with its venv module is needed (Debian and Ubuntu: apt install python3-venv)";
        step(Command::new("python3").args(["-m", "venv"]).arg(&venv), hint)?;
        let mut pip = Command::new(python);
        pip.args(["-m", "pip", "install", "--quiet", JUPYTERLAB]).env("PIP_USER", "0");
        step(&mut pip, "pip needs a network connection")?;
    }
    let kernel = kernel(root)?;
    step(Command::new(&kernel).arg("install").arg("--prefix").arg(&venv).stdout(Stdio::null()), "see above")?;
    step(Command::new(&kernel).arg("setup"), "see above")?;
    let folder = folder.map_or_else(|| root.join("notebooks"), Path::to_path_buf);
    if folder == root.join("notebooks") {
        trust(&jupyter, &folder)?;
    }
    let mut lab = Command::new(jupyter);
    lab.arg("lab").arg(folder);
    lab.args(no_browser.then_some("--no-browser"));
    // In a container everybody is root, and JupyterLab refuses to start; it listens to this machine alone.
    let id = Command::new("id").arg("-u").output();
    lab.args(id.is_ok_and(|id| id.stdout.trim_ascii() == b"0").then_some("--allow-root"));
    become_program(lab)
}

/// Has Jupyter show the figures that were saved in this source tree's own notebooks: it leaves SVG out of files that were
/// not run here, unless they are trusted.
fn trust(jupyter: &Path, folder: &Path) -> Result<()> {
    let items = std::fs::read_dir(folder).map_err(Error::io("read", folder))?;
    let files = items.filter_map(|item| item.ok().map(|i| i.path()));
    let notebooks: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|e| e == "ipynb")).collect();
    step(Command::new(jupyter).arg("trust").args(notebooks).stdout(Stdio::null()), "see above")
}

/// A folder for what is not the user's.
fn cache() -> Result<PathBuf> {
    if let Some(cache) = std::env::var_os("KERNELSCOPE_CACHE") {
        return Ok(cache.into());
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| std::env::home_dir().map(|home| home.join(".cache")));
    let cache = cache.ok_or_else(|| Error::argument("HOME", "nothing", "a folder; or set KERNELSCOPE_CACHE"))?;
    Ok(cache.join("kernelscope").join("notebook"))
}

/// Runs a program that must succeed.
fn step(command: &mut Command, hint: &str) -> Result<()> {
    let name = command.get_program().to_owned();
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Error::file(name, format!("failed ({status}); {hint}"))),
        Err(error) => Err(Error::file(name, format!("cannot be run ({error}); {hint}"))),
    }
}

/// Goes on as another program: signals and the exit code are its own.
#[cfg(unix)]
fn become_program(mut command: Command) -> Result<()> {
    let name = PathBuf::from(command.get_program());
    Err(Error::io("run", name)(std::os::unix::process::CommandExt::exec(&mut command)))
}

/// Runs the last program and ends with its exit code.
#[cfg(not(unix))]
fn become_program(mut command: Command) -> Result<()> {
    let name = PathBuf::from(command.get_program());
    let status = command.status().map_err(Error::io("run", name))?;
    std::process::exit(status.code().unwrap_or(1))
}
