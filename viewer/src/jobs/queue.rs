//! Starts jobs, cancels them and collects their reports.

use super::link::{End, Link, Message, Report, Slot};
use super::runner::{Lane, Runner};
use crate::state::{EntryId, Progress, Running};
use eframe::egui;
use kernelscope::Result;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

struct Active {
    job: u64,
    stop: Arc<AtomicBool>,
    running: Running,
}

/// The jobs in progress.
pub struct Jobs {
    runner: Box<dyn Runner>,
    wake: egui::Context,
    active: BTreeMap<Slot, Active>,
    next: u64,
    out: Sender<Message>,
    reports: Receiver<Message>,
}

impl Jobs {
    /// No jobs yet. Every report wakes up `wake`.
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
        let running = Running { label: label.into(), progress: Progress::default() };
        self.active.insert(slot, Active { job, stop, running });
        let started = self.runner.run(
            lane,
            Box::new(move || {
                if link.stopped() {
                    return;
                }
                // A panic must not leave the slot busy forever.
                let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| work(&link)));
                let end = match run {
                    Ok(result) => End::from(result),
                    Err(_) => End::Failed("this is a bug in the program: the work stopped halfway".into()),
                };
                link.send(Report::Done(end));
            }),
        );
        if let Err(error) = started {
            let _ = self.out.send(Message { slot, job, report: Report::Done(End::Failed(error)) });
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

    /// The jobs that are worth showing.
    pub fn running(&self) -> Vec<Running> {
        let shown = |slot: &Slot| !matches!(slot, Slot::Follow(_) | Slot::Pick);
        self.active.iter().filter(|(slot, _)| shown(slot)).map(|(_, active)| active.running.clone()).collect()
    }

    /// Reports that arrived since the last call, except those of canceled jobs.
    pub fn poll(&mut self) -> Vec<(Slot, Report)> {
        let mut fresh = Vec::new();
        while let Ok(Message { slot, job, report }) = self.reports.try_recv() {
            let Some(active) = self.active.get_mut(&slot).filter(|active| active.job == job) else { continue };
            match &report {
                Report::Progress(progress) => active.running.progress = *progress,
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
    use crate::jobs::{InlineRunner, ThreadRunner};

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
            if let Some((_, Report::Done(End::Failed(message)))) = jobs.poll().pop() {
                break message;
            }
            assert!(start.elapsed().as_secs() < 300);
            std::thread::yield_now();
        };
        assert!(message.contains("bug in the program"), "{message}");
        // The computing thread is still alive.
        jobs.start(Slot::Export(0), Lane::Compute, "works", |_| Ok(()));
        while !jobs.is_idle() {
            jobs.poll();
            assert!(start.elapsed().as_secs() < 300);
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_canceled_job_that_waits_is_not_begun() {
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
