//! An area that shows a part of an image, with panning and zooming.

use crate::command::{Command, Commands};
use crate::state::Camera;
use eframe::egui::{self, Color32, Pos2, Rect, Sense, TextureId, Vec2, pos2, vec2};

/// Largest magnification.
const MOST_ZOOM: f32 = 64.0;

/// Where an image lies on the screen.
pub struct ImageArea {
    /// The area.
    pub rect: Rect,
    /// Its response; a click refers to a point of the image.
    pub response: egui::Response,
    camera: Camera,
}

impl ImageArea {
    /// The point on the screen for a point of the image, given as shares of its width and height.
    pub fn at(&self, share: (f32, f32)) -> Pos2 {
        let side = self.rect.size() * self.camera.zoom;
        let offset = vec2(share.0 - self.camera.center.0, share.1 - self.camera.center.1);
        self.rect.center() + offset * side
    }

    /// The point of the image under a point on the screen, as shares of its width and height; `None` outside the image.
    pub fn share(&self, point: Pos2) -> Option<(f32, f32)> {
        let offset = (point - self.rect.center()) / (self.rect.size() * self.camera.zoom);
        let share = (self.camera.center.0 + offset.x, self.camera.center.1 + offset.y);
        let inside = |s: f32| (0.0..1.0).contains(&s);
        (self.rect.contains(point) && inside(share.0) && inside(share.1)).then_some(share)
    }
}

/// An area of the given size. Dragging pans, scrolling and pinching zoom around the pointer, and a double-click shows the
/// whole image.
pub fn image_area(ui: &mut egui::Ui, size: Vec2, camera: Camera, name: &str, out: &mut Commands) -> ImageArea {
    let (rect, response) = ui.allocate_exact_size(size, Sense::click_and_drag());
    response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Image, true, name));
    let area = ImageArea { rect, response, camera };
    let mut changed = camera;
    if area.response.dragged() {
        let moved = area.response.drag_delta() / (rect.size() * camera.zoom);
        changed.center = (camera.center.0 - moved.x, camera.center.1 - moved.y);
    }
    if let Some(pointer) = area.response.hover_pos() {
        let (scroll, pinch) = ui.input(|i| (i.smooth_scroll_delta().y, i.zoom_delta()));
        let factor = pinch * (scroll / 240.0).exp();
        if (factor - 1.0).abs() > 1e-4 {
            changed.zoom = (camera.zoom * factor).clamp(1.0, MOST_ZOOM);
            // The point under the pointer stays where it is.
            let offset = (pointer - rect.center()) / rect.size();
            let shift = 1.0 / camera.zoom - 1.0 / changed.zoom;
            changed.center = (camera.center.0 + offset.x * shift, camera.center.1 + offset.y * shift);
            ui.input_mut(|i| i.smooth_scroll_delta = Vec2::ZERO);
        }
    }
    if area.response.double_clicked() {
        changed = Camera::default();
    }
    if changed != camera {
        out.push(Command::SetCamera(clamped(changed)));
    }
    area
}

/// Moves the camera so that it shows nothing outside the image.
fn clamped(camera: Camera) -> Camera {
    let half = 0.5 / camera.zoom.max(1.0);
    let keep = |center: f32| if center.is_finite() { center.clamp(half, 1.0 - half) } else { 0.5 };
    Camera { center: (keep(camera.center.0), keep(camera.center.1)), zoom: camera.zoom }
}

/// Paints the part of a picture that an area shows, from one share of the area's width to another.
pub fn paint_image(ui: &egui::Ui, area: &ImageArea, texture: TextureId, from: f32, to: f32) {
    let x = |share: f32| area.rect.left() + area.rect.width() * share;
    let part = Rect::from_min_max(pos2(x(from), area.rect.top()), pos2(x(to), area.rect.bottom()));
    let painter = ui.painter().with_clip_rect(part.intersect(ui.clip_rect()));
    painter.rect_filled(area.rect, 0.0, Color32::from_gray(12));
    let whole = Rect::from_min_max(area.at((0.0, 0.0)), area.at((1.0, 1.0)));
    let uv = Rect::from_min_max(pos2(0.0, 0.0), pos2(1.0, 1.0));
    painter.image(texture, whole, uv, Color32::WHITE);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_stays_in_sight() {
        let far = clamped(Camera { center: (9.0, -4.0), zoom: 4.0 });
        assert_eq!(far.center, (0.875, 0.125));
        assert_eq!(clamped(Camera { center: (0.1, f32::NAN), zoom: 1.0 }).center, (0.5, 0.5));
    }
}
