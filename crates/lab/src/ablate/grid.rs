//! The grid file: what is compared.

use super::settings::{Settings, Written, text};
use crate::{Error, Result};
use serde::Deserialize;
use toml::{Table, Value};

/// What an ablation compares: a base, what varies, and seeds. Every combination of the values of all axes, for every
/// listed variant if there are any, is trained once per seed.
///
/// ```
/// use kernelscope_lab::ablate::Grid;
/// let grid = Grid::from_toml(r#"
///     name = "kernels"
///     seeds = [0, 1, 2]
///     [base]
///     model = "nano-1d"
///     train.epochs = 4
///     [[axis]]
///     key = "set.kernel"
///     values = [7, 15]
/// "#)?;
/// let labels: Vec<_> = grid.variants()?.into_iter().map(|v| v.label).collect();
/// assert_eq!(labels, ["kernel 7", "kernel 15"]);
/// # Ok::<(), kernelscope::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grid {
    /// Short name; letters, digits, `-` and `_`.
    pub name: String,
    /// Title of tables and figures; the name if it is empty.
    #[serde(default)]
    pub title: String,
    /// The paper and table that it repeats.
    #[serde(default)]
    pub paper: String,
    /// What a reader should know.
    #[serde(default)]
    pub notes: String,
    /// What the published values of the variants are; without it they are not shown.
    #[serde(default)]
    pub published: String,
    /// One run per variant and seed.
    pub seeds: Vec<u64>,
    /// Label of the variant that the others are compared with; the first if left out.
    #[serde(default)]
    pub baseline: Option<String>,
    /// What is checked of every trained network.
    #[serde(default)]
    pub check: Option<Check>,
    /// What all runs have in common.
    pub base: Settings,
    /// What varies by itself.
    #[serde(default, rename = "axis")]
    pub axes: Vec<Axis>,
    /// Settings that vary together.
    #[serde(default, rename = "variant")]
    pub entries: Vec<Entry>,
    /// Differences that the grid is about, beside those to the baseline.
    #[serde(default, rename = "compare")]
    pub comparisons: Vec<Compare>,
}

/// A check of trained networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Check {
    /// Logits and accuracy of the merged form, of networks that have one.
    Merge,
}

/// A setting with several values.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Axis {
    /// Name of the setting: `model`, `set.kernel`, `train.lr`, `data.source.train`, ...
    pub key: String,
    /// Short name in labels and figures; the last part of the key if left out.
    #[serde(default)]
    pub name: Option<String>,
    /// Its values.
    pub values: Vec<Value>,
    /// Their names, where the values are not good ones.
    #[serde(default)]
    pub labels: Option<Vec<String>>,
}

/// A variant that is written out.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(from = "WrittenEntry")]
pub struct Entry {
    /// Its name.
    pub label: String,
    /// What the paper has for it.
    pub published: Option<f64>,
    /// What it changes of the base.
    pub settings: Settings,
}

/// How a variant is written: flat, as a base is.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenEntry {
    label: String,
    published: Option<f64>,
    model: Option<String>,
    #[serde(default)]
    set: Table,
    #[serde(default)]
    train: Table,
    #[serde(default)]
    data: Table,
}

impl From<WrittenEntry> for Entry {
    fn from(entry: WrittenEntry) -> Self {
        let WrittenEntry { label, published, model, set, train, data } = entry;
        Entry { label, published, settings: Written { model, set, train, data }.into() }
    }
}

impl Axis {
    /// Name in labels and figures.
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_else(|| self.key.rsplit('.').next().unwrap_or_default())
    }

    /// Name of one of its values.
    pub fn value_label(&self, place: usize) -> String {
        match (self.labels.as_ref().and_then(|labels| labels.get(place)), self.values.get(place)) {
            (Some(label), _) => label.clone(),
            (None, Some(Value::Array(parts))) => parts.iter().map(text).collect::<Vec<_>>().join("-"),
            (None, value) => value.map(text).unwrap_or_default(),
        }
    }

    /// Its values as numbers, if the labels (or without them the values) all are.
    pub fn numbers(&self) -> Option<Vec<f64>> {
        (0..self.values.len())
            .map(|place| self.value_label(place).parse().ok().filter(|v: &f64| v.is_finite()))
            .collect()
    }

    pub(super) fn check(&self) -> Result<()> {
        let name = |what: &str| format!("axis {}: {what}", self.key);
        if self.values.is_empty() {
            return Err(Error::argument(name("values"), "an empty list", "at least one value"));
        }
        if let Some(labels) = &self.labels
            && labels.len() != self.values.len()
        {
            let allowed = format!("{}, one for each value", self.values.len());
            return Err(Error::argument(name("labels"), labels.len(), allowed));
        }
        Ok(())
    }
}

impl Grid {
    /// Title of tables and figures.
    pub fn title(&self) -> &str {
        if self.title.is_empty() { &self.name } else { &self.title }
    }
}

/// A question: two variants, or the values of an axis.
///
/// ```
/// use kernelscope_lab::ablate::Grid;
/// let grid = Grid::from_toml(r#"
///     name = "kernels"
///     seeds = [0, 1, 2]
///     [base]
///     model = "nano-1d"
///     [[axis]]
///     key = "set.kernel"
///     values = [7, 15, 31]
///     [[compare]]
///     axis = "kernel"
///     with = "15"
/// "#)?;
/// let labels: Vec<_> = grid.questions()?.into_iter().map(|question| question.label).collect();
/// assert_eq!(labels, ["kernel 7 against 15", "kernel 31 against 15"]);
/// # Ok::<(), kernelscope::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compare {
    /// Label of a variant.
    #[serde(default)]
    pub variant: Option<String>,
    /// Name of an axis: each of its values is a question.
    #[serde(default)]
    pub axis: Option<String>,
    /// What that is compared with: the label of another variant, or the name of a value of the axis, the first if left
    /// out.
    #[serde(default)]
    pub with: Option<String>,
}
