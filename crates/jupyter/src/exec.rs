//! Runs notebook files in place, without Jupyter and without Python.

use crate::errors::Failure;
use crate::frames::Frame;
use crate::notebook::{Notebook, Outputs};
use crate::prepare::Prepared;
use crate::session::{Interruption, Outcome, Session};
use crate::{Error, Result, begin, places};
use crossbeam_channel::{Receiver, bounded, select, unbounded};
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Notebook files; each runs in its own folder, one after the other
    #[arg(required = true, value_name = "FILE.ipynb")]
    files: Vec<PathBuf>,
    /// Run without saving the outputs
    #[arg(long)]
    check: bool,
}

/// Runs the notebooks; each in a process of its own if there are several.
pub fn run(args: &Args) -> Result<ExitCode> {
    let [file] = &args.files[..] else { return each(args) };
    // Wrong files are refused before anything is compiled.
    let mut notebook = Notebook::read(file)?;
    let path = file.canonicalize().map_err(Error::io("find", file))?;
    let folder = begin()?;
    let (root, cache) = (places::source_root()?, places::cache_root()?);
    if let Some(home) = path.parent() {
        std::env::set_current_dir(home).map_err(Error::io("enter", home))?;
    }
    let (visible, frames) = unbounded();
    let prepared = Prepared::new(&root, &cache);
    let mut session = Session::start(folder.path(), &prepared, visible, &status)?;
    let interrupter = session.interrupter();
    // Without a handler Ctrl-C ends this process at once; nothing is saved then.
    let _ = ctrlc::set_handler(move || match interrupter.interrupt() {
        Interruption::Asked => eprintln!("\nstopping; press Ctrl-C again to end the cell at once"),
        Interruption::Killed | Interruption::Idle => {}
    });
    // What starting has shown is of no cell.
    while frames.try_recv().is_ok() {}
    notebook.clear();
    let result = cells(&mut session, &frames, &mut notebook, file);
    if !args.check {
        notebook.write(&path)?;
    }
    result
}

/// Runs every file in a process of its own, so that nothing of one is in the next; the first failure ends it.
fn each(args: &Args) -> Result<ExitCode> {
    for file in &args.files {
        Notebook::read(file)?;
    }
    let program = std::env::current_exe().map_err(Error::io("find", Path::new("this program")))?;
    for file in &args.files {
        let mut command = Command::new(&program);
        command.arg("exec").arg(file).args(args.check.then_some("--check"));
        let status = command.status().map_err(Error::io("start", &program))?;
        if !status.success() {
            return Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs the cells in order and keeps what they show.
fn cells(session: &mut Session, frames: &Receiver<Frame>, notebook: &mut Notebook, file: &Path) -> Result<ExitCode> {
    let started = Instant::now();
    let cells = notebook.code_cells();
    let mut shown: Vec<(usize, usize, Outputs)> = Vec::new();
    for (count, (place, code)) in cells.iter().enumerate() {
        let count = count + 1;
        status(&format!("{}: cell {count} of {}", file.display(), cells.len()));
        let cell_started = Instant::now();
        let mut outputs = Outputs::default();
        let outcome = collect(session, frames, code, &mut outputs, &mut shown);
        let failure = match outcome {
            Outcome::Ok(value) => {
                value.map(|data| outputs.apply(Frame::Result { data }));
                None
            }
            Outcome::Failed(failure) => {
                outputs.fail(failure.clone());
                Some(failure)
            }
        };
        shown.push((*place, count, outputs));
        if let Some(failure) = failure
            && !notebook.may_fail(*place)
        {
            keep(notebook, &shown);
            return Ok(report(file, count, &failure));
        }
        line(&format!("{}: cell {count}: {:.1} s", file.display(), cell_started.elapsed().as_secs_f64()));
    }
    keep(notebook, &shown);
    line(&format!("{}: {} cells, {:.1} s", file.display(), cells.len(), started.elapsed().as_secs_f64()));
    Ok(ExitCode::SUCCESS)
}

fn keep(notebook: &mut Notebook, shown: &[(usize, usize, Outputs)]) {
    for (place, count, outputs) in shown {
        notebook.set_outputs(*place, *count, outputs);
    }
}

fn report(file: &Path, count: usize, failure: &Failure) -> ExitCode {
    line(&format!("{}: cell {count} failed", file.display()));
    eprintln!("{}", failure.text());
    ExitCode::from(if failure.name == "Interrupted" { 130 } else { 1 })
}

/// Runs one cell; updates go to the cell that shows what they change, also if it is an earlier one.
fn collect(
    session: &mut Session,
    frames: &Receiver<Frame>,
    code: &str,
    outputs: &mut Outputs,
    shown: &mut [(usize, usize, Outputs)],
) -> Outcome {
    let mut apply = |frame: Frame| {
        if let Some((id, data)) = outputs.apply(frame) {
            shown.iter_mut().any(|(_, _, earlier)| earlier.update(&id, &data));
        }
    };
    let (done, finished) = bounded(1);
    let outcome = std::thread::scope(|scope| {
        // The sender goes with the thread, also where that panics.
        let cell = move || {
            let outcome = session.execute(code);
            let _ = done.send(());
            outcome
        };
        // rust-analyzer recurses deeply.
        let running = std::thread::Builder::new().name("cell".into()).stack_size(STACK).spawn_scoped(scope, cell);
        let Ok(running) = running else { return None };
        loop {
            select! {
                recv(frames) -> frame => frame.into_iter().for_each(&mut apply),
                recv(finished) -> _ => break,
            }
        }
        running.join().ok()
    });
    frames.try_iter().for_each(apply);
    outcome.unwrap_or_else(|| Outcome::Failed(Failure::new("Error", "evcxr itself failed; its output is above")))
}

/// Stack of the thread that compiles cells.
pub const STACK: usize = 64 << 20;

/// Says on a terminal what goes on.
fn status(text: &str) {
    let mut stderr = std::io::stderr();
    if stderr.is_terminal() {
        let _ = write!(stderr, "\r\u{1b}[K{text}");
        let _ = stderr.flush();
    }
}

/// A line that stays.
fn line(text: &str) {
    let mut stderr = std::io::stderr();
    let start = if stderr.is_terminal() { "\r\u{1b}[K" } else { "" };
    let _ = writeln!(stderr, "{start}{text}");
}
