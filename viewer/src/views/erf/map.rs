//! A heat map of a receptive field, and what is drawn on it.

use super::super::scene::Scene;
use super::legend::square_color;
use crate::command::{Command, Commands};
use crate::state::{Entry, ErfLook, ErfResult};
use crate::widgets::{ImageArea, Textures, color, image_area, number, paint_image};
use eframe::egui::{
    self, Color32, ColorImage, Rect, Shape, Stroke, StrokeKind, TextureHandle, TextureOptions, Vec2, vec2,
};
use kernelscope::analysis::erf;
use kernelscope_lab::plot::{Colormap, erf::CONTOUR_SIDE, pool};

/// An entry with its receptive field.
#[derive(Clone, Copy)]
pub struct Field<'a> {
    pub entry: &'a Entry,
    pub erf: &'a ErfResult,
}

impl<'a> Field<'a> {
    /// `None` while there is no receptive field.
    pub fn of(entry: &'a Entry) -> Option<Self> {
        Some(Field { entry, erf: entry.erf.as_ref()? })
    }
}

/// What determines a texture, besides the map.
pub fn key(look: &ErfLook, peak: f64) -> impl std::hash::Hash + Copy {
    (look.transfer as u8, look.gamma.to_bits(), peak.to_bits())
}

pub fn picture(width: usize, height: usize, pixels: impl Iterator<Item = Color32>) -> ColorImage {
    let pixels: Vec<Color32> = pixels.take(width * height).collect();
    ColorImage::new([width, height], pixels)
}

/// The texture of a map, or of its input image. `peak` is the peak that all maps share.
pub fn texture(
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
        let table: Vec<Color32> = (0..=1023).map(|i| color(Colormap::Magma.at(f64::from(i) / 1023.0))).collect();
        let values = scale.apply(&erf.map.contribution, peak);
        let at = |value: f64| table.get((value.clamp(0.0, 1.0) * 1023.0).round() as usize).copied().unwrap_or_default();
        picture(erf.map.width, erf.map.height, values.into_iter().map(at))
    })
}

/// The size of a map on the screen.
pub fn sides(erf: &ErfResult, side: f32) -> Vec2 {
    let (w, h) = (erf.map.width as f32, erf.map.height as f32);
    vec2(side * (w / h).min(1.0), side * (h / w).min(1.0))
}

/// One map with its squares, contours, probed position and cursor.
pub fn map(ui: &mut egui::Ui, scene: &mut Scene, field: Field, peak: Option<f64>, side: f32) {
    let (look, erf) = (&scene.state.look.erf, field.erf);
    let name = format!("Receptive field of {}", field.entry.label);
    let area = image_area(ui, sides(erf, side), look.camera, &name, scene.out);
    let texture = texture(ui, scene.textures, look, erf, peak);
    paint_image(ui, &area, texture.id(), 0.0, 1.0);
    Overlay { look, erf, area: &area, part: area.rect, peak }.paint(ui, scene.textures);
    pointer(ui, erf, &area, scene.out);
}

/// What is drawn on a map.
pub struct Overlay<'a> {
    pub look: &'a ErfLook,
    pub erf: &'a ErfResult,
    /// Where the map is.
    pub area: &'a ImageArea,
    /// The part of the area that may be painted on.
    pub part: Rect,
    /// The peak that all maps share.
    pub peak: Option<f64>,
}

impl Overlay<'_> {
    pub fn paint(&self, ui: &egui::Ui, textures: &mut Textures) {
        let painter = ui.painter().with_clip_rect(self.part.intersect(ui.clip_rect()));
        if self.look.squares {
            self.squares(&painter);
        }
        if self.look.contours {
            self.contours(&painter, textures);
        }
        self.position(&painter);
        let frame = ui.visuals().weak_text_color();
        ui.painter().rect_stroke(self.area.rect, 0.0, Stroke::new(1.0, frame), StrokeKind::Outside);
        self.cursor(ui, &painter);
    }

    fn squares(&self, painter: &egui::Painter) {
        let (h, w) = (self.erf.map.height, self.erf.map.width);
        for (index, threshold) in self.look.thresholds.iter().enumerate() {
            let Some(side) = self.erf.squares[0].area(*threshold).side else { continue };
            let (row, column, half) = ((h / 2) as f32, (w / 2) as f32, side as f32 / 2.0);
            let corner = |sign: f32| {
                self.area.at(((column + 0.5 + sign * half) / w as f32, (row + 0.5 + sign * half) / h as f32))
            };
            let rect = Rect::from_two_pos(corner(-1.0), corner(1.0));
            painter.rect_stroke(rect, 0.0, Stroke::new(2.5, Color32::from_black_alpha(110)), StrokeKind::Middle);
            painter.rect_stroke(rect, 0.0, Stroke::new(1.3, square_color(index)), StrokeKind::Middle);
        }
    }

    fn contours(&self, painter: &egui::Painter, textures: &mut Textures) {
        let (map, scale) = (&self.erf.map, self.look.scale());
        let peak = self.peak.unwrap_or_else(|| scale.peak(&[self.erf.largest]));
        for (index, threshold) in self.look.thresholds.iter().enumerate() {
            let level = ("contour", self.erf.version, key(self.look, peak), threshold.to_bits());
            let lines = textures.memo(level, || {
                let values = scale.apply(&map.contribution, peak);
                let (width, height, pooled) = pool(&values, map.width, map.height, CONTOUR_SIDE);
                let share = |(x, y): (f32, f32)| (x / width as f32, y / height as f32);
                erf::contour(&pooled, width, *threshold).into_iter().map(|line| line.map(share)).collect::<Vec<_>>()
            });
            let stroke = Stroke::new(1.0, square_color(index));
            painter.extend(lines.iter().map(|line| Shape::line_segment(line.map(|point| self.area.at(point)), stroke)));
        }
    }

    /// A cross where the network was probed.
    fn position(&self, painter: &egui::Painter) {
        let (rows, columns) = self.erf.stage_size;
        if rows == 0 || columns == 0 {
            return;
        }
        let (row, column) = self.erf.map.position;
        let at = self.area.at(((column as f32 + 0.5) / columns as f32, (row as f32 + 0.5) / rows as f32));
        let stroke = Stroke::new(1.2, Color32::from_rgb(120, 255, 120));
        for arm in [vec2(5.0, 0.0), vec2(0.0, 5.0)] {
            painter.line_segment([at - arm, at + arm], stroke);
        }
    }

    /// The pointer, which all maps show.
    fn cursor(&self, ui: &egui::Ui, painter: &egui::Painter) {
        let now = ui.ctx().cumulative_pass_nr();
        let cursor: Option<Cursor> = ui.data(|data| data.get_temp(egui::Id::unique(CURSOR)));
        if let Some(cursor) = cursor.filter(|cursor| now <= cursor.pass + 1) {
            let at = self.area.at(cursor.share);
            let stroke = Stroke::new(0.7, Color32::from_white_alpha(140));
            painter.hline(self.area.rect.x_range(), at.y, stroke);
            painter.vline(at.x, self.area.rect.y_range(), stroke);
        }
    }
}

/// Key under which the shared pointer is kept between frames.
const CURSOR: &str = "cursor of the receptive fields";

/// The pointer, which all maps show.
#[derive(Clone, Copy)]
struct Cursor {
    /// Its place as a share of the image.
    share: (f32, f32),
    /// The pass in which it was there.
    pass: u64,
}

/// Handles the pointer: the value under it, the cursor on all maps, and a click that probes a position.
pub fn pointer(ui: &egui::Ui, erf: &ErfResult, area: &ImageArea, out: &mut Commands) {
    let Some(point) = area.response.hover_pos() else { return };
    let Some(share) = area.share(point) else { return };
    let cursor = Cursor { share, pass: ui.ctx().cumulative_pass_nr() };
    ui.data_mut(|data| data.insert_temp(egui::Id::unique(CURSOR), cursor));
    let (h, w) = (erf.map.height, erf.map.width);
    let (row, column) = ((share.1 * h as f32) as usize, (share.0 * w as f32) as usize);
    let value = erf.map.contribution.get(row * w + column).copied().unwrap_or(0.0);
    let text = format!("row {row}, column {column}\nA = {}", number(f64::from(value)));
    let (rows, columns) = erf.stage_size;
    if rows > 0 && area.response.clicked() {
        let place = |share: f32, count: usize| ((share * count as f32) as usize).min(count.saturating_sub(1));
        out.push(Command::SetPosition(Some((place(share.1, rows), place(share.0, columns)))));
    }
    area.response.clone().on_hover_text_at_pointer(text);
}
