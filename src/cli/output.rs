//! Progress and tables.

use crate::train::{EpochReport, Observer, StepReport};
use crate::{Error, Result};
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use std::io::IsTerminal;

/// A table whose first column is text and whose others are numbers.
pub fn table(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().map(Cell::new));
    for row in rows {
        table.add_row(row.into_iter().enumerate().map(|(i, text)| {
            let numeric = i > 0 && text.chars().next().is_none_or(|c| c.is_ascii_digit() || "-+.–".contains(c));
            Cell::new(text).set_alignment(if numeric { CellAlignment::Right } else { CellAlignment::Left })
        }));
    }
    table.to_string()
}

/// Prints a value as JSON.
pub fn print_json(value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(|e| Error::argument("--json", e, "serialisable values"))?;
    println!("{text}");
    Ok(())
}

/// A bar on a terminal; nothing otherwise, where callers print lines.
pub fn bar(length: u64, label: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(length), ProgressDrawTarget::stderr_with_hz(5));
    let style = ProgressStyle::with_template("{prefix:>14} {bar:30} {pos}/{len} [{elapsed_precise}, {eta} left] {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("━╸ "));
    bar.set_prefix(label.to_string());
    bar
}

/// Shows a training run: a bar on a terminal, one line per epoch in any case.
pub struct TrainingBar {
    bar: ProgressBar,
    label: String,
    epochs: usize,
}

impl TrainingBar {
    /// For a run of `steps` steps, `done` of them done.
    pub fn new(label: &str, epochs: usize, steps: usize, done: usize) -> Self {
        let bar = bar(steps as u64, label);
        bar.set_position(done as u64);
        bar.reset_eta();
        TrainingBar { bar, label: label.to_string(), epochs }
    }

    /// Removes the bar.
    pub fn finish(self) {
        self.bar.finish_and_clear();
    }
}

impl Observer for TrainingBar {
    fn step(&mut self, r: &StepReport) {
        self.bar.set_position(r.step as u64);
        self.bar.set_message(format!(
            "epoch {}/{}  loss {:.3}  acc {:.1} %  {:.0} img/s",
            r.epoch,
            self.epochs,
            r.loss,
            100.0 * r.accuracy,
            r.images_per_second
        ));
    }

    fn epoch(&mut self, r: &EpochReport) {
        let ema = r.ema.map(|e| format!("  averaged {:.2} %", 100.0 * e.accuracy)).unwrap_or_default();
        let line = format!(
            "{}  epoch {}/{}  train loss {:.4}  val loss {:.4}  val accuracy {:.2} %{ema}  {:.0} img/s",
            self.label,
            r.epoch,
            self.epochs,
            r.train_loss,
            r.validation.loss,
            100.0 * r.validation.accuracy,
            r.images_per_second
        );
        if std::io::stderr().is_terminal() {
            self.bar.println(line);
        } else {
            eprintln!("{line}");
        }
    }
}

/// A count with thousands separated, as in `28,589,128`.
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
