//! The papers' tables of costs, computed: ours beside theirs, and a reason for every difference.
//!
//! Only counts are compared: parameters, multiply-adds (which the papers print as FLOPs), channels, groups. A figure
//! that was published but is not known to us is left open.

mod oriented;
mod replknet;
mod shift_wise;

pub use shift_wise::ShiftWise;

use crate::{Error, Result};
use serde::Serialize;

/// Names of the tables, as [`table`] takes them.
pub const NAMES: [&str; 4] = ["shift-wise-equations", "shift-wise-4", "oriented-1d-1", "replknet-5"];

/// The table of this name.
///
/// # Errors
/// If there is none; the message lists the names.
///
/// ```
/// let table = kernelscope::analysis::cost::tables::table("shift-wise-4")?;
/// assert!(table.rows[0].figures.iter().all(|figure| figure.published.is_some()));
/// assert!(kernelscope::analysis::cost::tables::table("shift-wise-40").is_err());
/// # Ok::<(), kernelscope::Error>(())
/// ```
pub fn table(name: &str) -> Result<CostTable> {
    match name {
        "shift-wise-equations" => shift_wise::equations(),
        "shift-wise-4" => shift_wise::table_4(),
        "oriented-1d-1" => oriented::table_1(),
        "replknet-5" => replknet::table_5(),
        _ => {
            let known = NAMES.map(String::from).into();
            Err(Error::Unknown { what: "table".into(), name: name.to_string(), known })
        }
    }
}

/// The unit in which a column is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// Single things.
    One,
    /// 10^3.
    Thousand,
    /// 10^6.
    Million,
    /// 10^9.
    Billion,
}

impl Unit {
    /// Single things in one of these.
    pub fn scale(self) -> f64 {
        match self {
            Unit::One => 1.0,
            Unit::Thousand => 1e3,
            Unit::Million => 1e6,
            Unit::Billion => 1e9,
        }
    }

    /// What stands behind the name of a column.
    fn suffix(self) -> &'static str {
        match self {
            Unit::One => "",
            Unit::Thousand => "/k",
            Unit::Million => "/M",
            Unit::Billion => "/G",
        }
    }

    /// A count in this unit, as text.
    fn print(self, count: u64) -> String {
        let decimals = match self {
            Unit::One => 0,
            Unit::Thousand => 1,
            Unit::Million => 2,
            Unit::Billion => 3,
        };
        format!("{:.decimals$}", count as f64 / self.scale())
    }
}

/// One column of counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Column {
    /// What is counted.
    pub name: &'static str,
    /// The unit in which it is printed.
    pub unit: Unit,
    /// Whether the paper prints it.
    pub printed: bool,
}

/// One count, and what the paper prints for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Figure {
    /// Our count; `None` where there is nothing to count.
    pub computed: Option<u64>,
    /// The published number in the column's unit, with its digits; `None` if there is none or it is not known to us.
    pub published: Option<&'static str>,
}

impl Figure {
    /// A count that is not compared.
    fn of(computed: u64) -> Self {
        Figure { computed: Some(computed), published: None }
    }

    /// A count and the number in print.
    fn beside(computed: u64, published: &'static str) -> Self {
        Figure { computed: Some(computed), published: Some(published) }
    }

    /// Nothing to count.
    const NONE: Figure = Figure { computed: None, published: None };

    /// Whether the published number is ours, rounded or cut off to its digits; `None` if one of the two is missing.
    pub fn agrees(&self, unit: Unit) -> Option<bool> {
        let (computed, published) = (self.computed?, self.published?);
        let decimals = published.split_once('.').map_or(0, |(_, digits)| digits.len());
        let steps = 10f64.powi(decimals as i32);
        let (ours, theirs) = (computed as f64 / unit.scale() * steps, (published.parse::<f64>().ok()? * steps).round());
        // A count like 30,000 must not fall below its own value by rounding.
        Some(ours.round() == theirs || (ours + 1e-6).floor() == theirs)
    }
}

/// One row: a case, and a figure per column.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CostRow {
    /// What the row is about.
    pub case: String,
    /// A figure per column.
    pub figures: Vec<Figure>,
    /// Why ours and theirs differ; empty where they do not.
    pub difference: &'static str,
}

impl CostRow {
    fn new(case: impl Into<String>, figures: Vec<Figure>) -> Self {
        CostRow { case: case.into(), figures, difference: "" }
    }
}

/// A table of costs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CostTable {
    /// Its name.
    pub name: &'static str,
    /// What it is about, and where it was published.
    pub title: &'static str,
    /// Definitions and conventions, in paragraphs; those that are indented are formulas.
    pub about: &'static [&'static str],
    /// The columns.
    pub columns: Vec<Column>,
    /// The rows.
    pub rows: Vec<CostRow>,
}

/// What stands in place of a published figure that we do not know.
const NOT_KNOWN: &str = "unknown";

impl CostTable {
    /// The heads of all columns: the case, and each count followed by what was published.
    pub fn header(&self) -> Vec<String> {
        let mut header = vec!["case".to_string()];
        for column in &self.columns {
            header.push(format!("{}{}", column.name, column.unit.suffix()));
            if column.printed {
                header.push("published".to_string());
            }
        }
        header
    }

    /// The cells below them.
    pub fn cells(&self) -> Vec<Vec<String>> {
        let row = |row: &CostRow| {
            let mut cells = vec![row.case.clone()];
            for (column, figure) in self.columns.iter().zip(&row.figures) {
                cells.push(figure.computed.map_or("–".to_string(), |count| column.unit.print(count)));
                if column.printed {
                    let open = if figure.computed.is_some() { NOT_KNOWN } else { "–" };
                    cells.push(figure.published.unwrap_or(open).to_string());
                }
            }
            cells
        };
        self.rows.iter().map(row).collect()
    }

    /// The reasons for all differences, each behind its case.
    pub fn differences(&self) -> Vec<String> {
        let rows = self.rows.iter().filter(|row| !row.difference.is_empty());
        rows.map(|row| format!("{}: {}.", row.case, row.difference)).collect()
    }

    /// The table in Markdown, with its title, text and differences.
    pub fn markdown(&self) -> String {
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let mut text = format!("## {}\n\n", self.title);
        for paragraph in self.about {
            text += &format!("{paragraph}\n\n");
        }
        let header = self.header();
        let rule = (0..header.len()).map(|i| if i == 0 { "---" } else { "---:" }.to_string()).collect();
        text += &line(header);
        text += &line(rule);
        self.cells().into_iter().for_each(|cells| text += &line(cells));
        let differences = self.differences();
        if !differences.is_empty() {
            text += "\nDifferences:\n\n";
        }
        for difference in differences {
            text += &format!("- {difference}\n");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_published_figure_agrees_if_ours_prints_as_it() {
        let agrees = |computed, published, unit| Figure::beside(computed, published).agrees(unit).unwrap();
        assert!(agrees(30_000, "30", Unit::Thousand) && agrees(3_630_000, "3.63", Unit::Million));
        assert!(agrees(72_287_336, "72.2", Unit::Million) && agrees(72_287_336, "72.3", Unit::Million));
        assert!(!agrees(72_287_336, "72.1", Unit::Million) && !agrees(79_438_952, "79.3", Unit::Million));
        assert!(agrees(96_040_000_000, "96.0", Unit::Billion) && !agrees(96_100_000_000, "96.0", Unit::Billion));
        assert_eq!(Figure::of(1).agrees(Unit::One), None);
        assert_eq!(Figure::NONE.agrees(Unit::One), None);
    }
}
