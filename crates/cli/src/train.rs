//! `kernelscope train`.

use super::output::{TrainingBar, say};
use super::process::stop_on_ctrl_c;
use super::reading::ReadingArgs;
use super::sparse::SparseArgs;
use kernelscope::zoo::ModelSpec;
use kernelscope::{Error, Result};
use kernelscope_lab::data::MixConfig;
use kernelscope_lab::run::{DataConfig, DataSource, Recipe, RunConfig, TrainConfig};
use kernelscope_lab::train::{AdamWConfig, Trainer};
use std::path::PathBuf;

/// What describes a new run. It would be ignored beside a run or a configuration that exists.
const DESCRIPTION: [&str; 19] = [
    "model",
    "data",
    "size",
    "epochs",
    "batch",
    "lr",
    "warmup",
    "weight_decay",
    "clip",
    "ema",
    "augment",
    "smoothing",
    "train_images",
    "keep",
    "workers",
    "seed",
    "weights",
    "ReadingArgs",
    "SparseArgs",
];

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    kernelscope train --model nano-1d --data builtin --out runs/first\n  \
    kernelscope train --model nano-1dpp --data folder:digits --size 32 --epochs 20 --out runs/digits\n  \
    kernelscope train --model convnext-t-1d --set kernel=31,31,27,15 --data folder:imagenet --size 224 \\\n      \
    --augment imagenet --epochs 300 --warmup 20 --lr 4e-3 --ema 0.9999 --out runs/t1d\n  \
    kernelscope train --model nano-replk --sparse fine --sparsity 0.6 -u 20 --epochs 20 --out runs/sparse\n  \
    kernelscope train --model nano-replk --weights runs/sparse/checkpoints/epoch-0020.safetensors --sparse fine \\\n      \
    --sparse-init resume --data folder:digits --out runs/tuned\n  \
    kernelscope train --resume runs/t1d")]
pub struct TrainArgs {
    /// Name of a registered network (see `kernelscope models`)
    #[arg(long, value_name = "NAME", required_unless_present_any = ["resume", "config"])]
    model: Option<String>,
    /// Override a configuration field of the network, except classes, whose number follows from the data
    #[arg(long = "set", value_name = "KEY=VALUE")]
    overrides: Vec<String>,
    /// Images: builtin, cifar10:DIR, or folder:DIR
    #[arg(long, value_name = "DATA", default_value = "builtin")]
    data: String,
    /// Folder for the new run
    #[arg(long, value_name = "RUN", required_unless_present = "resume")]
    out: Option<PathBuf>,
    /// Resume this run after its last complete epoch
    #[arg(long, value_name = "RUN", conflicts_with_all = DESCRIPTION, conflicts_with_all = ["out", "config", "overrides"])]
    resume: Option<PathBuf>,
    /// Use the configuration file of another run instead of the options; only --set can change it
    #[arg(long, value_name = "FILE", conflicts_with_all = DESCRIPTION)]
    config: Option<PathBuf>,
    /// Side of the network's input in pixels
    #[arg(long, default_value_t = DataConfig::DEFAULT_SIZE)]
    size: usize,
    /// Passes over the training images
    #[arg(long, default_value_t = TrainConfig::default().epochs)]
    epochs: usize,
    /// Images per step
    #[arg(long, default_value_t = TrainConfig::default().batch_size)]
    batch: usize,
    /// Peak learning rate
    #[arg(long, default_value_t = TrainConfig::default().lr)]
    lr: f64,
    /// Number of warm-up epochs
    #[arg(long, default_value_t = TrainConfig::default().warmup_epochs)]
    warmup: f64,
    /// Decoupled weight decay
    #[arg(long, default_value_t = AdamWConfig::default().weight_decay)]
    weight_decay: f64,
    /// Norm to which larger gradients are clipped; 0 for no limit
    #[arg(long, default_value_t = TrainConfig::default().clip_norm)]
    clip: f64,
    /// Decay of the moving average of the weights; 0 for none
    #[arg(long, default_value_t = TrainConfig::default().ema)]
    ema: f64,
    /// Augmentation
    #[arg(long, value_enum, default_value_t = Recipe::None)]
    augment: Recipe,
    /// Label smoothing
    #[arg(long)]
    smoothing: Option<f64>,
    /// Number of built-in training images; only with --data builtin
    #[arg(long, value_name = "N")]
    train_images: Option<usize>,
    /// Number of checkpoints to keep, the newest ones; 0 for all
    #[arg(long, value_name = "N", default_value_t = TrainConfig::default().keep_checkpoints)]
    keep: usize,
    /// Number of threads that prepare images
    #[arg(long, default_value_t = TrainConfig::default().workers)]
    workers: usize,
    /// Seed for everything random
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    seed: u64,
    /// Start from these weights instead of new ones; names and shapes must match the network
    #[arg(long, value_name = "FILE")]
    weights: Option<PathBuf>,
    #[command(flatten)]
    reading: ReadingArgs,
    #[command(flatten)]
    sparse: SparseArgs,
}

impl TrainArgs {
    fn run_config(&self) -> Result<RunConfig> {
        let names_classes = |text: &&String| text.split('=').next().map(str::trim) == Some("classes");
        if let Some(text) = self.overrides.iter().find(names_classes) {
            let allowed = "any field except classes, whose number follows from the data";
            return Err(Error::argument("--set", format!("\"{text}\""), allowed));
        }
        if let Some(file) = &self.config {
            let mut config = RunConfig::read(file)?;
            config.model = config.model.with_overrides(&self.overrides)?;
            return Ok(config);
        }
        let spec = ModelSpec::named(self.model.as_deref().unwrap_or_default())?.with_overrides(&self.overrides)?;
        let mut data = DataConfig::parse(&self.data, self.size, self.seed, &spec.preprocessing())?;
        data.reading = self.reading.over(None);
        match (&mut data.source, self.train_images) {
            (DataSource::Builtin(set), Some(train)) => set.train = train,
            (_, Some(train)) => return Err(Error::argument("--train-images", train, "only with --data builtin")),
            (_, None) => {}
        }
        let mix = self.augment.mix();
        let train = TrainConfig {
            epochs: self.epochs,
            batch_size: self.batch,
            lr: self.lr,
            warmup_epochs: self.warmup,
            clip_norm: self.clip,
            ema: self.ema,
            keep_checkpoints: self.keep,
            workers: self.workers,
            seed: self.seed,
            optimizer: AdamWConfig { weight_decay: self.weight_decay, ..AdamWConfig::default() },
            mix: MixConfig { smoothing: self.smoothing.unwrap_or(mix.smoothing), ..mix },
            augment: self.augment.augment(),
            weights: self.weights.clone(),
            sparse: self.sparse.config(),
            ..TrainConfig::default()
        };
        Ok(RunConfig { train, data, model: spec })
    }
}

/// Runs a trainer with a progress bar.
pub fn run_with_bar(trainer: &mut Trainer, label: &str, epochs: usize) -> Result<kernelscope_lab::train::Outcome> {
    let (steps, done) = trainer.steps();
    let mut bar = TrainingBar::new(label, epochs, steps, done);
    let outcome = trainer.train(&mut bar);
    bar.finish();
    outcome
}

pub fn train(args: &TrainArgs) -> Result<()> {
    let trainer = match (&args.resume, &args.out) {
        (Some(root), _) => Trainer::resume(root)?,
        (None, Some(root)) => Trainer::create(root, args.run_config()?)?,
        (None, None) => return Err(Error::argument("--out", "nothing", "a folder for the new run")),
    };
    let mut trainer = trainer.with_stop_flag(stop_on_ctrl_c());
    let config = trainer.run_folder().config()?;
    let outcome = run_with_bar(&mut trainer, &config.model.name, config.train.epochs)?;
    let root = trainer.run_folder().root().display();
    match outcome.last {
        Some(report) => say(format_args!(
            "{root}: {:.2} % of {} validation images after {} epochs ({:.0} s)",
            100.0 * report.validation.accuracy,
            report.validation.images,
            report.epoch,
            outcome.seconds
        )),
        None => say(format_args!("{root}: already complete")),
    }
}
