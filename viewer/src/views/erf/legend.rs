//! What is written above and below a map.

use crate::state::{Entry, ErfResult, State};
use crate::widgets::{color, faint, series_color};
use eframe::egui::{self, Color32, Rect, RichText, Stroke, StrokeKind, vec2};

/// Colors of the squares, the same as in the library's figure.
const SQUARES: [[u8; 3]; 4] = [[86, 180, 233], [0, 200, 150], [240, 228, 66], [255, 255, 255]];

/// The color of a threshold's square.
pub fn square_color(index: usize) -> Color32 {
    color(SQUARES.get(index % SQUARES.len()).copied().unwrap_or([255; 3]))
}

/// A small square in a threshold's color. Its outline makes white visible on a light background.
pub fn swatch(ui: &egui::Ui, rect: Rect, ink: Color32) {
    ui.painter().rect_filled(rect, 1.0, ink);
    ui.painter().rect_stroke(rect, 1.0, Stroke::new(0.7, ui.visuals().weak_text_color()), StrokeKind::Middle);
}

/// The network's name in its color.
pub fn title(ui: &mut egui::Ui, state: &State, entry: &Entry) {
    let ink = series_color(state.index_of(entry.id), ui.visuals().dark_mode);
    ui.add(egui::Label::new(RichText::new(&entry.label).color(ink).strong()).truncate());
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
        let ink = square_color(index);
        ui.horizontal(|ui| {
            ui.spacing_mut().item_spacing.x = 5.0;
            let (dot, _) = ui.allocate_exact_size(vec2(8.0, 8.0), egui::Sense::hover());
            swatch(ui, dot, ink);
            let text =
                format!("{:.0} %: {side}, r {} (raw {})", 100.0 * threshold, percent(log.ratio), percent(raw.ratio));
            ui.add(egui::Label::new(RichText::new(text).small()).truncate()).on_hover_text(
                "Side of the smallest centered square that holds more than this share of the log-scaled contribution, \
                 and its share of the image, as in RepLKNet's script; in parentheses, for the raw contribution.",
            );
        });
    }
}
