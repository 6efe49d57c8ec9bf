//! Which network a file or a command means: a name and a configuration, and what checkpoints say of themselves.

use super::entry::Preprocessing;
use super::family::ModelConfig;
use super::names::{Registered, Translated};
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

    /// The network of a checkpoint: `name` if given, else what the checkpoint says of itself or what its names and shapes
    /// show ([`names`](super::names)), with sizes taken from the checkpoint's shapes and then the overrides.
    ///
    /// # Errors
    /// If the name is neither given nor shown, the checkpoint is of a network that is not among those here, or an override
    /// does not fit.
    pub fn for_checkpoint<S: AsRef<str>>(name: Option<&str>, checkpoint: &Checkpoint, overrides: &[S]) -> Result<Self> {
        let translated = Translated::new(checkpoint.clone(), ModelSpec::family_of(name).as_deref())?;
        ModelSpec::for_translated(name, &translated, overrides)
    }

    /// The family of a registered network, if it is one.
    pub(super) fn family_of(name: Option<&str>) -> Option<String> {
        entry(name?).ok().map(|entry| entry.config().family().to_string())
    }

    /// As [`ModelSpec::for_checkpoint`], of a checkpoint whose tensors have official names.
    pub(super) fn for_translated<S: AsRef<str>>(
        name: Option<&str>,
        translated: &Translated,
        overrides: &[S],
    ) -> Result<Self> {
        let checkpoint = translated.checkpoint();
        let stored = Stored::of(checkpoint)?;
        let mut spec = match (name, &stored) {
            (Some(name), Some(stored)) if stored.spec.name == name => stored.spec.clone(),
            (Some(name), _) => ModelSpec::named(name)?,
            (None, Some(stored)) => stored.spec.clone(),
            (None, None) => match translated.registered() {
                Registered::Named(name) if entry(name).is_ok() => ModelSpec::named(name)?,
                Registered::Other(what) => {
                    return Err(Error::file(
                        &checkpoint.source,
                        format!("is a {what}, which is not among the networks here"),
                    ));
                }
                _ => return Err(Error::unknown_network(&checkpoint.source)),
            },
        };
        spec.config.adapt(&checkpoint.tensors);
        let spec = spec.with_overrides(&translated.settings())?.with_overrides(overrides)?;
        spec.check_against(stored.as_ref(), checkpoint)?;
        Ok(spec)
    }

    /// Finds out whether the weights of a checkpoint can be those of this network, as far as that shows before the
    /// network is built and in what names and shapes do not tell: index tables. What neither shows is said in a
    /// warning.
    ///
    /// # Errors
    /// If they cannot; the message says what does not fit.
    pub fn check_checkpoint(&self, checkpoint: &Checkpoint) -> Result<()> {
        self.check_against(Stored::of(checkpoint)?.as_ref(), checkpoint)
    }

    /// As [`ModelSpec::check_checkpoint`], of a checkpoint whose tensors have official names. What its network has other
    /// values for is said in a warning, too.
    pub(super) fn check_translated(&self, translated: &Translated) -> Result<()> {
        let checkpoint = translated.checkpoint();
        for setting in translated.settings() {
            if self.clone().with_overrides(&[&setting])? != *self {
                let source = checkpoint.source.display();
                tracing::warn!("{source}: comes from a network with {setting}, which this one does not have");
            }
        }
        self.check_checkpoint(checkpoint)
    }

    fn check_against(&self, stored: Option<&Stored>, checkpoint: &Checkpoint) -> Result<()> {
        let misfit = |reason: String| Error::file(&checkpoint.source, format!("does not fit {}: {reason}", self.name));
        if let Some(reason) = self.config.misfit(&checkpoint.tensors) {
            return Err(misfit(reason));
        }
        let sum = stored.and_then(|stored| stored.checksum.as_ref());
        match (sum, Stored::checksum_of(self)?) {
            (Some(sum), Some(ours)) if *sum != ours => {
                return Err(misfit(format!(
                    "it was trained with index tables whose checksum is {sum}, but the checksum for this configuration \
                     is {ours} (reps differs)"
                )));
            }
            _ => {}
        }
        let known = sum.is_some() || stored.is_some_and(|stored| stored.spec.name == self.name);
        if let Some(assumption) = self.config.assumption().filter(|_| !known) {
            tracing::warn!("{}: {assumption}", checkpoint.source.display());
        }
        Ok(())
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
