//! RandAugment (Cubuk et al., 2020) in timm's variant `rand-m9-mstd0.5-inc1`, which ConvNeXt and its successors train
//! with.

use rand::RngExt;
use rand_distr::StandardNormal;
use serde::{Deserialize, Serialize};

use super::random::chance;
use super::{geometry, photometric};
use crate::data::Image;
use crate::{Error, Result};
use kernelscope::rng::ChaCha8Rng;

/// Strongest magnitude.
const MAX_LEVEL: f32 = 10.0;
/// Probability that a drawn operation is carried out.
const APPLY: f32 = 0.5;
/// Greatest shift as a share of the side.
const SHIFT: f32 = 0.45;

/// Settings of RandAugment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RandAugment {
    /// Mean magnitude, 0 to 10.
    pub magnitude: f32,
    /// Standard deviation of the magnitude; 0 always takes the mean.
    pub mstd: f32,
    /// Number of operations drawn per image; each is carried out with probability one half.
    pub layers: usize,
    /// Whether every operation gets stronger with the magnitude. Without it posterizing and solarizing get weaker and
    /// the color operations run from 0.1 to 1.9 instead of both ways from 1.
    pub increasing: bool,
}

impl Default for RandAugment {
    fn default() -> Self {
        RandAugment { magnitude: 9.0, mstd: 0.5, layers: 2, increasing: true }
    }
}

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    AutoContrast,
    Equalize,
    Invert,
    Rotate,
    Posterize,
    Solarize,
    SolarizeAdd,
    Color,
    Contrast,
    Brightness,
    Sharpness,
    ShearX,
    ShearY,
    TranslateX,
    TranslateY,
}

const OPS: [Op; 15] = [
    Op::AutoContrast,
    Op::Equalize,
    Op::Invert,
    Op::Rotate,
    Op::Posterize,
    Op::Solarize,
    Op::SolarizeAdd,
    Op::Color,
    Op::Contrast,
    Op::Brightness,
    Op::Sharpness,
    Op::ShearX,
    Op::ShearY,
    Op::TranslateX,
    Op::TranslateY,
];

impl RandAugment {
    /// Checks every setting.
    ///
    /// # Errors
    /// The first field out of range, by name.
    pub fn check(&self) -> Result<()> {
        if !(0.0..=MAX_LEVEL).contains(&self.magnitude) {
            return Err(Error::argument("rand_augment.magnitude", self.magnitude, "0 to 10"));
        }
        if !(self.mstd >= 0.0 && self.mstd.is_finite()) {
            return Err(Error::argument("rand_augment.mstd", self.mstd, "at least 0"));
        }
        Ok(())
    }

    /// Applies randomly drawn operations; corners that become empty get the color `fill`.
    pub fn apply(&self, image: Image, fill: [u8; 3], rng: &mut ChaCha8Rng) -> Image {
        let mut image = image;
        for _ in 0..self.layers {
            let op = OPS[rng.random_range(0..OPS.len())];
            if !chance(rng, APPLY) {
                continue;
            }
            let level = self.level(rng);
            let sign = if chance(rng, 0.5) { -1.0 } else { 1.0 };
            image = self.carry_out(op, &image, level * sign, fill);
        }
        image
    }

    fn level(&self, rng: &mut ChaCha8Rng) -> f32 {
        let normal: f32 = rng.sample(StandardNormal);
        (self.magnitude + self.mstd * normal).clamp(0.0, MAX_LEVEL)
    }

    /// `signed` is the magnitude with a random sign, which operations without a direction ignore.
    fn carry_out(&self, op: Op, image: &Image, signed: f32, fill: [u8; 3]) -> Image {
        let part = signed / MAX_LEVEL;
        let size = part.abs();
        let factor = if self.increasing { (1.0 + 0.9 * part).max(0.1) } else { 0.1 + 1.8 * size };
        match op {
            Op::AutoContrast => photometric::auto_contrast(image),
            Op::Equalize => photometric::equalize(image),
            Op::Invert => photometric::invert(image),
            Op::Rotate => geometry::rotate(image, 30.0 * part, fill),
            Op::Posterize => {
                let bits = (4.0 * size) as u32;
                photometric::posterize(image, if self.increasing { 4 - bits } else { bits })
            }
            Op::Solarize => {
                let threshold = (256.0 * size) as u32;
                photometric::solarize(image, if self.increasing { 256 - threshold } else { threshold })
            }
            Op::SolarizeAdd => photometric::solarize_add(image, (110.0 * size) as u8),
            Op::Color => photometric::saturation(image, factor),
            Op::Contrast => photometric::contrast(image, factor),
            Op::Brightness => photometric::brightness(image, factor),
            Op::Sharpness => photometric::sharpness(image, factor),
            Op::ShearX => geometry::shear_x(image, 0.3 * part, fill),
            Op::ShearY => geometry::shear_y(image, 0.3 * part, fill),
            Op::TranslateX => geometry::translate_x(image, SHIFT * part, fill),
            Op::TranslateY => geometry::translate_y(image, SHIFT * part, fill),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernelscope::rng::stream;

    fn noise() -> Image {
        let pixels = (0..24 * 24 * 3u64).map(|i| kernelscope::rng::mix(i) as u8).collect();
        Image::new(24, 24, pixels).unwrap()
    }

    #[test]
    fn magnitude_zero_is_the_identity_where_it_means_something() {
        let (image, augment) = (noise(), RandAugment::default());
        for op in OPS {
            let fixed = [Op::AutoContrast, Op::Equalize, Op::Invert, Op::Posterize].contains(&op);
            if !fixed {
                assert_eq!(augment.carry_out(op, &image, 0.0, [0; 3]), image, "{op:?}");
            }
            let full = augment.carry_out(op, &image, 10.0, [0; 3]);
            assert!(full != image || op == Op::AutoContrast, "{op:?} at full magnitude");
        }
    }

    #[test]
    fn signs_work_both_ways_and_posterizing_reaches_black() {
        let (image, augment) = (noise(), RandAugment::default());
        for op in [Op::Rotate, Op::ShearX, Op::TranslateY, Op::Color, Op::Brightness] {
            let (up, down) = (augment.carry_out(op, &image, 5.0, [0; 3]), augment.carry_out(op, &image, -5.0, [0; 3]));
            assert_ne!(up, down, "{op:?}");
        }
        assert_eq!(augment.carry_out(Op::Posterize, &image, 10.0, [0; 3]), Image::filled(24, 24, [0; 3]));
        assert_eq!(
            augment.carry_out(Op::Posterize, &image, 9.0, [0; 3]),
            photometric::posterize(&image, 1),
            "magnitude 9 keeps one bit"
        );
        let falling = RandAugment { increasing: false, ..augment };
        assert_eq!(falling.carry_out(Op::Posterize, &image, 9.0, [0; 3]), photometric::posterize(&image, 3));
    }

    #[test]
    fn magnitudes_spread_around_the_mean_and_stay_in_range() {
        let mut rng = stream(1, &[]);
        let augment = RandAugment::default();
        let levels: Vec<f32> = (0..4000).map(|_| augment.level(&mut rng)).collect();
        let mean = levels.iter().sum::<f32>() / 4000.0;
        assert!((mean - 9.0).abs() < 0.03, "{mean}");
        assert!(levels.iter().all(|l| (0.0..=10.0).contains(l)));
        assert!(levels.iter().any(|l| *l > 9.8) && levels.iter().any(|l| *l < 8.2));
    }

    #[test]
    fn a_quarter_of_the_images_stays_untouched() {
        // Two layers, each skipped with probability one half; a few operations happen to change nothing.
        let image = noise();
        let same = (0..400u64)
            .filter(|&i| RandAugment::default().apply(image.clone(), [0; 3], &mut stream(2, &[i])) == image)
            .count();
        assert!((70..150).contains(&same), "{same} of 400");
    }

    #[test]
    fn equal_streams_give_equal_images() {
        let run = |i| RandAugment::default().apply(noise(), [0; 3], &mut stream(3, &[i]));
        assert!((0..20).all(|i| run(i) == run(i)));
    }

    #[test]
    fn settings_are_checked() {
        assert!(RandAugment { magnitude: 10.5, ..RandAugment::default() }.check().is_err());
        assert!(RandAugment { mstd: -0.1, ..RandAugment::default() }.check().is_err());
        assert!(RandAugment { mstd: f32::NAN, ..RandAugment::default() }.check().is_err());
    }
}
