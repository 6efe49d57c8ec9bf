//! Where jobs run.

use std::sync::mpsc::{Sender, channel};

/// A job, ready to run.
pub type Work = Box<dyn FnOnce() + Send>;

/// How a job is queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// Right away, on its own thread: reading and writing.
    Quick,
    /// One after another: networks, which use all cores anyway.
    Compute,
}

/// Runs jobs.
pub trait Runner {
    /// Runs a job now or later.
    ///
    /// # Errors
    /// If it cannot be started.
    fn run(&mut self, lane: Lane, work: Work) -> Result<(), String>;
}

/// Runs every job right away on the calling thread, for tests and scripts.
#[derive(Debug, Default)]
pub struct InlineRunner;

impl Runner for InlineRunner {
    fn run(&mut self, _lane: Lane, work: Work) -> Result<(), String> {
        work();
        Ok(())
    }
}

/// Runs jobs on threads.
#[derive(Default)]
pub struct ThreadRunner {
    compute: Option<Sender<Work>>,
}

fn spawn(name: &str, work: Work) -> Result<(), String> {
    let thread = std::thread::Builder::new().name(name.to_string()).spawn(work);
    thread.map(drop).map_err(|error| format!("cannot start a thread: {error}"))
}

impl Runner for ThreadRunner {
    fn run(&mut self, lane: Lane, work: Work) -> Result<(), String> {
        if lane == Lane::Quick {
            return spawn("reading", work);
        }
        let work = match &self.compute {
            Some(queue) => match queue.send(work) {
                Ok(()) => return Ok(()),
                Err(unsent) => unsent.0,
            },
            None => work,
        };
        let (queue, jobs) = channel::<Work>();
        spawn("computing", Box::new(move || jobs.into_iter().for_each(|job| job())))?;
        let sent = queue.send(work).map_err(|_| "the worker thread has stopped".to_string());
        self.compute = Some(queue);
        sent
    }
}
