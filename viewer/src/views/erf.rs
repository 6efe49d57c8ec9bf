//! Effective receptive fields: of one network or several, beside each other, in one place or as a difference.

use super::{current, erf_controls, erf_paint};
use crate::command::Commands;
use crate::state::{Arrangement, Entry, ErfResult, State};
use crate::widgets::{self, Textures, colour_bar, faint, series_colour};
use eframe::egui::{self, RichText, Vec2, vec2};
use kernelscope::plot::Colormap;

/// Height that is kept below a map for its lines.
const LINES: f32 = 92.0;
/// Height of the title above a map.
const TITLE: f32 = 22.0;

pub fn ui(ui: &mut egui::Ui, state: &State, textures: &mut Textures, out: &mut Commands) {
    if current(ui, state).is_none() {
        return;
    }
    let shown: Vec<&Entry> =
        state.shown().into_iter().filter(|e| e.erf.is_some() || e.network_name().is_some()).collect();
    if shown.is_empty() {
        let why = "A receptive field needs a network that is known, or a matrix (.npy).";
        widgets::nothing(ui, "No receptive field", why);
        return;
    }
    erf_controls::ui(ui, state, &shown, out);
    for entry in &shown {
        if let Some(fault) = &entry.erf_fault {
            widgets::fault(ui, &format!("{}: {fault}", entry.label));
        }
    }
    let peak = shared_peak(state, &shown);
    egui::ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
        let pair: Vec<(&Entry, &ErfResult)> =
            shown.iter().filter_map(|e| Some((*e, e.erf.as_ref()?))).take(2).collect();
        match (state.look.erf.arrangement, pair.as_slice()) {
            (Arrangement::Swipe, [a, b]) => erf_paint::swipe(ui, state, textures, (*a, *b), peak, out),
            (Arrangement::Difference, [a, b]) => erf_paint::difference(ui, state, textures, (*a, *b), out),
            _ => side_by_side(ui, state, textures, &shown, peak, out),
        }
    });
}

/// The peak that all maps share, where they do.
fn shared_peak(state: &State, shown: &[&Entry]) -> Option<f64> {
    let look = &state.look.erf;
    let largest = shown.iter().filter_map(|entry| entry.erf.as_ref()).map(|erf| erf.largest).fold(0.0, f32::max);
    (look.shared_range && shown.len() > 1).then(|| look.scale().peak(&[largest]))
}

/// Columns and side of the cells with which `count` squares fill an area best.
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

fn side_by_side(
    ui: &mut egui::Ui,
    state: &State,
    textures: &mut Textures,
    shown: &[&Entry],
    peak: Option<f64>,
    out: &mut Commands,
) {
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
                    title(ui, state, entry);
                    match &entry.erf {
                        Some(erf) => {
                            erf_paint::map(ui, state, textures, (entry, erf), peak, side, out);
                            lines(ui, state, erf);
                        }
                        None => waiting(ui, state, entry, side),
                    }
                });
            }
        });
    }
    let scale = state.look.erf.scale();
    colour_bar(ui, Colormap::Magma, (0.0, 1.0), &scale.label(), ui.available_width().min(420.0));
}

pub fn title(ui: &mut egui::Ui, state: &State, entry: &Entry) {
    let ink = series_colour(state.index_of(entry.id), ui.visuals().dark_mode);
    ui.add(egui::Label::new(RichText::new(&entry.label).color(ink).strong()).truncate());
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

/// What was probed, and the squares of the thresholds.
pub fn lines(ui: &mut egui::Ui, state: &State, erf: &ErfResult) {
    ui.spacing_mut().item_spacing.y = 1.0;
    ui.spacing_mut().interact_size.y = 15.0;
    let map = &erf.map;
    let what = if erf.stage_size == (0, 0) {
        format!("imported, {}×{}", map.height, map.width)
    } else {
        let (row, column) = map.position;
        format!("stage {}, position {row},{column}, {} of {} images", map.stage, map.images, erf.total)
    };
    ui.add(egui::Label::new(faint(what).small()).truncate());
    for (index, threshold) in state.look.erf.thresholds.iter().enumerate() {
        let percent = |ratio: Option<f64>| ratio.map_or("–".to_string(), |ratio| format!("{:.1} %", 100.0 * ratio));
        let [log, raw] = [&erf.squares[0], &erf.squares[1]].map(|squares| squares.area(*threshold));
        let side = log.side.map_or("not reached".to_string(), |side| format!("{side} px"));
        let ink = erf_paint::square_colour(index);
        ui.horizontal(|ui| {
            ui.spacing_mut().item_spacing.x = 5.0;
            let (dot, _) = ui.allocate_exact_size(vec2(8.0, 8.0), egui::Sense::hover());
            erf_paint::swatch(ui, dot, ink);
            let text =
                format!("{:.0} %: {side}, r {} (raw {})", 100.0 * threshold, percent(log.ratio), percent(raw.ratio));
            ui.add(egui::Label::new(RichText::new(text).small()).truncate()).on_hover_text(
                "Side and share of the image of the smallest centred square with more than this share of the \
                 log-scaled contribution, as in RepLKNet's script; in brackets that of the raw contribution.",
            );
        });
    }
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
