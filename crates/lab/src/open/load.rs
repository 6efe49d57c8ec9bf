//! What belongs to a set of weights: the network, the preparation of its images, its masks.

use crate::data::{ClassNames, EvalTransform, Filter, Normalize};
use crate::run::DataConfig;
use crate::{Error, Result};
use kernelscope::analysis::sparsity::check_masks;
use kernelscope::nn::BuildOptions;
use kernelscope::weights::{self, Checkpoint, TensorMap};
use kernelscope::zoo::{ModelSpec, Network, Preprocessing};
use std::path::{Path, PathBuf};

/// A network that is ready for analysis, and how its images are prepared. Unlike for a [`Subject`](super::Subject),
/// whatever is missing is an error.
pub struct Loaded {
    /// The network, without gradients for its parameters.
    pub network: Network,
    /// Preparation of images, as [`transform_of`] says.
    pub transform: EvalTransform,
    /// Data of the run, if it came from one.
    pub data: Option<DataConfig>,
    /// Names of the classes, as [`ClassNames::of_network`] says.
    pub classes: Option<ClassNames>,
}

impl Loaded {
    /// The network of a checkpoint. `model` names it where the checkpoint does not say; `data` is that of the run, if it
    /// is one's checkpoint.
    ///
    /// # Errors
    /// If the network is not known, the weights do not fit it, or the preparation of images is not allowed.
    pub fn from_checkpoint(
        checkpoint: Checkpoint,
        model: Option<&str>,
        overrides: &[String],
        data: Option<DataConfig>,
    ) -> Result<Self> {
        let stored = Preprocessing::of_checkpoint(&checkpoint)?;
        let names = ClassNames::of_checkpoint(&checkpoint)?;
        let source = checkpoint.source.clone();
        let network = Network::from_checkpoint(model, checkpoint, overrides, BuildOptions::frozen())?;
        let transform = transform_of(data.as_ref(), stored, Some(&network));
        transform.check().map_err(|e| Error::file(source, format!("its preprocessing of images is not valid: {e}")))?;
        let classes = ClassNames::of_network(names, network.spec().config.classes());
        Ok(Loaded { network, transform, data, classes })
    }

    /// A network with random weights: what the architecture alone does.
    ///
    /// # Errors
    /// If its configuration is not allowed.
    pub fn random(spec: ModelSpec, seed: u64) -> Result<Self> {
        let network = Network::build(spec, BuildOptions { seed, ..BuildOptions::frozen() })?;
        let transform = transform_of(None, None, Some(&network));
        let classes = ClassNames::of_network(None, network.spec().config.classes());
        Ok(Loaded { network, transform, data: None, classes })
    }
}

/// How the images of a network are prepared: as in the run that its weights came from, as is stored with the weights, or
/// as the registered network expects.
pub fn transform_of(
    data: Option<&DataConfig>,
    stored: Option<Preprocessing>,
    network: Option<&Network>,
) -> EvalTransform {
    let described = || stored.or_else(|| network.map(|network| network.spec().preprocessing())).unwrap_or_default();
    data.map_or_else(|| eval_transform(&described()), DataConfig::eval_transform)
}

/// The transform of images that is described with a network.
pub fn eval_transform(p: &Preprocessing) -> EvalTransform {
    EvalTransform {
        size: p.size,
        crop_pct: p.crop_pct as f32,
        normalize: Normalize { mean: p.mean, std: p.std },
        filter: Filter::Bicubic,
    }
}

/// The masks that were saved with a checkpoint; averaged weights have those of the others.
pub fn masks_beside(checkpoint: &Path) -> Option<PathBuf> {
    let stem = checkpoint.file_stem()?.to_str()?;
    let place = |stem: &str| checkpoint.with_file_name(format!("{stem}.masks.safetensors"));
    [stem, stem.strip_suffix("-ema").unwrap_or(stem)].map(place).into_iter().find(|path| path.is_file())
}

/// Reads masks, which must be ones of these weights.
///
/// # Errors
/// If the file cannot be read, or its masks do not fit the weights.
pub fn read_masks(path: &Path, tensors: &TensorMap) -> Result<Checkpoint> {
    let masks = weights::load(path)?;
    check_masks(&masks, tensors)?;
    Ok(masks)
}
