//! Figures from the results of analyses.

use super::Inspection;
use crate::Result;
use crate::data::{Dataset, ShapesTextures};
use crate::plot::{
    self, CostBars, ErfFigure, ErfScale, Figure, ImageSheet, KernelGrid, LossCurves, OrientationHistogram,
    OrientedTaps, ShapeBiasFigure, SheetImage, TapPattern,
};
use kernelscope::analysis::report::{KernelLayer, KernelShape, RunHistory};
use kernelscope::analysis::shape_bias;
use kernelscope::ops::oriented1d::tap_offsets;
use std::path::Path;

/// A drawn figure and what it shows.
pub struct Picture {
    /// Name, also of its files.
    pub name: String,
    /// Caption.
    pub caption: String,
    /// The figure as SVG.
    pub svg: String,
}

/// Draws a figure into `DIR/NAME.svg` and `.png` and keeps the SVG for the report.
pub(crate) fn picture(dir: &Path, name: &str, caption: &str, figure: &impl Figure) -> Result<Picture> {
    plot::save(figure, &dir.join(name))?;
    Ok(Picture { name: name.to_string(), caption: caption.to_string(), svg: plot::svg(figure)? })
}

/// How many learned kernels a grid shows.
const GRID_CHANNELS: usize = 64;

/// The learned kernels of one layer; of a layer with many channels a part, which has all of its directions.
pub fn kernel_grid(layer: &KernelLayer) -> KernelGrid {
    let channels = KernelGrid::spread(layer.channels, GRID_CHANNELS);
    let kernels = channels.into_iter().map(|c| (c, layer.pixels(c))).collect();
    KernelGrid { layer: layer.clone(), kernels }
}

/// The distinct tap patterns of every oriented layer, with the mean learned weight per tap of the channels that share
/// one; `None` if no layer is oriented.
pub fn oriented_taps(layers: &[KernelLayer]) -> Option<OrientedTaps> {
    let rows: Vec<(String, Vec<TapPattern>)> = layers
        .iter()
        .filter_map(|layer| match &layer.shape {
            KernelShape::Oriented { theta, .. } => Some((layer.path.clone(), patterns(layer, theta))),
            KernelShape::Dense { .. } => None,
        })
        .filter(|(_, patterns)| !patterns.is_empty())
        .collect();
    (!rows.is_empty()).then_some(OrientedTaps { layers: rows })
}

/// Angles shown per layer; layers with one angle per channel have more.
const MAX_PATTERNS: usize = 8;

fn patterns(layer: &KernelLayer, theta: &[f32]) -> Vec<TapPattern> {
    let mut angles: Vec<f32> = theta.iter().copied().filter(|angle| angle.is_finite()).collect();
    angles.sort_by(f32::total_cmp);
    angles.dedup();
    let step = angles.len().div_ceil(MAX_PATTERNS).max(1);
    angles
        .iter()
        .step_by(step)
        .map(|&angle| {
            let channels: Vec<usize> = (0..theta.len()).filter(|&c| theta[c] == angle).collect();
            let mut weights = vec![0f32; layer.taps()];
            for &c in &channels {
                for (sum, w) in weights.iter_mut().zip(layer.channel(c)) {
                    *sum += w / channels.len() as f32;
                }
            }
            let taps = tap_offsets(angle, layer.taps()).iter().map(|t| (t.dh, t.dw)).collect();
            TapPattern {
                angle_degrees: f64::from(angle).to_degrees(),
                taps,
                weights: Some(weights),
                channels: channels.len(),
            }
        })
        .collect()
}

/// Figures of one network, for its own run folder and its section of the report.
///
/// # Errors
/// If a figure cannot be drawn or written.
pub fn of_network(dir: &Path, inspection: &Inspection) -> Result<Vec<Picture>> {
    let model = &inspection.costs.model;
    let mut pictures = Vec::new();
    if let Some(taps) = oriented_taps(&inspection.kernels) {
        let caption = format!(
            "{model}: taps of every oriented layer on the pixel grid, one square per direction; the color is the \
             mean learned weight of the channels that share it."
        );
        pictures.push(picture(dir, "oriented-taps", &caption, &taps)?);
    }
    let histogram = OrientationHistogram { layers: inspection.orientations.clone(), bins: 16 };
    let caption = format!(
        "{model}: orientation of the depthwise kernels per layer. Filled: dominant orientation of the learned weights, \
         weighted by anisotropy; outline: angles as built."
    );
    pictures.push(picture(dir, "orientations", &caption, &histogram)?);
    for layer in shown_layers(&inspection.kernels) {
        let name = format!("kernels-{}", layer.path.replace('.', "-"));
        let caption = format!("{model}: learned kernels of {}.", layer.path);
        pictures.push(picture(dir, &name, &caption, &kernel_grid(layer))?);
    }
    Ok(pictures)
}

/// The first and the last depthwise layer of the blocks.
fn shown_layers(layers: &[KernelLayer]) -> Vec<&KernelLayer> {
    let blocks: Vec<_> = layers.iter().filter(|l| l.path.starts_with("stages.")).collect();
    match (blocks.first(), blocks.last()) {
        (Some(first), Some(last)) if first.path != last.path => vec![first, last],
        (Some(only), _) => vec![only],
        _ => Vec::new(),
    }
}

/// Figures that compare networks.
///
/// # Errors
/// If a figure cannot be drawn or written.
pub fn of_comparison(dir: &Path, histories: &[RunHistory], inspections: &[Inspection]) -> Result<Vec<Picture>> {
    let mut pictures = vec![picture(
        dir,
        "curves",
        "Training and validation loss, and validation accuracy, over the epochs.",
        &LossCurves { runs: histories.to_vec() },
    )?];
    let maps = inspections.iter().map(|i| (i.erf.clone(), i.areas.clone())).collect();
    pictures.push(picture(
        dir,
        "erf",
        "Effective receptive fields of the last stage: contribution of every input pixel to the central position, \
         averaged over images. Squares contain 20, 30, 50, and 99% of the log-scaled contribution.",
        &ErfFigure::new(maps, ErfScale::Log),
    )?);
    let reports: Vec<_> = inspections.iter().filter_map(|i| i.shape_bias.clone()).collect();
    if !reports.is_empty() {
        pictures.push(picture(
            dir,
            "shape-bias",
            "Shape bias on images whose shape and texture belong to different classes: decisions for the shape, \
             divided by decisions for either. Vertical lines are pooled over all classes; humans reach 0.96 on \
             photographs.",
            &ShapeBiasFigure { reports, human: Some(shape_bias::HUMAN) },
        )?);
    }
    let bars = |title: &str, unit: &str, value: &dyn Fn(&Inspection) -> f64| CostBars {
        rows: inspections.iter().map(|i| (i.costs.model.clone(), value(i))).collect(),
        unit: unit.to_string(),
        title: title.to_string(),
    };
    let size = inspections.first().map_or(0, |i| i.costs.size.0);
    pictures.push(picture(
        dir,
        "macs",
        "Multiply-adds per image.",
        &bars(&format!("Multiply-adds at {size}x{size}"), "million", &|i| i.costs.macs as f64 / 1e6),
    )?);
    Ok(pictures)
}

/// Examples of a data set, one row of columns per class.
///
/// # Errors
/// If a figure cannot be drawn or written.
pub fn samples(dir: &Path, name: &str, caption: &str, set: &ShapesTextures, conflict: bool) -> Result<Picture> {
    let classes = set.classes();
    let images = (0..set.len())
        .map(|i| {
            let sample = set.get(i)?;
            let (shape, texture) = (set.shape_of(i).unwrap_or(0), set.texture_of(i).unwrap_or(0));
            let caption = if conflict {
                format!("{} / {}", classes[shape], crate::data::shapes_textures::TEXTURE_NAMES[texture])
            } else {
                classes[sample.label].clone()
            };
            let image = sample.image;
            Ok(SheetImage { height: image.height, width: image.width, pixels: image.pixels, caption })
        })
        .collect::<Result<Vec<_>>>()?;
    picture(dir, name, caption, &ImageSheet { images, columns: classes.len() })
}
