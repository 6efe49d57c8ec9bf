//! Tables: as HTML in the colors of the page around, and as text.

use super::Shown;
use kernelscope_lab::ablate::Summary;
use maud::{Markup, html};

/// A table; the first column is text, the others are numbers or short texts, set to the right.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    /// What stands above it.
    pub title: String,
    /// Names of the columns.
    pub header: Vec<String>,
    /// The rows.
    pub rows: Vec<Vec<String>>,
}

/// Longer tables are cut in the middle.
const MOST_ROWS: usize = 400;
const CELL: &str = "padding:2px 10px;border:none;border-bottom:1px solid rgba(128,128,128,.3);white-space:nowrap";

impl Table {
    /// A table with these columns.
    pub fn new(title: impl Into<String>, header: &[&str]) -> Self {
        Table { title: title.into(), header: header.iter().map(|h| h.to_string()).collect(), rows: Vec::new() }
    }

    /// As HTML and text.
    pub fn shown(&self) -> Shown {
        Shown::html(self.html().into_string(), self.text())
    }

    /// As HTML.
    pub fn html(&self) -> Markup {
        let (first, last) = self.ends();
        html! {
            div style="overflow-x:auto" {
                @if !self.title.is_empty() { div style="font-weight:600;margin:4px 0" { (self.title) } }
                table style="border-collapse:collapse;font-variant-numeric:tabular-nums;margin:0" {
                    thead { tr { @for (i, name) in self.header.iter().enumerate() { th style=(style(i)) { (name) } } } }
                    tbody {
                        @for row in first { (cells(row)) }
                        @if !last.is_empty() {
                            tr { td style=(style(0)) { (format!("… {} more …", self.rows.len() - first.len() - last.len())) } }
                        }
                        @for row in last { (cells(row)) }
                    }
                }
            }
        }
    }

    fn ends(&self) -> (&[Vec<String>], &[Vec<String>]) {
        if self.rows.len() <= MOST_ROWS {
            return (&self.rows, &[]);
        }
        (&self.rows[..MOST_ROWS / 2], &self.rows[self.rows.len() - MOST_ROWS / 2..])
    }

    /// As text in columns.
    pub fn text(&self) -> String {
        let columns = self.header.len();
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column)).chain(self.header.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let line = |row: &[String]| {
            let cells =
                row.iter().zip(&widths).enumerate().map(|(i, (cell, &width))| {
                    if i == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
                });
            cells.collect::<Vec<_>>().join("  ").trim_end().to_string()
        };
        let (first, last) = self.ends();
        let mut lines = Vec::new();
        lines.extend(Some(self.title.clone()).filter(|title| !title.is_empty()));
        lines.push(line(&self.header));
        lines.extend(first.iter().map(|row| line(row)));
        lines.extend((!last.is_empty()).then(|| "…".to_string()));
        lines.extend(last.iter().map(|row| line(row)));
        lines.join("\n")
    }
}

fn style(column: usize) -> String {
    format!("{CELL};text-align:{}", if column == 0 { "left" } else { "right" })
}

fn cells(row: &[String]) -> Markup {
    html! { tr { @for (i, cell) in row.iter().enumerate() { td style=(style(i)) { (cell) } } } }
}

/// A progress bar, `share` of it done.
pub(crate) fn bar(share: f64) -> Markup {
    let percent = 100.0 * if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
    html! {
        div style="display:inline-block;width:220px;height:9px;border-radius:5px;background:rgba(128,128,128,.3);overflow:hidden" {
            div style=(format!("width:{percent:.1}%;height:100%;background:#0072b2")) {}
        }
    }
}

/// A number with separators of thousands.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A share as a percentage with one digit; a dash if there is none.
pub(crate) fn percent(share: Option<f64>) -> String {
    share.map_or("–".into(), |share| format!("{:.1} %", 100.0 * share))
}

/// Seconds as people say them.
pub(crate) fn duration(seconds: f64) -> String {
    if !seconds.is_finite() {
        return "–".into();
    }
    match seconds.max(0.0).round() as u64 {
        0..60 => format!("{seconds:.0} s"),
        whole @ 60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        whole => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

/// Accuracies of the variants, with spread and difference to the baseline.
pub(crate) fn summary_table(title: &str, summaries: &[Summary]) -> Table {
    let mut table =
        Table::new(title, &["variant", "runs", "accuracy / %", "difference / points", "parameters", "M multiply-adds"]);
    table.rows = summaries
        .iter()
        .map(|s| {
            let n = s.accuracy.map_or(0, |a| a.n);
            let number = |value: f64| format!("{:.1}", 100.0 * value);
            let spread =
                |mean: String, std: Option<f64>| std.map_or(mean.clone(), |std| format!("{mean} ± {}", number(std)));
            vec![
                s.variant.clone(),
                if s.missing == 0 { n.to_string() } else { format!("{n} of {}", n + s.missing) },
                s.accuracy.map_or("–".into(), |a| spread(number(a.mean), a.std)),
                s.difference
                    .map_or("–".into(), |d| spread(format!("{:+.1}", 100.0 * d.mean).replace('-', "−"), d.margin)),
                grouped(s.parameters as u64),
                format!("{:.2}", s.macs as f64 / 1e6),
            ]
        })
        .collect();
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_in_columns_and_html_escaped() {
        let mut table = Table::new("T", &["layer", "params"]);
        table.rows = vec![vec!["a<b>".into(), "1".into()], vec!["c".into(), "1,000".into()]];
        assert_eq!(table.text(), "T\nlayer  params\na<b>        1\nc       1,000");
        assert!(table.html().into_string().contains("a&lt;b&gt;"));
        table.rows = vec![vec!["x".into(), "1".into()]; 1000];
        assert!(table.html().into_string().contains("… 600 more …"));
    }

    #[test]
    fn numbers_are_readable() {
        assert_eq!([grouped(0), grouped(999), grouped(1234567)], ["0", "999", "1,234,567"]);
        assert_eq!([duration(3.2), duration(75.0), duration(3700.0)], ["3 s", "1 min 15 s", "1 h 01 min"]);
        assert_eq!((percent(Some(0.5)), percent(None)), ("50.0 %".to_string(), "–".to_string()));
    }
}
