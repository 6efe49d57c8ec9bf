//! Settings: everything needed to repeat a run, as one TOML file. Nothing here trains, and only [`RunConfig::read`] and
//! the data sources touch the disk, so that what reads runs and what makes them can both know the settings.

mod data;
mod optimizer;
mod recipe;
mod sparse;
mod text;
mod train;

pub use data::{DataConfig, DataSource, Splits};
pub use optimizer::AdamWConfig;
pub use recipe::{Quickstart, Recipe};
pub use sparse::{Growth, Moments, Prune, SparseConfig, SparseInit, SparseKind};
pub(crate) use text::toml_fault;
pub use train::TrainConfig;

use crate::{Error, Result};
use kernelscope::zoo::ModelSpec;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The whole run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// Training settings.
    pub train: TrainConfig,
    /// Images.
    pub data: DataConfig,
    /// Network.
    pub model: ModelSpec,
}

impl RunConfig {
    /// Checks the ranges of all fields but the network's, which are checked when it is built, and that the network has a
    /// classifier.
    ///
    /// # Errors
    /// The first field out of range, by name.
    pub fn check(&self) -> Result<()> {
        if !self.model.config.has_classifier() {
            return Err(Error::argument("backbone", "true", "false, because training needs a classifier"));
        }
        self.train.check()?;
        self.data.check()
    }

    /// Reads a configuration.
    ///
    /// # Errors
    /// If the file is missing or not a valid configuration.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        toml::from_str(&text).map_err(|e| toml_fault(path, &text, &e))
    }

    /// The configuration as TOML.
    ///
    /// # Errors
    /// If a value cannot be written as TOML.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|e| Error::argument("config", e, "values that TOML can hold"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> RunConfig {
        let model = ModelSpec::named("nano-1d").unwrap();
        let data = DataConfig::parse("builtin", 64, 0, &model.preprocessing()).unwrap();
        RunConfig { train: TrainConfig::default(), data, model }
    }

    #[test]
    fn settings_out_of_range_are_named() {
        assert!(config().check().is_ok());
        type Change = fn(&mut RunConfig);
        let changes: [(&str, Change); 13] = [
            ("max_pixels", |c| c.data.reading.max_pixels = 0),
            ("epochs", |c| c.train.epochs = usize::MAX),
            ("batch size", |c| c.train.batch_size = usize::MAX),
            ("worker threads", |c| c.train.workers = usize::MAX),
            ("seed", |c| c.train.seed = u64::MAX),
            ("checkpoints to keep", |c| c.train.keep_checkpoints = usize::MAX),
            ("warm-up epochs", |c| c.train.warmup_epochs = f64::NAN),
            ("weight decay", |c| c.train.optimizer.weight_decay = f64::NAN),
            ("size", |c| c.data.size = usize::MAX),
            ("crop_pct", |c| c.data.crop_pct = 0.0),
            ("normalize", |c| c.data.normalize.std[1] = 0.0),
            ("size", |c| c.data.source = DataSource::parse("builtin", 31, 0).unwrap()),
            ("seed of the images", |c| c.data.source = DataSource::parse("builtin", 64, u64::MAX).unwrap()),
        ];
        for (name, change) in changes {
            let mut config = config();
            change(&mut config);
            let message = config.check().unwrap_err().to_string();
            assert!(message.starts_with(&format!("{name}: got ")), "{name}: {message}");
        }
    }

    #[test]
    fn a_damaged_file_is_described_by_its_line_and_field() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        let whole = config().to_toml().unwrap();
        for (from, to, parts) in [
            ("\nepochs = 10", "\nepochs = \"ten\"", &["line 2 ", "epochs = \"ten\"", "expected usize"][..]),
            ("\nepochs = 10", "\nepoches = 10", &["line 2 ", "unknown field `epoches`"]),
            ("\ncrop_pct = 1.0", "", &["missing field `crop_pct`"]),
        ] {
            let damaged = whole.replacen(from, to, 1);
            assert_ne!(damaged, whole, "{from:?} is not in {whole}");
            std::fs::write(&path, damaged).unwrap();
            let message = RunConfig::read(&path).unwrap_err().to_string();
            assert!(message.contains("config.toml: ") && !message.contains('\n'), "{message}");
            assert!(parts.iter().all(|part| message.contains(part)), "{message}");
        }
    }
}
