//! The grid file: what is compared.

use super::compare::Compare;
use super::settings::{Settings, text};
use crate::run::toml_fault;
use crate::{Error, Result};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeSet;
use std::path::Path;
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

/// How settings are written: a name and three tables.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    model: Option<String>,
    #[serde(default)]
    set: Table,
    #[serde(default)]
    train: Table,
    #[serde(default)]
    data: Table,
}

impl From<Written> for Settings {
    fn from(written: Written) -> Self {
        let mut settings = Settings::default();
        if let Some(model) = written.model {
            settings.set("model", Value::String(model));
        }
        for (name, table) in [("set", written.set), ("train", written.train), ("data", written.data)] {
            settings.set(name, Value::Table(table));
        }
        settings
    }
}

impl<'de> Deserialize<'de> for Settings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        Written::deserialize(deserializer).map(Settings::from)
    }
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

    fn check(&self) -> Result<()> {
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
    /// Reads a grid file.
    ///
    /// # Errors
    /// If it is missing, is not TOML, has an unknown field (the message lists the known ones) or describes nothing that
    /// can be trained.
    pub fn read(path: &Path) -> Result<Self> {
        let file = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        let grid: Grid = toml::from_str(&file).map_err(|e| toml_fault(path, &file, &e))?;
        grid.check().map_err(|e| Error::file(path, e))?;
        Ok(grid)
    }

    /// The same from text.
    ///
    /// # Errors
    /// As [`Grid::read`].
    pub fn from_toml(text: &str) -> Result<Self> {
        let grid: Grid =
            toml::from_str(text).map_err(|e| Error::argument("grid", "this text", e.to_string().replace('\n', " ")))?;
        grid.check()?;
        Ok(grid)
    }

    /// Title of tables and figures.
    pub fn title(&self) -> &str {
        if self.title.is_empty() { &self.name } else { &self.title }
    }

    /// Finds out whether it describes something that can be trained.
    ///
    /// # Errors
    /// The first field that is wrong, by name.
    pub fn check(&self) -> Result<()> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        if self.name.is_empty() || !self.name.chars().all(plain) {
            return Err(Error::argument("name", format!("\"{}\"", self.name), "letters, digits, - and _"));
        }
        if self.seeds.is_empty() {
            return Err(Error::argument("seeds", "an empty list", "at least one seed"));
        }
        let most = i64::MAX as u64;
        if let Some(seed) = self.seeds.iter().find(|&&seed| seed > most) {
            return Err(Error::argument("seeds", seed, format!("at most {most}")));
        }
        if self.seeds.iter().collect::<BTreeSet<_>>().len() < self.seeds.len() {
            return Err(Error::argument("seeds", format!("{:?}", self.seeds), "each seed once"));
        }
        self.axes.iter().try_for_each(Axis::check)?;
        self.check_axes()?;
        let variants = self.variants()?;
        self.questions()?;
        match &self.baseline {
            Some(label) if variants.iter().all(|variant| variant.label != *label) => {
                let labels: Vec<_> = variants.into_iter().map(|variant| variant.label).collect();
                Err(Error::argument("baseline", format!("\"{label}\""), labels.join("; ")))
            }
            _ => Ok(()),
        }
    }
}

impl Grid {
    /// Refuses an axis that sets what another axis or a variant sets: one would hide the other, and labels would tell
    /// what was not trained.
    fn check_axes(&self) -> Result<()> {
        let within = |a: &str, b: &str| a == b || a.strip_prefix(b).is_some_and(|rest| rest.starts_with('.'));
        let overlap = |a: &str, b: &str| within(a, b) || within(b, a);
        for (i, axis) in self.axes.iter().enumerate() {
            if let Some(other) = self.axes.iter().take(i).find(|other| overlap(&axis.key, &other.key)) {
                let allowed = format!("a setting that the axis {} does not set", other.key);
                return Err(Error::argument("axis", &axis.key, allowed));
            }
            for entry in &self.entries {
                if let Some(name) = entry.settings.names().find(|name| overlap(&axis.key, name)) {
                    let allowed = format!("settings that no axis sets: the axis {} would replace it", axis.key);
                    return Err(Error::argument(format!("variant \"{}\"", entry.label), name, allowed));
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "name = \"g\"\nseeds = [0, 1]\n";

    fn grid(rest: &str) -> Result<Grid> {
        Grid::from_toml(&format!("{HEAD}[base]\nmodel = \"nano-1d\"\n{rest}"))
    }

    #[test]
    fn a_label_that_is_a_number_makes_an_axis_numeric() {
        let axis = |text: &str| grid(text).unwrap().axes[0].numbers();
        assert_eq!(axis("[[axis]]\nkey = \"set.kernel\"\nvalues = [7, 15]\n"), Some(vec![7.0, 15.0]));
        let named = "[[axis]]\nkey = \"set.kernel\"\nvalues = [7, [15, 15, 7, 7]]\n";
        assert_eq!(axis(named), None);
        assert_eq!(axis(&format!("{named}labels = [\"7\", \"15\"]\n")), Some(vec![7.0, 15.0]));
    }

    #[test]
    fn a_grid_that_describes_nothing_is_refused() {
        for (rest, parts) in [
            ("[[axis]]\nkey = \"set.kernel\"\nvalues = []\n", &["axis set.kernel: values", "at least one"][..]),
            ("[[axis]]\nkey = \"set.kernel\"\nvalues = [7]\nlabels = []\n", &["labels: got 0", "1, one for each"]),
            ("[[variant]]\nlabel = \"a b\"\n[[variant]]\nlabel = \"a-B\"\n", &["\"a-B\" twice"]),
            ("[[variant]]\nlabel = \"?\"\n", &["label of a variant", "\"?\""]),
            ("[[variant]]\nlabel = \"a\"\nkernel = 3\n", &["unknown field `kernel`", "`set`"]),
            ("kernel = 3\n", &["unknown field `kernel`", "`train`"]),
            (
                "[[axis]]\nkey = \"set.kernel\"\nvalues = [7]\n[[axis]]\nkey = \"set.kernel\"\nvalues = [9]\n",
                &["axis: got set.kernel", "the axis set.kernel does not set"],
            ),
            (
                "[[axis]]\nkey = \"train.sparse\"\nvalues = [{}]\n[[axis]]\nkey = \"train.sparse.sparsity\"\nvalues = [0.5]\n",
                &["axis: got train.sparse.sparsity", "the axis train.sparse does not set"],
            ),
            (
                "[[axis]]\nkey = \"set.kernel\"\nvalues = [7]\n[[variant]]\nlabel = \"a\"\nset.kernel = 5\n",
                &["variant \"a\": got set.kernel", "the axis set.kernel would replace it"],
            ),
            ("[[variant]]\nlabel = \"a\\nb\"\n", &["label of a variant", "control characters"]),
        ] {
            let message = grid(rest).unwrap_err().to_string();
            assert!(parts.iter().all(|part| message.contains(part)), "{rest}: {message}");
        }
        let head = |seeds: &str, more: &str| {
            let text = format!("name = \"g\"\nseeds = {seeds}\n{more}[base]\nmodel = \"nano-1d\"\n");
            Grid::from_toml(&text).unwrap_err().to_string()
        };
        assert!(head("[]", "").contains("seeds"));
        assert!(head("[1, 1]", "").contains("each seed once"));
        assert!(head("[1]", "baseline = \"none\"\n").contains("allowed: g"));
        assert!(head("[1]", "check = \"merged\"\n").contains("merge"));
    }
}
