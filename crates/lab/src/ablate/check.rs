//! The check `merge`: is the form for inference the same network?

use crate::data::{Loader, LoaderConfig, Transform};
use crate::run::{RunFolder, load_network};
use crate::train::accuracy;
use crate::train::batch;
use crate::{Error, Result};
use candle_core::{DType, Tensor};
use kernelscope::files::write_atomically;
use kernelscope::zoo::{Merge, Network};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What merging changes: logits and accuracy over the validation images of a run, and size.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MergeCheck {
    /// Largest absolute difference of a logit.
    pub max_logit_difference: f64,
    /// Largest absolute logit before merging.
    pub max_logit: f64,
    /// Accuracy of the merged network.
    pub accuracy: f64,
    /// Number of images.
    pub images: usize,
    /// Parameters of the merged network.
    pub parameters: usize,
    /// Its multiply-adds for one image.
    pub macs: u64,
}

/// File of the check in a run folder.
pub(super) fn merge_path(run: &RunFolder) -> PathBuf {
    run.analysis_dir().join("merge.toml")
}

/// Reads the check of a run.
///
/// # Errors
/// If it is missing or damaged.
pub(super) fn read_merge(run: &RunFolder) -> Result<MergeCheck> {
    let path = merge_path(run);
    let text = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
    toml::from_str(&text).map_err(|e| Error::file(&path, e.message().replace('\n', " ")))
}

/// Merges the network of a finished run, compares both forms on all validation images and saves what was found.
///
/// # Errors
/// If the network cannot be merged, its logits are not finite or a file cannot be read or written.
pub(super) fn check_merge(run: &RunFolder) -> Result<MergeCheck> {
    let config = run.config()?;
    let network = load_network(&run.checkpoint_path(config.train.epochs, false))?;
    let merged = for_inference(&network)?;
    let settings = LoaderConfig { batch_size: config.train.batch_size, ..LoaderConfig::default() };
    let loader = Loader::new(config.data.open()?.val, Transform::Eval(config.data.eval_transform()), None, settings)?;
    let (mut difference, mut largest, mut correct, mut images) = (0f64, 0f64, 0, 0);
    for batch in loader.epoch(0) {
        let batch = batch?;
        let x = batch::images(&batch, network.device())?;
        let (before, after) = (network.forward(&x)?, merged.forward(&x)?);
        correct += accuracy(&after, &batch.labels)?;
        images += batch.n;
        for (a, b) in values(&before)?.into_iter().zip(values(&after)?) {
            let apart = (a - b).abs();
            if !apart.is_finite() {
                let (what, place) = ("a difference of logits".into(), run.root().display().to_string());
                return Err(Error::NonFinite { what, value: apart, place });
            }
            difference = difference.max(apart);
            largest = largest.max(a.abs());
        }
    }
    let check = MergeCheck {
        max_logit_difference: difference,
        max_logit: largest,
        accuracy: correct as f64 / images.max(1) as f64,
        images,
        parameters: merged.params().count(),
        macs: merged.trace(config.data.size, config.data.size)?.macs(),
    };
    let text = toml::to_string(&check).map_err(|e| Error::argument("check", e, "values that TOML can represent"))?;
    write_atomically(&merge_path(run), |file| file.write_all(text.as_bytes()))?;
    Ok(check)
}

/// The merged network that goes as far as the family's form for inference.
fn for_inference(network: &Network) -> Result<Network> {
    let target = network.spec().config.for_inference();
    let reaches = |how| network.merged(how).ok().filter(|merged| merged.spec().config == target);
    match reaches(Merge::Kernels).or_else(|| reaches(Merge::Norms)) {
        Some(merged) => Ok(merged),
        None => network.merged(Merge::Kernels),
    }
}

fn values(logits: &Tensor) -> Result<Vec<f64>> {
    Ok(logits.flatten_all()?.to_dtype(DType::F64)?.to_vec1()?)
}
