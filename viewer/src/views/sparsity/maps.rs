//! Which small kernels and which shifts of shift-wise layers are kept, channel by channel.

use super::super::scene::Scene;
use crate::command::Command;
use crate::state::Entry;
use crate::widgets::{color, faint, heading, percent};
use eframe::egui::{
    self, Color32, ColorImage, FontId, Rect, RichText, Sense, Stroke, StrokeKind, TextureOptions, pos2, vec2,
};
use kernelscope::analysis::report::{Direction, KeptGroups, KeptShifts, SparsityReport};
use kernelscope::analysis::tree::Address;
use kernelscope_lab::plot::Colormap;

/// Room for the names of the lowest and the highest row, left of a map.
const NAMES: f32 = 44.0;

/// Counts by channel and row, as one picture: channels across, rows down.
struct Map<'a> {
    /// Module path of the layer.
    path: &'a str,
    /// More text for its title.
    title: String,
    /// Distinguishes the maps of a layer.
    kind: u8,
    channels: usize,
    rows: usize,
    /// Row by row of each channel, channel by channel.
    counts: &'a [u16],
    /// The largest possible count.
    most: usize,
    /// Names of the first and the last row.
    ends: [String; 2],
}

/// Color of a count between 0 and `most`.
fn count_color(count: u16, most: usize, dark: bool) -> Color32 {
    if count == 0 {
        return if dark { Color32::from_gray(52) } else { Color32::from_gray(222) };
    }
    let share = f64::from(count) / most.max(1) as f64;
    color(Colormap::Viridis.at(0.2 + 0.7 * share))
}

/// The colors of the counts, with what is counted: "path" or "shuffle".
fn legend(ui: &mut egui::Ui, most: usize, by: &str) {
    let dark = ui.visuals().dark_mode;
    ui.horizontal_wrapped(|ui| {
        for count in 0..=most.min(6) as u16 {
            let (rect, _) = ui.allocate_exact_size(vec2(12.0, 12.0), Sense::hover());
            ui.painter().rect_filled(rect.shrink(1.0), 1.0, count_color(count, most, dark));
            let text = match count {
                0 => "pruned".to_string(),
                1 if most == 1 => "kept".to_string(),
                1 => format!("kept by 1 {by}"),
                n => format!("by {n}"),
            };
            ui.label(faint(text).small());
        }
    });
}

/// One map per layer: by how many paths each small kernel of each channel is kept.
pub fn groups(ui: &mut egui::Ui, scene: &mut Scene, entry: &Entry, report: &SparsityReport) {
    if report.groups.is_empty() {
        return;
    }
    heading(ui, "Small kernels of the shift-wise layers: channels across, groups down");
    legend(ui, report.groups.iter().map(|map| map.paths).max().unwrap_or(1), "path");
    for KeptGroups { path, paths, channels, groups, kept, .. } in &report.groups {
        let left = kept.iter().filter(|&&paths| paths > 0).count();
        let share = percent(left as f64 / kept.len().max(1) as f64);
        let map = Map {
            path,
            title: format!("{channels} channels, {groups} groups, {share} kept"),
            kind: 0,
            channels: *channels,
            rows: *groups,
            counts: kept,
            most: *paths,
            ends: ["0".into(), groups.saturating_sub(1).to_string()],
        };
        draw(ui, scene, entry, &map, &|channel, group, count| {
            format!("channel {channel}, group {group}: kept by {count} of {paths} paths")
        });
    }
}

/// One map per layer and axis: which shifts of each channel survive.
pub fn shifts(ui: &mut egui::Ui, scene: &mut Scene, entry: &Entry, report: &SparsityReport) {
    if report.shifts.is_empty() {
        return;
    }
    heading(ui, "Shifts that survive: channels across, shifts in pixels down");
    legend(ui, report.shifts.iter().map(|map| map.shuffles).max().unwrap_or(1), "shuffle");
    for KeptShifts { path, direction, shuffles, channels, offsets, kept, .. } in &report.shifts {
        let name = |offset: Option<&i32>| offset.map_or(String::new(), |offset| format!("{offset:+} px"));
        let map = Map {
            path,
            title: direction.along().to_string(),
            kind: if *direction == Direction::Horizontal { 1 } else { 2 },
            channels: *channels,
            rows: offsets.len(),
            counts: kept,
            most: *shuffles,
            ends: [name(offsets.first()), name(offsets.last())],
        };
        draw(ui, scene, entry, &map, &|channel, row, count| {
            let offset = offsets.get(row).copied().unwrap_or(0);
            format!("channel {channel}, shift {offset:+} pixels: kept in {count} of {shuffles} shuffles")
        });
    }
}

/// Draws a map. `text` says what a channel, a row and their count mean.
fn draw(ui: &mut egui::Ui, scene: &mut Scene, entry: &Entry, map: &Map, text: &dyn Fn(usize, usize, u16) -> String) {
    let Scene { state, textures, out } = scene;
    let chosen = state.look.address.as_ref().is_some_and(|address| address.holds(map.path));
    let title = RichText::new(format!("{}   {}", map.path, map.title)).small();
    ui.label(if chosen { title.strong() } else { title });
    let dark = ui.visuals().dark_mode;
    let key = ("counts", entry.id.0, entry.generation, map.path, map.kind, dark);
    let texture = textures.get(ui.ctx(), key, TextureOptions::NEAREST, || {
        let mut image = ColorImage::filled([map.channels.max(1), map.rows.max(1)], Color32::BLACK);
        for (index, count) in map.counts.iter().enumerate() {
            let (channel, row) = (index / map.rows.max(1), index % map.rows.max(1));
            if let Some(pixel) = image.pixels.get_mut(row * map.channels + channel) {
                *pixel = count_color(*count, map.most, dark);
            }
        }
        image
    });
    let height = (map.rows as f32 * 7.0).clamp(24.0, 110.0);
    let (line, response) = ui.allocate_exact_size(vec2(ui.available_width() - 6.0, height), Sense::click());
    let rect = Rect::from_min_max(line.min + vec2(NAMES, 0.0), line.max);
    let weak = ui.visuals().weak_text_color();
    for (y, align, name) in
        [(rect.top(), egui::Align2::RIGHT_TOP, &map.ends[0]), (rect.bottom(), egui::Align2::RIGHT_BOTTOM, &map.ends[1])]
    {
        ui.painter().text(pos2(rect.left() - 4.0, y), align, name, FontId::proportional(10.0), weak);
    }
    let uv = Rect::from_min_max(pos2(0.0, 0.0), pos2(1.0, 1.0));
    ui.painter().image(texture.id(), rect, uv, Color32::WHITE);
    let ink = if chosen { ui.visuals().strong_text_color() } else { weak };
    ui.painter().rect_stroke(rect, 0.0, Stroke::new(1.0, ink), StrokeKind::Outside);
    let Some(point) = response.hover_pos().filter(|point| rect.contains(*point)) else { return };
    let offset = (point - rect.min) / rect.size();
    let channel = ((offset.x * map.channels as f32) as usize).min(map.channels.saturating_sub(1));
    let row = ((offset.y * map.rows as f32) as usize).min(map.rows.saturating_sub(1));
    let count = map.counts.get(channel * map.rows + row).copied().unwrap_or(0);
    if response.clicked() {
        out.push(Command::GoTo(Address::layer(map.path)));
    }
    response.on_hover_text_at_pointer(text(channel, row, count));
}
