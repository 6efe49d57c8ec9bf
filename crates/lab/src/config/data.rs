//! Images of a run, and how they are prepared.

use super::text::check_toml;
use crate::data::{
    Augment, Broken, Cifar10, Cue, Dataset, EvalTransform, Filter, ImageFolder, Normalize, Reading, ShapesTextures,
    ShapesTexturesConfig, TrainTransform,
};
use crate::{Error, Result};
use kernelscope::zoo::Preprocessing;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;

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
    /// Share of the resized shorter side that evaluation's center crop keeps.
    pub crop_pct: f32,
    /// Normalization.
    pub normalize: Normalize,
    /// How image files are read.
    #[serde(default)]
    pub reading: Reading,
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
            _ => Err(Error::argument("data", format!("\"{text}\""), "builtin, cifar10:DIR, or folder:DIR")),
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
    /// folder that is not divided ([`ImageFolder::open_val`]). Images that cannot be read are still in it.
    ///
    /// # Errors
    /// If files are missing or damaged.
    pub fn open_val(&self, reading: Reading) -> Result<Arc<dyn Dataset>> {
        Ok(match self {
            DataSource::Builtin(config) => Arc::new(config.generate_val()?),
            DataSource::Cifar10 { path } => Arc::new(Cifar10::open(path)?.1),
            DataSource::Folder { path } => Arc::new(ImageFolder::open_val(path)?.with_reading(reading)),
        })
    }
}

impl DataConfig {
    /// Side of the network's input in pixels where none is asked for.
    pub const DEFAULT_SIZE: usize = 64;

    /// Reads the command's form ([`DataSource::parse`]) for images of the given size, prepared as a registered network
    /// expects: its normalization, and for folders its crop. Built-in images and CIFAR-10 fill their frames and are
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
        Ok(DataConfig { size, crop_pct, normalize, reading: Reading::default(), source })
    }

    /// Checks the ranges of all fields.
    ///
    /// # Errors
    /// The first field out of range, by name.
    pub fn check(&self) -> Result<()> {
        self.eval_transform().check()?;
        self.reading.check()?;
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

    /// Opens or generates both splits. If [`Reading::skip_broken`] is set, every file of a folder is read once, and those
    /// that cannot be are left out, with a warning for each; which image belongs to which split does not depend on that.
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
                let train = self.read(train)?;
                if let Some(name) = train.empty_class() {
                    let given = format!("no training image of the class {name} that can be read");
                    return Err(Error::argument("images", given, "at least one per class"));
                }
                Splits { train: Arc::new(train), val: Arc::new(self.read(val)?) }
            }
        })
    }

    /// Opens or generates the validation images alone, as [`DataConfig::open`] does.
    ///
    /// # Errors
    /// As [`DataConfig::open`].
    pub fn open_val(&self) -> Result<Arc<dyn Dataset>> {
        match &self.source {
            DataSource::Folder { path } => Ok(Arc::new(self.read(ImageFolder::open_split(path)?.1)?)),
            DataSource::Builtin(_) | DataSource::Cifar10 { .. } => self.source.open_val(self.reading),
        }
    }

    /// A set of files, read as this configuration says.
    fn read(&self, set: ImageFolder) -> Result<ImageFolder> {
        let (set, broken) = set.with_reading(self.reading).without_broken()?;
        for Broken { reason, .. } in broken {
            tracing::warn!("{reason}; left out");
        }
        Ok(set)
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

#[cfg(test)]
mod tests {
    use super::*;
    use kernelscope::zoo::ModelSpec;

    #[test]
    fn images_are_prepared_as_the_network_expects() {
        let published = ModelSpec::named("convnext-t-1d").unwrap().preprocessing();
        let folder = DataConfig::parse("folder:images", 96, 0, &published).unwrap();
        assert_eq!((folder.size, folder.crop_pct, folder.normalize), (96, 0.875, Normalize::IMAGENET));
        assert_eq!(folder.reading, Reading::default());
        assert_eq!(folder.preprocessing(), Preprocessing { size: 96, ..published });
        let builtin = DataConfig::parse("builtin", 96, 0, &published).unwrap();
        assert_eq!((builtin.crop_pct, builtin.normalize), (1.0, Normalize::IMAGENET));
        let nano =
            DataConfig::parse("folder:images", 64, 0, &ModelSpec::named("nano-1d").unwrap().preprocessing()).unwrap();
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
