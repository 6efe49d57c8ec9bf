//! Work that takes longer than a frame.
//!
//! A job has a slot, what it is for. A new job in a slot cancels the one before, and what that one still reports is
//! dropped: every report carries the number of its job. Work asks [`Link::stopped`] between its parts, and ends with an
//! error that nobody sees.

mod analyse;
mod open;
mod runner;

pub use analyse::{BiasTask, ErfTask, bias, erf};
pub use open::{OpenTask, follow, open};
pub use runner::{InlineRunner, Lane, Runner, ThreadRunner, Work};

use crate::state::{BiasResult, EntryId, ErfResult, Merged};
use kernelscope::analysis::report::SparsityReport;
use kernelscope::open::{Facts, Found, Overview, Stamp, Subject};
use kernelscope::{Error, Result};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

/// What a job is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// Looking what is at a path; the number tells those under way apart.
    Find(u64),
    /// Reading weights and what they tell.
    Open(EntryId),
    /// Looking whether a run went on.
    Follow(EntryId),
    /// A receptive field.
    Erf(EntryId),
    /// Shape bias.
    Bias(EntryId),
    /// Kernels of the form for inference.
    Merge(EntryId),
    /// A figure on disk; numbered as well.
    Export(u64),
    /// The system's dialogue for files.
    Pick,
}

impl Slot {
    /// The entry that the job is for.
    pub fn entry(self) -> Option<EntryId> {
        match self {
            Slot::Open(id) | Slot::Follow(id) | Slot::Erf(id) | Slot::Bias(id) | Slot::Merge(id) => Some(id),
            Slot::Find(_) | Slot::Export(_) | Slot::Pick => None,
        }
    }
}

/// What a job reports.
pub enum Report {
    /// How far it is.
    Progress(usize, usize),
    /// What is at paths, with the networks that were named for them.
    Found(Vec<(Found, Option<String>)>),
    /// Something that is not there, while the rest is.
    Fault(String),
    /// A run as it is on disk.
    Overview(Arc<Overview>, Stamp),
    /// Weights and what they tell.
    Subject(Arc<Subject>, Arc<Facts>),
    /// What is pruned.
    Sparsity(Result<Arc<SparsityReport>, String>),
    /// The hash of the file.
    Hash(String),
    /// An imported receptive field.
    Matrix(Box<ErfResult>),
    /// A receptive field over the images so far.
    Erf(Box<ErfResult>),
    /// Answers so far.
    Bias(Box<BiasResult>),
    /// Kernels of the form for inference.
    Merged(Arc<Merged>),
    /// A written file.
    Written(PathBuf),
    /// Paths that were picked.
    Picked(Vec<PathBuf>),
    /// The end, with what went wrong.
    Done(std::result::Result<(), String>),
}

/// The connection from a job to the program.
#[derive(Clone)]
pub struct Link {
    slot: Slot,
    job: u64,
    stop: Arc<AtomicBool>,
    out: Sender<(Slot, u64, Report)>,
    wake: egui::Context,
}

use eframe::egui;

impl Link {
    /// Reports something and wakes the program up.
    pub fn send(&self, report: Report) {
        // The program may have ended.
        let _ = self.out.send((self.slot, self.job, report));
        self.wake.request_repaint();
    }

    /// Whether the job was cancelled.
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// An error once the job was cancelled.
    ///
    /// # Errors
    /// As said.
    pub fn check(&self) -> Result<()> {
        if self.stopped() { Err(Error::interrupted()) } else { Ok(()) }
    }

    /// Number of the job, different from those of all others.
    pub fn job(&self) -> u64 {
        self.job
    }
}

struct Active {
    job: u64,
    stop: Arc<AtomicBool>,
    label: String,
    progress: (usize, usize),
}

/// The jobs in progress.
pub struct Jobs {
    runner: Box<dyn Runner>,
    wake: egui::Context,
    active: BTreeMap<Slot, Active>,
    next: u64,
    out: Sender<(Slot, u64, Report)>,
    reports: Receiver<(Slot, u64, Report)>,
}

impl Jobs {
    /// No jobs yet. `wake` is told of every report.
    pub fn new(runner: Box<dyn Runner>, wake: egui::Context) -> Self {
        let (out, reports) = channel();
        Jobs { runner, wake, active: BTreeMap::new(), next: 0, out, reports }
    }

    /// Starts a job in place of the one in its slot.
    pub fn start(
        &mut self,
        slot: Slot,
        lane: Lane,
        label: impl Into<String>,
        work: impl FnOnce(&Link) -> Result<()> + Send + 'static,
    ) {
        self.cancel(slot);
        self.next += 1;
        let (job, stop) = (self.next, Arc::new(AtomicBool::new(false)));
        let link = Link { slot, job, stop: stop.clone(), out: self.out.clone(), wake: self.wake.clone() };
        self.active.insert(slot, Active { job, stop, label: label.into(), progress: (0, 0) });
        let started = self.runner.run(
            lane,
            Box::new(move || {
                if link.stopped() {
                    return;
                }
                // A panic must not leave the slot busy for ever.
                let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(&link)));
                let end = match run {
                    Ok(result) => result.map_err(|error| error.to_string()),
                    Err(_) => Err("this is a fault of the program: the work stopped in the middle".to_string()),
                };
                link.send(Report::Done(end));
            }),
        );
        if let Err(error) = started {
            let _ = self.out.send((slot, job, Report::Done(Err(error))));
        }
    }

    /// Cancels the job of a slot.
    pub fn cancel(&mut self, slot: Slot) {
        if let Some(active) = self.active.remove(&slot) {
            active.stop.store(true, Ordering::Relaxed);
        }
    }

    /// Cancels all jobs, or those of one entry. Returns how many there were.
    pub fn cancel_all(&mut self, of: Option<EntryId>) -> usize {
        let slots: Vec<Slot> = self.active.keys().copied().filter(|s| of.is_none() || s.entry() == of).collect();
        slots.iter().for_each(|slot| self.cancel(*slot));
        slots.len()
    }

    /// Whether a slot is busy.
    pub fn is_busy(&self, slot: Slot) -> bool {
        self.active.contains_key(&slot)
    }

    /// Whether no job is in progress.
    pub fn is_idle(&self) -> bool {
        self.active.is_empty()
    }

    /// Label and progress of every job that is worth showing.
    pub fn running(&self) -> Vec<(String, usize, usize)> {
        let shown = |slot: &Slot| !matches!(slot, Slot::Follow(_) | Slot::Pick);
        let active = self.active.iter().filter(|(slot, _)| shown(slot));
        active.map(|(_, a)| (a.label.clone(), a.progress.0, a.progress.1)).collect()
    }

    /// What came since the last call, without what is stale.
    pub fn poll(&mut self) -> Vec<(Slot, Report)> {
        let mut fresh = Vec::new();
        while let Ok((slot, job, report)) = self.reports.try_recv() {
            let Some(active) = self.active.get_mut(&slot).filter(|active| active.job == job) else { continue };
            match &report {
                Report::Progress(done, all) => active.progress = (*done, *all),
                Report::Done(_) => drop(self.active.remove(&slot)),
                _ => {}
            }
            fresh.push((slot, report));
        }
        fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_of_a_replaced_job_are_dropped() {
        let mut jobs = Jobs::new(Box::new(InlineRunner), egui::Context::default());
        jobs.start(Slot::Export(0), Lane::Quick, "old", |link| {
            link.send(Report::Hash("old".into()));
            Ok(())
        });
        jobs.start(Slot::Export(0), Lane::Quick, "new", |link| {
            link.send(Report::Hash("new".into()));
            Ok(())
        });
        let texts: Vec<String> = jobs
            .poll()
            .into_iter()
            .filter_map(|(_, report)| if let Report::Hash(text) = report { Some(text) } else { None })
            .collect();
        assert_eq!(texts, ["new"]);
        assert!(jobs.is_idle());
    }

    #[test]
    fn a_job_that_panics_says_so() {
        let mut jobs = Jobs::new(Box::new(ThreadRunner::default()), egui::Context::default());
        jobs.start(Slot::Export(0), Lane::Compute, "panics", |_| panic!("on purpose"));
        let start = std::time::Instant::now();
        let message = loop {
            if let Some((_, Report::Done(Err(message)))) = jobs.poll().pop() {
                break message;
            }
            assert!(start.elapsed().as_secs() < 300);
            std::thread::yield_now();
        };
        assert!(message.contains("fault of the program"), "{message}");
        // The thread for computations goes on.
        jobs.start(Slot::Export(0), Lane::Compute, "works", |_| Ok(()));
        while !jobs.is_idle() {
            jobs.poll();
            assert!(start.elapsed().as_secs() < 300);
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_cancelled_job_that_waits_is_not_begun() {
        let mut jobs = Jobs::new(Box::new(ThreadRunner::default()), egui::Context::default());
        let (go, wait) = channel::<()>();
        jobs.start(Slot::Export(0), Lane::Compute, "first", move |_| {
            let _ = wait.recv();
            Ok(())
        });
        let (begun, seen) = channel::<()>();
        jobs.start(Slot::Pick, Lane::Compute, "second", move |_| {
            let _ = begun.send(());
            Ok(())
        });
        assert_eq!(jobs.cancel_all(None), 2);
        drop(go);
        // The sender is dropped without a message once the work is thrown away.
        assert!(seen.recv().is_err());
    }
}
