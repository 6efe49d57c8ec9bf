//! A run at one moment of its training.

use super::Fault;
use crate::run::metrics::read_rows;
use crate::run::read_mask_history;
use crate::run::{CheckpointFile, Progress, Row, RunConfig, RunFolder};
use kernelscope::analysis::report::MaskHistory;
use std::path::PathBuf;
use std::time::SystemTime;

/// What tells whether a run has changed on disk: sizes and times of the files that grow. Reading it costs microseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stamp(Vec<(PathBuf, Option<(SystemTime, u64)>)>);

/// A run as it is on disk now; parts that cannot be read are faults.
#[derive(Debug, Clone)]
pub struct Overview {
    /// Name of the folder.
    pub label: String,
    /// The folder.
    pub run: RunFolder,
    /// Configuration, if it can be read.
    pub config: Option<RunConfig>,
    /// Complete epochs.
    pub progress: Progress,
    /// Logged rows.
    pub rows: Vec<Row>,
    /// Masks over training, if the run is sparse.
    pub masks: Option<MaskHistory>,
    /// Checkpoints of complete epochs, oldest first.
    pub checkpoints: Vec<CheckpointFile>,
    /// What cannot be read.
    pub faults: Vec<Fault>,
}

impl Stamp {
    /// The stamp of a run.
    pub fn of(run: &RunFolder) -> Self {
        let files =
            [run.metrics_path(), run.mask_rows_path(), run.state_dir().join("progress.toml"), run.config_path()];
        let state = |path: &PathBuf| {
            let data = std::fs::metadata(path).ok()?;
            Some((data.modified().ok()?, data.len()))
        };
        Stamp(files.into_iter().map(|path| (path.clone(), state(&path))).collect())
    }
}

impl Overview {
    /// Reads a run.
    pub fn read(run: &RunFolder) -> Self {
        let mut faults = Vec::new();
        let name = run.root().file_name().unwrap_or(run.root().as_os_str());
        let label = name.to_string_lossy().into_owned();
        let config = super::noted(&mut faults, "configuration of the run", run.config());
        let progress = super::noted(&mut faults, "progress of the run", run.progress()).unwrap_or_default();
        // A run that has just begun has neither metrics nor masks.
        let exists = |path: &PathBuf| path.exists();
        let rows = Some(run.metrics_path()).filter(exists).map(|path| read_rows(&path));
        let masks = Some(run.mask_rows_path()).filter(exists).map(|path| read_mask_history(&label, &path));
        let rows = rows.and_then(|rows| super::noted(&mut faults, "training curves", rows)).unwrap_or_default();
        let masks = masks.and_then(|masks| super::noted(&mut faults, "masks over training", masks));
        let mut checkpoints = super::noted(&mut faults, "checkpoints", run.checkpoints()).unwrap_or_default();
        checkpoints.retain(|checkpoint| checkpoint.epoch <= progress.epoch);
        Overview { label, run: run.clone(), config, progress, rows, masks, checkpoints, faults }
    }

    /// Whether all epochs are done; `None` if the configuration is not readable.
    pub fn is_complete(&self) -> Option<bool> {
        self.config.as_ref().map(|config| self.progress.epoch >= config.train.epochs)
    }

    /// Epochs with a checkpoint, in order.
    pub fn epochs(&self) -> Vec<usize> {
        let mut epochs: Vec<usize> = self.checkpoints.iter().map(|checkpoint| checkpoint.epoch).collect();
        epochs.dedup();
        epochs
    }
}
