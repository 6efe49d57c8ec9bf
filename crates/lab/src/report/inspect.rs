//! All analyses of one network.

use super::{ErfInputs, Stimuli};
use crate::run::{DataConfig, RunFolder};
use crate::save;
use crate::{Error, Result};
use kernelscope::analysis::cost::{CostReport, costs};
use kernelscope::analysis::erf::{self, Erf, Probe};
use kernelscope::analysis::kernels::kernel_layers;
use kernelscope::analysis::orientation::orientations;
use kernelscope::analysis::report::{AreaRatio, ErfMap, KernelLayer, LayerOrientation, ShapeBiasReport};
use kernelscope::zoo::Network;
use std::sync::atomic::{AtomicBool, Ordering};

/// How much is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InspectOptions {
    /// Images averaged in the receptive field.
    pub erf_images: usize,
    /// Side of those images in pixels: larger than in training, so that the center of the last feature map is near the
    /// center of the image.
    pub erf_size: usize,
    /// Cue-conflict images.
    pub conflict_images: usize,
}

impl Default for InspectOptions {
    fn default() -> Self {
        InspectOptions { erf_images: 16, erf_size: 256, conflict_images: 448 }
    }
}

/// What one network is and what it learned.
#[derive(Debug, Clone, PartialEq)]
pub struct Inspection {
    /// Costs at the size of training.
    pub costs: CostReport,
    /// Effective receptive field of the last stage.
    pub erf: ErfMap,
    /// Its area ratios at the published thresholds.
    pub areas: Vec<AreaRatio>,
    /// Depthwise kernels.
    pub kernels: Vec<KernelLayer>,
    /// Their orientations.
    pub orientations: Vec<LayerOrientation>,
    /// Shape bias on the built-in cue-conflict images, for networks trained on the built-in set.
    pub shape_bias: Option<ShapeBiasReport>,
}

/// Runs every analysis on a network, best built without gradients for its parameters.
///
/// # Errors
/// If an image cannot be read, a value is not finite, or `stop` was set.
pub fn inspect(network: &Network, data: &DataConfig, options: InspectOptions, stop: &AtomicBool) -> Result<Inspection> {
    let check = || if stop.load(Ordering::Relaxed) { Err(Error::interrupted()) } else { Ok(()) };
    let kernels = kernel_layers(&network.params().tensors())?;
    let erf = receptive_field(network, data, options, stop)?;
    check()?;
    Ok(Inspection {
        costs: costs(network, data.size, data.size)?,
        areas: erf::area_ratios(&erf, &erf::THRESHOLDS),
        erf,
        orientations: kernels.iter().map(orientations).collect(),
        kernels,
        shape_bias: builtin_shape_bias(network, data, options.conflict_images)?,
    })
}

/// The effective receptive field of the last stage over built-in images, or validation images of another source.
///
/// # Errors
/// As [`inspect`].
pub fn receptive_field(
    network: &Network,
    data: &DataConfig,
    options: InspectOptions,
    stop: &AtomicBool,
) -> Result<ErfMap> {
    let mut erf = Erf::new(network, Probe::default());
    let images = ErfInputs::of_data(data, options.erf_size, options.erf_images)?;
    for index in 0..images.len() {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::interrupted());
        }
        erf.add(&images.tensor(&images.image(index)?)?)?;
    }
    erf.map()
}

/// Shape bias on the cue-conflict images that belong to the built-in set; `None` for other data.
///
/// # Errors
/// If an image does not fit the network, or a value is not finite.
pub fn builtin_shape_bias(network: &Network, data: &DataConfig, images: usize) -> Result<Option<ShapeBiasReport>> {
    let Some(stimuli) = Stimuli::builtin(data, images)? else { return Ok(None) };
    let answered = (0..stimuli.len()).map(|index| stimuli.answer(network, index)).collect::<Result<Vec<_>>>()?;
    Ok(Some(stimuli.report(&network.spec().name, &answered)))
}

impl Inspection {
    /// Writes the results into a run's `analysis` folder.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn save(&self, run: &RunFolder) -> Result<()> {
        let dir = run.analysis_dir();
        std::fs::create_dir_all(&dir).map_err(Error::io("create", &dir))?;
        save::erf(&dir.join("erf"), &self.erf, &self.areas)?;
        save::orientations(&dir.join("orientations.csv"), &self.orientations)?;
        save::costs(&dir.join("costs.csv"), &self.costs)?;
        match &self.shape_bias {
            Some(report) => save::shape_bias(&dir.join("shape_bias.csv"), report),
            None => Ok(()),
        }
    }
}
