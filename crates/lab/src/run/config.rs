//! Everything needed to repeat a run, as one TOML file.

use crate::data::{
    Augment, Cifar10, Cue, Dataset, EvalTransform, Filter, ImageFolder, MixConfig, Normalize, ShapesTextures,
    ShapesTexturesConfig, TrainTransform,
};
use crate::train::AdamWConfig;
use crate::train::sparse::SparseConfig;
use crate::{Error, Result};
use kernelscope::zoo::{ModelSpec, Preprocessing};
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

impl DataSource {
    /// Reads the command's form: `builtin`, `cifar10:DIR` or `folder:DIR`. Size and seed are those of built-in images.
    ///
    /// # Errors
    /// If the text has another form.
    pub fn parse(text: &str, size: usize, seed: u64) -> Result<Self> {
        match text.split_once(':') {
            None if text == "builtin" => {
                Ok(DataSource::Builtin(ShapesTexturesConfig { size, seed, ..ShapesTexturesConfig::default() }))
            }
            Some(("cifar10", path)) if !path.is_empty() => Ok(DataSource::Cifar10 { path: path.into() }),
            Some(("folder", path)) if !path.is_empty() => Ok(DataSource::Folder { path: path.into() }),
            _ => Err(Error::argument("data", format!("\"{text}\""), "builtin, cifar10:DIR or folder:DIR")),
        }
    }

    /// The same place on disk by its full path, which names it from any working directory.
    ///
    /// # Errors
    /// If the working directory is gone.
    pub fn absolute(self) -> Result<Self> {
        let full = |path: PathBuf| std::path::absolute(&path).map_err(Error::io("find", path));
        Ok(match self {
            DataSource::Builtin(set) => DataSource::Builtin(set),
            DataSource::Cifar10 { path } => DataSource::Cifar10 { path: full(path)? },
            DataSource::Folder { path } => DataSource::Folder { path: full(path)? },
        })
    }

    /// Opens or generates what a network that was trained elsewhere is measured on: the validation images, or all of a
    /// folder that is not divided ([`ImageFolder::open_val`]).
    ///
    /// # Errors
    /// If files are missing or damaged.
    pub fn open_val(&self) -> Result<Arc<dyn Dataset>> {
        Ok(match self {
            DataSource::Builtin(config) => Arc::new(config.generate_val()?),
            DataSource::Cifar10 { path } => Arc::new(Cifar10::open(path)?.1),
            DataSource::Folder { path } => Arc::new(ImageFolder::open_val(path)?),
        })
    }
}

impl DataConfig {
    /// Reads the command's form ([`DataSource::parse`]) for images of the given size, prepared as a registered network
    /// expects: its normalisation, and for folders its crop. Built-in images and CIFAR-10 fill their frames and are
    /// never cropped.
    ///
    /// # Errors
    /// If the text has another form.
    pub fn parse(text: &str, size: usize, seed: u64, preprocessing: &Preprocessing) -> Result<Self> {
        let source = DataSource::parse(text, size, seed)?;
        let crop_pct = match source {
            DataSource::Folder { .. } => preprocessing.crop_pct as f32,
            DataSource::Builtin(_) | DataSource::Cifar10 { .. } => 1.0,
        };
        let normalize = Normalize { mean: preprocessing.mean, std: preprocessing.std };
        Ok(DataConfig { size, crop_pct, normalize, source })
    }

    /// Checks the ranges of all fields.
    ///
    /// # Errors
    /// The first field out of range, by name.
    pub fn check(&self) -> Result<()> {
        self.eval_transform().check()?;
        match &self.source {
            DataSource::Builtin(set) => {
                check_toml("seed of the images", set.seed)?;
                set.check()
            }
            DataSource::Cifar10 { .. } | DataSource::Folder { .. } => Ok(()),
        }
    }

    /// What a checkpoint has to say about the preparation of images.
    pub fn preprocessing(&self) -> Preprocessing {
        let Normalize { mean, std } = self.normalize;
        Preprocessing { size: self.size, crop_pct: f64::from(self.crop_pct), mean, std }
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
    /// Weights to start from instead of fresh ones; names and shapes must fit the network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<PathBuf>,
    /// Optimiser.
    pub optimizer: AdamWConfig,
    /// Mixing of images and label smoothing.
    pub mix: MixConfig,
    /// Augmentation of single images.
    pub augment: Augment,
    /// Masks of weights; without, training is dense.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sparse: Option<SparseConfig>,
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
            weights: None,
            optimizer: AdamWConfig::default(),
            mix: MixConfig::default(),
            augment: Augment::default(),
            sparse: None,
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
        for (name, value, least, most) in [
            ("epochs", self.epochs, 1, MAX_EPOCHS),
            ("batch size", self.batch_size, 1, MAX_BATCH),
            ("worker threads", self.workers, 0, MAX_WORKERS),
        ] {
            if !(least..=most).contains(&value) {
                return bad(name, &value, &format!("{least} to {most}"));
            }
        }
        check_toml("seed", self.seed)?;
        check_toml("steps between logged rows", self.log_every as u64)?;
        check_toml("checkpoints to keep", self.keep_checkpoints as u64)?;
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
        self.optimizer.check()?;
        self.sparse.map_or(Ok(()), |sparse| sparse.check())?;
        self.augment.check()?;
        self.mix.check()
    }
}

/// More epochs are refused; the number of steps must not overflow.
const MAX_EPOCHS: usize = 1_000_000;
/// More images per step are refused.
const MAX_BATCH: usize = 1_000_000;
/// More threads are refused: they and their batches would fill the memory.
const MAX_WORKERS: usize = 1024;

/// Refuses a number beyond the integers that every TOML reader knows: they are signed.
fn check_toml(name: &str, value: u64) -> Result<()> {
    match i64::try_from(value) {
        Ok(_) => Ok(()),
        Err(_) => Err(Error::argument(name, value, format!("at most {}", i64::MAX))),
    }
}

/// What is wrong with a TOML file, in one line that names the place: the message alone often does not name the field.
pub(crate) fn toml_fault(path: &Path, text: &str, error: &toml::de::Error) -> Error {
    let message = error.message().replace('\n', " ");
    let before = error.span().and_then(|span| text.get(..span.start));
    let Some(number) = before.map(|before| before.matches('\n').count()) else { return Error::file(path, message) };
    let line = text.lines().nth(number).unwrap_or_default().trim();
    Error::file(path, format!("line {} (`{line}`): {message}", number + 1))
}

impl RunConfig {
    /// Checks the ranges of all fields but the network's, which are checked when it is built, and that the network has a
    /// classifier.
    ///
    /// # Errors
    /// The first field out of range, by name.
    pub fn check(&self) -> Result<()> {
        if !self.model.config.has_classifier() {
            return Err(Error::argument("backbone", "true", "false, since training needs a classifier"));
        }
        self.train.check()?;
        self.data.check()
    }

    /// Reads a configuration.
    ///
    /// # Errors
    /// If the file is missing or not a valid configuration.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        toml::from_str(&text).map_err(|e| toml_fault(path, &text, &e))
    }

    /// The configuration as TOML.
    ///
    /// # Errors
    /// If a value cannot be written as TOML.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|e| Error::argument("config", e, "values that TOML can hold"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> RunConfig {
        let model = ModelSpec::named("nano-1d").unwrap();
        let data = DataConfig::parse("builtin", 64, 0, &model.preprocessing()).unwrap();
        RunConfig { train: TrainConfig::default(), data, model }
    }

    #[test]
    fn settings_out_of_range_are_named() {
        assert!(config().check().is_ok());
        type Change = fn(&mut RunConfig);
        let changes: [(&str, Change); 12] = [
            ("epochs", |c| c.train.epochs = usize::MAX),
            ("batch size", |c| c.train.batch_size = usize::MAX),
            ("worker threads", |c| c.train.workers = usize::MAX),
            ("seed", |c| c.train.seed = u64::MAX),
            ("checkpoints to keep", |c| c.train.keep_checkpoints = usize::MAX),
            ("warm-up epochs", |c| c.train.warmup_epochs = f64::NAN),
            ("weight decay", |c| c.train.optimizer.weight_decay = f64::NAN),
            ("size", |c| c.data.size = usize::MAX),
            ("crop_pct", |c| c.data.crop_pct = 0.0),
            ("normalize", |c| c.data.normalize.std[1] = 0.0),
            ("size", |c| c.data.source = DataSource::parse("builtin", 31, 0).unwrap()),
            ("seed of the images", |c| c.data.source = DataSource::parse("builtin", 64, u64::MAX).unwrap()),
        ];
        for (name, change) in changes {
            let mut config = config();
            change(&mut config);
            let message = config.check().unwrap_err().to_string();
            assert!(message.starts_with(&format!("{name}: got ")), "{name}: {message}");
        }
    }

    #[test]
    fn a_damaged_file_is_described_by_its_line_and_field() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        let whole = config().to_toml().unwrap();
        for (from, to, parts) in [
            ("\nepochs = 10", "\nepochs = \"ten\"", &["line 2 ", "epochs = \"ten\"", "expected usize"][..]),
            ("\nepochs = 10", "\nepoches = 10", &["line 2 ", "unknown field `epoches`"]),
            ("\ncrop_pct = 1.0", "", &["missing field `crop_pct`"]),
        ] {
            let damaged = whole.replacen(from, to, 1);
            assert_ne!(damaged, whole, "{from:?} is not in {whole}");
            std::fs::write(&path, damaged).unwrap();
            let message = RunConfig::read(&path).unwrap_err().to_string();
            assert!(message.contains("config.toml: ") && !message.contains('\n'), "{message}");
            assert!(parts.iter().all(|part| message.contains(part)), "{message}");
        }
    }

    #[test]
    fn images_are_prepared_as_the_network_expects() {
        let published = ModelSpec::named("convnext-t-1d").unwrap().preprocessing();
        let folder = DataConfig::parse("folder:images", 96, 0, &published).unwrap();
        assert_eq!((folder.size, folder.crop_pct, folder.normalize), (96, 0.875, Normalize::IMAGENET));
        assert_eq!(folder.preprocessing(), Preprocessing { size: 96, ..published });
        let builtin = DataConfig::parse("builtin", 96, 0, &published).unwrap();
        assert_eq!((builtin.crop_pct, builtin.normalize), (1.0, Normalize::IMAGENET));
        let nano = DataConfig::parse("folder:images", 64, 0, &config().model.preprocessing()).unwrap();
        assert_eq!((nano.crop_pct, nano.normalize), (1.0, Normalize::HALF));
    }

    #[test]
    fn images_are_found_from_any_working_directory() {
        for text in ["folder:images", "cifar10:images"] {
            let source = DataSource::parse(text, 32, 0).unwrap().absolute().unwrap();
            let (DataSource::Folder { path } | DataSource::Cifar10 { path }) = &source else { panic!("{source:?}") };
            assert_eq!(*path, std::env::current_dir().unwrap().join("images"));
            assert_eq!(source.clone().absolute().unwrap(), source);
        }
    }
}
