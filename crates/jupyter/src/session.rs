//! One evcxr context, and what it says while cells run.

use crate::analysis::{View, cargo_home};
use crate::errors::Failure;
use crate::frames::{Bundle, Frame, INTERRUPT, PIPE};
use crate::last::presented;
use crate::prepare::{Prepared, Progress, START};
use crate::{Error, Result};
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use evcxr::{CommandContext, EvalContext, EvalContextOutputs};
use std::fs::{self, OpenOptions};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Text on standard error waits so long, in case that it turns out to be the message of the cell's error.
const STDERR_DELAY: Duration = Duration::from_millis(60);
/// A cell that ran has said so by then.
const COMPLETE_WITHIN: Duration = Duration::from_millis(250);
/// What evcxr says of a variable for which rust-analyzer found no type.
const TYPE_UNKNOWN: &str = "automatically determine type";

/// Compiles and runs cells.
pub struct Session {
    context: CommandContext,
    control: Receiver<Frame>,
    stderr: Arc<Mutex<String>>,
    visible: Sender<Frame>,
    interrupter: Interrupter,
    /// What rust-analyzer reads, while that is not everything.
    view: Option<View>,
    /// Whether a cell has defined a display of its own for a type.
    own_displays: bool,
}

/// What a cell came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It ran to its end; the value of its last expression, if that did not show itself already.
    Ok(Option<Bundle>),
    /// It did not.
    Failed(Failure),
}

/// What could be written at a place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Completions {
    /// The texts, and what each is (`function`, `struct`).
    pub texts: Vec<(String, &'static str)>,
    /// The bytes that one of them replaces.
    pub range: (usize, usize),
}

/// Stops what runs.
#[derive(Clone)]
pub struct Interrupter {
    flag: PathBuf,
    process: Arc<Mutex<Child>>,
    /// 0: nothing runs; 1: a cell runs; 2: it was asked to stop; 3: its process was ended.
    state: Arc<AtomicUsize>,
}

/// What an interruption did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interruption {
    /// Nothing was running.
    Idle,
    /// Training and analyses stop after their current step.
    Asked,
    /// The process ends; its variables are lost.
    Killed,
}

impl Interrupter {
    /// The first call asks; the second ends the process.
    pub fn interrupt(&self) -> Interruption {
        let next = |state| if (1..3).contains(&state) { Some(state + 1) } else { None };
        match self.state.fetch_update(Ordering::SeqCst, Ordering::SeqCst, next) {
            Ok(1) => {
                // If it cannot be written, a second interruption still works.
                let _ = fs::write(&self.flag, "");
                Interruption::Asked
            }
            Ok(_) => {
                self.kill();
                Interruption::Killed
            }
            Err(_) => Interruption::Idle,
        }
    }

    /// Ends the process that runs cells.
    pub fn kill(&self) {
        let _ = self.process.lock().unwrap_or_else(PoisonError::into_inner).kill();
    }

    fn begin(&self) {
        self.state.store(1, Ordering::SeqCst);
    }

    /// Ends a cell; says how often it was interrupted.
    fn end(&self) -> usize {
        let state = self.state.swap(0, Ordering::SeqCst);
        if state > 1 {
            let _ = fs::remove_file(&self.flag);
        }
        state.saturating_sub(1)
    }
}

impl Session {
    /// Starts evcxr in a folder that holds a copy of the prepared build, and runs the first cell. Everything that cells
    /// show from now on goes to `visible`. `EVCXR_TMPDIR` and [`crate::frames::SESSION`] must name the folder.
    ///
    /// # Errors
    /// If the pipe cannot be made or the first cell fails.
    pub fn start(path: &Path, prepared: &Prepared, visible: Sender<Frame>, progress: Progress<'_>) -> Result<Self> {
        prepared.update(progress)?;
        progress("starting Rust");
        prepared.copy_to(path)?;
        let control = open_pipe(&path.join(PIPE), visible.clone())?;
        let view = View::of(path);
        let show = |show: fn(&View, &Path) -> Result<()>| view.as_ref().map_or(Ok(()), |v| show(v, prepared.folder()));
        show(View::show_nothing)?;
        let (context, outputs) = start_evcxr()?;
        show(View::show_named)?;
        prepared.copy_lock_to(path)?;
        let stderr = Arc::new(Mutex::new(String::new()));
        delay_stderr(outputs.stderr, stderr.clone(), visible.clone())?;
        forward_stdout(outputs.stdout, visible.clone())?;
        let interrupter =
            Interrupter { flag: path.join(INTERRUPT), process: context.process_handle(), state: Arc::default() };
        let mut session = Session { context, control, stderr, visible, interrupter, view: None, own_displays: false };
        match session.execute(&prepared.first_cell()) {
            Outcome::Ok(_) => {
                session.view = view;
                Ok(session)
            }
            Outcome::Failed(failure) => Err(Error::Other(failure.text())),
        }
    }

    /// What stops a cell from another thread.
    pub fn interrupter(&self) -> Interrupter {
        self.interrupter.clone()
    }

    /// Compiles and runs a cell. When it returns, everything that the cell has shown is on its way.
    pub fn execute(&mut self, code: &str) -> Outcome {
        while self.control.try_recv().is_ok() {}
        self.interrupter.begin();
        let result = self.run(code);
        let (failed, panic) = self.settle(result.is_ok());
        if failed != Some(false) {
            let text = self.take_stderr();
            if !text.is_empty() {
                let _ = self.visible.send(Frame::stream("stderr", text));
            }
        }
        let interrupted = self.interrupter.end();
        if matches!(result, Err(evcxr::Error::SubprocessTerminated(_))) {
            // evcxr has started another process, which is not prepared yet. Its first cell says why if it cannot be.
            let _ = self.context.execute(START);
        }
        let error = match result {
            Ok(outputs) if failed.is_none() && interrupted == 0 => {
                let content = outputs.content_by_mime_type;
                let bundle: Bundle = content.into_iter().map(|(mime, text)| (mime, text.into())).collect();
                return Outcome::Ok((!bundle.is_empty()).then_some(bundle));
            }
            Ok(_) => None,
            Err(error) => Some(error),
        };
        let words = failed.filter(|panic| !panic).map(|_| self.take_stderr());
        Outcome::Failed(match (error, words, panic) {
            _ if interrupted > 1 => Failure::killed(),
            (Some(error), _, _) => Failure::of_evcxr(error, code),
            (None, Some(words), _) if interrupted > 0 => Failure::new("Interrupted", &words),
            (None, Some(words), _) => Failure::of_value(&words),
            (None, None, Some(panic)) => panic,
            (None, None, None) if failed.is_some() => Failure::new("Panic", "a panic without a message"),
            _ => Failure::interrupted(),
        })
    }

    /// Runs the cell. Where rust-analyzer has not read what it needs, it reads everything.
    fn run(&mut self, code: &str) -> std::result::Result<evcxr::EvalOutputs, evcxr::Error> {
        // What a cell depends on may be what the prelude depends on, of which nothing is read.
        if code.lines().any(|line| line.trim_start().starts_with(":dep")) {
            self.widen();
        }
        match self.run_presented(code) {
            Err(error) if error.to_string().contains(TYPE_UNKNOWN) && self.widen() => self.run_presented(code),
            result => result,
        }
    }

    /// Lets rust-analyzer read everything; says whether it did not before.
    fn widen(&mut self) -> bool {
        let Some(view) = self.view.take() else { return false };
        // evcxr starts anew when its manifest changes, here in a line that the environment of builds makes void.
        view.show_everything().is_ok() && self.context.execute(":opt 3").is_ok()
    }

    /// Runs the cell with its last expression presented; as it is where that does not compile, so that the compiler's
    /// words are about what was written.
    fn run_presented(&mut self, code: &str) -> std::result::Result<evcxr::EvalOutputs, evcxr::Error> {
        // Types may have evcxr's display, which only evcxr finds.
        self.own_displays |= code.contains("fn evcxr_display");
        let presented = presented(code).filter(|_| !self.own_displays);
        match presented.map(|code| self.context.execute(&code)) {
            None | Some(Err(evcxr::Error::CompilationErrors(_))) => self.context.execute(code),
            Some(result) => result,
        }
    }

    /// Takes what the relay has to say of a cell that has ended: whether it failed (by a panic: true), and the panic.
    fn settle(&mut self, ran: bool) -> (Option<bool>, Option<Failure>) {
        let (mut failed, mut panic) = (None, None);
        let wait = if ran { COMPLETE_WITHIN } else { Duration::from_millis(20) };
        while let Ok(frame) = self.control.recv_timeout(wait) {
            match frame {
                Frame::Failed { panic } => failed = Some(panic),
                Frame::Panic { message, location, thread } => {
                    if let Some(Frame::Panic { message, location, thread }) =
                        panic.replace(Frame::Panic { message, location, thread })
                    {
                        self.report_panic(&message, &location, &thread);
                    }
                }
                Frame::Complete => break,
                _ => {}
            }
        }
        let Some(Frame::Panic { message, location, thread }) = panic else { return (failed, None) };
        if failed == Some(true) {
            return (failed, Some(Failure::panic(&message, &location)));
        }
        // Somebody caught it, or it was in another thread.
        self.report_panic(&message, &location, &thread);
        (failed, None)
    }

    fn report_panic(&self, message: &str, location: &str, thread: &str) {
        let text = format!("thread '{thread}' panicked at {location}: {message}\n");
        let _ = self.visible.send(Frame::stream("stderr", text));
    }

    /// The text on standard error that was not shown yet.
    fn take_stderr(&self) -> String {
        // It was written before the relay spoke, but takes another way.
        std::thread::sleep(STDERR_DELAY / 10);
        std::mem::take(&mut self.stderr.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Completions of the code at a byte offset.
    ///
    /// # Errors
    /// If rust-analyzer fails.
    pub fn complete(&mut self, code: &str, offset: usize) -> Result<Completions> {
        let found = self.context.completions(code, offset).map_err(|e| Error::Other(e.to_string()))?;
        let range = (found.start_offset, found.end_offset);
        Ok(Completions { texts: found.completions.into_iter().map(|c| (c.code, c.kind)).collect(), range })
    }

    /// What is known of a path such as `Tensor::zeros`; `None` if nothing is.
    pub fn inspect(&mut self, path: &str) -> Option<Bundle> {
        let variable = self.context.variables_and_types().find(|(name, _)| *name == path);
        let variable = variable.map(|(name, kind)| format!("let {name}: {kind}"));
        let outputs = self.context.execute(&format!(":doc {path}")).ok()?;
        let mut content = outputs.content_by_mime_type;
        let text = content.remove("text/plain").filter(|text| !text.trim().starts_with("No documentation found"));
        let text = match (variable, text) {
            (Some(variable), Some(text)) => format!("{variable}\n\n{text}"),
            (Some(only), None) | (None, Some(only)) => only,
            (None, None) => return None,
        };
        Some(Bundle::from_iter([("text/plain".to_string(), text.into())]))
    }
}

/// Starts evcxr. The process that runs cells is not in the group of this one: Ctrl-C in a terminal is for the kernel, which
/// asks the cell to stop.
fn start_evcxr() -> Result<(CommandContext, EvalContextOutputs)> {
    let program = std::env::current_exe().map_err(Error::io("find", Path::new("this program")))?;
    let mut command = Command::new(program);
    // What is for rust-analyzer is not for the programs that cells start.
    command.env("CARGO_HOME", cargo_home()).env_remove("RUST_SRC_PATH");
    #[cfg(unix)]
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let started = EvalContext::with_subprocess_command(command);
    let (context, outputs) = started.map_err(|e| Error::Other(e.to_string()))?;
    Ok((CommandContext::with_eval_context(context), outputs))
}

/// Makes the pipe of frames and reads it: what can be seen goes to `visible`, the rest to the session.
fn open_pipe(path: &Path, visible: Sender<Frame>) -> Result<Receiver<Frame>> {
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    let made = rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0);
    made.map_err(|e| Error::io("create", path)(e.into()))?;
    // Open for writing as well, so that it has no end when the process that runs cells is replaced.
    let pipe = OpenOptions::new().read(true).write(true).open(path).map_err(Error::io("open", path))?;
    let (control, receiver) = unbounded();
    thread("frames", move || {
        for line in BufReader::new(pipe).lines().map_while(std::io::Result::ok) {
            let Ok(frame) = serde_json::from_str(&line) else { continue };
            let sent = match frame {
                Frame::Panic { .. } | Frame::Failed { .. } | Frame::Complete => control.send(frame).is_ok(),
                frame => visible.send(frame).is_ok(),
            };
            if !sent {
                break;
            }
        }
    })?;
    Ok(receiver)
}

/// Passes on the lines that evcxr did not understand: everything for others went another way.
fn forward_stdout(stdout: Receiver<String>, visible: Sender<Frame>) -> Result<()> {
    thread("stdout", move || {
        for line in stdout {
            if visible.send(Frame::stream("stdout", line + "\n")).is_err() {
                break;
            }
        }
    })
}

/// Passes on standard error after a moment.
fn delay_stderr(stderr: Receiver<String>, pending: Arc<Mutex<String>>, visible: Sender<Frame>) -> Result<()> {
    thread("stderr", move || {
        loop {
            let waits = !pending.lock().unwrap_or_else(PoisonError::into_inner).is_empty();
            let next = if waits {
                stderr.recv_timeout(STDERR_DELAY)
            } else {
                stderr.recv().map_err(|_| RecvTimeoutError::Disconnected)
            };
            match next {
                Ok(line) => {
                    let mut pending = pending.lock().unwrap_or_else(PoisonError::into_inner);
                    pending.push_str(&line);
                    pending.push('\n');
                    // Somebody who writes without a pause is shown, too.
                    if pending.len() < 1 << 14 {
                        continue;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            let text = std::mem::take(&mut *pending.lock().unwrap_or_else(PoisonError::into_inner));
            if !text.is_empty() && visible.send(Frame::stream("stderr", text)).is_err() {
                break;
            }
        }
    })
}

/// A thread that ends with its channels.
fn thread(name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
    let started = std::thread::Builder::new().name(name.to_string()).spawn(work);
    started.map(drop).map_err(Error::io("start", Path::new("a thread")))
}
