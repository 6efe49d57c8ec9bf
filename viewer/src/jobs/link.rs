//! What jobs are for, what they report, and how they reach the program.

use crate::state::{BiasResult, EntryId, ErfResult, Merged, Progress, Source};
use eframe::egui;
use kernelscope::analysis::report::SparsityReport;
use kernelscope::{Error, Result};
use kernelscope_lab::open::{Facts, Found, Overview, Stamp, Subject};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;

/// What a job is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// Finding out what is at a path; the number distinguishes several such jobs.
    Find(u64),
    /// Reading weights and what they tell.
    Open(EntryId),
    /// Checking whether a run has progressed.
    Follow(EntryId),
    /// A receptive field.
    Erf(EntryId),
    /// Shape bias.
    Bias(EntryId),
    /// Kernels of the form for inference.
    Merge(EntryId),
    /// Writing a figure; the number distinguishes several such jobs.
    Export(u64),
    /// The system's dialog for files.
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

/// Something that is at a path, and the network that was named for it.
pub struct Opened {
    /// What it is.
    pub found: Found,
    /// Name of the network.
    pub model: Option<String>,
}

/// What a job reports.
pub enum Report {
    /// Its progress.
    Progress(Progress),
    /// What was found at the paths.
    Found(Vec<Opened>),
    /// Something that could not be opened; the rest can be.
    Fault(String),
    /// A run as it is on disk.
    Overview(Arc<Overview>, Stamp),
    /// Weights, and what they tell.
    Subject(Arc<Subject>, Arc<Facts>),
    /// What is pruned.
    Sparsity(Result<Arc<SparsityReport>, String>),
    /// The hash of the file.
    Hash(String),
    /// A receptive field: imported, or averaged over the images so far.
    Erf(Box<ErfResult>),
    /// Answers so far.
    Bias(Box<BiasResult>),
    /// Kernels of the form for inference.
    Merged(Arc<Merged>),
    /// A written file.
    Written(PathBuf),
    /// Paths that were picked.
    Picked(Vec<Source>),
    /// The end.
    Done(End),
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// It did all its work.
    Complete,
    /// It was canceled.
    Canceled,
    /// It failed with this error.
    Failed(String),
}

impl From<Result<()>> for End {
    fn from(result: Result<()>) -> Self {
        match result {
            Ok(()) => End::Complete,
            Err(Error::Interrupted { .. }) => End::Canceled,
            Err(error) => End::Failed(error.to_string()),
        }
    }
}

/// A report, and the job that it comes from.
pub(super) struct Message {
    pub(super) slot: Slot,
    pub(super) job: u64,
    pub(super) report: Report,
}

/// The connection from a job to the program.
#[derive(Clone)]
pub struct Link {
    pub(super) slot: Slot,
    pub(super) job: u64,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) out: Sender<Message>,
    pub(super) wake: egui::Context,
}

impl Link {
    /// Reports something and wakes the program up.
    pub fn send(&self, report: Report) {
        // The program may have ended.
        let _ = self.out.send(Message { slot: self.slot, job: self.job, report });
        self.wake.request_repaint();
    }

    /// Whether the job was canceled.
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Ends the job if it was canceled.
    ///
    /// # Errors
    /// If the job was canceled.
    pub fn check(&self) -> Result<()> {
        if self.stopped() { Err(Error::interrupted()) } else { Ok(()) }
    }

    /// Number of the job. No two jobs have the same.
    pub fn job(&self) -> u64 {
        self.job
    }
}
