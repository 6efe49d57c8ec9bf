//! Effective receptive fields of one or several networks: side by side, on top of each other, or as a difference.

mod compare;
mod controls;
mod legend;
mod map;

use super::scene::{Scene, current};
use crate::state::{Arrangement, Entry, State};
use crate::widgets::{self, color_bar};
use eframe::egui::{self, Vec2, vec2};
use kernelscope_lab::plot::Colormap;
use map::Field;

/// Height reserved for the lines below a map.
const LINES: f32 = 92.0;
/// Height of the title above a map.
const TITLE: f32 = 22.0;

pub fn ui(ui: &mut egui::Ui, scene: &mut Scene) {
    let state = scene.state;
    if current(ui, state).is_none() {
        return;
    }
    let shown: Vec<&Entry> =
        state.shown().into_iter().filter(|e| e.erf.is_some() || e.network_name().is_some()).collect();
    if shown.is_empty() {
        let why = "A receptive field needs a known network or a matrix (.npy).";
        widgets::nothing(ui, "No receptive field", why);
        return;
    }
    controls::ui(ui, &state.look.erf, &shown, scene.out);
    for entry in &shown {
        if let Some(fault) = &entry.erf_fault {
            widgets::fault(ui, &format!("{}: {fault}", entry.label));
        }
    }
    let peak = shared_peak(state, &shown);
    egui::ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
        let fields: Vec<Field> = shown.iter().filter_map(|entry| Field::of(entry)).take(2).collect();
        match (state.look.erf.arrangement, fields.as_slice()) {
            (Arrangement::Swipe, [a, b]) => compare::swipe(ui, scene, *a, *b, peak),
            (Arrangement::Difference, [a, b]) => compare::difference(ui, scene, *a, *b),
            _ => side_by_side(ui, scene, &shown, peak),
        }
    });
}

/// The peak that all maps share, if they share one.
fn shared_peak(state: &State, shown: &[&Entry]) -> Option<f64> {
    let look = &state.look.erf;
    let largest = shown.iter().filter_map(|entry| entry.erf.as_ref()).map(|erf| erf.largest).fold(0.0, f32::max);
    (look.shared_range && shown.len() > 1).then(|| look.scale().peak(&[largest]))
}

/// The number of columns and the side with which `count` squares fill an area best.
fn arrange(count: usize, area: Vec2) -> (usize, f32) {
    let side = |columns: usize| {
        let rows = count.div_ceil(columns);
        let wide = (area.x - 10.0) / columns as f32 - 10.0;
        let high = area.y / rows as f32 - LINES - TITLE - 6.0;
        wide.min(high)
    };
    let best = (1..=count.max(1)).max_by(|a, b| side(*a).total_cmp(&side(*b))).unwrap_or(1);
    (best, side(best).clamp(110.0, 1100.0))
}

fn side_by_side(ui: &mut egui::Ui, scene: &mut Scene, shown: &[&Entry], peak: Option<f64>) {
    let bar = 56.0;
    let (columns, side) = arrange(shown.len(), ui.available_size() - vec2(0.0, bar));
    // The lines below a map may be longer than the map is wide.
    let room = (ui.available_width() - 10.0) / columns as f32 - 10.0;
    let width = side.max(room.min(200.0));
    for row in shown.chunks(columns) {
        ui.horizontal_top(|ui| {
            for entry in row {
                ui.vertical(|ui| {
                    ui.set_width(width);
                    legend::title(ui, scene.state, entry);
                    match Field::of(entry) {
                        Some(field) => {
                            map::map(ui, scene, field, peak, side);
                            legend::lines(ui, scene.state, field.erf);
                        }
                        None => waiting(ui, scene.state, entry, side),
                    }
                });
            }
        });
    }
    let scale = scene.state.look.erf.scale();
    color_bar(ui, Colormap::Magma, (0.0, 1.0), &scale.label(), ui.available_width().min(420.0));
}

fn waiting(ui: &mut egui::Ui, state: &State, entry: &Entry, side: f32) {
    let text = match (&entry.erf_fault, state.look.erf.live) {
        (Some(_), _) => "no map",
        (None, true) => "computing…",
        (None, false) => "press Compute",
    };
    let (rect, _) = ui.allocate_exact_size(vec2(side, side), egui::Sense::hover());
    ui.painter().rect_filled(rect, 2.0, ui.visuals().extreme_bg_color);
    let ink = ui.visuals().weak_text_color();
    ui.painter().text(rect.center(), egui::Align2::CENTER_CENTER, text, egui::FontId::proportional(13.0), ink);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squares_fill_the_area() {
        assert_eq!(arrange(1, vec2(800.0, 600.0)).0, 1);
        assert_eq!(arrange(2, vec2(1200.0, 500.0)).0, 2);
        assert_eq!(arrange(4, vec2(800.0, 900.0)).0, 2);
        let (columns, side) = arrange(6, vec2(100.0, 100.0));
        assert!(columns >= 1 && side >= 110.0);
    }
}
