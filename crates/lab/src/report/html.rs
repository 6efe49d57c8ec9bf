//! One self-contained page that compares trained networks.

use super::Inspection;
use super::figures::{self, Picture};
use crate::data::{Cue, ShapesTextures};
use crate::run::{DataSource, RunConfig};
use crate::{Error, Result};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use kernelscope::analysis::report::RunHistory;
use kernelscope::files::write_atomically;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use std::path::Path;

/// One network of a comparison.
pub struct Comparison {
    /// Its run's configuration.
    pub config: RunConfig,
    /// Its training history.
    pub history: RunHistory,
    /// Seconds of training; `None` if they were not measured in one piece.
    pub seconds: Option<f64>,
    /// What was found in it.
    pub inspection: Inspection,
    /// Folder of its own figures.
    pub figures: std::path::PathBuf,
}

/// Writes `figures/` and `report.html` into `dir`.
///
/// # Errors
/// If there is no network, a figure cannot be drawn or a file cannot be written.
pub fn write_comparison(dir: &Path, title: &str, networks: &[Comparison]) -> Result<()> {
    let Some(first) = networks.first() else {
        return Err(Error::argument("networks", "none", "at least one network to report on"));
    };
    let figures_dir = dir.join("figures");
    std::fs::create_dir_all(&figures_dir).map_err(Error::io("create", &figures_dir))?;
    let histories: Vec<_> = networks.iter().map(|n| n.history.clone()).collect();
    let inspections: Vec<_> = networks.iter().map(|n| n.inspection.clone()).collect();
    let shared = figures::of_comparison(&figures_dir, &histories, &inspections)?;
    let samples = samples(&figures_dir, &first.config)?;
    let mut own = Vec::new();
    for network in networks {
        std::fs::create_dir_all(&network.figures).map_err(Error::io("create", &network.figures))?;
        own.push(figures::of_network(&network.figures, &network.inspection)?);
    }
    let page = page(title, networks, &shared, &samples, &own).into_string();
    write_atomically(&dir.join("report.html"), |file| file.write_all(page.as_bytes()))
}

/// Examples of the built-in set and of its cue-conflict images.
fn samples(dir: &Path, config: &RunConfig) -> Result<Vec<Picture>> {
    let DataSource::Builtin(set) = &config.data.source else { return Ok(Vec::new()) };
    let shown = |cue, split| ShapesTextures::generate(set.size, 24, set.seed, cue, split);
    Ok(vec![
        figures::samples(
            dir,
            "samples",
            "Training images of the built-in set: each class has its own shape and its own texture, and either one \
             identifies it.",
            &shown(Cue::Both, 0)?,
            false,
        )?,
        figures::samples(
            dir,
            "cue-conflict",
            "Cue-conflict images: the shape of one class with the texture of another (shape / texture).",
            &shown(Cue::Conflict, 2)?,
            true,
        )?,
    ])
}

/// The look of pages.
pub(crate) const STYLE: &str = "
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff; max-width: 1000px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.7rem; } h2 { margin-top: 2.5rem; border-bottom: 1px solid #ddd; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .6rem; text-align: right; border-bottom: 1px solid #e5e5e5; }
th:first-child, td:first-child { text-align: left; }
figure { margin: 1.5rem 0; } figure img { width: 100%; height: auto; } figcaption { color: #555; font-size: .92rem; }
details pre { background: #f6f6f6; padding: 1rem; overflow-x: auto; }
";

fn page(title: &str, networks: &[Comparison], shared: &[Picture], samples: &[Picture], own: &[Vec<Picture>]) -> Markup {
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
                (summary(networks))
                h2 { "Comparison" }
                @for picture in shared { (figure(picture)) }
                @if !samples.is_empty() {
                    h2 { "Images" }
                    @for picture in samples { (figure(picture)) }
                }
                @for (network, pictures) in networks.iter().zip(own) {
                    h2 { (network.config.model.name) }
                    @for picture in pictures { (figure(picture)) }
                    details {
                        summary { "Configuration" }
                        pre { (network.config.to_toml().unwrap_or_default()) }
                    }
                }
                p { small { "kernelscope " (env!("CARGO_PKG_VERSION")) } }
            }
        }
    }
}

fn summary(networks: &[Comparison]) -> Markup {
    let percent = |value: Option<f64>| value.map_or("–".to_string(), |v| format!("{:.1} %", 100.0 * v));
    html! {
        table {
            thead {
                tr {
                    th { "network" }
                    th { "parameters" }
                    th { "M MACs" }
                    th { "validation accuracy" }
                    th { "shape bias" }
                    th { "ERF r(50 %)" }
                    th { "ERF r(99 %)" }
                    th { "training" }
                }
            }
            tbody {
                @for network in networks {
                    @let i = &network.inspection;
                    @let ratio = |t: f64| i.areas.iter().find(|a| a.threshold == t).and_then(|a| a.ratio);
                    tr {
                        td { (network.config.model.name) }
                        td { (i.costs.params) }
                        td { (format!("{:.2}", i.costs.macs as f64 / 1e6)) }
                        td { (percent(network.history.points.last().and_then(|p| p.val_accuracy))) }
                        td { (i.shape_bias.as_ref().and_then(|s| s.shape_bias).map_or("–".into(), |b| format!("{b:.3}"))) }
                        td { (percent(ratio(0.5))) }
                        td { (percent(ratio(0.99))) }
                        td { (network.seconds.map_or("–".into(), |s| format!("{s:.0} s"))) }
                    }
                }
            }
        }
        p { small {
            "Multiply-adds at the training size. r(t): share of the image that is covered by the smallest centered \
             square with more than t of the log-scaled contribution, on larger images than in training. Shape bias: \
             decisions for the shape, divided by decisions for shape or texture."
        } }
    }
}

/// A figure inside a page.
pub(crate) fn figure(picture: &Picture) -> Markup {
    let data = BASE64_STANDARD.encode(&picture.svg);
    html! {
        figure id=(picture.name) {
            img alt=(picture.caption) src=(format!("data:image/svg+xml;base64,{data}"));
            figcaption { (picture.caption) }
        }
    }
}
