//! Tables of what is finished: a row per run, a row per variant, and a row per question.

use super::compare::Comparison;
use super::jobs::Ablation;
use super::records::{Record, Summary};
use crate::Result;
use kernelscope::files::write_atomically;

impl Ablation {
    /// Writes `ablation.csv`, a row per finished run, `summary.csv`, a row per variant, and `comparisons.csv`, a row per
    /// question, if the grid asks any. Accuracies are shares, not percentages; cells without a value are empty.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write_tables(&self, records: &[Record], summaries: &[Summary], comparisons: &[Comparison]) -> Result<()> {
        let mut rows = vec![self.header()];
        rows.extend(records.iter().map(cells));
        self.write_csv("ablation.csv", &rows)?;
        let mut rows = vec![SUMMARY.map(String::from).to_vec()];
        rows.extend(summaries.iter().map(summary_cells));
        self.write_csv("summary.csv", &rows)?;
        if comparisons.is_empty() {
            return Ok(());
        }
        let mut rows = vec![COMPARISON.map(String::from).to_vec()];
        rows.extend(comparisons.iter().map(comparison_cells));
        self.write_csv("comparisons.csv", &rows)
    }

    fn header(&self) -> Vec<String> {
        let own = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
        let mut header = own(&["run", "variant"]);
        header.extend(own(&self.grid.varied()));
        header.extend(own(&RECORD));
        header
    }

    fn write_csv(&self, name: &str, rows: &[Vec<String>]) -> Result<()> {
        write_atomically(&self.dir.join(name), |file| {
            let mut writer = csv::Writer::from_writer(file);
            for row in rows {
                writer.write_record(row)?;
            }
            writer.flush()
        })
    }
}

/// Columns of `ablation.csv` after the settings that vary.
const RECORD: [&str; 15] = [
    "seed",
    "epochs",
    "accuracy",
    "best_accuracy",
    "ema_accuracy",
    "loss",
    "train_loss",
    "parameters",
    "macs",
    "seconds",
    "merge_max_logit_difference",
    "merge_max_logit",
    "merged_accuracy",
    "merged_parameters",
    "merged_macs",
];

fn cells(record: &Record) -> Vec<String> {
    let mut cells = vec![record.run.clone(), record.variant.clone()];
    cells.extend(record.settings.iter().cloned());
    cells.extend([
        record.seed.to_string(),
        record.epochs.to_string(),
        record.accuracy.to_string(),
        record.best_accuracy.to_string(),
        cell(record.ema_accuracy),
        record.loss.to_string(),
        record.train_loss.to_string(),
        record.parameters.to_string(),
        record.macs.to_string(),
        format!("{:.3}", record.seconds),
        cell(record.merge.map(|merge| merge.max_logit_difference)),
        cell(record.merge.map(|merge| merge.max_logit)),
        cell(record.merge.map(|merge| merge.accuracy)),
        cell(record.merge.map(|merge| merge.parameters)),
        cell(record.merge.map(|merge| merge.macs)),
    ]);
    cells
}

/// Columns of `summary.csv`.
const SUMMARY: [&str; 20] = [
    "variant",
    "baseline",
    "n",
    "missing",
    "accuracy_mean",
    "accuracy_std",
    "accuracy_min",
    "accuracy_max",
    "best_accuracy_mean",
    "loss_mean",
    "difference",
    "difference_pairs",
    "difference_standard_error",
    "difference_margin_95",
    "published",
    "parameters",
    "macs",
    "seconds_mean",
    "merge_max_logit_difference",
    "merged_accuracy_mean",
];

fn summary_cells(summary: &Summary) -> Vec<String> {
    let (accuracy, difference) = (summary.accuracy, summary.difference);
    vec![
        summary.variant.clone(),
        summary.baseline.to_string(),
        accuracy.map_or(0, |a| a.n).to_string(),
        summary.missing.to_string(),
        cell(accuracy.map(|a| a.mean)),
        cell(accuracy.and_then(|a| a.std)),
        cell(accuracy.map(|a| a.min)),
        cell(accuracy.map(|a| a.max)),
        cell(summary.best_accuracy.map(|a| a.mean)),
        cell(summary.loss.map(|a| a.mean)),
        cell(difference.map(|d| d.mean)),
        cell(difference.map(|d| d.pairs)),
        cell(difference.and_then(|d| d.standard_error)),
        cell(difference.and_then(|d| d.margin)),
        cell(summary.published),
        summary.parameters.to_string(),
        summary.macs.to_string(),
        cell(summary.seconds.map(|seconds| format!("{seconds:.3}"))),
        cell(summary.merge_difference),
        cell(summary.merged_accuracy),
    ]
}

/// Columns of `comparisons.csv`.
const COMPARISON: [&str; 6] =
    ["comparison", "variant_pairs", "seeds", "difference", "difference_standard_error", "difference_margin_95"];

fn comparison_cells(comparison: &Comparison) -> Vec<String> {
    let difference = comparison.difference;
    vec![
        comparison.comparison.clone(),
        comparison.variants.to_string(),
        difference.map_or(0, |d| d.pairs).to_string(),
        cell(difference.map(|d| d.mean)),
        cell(difference.and_then(|d| d.standard_error)),
        cell(difference.and_then(|d| d.margin)),
    ]
}

/// A value, or an empty cell.
fn cell(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}
