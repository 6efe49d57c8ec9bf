//! The summary for people: a table in Markdown and on one self-contained page, with figures.

use super::compare::Comparison;
use super::jobs::Ablation;
use super::records::{Record, Summary};
use super::stats::Difference;
use crate::plot::{AblationLines, AblationPoint, AblationRows, AblationSeries};
use crate::report::{Picture, STYLE, embedded, picture};
use crate::{Error, Result};
use kernelscope::files::write_atomically;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use std::path::Path;

/// Axis of both figures.
const ACCURACY: &str = "validation accuracy (%)";
/// The figure of all variants shows this many at most.
const MOST_ROWS: usize = 200;
/// Lines of a line plot are told apart by this many colors at most.
const MOST_LINES: usize = 8;

impl Ablation {
    /// Writes tables, figures and the page from all finished runs; what they hold.
    ///
    /// # Errors
    /// If no run is finished, a run folder is damaged or a file cannot be written.
    pub fn write_results(&self) -> Result<Vec<Summary>> {
        let records = self.records()?;
        if records.is_empty() {
            return Err(Error::file(&self.dir, "no run of this grid has finished yet"));
        }
        let summaries = self.summaries(&records);
        let comparisons = self.comparisons(&records)?;
        self.write_tables(&records, &summaries, &comparisons)?;
        let figures = self.dir.join("figures");
        std::fs::create_dir_all(&figures).map_err(Error::io("create", &figures))?;
        let pictures = self.pictures(&figures, &records, &summaries)?;
        let markdown = self.markdown(&summaries, &comparisons);
        write_atomically(&self.dir.join("summary.md"), |file| file.write_all(markdown.as_bytes()))?;
        let page = self.page(&summaries, &comparisons, &pictures).into_string();
        write_atomically(&self.dir.join("summary.html"), |file| file.write_all(page.as_bytes()))?;
        Ok(summaries)
    }

    /// The figure of the finished runs: a row per variant.
    pub fn rows(&self, records: &[Record], summaries: &[Summary]) -> AblationRows {
        let rows = summaries.iter().filter_map(|s| Some((s.variant.clone(), point(s, records, 0.0)?)));
        let baseline = summaries.iter().find(|s| s.baseline).and_then(|s| s.accuracy);
        AblationRows {
            title: self.grid.title().to_string(),
            quantity: ACCURACY.to_string(),
            rows: rows.take(MOST_ROWS).collect(),
            baseline: baseline.map(|a| 100.0 * a.mean),
        }
    }

    fn pictures(&self, dir: &Path, records: &[Record], summaries: &[Summary]) -> Result<Vec<Picture>> {
        let figure = self.rows(records, summaries);
        let caption =
            "Final validation accuracy of every run (dots), mean and sample standard deviation over the seeds.";
        let mut pictures = vec![picture(dir, "accuracy", caption, &figure)?];
        if let Some(figure) = self.lines(records, summaries) {
            let caption = format!("The same over {}.", figure.x);
            pictures.push(picture(dir, "accuracy-lines", &caption, &figure)?);
        }
        Ok(pictures)
    }

    /// The accuracy over the numeric axis with most values, with a line for every combination of the others; `None`
    /// without such an axis, or with too many lines to tell apart.
    fn lines(&self, records: &[Record], summaries: &[Summary]) -> Option<AblationLines> {
        let numeric = self.grid.axes.iter().enumerate().filter_map(|(i, axis)| Some((i, axis.numbers()?)));
        let (along, numbers) = numeric.filter(|(_, n)| n.len() > 1).max_by_key(|(i, n)| (n.len(), usize::MAX - i))?;
        let mut series: Vec<AblationSeries> = Vec::new();
        for summary in summaries {
            let variant = self.variants.get(summary.index)?;
            let x = *numbers.get(*variant.places.get(along)?)?;
            let Some(point) = point(summary, records, x) else { continue };
            let label = self.line_label(summary.index, along)?;
            match series.iter_mut().find(|line| line.label == label) {
                Some(line) => line.points.push(point),
                None => series.push(AblationSeries { label, points: vec![point] }),
            }
        }
        let axis = self.grid.axes.get(along)?;
        let (title, x, y) = (self.grid.title().to_string(), axis.name().to_string(), ACCURACY.to_string());
        (1..=MOST_LINES).contains(&series.len()).then_some(AblationLines { title, x, y, series })
    }

    /// What a variant's label says besides its value on one axis.
    fn line_label(&self, index: usize, along: usize) -> Option<String> {
        let variant = self.variants.get(index)?;
        let mut parts: Vec<String> =
            self.grid.entries.get(variant.entry).map(|e| e.label.clone()).into_iter().collect();
        for (i, (axis, &place)) in self.grid.axes.iter().zip(&variant.places).enumerate() {
            if i != along {
                parts.push(format!("{} {}", axis.name(), axis.value_label(place)));
            }
        }
        Some(parts.join(", "))
    }

    /// Header and rows of the table for people.
    fn cells(&self, summaries: &[Summary]) -> Cells {
        let published = !self.grid.published.is_empty() && summaries.iter().any(|s| s.published.is_some());
        let merge = summaries.iter().any(|s| s.merge_difference.is_some());
        let mut header =
            vec!["variant", "runs", "accuracy / %", "min – max", "best / %", "difference / points", "loss"];
        header.extend(["parameters", "M MACs"]);
        header.extend(merge.then_some(["merged: max logit difference", "merged: accuracy / %"]).into_iter().flatten());
        header.extend(published.then_some("published"));
        let row = |s: &Summary| {
            let total = s.missing + s.accuracy.map_or(0, |a| a.n);
            let mut row = vec![
                s.variant.clone(),
                if s.missing == 0 { total.to_string() } else { format!("{} of {total}", total - s.missing) },
                or_dash(s.accuracy.map(|a| plus_minus(percent(a.mean), a.std.map(percent)))),
                or_dash(s.accuracy.map(|a| format!("{} – {}", percent(a.min), percent(a.max)))),
                or_dash(s.best_accuracy.map(|a| percent(a.mean))),
                match s.difference {
                    Some(d) => difference(d),
                    None if s.baseline => "baseline".to_string(),
                    None => "–".to_string(),
                },
                or_dash(s.loss.map(|a| format!("{:.3}", a.mean))),
                s.parameters.to_string(),
                format!("{:.2}", s.macs as f64 / 1e6),
            ];
            if merge {
                row.push(or_dash(s.merge_difference.map(|d| format!("{d:.1e}"))));
                row.push(or_dash(s.merged_accuracy.map(percent)));
            }
            if published {
                row.push(or_dash(s.published.map(|p| p.to_string())));
            }
            row
        };
        (header.into_iter().map(String::from).collect(), summaries.iter().map(row).collect())
    }

    /// What the columns mean.
    fn legend(&self, summaries: &[Summary]) -> Vec<String> {
        let seeds = self.grid.seeds.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
        let finished: usize = summaries.iter().filter_map(|s| s.accuracy).map(|a| a.n).sum();
        let mut lines = vec![
            format!("{finished} of {} runs are finished; seeds {seeds}.", self.jobs.len()),
            "Accuracy: on the validation images after the last epoch, mean ± sample standard deviation over the seeds. \
             Best: mean of the best epochs."
                .to_string(),
            "Difference: to the baseline, in percentage points: mean of the differences paired by seed ± half of its \
             95% confidence interval (Student's t). It covers only the variation between seeds."
                .to_string(),
        ];
        if !self.grid.comparisons.is_empty() {
            lines.push(
                "Comparisons: the same between other variants. Values of an axis are compared over all other settings, \
                 whose mean is taken for each seed."
                    .to_string(),
            );
        }
        if summaries.iter().any(|s| s.merge_difference.is_some()) {
            lines.push(
                "Merged: largest absolute difference of a logit between the trained and the merged network over all \
                 validation images of all runs, and mean accuracy after merging."
                    .to_string(),
            );
        }
        if !self.grid.published.is_empty() && summaries.iter().any(|s| s.published.is_some()) {
            lines.push(format!("Published: {}", self.grid.published));
        }
        lines
    }

    fn markdown(&self, summaries: &[Summary], comparisons: &[Comparison]) -> String {
        let mut text = format!("# {}\n\n", self.grid.title());
        for part in [&self.grid.paper, &self.grid.notes].into_iter().filter(|part| !part.is_empty()) {
            text.push_str(&format!("{}\n\n", part.trim()));
        }
        text.push_str(&markdown_table(&self.cells(summaries)));
        if !comparisons.is_empty() {
            text.push_str(&markdown_table(&comparison_cells(comparisons)));
        }
        self.legend(summaries).iter().for_each(|line| text.push_str(&format!("- {line}\n")));
        text.push_str("\n![Accuracy of every variant](figures/accuracy.svg)\n");
        text
    }

    fn page(&self, summaries: &[Summary], comparisons: &[Comparison], pictures: &[Picture]) -> Markup {
        let mut tables = vec![self.cells(summaries)];
        tables.extend((!comparisons.is_empty()).then(|| comparison_cells(comparisons)));
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    title { (self.grid.title()) }
                    style { (PreEscaped(STYLE)) ".wide { overflow-x: auto; font-size: .85rem; } .wide td, .wide th { white-space: nowrap; padding: .3rem .45rem; }" }
                }
                body {
                    h1 { (self.grid.title()) }
                    @if !self.grid.paper.is_empty() { p { (self.grid.paper) } }
                    @if !self.grid.notes.is_empty() { p { (self.grid.notes) } }
                    @for (header, rows) in &tables {
                        div.wide {
                            table {
                                thead { tr { @for name in header { th { (name) } } } }
                                tbody { @for row in rows { tr { @for cell in row { td { (cell) } } } } }
                            }
                        }
                    }
                    @for line in self.legend(summaries) { p { small { (line) } } }
                    @for picture in pictures { (embedded(picture)) }
                    @if let Some(job) = self.jobs.iter().find(|job| job.variant == self.baseline()) {
                        details {
                            summary { "Configuration of the baseline, first seed" }
                            pre { (job.config.to_toml().unwrap_or_default()) }
                        }
                    }
                    p { small { "kernelscope " (env!("CARGO_PKG_VERSION")) } }
                }
            }
        }
    }
}

/// What a figure shows of a variant; `None` if no run of it is finished.
fn point(summary: &Summary, records: &[Record], x: f64) -> Option<AblationPoint> {
    let accuracy = summary.accuracy?;
    let own = records.iter().filter(|record| record.index == summary.index);
    Some(AblationPoint {
        x,
        values: own.map(|record| 100.0 * record.accuracy).collect(),
        mean: 100.0 * accuracy.mean,
        std: accuracy.std.map(|std| 100.0 * std),
    })
}

/// Header and rows of a table.
type Cells = (Vec<String>, Vec<Vec<String>>);

fn comparison_cells(comparisons: &[Comparison]) -> Cells {
    let row = |comparison: &Comparison| {
        vec![
            comparison.comparison.clone(),
            comparison.difference.map_or(0, |d| d.pairs).to_string(),
            or_dash(comparison.difference.map(difference)),
        ]
    };
    (["comparison", "seeds", "difference / points"].map(String::from).to_vec(), comparisons.iter().map(row).collect())
}

fn markdown_table((header, rows): &Cells) -> String {
    let line = |cells: &[String]| {
        format!("| {} |\n", cells.iter().map(|cell| cell.replace('|', "\\|")).collect::<Vec<_>>().join(" | "))
    };
    let rows: String = rows.iter().map(|row| line(row)).collect();
    format!("{}|---{}\n{rows}\n", line(header), "|---:".repeat(header.len() - 1) + "|")
}

/// `mean ± half of its interval` in percentage points.
fn difference(difference: Difference) -> String {
    let mean = format!("{:+.2}", 100.0 * difference.mean).replace('-', "−");
    plus_minus(mean, difference.margin.map(percent))
}

fn percent(share: f64) -> String {
    format!("{:.2}", 100.0 * share)
}

fn plus_minus(value: String, spread: Option<String>) -> String {
    spread.map_or(value.clone(), |spread| format!("{value} ± {spread}"))
}

fn or_dash(text: Option<String>) -> String {
    text.unwrap_or_else(|| "–".to_string())
}
