//! Finds the weights of a network in a checkpoint: which of several sets they are, and behind which prefix.
//!
//! Only what fits the network counts. What fits is decided by names and shapes, before values are drawn or read again.

use super::network::Network;
use super::spec::ModelSpec;
use crate::nn::{BuildOptions, Kind, Param, Params, fits};
use crate::text::short_name;
use crate::weights::keys::unwrap_downstream;
use crate::weights::views::{self, View};
use crate::weights::{Checkpoint, Entry, File, Mismatch, Rank, TensorInfo, TensorMap, WrongShape, several};
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};

/// The network that a set of tensors is for, given its tensors under official names.
pub(super) type SpecOf<'a> = &'a dyn Fn(&Checkpoint) -> Result<ModelSpec>;

/// Gives a set of tensors the official names. This is the place for the names of other code bases, for all who load
/// networks. The tensors may be stand-ins that have a shape but no values, since every set of tensors in a file is tried.
fn official(set: Checkpoint) -> Result<Checkpoint> {
    // Detection and segmentation backbones wrap their oriented layers one level deeper.
    set.renamed(|tensors| Ok(unwrap_downstream(tensors)))
}

/// A network's weights in a checkpoint.
pub(super) struct Fitted {
    pub(super) spec: ModelSpec,
    /// All tensors of the network, and no others, under official names.
    pub(super) checkpoint: Checkpoint,
    pub(super) notes: Notes,
}

impl Fitted {
    /// Finds the weights of a network.
    pub(super) fn find(checkpoint: Checkpoint, spec_of: SpecOf<'_>) -> Result<Self> {
        let Choice { entry, view, spec, params } = Search { checkpoint: &checkpoint, spec_of, failure: None }.run()?;
        let averages = averages_beside(&checkpoint, entry);
        let other = entry.and_then(|index| checkpoint.others.get(index));
        let checkpoint = match other {
            Some(other) => File::open(&checkpoint.source)?.read(&other.path)?,
            None => checkpoint,
        };
        let names: Vec<&str> = checkpoint.tensors.keys().map(String::as_str).collect();
        let unused = view.aside.iter().chain(&view.outside).filter_map(|&index| names.get(index).copied());
        let unused: Vec<&str> = unused.collect();
        let mut warnings = Vec::new();
        if !unused.is_empty() {
            warnings.push(format!("tensors outside of the network are left out: {}", list(&unused)));
        }
        let mut checkpoint = official(checkpoint.renamed(|tensors| Ok(view.of(tensors)))?)?;
        complete_counters(&mut checkpoint.tensors, &params)?;
        check_types(&checkpoint, &params)?;
        warnings.extend(spec.unproven(&checkpoint)?);
        warnings.extend(not_finite(&checkpoint.tensors, &params)?);
        let source = checkpoint.source.display().to_string();
        Ok(Fitted { spec, checkpoint, notes: Notes { source, warnings, averages } })
    }
}

/// What is worth knowing of weights that were loaded.
pub(super) struct Notes {
    source: String,
    warnings: Vec<String>,
    averages: Option<String>,
}

impl Notes {
    /// Says it. Weights that turn out not to be usable have an error of their own, and nothing else is said of them.
    pub(super) fn say(&self) {
        let source = &self.source;
        self.warnings.iter().for_each(|warning| tracing::warn!("{source}: {warning}"));
        if let Some(path) = &self.averages {
            tracing::info!("{source}: the option `key` with {} takes the averaged weights instead", short_name(path));
        }
    }
}

/// A set of tensors that may be the network's.
struct Candidate<'a> {
    /// Which of the other sets it is; `None` for the one that was read.
    entry: Option<usize>,
    path: &'a str,
    /// The tensors, or stand-ins for them.
    tensors: TensorMap,
}

/// The network's weights.
struct Choice {
    entry: Option<usize>,
    view: View,
    spec: ModelSpec,
    params: Params,
}

/// Why tensors are not the network's.
struct Failure {
    error: Error,
    /// In how many tensors they differ.
    differences: usize,
}

impl Failure {
    fn entirely(error: Error) -> Self {
        Failure { error, differences: usize::MAX }
    }
}

struct Search<'a> {
    checkpoint: &'a Checkpoint,
    spec_of: SpecOf<'a>,
    /// That of the tensors that come closest.
    failure: Option<Failure>,
}

impl Search<'_> {
    /// Takes the first set that fits. Of sets without a telling name, only one may fit.
    fn run(mut self) -> Result<Choice> {
        let checkpoint = self.checkpoint;
        let read = (None, checkpoint.entry.as_str());
        let others = checkpoint.others.iter().enumerate().map(|(index, entry)| (Some(index), entry.path.as_str()));
        let mut unnamed = Vec::new();
        for (entry, path) in std::iter::once(read).chain(others) {
            let is_named = Rank::of(path) != Rank::Unnamed;
            if is_named && !unnamed.is_empty() {
                break;
            }
            let tensors = match entry.and_then(|index| checkpoint.others.get(index)) {
                Some(other) => stand_ins(other)?,
                None => checkpoint.tensors.clone(),
            };
            match self.fit(&Candidate { entry, path, tensors })? {
                Some(choice) if is_named => return Ok(choice),
                Some(choice) => unnamed.push((path, choice)),
                None => {}
            }
        }
        let paths: Vec<&str> = unnamed.iter().map(|(path, _)| *path).collect();
        if paths.len() > 1 {
            return Err(several(&checkpoint.source, &paths));
        }
        match (unnamed.pop(), self.failure) {
            (Some((_, choice)), _) => Ok(choice),
            (None, Some(failure)) => Err(failure.error),
            (None, None) => Err(Error::file(&checkpoint.source, "contains no tensors")),
        }
    }

    /// How a set of tensors fits, if it does.
    fn fit(&mut self, candidate: &Candidate<'_>) -> Result<Option<Choice>> {
        let names: Vec<&str> = candidate.tensors.keys().map(String::as_str).collect();
        for view in views::whole(&names) {
            if let Some(choice) = self.probe(candidate, &names, view) {
                return Ok(Some(choice));
            }
        }
        let mut unnamed: Vec<Choice> = Vec::new();
        for view in views::parts(&names) {
            let is_named = view.rank() != Rank::Unnamed;
            // Deeper views of a part are of the same tensors.
            let is_known = |choice: &Choice| choice.view.outside == view.outside;
            if is_named && !unnamed.is_empty() || unnamed.iter().any(is_known) {
                continue;
            }
            match self.probe(candidate, &names, view) {
                Some(choice) if is_named => return Ok(Some(choice)),
                found => unnamed.extend(found),
            }
        }
        let keys: Vec<String> = unnamed.iter().map(|choice| key(candidate.path, &choice.view.prefix)).collect();
        match keys.len() {
            0 | 1 => Ok(unnamed.pop()),
            _ => Err(several(&self.checkpoint.source, &keys.iter().map(String::as_str).collect::<Vec<_>>())),
        }
    }

    /// Whether one view of a set fits. The failure that comes closest is kept.
    fn probe(&mut self, candidate: &Candidate<'_>, names: &[&str], view: View) -> Option<Choice> {
        let outside: Vec<&str> = view.outside.iter().filter_map(|&index| names.get(index).copied()).collect();
        let key = key(candidate.path, &view.prefix);
        let file = self.checkpoint.source.display();
        let label = if key.is_empty() { file.to_string() } else { format!("{file} ({})", short_name(&key)) };
        let failure = match self.compare(view.of(candidate.tensors.clone()), label.clone()) {
            // The network is there without the prefix as well.
            Ok((_, params)) if outside.iter().any(|name| params.get(name).is_some()) => {
                let unexpected = outside.iter().map(|name| name.to_string()).collect();
                let mismatch = Mismatch { source: label, unexpected, ..Mismatch::default() };
                Failure { error: mismatch.into(), differences: 0 }
            }
            Ok((spec, params)) => return Some(Choice { entry: candidate.entry, view, spec, params }),
            Err(failure) => failure,
        };
        let differences = failure.differences.saturating_add(outside.len());
        if self.failure.as_ref().is_none_or(|known| differences < known.differences) {
            self.failure = Some(Failure { differences, ..failure });
        }
        None
    }

    /// Compares tensors with those of the network that they are for.
    fn compare(&self, tensors: TensorMap, label: String) -> Result<(ModelSpec, Params), Failure> {
        let Checkpoint { metadata, source, config, .. } = self.checkpoint;
        let (metadata, source, config) = (metadata.clone(), source.clone(), config.clone());
        let set = Checkpoint { tensors, metadata, source, config, ..Checkpoint::default() };
        let set = official(set).map_err(Failure::entirely)?;
        let spec = (self.spec_of)(&set).map_err(Failure::entirely)?;
        let contradiction = spec.check_against(&set).err();
        let built = match Network::build(spec.clone(), BuildOptions::shapes_only()) {
            Ok(network) => network,
            Err(error) => return Err(Failure::entirely(contradiction.unwrap_or(error))),
        };
        let mismatch = mismatch(built.params(), &set.tensors, label);
        let differences = mismatch.missing.len() + mismatch.unexpected.len() + mismatch.wrong_shape.len();
        match contradiction {
            Some(error) => Err(Failure { error, differences }),
            None if mismatch.is_empty() => Ok((spec, built.params().clone())),
            None => Err(Failure { error: mismatch.into(), differences }),
        }
    }
}

/// What is asked for to get a part of a set: its path and the prefix of its names.
fn key(path: &str, prefix: &str) -> String {
    match (path, prefix) {
        ("", prefix) => prefix.to_owned(),
        (path, "") => path.to_owned(),
        (path, prefix) => format!("{path}.{prefix}"),
    }
}

/// Tensors of the right shapes that take no memory.
fn stand_ins(entry: &Entry) -> Result<TensorMap> {
    let zero = Tensor::zeros((), DType::F32, &Device::Cpu)?;
    let stand_in = |info: &TensorInfo| -> Result<(String, Tensor)> {
        Ok((info.name.clone(), zero.broadcast_as(info.shape.as_slice())?))
    };
    entry.tensors.iter().map(stand_in).collect()
}

/// The differences between a network's parameters and tensors. Counters of batch norms may be missing: old files have
/// none, and nothing is computed from them.
fn mismatch(params: &Params, tensors: &TensorMap, source: String) -> Mismatch {
    let mut mismatch = Mismatch { source, ..Mismatch::default() };
    for (name, param) in params.iter() {
        match tensors.get(name) {
            None if param.kind == Kind::Counter => {}
            None => mismatch.missing.push(name.to_string()),
            Some(tensor) if !fits(tensor.shape(), param.var.shape(), param.kind) => {
                let (expected, found) = (param.var.dims().to_vec(), tensor.dims().to_vec());
                mismatch.wrong_shape.push(WrongShape { name: name.to_string(), expected, found });
            }
            Some(_) => {}
        }
    }
    mismatch.unexpected.extend(tensors.keys().filter(|name| params.get(name).is_none()).cloned());
    mismatch
}

/// Adds the counters of batch norms that are missing.
fn complete_counters(tensors: &mut TensorMap, params: &Params) -> Result<()> {
    let missing = |(name, param): &(&str, &Param)| param.kind == Kind::Counter && !tensors.contains_key(*name);
    let missing: Vec<(&str, _)> = params.iter().filter(missing).collect();
    for (name, param) in missing {
        tensors.insert(name.to_string(), Tensor::zeros(param.var.shape(), DType::F32, &Device::Cpu)?);
    }
    Ok(())
}

/// That all weights are floats: what an integer stands for depends on a scale that is not known.
fn check_types(checkpoint: &Checkpoint, params: &Params) -> Result<()> {
    for (name, _) in params.iter().filter(|(_, param)| param.kind != Kind::Counter) {
        let stored = checkpoint.dtypes.get(name);
        let is_integer = checkpoint.tensors.get(name).is_some_and(|tensor| tensor.dtype().is_int());
        if is_integer || stored.is_some_and(|stored| !stored.is_float()) {
            let found = stored.map_or("an integer type".to_string(), |stored| format!("element type {stored}"));
            return Err(Error::file(
                &checkpoint.source,
                format!(
                    "tensor {} has {found}; weights must be floats, since the scale of integers is not known",
                    short_name(name)
                ),
            ));
        }
    }
    Ok(())
}

/// Names the parameters with values that are not finite.
fn not_finite(tensors: &TensorMap, params: &Params) -> Result<Option<String>> {
    let mut names = Vec::new();
    for (name, _) in params.iter().filter(|(_, param)| param.kind != Kind::Counter) {
        let Some(tensor) = tensors.get(name) else { continue };
        // One sum tells whether any value is not finite, except where large values overflow it.
        let sum = tensor.to_dtype(DType::F32)?.sum_all()?.to_scalar::<f32>()?;
        if !sum.is_finite() {
            let values: Vec<f32> = tensor.flatten_all()?.to_dtype(DType::F32)?.to_vec1()?;
            names.extend(values.iter().any(|value| !value.is_finite()).then_some(name));
        }
    }
    Ok((!names.is_empty()).then(|| format!("values are not finite (NaN or infinite) in: {}", list(&names))))
}

/// The averaged weights beside the set that was chosen, if that has the name of weights themselves.
fn averages_beside(checkpoint: &Checkpoint, chosen: Option<usize>) -> Option<String> {
    let path = match chosen {
        Some(index) => &checkpoint.others.get(index)?.path,
        None => &checkpoint.entry,
    };
    let is_average = |entry: &&Entry| matches!(Rank::of(&entry.path), Rank::Averaged(_));
    let is_usual = matches!(Rank::of(path), Rank::Usual(_));
    is_usual.then(|| checkpoint.others.iter().find(is_average)).flatten().map(|entry| entry.path.clone())
}

/// The first of some names, and how many more there are.
fn list(names: &[&str]) -> String {
    const SHOWN: usize = 5;
    let mut shown: Vec<String> = names.iter().take(SHOWN).map(|name| short_name(name)).collect();
    if names.len() > SHOWN {
        shown.push(format!("... {} more", names.len() - SHOWN));
    }
    shown.join(", ")
}
