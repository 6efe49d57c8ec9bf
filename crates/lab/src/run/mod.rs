//! The run folder: what the trainer writes and everybody else reads.
//!
//! ```text
//! RUN/config.toml                       everything needed to repeat the run
//! RUN/metrics.csv                       a row per logged step and per epoch
//! RUN/checkpoints/epoch-0001.safetensors      weights, with the network's configuration and preprocessing inside
//! RUN/checkpoints/epoch-0001-ema.safetensors  averaged weights, where averaging is on
//! RUN/checkpoints/epoch-0001.masks.safetensors  masks of the weights, in sparse training
//! RUN/masks.csv                         a row per layer and update of the masks, in sparse training
//! RUN/state/                            what resuming needs: optimizer moments, and progress.toml, written last
//! RUN/analysis/                         results of analyses
//! RUN/figures/                          pictures
//! RUN/report.html                       one self-contained page
//! ```
//!
//! Every file is written to a temporary name and renamed, but for `metrics.csv` and `masks.csv`, which grow row by row (a
//! row that a crash cut off is left out when reading). `state/progress.toml` names the last complete epoch; whatever
//! is newer is ignored and overwritten when the run resumes.

mod mask_history;
mod masks;
pub mod metrics;

pub use crate::config::{DataConfig, DataSource, Quickstart, Recipe, RunConfig, Splits, TrainConfig};
pub use mask_history::read_mask_history;
pub use masks::{MaskRow, MaskWriter, read_mask_rows};
pub use metrics::{MetricsWriter, Row, RowKind, RowWriter};

use crate::config::toml_fault;
use crate::{Error, Result};
use kernelscope::analysis::report::RunHistory;
use kernelscope::files::write_atomically;
use kernelscope::nn::BuildOptions;
use kernelscope::weights;
use kernelscope::zoo::Network;
use serde::{Deserialize, Serialize};
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

/// How far a run has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Complete epochs.
    pub epoch: usize,
    /// Optimizer steps done by then.
    pub step: usize,
    /// Number of training images; 0 if it was not recorded.
    #[serde(default)]
    pub images: usize,
}

/// One saved set of weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointFile {
    /// Epoch, counted from 1.
    pub epoch: usize,
    /// Whether these are the averaged weights.
    pub ema: bool,
    /// The file.
    pub path: PathBuf,
}

/// The network of a checkpoint that says which one it is, as those of runs do, for analysis: without gradients for its
/// parameters.
///
/// # Errors
/// If the file cannot be read, or its weights do not fit its network.
pub fn load_network(checkpoint: &Path) -> Result<Network> {
    Network::from_checkpoint::<&str>(None, weights::load(checkpoint)?, &[], BuildOptions::frozen())
}

/// A run folder on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFolder {
    root: PathBuf,
}

const CONFIG: &str = "config.toml";
const PROGRESS: &str = "progress.toml";

impl RunFolder {
    /// Makes a new run folder.
    ///
    /// # Errors
    /// If it already contains a run, or cannot be written.
    pub fn create(root: &Path, config: &RunConfig) -> Result<Self> {
        let run = RunFolder { root: root.to_path_buf() };
        if run.config_path().exists() {
            return Err(Error::occupied(root, "a run"));
        }
        // A configuration that cannot be written must not leave folders behind.
        let text = config.to_toml()?;
        for folder in [run.checkpoints_dir(), run.state_dir(), run.analysis_dir(), run.figures_dir()] {
            std::fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
        }
        write_atomically(&run.config_path(), |file| file.write_all(text.as_bytes()))?;
        Ok(run)
    }

    /// Opens an existing run folder.
    ///
    /// # Errors
    /// If it holds no run.
    pub fn open(root: &Path) -> Result<Self> {
        let run = RunFolder { root: root.to_path_buf() };
        if !run.config_path().is_file() {
            return Err(Error::file(root, format!("is not a run folder (no {CONFIG} in it)")));
        }
        Ok(run)
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Path of the configuration.
    pub fn config_path(&self) -> PathBuf {
        self.root.join(CONFIG)
    }

    /// Path of the metrics.
    pub fn metrics_path(&self) -> PathBuf {
        self.root.join("metrics.csv")
    }

    /// Folder of the checkpoints.
    pub fn checkpoints_dir(&self) -> PathBuf {
        self.root.join("checkpoints")
    }

    /// Folder of the state for resuming.
    pub fn state_dir(&self) -> PathBuf {
        self.root.join("state")
    }

    /// Folder of the results of analyses.
    pub fn analysis_dir(&self) -> PathBuf {
        self.root.join("analysis")
    }

    /// Folder of the figures.
    pub fn figures_dir(&self) -> PathBuf {
        self.root.join("figures")
    }

    /// Path of the report.
    pub fn report_path(&self) -> PathBuf {
        self.root.join("report.html")
    }

    /// Path of an epoch's weights.
    pub fn checkpoint_path(&self, epoch: usize, ema: bool) -> PathBuf {
        let suffix = if ema { "-ema" } else { "" };
        self.checkpoints_dir().join(format!("epoch-{epoch:04}{suffix}.safetensors"))
    }

    /// Path of an epoch's masks: one u8 tensor per sparse weight, by its name, 1 where weights are kept. Its shape is the
    /// weight's, or (outputs, 1, 1, 1) for coarse masks.
    pub fn masks_path(&self, epoch: usize) -> PathBuf {
        self.checkpoints_dir().join(format!("epoch-{epoch:04}.masks.safetensors"))
    }

    /// Path of the record of the masks.
    pub fn mask_rows_path(&self) -> PathBuf {
        self.root.join("masks.csv")
    }

    /// Path of what the masks have kept at least once by the end of an epoch; tensors as in [`RunFolder::masks_path`].
    pub fn explored_path(&self, epoch: usize) -> PathBuf {
        self.state_dir().join(format!("explored-{epoch:04}.safetensors"))
    }

    /// Path of an epoch's optimizer moments.
    pub fn moments_path(&self, epoch: usize) -> PathBuf {
        self.state_dir().join(format!("moments-{epoch:04}.safetensors"))
    }

    /// Keeps others from training this run until the value is dropped, or its process ends: two would write the same
    /// files. `None` where the system has no locks on folders; there a run is not guarded.
    ///
    /// # Errors
    /// If another process or trainer holds it.
    pub fn lock(&self) -> Result<Option<File>> {
        let Ok(folder) = File::open(&self.root) else { return Ok(None) };
        match folder.try_lock() {
            Ok(()) => Ok(Some(folder)),
            Err(TryLockError::WouldBlock) => {
                Err(Error::file(&self.root, "is being trained by another process; wait until it has finished"))
            }
            Err(TryLockError::Error(_)) => Ok(None),
        }
    }

    /// Reads the configuration.
    ///
    /// # Errors
    /// If it is missing or damaged.
    pub fn config(&self) -> Result<RunConfig> {
        RunConfig::read(&self.config_path())
    }

    /// How far the run has come; nothing done if it was never saved.
    ///
    /// # Errors
    /// If the file is damaged.
    pub fn progress(&self) -> Result<Progress> {
        let path = self.state_dir().join(PROGRESS);
        if !path.exists() {
            return Ok(Progress::default());
        }
        let text = std::fs::read_to_string(&path).map_err(Error::io("read", &path))?;
        toml::from_str(&text).map_err(|e| toml_fault(&path, &text, &e))
    }

    /// Declares an epoch complete: the last write of a checkpoint.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn set_progress(&self, progress: Progress) -> Result<()> {
        let text =
            toml::to_string(&progress).map_err(|e| Error::argument("progress", e, "values that TOML can represent"))?;
        write_atomically(&self.state_dir().join(PROGRESS), |file| file.write_all(text.as_bytes()))
    }

    /// All saved weights, oldest first.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn checkpoints(&self) -> Result<Vec<CheckpointFile>> {
        let dir = self.checkpoints_dir();
        let mut found = Vec::new();
        for item in std::fs::read_dir(&dir).map_err(Error::io("read", &dir))? {
            let path = item.map_err(Error::io("read", &dir))?.path();
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            let Some(stem) = name.strip_prefix("epoch-").and_then(|n| n.strip_suffix(".safetensors")) else { continue };
            let (number, ema) = match stem.strip_suffix("-ema") {
                Some(number) => (number, true),
                None => (stem, false),
            };
            if let Ok(epoch) = number.parse() {
                found.push(CheckpointFile { epoch, ema, path });
            }
        }
        found.sort_by_key(|c| (c.epoch, c.ema));
        Ok(found)
    }

    /// The newest weights of a complete epoch; the averaged ones if there are any.
    ///
    /// # Errors
    /// If the run has no checkpoint yet.
    pub fn latest_checkpoint(&self) -> Result<CheckpointFile> {
        let complete = self.progress()?.epoch;
        let found = self.checkpoints()?.into_iter().rfind(|c| c.epoch <= complete);
        found.ok_or_else(|| Error::file(&self.root, "has no checkpoint yet"))
    }

    /// The epochs so far.
    ///
    /// # Errors
    /// If the metrics are missing or damaged.
    pub fn history(&self) -> Result<RunHistory> {
        let rows = metrics::read_rows(&self.metrics_path())?;
        Ok(metrics::history(&self.config()?.model.name, &rows))
    }
}
