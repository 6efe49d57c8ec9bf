//! Training of many runs, several at a time.

use super::check::check_merge;
use super::jobs::{Ablation, Job, State};
use crate::run::RunFolder;
use crate::threads::on_threads;
use crate::train::{Observer, Trainer};
use crate::{Error, Result};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// At most this many runs are trained at once unless more are asked for: each holds its images and its network.
const MOST_AT_ONCE: usize = 8;

/// Somebody who follows an ablation: progress bars, a notebook, a test. Runs call from several threads at once.
pub trait Watch: Sync {
    /// A run starts or goes on; `steps` are those of the whole run and those done. Who follows it is returned.
    fn started(&self, _job: &Job, _steps: (usize, usize)) -> Box<dyn Observer> {
        Box::new(crate::train::Silent)
    }
    /// A run has ended: finished, failed, or stopped.
    fn ended(&self, _job: &Job, _result: &Result<()>) {}
}

/// A watch that does nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unwatched;

impl Watch for Unwatched {}

/// A run that failed.
#[derive(Debug)]
pub struct Failure {
    /// Name of the run.
    pub job: String,
    /// Why it failed.
    pub error: Error,
}

/// How many runs are trained at once, and with how many threads each: as many runs as asked for (as threads without a
/// number, up to 8), but no more than there are, and the threads shared out. A small network does not keep
/// many threads busy, so runs side by side finish sooner than one after the other. Results do not depend on either.
pub fn share_threads(jobs: Option<usize>, runs: usize) -> (usize, usize) {
    let threads = rayon::current_num_threads();
    let at_once = jobs.unwrap_or(threads.min(MOST_AT_ONCE)).clamp(1, runs.max(1));
    (at_once, (threads / at_once).max(1))
}

impl Ablation {
    /// Trains the given runs that are not finished, goes on with those that were begun, and makes their checks. A run
    /// that fails does not stop the others; all failures are returned.
    ///
    /// # Errors
    /// If a folder holds a run with different settings (before anything is trained), or if `stop` was set: every
    /// run then stays resumable after its last complete epoch.
    pub fn run(
        &self,
        jobs: &[&Job],
        at_once: Option<usize>,
        stop: &Arc<AtomicBool>,
        watch: &dyn Watch,
    ) -> Result<Vec<Failure>> {
        let mut waiting = Vec::new();
        for job in jobs {
            if self.state(job)? != State::Finished {
                waiting.push(*job);
            }
        }
        let (at_once, threads) = share_threads(at_once, waiting.len());
        let (next, failures) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let work = || {
            while let Some(job) = waiting.get(next.fetch_add(1, Ordering::Relaxed)) {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let result = guarded(&job.name, || on_threads(Some(threads), || self.train(job, stop, watch)));
                watch.ended(job, &result);
                if let Err(error) = result {
                    // Another thread can only have panicked elsewhere: the list is whole.
                    let mut failures = failures.lock().unwrap_or_else(PoisonError::into_inner);
                    failures.push(Failure { job: job.name.clone(), error });
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 0..at_once {
                scope.spawn(work);
            }
        });
        if stop.load(Ordering::Relaxed) {
            return Err(Error::interrupted_in(&self.dir));
        }
        let mut failures = failures.into_inner().unwrap_or_else(PoisonError::into_inner);
        failures.sort_by(|a, b| a.job.cmp(&b.job));
        Ok(failures)
    }

    /// Trains one run to its end and checks it.
    fn train(&self, job: &Job, stop: &Arc<AtomicBool>, watch: &dyn Watch) -> Result<()> {
        let path = self.run_path(job);
        let trainer = match RunFolder::open(&path) {
            Err(_) => Trainer::create(&path, job.config.clone())?,
            Ok(_) => Trainer::resume(&path)?,
        };
        let mut trainer = trainer.with_stop_flag(stop.clone());
        let mut observer = watch.started(job, trainer.steps());
        trainer.train(observer.as_mut())?;
        if self.checks_merging(job) {
            check_merge(trainer.run_folder())?;
        }
        Ok(())
    }
}

/// The result of some work, also where it panics: that is a defect of this program, but must not cost the other runs
/// theirs.
fn guarded(name: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    // What the work was changing is not used again: a run is read back from its folder.
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a message");
        Err(Error::argument(
            format!("run {name}"),
            format!("a panic ({})", text.replace('\n', " ")),
            "no panic; this is a bug",
        ))
    })
}
