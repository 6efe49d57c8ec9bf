//! Batches in a seeded order, prepared ahead by worker threads.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, unbounded};
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::transforms::soft_targets;
use super::{BatchShape, Dataset, MixConfig, Transform, mix_batch};
use crate::{Error, Result};
use kernelscope::rng::stream;

/// What a random stream is for; keeps the order, the samples and the mixing independent.
const ORDER: u64 = 1;
const SAMPLE: u64 = 2;
const MIX: u64 = 3;

/// How a [`Loader`] makes batches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoaderConfig {
    /// Images per batch, at least 1.
    pub batch_size: usize,
    /// Worker threads; 0 prepares every batch in the calling thread. The batches are the same either way.
    pub workers: usize,
    /// Batches that may be in preparation or waiting at any time; at least one per worker.
    pub prefetch: usize,
    /// Whether every epoch has its own random order.
    pub shuffle: bool,
    /// Whether a last batch that is not full is left out.
    pub drop_last: bool,
    /// Seed of the order, the augmentation and the mixing.
    pub seed: u64,
    /// Whether samples that cannot be read are left out of their batches, and named there; otherwise the first of them
    /// is an error.
    pub skip_broken: bool,
}

impl Default for LoaderConfig {
    fn default() -> Self {
        LoaderConfig {
            batch_size: 64,
            workers: 2,
            prefetch: 4,
            shuffle: false,
            drop_last: false,
            seed: 0,
            skip_broken: false,
        }
    }
}

/// Some images, ready for a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// Normalized values, shape (n, 3, size, size), row-major.
    pub images: Vec<f32>,
    /// Number of images; possibly 0, if broken ones are left out.
    pub n: usize,
    /// Side of the square images in pixels.
    pub size: usize,
    /// Class of every image before any mixing.
    pub labels: Vec<usize>,
    /// Soft targets, shape (n, classes): what the loss compares with.
    pub targets: Vec<f32>,
    /// Index of every image in the data set.
    pub indices: Vec<usize>,
    /// Index of every sample that was left out, and why.
    pub broken: Vec<(usize, String)>,
}

/// Draws batches from a data set, epoch by epoch.
#[derive(Clone)]
pub struct Loader {
    shared: Arc<Shared>,
}

/// What the threads of a loader read.
struct Shared {
    dataset: Arc<dyn Dataset>,
    transform: Transform,
    mix: Option<MixConfig>,
    config: LoaderConfig,
}

impl Loader {
    /// A loader; every setting is checked here. Without `mix` the targets are one-hot.
    ///
    /// # Errors
    /// If a setting is out of range or the data set is too small for a batch.
    pub fn new(
        dataset: Arc<dyn Dataset>,
        transform: Transform,
        mix: Option<MixConfig>,
        config: LoaderConfig,
    ) -> Result<Self> {
        if config.batch_size == 0 {
            return Err(Error::argument("batch_size", 0, "at least 1"));
        }
        if dataset.is_empty() || dataset.classes().is_empty() {
            return Err(Error::argument("data set", "no images or no classes", "at least one of each"));
        }
        if config.drop_last && dataset.len() < config.batch_size {
            let allowed = format!("with drop_last, at most {} (the number of images)", dataset.len());
            return Err(Error::argument("batch_size", config.batch_size, allowed));
        }
        transform.check()?;
        mix.map_or(Ok(()), |mix| mix.check())?;
        Ok(Loader { shared: Arc::new(Shared { dataset, transform, mix, config }) })
    }

    /// The data set behind the batches.
    pub fn dataset(&self) -> &Arc<dyn Dataset> {
        &self.shared.dataset
    }

    /// The settings.
    pub fn config(&self) -> &LoaderConfig {
        &self.shared.config
    }

    /// Number of batches in one epoch.
    pub fn batches_per_epoch(&self) -> usize {
        let (len, size) = (self.shared.dataset.len(), self.shared.config.batch_size);
        if self.shared.config.drop_last { len / size } else { len.div_ceil(size) }
    }

    /// The batches of epoch number `epoch`. Workers start at once and stop when the iterator is dropped.
    pub fn epoch(&self, epoch: u64) -> BatchIter {
        let mut order: Vec<usize> = (0..self.shared.dataset.len()).collect();
        if self.shared.config.shuffle {
            order.shuffle(&mut stream(self.shared.config.seed, &[ORDER, epoch]));
        }
        let plan = Arc::new(Plan { shared: Arc::clone(&self.shared), epoch, order, stop: AtomicBool::new(false) });
        let total = self.batches_per_epoch();
        let pool = Pool::start(&plan, total);
        BatchIter { plan, pool, next: 0, total }
    }
}

/// One epoch's order and everything needed to make its batches.
struct Plan {
    shared: Arc<Shared>,
    epoch: u64,
    order: Vec<usize>,
    /// Set when nobody wants the remaining batches any more.
    stop: AtomicBool,
}

impl Plan {
    fn batch(&self, number: usize) -> Result<Batch> {
        let Shared { dataset, transform, mix, config } = &*self.shared;
        let classes = dataset.classes().len();
        let size = transform.size();
        let wanted = self.order.iter().skip(number * config.batch_size).take(config.batch_size);
        let mut images = Vec::with_capacity(wanted.len() * 3 * size * size);
        let (mut labels, mut indices, mut broken) = (Vec::with_capacity(wanted.len()), Vec::new(), Vec::new());
        for &index in wanted {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Error::interrupted());
            }
            let sample = match dataset.get(index) {
                Ok(sample) => sample,
                Err(error) if config.skip_broken => {
                    broken.push((index, error.to_string()));
                    continue;
                }
                Err(error) => return Err(error),
            };
            sample.image.check().map_err(|e| Error::argument("sample", index, format!("a valid image ({e})")))?;
            if sample.label >= classes {
                let given = format!("{} for sample {index}", sample.label);
                return Err(Error::argument("label", given, format!("less than {classes}, the number of classes")));
            }
            let mut rng = stream(config.seed, &[SAMPLE, self.epoch, index as u64]);
            images.extend(transform.apply(&sample.image, &mut rng));
            labels.push(sample.label);
            indices.push(index);
        }
        let n = indices.len();
        let targets = match mix {
            Some(mix) => {
                let mut rng = stream(config.seed, &[MIX, self.epoch, number as u64]);
                let shape = BatchShape { n, channels: 3, height: size, width: size };
                mix_batch(&mut images, shape, &labels, classes, mix, &mut rng)?
            }
            None => soft_targets(&labels, classes, 1.0, 0.0),
        };
        Ok(Batch { images, n, size, labels, targets, indices, broken })
    }

    /// [`Plan::batch`], with a panic of the data set turned into an error: a thread that dies silently would leave the
    /// consumer waiting for its batch.
    fn batch_or_error(&self, number: usize) -> Result<Batch> {
        catch_unwind(AssertUnwindSafe(|| self.batch(number))).unwrap_or_else(|payload| {
            let text = payload.downcast_ref::<&str>().map(|s| s.to_string());
            let text = text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default();
            Err(Error::argument("data set", format!("a panic in batch {number}: {text}"), "reading without panics"))
        })
    }
}

/// The worker threads of one epoch.
struct Pool {
    plan: Arc<Plan>,
    /// `None` once the threads have been told to end.
    jobs: Option<Sender<usize>>,
    results: Receiver<(usize, Result<Batch>)>,
    /// Batches that were ready before their turn.
    early: BTreeMap<usize, Result<Batch>>,
    submitted: usize,
    total: usize,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    /// Starts the threads; `None` if none is wanted or none can be had, in which case the caller does the work.
    fn start(plan: &Arc<Plan>, total: usize) -> Option<Self> {
        let config = &plan.shared.config;
        let (jobs, todo) = unbounded::<usize>();
        let (done, results) = unbounded();
        let mut threads = Vec::new();
        for number in 0..config.workers.min(total) {
            let (plan, todo, done) = (Arc::clone(plan), todo.clone(), done.clone());
            let work = move || {
                for batch in todo {
                    if plan.stop.load(Ordering::Relaxed) || done.send((batch, plan.batch_or_error(batch))).is_err() {
                        break;
                    }
                }
            };
            match std::thread::Builder::new().name(format!("loader-{number}")).spawn(work) {
                Ok(thread) => threads.push(thread),
                Err(e) => {
                    tracing::warn!("only {number} of {} loader threads could be started: {e}", config.workers);
                    break;
                }
            }
        }
        if threads.is_empty() {
            return None;
        }
        let ahead = config.prefetch.max(threads.len());
        let mut pool = Pool {
            plan: Arc::clone(plan),
            jobs: Some(jobs),
            results,
            early: BTreeMap::new(),
            submitted: 0,
            total,
            threads,
        };
        for _ in 0..ahead {
            pool.submit();
        }
        Some(pool)
    }

    /// Hands out one more batch. One for every batch taken bounds what is in flight.
    fn submit(&mut self) {
        if self.submitted < self.total
            && let Some(jobs) = &self.jobs
            && jobs.send(self.submitted).is_ok()
        {
            self.submitted += 1;
        }
    }

    fn take(&mut self, number: usize) -> Result<Batch> {
        let batch = loop {
            if let Some(batch) = self.early.remove(&number) {
                break batch;
            }
            match self.results.recv() {
                Ok((ready, batch)) => self.early.insert(ready, batch),
                Err(_) => return Err(Error::argument("loader", "all threads stopped early", "running threads")),
            };
        };
        self.submit();
        batch
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.plan.stop.store(true, Ordering::Relaxed);
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // Panics were caught inside; there is nothing left to report.
            let _ = thread.join();
        }
    }
}

/// The batches of one epoch, in order. After an error there are no more.
pub struct BatchIter {
    plan: Arc<Plan>,
    pool: Option<Pool>,
    next: usize,
    total: usize,
}

impl Iterator for BatchIter {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.total {
            return None;
        }
        let number = self.next;
        let batch = match &mut self.pool {
            Some(pool) => pool.take(number),
            None => self.plan.batch_or_error(number),
        };
        self.next = if batch.is_ok() { number + 1 } else { self.total };
        if self.next >= self.total {
            self.pool = None;
        }
        Some(batch)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.total - self.next;
        (left.min(1), Some(left))
    }
}

#[cfg(test)]
mod tests;
