//! Random erasing (Zhong et al., 2020) with one normally distributed value per element.

use rand::RngExt;
use rand_distr::StandardNormal;

use super::random::{log_uniform, uniform};
use kernelscope::rng::ChaCha8Rng;

/// Smallest and greatest share of the area.
const AREA: [f32; 2] = [0.02, 1.0 / 3.0];
/// Smallest and greatest ratio of height to width.
const ASPECT: [f32; 2] = [0.3, 1.0 / 0.3];
/// Attempts to find a rectangle that fits.
const TRIES: usize = 10;

/// A rectangle in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Area {
    top: usize,
    left: usize,
    height: usize,
    width: usize,
}

/// Overwrites a random rectangle of a normalized image (CHW, `size` x `size`) with N(0, 1).
pub(super) fn erase(values: &mut [f32], size: usize, rng: &mut ChaCha8Rng) {
    let Some(area) = choose(size, rng) else { return };
    for plane in values.chunks_exact_mut(size * size) {
        for row in plane.chunks_exact_mut(size).skip(area.top).take(area.height) {
            for value in row.iter_mut().skip(area.left).take(area.width) {
                *value = rng.sample(StandardNormal);
            }
        }
    }
}

fn choose(size: usize, rng: &mut ChaCha8Rng) -> Option<Area> {
    for _ in 0..TRIES {
        let target = uniform(rng, AREA[0], AREA[1]) * (size * size) as f32;
        let aspect = log_uniform(rng, ASPECT[0], ASPECT[1]);
        let height = (target * aspect).sqrt().round() as usize;
        let width = (target / aspect).sqrt().round() as usize;
        if height < size && width < size && height > 0 && width > 0 {
            let top = rng.random_range(0..=size - height);
            let left = rng.random_range(0..=size - width);
            return Some(Area { top, left, height, width });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernelscope::rng::stream;

    #[test]
    fn rectangles_stay_inside_and_within_their_limits() {
        for i in 0..2000 {
            let area = choose(40, &mut stream(4, &[i]));
            let Some(Area { top, left, height, width }) = area else { continue };
            assert!(top + height <= 40 && left + width <= 40, "{area:?}");
            let share = (height * width) as f32 / 1600.0;
            assert!((0.012..0.36).contains(&share), "{area:?}");
            assert!((0.2..5.0).contains(&(height as f32 / width as f32)), "{area:?}");
        }
    }

    #[test]
    fn one_rectangle_is_overwritten_in_all_channels() {
        let size = 32;
        let mut values = vec![7.0; 3 * size * size];
        erase(&mut values, size, &mut stream(5, &[1]));
        let area = choose(size, &mut stream(5, &[1]));
        let inside = |i: usize| {
            let (y, x) = (i % (size * size) / size, i % size);
            area.is_some_and(|a| (a.top..a.top + a.height).contains(&y) && (a.left..a.left + a.width).contains(&x))
        };
        assert!(values.iter().enumerate().all(|(i, &v)| (v != 7.0) == inside(i)));
        let noise: Vec<f32> = values.into_iter().filter(|v| *v != 7.0).collect();
        assert!(noise.len() > 30, "{}", noise.len());
        let mean = noise.iter().sum::<f32>() / noise.len() as f32;
        let spread = noise.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / noise.len() as f32;
        assert!(mean.abs() < 0.3 && (0.6..1.5).contains(&spread), "{mean} {spread}");
    }

    #[test]
    fn tiny_images_are_left_alone() {
        let mut values = vec![7.0; 3];
        erase(&mut values, 1, &mut stream(6, &[]));
        assert_eq!(values, [7.0; 3]);
    }
}
