//! Two receptive fields on top of each other: with a movable border, or one minus the other.

use super::super::scene::Scene;
use super::legend::{lines, title};
use super::map::{Field, Overlay, key, picture, pointer, sides, texture};
use crate::command::Command;
use crate::widgets::{color, color_bar, faint, fault, image_area, number, paint_image, series_color};
use eframe::egui::{self, Color32, Rect, Stroke, StrokeKind, TextureOptions, pos2};
use kernelscope::analysis::erf;
use kernelscope_lab::plot::{Colormap, colormap::signed};

/// Two maps on top of each other, with a movable border.
pub fn swipe(ui: &mut egui::Ui, scene: &mut Scene, first: Field, second: Field, peak: Option<f64>) {
    let Scene { state, textures, out } = scene;
    let look = &state.look.erf;
    let side = (ui.available_height() - 190.0).min(ui.available_width() - 12.0).clamp(140.0, 1100.0);
    ui.horizontal(|ui| {
        ui.set_width(side);
        title(ui, state, first.entry);
        ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| title(ui, state, second.entry));
    });
    let area = image_area(ui, sides(first.erf, side), look.camera, "Receptive fields, swiped", out);
    let [left, right] = [first, second].map(|field| texture(ui, textures, look, field.erf, peak));
    paint_image(ui, &area, left.id(), 0.0, look.swipe);
    paint_image(ui, &area, right.id(), look.swipe, 1.0);
    let x = area.rect.left() + area.rect.width() * look.swipe;
    let left = Rect::from_min_max(area.rect.min, pos2(x, area.rect.bottom()));
    let right = Rect::from_min_max(pos2(x, area.rect.top()), area.rect.max);
    for (field, part) in [(first, left), (second, right)] {
        Overlay { look, erf: field.erf, area: &area, part, peak }.paint(ui, textures);
    }
    ui.painter().vline(x, area.rect.y_range(), Stroke::new(2.0, Color32::WHITE));
    // The value under the pointer belongs to the map that is visible there.
    let beyond = area.response.hover_pos().is_some_and(|point| point.x > x);
    pointer(ui, if beyond { second.erf } else { first.erf }, &area, out);
    ui.spacing_mut().slider_width = side - 10.0;
    let border = |swipe: &mut f32| {
        let slider = egui::Slider::new(swipe, 0.0..=1.0).show_value(false);
        ui.add(slider).on_hover_text("Border between the two maps");
    };
    out.edit(&look.swipe, border, Command::SetSwipe);
    ui.horizontal_top(|ui| {
        for field in [first, second] {
            ui.vertical(|ui| {
                ui.set_width((side / 2.0 - 6.0).max(210.0).min(ui.available_width()));
                let ink = series_color(state.index_of(field.entry.id), ui.visuals().dark_mode);
                ui.colored_label(ink, &field.entry.label);
                lines(ui, state, field.erf);
            });
        }
    });
}

/// The first map minus the second, both relative to their common peak.
pub fn difference(ui: &mut egui::Ui, scene: &mut Scene, first: Field, second: Field) {
    let Scene { state, textures, out } = scene;
    let look = &state.look.erf;
    let scale = look.scale();
    let peak = scale.peak(&[first.erf.largest.max(second.erf.largest)]);
    let of = (first.erf.version, second.erf.version, key(look, peak));
    let values = textures.memo(("difference", of), || {
        let [a, b] = [first, second].map(|field| scale.apply(&field.erf.map.contribution, peak));
        erf::difference(&a, &b).map_err(|error| error.to_string())
    });
    let values = match &*values {
        Ok(values) => values,
        Err(error) => return fault(ui, error),
    };
    let limit = *textures.memo(("limit", of), || values.iter().fold(0.0, |limit: f64, v| limit.max(v.abs())));
    ui.label(format!("{} − {}", first.entry.label, second.entry.label));
    let side = (ui.available_height() - 90.0).min(ui.available_width() - 12.0).clamp(140.0, 1100.0);
    let map = &first.erf.map;
    let area = image_area(ui, sides(first.erf, side), look.camera, "Difference of receptive fields", out);
    let texture = textures.get(ui.ctx(), ("difference texture", of), TextureOptions::NEAREST, || {
        picture(map.width, map.height, values.iter().map(|v| color(signed(*v, limit))))
    });
    paint_image(ui, &area, texture.id(), 0.0, 1.0);
    if let Some(share) = area.response.hover_pos().and_then(|point| area.share(point)) {
        let (row, column) = ((share.1 * map.height as f32) as usize, (share.0 * map.width as f32) as usize);
        let value = values.get(row * map.width + column).copied().unwrap_or(0.0);
        area.response.clone().on_hover_text_at_pointer(format!("row {row}, column {column}\n{}", number(value)));
    }
    let frame = Stroke::new(1.0, ui.visuals().weak_text_color());
    ui.painter().rect_stroke(area.rect, 0.0, frame, StrokeKind::Outside);
    color_bar(ui, Colormap::Diverging, (-limit, limit), "difference, relative to the common maximum", side.min(420.0));
    ui.label(faint("Positive: the first network sees more there.").small());
}
