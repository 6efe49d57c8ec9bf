//! The eight outlines as signed distances, in units of the object's radius.

use std::f32::consts::{SQRT_2, TAU};
use std::sync::LazyLock;

/// A shape, in class order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Circle,
    Triangle,
    Square,
    Star,
    Cross,
    Heart,
    Crescent,
    Arrow,
}

/// A regular star with five points, the first one up. Between the points the radius is 0.48.
static STAR: LazyLock<[[f32; 2]; 10]> = LazyLock::new(|| {
    std::array::from_fn(|i| {
        let angle = TAU * i as f32 / 10.0;
        let radius = if i % 2 == 0 { 1.08 } else { 0.48 };
        [radius * angle.sin(), -radius * angle.cos()]
    })
});

const TRIANGLE: [[f32; 2]; 3] = [[0.0, -1.05], [0.909_33, 0.525], [-0.909_33, 0.525]];
const SQUARE: [[f32; 2]; 4] = [[-0.74, -0.74], [0.74, -0.74], [0.74, 0.74], [-0.74, 0.74]];
const ARROW: [[f32; 2]; 7] =
    [[0.0, -1.05], [0.85, -0.1], [0.32, -0.1], [0.32, 0.95], [-0.32, 0.95], [-0.32, -0.1], [-0.85, -0.1]];

const CROSS: [[f32; 2]; 12] = {
    // Half the length and half the width of a bar.
    let (l, w) = (0.95, 0.33);
    [[w, w], [l, w], [l, -w], [w, -w], [w, -l], [-w, -l], [-w, -w], [-l, -w], [-l, w], [-w, w], [-w, l], [w, l]]
};

/// Half the side of the heart's square, and the height of its lower corner.
const HEART_HALF: f32 = 0.56;
const HEART_BOTTOM: f32 = 0.92;

impl Shape {
    /// The shape of a class; classes repeat after the last.
    pub(super) fn from_class(class: usize) -> Self {
        use Shape::{Arrow, Circle, Crescent, Cross, Heart, Square, Star, Triangle};
        [Circle, Triangle, Square, Star, Cross, Heart, Crescent, Arrow][class % 8]
    }

    /// Signed distance from the point (`x` to the right, `y` down) to the outline: negative inside.
    pub(super) fn distance(self, x: f32, y: f32) -> f32 {
        match self {
            Shape::Circle => x.hypot(y) - 0.86,
            Shape::Triangle => polygon(&TRIANGLE, x, y),
            Shape::Square => polygon(&SQUARE, x, y),
            Shape::Star => polygon(STAR.as_slice(), x, y),
            Shape::Cross => polygon(&CROSS, x, y),
            Shape::Heart => heart(x.abs(), y),
            Shape::Crescent => crescent(x, y.abs()),
            Shape::Arrow => polygon(&ARROW, x, y),
        }
    }
}

/// Signed distance to a simple polygon: the nearest edge gives the size, the crossing number the sign.
fn polygon(vertices: &[[f32; 2]], x: f32, y: f32) -> f32 {
    let mut nearest = f32::INFINITY;
    let mut inside = false;
    let Some(&(mut from)) = vertices.last() else { return nearest };
    for &to in vertices {
        let (ex, ey) = (to[0] - from[0], to[1] - from[1]);
        let (px, py) = (x - from[0], y - from[1]);
        let along = ((px * ex + py * ey) / (ex * ex + ey * ey)).clamp(0.0, 1.0);
        let (dx, dy) = (px - ex * along, py - ey * along);
        nearest = nearest.min(dx * dx + dy * dy);
        if (from[1] > y) != (to[1] > y) && px < ex * py / ey {
            inside = !inside;
        }
        from = to;
    }
    if inside { -nearest.sqrt() } else { nearest.sqrt() }
}

/// A square on its corner with a half disc on each of its upper sides, for a point in the right half.
fn heart(x: f32, y: f32) -> f32 {
    let y = y - (HEART_BOTTOM - HEART_HALF * SQRT_2);
    // Axes along the sides of the square: u to the lower right, v to the upper right.
    let (u, v) = ((x + y) / SQRT_2, (x - y) / SQRT_2);
    let disc = u.hypot(v - HEART_HALF) - HEART_HALF;
    let inside = disc < 0.0 || (u.abs() < HEART_HALF && v.abs() < HEART_HALF);
    let side = (u - HEART_HALF).hypot((v.abs() - HEART_HALF).max(0.0));
    // The arc ends in the notch on one side and where the straight side begins on the other.
    let arc = if v > HEART_HALF { disc.abs() } else { (u + HEART_HALF).hypot(v - HEART_HALF) };
    if inside { -side.min(arc) } else { side.min(arc) }
}

/// A disc with a bite, for a point in the lower half. The distance to the tips is what keeps a stroke along the
/// outline from running on around the bite.
fn crescent(x: f32, y: f32) -> f32 {
    const DISC: f32 = 0.95;
    const BITE: f32 = 0.76;
    const SHIFT: f32 = 0.5;
    let tip_x = (DISC * DISC - BITE * BITE + SHIFT * SHIFT) / (2.0 * SHIFT);
    let tip_y = (DISC * DISC - tip_x * tip_x).sqrt();
    let (disc, bite) = (x.hypot(y) - DISC, (x - SHIFT).hypot(y) - BITE);
    let mut nearest = (x - tip_x).hypot(y - tip_y);
    // A circle counts only where its nearest point is on the crescent, that is on the right side of the tip.
    if x * tip_y <= y * tip_x {
        nearest = nearest.min(disc.abs());
    }
    if (x - SHIFT) * tip_y <= y * (tip_x - SHIFT) {
        nearest = nearest.min(bite.abs());
    }
    if disc < 0.0 && bite > 0.0 { -nearest } else { nearest }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn centers_are_inside_and_far_points_outside() {
        for class in 0..8 {
            let shape = Shape::from_class(class);
            let ink = if shape == Shape::Crescent { -0.6 } else { 0.0 };
            assert!(shape.distance(ink, 0.0) < -0.2, "{shape:?}");
            for turn in 0..16 {
                let angle = TAU * turn as f32 / 16.0;
                assert!(shape.distance(1.12 * angle.cos(), 1.12 * angle.sin()) > 0.0, "{shape:?}");
            }
        }
        assert!(Shape::Crescent.distance(0.5, 0.0) > 0.5, "the bite is outside");
    }

    /// Points on the outline, found where a fine grid changes side.
    fn outline(shape: Shape) -> Vec<[f32; 2]> {
        let n = 600;
        let at = |i: usize| -1.2 + 2.4 * i as f32 / n as f32;
        let mut points = Vec::new();
        for i in 0..n * n {
            let (x, y) = (at(i % n), at(i / n));
            let inside = shape.distance(x, y) < 0.0;
            let step = 2.4 / n as f32;
            if inside != (shape.distance(x + step, y) < 0.0) {
                points.push([x + step / 2.0, y]);
            }
            if inside != (shape.distance(x, y + step) < 0.0) {
                points.push([x, y + step / 2.0]);
            }
        }
        points
    }

    #[test]
    fn distances_are_those_to_the_nearest_outline_point() {
        for class in 0..8 {
            let shape = Shape::from_class(class);
            let points = outline(shape);
            for i in 0..23 * 23 {
                let (x, y) = ((i % 23) as f32 * 0.11 - 1.2, (i / 23) as f32 * 0.11 - 1.2);
                let found = shape.distance(x, y);
                let nearest = points.iter().map(|p| (p[0] - x).hypot(p[1] - y)).fold(f32::INFINITY, f32::min);
                assert!((found.abs() - nearest).abs() < 0.01, "{shape:?} at {x}, {y}: {found}, nearest {nearest}");
            }
        }
    }

    #[test]
    fn areas_are_those_of_the_figures() {
        let area = |shape: Shape| {
            let n = 400;
            let cell = 2.4 / n as f32;
            let at = |i: usize| -1.2 + (i as f32 + 0.5) * cell;
            let inside = (0..n * n).filter(|i| shape.distance(at(i % n), at(i / n)) < 0.0).count();
            inside as f32 * cell * cell
        };
        let close = |a: f32, b: f32| (a - b).abs() < 0.01 * b;
        assert!(close(area(Shape::Circle), std::f32::consts::PI * 0.86 * 0.86));
        assert!(close(area(Shape::Square), 1.48 * 1.48));
        assert!(close(area(Shape::Triangle), 0.75 * 3f32.sqrt() * 1.05 * 1.05));
        assert!(close(area(Shape::Cross), 4.0 * (2.0 * 0.95 * 0.33 - 0.33 * 0.33)));
        assert!(close(area(Shape::Heart), (4.0 + std::f32::consts::PI) * 0.56 * 0.56));
        assert!(close(area(Shape::Arrow), 0.64 * 1.05 + 0.85 * 0.95));
        assert!(close(area(Shape::Star), 5.0 * 1.08 * 0.48 * (TAU / 10.0).sin()));
    }
}
