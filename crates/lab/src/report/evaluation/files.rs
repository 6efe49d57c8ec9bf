//! An evaluation as files: numbers as JSON and CSV, figures, and the page.

use super::summary::confusion;
use super::{About, Answers, EvaluationReport, page};
use crate::data::EvalTransform;
use crate::save::table;
use crate::{Error, Result};
use kernelscope::analysis::confusion::Confusion;
use kernelscope::files::write_atomically;
use serde::Serialize;
use std::path::Path;

/// One image.
#[derive(Serialize)]
struct ImageLine {
    image: String,
    label: String,
    answer: String,
    right: bool,
    confidence: f64,
    label_probability: f64,
    label_rank: usize,
    loss: f64,
}

/// A label and an answer that occur together.
#[derive(Serialize)]
struct ConfusionLine<'a> {
    label: &'a str,
    answer: &'a str,
    images: usize,
}

/// Writes into a folder: `evaluation.json` (all numbers), `classes.csv`, `confusion.csv` (pairs that occur), `images.csv`
/// (every image), `calibration.csv`, figures, and `evaluation.html`, a page of its own with figures and pictures.
///
/// # Errors
/// If a file cannot be written, a figure cannot be drawn, or a picture cannot be read again.
pub fn save(
    folder: &Path,
    about: &About<'_>,
    answers: &Answers,
    report: &EvaluationReport,
    transform: &EvalTransform,
) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    let json = serde_json::to_string_pretty(report);
    let json = json.map_err(|e| Error::argument("evaluation", e, "values that JSON can represent"))?;
    write_atomically(&folder.join("evaluation.json"), |file| file.write_all(json.as_bytes()))?;
    table(&folder.join("classes.csv"), &report.per_class)?;
    table(&folder.join("calibration.csv"), &report.calibration.bins)?;
    table(&folder.join("images.csv"), &image_lines(about, answers))?;
    let confusion = confusion(about, answers)?;
    table(&folder.join("confusion.csv"), &confusion_lines(&confusion))?;
    page::write(folder, about, report, &confusion, transform)
}

fn image_lines(about: &About<'_>, answers: &Answers) -> Vec<ImageLine> {
    let line = |answered: &super::Answered| ImageLine {
        image: about.set.name(answered.sample).unwrap_or_else(|| answered.sample.to_string()),
        label: about.label(answered.label),
        answer: about.answer(answered.answer),
        right: about.labels.classes().get(answered.label) == Some(&answered.answer),
        confidence: answered.confidence,
        label_probability: answered.probability,
        label_rank: answered.rank + 1,
        loss: answered.loss(),
    };
    answers.images.iter().map(line).collect()
}

fn confusion_lines(confusion: &Confusion) -> Vec<ConfusionLine<'_>> {
    let n = confusion.classes.len();
    let pairs = (0..n).flat_map(|label| (0..n).map(move |answer| (label, answer)));
    pairs
        .map(|(label, answer)| (label, answer, confusion.count(label, answer)))
        .filter(|(.., images)| *images > 0)
        .filter_map(|(label, answer, images)| {
            Some(ConfusionLine { label: confusion.classes.get(label)?, answer: confusion.classes.get(answer)?, images })
        })
        .collect()
}
