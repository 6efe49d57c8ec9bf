//! Roses of orientation.

use super::accent;
use eframe::egui::{self, Align2, Color32, FontId, Pos2, Rect, Shape, Stroke, pos2};
use kernelscope::analysis::orientation::Bins;
use kernelscope::analysis::report::ChannelOrientation;

/// What a rose shows.
pub struct Rose<'a> {
    /// Channels per bin.
    pub bins: &'a Bins,
    /// Whether angles are labeled.
    pub labels: bool,
    /// A channel whose angles are marked.
    pub channel: Option<&'a ChannelOrientation>,
}

/// Color of built angles.
pub fn built_color() -> Color32 {
    Color32::from_rgb(226, 104, 24)
}

fn around(center: Pos2, radius: f32, degrees: f64) -> Pos2 {
    let (sin, cos) = degrees.to_radians().sin_cos();
    pos2(center.x + radius * cos as f32, center.y - radius * sin as f32)
}

fn arc(center: Pos2, radius: f32, from: f64, to: f64) -> Vec<Pos2> {
    let steps = ((to - from).abs() / 4.0).ceil().max(1.0) as usize;
    (0..=steps).map(|i| around(center, radius, from + (to - from) * i as f64 / steps as f64)).collect()
}

/// Draws a rose into a rectangle. Petals are the learned orientations, weighted by anisotropy; arcs are the built angles.
/// Both are scaled to their own fullest bin.
pub fn rose(ui: &egui::Ui, rect: Rect, rose: &Rose) {
    let painter = ui.painter_at(rect);
    let dark = ui.visuals().dark_mode;
    let margin = if rose.labels { 20.0 } else { 3.0 };
    let center = rect.center();
    let radius = (rect.width().min(rect.height()) / 2.0 - margin).max(4.0);
    let grid = Stroke::new(1.0, if dark { Color32::from_gray(62) } else { Color32::from_gray(214) });
    for share in [0.5, 1.0] {
        painter.circle_stroke(center, radius * share, grid);
    }
    for spoke in 0..4 {
        let degrees = f64::from(spoke) * 45.0;
        painter.line_segment([around(center, radius, degrees), around(center, radius, degrees + 180.0)], grid);
    }
    let count = rose.bins.learned.len().max(1);
    let width = 180.0 / count as f64;
    let scale = |values: &[f64]| values.iter().copied().fold(0.0, f64::max).max(1e-12);
    let (learned, built) = (scale(&rose.bins.learned), scale(&rose.bins.built));
    for half in [0.0, 180.0] {
        for (index, value) in rose.bins.learned.iter().enumerate().filter(|(_, v)| **v > 0.0) {
            let middle = half + index as f64 * width;
            let reach = radius * (value / learned) as f32;
            let mut petal = vec![center];
            petal.extend(arc(center, reach, middle - 0.46 * width, middle + 0.46 * width));
            painter.add(Shape::convex_polygon(petal, accent(dark), Stroke::NONE));
        }
        for (index, value) in rose.bins.built.iter().enumerate().filter(|(_, v)| **v > 0.0) {
            let middle = half + index as f64 * width;
            let reach = radius * (value / built) as f32;
            let rim = arc(center, reach, middle - 0.46 * width, middle + 0.46 * width);
            painter.add(Shape::line(rim, Stroke::new(2.0, built_color())));
        }
    }
    let built = rose.channel.and_then(|channel| channel.built).map(|angle| (angle, built_color()));
    let learned = rose.channel.and_then(|channel| channel.dominant);
    let learned = learned.map(|angle| (angle, ui.visuals().strong_text_color()));
    for (angle, ink) in built.into_iter().chain(learned) {
        let ends = [around(center, radius, angle), around(center, radius, angle + 180.0)];
        painter.line_segment(ends, Stroke::new(1.5, ink));
    }
    if rose.labels {
        let font = FontId::proportional(10.5);
        for step in 0..8 {
            let degrees = f64::from(step) * 45.0;
            let at = around(center, radius + 11.0, degrees);
            painter.text(
                at,
                Align2::CENTER_CENTER,
                format!("{}°", step * 45 % 180),
                font.clone(),
                ui.visuals().weak_text_color(),
            );
        }
    }
}
