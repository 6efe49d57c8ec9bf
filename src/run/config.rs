//! Everything needed to repeat a run, as one TOML file.

use crate::data::{
    Augment, Cifar10, Cue, Dataset, EvalTransform, Filter, ImageFolder, MixConfig, Normalize, ShapesTextures,
    ShapesTexturesConfig, TrainTransform,
};
use crate::train::AdamWConfig;
use crate::zoo::ModelSpec;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The whole run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// Training settings.
    pub train: TrainConfig,
    /// Images.
    pub data: DataConfig,
    /// Network.
    pub model: ModelSpec,
}

/// Where images come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum DataSource {
    /// The built-in shapes and textures.
    Builtin(ShapesTexturesConfig),
    /// CIFAR-10's binary files.
    Cifar10 {
        /// Folder of the `.bin` files.
        path: PathBuf,
    },
    /// A folder of class folders, or one with `train` and `val`.
    Folder {
        /// The folder.
        path: PathBuf,
    },
}

/// Images and how they are prepared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// Side of the network's input in pixels.
    pub size: usize,
    /// Share of the resized shorter side that evaluation's centre crop keeps.
    pub crop_pct: f32,
    /// Normalisation.
    pub normalize: Normalize,
    /// Source of the images.
    pub source: DataSource,
}

/// Training and validation images.
pub struct Splits {
    /// For training.
    pub train: Arc<dyn Dataset>,
    /// For validation.
    pub val: Arc<dyn Dataset>,
}

impl DataConfig {
    /// Reads the command's form: `builtin`, `cifar10:DIR` or `folder:DIR`.
    ///
    /// # Errors
    /// If the text has another form.
    pub fn parse(text: &str, size: usize, seed: u64) -> Result<Self> {
        let source = match text.split_once(':') {
            None if text == "builtin" => {
                DataSource::Builtin(ShapesTexturesConfig { size, seed, ..ShapesTexturesConfig::default() })
            }
            Some(("cifar10", path)) if !path.is_empty() => DataSource::Cifar10 { path: path.into() },
            Some(("folder", path)) if !path.is_empty() => DataSource::Folder { path: path.into() },
            _ => return Err(Error::argument("--data", format!("\"{text}\""), "builtin, cifar10:DIR or folder:DIR")),
        };
        Ok(DataConfig { size, crop_pct: 1.0, normalize: Normalize::HALF, source })
    }

    /// Opens or generates both splits.
    ///
    /// # Errors
    /// If files are missing or damaged, or a split is empty.
    pub fn open(&self) -> Result<Splits> {
        Ok(match &self.source {
            DataSource::Builtin(config) => {
                let (train, val) = config.generate()?;
                Splits { train: Arc::new(train), val: Arc::new(val) }
            }
            DataSource::Cifar10 { path } => {
                let (train, val) = Cifar10::open(path)?;
                Splits { train: Arc::new(train), val: Arc::new(val) }
            }
            DataSource::Folder { path } => {
                let (train, val) = ImageFolder::open_split(path)?;
                Splits { train: Arc::new(train), val: Arc::new(val) }
            }
        })
    }

    /// The cue-conflict images that belong to the built-in set, at this size; `None` for other sources.
    ///
    /// # Errors
    /// If they cannot be generated.
    pub fn cue_conflict(&self, count: usize) -> Result<Option<ShapesTextures>> {
        match &self.source {
            DataSource::Builtin(config) => {
                Ok(Some(ShapesTextures::generate(config.size, count, config.seed, Cue::Conflict, CONFLICT_SPLIT)?))
            }
            _ => Ok(None),
        }
    }

    /// The transform of validation images.
    pub fn eval_transform(&self) -> EvalTransform {
        EvalTransform { size: self.size, crop_pct: self.crop_pct, normalize: self.normalize, filter: Filter::Bicubic }
    }

    /// The transform of training images.
    pub fn train_transform(&self, augment: &Augment) -> TrainTransform {
        TrainTransform { size: self.size, augment: *augment, normalize: self.normalize, filter: Filter::Bicubic }
    }
}

/// Stream of the cue-conflict images, apart from those of training (0) and validation (1).
const CONFLICT_SPLIT: u64 = 2;

/// How to train.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// Passes over the training images.
    pub epochs: usize,
    /// Images per step.
    pub batch_size: usize,
    /// Highest learning rate.
    pub lr: f64,
    /// Learning rate at the end.
    pub min_lr: f64,
    /// Epochs of warm-up; fractions count.
    pub warmup_epochs: f64,
    /// Largest norm of the gradient; larger ones are scaled down. 0: no limit.
    pub clip_norm: f64,
    /// Decay of the moving average of the weights. 0: none.
    pub ema: f64,
    /// Steps between logged rows. 0: epochs only.
    pub log_every: usize,
    /// Newest checkpoints that are kept. 0: all.
    pub keep_checkpoints: usize,
    /// Threads that prepare images.
    pub workers: usize,
    /// Seed of everything random.
    pub seed: u64,
    /// Optimiser.
    pub optimizer: AdamWConfig,
    /// Mixing of images and label smoothing.
    pub mix: MixConfig,
    /// Augmentation of single images.
    pub augment: Augment,
}

impl Default for TrainConfig {
    fn default() -> Self {
        TrainConfig {
            epochs: 10,
            batch_size: 64,
            lr: 2e-3,
            min_lr: 1e-6,
            warmup_epochs: 1.0,
            clip_norm: 0.0,
            ema: 0.0,
            log_every: 10,
            keep_checkpoints: 0,
            workers: 2,
            seed: 0,
            optimizer: AdamWConfig::default(),
            mix: MixConfig::default(),
            augment: Augment::default(),
        }
    }
}

impl TrainConfig {
    /// Checks the ranges of all fields.
    ///
    /// # Errors
    /// The first field out of range, by name.
    pub fn check(&self) -> Result<()> {
        let bad = |name: &str, given: &dyn std::fmt::Display, allowed: &str| Err(Error::argument(name, given, allowed));
        if self.epochs == 0 {
            return bad("epochs", &self.epochs, "at least 1");
        }
        if self.batch_size == 0 {
            return bad("batch size", &self.batch_size, "at least 1");
        }
        for (name, value) in [("learning rate", self.lr), ("final learning rate", self.min_lr)] {
            if !value.is_finite() || value < 0.0 {
                return bad(name, &value, "a finite number, not negative");
            }
        }
        if !(0.0..=self.epochs as f64).contains(&self.warmup_epochs) {
            return bad("warm-up epochs", &self.warmup_epochs, "between 0 and the number of epochs");
        }
        if !(0.0..1.0).contains(&self.ema) {
            return bad("EMA decay", &self.ema, "at least 0 and below 1");
        }
        if !self.clip_norm.is_finite() || self.clip_norm < 0.0 {
            return bad("clip norm", &self.clip_norm, "a finite number, not negative");
        }
        self.augment.check()?;
        self.mix.check()
    }
}

impl RunConfig {
    /// Reads a configuration.
    ///
    /// # Errors
    /// If the file is missing or not a valid configuration.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        toml::from_str(&text).map_err(|e| Error::file(path, e.message()))
    }

    /// The configuration as TOML.
    ///
    /// # Errors
    /// If a value cannot be written as TOML.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|e| Error::argument("config", e, "values that TOML can hold"))
    }
}
