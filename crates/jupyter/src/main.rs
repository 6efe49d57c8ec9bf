//! The Jupyter kernel of kernelscope: Rust cells, compiled by evcxr, with figures that change while a cell runs.
//!
//! ```text
//! Jupyter <- ZeroMQ -> server -> session -> evcxr -> rustc, rust-analyzer
//!                        ^                    |
//!                        |                    v
//!                        +----- frames ---- relay | the process that runs cells: kernelscope-prelude, kernelscope, candle
//! ```
//!
//! | module | does |
//! |---|---|
//! | `frames` | what the process that runs cells says |
//! | `relay` | sorts its output, inside that process |
//! | `places`, `sources`, `prepare` | folders of sessions; the build that they start with, and its sources |
//! | `session`, `last`, `errors` | compiles and runs cells; how they show their value; why they failed |
//! | `server`, `answers` | Jupyter's protocol |
//! | `exec`, `notebook` | runs notebook files in place |
//! | `install` | tells Jupyter of this kernel |

// A command prints.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program prints")]
// A test stops at the first surprise.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking"))]

mod analysis;
mod answers;
mod errors;
mod exec;
mod frames;
mod install;
mod last;
mod notebook;
mod places;
mod prepare;
mod relay;
mod server;
mod session;
mod sources;

use analysis::View;
use clap::{Parser, Subcommand};
use places::SessionFolder;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// What can go wrong outside of cells.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or a program.
    #[error("cannot {what} {path}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: String,
        /// The system's words.
        source: std::io::Error,
    },
    /// Jupyter's side.
    #[error("Jupyter's protocol: {0}")]
    Protocol(#[from] jupyter_zmq_client::RuntimeError),
    /// Anything else, as a sentence.
    #[error("{0}")]
    Other(String),
}

impl Error {
    /// The error of something tried with a path.
    pub fn io(what: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.display().to_string();
        move |source| Error::Io { what, path, source }
    }
}

/// Results of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// The Jupyter kernel of kernelscope.
#[derive(Debug, Parser)]
#[command(name = "kernelscope-jupyter", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Register this kernel with Jupyter
    Install(install::Args),
    /// Compile now what the first cell would otherwise wait for
    Setup,
    /// Print the folder of what is compiled for cells, and of running sessions
    Cache,
    /// Run notebooks in place and save their outputs; stop at the first cell that fails
    Exec(exec::Args),
    /// Serve a Jupyter client (Jupyter calls this)
    Run {
        /// The connection file
        connection: PathBuf,
    },
    /// Compile the prepared build in the folder that EVCXR_TMPDIR names
    #[command(hide = true)]
    Compile,
}

/// What the processes of a session need to know. Feature maps are allocated and freed all the time: the allocator keeps
/// their memory. candle's own threads sleep instead of spinning while the operators' threads want the cores. candle's
/// errors have no backtraces: they are of no use to the reader of a notebook.
const ENVIRONMENT: [(&str, &str); 5] = [
    ("MALLOC_MMAP_THRESHOLD_", "33554432"),
    ("MALLOC_TRIM_THRESHOLD_", "8589934592"),
    ("MALLOC_TOP_PAD_", "67108864"),
    ("CANDLE_BARRIER_POOL_SPIN_LIMIT", "500"),
    ("RUST_LIB_BACKTRACE", "0"),
];

fn main() -> ExitCode {
    if let Err(error) = relay::start_in_runtime() {
        eprintln!("kernelscope-jupyter: cannot reach the kernel: {error}");
        return ExitCode::FAILURE;
    }
    evcxr::runtime_hook();
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("kernelscope-jupyter: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Install(args) => install::run(&args).map(|()| ExitCode::SUCCESS),
        Command::Setup => {
            prepared()?.update(&|text| eprintln!("{text}"))?;
            eprintln!("ready");
            Ok(ExitCode::SUCCESS)
        }
        Command::Cache => {
            println!("{}", places::cache_root()?.display());
            Ok(ExitCode::SUCCESS)
        }
        Command::Compile => compile(),
        Command::Run { connection } => {
            let folder = begin()?;
            server::run(&connection, folder)
        }
        Command::Exec(args) => exec::run(&args),
    }
}

fn prepared() -> Result<prepare::Prepared> {
    Ok(prepare::Prepared::new(&places::source_root()?, &places::cache_root()?))
}

/// Makes the folder of this process's session and sets its environment.
fn begin() -> Result<SessionFolder> {
    let folder = SessionFolder::create(&places::cache_root()?)?;
    let unset = ENVIRONMENT.iter().filter(|(name, _)| std::env::var_os(name).is_none());
    for (name, value) in unset {
        // SAFETY: no other thread runs yet that could read the environment meanwhile.
        unsafe { std::env::set_var(name, value) };
    }
    if let Some(path) = places::library_path() {
        // SAFETY: no other thread runs yet that could read the environment meanwhile.
        unsafe { std::env::set_var(places::LIBRARY_PATH, path) };
    }
    for name in ["EVCXR_TMPDIR", frames::SESSION] {
        // SAFETY: no other thread runs yet that could read the environment meanwhile.
        unsafe { std::env::set_var(name, folder.path()) };
    }
    // Without links, as on some systems, rust-analyzer reads everything, and the first answer takes longer.
    for (name, value) in View::create(folder.path()).iter().flat_map(View::environment) {
        // SAFETY: no other thread runs yet that could read the environment meanwhile.
        unsafe { std::env::set_var(name, value) };
    }
    Ok(folder)
}

/// Compiles the prepared build, for a process that waits.
fn compile() -> Result<ExitCode> {
    let (mut context, _outputs) = evcxr::CommandContext::new().map_err(|e| Error::Other(e.to_string()))?;
    // evcxr begins without dependencies, and Cargo then forgets their versions.
    let folder = PathBuf::from(std::env::var_os("EVCXR_TMPDIR").unwrap_or_default());
    let prepared = prepared()?;
    prepared.copy_lock_to(&folder)?;
    let cell = prepared.first_cell();
    match context.execute(&cell) {
        Ok(_) => {
            // Where a variable has no type, evcxr asks Cargo for the reason, and that checks all crates once.
            let _ = context.execute("let unknown = no_such_function();");
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => Err(Error::Other(errors::Failure::of_evcxr(error, &cell).text())),
    }
}
