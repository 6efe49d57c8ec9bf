//! Heat maps of receptive fields with what lies on them.

use super::erf::{lines, title};
use crate::command::{Command, Commands};
use crate::state::{Entry, ErfLook, ErfResult, State};
use crate::widgets::{ImageArea, Textures, colour, colour_bar, faint, image_area, number, paint_image, series_colour};
use eframe::egui::{
    self, Color32, ColorImage, Rect, Shape, Stroke, StrokeKind, TextureHandle, TextureOptions, pos2, vec2,
};
use kernelscope::analysis::erf;
use kernelscope::plot::{Colormap, colormap::signed, erf::CONTOUR_SIDE, pool};

/// Colours of the squares, those of the library's figure.
const SQUARES: [[u8; 3]; 4] = [[86, 180, 233], [0, 200, 150], [240, 228, 66], [255, 255, 255]];

/// The colour of a threshold's square.
pub fn square_colour(index: usize) -> Color32 {
    colour(SQUARES.get(index % SQUARES.len()).copied().unwrap_or([255; 3]))
}

/// A small square of a threshold's colour; its rim shows the white one on light ground.
pub fn swatch(ui: &egui::Ui, rect: Rect, ink: Color32) {
    ui.painter().rect_filled(rect, 1.0, ink);
    ui.painter().rect_stroke(rect, 1.0, Stroke::new(0.7, ui.visuals().weak_text_color()), StrokeKind::Middle);
}

/// What a texture follows from, besides the map.
fn key(look: &ErfLook, peak: f64) -> (u8, u64, u64) {
    (look.transfer as u8, look.gamma.to_bits(), peak.to_bits())
}

fn picture(width: usize, height: usize, pixels: impl Iterator<Item = Color32>) -> ColorImage {
    let pixels: Vec<Color32> = pixels.take(width * height).collect();
    ColorImage::new([width, height], pixels)
}

/// The texture of a map, or of its input image.
fn texture(
    ui: &egui::Ui,
    textures: &mut Textures,
    look: &ErfLook,
    erf: &ErfResult,
    peak: Option<f64>,
) -> TextureHandle {
    if look.input && erf.stage_size != (0, 0) {
        let image = &erf.image;
        return textures.get(ui.ctx(), ("input", erf.version), TextureOptions::LINEAR, || {
            let pixels = image.pixels.chunks_exact(3).map(|p| Color32::from_rgb(p[0], p[1], p[2]));
            picture(image.width, image.height, pixels)
        });
    }
    let scale = look.scale();
    let peak = peak.unwrap_or_else(|| scale.peak(&[erf.largest]));
    textures.get(ui.ctx(), (erf.version, key(look, peak)), TextureOptions::NEAREST, || {
        let table: Vec<Color32> = (0..=1023).map(|i| colour(Colormap::Magma.at(f64::from(i) / 1023.0))).collect();
        let values = scale.apply(&erf.map.contribution, peak);
        let at = |value: f64| table.get((value.clamp(0.0, 1.0) * 1023.0).round() as usize).copied().unwrap_or_default();
        picture(erf.map.width, erf.map.height, values.into_iter().map(at))
    })
}

/// The sides of a map on the screen.
fn sides(erf: &ErfResult, side: f32) -> egui::Vec2 {
    let (w, h) = (erf.map.width as f32, erf.map.height as f32);
    vec2(side * (w / h).min(1.0), side * (h / w).min(1.0))
}

/// One map with its squares, contours, probed position and cursor.
pub fn map(
    ui: &mut egui::Ui,
    state: &State,
    textures: &mut Textures,
    (entry, erf): (&Entry, &ErfResult),
    peak: Option<f64>,
    side: f32,
    out: &mut Commands,
) {
    let look = &state.look.erf;
    let name = format!("Receptive field of {}", entry.label);
    let area = image_area(ui, sides(erf, side), look.camera, &name, out);
    let texture = texture(ui, textures, look, erf, peak);
    paint_image(ui, &area, texture.id(), 0.0, 1.0);
    overlay(ui, textures, look, erf, &area, (peak, area.rect));
    pointer(ui, look, erf, &area, out);
}

/// The squares, contours and the probed position, inside a part of the area.
fn overlay(
    ui: &egui::Ui,
    textures: &mut Textures,
    look: &ErfLook,
    erf: &ErfResult,
    area: &ImageArea,
    (peak, part): (Option<f64>, Rect),
) {
    let painter = ui.painter().with_clip_rect(part.intersect(ui.clip_rect()));
    let (h, w) = (erf.map.height, erf.map.width);
    if look.squares {
        for (index, threshold) in look.thresholds.iter().enumerate() {
            let Some(side) = erf.squares[0].area(*threshold).side else { continue };
            let (row, column, half) = ((h / 2) as f32, (w / 2) as f32, side as f32 / 2.0);
            let corner =
                |sign: f32| area.at(((column + 0.5 + sign * half) / w as f32, (row + 0.5 + sign * half) / h as f32));
            let rect = Rect::from_two_pos(corner(-1.0), corner(1.0));
            painter.rect_stroke(rect, 0.0, Stroke::new(2.5, Color32::from_black_alpha(110)), StrokeKind::Middle);
            painter.rect_stroke(rect, 0.0, Stroke::new(1.3, square_colour(index)), StrokeKind::Middle);
        }
    }
    if look.contours {
        let scale = look.scale();
        let peak = peak.unwrap_or_else(|| scale.peak(&[erf.largest]));
        for (index, threshold) in look.thresholds.iter().enumerate() {
            let level = ("contour", erf.version, key(look, peak), threshold.to_bits());
            let lines = textures.memo(level, || {
                let values = scale.apply(&erf.map.contribution, peak);
                let (width, height, pooled) = pool(&values, w, h, CONTOUR_SIDE);
                let share = |(x, y): (f32, f32)| (x / width as f32, y / height as f32);
                erf::contour(&pooled, width, *threshold).into_iter().map(|line| line.map(share)).collect::<Vec<_>>()
            });
            let stroke = Stroke::new(1.0, square_colour(index));
            painter.extend(lines.iter().map(|line| Shape::line_segment(line.map(|point| area.at(point)), stroke)));
        }
    }
    let (rows, columns) = erf.stage_size;
    if rows > 0 && columns > 0 {
        let (row, column) = erf.map.position;
        let at = area.at(((column as f32 + 0.5) / columns as f32, (row as f32 + 0.5) / rows as f32));
        let stroke = Stroke::new(1.2, Color32::from_rgb(120, 255, 120));
        for arm in [vec2(5.0, 0.0), vec2(0.0, 5.0)] {
            painter.line_segment([at - arm, at + arm], stroke);
        }
    }
    let frame = ui.visuals().weak_text_color();
    ui.painter().rect_stroke(area.rect, 0.0, Stroke::new(1.0, frame), StrokeKind::Outside);
    let shared: Option<(f32, f32)> = ui.data(|data| data.get_temp(egui::Id::unique(CURSOR)));
    let fresh: Option<u64> = ui.data(|data| data.get_temp(egui::Id::unique(CURSOR_PASS)));
    let now = ui.ctx().cumulative_pass_nr();
    if let (Some(share), true) = (shared, fresh.is_some_and(|pass| now <= pass + 1)) {
        let at = area.at(share);
        let stroke = Stroke::new(0.7, Color32::from_white_alpha(140));
        painter.hline(area.rect.x_range(), at.y, stroke);
        painter.vline(at.x, area.rect.y_range(), stroke);
    }
}

/// Where the pointer of all maps is kept from one frame to the next.
const CURSOR: &str = "cursor of the receptive fields";
const CURSOR_PASS: &str = "frame of the cursor of the receptive fields";

/// The pointer: the value under it, the cursor of all maps, and a click that probes a position.
fn pointer(ui: &egui::Ui, look: &ErfLook, erf: &ErfResult, area: &ImageArea, out: &mut Commands) {
    let Some(point) = area.response.hover_pos() else { return };
    let Some(share) = area.share(point) else { return };
    let pass = ui.ctx().cumulative_pass_nr();
    ui.data_mut(|data| {
        data.insert_temp(egui::Id::unique(CURSOR), share);
        data.insert_temp(egui::Id::unique(CURSOR_PASS), pass);
    });
    let (h, w) = (erf.map.height, erf.map.width);
    let (row, column) = ((share.1 * h as f32) as usize, (share.0 * w as f32) as usize);
    let value = erf.map.contribution.get(row * w + column).copied().unwrap_or(0.0);
    let text = format!("row {row}, column {column}\nA = {}", number(f64::from(value)));
    let (rows, columns) = erf.stage_size;
    if rows > 0 && area.response.clicked() {
        let place = |share: f32, count: usize| ((share * count as f32) as usize).min(count.saturating_sub(1));
        let position = Some((place(share.1, rows), place(share.0, columns)));
        out.push(Command::SetErf(Box::new(ErfLook { position, ..look.clone() })));
    }
    area.response.clone().on_hover_text_at_pointer(text);
}

/// Two maps in one place, with a border to move.
pub fn swipe(
    ui: &mut egui::Ui,
    state: &State,
    textures: &mut Textures,
    pair: ((&Entry, &ErfResult), (&Entry, &ErfResult)),
    peak: Option<f64>,
    out: &mut Commands,
) {
    let look = &state.look.erf;
    let [(a, first), (b, second)] = [pair.0, pair.1];
    let side = (ui.available_height() - 190.0).min(ui.available_width() - 12.0).clamp(140.0, 1100.0);
    let mut border = look.swipe;
    ui.horizontal(|ui| {
        ui.set_width(side);
        title(ui, state, a);
        ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| title(ui, state, b));
    });
    let area = image_area(ui, sides(first, side), look.camera, "Receptive fields, swiped", out);
    let textures_of = [first, second].map(|erf| texture(ui, textures, look, erf, peak));
    paint_image(ui, &area, textures_of[0].id(), 0.0, border);
    paint_image(ui, &area, textures_of[1].id(), border, 1.0);
    let x = area.rect.left() + area.rect.width() * border;
    let left = Rect::from_min_max(area.rect.min, pos2(x, area.rect.bottom()));
    let right = Rect::from_min_max(pos2(x, area.rect.top()), area.rect.max);
    overlay(ui, textures, look, first, &area, (peak, left));
    overlay(ui, textures, look, second, &area, (peak, right));
    ui.painter().vline(x, area.rect.y_range(), Stroke::new(2.0, Color32::WHITE));
    // The value under the pointer is that of the map that is seen there.
    let beyond = area.response.hover_pos().is_some_and(|point| point.x > x);
    pointer(ui, look, if beyond { second } else { first }, &area, out);
    ui.spacing_mut().slider_width = side - 10.0;
    let slider = egui::Slider::new(&mut border, 0.0..=1.0).show_value(false);
    ui.add(slider).on_hover_text("Border between the two maps");
    if (border - look.swipe).abs() > 0.0 {
        out.push(Command::SetErf(Box::new(ErfLook { swipe: border, ..look.clone() })));
    }
    ui.horizontal_top(|ui| {
        for (entry, erf) in [pair.0, pair.1] {
            ui.vertical(|ui| {
                ui.set_width((side / 2.0 - 6.0).max(210.0).min(ui.available_width()));
                let ink = series_colour(state.index_of(entry.id), ui.visuals().dark_mode);
                ui.colored_label(ink, &entry.label);
                lines(ui, state, erf);
            });
        }
    });
}

/// The first map minus the second, both relative to their common peak.
pub fn difference(
    ui: &mut egui::Ui,
    state: &State,
    textures: &mut Textures,
    pair: ((&Entry, &ErfResult), (&Entry, &ErfResult)),
    out: &mut Commands,
) {
    let look = &state.look.erf;
    let [(a, first), (b, second)] = [pair.0, pair.1];
    let scale = look.scale();
    let peak = scale.peak(&[first.largest.max(second.largest)]);
    let of = (first.version, second.version, key(look, peak));
    let values = textures.memo(("difference", of), || {
        let [a, b] = [first, second].map(|erf| scale.apply(&erf.map.contribution, peak));
        erf::difference(&a, &b).map_err(|error| error.to_string())
    });
    let values = match &*values {
        Ok(values) => values,
        Err(error) => return crate::widgets::fault(ui, error),
    };
    let limit = *textures.memo(("limit", of), || values.iter().fold(0.0, |limit: f64, v| limit.max(v.abs())));
    ui.label(format!("{} − {}", a.label, b.label));
    let side = (ui.available_height() - 90.0).min(ui.available_width() - 12.0).clamp(140.0, 1100.0);
    let area = image_area(ui, sides(first, side), look.camera, "Difference of receptive fields", out);
    let texture = textures.get(ui.ctx(), ("difference texture", of), TextureOptions::NEAREST, || {
        picture(first.map.width, first.map.height, values.iter().map(|v| colour(signed(*v, limit))))
    });
    paint_image(ui, &area, texture.id(), 0.0, 1.0);
    if let Some(share) = area.response.hover_pos().and_then(|point| area.share(point)) {
        let (h, w) = (first.map.height as f32, first.map.width as f32);
        let (row, column) = ((share.1 * h) as usize, (share.0 * w) as usize);
        let value = values.get(row * first.map.width + column).copied().unwrap_or(0.0);
        area.response.clone().on_hover_text_at_pointer(format!("row {row}, column {column}\n{}", number(value)));
    }
    ui.painter().rect_stroke(
        Rect::from_min_max(pos2(area.rect.left(), area.rect.top()), area.rect.max),
        0.0,
        Stroke::new(1.0, ui.visuals().weak_text_color()),
        StrokeKind::Outside,
    );
    colour_bar(ui, Colormap::Diverging, (-limit, limit), "difference, relative to the common maximum", side.min(420.0));
    ui.label(faint("Positive: the first network sees more there.").small());
}
