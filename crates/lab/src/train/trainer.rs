//! The trainer: from a run's configuration to its checkpoints.

use super::batch;
use super::ema::Ema;
use super::loss::{accuracy, soft_cross_entropy};
use super::observer::{EpochReport, Evaluation, Observer, Outcome, StepReport};
use super::optimizer::AdamW;
use super::schedule::CosineSchedule;
use super::sparse::SparseTraining;
use super::sums::Sums;
use crate::config::{RunConfig, Splits};
use crate::data::{Batch, ClassNames, Loader, LoaderConfig, Transform};
use crate::run::{MetricsWriter, Progress, RowKind, RunFolder};
use crate::{Error, Result};
use kernelscope::nn::{BuildOptions, LayerTrace, Mode};
use kernelscope::rng;
use kernelscope::weights::{self, TensorMap};
use kernelscope::zoo::{ModelSpec, Network};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Trains one network in one run folder.
pub struct Trainer {
    run: RunFolder,
    config: RunConfig,
    network: Network,
    optimizer: AdamW,
    ema: Option<Ema>,
    sparse: Option<SparseTraining>,
    schedule: CosineSchedule,
    train: Loader,
    val: Loader,
    progress: Progress,
    stop: Arc<AtomicBool>,
}

impl Trainer {
    /// Starts a new run in an empty or new folder. The data decides the network's number of classes.
    ///
    /// # Errors
    /// If the configuration is not allowed, the images cannot be opened or the folder cannot be written. Nothing is
    /// written before all of that is known.
    pub fn create(root: &Path, mut config: RunConfig) -> Result<Self> {
        config.check()?;
        // The run may be resumed or measured from another working directory.
        config.data.source = config.data.source.absolute()?;
        let absolute = |path: PathBuf| std::path::absolute(&path).map_err(Error::io("find", path));
        config.train.weights = config.train.weights.map(absolute).transpose()?;
        let splits = config.data.open()?;
        config.model.config.set_classes(splits.train.classes().len());
        let options = BuildOptions { seed: config.train.seed, ..Default::default() };
        let network = network_from(&config.model, config.train.weights.as_deref(), options)?;
        let loaders = loaders(&config, splits)?;
        // What does not fit the network must not leave a folder behind.
        check_batches(&network, &config, &loaders.train)?;
        let sparse = SparseTraining::start(&config, &network, &loaders.train)?;
        let run = RunFolder::create(root, &config)?;
        Trainer::assemble(run, config, network, sparse, loaders)
    }

    /// Goes on with a run after its last complete epoch.
    ///
    /// # Errors
    /// If the folder holds no run, its files are damaged, or its images are not those it began with.
    pub fn resume(root: &Path) -> Result<Self> {
        let run = RunFolder::open(root)?;
        let config = run.config()?;
        config.check()?;
        let progress = run.progress()?;
        let splits = config.data.open()?;
        let weights = match progress.epoch {
            0 => config.train.weights.clone(),
            epoch => Some(run.checkpoint_path(epoch, false)),
        };
        let options = BuildOptions { seed: config.train.seed, ..Default::default() };
        let network = network_from(&config.model, weights.as_deref(), options)?;
        let loaders = loaders(&config, splits)?;
        check_batches(&network, &config, &loaders.train)?;
        check_progress(root, progress, &loaders.train)?;
        let sparse = match progress.epoch {
            0 => SparseTraining::start(&config, &network, &loaders.train)?,
            epoch => SparseTraining::restore(&config, &network, &loaders.train, &run, epoch)?,
        };
        let mut trainer = Trainer::assemble(run, config, network, sparse, loaders)?;
        if progress.epoch > 0 {
            let moments = weights::load(&trainer.run.moments_path(progress.epoch))?;
            trainer.optimizer.restore(&moments.tensors, progress.step as u64)?;
            if let Some(ema) = &mut trainer.ema {
                // Through a network, which finds out whether names and shapes fit: the average itself takes any.
                let weights = trainer.run.checkpoint_path(progress.epoch, true);
                let averaged = network_from(&trainer.config.model, Some(&weights), BuildOptions::frozen())?;
                ema.restore(averaged.params().tensors());
            }
            trainer.progress = progress;
        }
        Ok(trainer)
    }

    fn assemble(
        run: RunFolder,
        config: RunConfig,
        network: Network,
        sparse: Option<SparseTraining>,
        Loaders { train, val }: Loaders,
    ) -> Result<Self> {
        let per_epoch = train.batches_per_epoch();
        let schedule = CosineSchedule {
            base: config.train.lr,
            last: config.train.min_lr.min(config.train.lr),
            warmup_steps: (config.train.warmup_epochs * per_epoch as f64).round() as usize,
            steps: config.train.epochs * per_epoch,
        };
        let optimizer = AdamW::new(network.params(), config.train.optimizer);
        let ema = (config.train.ema > 0.0).then(|| Ema::new(network.params(), config.train.ema)).transpose()?;
        let (progress, stop) = (Progress::default(), Arc::default());
        Ok(Trainer { run, config, network, optimizer, ema, sparse, schedule, train, val, progress, stop })
    }

    /// A flag that ends the run after the current step when it is set; what was saved stays resumable.
    pub fn stop_flag(&self) -> Arc<AtomicBool> {
        self.stop.clone()
    }

    /// Uses another flag, shared with other work.
    pub fn with_stop_flag(mut self, stop: Arc<AtomicBool>) -> Self {
        self.stop = stop;
        self
    }

    /// The run's folder.
    pub fn run_folder(&self) -> &RunFolder {
        &self.run
    }

    /// The network in training.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The masks, in sparse training.
    pub fn sparse(&self) -> Option<&SparseTraining> {
        self.sparse.as_ref()
    }

    /// Steps of the whole run, and how many are done.
    pub fn steps(&self) -> (usize, usize) {
        (self.schedule.steps, self.progress.step)
    }

    /// Trains to the end, saving after every epoch.
    ///
    /// # Errors
    /// If the loss is not finite, an image cannot be read, a file cannot be written, another process trains the run or
    /// this one was stopped. The last complete epoch stays resumable in each case.
    pub fn train(&mut self, observer: &mut dyn Observer) -> Result<Outcome> {
        let started = Instant::now();
        let _lock = self.run.lock()?;
        let mut metrics = MetricsWriter::open(&self.run.metrics_path(), |row| row.epoch <= self.progress.epoch)?;
        if let Some(sparse) = &mut self.sparse {
            sparse.record(&self.run, self.progress.step)?;
        }
        let mut last = None;
        while self.progress.epoch < self.config.train.epochs {
            let report = self.epoch(&mut metrics, observer)?;
            observer.epoch(&report);
            last = Some(report);
        }
        Ok(Outcome { last, seconds: started.elapsed().as_secs_f64() })
    }

    fn epoch(&mut self, metrics: &mut MetricsWriter, observer: &mut dyn Observer) -> Result<EpochReport> {
        let started = Instant::now();
        let epoch = self.progress.epoch + 1;
        let mut step = self.progress.step;
        let (mut total, mut recent) = (Sums::default(), Sums::default());
        let mut lr = 0.0;
        for batch in self.train.epoch(epoch as u64) {
            if self.stop.load(Ordering::Relaxed) {
                return Err(Error::interrupted_in(self.run.root()));
            }
            lr = self.schedule.at(step);
            let done = self.step(&batch?, step, lr)?;
            step += 1;
            total.add(&done);
            recent.add(&done);
            let speed = total.images as f64 / started.elapsed().as_secs_f64();
            let log_every = self.config.train.log_every;
            if log_every > 0 && step.is_multiple_of(log_every) {
                metrics.append(&recent.row(RowKind::Step, epoch, step, lr, speed))?;
                recent = Sums::default();
            }
            observer.step(&StepReport {
                epoch,
                step,
                steps: self.schedule.steps,
                loss: done.loss / done.images as f64,
                accuracy: total.correct as f64 / total.images as f64,
                lr,
                density: self.sparse.as_ref().map(SparseTraining::density),
                images_per_second: speed,
            });
        }
        let images_per_second = total.images as f64 / started.elapsed().as_secs_f64();
        let validation = evaluate(&self.view()?, &self.val)?;
        let ema = self.ema.as_ref().map(|ema| evaluate(&self.averaged(ema)?, &self.val)).transpose()?;
        // A last step can break the weights after its own loss was taken; such an epoch is not complete.
        for loss in [Some(validation.loss), ema.map(|e| e.loss)].into_iter().flatten() {
            if !loss.is_finite() {
                let place = format!("epoch {epoch} (learning rate {lr:.2e})");
                return Err(Error::NonFinite { what: "the validation loss".into(), value: loss, place });
            }
        }
        let mut row = total.row(RowKind::Epoch, epoch, step, lr, images_per_second);
        row.val_loss = Some(validation.loss);
        row.val_accuracy = Some(validation.accuracy);
        row.ema_accuracy = ema.map(|e| e.accuracy);
        metrics.append(&row)?;
        self.save(Progress { epoch, step, images: self.train.dataset().len() })?;
        let density = self.sparse.as_ref().map(SparseTraining::density);
        Ok(EpochReport { epoch, train_loss: row.train_loss, validation, ema, density, images_per_second })
    }

    fn step(&mut self, batch: &Batch, step: usize, lr: f64) -> Result<Sums> {
        let images = batch::images(batch, self.network.device())?;
        let targets = batch::targets(batch, self.network.device())?;
        let seed = rng::derive(self.config.train.seed, &[DROP_PATH, step as u64]);
        let logits = self.network.forward_t(&images, Mode::Train { seed })?;
        let loss = soft_cross_entropy(&logits, &targets)?;
        let value = f64::from(loss.to_scalar::<f32>()?);
        let place = || format!("step {} (learning rate {lr:.2e})", step + 1);
        if !value.is_finite() {
            return Err(Error::NonFinite { what: "the training loss".into(), value, place: place() });
        }
        let grads = loss.backward()?;
        let norm = self.optimizer.gradient_norm(&grads)?;
        if !norm.is_finite() {
            return Err(Error::NonFinite { what: "the norm of the gradient".into(), value: norm, place: place() });
        }
        let clip = self.config.train.clip_norm;
        let scale = if clip > 0.0 && norm > clip { clip / norm } else { 1.0 };
        self.optimizer.step(&grads, lr, scale)?;
        if let Some(sparse) = &mut self.sparse {
            sparse.step(step + 1, &mut self.optimizer, &grads)?;
        }
        match (&mut self.ema, &self.sparse) {
            (Some(ema), Some(sparse)) => ema.update_masked(self.network.params(), sparse.masks())?,
            (Some(ema), None) => ema.update(self.network.params())?,
            (None, _) => {}
        }
        let correct = accuracy(&logits.detach(), &batch.labels)?;
        Ok(Sums { loss: value * batch.n as f64, correct, images: batch.n, norm, steps: 1 })
    }

    /// The network as it stands, without gradients.
    fn view(&self) -> Result<Network> {
        Network::build(self.config.model.clone(), BuildOptions::view_of(self.network.params()))
    }

    /// The network with averaged weights.
    fn averaged(&self, ema: &Ema) -> Result<Network> {
        let weights = Some((ema.tensors().clone(), "averaged weights".to_string()));
        Network::build(self.config.model.clone(), BuildOptions { weights, ..BuildOptions::frozen() })
    }

    fn save(&mut self, progress: Progress) -> Result<()> {
        let mut metadata = BTreeMap::from([
            self.config.model.metadata()?,
            self.config.data.preprocessing().metadata()?,
            ("kernelscope.epoch".to_string(), progress.epoch.to_string()),
        ]);
        metadata.extend(ClassNames::new(self.train.dataset().classes().to_vec()).metadata()?);
        let write = |ema: bool, tensors: &TensorMap| {
            weights::save(&self.run.checkpoint_path(progress.epoch, ema), tensors, &metadata)
        };
        write(false, &self.network.params().tensors())?;
        if let Some(ema) = &self.ema {
            write(true, ema.tensors())?;
        }
        let (moments, _) = self.optimizer.state()?;
        weights::save(&self.run.moments_path(progress.epoch), &moments, &BTreeMap::new())?;
        if let Some(sparse) = &self.sparse {
            sparse.save(&self.run, progress.epoch, &metadata)?;
        }
        self.run.set_progress(progress)?;
        self.progress = progress;
        self.remove_old()
    }

    /// Removes what no resume needs any more: older state, and checkpoints beyond the number to keep.
    fn remove_old(&self) -> Result<()> {
        let current = self.progress.epoch;
        let remove = |path: &Path| match std::fs::remove_file(path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path)(e)),
            _ => Ok(()),
        };
        for epoch in 1..current {
            remove(&self.run.moments_path(epoch))?;
            remove(&self.run.explored_path(epoch))?;
        }
        let keep = self.config.train.keep_checkpoints;
        if keep > 0 {
            for old in self.run.checkpoints()?.iter().filter(|c| c.epoch.saturating_add(keep) <= current) {
                remove(&old.path)?;
                remove(&self.run.masks_path(old.epoch))?;
            }
        }
        Ok(())
    }
}

/// A network from the weights of a file, which must be ones of this network, or from fresh ones.
fn network_from(spec: &ModelSpec, weights: Option<&Path>, options: BuildOptions) -> Result<Network> {
    match weights {
        Some(path) => Network::from_weights(spec, weights::load(path)?, options),
        None => Network::build(spec.clone(), options),
    }
}

/// Stream of the drop-path masks.
const DROP_PATH: u64 = 10;

/// Batches of both splits.
struct Loaders {
    train: Loader,
    val: Loader,
}

fn loaders(config: &RunConfig, splits: Splits) -> Result<Loaders> {
    let train = &config.train;
    if config.model.config.classes() != splits.train.classes().len() {
        return Err(Error::argument(
            "classes",
            format!("{} in the network, {} in the data", config.model.config.classes(), splits.train.classes().len()),
            "equal numbers",
        ));
    }
    let loader = LoaderConfig {
        batch_size: train.batch_size.min(splits.train.len()),
        workers: train.workers,
        prefetch: 2 * train.workers.max(1),
        shuffle: true,
        drop_last: true,
        seed: train.seed,
        // Which images there are was decided when they were opened: a run must not depend on when one is read.
        skip_broken: false,
    };
    let eval = LoaderConfig { shuffle: false, drop_last: false, batch_size: train.batch_size, ..loader.clone() };
    let transform = Transform::Train(config.data.train_transform(&train.augment));
    Ok(Loaders {
        train: Loader::new(splits.train, transform, Some(train.mix), loader)?,
        val: Loader::new(splits.val, Transform::Eval(config.data.eval_transform()), None, eval)?,
    })
}

/// Refuses a size of images that does not fit the network, and batches in which a batch norm would see a single value
/// per channel: it has no variance.
fn check_batches(network: &Network, config: &RunConfig, train: &Loader) -> Result<()> {
    let trace = network.trace(config.data.size, config.data.size)?;
    let batch = train.config().batch_size;
    let alone = |layer: &&LayerTrace| layer.kind == "batch norm" && layer.output.positions() < 2;
    match trace.layers.iter().find(alone) {
        Some(layer) if batch < 2 => {
            let images = train.dataset().len();
            let given = format!("{batch} of {images} training images per step");
            Err(Error::argument("batch size", given, format!("at least 2, because {} is a batch norm", layer.path)))
        }
        _ => Ok(()),
    }
}

/// Refuses to go on with other images than those of the epochs so far: neither the schedule nor the order of images
/// would be the run's.
fn check_progress(root: &Path, progress: Progress, train: &Loader) -> Result<()> {
    let (images, per_epoch) = (train.dataset().len(), train.batches_per_epoch());
    let same_images = progress.images == images || progress.images == 0;
    if progress.epoch == 0 || (same_images && progress.step == progress.epoch.saturating_mul(per_epoch)) {
        return Ok(());
    }
    let before = match progress.images {
        0 => String::new(),
        images => format!(" over {images} training images"),
    };
    let message = format!(
        "its {} completed epochs took {} steps{before}, but an epoch now has {per_epoch} steps over {images} images; \
         restore the images and the batch size, or start a new run",
        progress.epoch, progress.step
    );
    Err(Error::file(root, message))
}

/// Loss and accuracy of a network on all images of a loader.
///
/// # Errors
/// If an image cannot be read or its size does not fit.
pub fn evaluate(network: &Network, loader: &Loader) -> Result<Evaluation> {
    let (mut loss, mut correct, mut images) = (0.0, 0, 0);
    for batch in loader.epoch(0) {
        let batch = batch?;
        if batch.n == 0 {
            continue;
        }
        let logits = network.forward(&batch::images(&batch, network.device())?)?;
        let targets = batch::targets(&batch, network.device())?;
        loss += f64::from(soft_cross_entropy(&logits, &targets)?.to_scalar::<f32>()?) * batch.n as f64;
        correct += accuracy(&logits, &batch.labels)?;
        images += batch.n;
    }
    let count = images.max(1) as f64;
    Ok(Evaluation { loss: loss / count, accuracy: correct as f64 / count, images })
}
