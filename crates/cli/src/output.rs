//! Progress and tables.

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use kernelscope::{Error, Result};
use kernelscope_lab::train::{EpochReport, Observer, StepReport};
use serde::Serialize;
use std::fmt::Display;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// What [`say`] calls its place in errors.
const STDOUT: &str = "standard output";

/// Prints a line on standard output; a failure is an error, where `println!` would panic.
pub fn say(line: impl Display) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(Error::io("write", STDOUT))
}

/// Whether the error is that the reader of standard output has left, as `head` does when it has seen enough.
pub fn reader_left(error: &Error) -> bool {
    matches!(error, Error::Io { path, source, .. }
        if path == Path::new(STDOUT) && source.kind() == std::io::ErrorKind::BrokenPipe)
}

/// Prints a line on standard error. Work goes on where nobody can read it.
pub fn note(line: impl Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// A table whose first column is text and whose others are numbers.
pub fn table(header: &[impl AsRef<str>], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.iter().map(|name| Cell::new(name.as_ref())));
    for row in rows {
        table.add_row(row.into_iter().enumerate().map(|(i, text)| {
            let numeric = i > 0 && text.chars().next().is_none_or(|c| c.is_ascii_digit() || "-+.–".contains(c));
            Cell::new(text).set_alignment(if numeric { CellAlignment::Right } else { CellAlignment::Left })
        }));
    }
    table.to_string()
}

/// The same table in Markdown.
pub fn markdown(header: &[impl AsRef<str>], rows: &[Vec<String>]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let cell = |text: &str| text.replace('|', "\\|").replace(['\n', '\r'], " ");
    let names: Vec<String> = header.iter().map(|name| cell(name.as_ref())).collect();
    let rules: Vec<String> = (0..header.len()).map(|i| if i == 0 { "---" } else { "---:" }.to_string()).collect();
    let mut text = line(&names) + &line(&rules);
    for row in rows {
        text.push_str(&line(&row.iter().map(|value| cell(value)).collect::<Vec<_>>()));
    }
    text
}

/// Prints a value as JSON on standard output.
pub fn print_json(value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(|e| Error::argument("--json", e, "serializable values"))?;
    say(text)
}

/// A measured number with three or more digits.
pub fn digits(value: f64) -> String {
    match value.abs() {
        large if large >= 100.0 => format!("{value:.0}"),
        medium if medium >= 10.0 => format!("{value:.1}"),
        small if small >= 0.1 => format!("{value:.2}"),
        _ => format!("{value:.4}"),
    }
}

/// The same of a number that may be missing.
pub fn number(value: Option<f64>) -> String {
    value.map_or("–".to_string(), digits)
}

/// Time between the lines of [`Progress`].
const PAUSE: Duration = Duration::from_secs(10);

/// Progress over a known number of images: a bar on a terminal, otherwise a line now and then.
pub struct Progress {
    bar: ProgressBar,
    lines: Lines,
}

impl Progress {
    /// For `length` images.
    pub fn new(length: usize, label: &str) -> Self {
        Progress { bar: bar(length as u64, label), lines: Lines::new(length, label, PAUSE) }
    }

    /// Counts `count` more images.
    pub fn inc(&mut self, count: usize) {
        self.bar.inc(count as u64);
        if let Some(line) = self.lines.inc(count)
            && self.bar.is_hidden()
        {
            note(line);
        }
    }

    /// Removes the bar.
    pub fn finish(self) {
        self.bar.finish_and_clear();
    }
}

/// The lines of a [`Progress`] without a terminal.
struct Lines {
    label: String,
    length: usize,
    done: usize,
    started: Instant,
    last: Instant,
    pause: Duration,
}

impl Lines {
    fn new(length: usize, label: &str, pause: Duration) -> Self {
        let now = Instant::now();
        Lines { label: label.to_string(), length, done: 0, started: now, last: now, pause }
    }

    /// The line that is due after `count` more images, if one is.
    fn inc(&mut self, count: usize) -> Option<String> {
        self.done += count;
        if self.last.elapsed() < self.pause {
            return None;
        }
        self.last = Instant::now();
        let seconds = self.started.elapsed().as_secs();
        Some(format!("{}: {} of {} images, {seconds} s", self.label, self.done, self.length))
    }
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
            "epoch {}/{}  loss {:.3}  acc {:.1} %{}  {:.0} img/s",
            r.epoch,
            self.epochs,
            r.loss,
            100.0 * r.accuracy,
            density(r.density),
            r.images_per_second
        ));
    }

    fn epoch(&mut self, r: &EpochReport) {
        let ema = r.ema.map(|e| format!("  averaged {:.2} %", 100.0 * e.accuracy)).unwrap_or_default();
        let line = format!(
            "{}  epoch {}/{}  train loss {:.4}  val loss {:.4}  val accuracy {:.2} %{ema}{}  {:.0} img/s",
            self.label,
            r.epoch,
            self.epochs,
            r.train_loss,
            r.validation.loss,
            100.0 * r.validation.accuracy,
            density(r.density),
            r.images_per_second
        );
        if self.bar.is_hidden() {
            note(line);
        } else {
            self.bar.println(line);
        }
    }
}

/// The part of a progress line on sparse training.
fn density(density: Option<f64>) -> String {
    density.map(|d| format!("  density {:.1} %", 100.0 * d)).unwrap_or_default()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        assert_eq!([1234.5, 56.78, 9.876, 0.1234, 0.012_34].map(digits), ["1234", "56.8", "9.88", "0.12", "0.0123"]);
        assert_eq!((number(None), number(Some(10.0))), ("–".to_string(), "10.0".to_string()));
    }

    #[test]
    fn without_a_terminal_a_line_tells_the_progress_now_and_then() {
        let mut eager = Lines::new(5, "erf", Duration::ZERO);
        assert_eq!(eager.inc(2).unwrap(), "erf: 2 of 5 images, 0 s");
        assert!(eager.inc(3).unwrap().starts_with("erf: 5 of 5 images"));
        let mut patient = Lines::new(5, "erf", Duration::from_secs(3600));
        assert_eq!(patient.inc(5), None);
    }

    #[test]
    fn only_a_reader_who_left_is_no_failure() {
        let broken = |place| Error::io("write", place)(std::io::ErrorKind::BrokenPipe.into());
        assert!(reader_left(&broken(STDOUT)));
        assert!(!reader_left(&broken("result.csv")));
        assert!(!reader_left(&Error::io("write", STDOUT)(std::io::ErrorKind::StorageFull.into())));
    }
}
