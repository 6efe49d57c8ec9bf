//! Which network a file or a command means: a name and a configuration, and what checkpoints say of themselves.

use super::entry::Preprocessing;
use super::family::ModelConfig;
use super::loading::Fitted;
use super::registry::entry;
use crate::weights::Checkpoint;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Which network: a registered name and its configuration. Saved with every checkpoint.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelSpec {
    /// Registered name.
    pub name: String,
    /// Configuration, which may differ from the registered one.
    pub config: ModelConfig,
}

/// Key of the network's specification in a checkpoint's metadata.
const SPEC_KEY: &str = "kernelscope.model";

/// A specification as it is stored in a checkpoint.
#[derive(Serialize, Deserialize)]
struct Stored {
    #[serde(flatten)]
    spec: ModelSpec,
    /// See [`Family::checksum`], in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    checksum: Option<String>,
}

impl Stored {
    fn checksum_of(spec: &ModelSpec) -> Result<Option<String>> {
        Ok(spec.config.checksum()?.map(|sum| format!("{sum:016x}")))
    }

    /// What a checkpoint says of itself, if anything, and if this version computes with the same as the one that
    /// stored it.
    fn of(checkpoint: &Checkpoint) -> Result<Option<Self>> {
        let Some(text) = checkpoint.metadata.get(SPEC_KEY) else { return Ok(None) };
        let unreadable = |e: &dyn std::fmt::Display| {
            Error::file(&checkpoint.source, format!("its stored network configuration cannot be read: {e}"))
        };
        let stored = serde_json::from_str::<Stored>(text).map_err(|e| unreadable(&e))?;
        match (&stored.checksum, Stored::checksum_of(&stored.spec).map_err(|e| unreadable(&e))?) {
            (Some(sum), Some(ours)) if *sum != ours => Err(unreadable(&Error::argument(
                "checksum of the index tables",
                sum,
                format!("{ours}, the checksum for its configuration"),
            ))),
            _ => Ok(Some(stored)),
        }
    }
}

impl ModelSpec {
    /// The registered network of this name.
    ///
    /// # Errors
    /// If there is none; the message lists the names.
    pub fn named(name: &str) -> Result<Self> {
        let entry = entry(name)?;
        Ok(ModelSpec { name: entry.name.to_string(), config: entry.config() })
    }

    /// Applies `key=value` overrides in order.
    ///
    /// # Errors
    /// If one is not of that form, names an unknown field or has a value that does not fit.
    pub fn with_overrides<S: AsRef<str>>(mut self, overrides: &[S]) -> Result<Self> {
        for text in overrides {
            let Some((key, value)) = text.as_ref().split_once('=') else {
                return Err(Error::argument("override", format!("\"{}\"", text.as_ref()), "key=value"));
            };
            self.config.set(key.trim(), value.trim())?;
        }
        Ok(self)
    }

    /// The network of a checkpoint: `name` if given, else what the checkpoint says of itself, with sizes taken from
    /// the checkpoint's shapes and then the overrides. Its tensors must have the network's own names;
    /// [`Network::from_checkpoint`](super::Network::from_checkpoint) finds those.
    ///
    /// # Errors
    /// If the name is neither given nor stored, or an override does not fit.
    pub fn for_checkpoint<S: AsRef<str>>(name: Option<&str>, checkpoint: &Checkpoint, overrides: &[S]) -> Result<Self> {
        let spec = ModelSpec::described_by(name, checkpoint, overrides)?;
        spec.check_checkpoint(checkpoint)?;
        Ok(spec)
    }

    /// The same, without finding out whether the weights can be those of the network.
    pub(super) fn described_by<S: AsRef<str>>(
        name: Option<&str>,
        checkpoint: &Checkpoint,
        overrides: &[S],
    ) -> Result<Self> {
        let stored = Stored::of(checkpoint)?;
        let mut spec = match (name, &stored) {
            (Some(name), Some(stored)) if stored.spec.name == name => stored.spec.clone(),
            (Some(name), _) => ModelSpec::named(name)?,
            (None, Some(stored)) => stored.spec.clone(),
            (None, None) => {
                return Err(Error::unknown_network(&checkpoint.source));
            }
        };
        spec.config.adapt(&checkpoint.tensors);
        spec.with_overrides(overrides)
    }

    /// Finds the weights of this network in a checkpoint: which of several sets of tensors they are, and behind which
    /// prefix of names. Warnings say what was left out and what is odd about the values.
    ///
    /// # Errors
    /// If no set fits, or several do and no name says which is meant.
    ///
    /// ```
    /// use kernelscope::nn::BuildOptions;
    /// use kernelscope::weights::{Checkpoint, TensorMap};
    /// use kernelscope::zoo::{ModelSpec, Network};
    /// let network = Network::build(ModelSpec::named("nano-1d")?, BuildOptions::frozen())?;
    /// let wrapped = network.params().tensors().into_iter().map(|(name, value)| (format!("model.{name}"), value));
    /// let checkpoint = Checkpoint { tensors: wrapped.collect(), ..Checkpoint::default() };
    /// let fitted = network.spec().weights_in(checkpoint)?;
    /// assert!(fitted.tensors.contains_key("head.weight"));
    /// # Ok::<(), kernelscope::Error>(())
    /// ```
    pub fn weights_in(&self, checkpoint: Checkpoint) -> Result<Checkpoint> {
        let Fitted { checkpoint, notes, .. } = Fitted::find(checkpoint, &|_| Ok(self.clone()))?;
        notes.say();
        Ok(checkpoint)
    }

    /// Finds out whether the weights of a checkpoint can be those of this network, as far as that shows before the
    /// network is built and in what names and shapes do not tell: index tables. What neither shows is said in a
    /// warning.
    ///
    /// # Errors
    /// If they cannot; the message says what does not fit.
    pub fn check_checkpoint(&self, checkpoint: &Checkpoint) -> Result<()> {
        self.check_against(checkpoint)?;
        if let Some(assumption) = self.unproven(checkpoint)? {
            tracing::warn!("{}: {assumption}", checkpoint.source.display());
        }
        Ok(())
    }

    /// The same, silently.
    pub(super) fn check_against(&self, checkpoint: &Checkpoint) -> Result<()> {
        let misfit = |reason: String| Error::file(&checkpoint.source, format!("does not fit {}: {reason}", self.name));
        if let Some(reason) = self.config.misfit(&checkpoint.tensors) {
            return Err(misfit(reason));
        }
        let stored = Stored::of(checkpoint)?;
        let sum = stored.as_ref().and_then(|stored| stored.checksum.as_ref());
        match (sum, Stored::checksum_of(self)?) {
            (Some(sum), Some(ours)) if *sum != ours => Err(misfit(format!(
                "it was trained with index tables whose checksum is {sum}, but the checksum for this configuration is \
                 {ours} (reps differs)"
            ))),
            _ => Ok(()),
        }
    }

    /// What is assumed of a checkpoint that does not say it, and that its tensors cannot tell.
    pub(super) fn unproven(&self, checkpoint: &Checkpoint) -> Result<Option<String>> {
        let stored = Stored::of(checkpoint)?;
        let known = stored.is_some_and(|stored| stored.checksum.is_some() || stored.spec.name == self.name);
        Ok(self.config.assumption().filter(|_| !known))
    }

    /// Whether a checkpoint says which network it is for.
    pub fn is_stored_in(checkpoint: &Checkpoint) -> bool {
        checkpoint.metadata.contains_key(SPEC_KEY)
    }

    /// The metadata entry that stores this specification in a checkpoint.
    ///
    /// # Errors
    /// If it cannot be serialized.
    pub fn metadata(&self) -> Result<(String, String)> {
        let stored = Stored { spec: self.clone(), checksum: Stored::checksum_of(self)? };
        let text = serde_json::to_string(&stored).map_err(|e| Error::argument("config", e, "serializable values"))?;
        Ok((SPEC_KEY.to_string(), text))
    }

    /// Preprocessing of the registered network (ImageNet's if the name is not registered).
    pub fn preprocessing(&self) -> Preprocessing {
        entry(&self.name).map(|e| e.preprocessing).unwrap_or_default()
    }
}
