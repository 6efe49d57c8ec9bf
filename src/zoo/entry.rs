//! What is known about a named network: its paper, its configuration, published figures, preprocessing.

use super::family::{Family, ModelConfig};
use crate::weights::Checkpoint;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// What a paper or its repository states about a network, at 224x224.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Published {
    /// Parameters in millions.
    pub params_m: Option<f64>,
    /// Multiply-adds in 10^9 (the papers print them as FLOPs).
    pub gmacs: Option<f64>,
    /// ImageNet-1K top-1 accuracy in percent.
    pub top1: Option<f64>,
    /// Why our counts differ from the published ones, where they do.
    pub remark: &'static str,
}

/// How images must be prepared. Saved with every checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Preprocessing {
    /// Side of the input in pixels.
    pub size: usize,
    /// Share of the resized shorter side that the center crop keeps.
    pub crop_pct: f64,
    /// Mean per color channel, for values in [0, 1].
    pub mean: [f32; 3],
    /// Standard deviation per color channel.
    pub std: [f32; 3],
}

impl Default for Preprocessing {
    /// ConvNeXt's evaluation on ImageNet.
    fn default() -> Self {
        Preprocessing { size: 224, crop_pct: 224.0 / 256.0, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] }
    }
}

/// Key of the preprocessing in a checkpoint's metadata.
const PREPROCESSING_KEY: &str = "kernelscope.preprocessing";

impl Preprocessing {
    /// The metadata entry that stores this preprocessing in a checkpoint.
    ///
    /// # Errors
    /// If it cannot be serialized.
    pub fn metadata(&self) -> Result<(String, String)> {
        let text =
            serde_json::to_string(self).map_err(|e| Error::argument("preprocessing", e, "serializable values"))?;
        Ok((PREPROCESSING_KEY.to_string(), text))
    }

    /// What a checkpoint says of the images it was trained on, which may differ from the registered preprocessing: itself,
    /// or in the configuration that timm and transformers put beside it. `None` if nothing is said, as with most
    /// official files.
    ///
    /// # Errors
    /// If the entry cannot be read.
    pub fn of_checkpoint(checkpoint: &Checkpoint) -> Result<Option<Self>> {
        let Some(text) = checkpoint.metadata.get(PREPROCESSING_KEY) else {
            return Ok(super::names::preprocessing_beside(checkpoint));
        };
        let read = serde_json::from_str(text);
        read.map(Some).map_err(|e| {
            Error::file(&checkpoint.source, format!("its stored preprocessing of images cannot be read: {e}"))
        })
    }
}

/// Preprocessing of the small networks for the built-in data.
pub(super) const NANO: Preprocessing = Preprocessing { size: 64, crop_pct: 1.0, mean: [0.5; 3], std: [0.5; 3] };

/// One registered network.
#[derive(Clone)]
pub struct Entry {
    /// Name, as the command takes it.
    pub name: &'static str,
    /// Where it was published.
    pub paper: &'static str,
    /// What was published about it.
    pub published: Published,
    /// How its images are prepared.
    pub preprocessing: Preprocessing,
    /// Where its official weights are.
    pub weights: &'static str,
    pub(super) config: Arc<dyn Fn() -> ModelConfig + Send + Sync>,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("name", &self.name).field("config", &self.config()).finish_non_exhaustive()
    }
}

impl Entry {
    /// A network of any family, of which nothing was published. Images are prepared as for ImageNet; the other fields can
    /// be set: `Entry { preprocessing, ..Entry::new(name, config) }`.
    pub fn new<F: Family>(name: &'static str, config: impl Fn() -> F + Send + Sync + 'static) -> Self {
        Entry {
            name,
            paper: UNPUBLISHED_PAPER,
            published: UNPUBLISHED,
            preprocessing: Preprocessing::default(),
            weights: NO_WEIGHTS,
            config: Arc::new(move || config().into()),
        }
    }

    /// Its configuration.
    pub fn config(&self) -> ModelConfig {
        (self.config)()
    }
}

pub(super) const NO_WEIGHTS: &str = "none published";
const UNPUBLISHED_PAPER: &str = "not published";
const OWN: &str = "small network of this project for its built-in data";

pub(super) const UNPUBLISHED: Published = Published { params_m: None, gmacs: None, top1: None, remark: "" };

pub(super) fn nano(name: &'static str, config: fn() -> ModelConfig) -> Entry {
    Entry {
        name,
        paper: OWN,
        config: Arc::new(config),
        published: UNPUBLISHED,
        preprocessing: NANO,
        weights: NO_WEIGHTS,
    }
}
