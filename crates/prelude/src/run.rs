//! What a trained network can be asked.

use crate::interrupt;
use crate::pictures::Pictures;
use crate::show::tables::{Table, percent};
use crate::show::{Show, Shown, beside};
use kernelscope::analysis::confusion::Confusion;
use kernelscope::analysis::cost::{CostReport, costs};
use kernelscope::analysis::kernels::kernel_layers;
use kernelscope::analysis::orientation::orientations;
use kernelscope::analysis::report::{
    ErfMap, KernelLayer, LayerOrientation, MaskHistory, RunHistory, ShapeBiasReport, SparsityReport,
};
use kernelscope::analysis::sparsity;
use kernelscope::nn::BuildOptions;
use kernelscope::zoo::Network;
use kernelscope::{Error, Result};
use kernelscope_lab::open::{masks_beside, read_masks};
use kernelscope_lab::report::{InspectOptions, Inspection, builtin_shape_bias, inspect, receptive_field};
use kernelscope_lab::run::{RunConfig, RunFolder, load_network, read_mask_history};
use kernelscope_lab::train::Evaluation;
use std::path::{Path, PathBuf};

/// A trained network and its run folder.
pub struct Run {
    /// The folder.
    pub folder: RunFolder,
    /// Its configuration.
    pub config: RunConfig,
    /// Epochs so far.
    pub history: RunHistory,
    /// The network of the newest complete epoch, without gradients; with averaged weights, if there are any.
    pub network: Network,
    /// Whether training was stopped before its end.
    pub stopped: bool,
    checkpoint: PathBuf,
}

/// A run that was trained here or elsewhere.
///
/// # Errors
/// If the folder holds no run, or a run without a complete epoch.
pub fn open_run(folder: &str) -> Result<Run> {
    Run::open(folder.as_ref(), false)
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.shown().plain)
    }
}

impl Run {
    pub(crate) fn open(folder: &Path, stopped: bool) -> Result<Self> {
        let folder = RunFolder::open(folder)?;
        let checkpoint = folder.latest_checkpoint()?.path;
        let network = load_network(&checkpoint)?;
        Ok(Run { config: folder.config()?, history: folder.history()?, network, stopped, checkpoint, folder })
    }

    /// Accuracy on the validation images after the last complete epoch.
    pub fn accuracy(&self) -> f64 {
        self.history.points.iter().rev().find_map(|point| point.val_accuracy).unwrap_or(f64::NAN)
    }

    /// Layers, shapes, parameters and multiply-adds at the size of training.
    ///
    /// # Errors
    /// If the size does not fit, which training would have refused.
    pub fn costs(&self) -> Result<CostReport> {
        costs(&self.network, self.config.data.size, self.config.data.size)
    }

    /// The effective receptive field of the last stage, averaged over images that are larger than those of training.
    ///
    /// # Errors
    /// If an image cannot be read, or the stop button is pressed.
    pub fn erf(&self, images: usize) -> Result<ErfMap> {
        let options = InspectOptions { erf_images: images, ..InspectOptions::default() };
        receptive_field(&self.network, &self.config.data, options, &interrupt::flag())
    }

    /// The depthwise kernels.
    ///
    /// # Errors
    /// If a tensor cannot be read.
    pub fn kernels(&self) -> Result<Vec<KernelLayer>> {
        kernel_layers(&self.network.params().tensors())
    }

    /// The kernels of one layer, by its path.
    ///
    /// # Errors
    /// If there is no such layer; the message lists them.
    pub fn kernel(&self, path: &str) -> Result<KernelLayer> {
        let layers = self.kernels()?;
        let known: Vec<String> = layers.iter().map(|layer| layer.path.clone()).collect();
        let found = layers.into_iter().find(|layer| layer.path == path);
        found.ok_or_else(|| Error::argument("path", format!("\"{path}\""), known.join(", ")))
    }

    /// Orientations of the kernels, as built and as learned.
    ///
    /// # Errors
    /// If a tensor cannot be read.
    pub fn orientations(&self) -> Result<Vec<LayerOrientation>> {
        Ok(self.kernels()?.iter().map(orientations).collect())
    }

    /// Shape bias on cue-conflict images of the built-in set.
    ///
    /// # Errors
    /// If the network was trained on other images.
    pub fn shape_bias(&self, images: usize) -> Result<ShapeBiasReport> {
        let report = builtin_shape_bias(&self.network, &self.config.data, images)?;
        report.ok_or_else(|| {
            Error::argument("data", "images from files", "built-in images, for which there are cue-conflict images")
        })
    }

    /// What is pruned.
    ///
    /// # Errors
    /// If the masks cannot be read.
    pub fn sparsity(&self) -> Result<SparsityReport> {
        let dense = Network::build(self.network.spec().clone(), BuildOptions::shapes_only())?;
        let trace = dense.trace(self.config.data.size, self.config.data.size)?;
        let tensors = self.network.params().tensors();
        let masks = masks_beside(&self.checkpoint).map(|path| read_masks(&path, &tensors)).transpose()?;
        sparsity::sparsity(&self.config.model.name, &tensors, masks.as_ref().map(|m| &m.tensors), Some(&trace))
    }

    /// The masks over training.
    ///
    /// # Errors
    /// If training was dense.
    pub fn masks(&self) -> Result<MaskHistory> {
        read_mask_history(&self.config.model.name, &self.folder.mask_rows_path())
    }

    /// Validation images with labels and answers.
    ///
    /// # Errors
    /// If an image cannot be read.
    pub fn answers(&self, images: usize) -> Result<Pictures> {
        let set = self.config.data.open_val()?;
        crate::pictures::answers(&self.network, &self.config.data, set.as_ref(), images)
    }

    /// Labels against answers over all validation images.
    ///
    /// # Errors
    /// If an image cannot be read.
    pub fn confusion(&self) -> Result<Confusion> {
        let set = self.config.data.open_val()?;
        let answers = crate::pictures::answers(&self.network, &self.config.data, set.as_ref(), set.len())?;
        Confusion::of(set.classes(), answers.pairs())
    }

    /// Loss and accuracy of another network on this run's validation images.
    ///
    /// # Errors
    /// If an image cannot be read or does not fit.
    pub fn evaluate(&self, network: &Network) -> Result<Evaluation> {
        use kernelscope_lab::data::{Loader, LoaderConfig, Transform};
        let transform = Transform::Eval(self.config.data.eval_transform());
        let config = LoaderConfig { shuffle: false, drop_last: false, batch_size: 32, ..LoaderConfig::default() };
        kernelscope_lab::train::evaluate(network, &Loader::new(self.config.data.open_val()?, transform, None, config)?)
    }

    /// All of this at once, saved in the run folder for the other faces.
    ///
    /// # Errors
    /// If an image cannot be read, or a file cannot be written.
    pub fn inspect(&self) -> Result<Inspection> {
        let found = inspect(&self.network, &self.config.data, InspectOptions::default(), &interrupt::flag())?;
        found.save(&self.folder)?;
        Ok(found)
    }
}

impl Show for Run {
    fn shown(&self) -> Shown {
        let state = if self.stopped { "stopped" } else { "trained" };
        let line = format!(
            "{} {state} for {} epochs in {}: {} correct",
            self.config.model.name,
            self.history.points.len(),
            self.folder.root().display(),
            percent(Some(self.accuracy()))
        );
        let table = Table { title: line, ..crate::show::history_table(&self.history) };
        if self.history.points.len() < 2 { table.shown() } else { beside(&[&table.shown(), &self.history]) }
    }
}
