//! Settings that go together under a name.

use super::{DataConfig, DataSource, RunConfig, TrainConfig};
use crate::Result;
use crate::data::{Augment, MixConfig, Normalize, Reading, ShapesTexturesConfig};
use kernelscope::zoo::ModelSpec;

/// Named augmentations, as `--augment` and `train.augment` have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Recipe {
    /// No augmentation
    None,
    /// Slightly random crops and mirroring
    Light,
    /// ConvNeXt's ImageNet recipe: crops, mirroring, RandAugment, random erasing, mixup, CutMix, label smoothing
    Imagenet,
}

impl Recipe {
    /// What is done to single images.
    pub fn augment(self) -> Augment {
        match self {
            Recipe::None => Augment::default(),
            Recipe::Light => Augment::light(),
            Recipe::Imagenet => Augment::imagenet(),
        }
    }

    /// What is done to batches.
    pub fn mix(self) -> MixConfig {
        match self {
            Recipe::None | Recipe::Light => MixConfig::default(),
            Recipe::Imagenet => MixConfig::imagenet(),
        }
    }
}

/// The recipe of the small networks on the built-in images, which the command's quickstart and notebooks share.
///
/// ```
/// use kernelscope_lab::run::Quickstart;
/// let config = Quickstart { epochs: 8, ..Quickstart::default() }.run_config("nano-1d")?;
/// assert_eq!((config.train.batch_size, config.train.warmup_epochs), (32, 0.5));
/// # Ok::<(), kernelscope::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quickstart {
    /// Passes over the training images.
    pub epochs: usize,
    /// Side of the images in pixels.
    pub size: usize,
    /// Number of training images.
    pub train_images: usize,
    /// Seed of everything random.
    pub seed: u64,
}

impl Default for Quickstart {
    fn default() -> Self {
        Quickstart { epochs: 4, size: DataConfig::DEFAULT_SIZE, train_images: 4096, seed: 0 }
    }
}

impl Quickstart {
    /// The networks that the quickstart compares.
    pub const NETWORKS: [&str; 3] = ["nano-2d", "nano-1d", "nano-1dpp"];

    /// Epochs of warm-up: a sixteenth of a short run, at most one.
    pub fn warmup_epochs(epochs: f64) -> f64 {
        (epochs / 16.0).min(1.0)
    }

    /// The images.
    pub fn images(&self) -> ShapesTexturesConfig {
        ShapesTexturesConfig { size: self.size, train: self.train_images, val: 512, seed: self.seed }
    }

    /// How to train.
    pub fn train(&self) -> TrainConfig {
        TrainConfig {
            epochs: self.epochs,
            batch_size: 32,
            lr: 6e-3,
            warmup_epochs: Quickstart::warmup_epochs(self.epochs as f64),
            clip_norm: 5.0,
            seed: self.seed,
            mix: MixConfig { smoothing: 0.05, ..MixConfig::default() },
            augment: Augment { hflip: 0.5, ..Augment::default() },
            ..TrainConfig::default()
        }
    }

    /// The run of a registered network.
    ///
    /// # Errors
    /// If there is no network of this name.
    pub fn run_config(&self, model: &str) -> Result<RunConfig> {
        let source = DataSource::Builtin(self.images());
        Ok(RunConfig {
            train: self.train(),
            data: DataConfig {
                size: self.size,
                crop_pct: 1.0,
                normalize: Normalize::HALF,
                reading: Reading::default(),
                source,
            },
            model: ModelSpec::named(model)?,
        })
    }
}
