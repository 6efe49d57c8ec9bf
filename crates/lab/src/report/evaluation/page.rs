//! The page of an evaluation, and its figures.

use super::{About, ClassScore, EvaluationReport, Remarkable};
use crate::Result;
use crate::data::{EvalTransform, Image};
use crate::plot::{HeatMap, ImageSheet, ReliabilityFigure, SheetImage};
use crate::report::figures::{Picture, picture};
use crate::report::html::{STYLE, figure};
use kernelscope::analysis::confusion::Confusion;
use kernelscope::files::write_atomically;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use std::path::Path;

/// Classes whose counts and names the figure of the confusion matrix shows; of more, it shows shares without names.
const NAMED: usize = 32;
/// Classes that the page lists; the table has all of them.
const LISTED: usize = 100;
/// Longest side of a picture on the page, in pixels.
const SHOWN_SIDE: usize = 224;

/// Writes the figures and `evaluation.html` into a folder.
pub(super) fn write(
    folder: &Path,
    about: &About<'_>,
    report: &EvaluationReport,
    confusion: &Confusion,
    transform: &EvalTransform,
) -> Result<()> {
    let mut pictures = vec![
        picture(
            folder,
            "confusion",
            "Answers by label: one row per label, one column per answer.",
            &matrix(confusion),
        )?,
        picture(
            folder,
            "reliability",
            "Accuracy of the images in each range of confidence. A calibrated network is on the diagonal; below it, the \
             network is more sure than right.",
            &ReliabilityFigure { calibration: report.calibration.clone() },
        )?,
    ];
    for (name, caption, list) in [
        ("most-sure", "Right answers that the network is most sure of.", &report.most_sure),
        ("most-wrong", "Wrong answers with the least probability of the label.", &report.most_wrong),
    ] {
        if !list.is_empty() {
            pictures.push(picture(folder, name, caption, &sheet(about, list, transform)?)?);
        }
    }
    let page = page(report, &pictures).into_string();
    write_atomically(&folder.join("evaluation.html"), |file| file.write_all(page.as_bytes()))
}

fn matrix(confusion: &Confusion) -> HeatMap {
    let n = confusion.classes.len();
    let named = n <= NAMED;
    let value = |label: usize, answer: usize| {
        let (count, images) = (confusion.count(label, answer) as f64, confusion.images(label));
        if named { count } else { count / images.max(1) as f64 }
    };
    let names = if named { confusion.classes.clone() } else { Vec::new() };
    HeatMap {
        title: "Confusion matrix".into(),
        quantity: if named { "images" } else { "share of the label's images" }.into(),
        height: n,
        width: n,
        values: (0..n).flat_map(|label| (0..n).map(move |answer| (label, answer))).map(|(l, a)| value(l, a)).collect(),
        rows: names.clone(),
        columns: names,
        axes: ("label".into(), "answer".into()),
        signed: false,
        written: named,
    }
}

/// Pictures as the network gets to see them.
fn sheet(about: &About<'_>, list: &[Remarkable], transform: &EvalTransform) -> Result<ImageSheet> {
    let images = list.iter().map(|remarkable| {
        let Image { height, width, pixels } = small(transform.geometry(&about.set.get(remarkable.sample)?.image));
        Ok(SheetImage { height, width, pixels, caption: caption(remarkable) })
    });
    Ok(ImageSheet { images: images.collect::<Result<_>>()?, columns: 4 })
}

fn small(image: Image) -> Image {
    match image.height.max(image.width) {
        side if side > SHOWN_SIDE => {
            let scaled = |length: usize| (length * SHOWN_SIDE / side).max(1);
            image.resized(scaled(image.height), scaled(image.width), Default::default())
        }
        _ => image,
    }
}

fn caption(image: &Remarkable) -> String {
    let percent = |share: f64| format!("{:.0}\u{a0}%", 100.0 * share);
    if image.label == image.answer {
        return format!("{} ({})", image.label, percent(image.confidence));
    }
    format!("{} ({}), not {} ({})", image.label, percent(image.probability), image.answer, percent(image.confidence))
}

fn percent(share: Option<f64>) -> String {
    share.map_or("–".into(), |share| format!("{:.1} %", 100.0 * share))
}

fn page(report: &EvaluationReport, pictures: &[Picture]) -> Markup {
    let title = format!("Evaluation of {}", report.model);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { (title) }
                (numbers(report))
                @for picture in pictures { (figure(picture)) }
                (mistakes(report))
                (classes(report))
                (left_out(report))
                p { small { "kernelscope " (env!("CARGO_PKG_VERSION")) } }
            }
        }
    }
}

fn numbers(report: &EvaluationReport) -> Markup {
    html! {
        @if let Some(reason) = &report.stopped {
            p { strong { "Not all images were looked at: " } (reason) }
        }
        table {
            thead { tr { th { "images" } th { "top-1" } th { "top-5" } th { "loss" } th { "calibration error" } } }
            tbody {
                tr {
                    td { (report.images) }
                    td { (percent(Some(report.accuracy))) }
                    td { (percent(report.top5)) }
                    td { (format!("{:.4}", report.loss)) }
                    td { (report.calibration.ece.map_or("–".into(), |ece| format!("{ece:.4}"))) }
                }
            }
        }
        p { (report.scope()) }
        p { small {
            "Top-k: share of the images whose label is among the k largest logits. Loss: mean cross entropy. Calibration \
             error (ECE): distance of accuracy and mean confidence in " (report.calibration.bins.len()) " equally wide \
             ranges of confidence, averaged over the images."
        } }
    }
}

fn mistakes(report: &EvaluationReport) -> Markup {
    html! {
        @if !report.mistakes.is_empty() {
            h2 { "Most frequent mistakes" }
            table {
                thead { tr { th { "label" } th { "answer" } th { "images" } } }
                tbody {
                    @for mistake in report.mistakes.iter().take(20) {
                        tr { td { (mistake.label) } td { (mistake.answer) } td { (mistake.images) } }
                    }
                }
            }
        }
    }
}

fn classes(report: &EvaluationReport) -> Markup {
    let mut worst: Vec<&ClassScore> = report.per_class.iter().collect();
    // Classes without images come last.
    let recall = |class: &ClassScore| class.recall.unwrap_or(f64::INFINITY);
    worst.sort_by(|a, b| recall(a).total_cmp(&recall(b)));
    let left = worst.len().saturating_sub(LISTED);
    worst.truncate(LISTED);
    html! {
        h2 { "Classes, the worst first" }
        table {
            thead { tr { th { "class" } th { "images" } th { "answers" } th { "recall" } th { "precision" } } }
            tbody {
                @for class in worst {
                    tr {
                        td { (class.class) }
                        td { (class.images) }
                        td { (class.answers) }
                        td { (percent(class.recall)) }
                        td { (percent(class.precision)) }
                    }
                }
            }
        }
        @if left > 0 { p { (left) " more are in classes.csv." } }
    }
}

fn left_out(report: &EvaluationReport) -> Markup {
    html! {
        @if !report.broken.is_empty() {
            h2 { "Images that could not be read" }
            ul { @for image in &report.broken { li { (image.reason) } } }
        }
    }
}
