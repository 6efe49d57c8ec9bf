//! Learned kernels: a grid of all channels, and one of them enlarged.

use super::scene::{Scene, current};
use crate::command::{Command, Commands};
use crate::state::{Entry, KernelLook, KernelSort, State};
use crate::widgets::{
    self, KernelPicture, PictureKey, Tap, color_bar, faint, kernel_picture, kernel_tile, limit, number, tap_at, toggle,
};
use eframe::egui::{self, Align2, FontId, Rect, RichText, Sense, Stroke, StrokeKind, pos2, vec2};
use kernelscope::analysis::report::{ChannelOrientation, KernelLayer, KernelShape};
use kernelscope::analysis::tree::Address;
use kernelscope_lab::plot::Colormap;

pub fn ui(ui: &mut egui::Ui, scene: &mut Scene) {
    let state = scene.state;
    let Some(entry) = current(ui, state) else { return };
    controls(ui, state, entry, scene.out);
    if let (true, Some(Err(message))) = (state.look.kernels.merged, &entry.merged) {
        widgets::fault(ui, &format!("Merged kernels: {message}"));
    }
    let Some((index, layer)) = state.kernel_layer(entry) else {
        let why = if entry.subject.is_some() {
            "The network has no depthwise convolutions."
        } else {
            "There are no weights yet."
        };
        widgets::nothing(ui, "No kernels", why);
        return;
    };
    let look = &state.look.kernels;
    let merged = look.merged && matches!(entry.merged, Some(Ok(_)));
    let channels = entry.orientations(merged).get(index).map_or(&[][..], |layer| &layer.channels);
    let key = PictureKey {
        entry: entry.id,
        generation: entry.generation,
        merged,
        own_range: look.own_range,
        dark: ui.visuals().dark_mode,
    };
    let picture = kernel_picture(ui.ctx(), scene.textures, layer, key);
    detail(ui, state, layer, channels, &picture);
    ui.separator();
    grid(ui, state, layer, &look.sort.order(layer.channels, channels), &picture, scene.out);
}

fn controls(ui: &mut egui::Ui, state: &State, entry: &Entry, out: &mut Commands) {
    let look = &state.look.kernels;
    ui.horizontal_wrapped(|ui| {
        let label = ui.label("Layer");
        let layers = entry.kernels(look.merged);
        let shown = state.kernel_layer(entry).map_or("–", |(_, layer)| layer.path.as_str());
        let list = egui::ComboBox::from_id_salt("layer").selected_text(shown).width(170.0).height(400.0);
        let response = list.show_ui(ui, |ui| {
            for layer in layers {
                if ui.selectable_label(layer.path == shown, &layer.path).clicked() {
                    out.push(Command::GoTo(Address::layer(layer.path.clone())));
                }
            }
        });
        response.response.labelled_by(label.id);
        let label = ui.label("Sort");
        let list = egui::ComboBox::from_id_salt("sort").selected_text(look.sort.name()).width(92.0);
        let choose = |chosen: &mut KernelSort| {
            let response = list.show_ui(ui, |ui| {
                for sort in KernelSort::ALL {
                    ui.selectable_value(chosen, sort, sort.name());
                }
            });
            response.response.labelled_by(label.id);
        };
        out.edit(&look.sort, choose, Command::SortKernels);
        let label = ui.label("Size");
        ui.spacing_mut().slider_width = 70.0;
        let slide = |side: &mut f32| {
            ui.add(egui::Slider::new(side, 24.0..=160.0).show_value(false)).labelled_by(label.id);
        };
        out.edit(&look.side, slide, Command::SetKernelSide);
        let hint = "Each kernel has a color range of its own";
        toggle(ui, look.own_range, "Own ranges", Command::ToggleOwnRange, out).on_hover_text(hint);
        let hint =
            "The form for inference: parallel kernels and their norms in one; for shift-wise networks, the crosses";
        toggle(ui, look.merged, "Merged", Command::ToggleMerged, out).on_hover_text(hint);
    });
}

/// Describes one channel's kernel, line by line.
fn describe(channel: &ChannelOrientation) -> Vec<String> {
    let angle = |angle: Option<f64>| angle.map_or("–".to_string(), |angle| format!("{angle:.1}°"));
    let mut lines = vec![format!("norm {}", number(channel.energy.sqrt()))];
    lines.extend(channel.built.map(|built| format!("built {}", angle(Some(built)))));
    lines.push(format!("dominant {}", angle(channel.dominant)));
    lines.push(format!("anisotropy {:.2}", channel.anisotropy));
    lines
}

/// The chosen channel, enlarged, with the value under the pointer.
fn detail(ui: &mut egui::Ui, state: &State, layer: &KernelLayer, of: &[ChannelOrientation], picture: &KernelPicture) {
    let channel = state.channel(layer).unwrap_or(0);
    let side = (ui.available_height() * 0.34).clamp(90.0, 190.0);
    ui.horizontal(|ui| {
        let (rect, response) = ui.allocate_exact_size(fitted(picture, side), Sense::hover());
        let name = format!("Kernel {}:{channel}", layer.path);
        response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Image, true, name.as_str()));
        kernel_tile(ui.painter(), picture, channel, rect);
        ui.painter().rect_stroke(rect, 0.0, Stroke::new(1.0, ui.visuals().weak_text_color()), StrokeKind::Outside);
        let kernel = layer.pixels(channel);
        let hovered = response.hover_pos().and_then(|point| tap_at(&kernel, rect, point));
        ui.vertical(|ui| {
            let shape = match &layer.shape {
                KernelShape::Oriented { taps, .. } => format!("oriented, {taps} taps"),
                KernelShape::Dense { height, width } => format!("{height}×{width}"),
            };
            ui.label(RichText::new(format!("{}:{channel}", layer.path)).monospace().strong());
            ui.label(faint(format!("{shape}, {} channels", layer.channels)));
            for line in of.get(channel).map(describe).unwrap_or_default() {
                ui.label(line);
            }
            ui.label(match hovered {
                Some(tap) => RichText::new(tap.to_string()).monospace(),
                None => faint("point at a tap to see its weight").small(),
            });
            let own = state.look.kernels.own_range;
            let range = if own { limit(kernel.values.iter()) } else { limit(layer.weights.iter()) };
            color_bar(ui, Colormap::Diverging, (-range, range), "weight", ui.available_width().clamp(90.0, 190.0));
        });
    });
}

/// The size of a kernel whose longer side is `side`.
fn fitted(picture: &KernelPicture, side: f32) -> egui::Vec2 {
    let longest = picture.height.max(picture.width).max(1) as f32;
    vec2(side * picture.width as f32 / longest, side * picture.height as f32 / longest)
}

const LABEL: f32 = 14.0;

fn grid(
    ui: &mut egui::Ui,
    state: &State,
    layer: &KernelLayer,
    order: &[usize],
    picture: &KernelPicture,
    out: &mut Commands,
) {
    let look: &KernelLook = &state.look.kernels;
    let cell = fitted(picture, look.side);
    let gap = 6.0;
    let columns = (((ui.available_width() - 12.0) / (cell.x + gap)).floor() as usize).max(1);
    let height = cell.y + LABEL + gap;
    let chosen = state.channel(layer);
    let ink = ui.visuals().weak_text_color();
    let accent = widgets::accent(ui.visuals().dark_mode);
    let area = egui::ScrollArea::vertical().auto_shrink(false);
    ui.spacing_mut().item_spacing.y = 0.0;
    area.show_rows(ui, height, order.len().div_ceil(columns), |ui, rows| {
        for row in rows {
            let (line, response) = ui.allocate_exact_size(vec2(ui.available_width(), height), Sense::click());
            if let Some(first) = order.get(row * columns) {
                let name = format!("Kernels of {} from channel {first}", layer.path);
                response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Image, true, name.as_str()));
            }
            let part = order.iter().skip(row * columns).take(columns);
            for (column, &channel) in part.enumerate() {
                let left = line.left() + column as f32 * (cell.x + gap);
                let label = pos2(left + cell.x / 2.0, line.top() + LABEL / 2.0);
                let text = channel.to_string();
                ui.painter().text(label, Align2::CENTER_CENTER, text, FontId::proportional(10.0), ink);
                let rect = Rect::from_min_size(pos2(left, line.top() + LABEL), cell);
                kernel_tile(ui.painter(), picture, channel, rect);
                if chosen == Some(channel) {
                    ui.painter().rect_stroke(rect, 0.0, Stroke::new(2.0, accent), StrokeKind::Outside);
                }
                let here = response.hover_pos().is_some_and(|point| rect.contains(point));
                if here && response.clicked() {
                    out.push(Command::GoTo(Address::layer(layer.path.clone()).with_channel(channel)));
                }
                if here {
                    let point = response.hover_pos().unwrap_or(rect.center());
                    let tap = tap_at(&layer.pixels(channel), rect, point);
                    let tap = tap.as_ref().map_or(String::new(), Tap::to_string);
                    response.clone().on_hover_text_at_pointer(format!("channel {channel}\n{tap}"));
                }
            }
        }
    });
}
