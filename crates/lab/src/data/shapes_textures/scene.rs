//! One picture: the random choices, all made up front, and the drawing.

use std::f32::consts::TAU;

use rand::RngExt;
use rand_distr::StandardNormal;

use super::shapes::Shape;
use super::textures::{Frame, Texture};
use crate::data::Image;
use kernelscope::rng::{ChaCha8Rng, stream};

/// Separates these streams from the other users of the same seed.
const DOMAIN: u64 = 0x7368_6170_6573;

/// Standard deviation of the pixel noise, on a scale where white is 1.
const NOISE: f32 = 0.02;

/// The longest shape's greatest distance from its center, in radii.
const REACH: f32 = 1.1;

type Color = [f32; 3];

/// A faint mark on the background. Positions and lengths are in image sides.
struct Clutter {
    center: [f32; 2],
    radius: f32,
    /// Direction across the line, or `None` for a soft blob.
    normal: Option<[f32; 2]>,
    tint: Color,
}

/// Everything random about a picture except its pixel noise. Lengths are in image sides, so the same scene can be
/// drawn at any size.
pub(super) struct Scene {
    center: [f32; 2],
    radius: f32,
    angle: f32,
    /// Half the width of the outline in radii, or `None` for a filled object.
    stroke: Option<f32>,
    inks: [Color; 2],
    background: Color,
    slope: [f32; 2],
    clutter: Vec<Clutter>,
    light: [f32; 2],
    contrast: f32,
    brightness: f32,
    texture: Frame,
    noise: ChaCha8Rng,
}

impl Scene {
    /// Makes the choices of one picture. Neither the cue nor the class enters, so the same coordinates give the same
    /// pose and background whatever is drawn.
    pub(super) fn sample(seed: u64, coordinates: &[u64]) -> Self {
        let mut path = vec![DOMAIN];
        path.extend_from_slice(coordinates);
        let mut rng = stream(seed, &path);
        path.push(1);
        let noise = stream(seed, &path);

        let stroke = (rng.random::<f32>() < 0.5).then(|| uniform(&mut rng, 0.15, 0.19));
        let radius = match stroke {
            Some(_) => uniform(&mut rng, 0.28, 0.37),
            None => uniform(&mut rng, 0.31, 0.43),
        };
        let room = 0.5 - (REACH + stroke.unwrap_or(0.0)) * radius;
        let center = [0.5 + uniform(&mut rng, -room, room), 0.5 + uniform(&mut rng, -room, room)];
        let angle = uniform(&mut rng, 0.0, TAU);
        let mut inks = [color(&mut rng, 0.04, 0.22, 0.12), color(&mut rng, 0.80, 0.96, 0.12)];
        if rng.random::<bool>() {
            inks.swap(0, 1);
        }
        let tilt = uniform(&mut rng, 0.0, TAU);
        let (steep, lamp, lit) =
            (uniform(&mut rng, 0.0, 0.15), uniform(&mut rng, 0.0, TAU), uniform(&mut rng, 0.0, 0.45));
        Scene {
            center,
            radius,
            angle,
            stroke,
            inks,
            background: color(&mut rng, 0.42, 0.58, 0.22),
            slope: [steep * tilt.cos(), steep * tilt.sin()],
            clutter: clutter(&mut rng),
            light: [lit * lamp.cos(), lit * lamp.sin()],
            contrast: uniform(&mut rng, 0.8, 1.1),
            brightness: uniform(&mut rng, -0.08, 0.08),
            texture: Frame {
                period: uniform(&mut rng, 0.105, 0.145),
                angle: uniform(&mut rng, 0.0, TAU),
                shift: [rng.random(), rng.random()],
                seed: rng.random(),
            },
            noise,
        }
    }

    /// Draws the scene at `size` x `size` pixels. Without a shape the texture fills the picture; without a texture the
    /// shape is in plain ink.
    pub(super) fn render(self, size: usize, shape: Option<Shape>, texture: Option<Texture>) -> Image {
        let side = size as f32;
        let frame = Frame { period: self.texture.period * side, ..self.texture };
        let (sin, cos) = self.angle.sin_cos();
        let mut noise = self.noise.clone();
        let mut image = Image::filled(size, size, [0; 3]);
        for (i, pixel) in image.pixels.chunks_exact_mut(3).enumerate() {
            let (x, y) = ((i % size) as f32 + 0.5, (i / size) as f32 + 0.5);
            let (px, py) = (x / side, y / side);
            let cover = shape.map_or(1.0, |shape| {
                let (dx, dy) = ((px - self.center[0]) / self.radius, (py - self.center[1]) / self.radius);
                let distance = shape.distance(cos * dx + sin * dy, cos * dy - sin * dx);
                let distance = self.stroke.map_or(distance, |half| distance.abs() - half);
                (0.5 - distance * self.radius * side).clamp(0.0, 1.0)
            });
            let mut out = if cover < 1.0 { self.behind(px, py) } else { self.background };
            if cover > 0.0 {
                let share = texture.map_or(0.0, |texture| texture.ink(x, y, &frame));
                let ink = blend(self.inks[0], self.inks[1], share);
                out = blend(out, ink, cover);
            }
            let shade = 1.0 + self.light[0] * (px - 0.5) + self.light[1] * (py - 0.5);
            for (byte, value) in pixel.iter_mut().zip(out) {
                let grain: f32 = noise.sample(StandardNormal);
                let value = (value * shade - 0.5) * self.contrast + 0.5 + self.brightness + NOISE * grain;
                *byte = (value.clamp(0.0, 1.0) * 255.0).round() as u8;
            }
        }
        image
    }

    /// The background at a point: a color, a gentle slope and the clutter.
    fn behind(&self, x: f32, y: f32) -> Color {
        let slope = self.slope[0] * (x - 0.5) + self.slope[1] * (y - 0.5);
        let mut out = self.background.map(|v| v + slope);
        for mark in &self.clutter {
            let (dx, dy) = (x - mark.center[0], y - mark.center[1]);
            let distance = mark.normal.map_or_else(|| dx.hypot(dy), |[nx, ny]| (dx * nx + dy * ny).abs());
            let near = distance / mark.radius;
            if near < 2.5 {
                let weight = (-near * near).exp();
                for (value, tint) in out.iter_mut().zip(mark.tint) {
                    *value += tint * weight;
                }
            }
        }
        out
    }
}

fn clutter(rng: &mut ChaCha8Rng) -> Vec<Clutter> {
    let count = rng.random_range(3..=8usize);
    (0..count)
        .map(|_| {
            let center = [rng.random(), rng.random()];
            let line = rng.random::<f32>() < 0.4;
            let turn = uniform(rng, 0.0, TAU);
            let strength = uniform(rng, 0.04, 0.10) * if rng.random::<bool>() { 1.0 } else { -1.0 };
            Clutter {
                center,
                radius: if line { uniform(rng, 0.012, 0.03) } else { uniform(rng, 0.04, 0.14) },
                normal: line.then(|| [turn.cos(), turn.sin()]),
                tint: std::array::from_fn(|_| strength * uniform(rng, 0.6, 1.4)),
            }
        })
        .collect()
}

/// A random color whose mean channel lies between `low` and `high`, with channels up to about `chroma` away.
fn color(rng: &mut ChaCha8Rng, low: f32, high: f32, chroma: f32) -> Color {
    let level = uniform(rng, low, high);
    let tint: Color = std::array::from_fn(|_| uniform(rng, -chroma, chroma));
    let mean = tint.iter().sum::<f32>() / 3.0;
    tint.map(|t| (level + t - mean).clamp(0.0, 1.0))
}

fn uniform(rng: &mut ChaCha8Rng, low: f32, high: f32) -> f32 {
    low + (high - low) * rng.random::<f32>()
}

fn blend(from: Color, to: Color, share: f32) -> Color {
    std::array::from_fn(|c| from[c] + (to[c] - from[c]) * share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_stay_inside_the_picture() {
        for index in 0..300 {
            let scene = Scene::sample(1, &[0, index]);
            let reach = scene.radius * (1.08 + scene.stroke.unwrap_or(0.0));
            for c in scene.center {
                assert!(c - reach > 0.0 && c + reach < 1.0, "picture {index}: center {c}, reach {reach}");
            }
        }
    }

    #[test]
    fn objects_are_filled_and_outlined_about_equally_often() {
        let outlined = (0..400).filter(|&i| Scene::sample(2, &[0, i]).stroke.is_some()).count();
        assert!((160..240).contains(&outlined), "{outlined} of 400");
    }

    #[test]
    fn the_ink_stands_out_from_the_background() {
        for index in 0..200 {
            let scene = Scene::sample(3, &[0, index]);
            let mean = |c: Color| c.iter().sum::<f32>() / 3.0;
            let [a, b] = scene.inks.map(mean);
            assert!((a - b).abs() > 0.5, "inks of picture {index}");
            let back = mean(scene.background);
            assert!((a - back).abs() > 0.15 && (b - back).abs() > 0.15, "background of picture {index}");
        }
    }

    #[test]
    fn a_bigger_drawing_shows_the_same_scene() {
        let draw = |size| Scene::sample(4, &[0, 5]).render(size, Some(Shape::Star), None);
        let (small, big) = (draw(32), draw(128).resized(32, 32, crate::data::Filter::Bilinear));
        let difference: i64 = small.pixels.iter().zip(&big.pixels).map(|(a, b)| i64::from(a.abs_diff(*b))).sum();
        assert!(difference < 10 * small.pixels.len() as i64, "mean difference {difference}");
    }
}
