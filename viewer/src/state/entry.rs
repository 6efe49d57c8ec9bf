//! One thing that is open, with what is known about it so far.

use super::id::EntryId;
use super::look::{BiasKey, ErfKey};
use kernelscope::analysis::erf::{Measure, Squares};
use kernelscope::analysis::report::{ErfMap, KernelLayer, LayerOrientation, ShapeBiasReport, SparsityReport};
use kernelscope::analysis::tree::Address;
use kernelscope_lab::data::Image;
use kernelscope_lab::open::{Facts, Fault, Found, Overview, Stamp, Subject};
use kernelscope_lab::report::{Answered, Stimuli};
use std::path::Path;
use std::sync::Arc;

/// A receptive field, averaged over the images so far.
#[derive(Clone)]
pub struct ErfResult {
    /// What was asked for.
    pub key: ErfKey,
    /// The mean over the images so far.
    pub map: Arc<ErfMap>,
    /// Centered squares by the log-scaled and by the raw contribution.
    pub squares: Arc<[Squares; 2]>,
    /// The largest contribution.
    pub largest: f32,
    /// Total number of images.
    pub total: usize,
    /// The first image.
    pub image: Arc<Image>,
    /// Which images these are, in a few words.
    pub input: Arc<str>,
    /// Rows and columns of the stage's feature map.
    pub stage_size: (usize, usize),
    /// Identifies the map among all maps; textures are cached under it.
    pub version: u64,
}

impl ErfResult {
    /// A map with its squares.
    pub fn new(
        key: ErfKey,
        map: ErfMap,
        total: usize,
        image: Arc<Image>,
        stage_size: (usize, usize),
        version: u64,
    ) -> Self {
        let squares = Arc::new([Squares::new(&map, Measure::Log), Squares::new(&map, Measure::Raw)]);
        let largest = map.contribution.iter().copied().fold(0.0, f32::max);
        ErfResult { key, map: Arc::new(map), squares, largest, total, image, input: Arc::from(""), stage_size, version }
    }
}

/// The kernels of the form for inference.
pub struct Merged {
    /// Its kernels.
    pub kernels: Vec<KernelLayer>,
    /// Their orientations.
    pub orientations: Vec<LayerOrientation>,
}

/// Answers to cue-conflict images so far.
#[derive(Clone)]
pub struct BiasResult {
    /// The images.
    pub stimuli: Arc<Stimuli>,
    /// Answers, in the order of the images.
    pub answered: Vec<Answered>,
    /// Counts of the answers so far.
    pub report: ShapeBiasReport,
    /// Identifies the result among all results.
    pub version: u64,
}

/// Everything that determines which weights are loaded. A change starts the job that opens them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenKey {
    /// Epoch of a run's checkpoint; `None` for files.
    pub epoch: Option<usize>,
    /// The network that was named for a file.
    pub model: Option<String>,
    /// How often the entry was reloaded.
    pub reloads: u32,
}

/// A run, a file of weights or a matrix.
pub struct Entry {
    /// Its number.
    pub id: EntryId,
    /// What it is.
    pub found: Found,
    /// What it is called: the folder's or the file's name.
    pub label: String,
    /// The network that was named for it.
    pub model: Option<String>,
    /// How often it was reloaded.
    pub reloads: u32,
    /// The run, as it was last read.
    pub overview: Option<Arc<Overview>>,
    /// The state of the run's files when it was read.
    pub stamp: Stamp,
    /// The choice for which weights are loaded or being loaded.
    pub opened: Option<OpenKey>,
    /// The weights.
    pub subject: Option<Arc<Subject>>,
    /// What the weights tell.
    pub facts: Arc<Facts>,
    /// What is pruned, or why this is not known.
    pub sparsity: Option<Result<Arc<SparsityReport>, String>>,
    /// SHA-256 hash of the file.
    pub hash: Option<String>,
    /// Show the kernels of the merged form for inference, or why there are none.
    pub merged: Option<Result<Arc<Merged>, String>>,
    /// Receptive field.
    pub erf: Option<ErfResult>,
    /// The choice for which a receptive field was requested.
    pub erf_wanted: Option<ErfKey>,
    /// Why there is no receptive field.
    pub erf_fault: Option<String>,
    /// Number of stages of the network, known once a receptive field was computed.
    pub stages: Option<usize>,
    /// Shape bias.
    pub bias: Option<BiasResult>,
    /// The choice for which answers were requested.
    pub bias_wanted: Option<BiasKey>,
    /// Why there are no answers.
    pub bias_fault: Option<String>,
    /// Counts changes of the weights; results of earlier generations are stale.
    pub generation: u64,
    /// What could not be read.
    pub faults: Vec<Fault>,
}

impl Entry {
    /// An entry about which nothing is known yet.
    pub fn new(id: EntryId, found: Found, model: Option<String>) -> Self {
        let path = found.path();
        let name = match &found {
            Found::Run(path) => path.file_name(),
            Found::Weights(path) | Found::Matrix(path) => path.file_stem(),
        };
        let label = name.unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        Entry {
            id,
            label,
            found,
            model,
            reloads: 0,
            overview: None,
            stamp: Stamp::default(),
            opened: None,
            subject: None,
            facts: Arc::default(),
            sparsity: None,
            hash: None,
            merged: None,
            erf: None,
            erf_wanted: None,
            erf_fault: None,
            stages: None,
            bias: None,
            bias_wanted: None,
            bias_fault: None,
            generation: 0,
            faults: Vec::new(),
        }
    }

    /// The folder or file.
    pub fn path(&self) -> &Path {
        self.found.path()
    }

    /// Name of the network, if it is known.
    pub fn network_name(&self) -> Option<&str> {
        self.subject.as_ref().filter(|subject| subject.network.is_some()).map(|subject| subject.name.as_str())
    }

    /// Epochs of its checkpoints.
    pub fn epochs(&self) -> Vec<usize> {
        self.overview.as_ref().map(|overview| overview.epochs()).unwrap_or_default()
    }

    /// Addresses of its layers.
    pub fn layers(&self) -> Vec<Address> {
        let leaves = self.facts.tree.iter().flat_map(|tree| tree.leaves());
        leaves.map(|leaf| Address::layer(leaf.path.clone())).collect()
    }

    /// Kernels as stored, or those of the form for inference.
    pub fn kernels(&self, merged: bool) -> &[KernelLayer] {
        match (&self.merged, merged) {
            (Some(Ok(merged)), true) => &merged.kernels,
            _ => &self.facts.kernels,
        }
    }

    /// Orientations of [`Entry::kernels`].
    pub fn orientations(&self, merged: bool) -> &[LayerOrientation] {
        match (&self.merged, merged) {
            (Some(Ok(merged)), true) => &merged.orientations,
            _ => &self.facts.orientations,
        }
    }

    /// All faults: of the run, of the weights and of what was computed from them.
    pub fn all_faults(&self) -> impl Iterator<Item = &Fault> {
        let run = self.overview.iter().flat_map(|overview| &overview.faults);
        let weights = self.subject.iter().flat_map(|subject| &subject.faults);
        self.faults.iter().chain(run).chain(weights).chain(&self.facts.faults)
    }
}
