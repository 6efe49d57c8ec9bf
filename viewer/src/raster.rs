//! The program's pixels without a window: triangles painted on the CPU.
//!
//! Tests and scripts get the same picture on every machine, and need neither a display nor a graphics driver. The rules
//! are those of egui's shaders: colors are premultiplied and blended without gamma correction,
//! `out = source + (1 - alpha) * background`, where the source is the color of the texture times that of the vertices.

use crate::Viewer;
use crate::window::Size;
use eframe::egui::epaint::{ClippedPrimitive, Mesh, Primitive, Vertex};
use eframe::egui::{self, Color32, ImageData, Pos2, Rect, TextureFilter, TextureId, TextureOptions, TexturesDelta};
use image::{Rgba, RgbaImage};
use std::collections::HashMap;
use std::io::Cursor;
use std::path::Path;

struct Texture {
    width: usize,
    height: usize,
    pixels: Vec<Color32>,
    options: TextureOptions,
}

impl Texture {
    fn texel(&self, x: i64, y: i64) -> [f32; 4] {
        let clamp = |v: i64, side: usize| v.clamp(0, side as i64 - 1) as usize;
        let at = clamp(y, self.height) * self.width + clamp(x, self.width);
        self.pixels.get(at).copied().unwrap_or_default().to_array().map(f32::from)
    }

    /// The color at texture coordinates, each component from 0 to 255.
    fn sample(&self, uv: Pos2) -> [f32; 4] {
        let (x, y) = (uv.x * self.width as f32, uv.y * self.height as f32);
        if self.options.magnification == TextureFilter::Nearest {
            return self.texel(x.floor() as i64, y.floor() as i64);
        }
        let (x, y) = (x - 0.5, y - 0.5);
        let (left, top) = (x.floor(), y.floor());
        let (fx, fy) = (x - left, y - top);
        let (left, top) = (left as i64, top as i64);
        let mix = |a: [f32; 4], b: [f32; 4], t: f32| std::array::from_fn(|i| a[i] + t * (b[i] - a[i]));
        let upper: [f32; 4] = mix(self.texel(left, top), self.texel(left + 1, top), fx);
        let lower: [f32; 4] = mix(self.texel(left, top + 1), self.texel(left + 1, top + 1), fx);
        mix(upper, lower, fy)
    }
}

/// Paints what egui tessellates.
#[derive(Default)]
pub struct Raster {
    textures: HashMap<TextureId, Texture>,
}

impl Raster {
    /// Takes new and changed textures. Freed textures are kept until they are replaced.
    pub fn update(&mut self, delta: &mut TexturesDelta) {
        for (id, parts) in delta.set.drain() {
            for part in parts {
                let ImageData::Color(image) = &part.image;
                let [width, height] = image.size;
                match part.pos {
                    None => {
                        let pixels = image.pixels.clone();
                        self.textures.insert(id, Texture { width, height, pixels, options: part.options });
                    }
                    Some([left, top]) => {
                        let Some(texture) = self.textures.get_mut(&id) else { continue };
                        for (row, line) in image.pixels.chunks_exact(width.max(1)).enumerate() {
                            let start = (top + row) * texture.width + left;
                            if let Some(target) = texture.pixels.get_mut(start..start + width) {
                                target.copy_from_slice(line);
                            }
                        }
                    }
                }
            }
        }
        delta.free.clear();
    }

    /// Paints primitives on a background of one color.
    pub fn paint(&self, primitives: &[ClippedPrimitive], scale: f32, size: Size, ground: Color32) -> RgbaImage {
        let mut canvas = Canvas::new(size, ground);
        for primitive in primitives {
            let Primitive::Mesh(mesh) = &primitive.primitive else { continue };
            let clip = primitive.clip_rect;
            let clip =
                Rect::from_min_max((clip.min.to_vec2() * scale).to_pos2(), (clip.max.to_vec2() * scale).to_pos2());
            self.mesh(mesh, scale, clip, &mut canvas);
        }
        RgbaImage::from_fn(size.width, size.height, |x, y| {
            let pixel = canvas.pixels.get(canvas.index(x as usize, y as usize)).copied().unwrap_or_default();
            let [r, g, b, _] = pixel.map(|part| part.round() as u8);
            Rgba([r, g, b, 255])
        })
    }

    fn mesh(&self, mesh: &Mesh, scale: f32, clip: Rect, canvas: &mut Canvas) {
        let Some(texture) = self.textures.get(&mesh.texture_id) else { return };
        let window = Window::new(clip, canvas);
        for corners in mesh.triangles() {
            let find = |index: u32| mesh.vertices.get(index as usize).copied();
            if let [Some(a), Some(b), Some(c)] = corners.map(find) {
                triangle(texture, [a, b, c].map(|v| Vertex { pos: v.pos * scale, ..v }), &window, canvas);
            }
        }
    }
}

/// What is painted on.
struct Canvas {
    width: usize,
    height: usize,
    /// Row by row, each component of a color from 0 to 255.
    pixels: Vec<[f32; 4]>,
}

impl Canvas {
    fn new(size: Size, ground: Color32) -> Self {
        let (width, height) = (size.width as usize, size.height as usize);
        Canvas { width, height, pixels: vec![ground.to_array().map(f32::from); width * height] }
    }

    fn index(&self, x: usize, y: usize) -> usize {
        y * self.width + x
    }
}

/// The pixels that may be painted.
struct Window {
    left: usize,
    right: usize,
    top: usize,
    bottom: usize,
}

impl Window {
    fn new(clip: Rect, canvas: &Canvas) -> Self {
        let limit = |v: f32, side: usize| v.round().clamp(0.0, side as f32) as usize;
        Window {
            left: limit(clip.left(), canvas.width),
            right: limit(clip.right(), canvas.width),
            top: limit(clip.top(), canvas.height),
            bottom: limit(clip.bottom(), canvas.height),
        }
    }
}

/// Twice the signed area of the triangle between an edge and a point.
fn edge(a: Pos2, b: Pos2, p: Pos2) -> f32 {
    (b.x - a.x) * (p.y - a.y) - (b.y - a.y) * (p.x - a.x)
}

/// Whether pixels exactly on an edge belong to this triangle, and not to the other one that shares the edge.
fn owns(a: Pos2, b: Pos2) -> bool {
    b.y < a.y || (b.y == a.y && b.x > a.x)
}

fn triangle(texture: &Texture, mut corners: [Vertex; 3], window: &Window, canvas: &mut Canvas) {
    let mut area = edge(corners[0].pos, corners[1].pos, corners[2].pos);
    if area < 0.0 {
        corners.swap(1, 2);
        area = -area;
    }
    if area.is_nan() || area <= 1e-9 {
        return;
    }
    let [a, b, c] = corners;
    let low = |v: [f32; 3]| v.into_iter().fold(f32::INFINITY, f32::min);
    let high = |v: [f32; 3]| v.into_iter().fold(f32::NEG_INFINITY, f32::max);
    let (xs, ys) = ([a.pos.x, b.pos.x, c.pos.x], [a.pos.y, b.pos.y, c.pos.y]);
    let columns = (low(xs).floor().max(window.left as f32) as usize)
        ..(high(xs).ceil().min(window.right as f32).max(0.0) as usize);
    let rows = (low(ys).floor().max(window.top as f32) as usize)
        ..(high(ys).ceil().min(window.bottom as f32).max(0.0) as usize);
    let sides = [(b.pos, c.pos), (c.pos, a.pos), (a.pos, b.pos)];
    let own = sides.map(|(from, to)| owns(from, to));
    let colors = corners.map(|v| v.color.to_array().map(f32::from));
    let plain = (a.uv == b.uv && b.uv == c.uv).then(|| texture.sample(a.uv));
    let flat = (a.color == b.color && b.color == c.color).then_some(colors[0]);
    for y in rows {
        for x in columns.clone() {
            let p = Pos2::new(x as f32 + 0.5, y as f32 + 0.5);
            let w = sides.map(|(from, to)| edge(from, to, p));
            if w.iter().zip(own).any(|(w, own)| *w < 0.0 || (*w == 0.0 && !own)) {
                continue;
            }
            let w = w.map(|w| w / area);
            let tint = flat.unwrap_or_else(|| {
                std::array::from_fn(|i| w[0] * colors[0][i] + w[1] * colors[1][i] + w[2] * colors[2][i])
            });
            let texel = plain.unwrap_or_else(|| {
                let uv = a.uv.to_vec2() * w[0] + b.uv.to_vec2() * w[1] + c.uv.to_vec2() * w[2];
                texture.sample(uv.to_pos2())
            });
            let index = canvas.index(x, y);
            let Some(pixel) = canvas.pixels.get_mut(index) else { continue };
            let source: [f32; 4] = std::array::from_fn(|i| texel[i] * tint[i] / 255.0);
            let through = 1.0 - source[3] / 255.0;
            for (part, source) in pixel.iter_mut().zip(source) {
                *part = (source + through * *part).min(255.0);
            }
        }
    }
}

/// Number of frames after which the layout is stable.
const FRAMES: usize = 6;

/// Runs some frames of the program and writes the picture of the last one.
///
/// # Errors
/// If the file cannot be written.
pub fn screenshot(ctx: &egui::Context, viewer: &mut Viewer, size: Size, path: &Path) -> Result<(), String> {
    let image = picture(ctx, viewer, size);
    let mut bytes = Cursor::new(Vec::new());
    image.write_to(&mut bytes, image::ImageFormat::Png).map_err(|error| format!("{}: {error}", path.display()))?;
    kernelscope::files::write_atomically(path, |file| file.write_all(bytes.get_ref()))
        .map_err(|error| error.to_string())
}

/// Runs some frames of the program and paints the last one.
pub fn picture(ctx: &egui::Context, viewer: &mut Viewer, size: Size) -> RgbaImage {
    ctx.all_styles_mut(|style| style.animation_time = 0.0);
    let screen = Rect::from_min_size(Pos2::ZERO, size.points());
    let mut raster = Raster::default();
    let mut last = Vec::new();
    for frame in 0..FRAMES {
        let input = egui::RawInput { screen_rect: Some(screen), time: Some(frame as f64 * 0.1), ..Default::default() };
        let mut output = ctx.run_ui(input, |ui| viewer.frame(ui));
        raster.update(&mut output.textures_delta);
        last = ctx.tessellate(output.shapes, output.pixels_per_point);
    }
    raster.paint(&last, 1.0, size, ctx.global_style().visuals.panel_fill)
}

#[cfg(test)]
mod tests {
    use super::*;
    use egui::Vec2;

    fn painted(mesh: Mesh) -> RgbaImage {
        let mut raster = Raster::default();
        let white = Texture { width: 1, height: 1, pixels: vec![Color32::WHITE], options: TextureOptions::NEAREST };
        raster.textures.insert(TextureId::default(), white);
        let clip_rect = Rect::from_min_size(Pos2::ZERO, Vec2::splat(8.0));
        raster.paint(
            &[ClippedPrimitive { clip_rect, primitive: Primitive::Mesh(mesh) }],
            1.0,
            Size { width: 10, height: 10 },
            Color32::BLACK,
        )
    }

    #[test]
    fn two_triangles_of_a_rectangle_paint_every_pixel_once() {
        let mut mesh = Mesh::default();
        let half = Color32::from_rgba_premultiplied(100, 0, 0, 128);
        mesh.add_colored_rect(Rect::from_min_max(Pos2::new(1.0, 2.0), Pos2::new(7.0, 6.0)), half);
        let image = painted(mesh);
        for (x, y, pixel) in image.enumerate_pixels() {
            let inside = (1..7).contains(&x) && (2..6).contains(&y);
            assert_eq!(pixel.0, [if inside { 100 } else { 0 }, 0, 0, 255], "{x} {y}");
        }
    }

    #[test]
    fn nothing_is_painted_outside_the_clip() {
        let mut mesh = Mesh::default();
        mesh.add_colored_rect(Rect::from_min_max(Pos2::new(-5.0, -5.0), Pos2::new(50.0, 50.0)), Color32::WHITE);
        let image = painted(mesh);
        assert_eq!(image.pixels().filter(|pixel| pixel.0[0] == 255).count(), 64);
    }
}
