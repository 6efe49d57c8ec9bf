//! Settings by name: a flat list of dotted names with values, from which a run's configuration is made.

use super::fields::{self, Misfit};
use crate::config::{DataConfig, Quickstart, Recipe, RunConfig, TrainConfig};
use crate::data::ShapesTexturesConfig;
use crate::{Error, Result};
use clap::ValueEnum;
use indexmap::IndexMap;
use kernelscope::zoo::ModelSpec;
use serde::{Deserialize, Deserializer, Serialize};
use toml::{Table, Value};

/// What a name may be.
const NAMES: &str = "model, set.FIELD of the network, train.FIELD, or data.FIELD";

/// Settings of a run, by dotted name. Later ones replace earlier ones of the same name.
///
/// | name | value |
/// |---|---|
/// | `model` | a registered network |
/// | `set.FIELD` | a field of its configuration ([`kernelscope::zoo::set_field`]) |
/// | `data.source` | `builtin`, `cifar10:DIR` or `folder:DIR` ([`DataConfig::parse`]); or a table as in a run's `config.toml` |
/// | `data.FIELD`, `train.FIELD` | a field of [`RunConfig`], of any depth: `train.optimizer.weight_decay` |
/// | `train.augment` | `none`, `light` or `imagenet`; or a table as in a run's `config.toml` |
///
/// What is not set has the value that `kernelscope train` gives it, but that a run keeps its newest checkpoint alone.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Settings(IndexMap<String, Value>);

/// The two parts of a [`RunConfig`] that are set by dotted names.
#[derive(Serialize, Deserialize)]
struct Parts {
    train: TrainConfig,
    data: DataConfig,
}

impl Settings {
    /// The recipe of the quickstart for a network of any family, whose own normalization it keeps. The seed is not among
    /// the settings: it is asked for with the configuration.
    ///
    /// ```
    /// use kernelscope_lab::ablate::Settings;
    /// use kernelscope_lab::run::Quickstart;
    /// let recipe = Quickstart { seed: 3, ..Quickstart::default() };
    /// let config = Settings::quickstart("nano-1d", recipe).run_config(3)?;
    /// assert_eq!(config.data, recipe.run_config("nano-1d")?.data);
    /// assert_eq!(config.train.lr, recipe.train().lr);
    /// # Ok::<(), kernelscope::Error>(())
    /// ```
    pub fn quickstart(model: &str, recipe: Quickstart) -> Self {
        let ShapesTexturesConfig { size, train, val, .. } = recipe.images();
        let TrainConfig { epochs, batch_size, lr, warmup_epochs, clip_norm, mix, augment, .. } = recipe.train();
        let count = |number: usize| Value::Integer(number as i64);
        let mut settings = Settings::default();
        for (name, value) in [
            ("model", model.into()),
            ("data.source.kind", "builtin".into()),
            ("data.source.size", count(size)),
            ("data.source.train", count(train)),
            ("data.source.val", count(val)),
            ("data.size", count(size)),
            ("data.crop_pct", 1.0.into()),
            ("train.epochs", count(epochs)),
            ("train.batch_size", count(batch_size)),
            ("train.lr", lr.into()),
            ("train.warmup_epochs", warmup_epochs.into()),
            ("train.clip_norm", clip_norm.into()),
            ("train.mix.smoothing", mix.smoothing.into()),
            ("train.augment.hflip", f64::from(augment.hflip).into()),
        ] {
            settings.set(name, value);
        }
        settings
    }

    /// Sets one value; a table sets every field in it.
    pub fn set(&mut self, name: &str, value: Value) {
        let deeper = format!("{name}.");
        // A table with a kind of its own is a value in itself: fields of another kind would not fit beside it.
        let whole = match &value {
            Value::Table(table) => table.contains_key("kind"),
            _ => true,
        };
        if whole {
            self.0.retain(|other, _| !other.starts_with(&deeper));
        }
        match value {
            Value::Table(table) => {
                if whole {
                    self.0.shift_remove(name);
                }
                for (field, value) in table {
                    self.set(&format!("{deeper}{field}"), value);
                }
            }
            value => drop(self.0.insert(name.to_string(), value)),
        }
    }

    /// Replaces values by those of other settings.
    pub fn extend(&mut self, other: &Settings) {
        for kind in other.names().filter_map(|name| name.strip_suffix("kind")) {
            self.0.retain(|name, _| !name.starts_with(kind) && format!("{name}.") != kind);
        }
        for (name, value) in &other.0 {
            self.set(name, value.clone());
        }
    }

    /// The value of a name, if it is set.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// All names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The configuration of a run with this seed: of weights, order of images and all else random, and, unless
    /// `data.source.seed` is set, of built-in images.
    ///
    /// # Errors
    /// If a name is unknown (the message lists the known ones) or a value does not fit.
    ///
    /// ```
    /// use kernelscope_lab::ablate::Settings;
    /// let mut settings = Settings::default();
    /// settings.set("model", "nano-1d".into());
    /// settings.set("set.kernel", 7.into());
    /// settings.set("train.epochs", 3.into());
    /// let config = settings.run_config(1)?;
    /// assert_eq!((config.train.epochs, config.train.seed), (3, 1));
    /// settings.set("train.epoch", 3.into());
    /// assert!(settings.run_config(1).unwrap_err().to_string().contains("epochs"));
    /// # Ok::<(), kernelscope::Error>(())
    /// ```
    pub fn run_config(&self, seed: u64) -> Result<RunConfig> {
        self.check_names()?;
        let model = self.model()?;
        let recipe = self.recipe()?;
        let (augment, mix) = (recipe.augment(), recipe.mix());
        let train = TrainConfig { seed, keep_checkpoints: 1, augment, mix, ..TrainConfig::default() };
        let data = self.data(&model, seed)?;
        let Parts { train, data } = self.fields(Parts { train, data })?;
        let config = RunConfig { train, data, model };
        config.check()?;
        Ok(config)
    }

    fn check_names(&self) -> Result<()> {
        for name in self.names() {
            let known = match name.split_once('.') {
                None => name == "model",
                Some((first, field)) => ["set", "train", "data"].contains(&first) && !field.is_empty(),
            };
            if !known {
                return Err(Error::argument("setting", format!("\"{name}\""), NAMES));
            }
            if name == "train.seed" {
                return Err(Error::argument("train.seed", "a value", "the list `seeds`, which gives one run per seed"));
            }
            if name == "set.classes" {
                return Err(Error::argument(
                    "set.classes",
                    "a value",
                    "nothing, because the number of classes follows from the data",
                ));
            }
        }
        Ok(())
    }

    fn model(&self) -> Result<ModelSpec> {
        let name = match self.get("model") {
            Some(Value::String(name)) => name,
            Some(other) => return Err(Error::argument("model", other, "the name of a network, as text")),
            None => return Err(Error::argument("model", "nothing", "the name of a network")),
        };
        let mut spec = ModelSpec::named(name)?;
        for (name, value) in &self.0 {
            if let Some(field) = name.strip_prefix("set.") {
                spec.config.set(field, &text(value)).map_err(|e| in_grid(e, &format!("set.{field}")))?;
            }
        }
        Ok(spec)
    }

    /// The recipe that is named; `none` if there is no name.
    fn recipe(&self) -> Result<Recipe> {
        let allowed = "none, light, imagenet, or a table of fields";
        match self.get("train.augment") {
            None => Ok(Recipe::None),
            Some(Value::String(name)) => Recipe::from_str(name, false)
                .map_err(|_| Error::argument("train.augment", format!("\"{name}\""), allowed)),
            Some(other) => Err(Error::argument("train.augment", other, allowed)),
        }
    }

    /// The images, with what follows from their source, their size and the network.
    fn data(&self, model: &ModelSpec, seed: u64) -> Result<DataConfig> {
        let size = match self.get("data.size").unwrap_or(&Value::Integer(DataConfig::DEFAULT_SIZE as i64)) {
            Value::Integer(size) if *size > 0 => *size as usize,
            other => return Err(Error::argument("data.size", other, "a number of pixels")),
        };
        let part = |name: &str| self.get(name).map(text);
        let source = match (self.get("data.source"), part("data.source.kind")) {
            (Some(Value::String(source)), _) => source.clone(),
            (Some(other), _) => {
                return Err(Error::argument("data.source", other, "builtin, cifar10:DIR, folder:DIR, or a table"));
            }
            (None, None) => "builtin".to_string(),
            (None, Some(kind)) => match part("data.source.path") {
                Some(path) => format!("{kind}:{path}"),
                None => kind,
            },
        };
        DataConfig::parse(&source, size, seed, &model.preprocessing()).map_err(|e| in_grid(e, "data.source"))
    }

    /// The dotted names below `train` and `data`, but for those whose text stands for more.
    fn field_names(&self) -> impl Iterator<Item = (&str, &Value)> {
        let fields = self.0.iter().map(|(name, value)| (name.as_str(), value));
        fields.filter(|(name, _)| name.starts_with("train.") || name.starts_with("data.")).filter(|(name, value)| {
            let stands_for_more = ["data.source", "train.augment"].contains(name);
            !(stands_for_more && value.is_str())
        })
    }

    fn fields(&self, parts: Parts) -> Result<Parts> {
        let as_table = |parts: &Parts| {
            Table::try_from(parts).map_err(|e| Error::argument("config", e, "values that TOML can represent"))
        };
        let before = as_table(&parts)?;
        let mut table = before.clone();
        for (name, value) in self.field_names() {
            put(&mut table, name, value.clone());
        }
        let parts = match fields::read(table) {
            Ok(parts) => parts,
            Err(fault) => {
                // The fault has no name: each setting alone tells which one it is.
                let guilty = self.field_names().find_map(|(name, value)| {
                    let mut alone = before.clone();
                    put(&mut alone, name, value.clone());
                    Some((name, value, fields::read::<Parts>(alone).err()?))
                });
                return Err(match guilty {
                    Some((name, value, fault)) => misfit(name, value, fault),
                    None => {
                        let given = "fields that do not go together";
                        Error::argument("settings of train and data", given, fault.to_string())
                    }
                });
            }
        };
        let after = as_table(&parts)?;
        for (name, _) in self.field_names() {
            if let Err(known) = find(&after, name) {
                return Err(unknown(name, known));
            }
        }
        Ok(parts)
    }
}

/// Puts a value into nested tables.
fn put(table: &mut Table, name: &str, value: Value) {
    match name.split_once('.') {
        None => drop(table.insert(name.to_string(), value)),
        Some((first, rest)) => {
            let inner = table.entry(first).or_insert_with(|| Value::Table(Table::new()));
            if !inner.is_table() {
                *inner = Value::Table(Table::new());
            }
            if let Some(inner) = inner.as_table_mut() {
                put(inner, rest, value);
            }
        }
    }
}

/// Finds out whether nested tables have a field; otherwise names those beside it.
fn find(table: &Table, name: &str) -> std::result::Result<(), Vec<String>> {
    let (first, rest) = name.split_once('.').map_or((name, None), |(first, rest)| (first, Some(rest)));
    match (table.get(first), rest) {
        (Some(Value::Table(inner)), Some(rest)) => find(inner, rest),
        (Some(_), None) => Ok(()),
        _ => Err(table.keys().cloned().collect()),
    }
}

/// A field that does not exist.
fn unknown(name: &str, known: Vec<String>) -> Error {
    Error::Unknown { what: "setting".into(), name: name.to_string(), known }
}

/// A field that does not exist, or a value that does not fit.
fn misfit(name: &str, value: &Value, fault: Misfit) -> Error {
    match fault {
        Misfit::Unknown(known) => unknown(name, known),
        Misfit::Value(message) => Error::argument(name, value, message),
    }
}

/// The error about one value under the name that the value has in a grid.
fn in_grid(error: Error, name: &str) -> Error {
    match error {
        Error::Argument { given, allowed, .. } => Error::argument(name, given, allowed),
        Error::Unknown { known, .. } => unknown(name, known),
        other => other,
    }
}

/// A value as [`kernelscope::zoo::set_field`] takes it, and as labels show it.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// How settings are written: a name and three tables.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Written {
    pub(super) model: Option<String>,
    #[serde(default)]
    pub(super) set: Table,
    #[serde(default)]
    pub(super) train: Table,
    #[serde(default)]
    pub(super) data: Table,
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
