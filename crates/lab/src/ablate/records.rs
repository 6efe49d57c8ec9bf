//! What is finished: a record per run, and a summary per variant.

use super::check::{MergeCheck, read_merge};
use super::jobs::{Ablation, Job, State};
use super::settings::text;
use super::stats::{Difference, Spread};
use crate::run::{Row, RowKind, RunFolder, metrics};
use crate::{Error, Result};
use serde::Serialize;

/// What a finished run reached.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Record {
    /// Name of the run.
    pub run: String,
    /// Index of the variant.
    #[serde(skip)]
    pub index: usize,
    /// Label of the variant.
    pub variant: String,
    /// Values of the settings that vary, in the order of [`Grid::varied`](super::Grid::varied).
    #[serde(skip)]
    pub settings: Vec<String>,
    /// Seed.
    pub seed: u64,
    /// Epochs.
    pub epochs: usize,
    /// Share of the validation images classified correctly after the last epoch.
    pub accuracy: f64,
    /// The largest such share of any epoch.
    pub best_accuracy: f64,
    /// The same as `accuracy` with averaged weights, where there are any.
    pub ema_accuracy: Option<f64>,
    /// Validation loss after the last epoch.
    pub loss: f64,
    /// Mean training loss of the last epoch.
    pub train_loss: f64,
    /// Parameters.
    pub parameters: usize,
    /// Multiply-adds for one image.
    pub macs: u64,
    /// Seconds of all training steps, without validation. Runs side by side slow each other down.
    pub seconds: f64,
    /// What merging changes, where it was checked.
    pub merge: Option<MergeCheck>,
}

/// What the runs of a variant reached.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Index of the variant.
    #[serde(skip)]
    pub index: usize,
    /// Label of the variant.
    pub variant: String,
    /// Whether the others are compared with this one.
    pub baseline: bool,
    /// Runs that are not finished.
    pub missing: usize,
    /// Final validation accuracy over the seeds; `None` if no run is finished.
    pub accuracy: Option<Spread>,
    /// Best validation accuracy over the seeds.
    pub best_accuracy: Option<Spread>,
    /// Final validation loss over the seeds.
    pub loss: Option<Spread>,
    /// Difference of the final accuracy to the baseline's; `None` for the baseline.
    pub difference: Option<Difference>,
    /// What the paper has.
    pub published: Option<f64>,
    /// Parameters.
    pub parameters: usize,
    /// Multiply-adds for one image.
    pub macs: u64,
    /// Mean seconds of training.
    pub seconds: Option<f64>,
    /// Largest difference of a logit after merging, of all runs.
    pub merge_difference: Option<f64>,
    /// Mean accuracy after merging.
    pub merged_accuracy: Option<f64>,
    /// Parameters after merging.
    pub merged_parameters: Option<usize>,
}

impl Ablation {
    /// What is finished, in the order of the variants and seeds.
    ///
    /// # Errors
    /// If a run folder is damaged or holds a run with different settings.
    pub fn records(&self) -> Result<Vec<Record>> {
        let mut records = Vec::new();
        for job in &self.jobs {
            if self.state(job)? == State::Finished {
                records.push(self.record(job)?);
            }
        }
        Ok(records)
    }

    fn record(&self, job: &Job) -> Result<Record> {
        let run = RunFolder::open(&self.run_path(job))?;
        let rows = metrics::read_rows(&run.metrics_path())?;
        let epochs: Vec<&Row> = rows.iter().filter(|row| row.kind == RowKind::Epoch).collect();
        let missing = || Error::file(run.metrics_path(), format!("no row of epoch {}", job.config.train.epochs));
        let last = epochs.iter().find(|row| row.epoch == job.config.train.epochs).ok_or_else(missing)?;
        let (Some(accuracy), Some(loss)) = (last.val_accuracy, last.val_loss) else { return Err(missing()) };
        let batch = job.config.train.batch_size.min(run.progress()?.images.max(1)) as f64;
        let steps = |row: &Row| row.step as f64 / row.epoch.max(1) as f64;
        let variant = self.variants.get(job.variant);
        // A table is set field by field, and has no value of its own: the axis has a label for it.
        let label = |name: &str| {
            let (place, axis) = self.grid.axes.iter().enumerate().find(|(_, axis)| axis.key == name)?;
            Some(axis.value_label(*variant?.places.get(place)?))
        };
        let setting = |name: &&str| match variant.and_then(|v| v.settings.get(name)) {
            Some(value) => text(value),
            None => label(name).unwrap_or_default(),
        };
        Ok(Record {
            run: job.name.clone(),
            index: job.variant,
            variant: variant.map(|v| v.label.clone()).unwrap_or_default(),
            settings: self.grid.varied().iter().map(setting).collect(),
            seed: job.seed,
            epochs: job.config.train.epochs,
            accuracy,
            best_accuracy: epochs.iter().filter_map(|row| row.val_accuracy).fold(accuracy, f64::max),
            ema_accuracy: last.ema_accuracy,
            loss,
            train_loss: last.train_loss,
            parameters: job.parameters,
            macs: job.macs,
            seconds: epochs.iter().map(|row| steps(row) * batch / row.images_per_second).sum(),
            merge: self.checks_merging(job).then(|| read_merge(&run)).transpose()?,
        })
    }

    /// A row per variant.
    pub fn summaries(&self, records: &[Record]) -> Vec<Summary> {
        let baseline = self.baseline();
        (0..self.variants.len()).filter_map(|index| self.summary(index, baseline, records)).collect()
    }

    fn summary(&self, index: usize, baseline: usize, records: &[Record]) -> Option<Summary> {
        let variant = self.variants.get(index)?;
        let job = self.jobs.iter().find(|job| job.variant == index)?;
        let of = |index: usize| records.iter().filter(move |record| record.index == index);
        let spread = |value: fn(&Record) -> f64| Spread::of(&of(index).map(value).collect::<Vec<_>>());
        let merges: Vec<MergeCheck> = of(index).filter_map(|record| record.merge).collect();
        let pairs: Vec<(f64, f64)> = of(index)
            .filter_map(|a| of(baseline).find(|b| b.seed == a.seed).map(|b| (a.accuracy, b.accuracy)))
            .collect();
        Some(Summary {
            index,
            variant: variant.label.clone(),
            baseline: index == baseline,
            missing: self.grid.seeds.len() - of(index).count(),
            accuracy: spread(|record| record.accuracy),
            best_accuracy: spread(|record| record.best_accuracy),
            loss: spread(|record| record.loss),
            difference: if index == baseline { None } else { Difference::of(&pairs) },
            published: variant.published,
            parameters: job.parameters,
            macs: job.macs,
            seconds: spread(|record| record.seconds).map(|seconds| seconds.mean),
            merge_difference: merges.iter().map(|merge| merge.max_logit_difference).reduce(f64::max),
            merged_accuracy: Spread::of(&merges.iter().map(|merge| merge.accuracy).collect::<Vec<_>>()).map(|s| s.mean),
            merged_parameters: merges.first().map(|merge| merge.parameters),
        })
    }
}
