//! Angles of kernels: as built and as learned, per layer and over depth, and the taps on the pixel grid.

use super::scene::{Scene, current};
use crate::command::{Command, Commands};
use crate::state::{Entry, State};
use crate::widgets::{self, Rose, Textures, accent, built_color, color, color_bar, faint, heading, rose};
use eframe::egui::{
    self, Align2, Color32, ColorImage, FontId, Rect, RichText, Sense, Stroke, StrokeKind, TextureOptions, pos2, vec2,
};
use kernelscope::analysis::report::LayerOrientation;
use kernelscope::analysis::tree::Address;
use kernelscope_lab::plot::colormap::signed;
use kernelscope_lab::plot::{Colormap, TapPattern};

pub fn ui(ui: &mut egui::Ui, scene: &mut Scene) {
    let state = scene.state;
    let Some(entry) = current(ui, state) else { return };
    if entry.facts.kernels.is_empty() {
        let why = if entry.subject.is_some() {
            "The network has no depthwise convolutions."
        } else {
            "There are no weights yet."
        };
        widgets::nothing(ui, "No kernels", why);
        return;
    }
    legend(ui);
    egui::ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
        ui.horizontal_top(|ui| {
            chosen(ui, state, entry);
            ui.vertical(|ui| depth(ui, state, entry, scene.out));
        });
        taps(ui, state, entry, scene.textures);
        roses(ui, state, entry, scene.out);
    });
}

fn legend(ui: &mut egui::Ui) {
    let dark = ui.visuals().dark_mode;
    ui.horizontal_wrapped(|ui| {
        for (ink, text) in [(accent(dark), "learned, weighted by anisotropy"), (built_color(), "built")] {
            let (rect, _) = ui.allocate_exact_size(vec2(12.0, 12.0), Sense::hover());
            ui.painter().rect_filled(rect.shrink(1.0), 2.0, ink);
            ui.label(faint(text));
        }
    });
}

/// The rose of the chosen layer, or of all layers together.
fn chosen(ui: &mut egui::Ui, state: &State, entry: &Entry) {
    let layer = state.look.address.as_ref().and_then(|_| state.kernel_layer(entry));
    // Merged kernels have different positions in their list.
    let index = layer.and_then(|(_, layer)| entry.facts.kernels.iter().position(|known| known.path == layer.path));
    let side = (ui.available_width() * 0.36).clamp(120.0, 220.0);
    ui.vertical(|ui| {
        ui.set_width(side);
        let (title, bins, layer) = match index {
            Some(index) => {
                let layer = entry.facts.orientations.get(index);
                let path = layer.map_or("", |layer| layer.path.as_str());
                (path.to_string(), entry.facts.bins.get(index), layer)
            }
            None => ("all layers".to_string(), Some(&entry.facts.pooled), None),
        };
        ui.add(egui::Label::new(RichText::new(title).monospace().strong()).truncate());
        let (rect, _) = ui.allocate_exact_size(vec2(side, side), Sense::hover());
        let channel = layer.and_then(|layer| {
            let channel = state.look.address.as_ref()?.channel?;
            layer.channels.get(channel)
        });
        if let Some(bins) = bins {
            rose(ui, rect, &Rose { bins, labels: true, channel });
        }
        let text = match (layer, channel) {
            (_, Some(c)) => {
                let angle = |angle: Option<f64>| angle.map_or("–".to_string(), |angle| format!("{angle:.1}°"));
                format!("built {}, learned {}, anisotropy {:.2}", angle(c.built), angle(c.dominant), c.anisotropy)
            }
            (Some(layer), None) => summary(layer),
            (None, None) => format!("{} layers", entry.facts.kernels.len()),
        };
        ui.label(faint(text).small());
    });
}

fn summary(layer: &LayerOrientation) -> String {
    let count = layer.channels.len().max(1) as f64;
    let mean = layer.channels.iter().map(|channel| channel.anisotropy).sum::<f64>() / count;
    format!("{} channels, mean anisotropy {mean:.2}", layer.channels.len())
}

/// Every layer as a row of bins: rotation from layer to layer is a slope.
fn depth(ui: &mut egui::Ui, state: &State, entry: &Entry, out: &mut Commands) {
    ui.label(RichText::new("By depth: angles across, the first layer on top").strong());
    let layers = &entry.facts.orientations;
    let row = (190.0 / layers.len().max(1) as f32).clamp(6.0, 18.0);
    let width = (ui.available_width() - 6.0).max(80.0);
    let (rect, response) = ui.allocate_exact_size(vec2(width, row * layers.len() as f32 + 30.0), Sense::click());
    let painter = ui.painter_at(rect.expand(3.0));
    let dark = ui.visuals().dark_mode;
    let plot = Rect::from_min_size(rect.min, vec2(width, row * layers.len() as f32));
    let x = |degrees: f64| plot.left() + (degrees / 180.0) as f32 * plot.width();
    painter.rect_filled(plot, 0.0, ui.visuals().extreme_bg_color);
    for (index, (layer, bins)) in layers.iter().zip(&entry.facts.bins).enumerate() {
        let top = plot.top() + index as f32 * row;
        let peak = bins.learned.iter().copied().fold(0.0, f64::max).max(1e-12);
        let count = bins.learned.len().max(1);
        let bin = 180.0 / count as f64;
        // The bin around 0° is also the one around 180°.
        for i in 0..=count {
            let value = bins.learned.get(i % count).copied().unwrap_or(0.0) / peak;
            let (from, to) = ((i as f64 - 0.5) * bin, (i as f64 + 0.5) * bin);
            let part = Rect::from_min_max(pos2(x(from.max(0.0)), top + 0.5), pos2(x(to.min(180.0)), top + row - 0.5));
            painter.rect_filled(part, 0.0, accent(dark).linear_multiply(value as f32));
        }
        let mut built: Vec<i64> =
            layer.channels.iter().filter_map(|c| c.built.map(|b| (b * 10.0).round() as i64)).collect();
        built.sort_unstable();
        built.dedup();
        for angle in built {
            let at = x(angle as f64 / 10.0);
            let ends = [pos2(at, top + 1.0), pos2(at, top + row - 1.0)];
            painter.line_segment(ends, Stroke::new(1.5, built_color()));
        }
        let inside = state.look.address.as_ref().is_some_and(|address| address.holds(&layer.path));
        if inside {
            let line = Rect::from_min_size(pos2(plot.left(), top), vec2(plot.width(), row));
            painter.rect_stroke(line, 0.0, Stroke::new(1.5, ui.visuals().strong_text_color()), StrokeKind::Inside);
        }
    }
    let font = FontId::proportional(10.5);
    for (degrees, align) in [(0.0, Align2::LEFT_TOP), (90.0, Align2::CENTER_TOP), (180.0, Align2::RIGHT_TOP)] {
        let at = pos2(x(degrees), plot.bottom() + 2.0);
        painter.text(at, align, format!("{degrees}°"), font.clone(), ui.visuals().weak_text_color());
    }
    if let Some(point) = response.hover_pos()
        && let Some(layer) = layers.get(((point.y - plot.top()) / row).floor().max(0.0) as usize)
    {
        if response.clicked() {
            out.push(Command::GoTo(Address::layer(layer.path.clone())));
        }
        response.on_hover_text_at_pointer(format!("{}\n{}", layer.path, summary(layer)));
    }
}

/// The taps of the chosen layer, or of the first oriented one, one grid per angle.
fn taps(ui: &mut egui::Ui, state: &State, entry: &Entry, textures: &mut Textures) {
    let path = state.kernel_layer(entry).map(|(_, layer)| layer.path.as_str());
    let found = entry.facts.taps.iter().find(|(layer, _)| Some(layer.as_str()) == path);
    let Some((layer, patterns)) = found else {
        if !entry.facts.taps.is_empty() {
            ui.label(faint("The selected layer is not oriented; its taps form a rectangle."));
        }
        return;
    };
    heading(ui, format!("Taps of {layer}, colored by the mean weight of the channels that share an angle"));
    let reach = patterns.iter().flat_map(|p| &p.taps).map(|(dh, dw)| dh.abs().max(dw.abs())).max().unwrap_or(0);
    let weights = patterns.iter().flat_map(|p| p.weights.iter().flatten());
    let limit = widgets::limit(weights);
    let columns = patterns.len().clamp(1, 8) as f32;
    let side = ((ui.available_width() - 14.0) / columns - 8.0).clamp(56.0, 120.0);
    let dark = ui.visuals().dark_mode;
    ui.horizontal_wrapped(|ui| {
        for (index, pattern) in patterns.iter().enumerate() {
            let key = (entry.id.0, entry.generation, layer, index, dark);
            let texture = textures.get(ui.ctx(), key, TextureOptions::NEAREST, || grid(pattern, reach, limit, dark));
            ui.vertical(|ui| {
                ui.set_width(side);
                let (rect, response) = ui.allocate_exact_size(vec2(side, side), Sense::hover());
                let uv = Rect::from_min_max(pos2(0.0, 0.0), pos2(1.0, 1.0));
                ui.painter().image(texture.id(), rect, uv, Color32::WHITE);
                let cell = side / (2 * reach + 1) as f32;
                let center = Rect::from_center_size(rect.center(), vec2(cell, cell));
                ui.painter().rect_stroke(center, 0.0, Stroke::new(1.0, built_color()), StrokeKind::Outside);
                let text = format!("{:.1}°", pattern.angle_degrees);
                ui.label(RichText::new(text).small());
                response.on_hover_text(format!("{:.3}°, {} channels", pattern.angle_degrees, pattern.channels));
            });
        }
    });
    color_bar(ui, Colormap::Diverging, (-limit, limit), "mean weight", 190.0);
}

fn grid(pattern: &TapPattern, reach: i32, limit: f64, dark: bool) -> ColorImage {
    let side = (2 * reach + 1) as usize;
    let mut sums = vec![None; side * side];
    for (index, (dh, dw)) in pattern.taps.iter().enumerate() {
        let weight = pattern.weights.as_ref().and_then(|weights| weights.get(index)).copied().unwrap_or(0.0);
        if let Some(sum) = sums.get_mut((dh + reach) as usize * side + (dw + reach) as usize) {
            *sum = Some(sum.unwrap_or(0.0) + f64::from(weight));
        }
    }
    let empty = if dark { Color32::from_gray(48) } else { Color32::from_gray(228) };
    let mut image = ColorImage::filled([side, side], empty);
    for (pixel, sum) in image.pixels.iter_mut().zip(sums) {
        if let Some(sum) = sum {
            *pixel = color(signed(sum, limit));
        }
    }
    image
}

/// A small rose per layer, in order of depth.
fn roses(ui: &mut egui::Ui, state: &State, entry: &Entry, out: &mut Commands) {
    heading(ui, "Layers");
    let side = 84.0;
    ui.horizontal_wrapped(|ui| {
        for (layer, bins) in entry.facts.orientations.iter().zip(&entry.facts.bins) {
            let (rect, response) = ui.allocate_exact_size(vec2(side, side + 16.0), Sense::click());
            let circle = Rect::from_min_size(rect.min, vec2(side, side));
            rose(ui, circle, &Rose { bins, labels: false, channel: None });
            let chosen = state.look.address.as_ref().is_some_and(|address| address.holds(&layer.path));
            let short = layer.path.trim_start_matches("stages.").trim_end_matches(".dwconv");
            let ink = if chosen { ui.visuals().strong_text_color() } else { ui.visuals().weak_text_color() };
            let font = FontId::proportional(10.0);
            let text = elide(short, 15);
            ui.painter().text(pos2(circle.center().x, rect.bottom()), Align2::CENTER_BOTTOM, text, font, ink);
            if chosen {
                ui.painter().rect_stroke(rect, 4.0, Stroke::new(1.0, ink), StrokeKind::Inside);
            }
            if response.on_hover_text(format!("{}\n{}", layer.path, summary(layer))).clicked() {
                out.push(Command::GoTo(Address::layer(layer.path.clone())));
            }
        }
    });
}

/// Cuts off the beginning of a text that is longer than `most` characters.
fn elide(text: &str, most: usize) -> String {
    let count = text.chars().count();
    if count <= most {
        return text.to_string();
    }
    let end: String = text.chars().skip(count - most + 1).collect();
    format!("…{end}")
}
