//! Finds the weights of a network in a checkpoint: which of several sets of tensors they are, behind which prefix, and in
//! the names of which code base. All who load networks come here.
//!
//! Every set is seen in every way that a [`View`] knows, and every view gets official names ([`Translated`]). What fits
//! the network counts: that is decided by names and shapes, before values are drawn or read again. If nothing fits, the
//! reason that tells most is shown, with the names of the file.

mod values;

use super::names::Translated;
use super::network::Network;
use super::registry::entry;
use super::spec::ModelSpec;
use crate::nn::{BuildOptions, Kind, Params, fits};
use crate::text::short_name;
use crate::weights::views::{self, View};
use crate::weights::{Checkpoint, Entry, File, Mismatch, Rank, TensorInfo, TensorMap, WrongShape, several};
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};
use values::{check_types, complete_counters, not_finite};

/// The network whose weights are looked for.
pub(super) enum Wanted<'a> {
    /// The registered network of this name, or that which the checkpoint shows, with these overrides.
    Described { name: Option<&'a str>, overrides: &'a [&'a str] },
    /// This one, whatever the checkpoint says.
    Exactly(&'a ModelSpec),
}

impl Wanted<'_> {
    /// Its family, if that is known before the tensors are.
    fn family(&self) -> Option<&'static str> {
        match self {
            Wanted::Described { name, .. } => Some(entry((*name)?).ok()?.config().family()),
            Wanted::Exactly(spec) => Some(spec.config.family()),
        }
    }

    /// The network, if these are its tensors.
    fn spec(&self, set: &Translated) -> Result<ModelSpec> {
        match self {
            Wanted::Described { name, overrides } => ModelSpec::described_by(*name, set, overrides),
            Wanted::Exactly(spec) => Ok(ModelSpec::clone(spec)),
        }
    }

    /// What the network that the tensors come from has other settings for, where it has no say.
    fn differences(&self, set: &Translated) -> Result<Vec<String>> {
        let Wanted::Exactly(spec) = self else { return Ok(Vec::new()) };
        let mut differences = Vec::new();
        for setting in set.settings() {
            if ModelSpec::clone(spec).with_overrides(&[&setting])? != **spec {
                differences.push(format!("comes from a network with {setting}, which this one does not have"));
            }
        }
        Ok(differences)
    }
}

/// The network of a checkpoint.
pub(super) fn spec_of(checkpoint: &Checkpoint, wanted: &Wanted<'_>) -> Result<ModelSpec> {
    Ok(Search { checkpoint, wanted, failure: None }.run()?.spec)
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
    pub(super) fn find(checkpoint: Checkpoint, wanted: &Wanted<'_>) -> Result<Self> {
        let Choice { entry, view, spec, params } = Search { checkpoint: &checkpoint, wanted, failure: None }.run()?;
        let averages = averages_beside(&checkpoint, entry);
        let other = entry.and_then(|index| checkpoint.others.get(index));
        let mut checkpoint = match other {
            Some(other) => File::open(&checkpoint.source)?.read(&other.path)?,
            None => checkpoint,
        };
        let names: Vec<String> = checkpoint.tensors.keys().cloned().collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let in_set = view.in_set(&names);
        let tensors = view.of(std::mem::take(&mut checkpoint.tensors));
        let set = checkpoint.renamed(tensors, |name| in_set.of(name));
        let translated = Translated::new(set, wanted.family())?;
        let in_file = |name: &str| in_set.of(&translated.before(name));

        let mut checkpoint = Checkpoint { others: Vec::new(), ..translated.checkpoint().clone() };
        complete_counters(&mut checkpoint.tensors, &params)?;
        check_types(&checkpoint, &params, &in_file)?;
        let mut warnings = Vec::new();
        let unused = view.aside.iter().chain(&view.outside).filter_map(|&index| names.get(index).copied());
        let unused: Vec<&str> = unused.collect();
        if !unused.is_empty() {
            warnings.push(format!("tensors outside of the network are left out: {}", list(&unused)));
        }
        warnings.extend(wanted.differences(&translated)?);
        warnings.extend(spec.unproven(&checkpoint)?);
        warnings.extend(not_finite(&checkpoint.tensors, &params, &in_file)?);
        let source = checkpoint.source.display().to_string();
        Ok(Fitted { spec, checkpoint, notes: Notes { source, warnings, origin: translated.origin(), averages } })
    }
}

/// What is worth knowing of weights that were loaded.
pub(super) struct Notes {
    source: String,
    warnings: Vec<String>,
    origin: Option<String>,
    averages: Option<String>,
}

impl Notes {
    /// Says it. Weights that turn out not to be usable have an error of their own, and nothing else is said of them.
    pub(super) fn say(&self) {
        let source = &self.source;
        self.warnings.iter().for_each(|warning| tracing::warn!("{source}: {warning}"));
        if let Some(origin) = &self.origin {
            tracing::info!("{source}: holds {origin}");
        }
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
    reason: Reason,
}

/// What kind of reason it is: the smaller, the more it tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Reason {
    /// The tensors are certain to be something else, or what was asked for cannot be.
    Refused,
    /// They differ from the network's in so many tensors.
    Differs(usize),
    /// Nothing is known of them.
    Unknown,
}

impl Failure {
    fn refused(error: Error) -> Self {
        let is_unknown = matches!(error, Error::UnknownNetwork { .. });
        Failure { error, reason: if is_unknown { Reason::Unknown } else { Reason::Refused } }
    }

    fn differs(error: impl Into<Error>, tensors: usize) -> Self {
        Failure { error: error.into(), reason: Reason::Differs(tensors) }
    }
}

struct Search<'a> {
    checkpoint: &'a Checkpoint,
    wanted: &'a Wanted<'a>,
    /// That which tells most.
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

    /// Whether one view of a set fits. The failure that tells most is kept.
    fn probe(&mut self, candidate: &Candidate<'_>, names: &[&str], view: View) -> Option<Choice> {
        match self.compare(candidate, names, &view) {
            Ok((spec, params)) => return Some(Choice { entry: candidate.entry, view, spec, params }),
            Err(failure) if self.failure.as_ref().is_none_or(|known| failure.reason < known.reason) => {
                self.failure = Some(failure);
            }
            Err(_) => {}
        }
        None
    }

    /// Compares the tensors of a view with those of the network that they are for.
    fn compare(&self, candidate: &Candidate<'_>, names: &[&str], view: &View) -> Result<(ModelSpec, Params), Failure> {
        let key = key(candidate.path, &view.prefix);
        let file = self.checkpoint.source.display();
        let label = if key.is_empty() { file.to_string() } else { format!("{file} ({})", short_name(&key)) };
        let outside: Vec<&str> = view.outside.iter().filter_map(|&index| names.get(index).copied()).collect();
        let in_set = view.in_set(names);

        let set = self.set(view.of(candidate.tensors.clone()));
        let set = Translated::new(set, self.wanted.family()).map_err(Failure::refused)?;
        if let Some((what, weight)) = set.without_classifier() {
            let missing = short_name(&in_set.of(&set.before(&weight)));
            let message = format!("holds a {what} without a classifier: {missing} is missing");
            return Err(Failure::differs(Error::file(&self.checkpoint.source, message), 1 + outside.len()));
        }
        let spec = self.wanted.spec(&set).map_err(Failure::refused)?;
        let contradiction = spec.check_against(set.checkpoint()).err();
        let built = match Network::build(spec.clone(), BuildOptions::shapes_only()) {
            Ok(network) => network,
            Err(error) => return Err(Failure::differs(contradiction.unwrap_or(error), usize::MAX)),
        };
        let params = built.params();
        let mut mismatch = mismatch(params, &set.checkpoint().tensors, label);
        let differences = mismatch.missing.len() + mismatch.unexpected.len() + mismatch.wrong_shape.len();
        if let Some(error) = contradiction {
            return Err(Failure::differs(error, differences + outside.len()));
        }
        if mismatch.is_empty() {
            let is_ours = |name: &&str| set.official(name).is_some_and(|name| params.get(&name).is_some());
            if !outside.iter().any(is_ours) {
                return Ok((spec, params.clone()));
            }
            // The network is there without the prefix as well.
            mismatch.unexpected.extend(outside.iter().map(|name| name.to_string()));
            return Err(Failure::differs(mismatch, outside.len()));
        }
        let rename = |name: &mut String| *name = in_set.of(&set.before(name));
        mismatch.missing.iter_mut().for_each(rename);
        mismatch.unexpected.iter_mut().for_each(rename);
        mismatch.wrong_shape.iter_mut().for_each(|wrong| rename(&mut wrong.name));
        Err(Failure::differs(mismatch, differences + outside.len()))
    }

    /// A set of tensors with what the checkpoint says of all of them.
    fn set(&self, tensors: TensorMap) -> Checkpoint {
        let Checkpoint { metadata, source, config, .. } = self.checkpoint;
        let (metadata, source, config) = (metadata.clone(), source.clone(), config.clone());
        Checkpoint { tensors, metadata, source, config, ..Checkpoint::default() }
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
