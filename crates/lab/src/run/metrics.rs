//! `metrics.csv`: one row per logged step and per epoch.

use crate::{Error, Result};
use kernelscope::analysis::report::{HistoryPoint, RunHistory};
use kernelscope::files::write_atomically;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::marker::PhantomData;
use std::path::{Path, PathBuf};

/// What a row reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RowKind {
    /// The mean over the steps since the last logged row.
    Step,
    /// A whole epoch, with validation.
    Epoch,
}

/// One row. All but the last column repeat exactly when the run is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Kind of row.
    pub kind: RowKind,
    /// Epoch, counted from 1.
    pub epoch: usize,
    /// Optimizer steps done.
    pub step: usize,
    /// Learning rate of the last step.
    pub lr: f64,
    /// Mean training loss.
    pub train_loss: f64,
    /// Share of training images classified as their (first) label.
    pub train_accuracy: f64,
    /// Mean norm of the gradient, before clipping.
    pub gradient_norm: f64,
    /// Validation loss.
    pub val_loss: Option<f64>,
    /// Validation accuracy.
    pub val_accuracy: Option<f64>,
    /// Validation accuracy of the averaged weights.
    pub ema_accuracy: Option<f64>,
    /// Training speed.
    pub images_per_second: f64,
}

/// Appends rows to a CSV file that grows while a run goes on.
pub struct RowWriter<R> {
    path: PathBuf,
    writer: csv::Writer<File>,
    rows: PhantomData<R>,
}

/// Appends rows to a run's metrics.
pub type MetricsWriter = RowWriter<Row>;

impl<R: Serialize + DeserializeOwned> RowWriter<R> {
    /// Opens the file for appending, with the rows that `keep` accepts: the others belong to an epoch that was not
    /// finished.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub fn open(path: &Path, keep: impl Fn(&R) -> bool) -> Result<Self> {
        let kept: Vec<R> = if path.exists() { read_table(path)? } else { Vec::new() };
        let kept = kept.into_iter().filter(|row| keep(row));
        write_atomically(path, |file| {
            let mut writer = csv::Writer::from_writer(file);
            for row in kept {
                writer.serialize(row)?;
            }
            writer.flush()
        })?;
        let empty = std::fs::metadata(path).map_err(Error::io("read", path))?.len() == 0;
        let file = OpenOptions::new().append(true).open(path).map_err(Error::io("write", path))?;
        let writer = csv::WriterBuilder::new().has_headers(empty).from_writer(file);
        Ok(RowWriter { path: path.to_path_buf(), writer, rows: PhantomData })
    }

    /// Appends a row and hands it to the operating system at once.
    ///
    /// # Errors
    /// If the disk is full or the file is gone.
    pub fn append(&mut self, row: &R) -> Result<()> {
        self.append_all(std::slice::from_ref(row))
    }

    /// Appends rows and hands them to the operating system together.
    ///
    /// # Errors
    /// If the disk is full or the file is gone.
    pub fn append_all(&mut self, rows: &[R]) -> Result<()> {
        for row in rows {
            self.writer.serialize(row).map_err(|e| Error::file(&self.path, format!("cannot append: {e}")))?;
        }
        self.writer.flush().map_err(Error::io("write", &self.path))
    }
}

/// Reads all complete rows; a last line that was cut off by a crash is left out.
///
/// # Errors
/// If the file cannot be read or a row other than the last is damaged.
pub fn read_rows(path: &Path) -> Result<Vec<Row>> {
    read_table(path)
}

/// [`read_rows`] for rows of any kind.
pub(super) fn read_table<R: DeserializeOwned>(path: &Path) -> Result<Vec<R>> {
    let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
    let complete = &text[..text.rfind('\n').map_or(0, |end| end + 1)];
    csv::Reader::from_reader(complete.as_bytes())
        .deserialize()
        .collect::<std::result::Result<_, _>>()
        .map_err(|e| Error::file(path, e))
}

/// The epochs of a run, for figures.
pub fn history(label: &str, rows: &[Row]) -> RunHistory {
    let points = rows
        .iter()
        .filter(|row| row.kind == RowKind::Epoch)
        .map(|row| HistoryPoint {
            epoch: row.epoch as f64,
            train_loss: row.train_loss,
            val_loss: row.val_loss,
            val_accuracy: row.val_accuracy,
        })
        .collect();
    RunHistory { label: label.to_string(), points }
}
