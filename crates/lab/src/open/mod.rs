//! What is at a path, opened as far as it can be read: run folders, folders of them, weights and matrices.
//!
//! A file that does not say which network it is for, or does not fit it, still has weights to show. So [`Subject`] holds
//! what could be read, and [`Fault`]s for the rest; only a file that cannot be read at all is an error.

mod facts;
mod find;
mod load;
mod overview;

pub use facts::{BINS, Facts, merged_kernels, sha256, sparsity_of};
pub use find::{Found, find};
pub use load::{Loaded, eval_transform, masks_beside, read_masks, transform_of};
pub use overview::{Overview, Stamp};

use crate::data::EvalTransform;
use crate::run::{DataConfig, RunFolder};
use crate::{Error, Result};
use candle_core::DType;
use kernelscope::nn::BuildOptions;
use kernelscope::weights::{self, TensorMap};
use kernelscope::zoo::{Network, Preprocessing};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Something that cannot be shown, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What is missing for it, for example `network`.
    pub what: &'static str,
    /// The error's message.
    pub message: String,
}

impl Fault {
    /// A fault from an error.
    pub fn new(what: &'static str, error: impl std::fmt::Display) -> Self {
        Fault { what, message: error.to_string().replace('\n', " ") }
    }
}

/// A set of weights, and as far as it is known the network that they belong to.
#[derive(Clone)]
pub struct Subject {
    /// Name of the network; that of the file if it is not known.
    pub name: String,
    /// The file.
    pub source: PathBuf,
    /// The network, without gradients for its parameters.
    pub network: Option<Arc<Network>>,
    /// The weights by their names.
    pub tensors: TensorMap,
    /// Masks that were saved beside the weights.
    pub masks: Option<TensorMap>,
    /// Preparation of images: the run's or the one stored with the weights, else the registered network's.
    pub transform: EvalTransform,
    /// Data of the run that the weights came from.
    pub data: Option<DataConfig>,
    /// What cannot be shown.
    pub faults: Vec<Fault>,
}

impl Subject {
    /// Reads weights. `model` names the network where the file does not say; `data` is that of the run, if it is one's
    /// checkpoint.
    ///
    /// # Errors
    /// If the file cannot be read as weights at all.
    ///
    /// ```no_run
    /// let subject = kernelscope_lab::open::Subject::open("RepLKNet-31B.pth".as_ref(), Some("replknet-31b"), None)?;
    /// assert!(subject.faults.is_empty(), "{:?}", subject.faults);
    /// # Ok::<(), kernelscope::Error>(())
    /// ```
    pub fn open(path: &Path, model: Option<&str>, data: Option<DataConfig>) -> Result<Self> {
        let checkpoint = weights::load(path)?;
        let mut faults = Vec::new();
        let (only, source) = (checkpoint.check_only(), checkpoint.source.clone());
        let stored = noted(&mut faults, "preprocessing", Preprocessing::of_checkpoint(&checkpoint)).flatten();
        let tensors = checkpoint.tensors.clone();
        let built = Network::from_checkpoint::<&str>(model, checkpoint, &[], BuildOptions::frozen());
        let named = |error: Error| model.map_or(error.to_string(), |model| format!("as {model}: {error}"));
        let network = built.map_err(|error| faults.push(Fault::new("network", named(error)))).ok().map(Arc::new);
        // A network knows the names under which it is saved; downstream files wrap them.
        let tensors = network.as_ref().map_or(tensors, |network| network.params().tensors());
        if network.is_none() {
            noted(&mut faults, "other weights of the file", only);
        }
        let at_first = non_finite(&tensors)?;
        faults.splice(..0, at_first);
        let transform = transform_of(data.as_ref(), stored, network.as_deref());
        let checked = transform.check().map_err(|e| Error::file(path, format!("its preprocessing of images: {e}")));
        let transform = match noted(&mut faults, "images", checked) {
            Some(()) => transform,
            None => EvalTransform::default(),
        };
        let stem = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let masks = masks_beside(path)
            .and_then(|place| noted(&mut faults, "masks", read_masks(&place, &tensors).map(|masks| masks.tensors)));
        Ok(Subject {
            name: network.as_ref().map_or(stem, |network| network.spec().name.clone()),
            source,
            tensors,
            network,
            masks,
            transform,
            data,
            faults,
        })
    }

    /// The checkpoint of a run: that of an epoch, or the newest complete one.
    ///
    /// # Errors
    /// If the run has no such checkpoint, or its weights cannot be read.
    pub fn of_run(run: &RunFolder, epoch: Option<usize>) -> Result<Self> {
        let path = match epoch {
            None => run.latest_checkpoint()?.path,
            Some(epoch) => {
                let found = run.checkpoints()?.into_iter().rfind(|c| c.epoch == epoch);
                found.ok_or_else(|| Error::file(run.root(), format!("has no checkpoint for epoch {epoch}")))?.path
            }
        };
        let (data, fault) = match run.config() {
            Ok(config) => (Some(config.data), None),
            Err(error) => (None, Some(Fault::new("configuration of the run", error))),
        };
        let mut subject = Subject::open(&path, None, data)?;
        subject.faults.extend(fault);
        Ok(subject)
    }
}

/// Notes an error and goes on without the value.
fn noted<T>(faults: &mut Vec<Fault>, what: &'static str, result: Result<T>) -> Option<T> {
    result.map_err(|error| faults.push(Fault::new(what, error))).ok()
}

/// Weights that are not finite: one fault, which names the first and counts them.
fn non_finite(tensors: &TensorMap) -> Result<Vec<Fault>> {
    let (mut first, mut values, mut names) = (None, 0usize, 0usize);
    for (name, tensor) in tensors.iter().filter(|(_, t)| matches!(t.dtype(), DType::F32 | DType::F64)) {
        // One sum tells whether any value is not finite, except where large values overflow it.
        let sum = tensor.to_dtype(DType::F64)?.sum_all()?.to_scalar::<f64>()?;
        if sum.is_finite() {
            continue;
        }
        let all: Vec<f32> = tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        let count = all.iter().filter(|value| !value.is_finite()).count();
        if let (None, Some(index)) = (&first, all.iter().position(|value| !value.is_finite())) {
            let value = all.get(index).copied().unwrap_or(f32::NAN);
            first = Some(format!("{name} is {value} at index {index}"));
        }
        values += count;
        names += usize::from(count > 0);
    }
    let fault = |first| {
        let message = format!("{first}; {values} values of {names} tensors are not finite");
        Fault { what: "what depends on weights that are not finite", message }
    };
    Ok(first.map(fault).into_iter().collect())
}
