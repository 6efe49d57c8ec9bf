//! The random transformation of training images.

use rand::RngExt;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use super::normalize::Normalize;
use super::rand_augment::RandAugment;
use super::random::{chance, check_probability, log_uniform, uniform};
use super::{erase, geometry, photometric};
use crate::data::{Filter, Image, check_side};
use crate::{Error, Result};
use kernelscope::rng::ChaCha8Rng;

/// Attempts to find a random crop that fits.
const TRIES: usize = 10;

/// Random brightness, contrast and saturation: each factor is uniform in `1 - x` to `1 + x`, in random order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ColorJitter {
    /// Strength of the change in brightness, 0 to 1.
    pub brightness: f32,
    /// Strength of the change in contrast, 0 to 1.
    pub contrast: f32,
    /// Strength of the change in saturation, 0 to 1.
    pub saturation: f32,
}

impl ColorJitter {
    /// The same strength for all three.
    pub fn uniform(strength: f32) -> Self {
        ColorJitter { brightness: strength, contrast: strength, saturation: strength }
    }

    fn apply(&self, image: Image, rng: &mut ChaCha8Rng) -> Image {
        let mut steps = [
            (self.brightness, photometric::brightness as fn(&Image, f32) -> Image),
            (self.contrast, photometric::contrast),
            (self.saturation, photometric::saturation),
        ];
        steps.shuffle(rng);
        steps.into_iter().fold(image, |image, (strength, step)| match strength > 0.0 {
            true => step(&image, uniform(rng, 1.0 - strength, 1.0 + strength)),
            false => image,
        })
    }
}

/// What happens to a training image. The default does nothing but take the largest centered crop of the right shape.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Augment {
    /// Smallest and greatest share of the area that the random crop keeps, above 0 and up to 1.
    pub scale: [f32; 2],
    /// Smallest and greatest ratio of width to height of the random crop.
    pub ratio: [f32; 2],
    /// Probability of mirroring left and right.
    pub hflip: f32,
    /// RandAugment, or `None` for no such operations.
    pub rand_augment: Option<RandAugment>,
    /// Color jitter; inactive while RandAugment is on, as in the published recipe.
    pub color_jitter: ColorJitter,
    /// Probability of random erasing.
    pub erase: f32,
}

impl Default for Augment {
    fn default() -> Self {
        Augment {
            scale: [1.0, 1.0],
            ratio: [1.0, 1.0],
            hflip: 0.0,
            rand_augment: None,
            color_jitter: ColorJitter::default(),
            erase: 0.0,
        }
    }
}

impl Augment {
    /// Slightly random crops and mirroring.
    pub fn light() -> Self {
        Augment { scale: [0.6, 1.0], ratio: [0.75, 4.0 / 3.0], hflip: 0.5, ..Augment::default() }
    }

    /// The ImageNet recipe of ConvNeXt (Liu et al., 2022, table 5): random resized crop, mirroring,
    /// `rand-m9-mstd0.5-inc1` and random erasing with probability 0.25. Mixup and cutmix are in
    /// [`MixConfig`](super::MixConfig).
    pub fn imagenet() -> Self {
        Augment {
            scale: [0.08, 1.0],
            ratio: [3.0 / 4.0, 4.0 / 3.0],
            hflip: 0.5,
            rand_augment: Some(RandAugment::default()),
            color_jitter: ColorJitter::uniform(0.4),
            erase: 0.25,
        }
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// The first field out of range, by name.
    pub fn check(&self) -> Result<()> {
        let [low, high] = self.scale;
        if !(low > 0.0 && low <= high && high <= 1.0) {
            return Err(Error::argument("scale", format!("{:?}", self.scale), "[low, high] with 0 < low <= high <= 1"));
        }
        let [low, high] = self.ratio;
        if !(low > 0.0 && low <= high && high.is_finite()) {
            return Err(Error::argument("ratio", format!("{:?}", self.ratio), "[low, high] with 0 < low <= high"));
        }
        check_probability("hflip", self.hflip.into())?;
        check_probability("erase", self.erase.into())?;
        check_probability("color_jitter.brightness", self.color_jitter.brightness.into())?;
        check_probability("color_jitter.contrast", self.color_jitter.contrast.into())?;
        check_probability("color_jitter.saturation", self.color_jitter.saturation.into())?;
        self.rand_augment.map_or(Ok(()), |r| r.check())
    }
}

/// Augmentation, resizing and normalization of training images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainTransform {
    /// Side of the square result in pixels.
    pub size: usize,
    /// What is random.
    pub augment: Augment,
    /// Normalization of the result.
    pub normalize: Normalize,
    /// Interpolation of the random crop.
    pub filter: Filter,
}

impl Default for TrainTransform {
    fn default() -> Self {
        TrainTransform::new(224, Augment::default())
    }
}

impl TrainTransform {
    /// Bicubic interpolation and ImageNet statistics.
    pub fn new(size: usize, augment: Augment) -> Self {
        TrainTransform { size, augment, normalize: Normalize::IMAGENET, filter: Filter::Bicubic }
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// The first field out of range, by name.
    pub fn check(&self) -> Result<()> {
        check_side("size", self.size)?;
        self.augment.check()?;
        self.normalize.check()
    }

    /// The augmented image in CHW order, length `3 * size * size`.
    pub fn apply(&self, image: &Image, rng: &mut ChaCha8Rng) -> Vec<f32> {
        let mut values = self.normalize.apply(&self.picture(image, rng));
        if chance(rng, self.augment.erase) {
            erase::erase(&mut values, self.size, rng);
        }
        values
    }

    /// The 8-bit picture before normalization and erasing, `size` x `size`.
    pub fn picture(&self, image: &Image, rng: &mut ChaCha8Rng) -> Image {
        let augment = &self.augment;
        let [top, left, height, width] = choose_crop(image, augment, rng);
        let mut out = image.cropped(top, left, height, width).resized(self.size, self.size, self.filter);
        if chance(rng, augment.hflip) {
            out = geometry::flip(&out);
        }
        match &augment.rand_augment {
            Some(ops) => ops.apply(out, self.normalize.mean_color(), rng),
            None => augment.color_jitter.apply(out, rng),
        }
    }
}

/// Top, left, height and width of a random crop; if none of ten fits, the largest centered one of an allowed ratio.
fn choose_crop(image: &Image, augment: &Augment, rng: &mut ChaCha8Rng) -> [usize; 4] {
    let (height, width) = (image.height, image.width);
    let area = (height * width) as f32;
    for _ in 0..TRIES {
        let target = area * uniform(rng, augment.scale[0], augment.scale[1]);
        let ratio = log_uniform(rng, augment.ratio[0], augment.ratio[1]);
        let w = (target * ratio).sqrt().round() as usize;
        let h = (target / ratio).sqrt().round() as usize;
        if (1..=height).contains(&h) && (1..=width).contains(&w) {
            return [rng.random_range(0..=height - h), rng.random_range(0..=width - w), h, w];
        }
    }
    let ratio = (width as f32 / height as f32).max(augment.ratio[0]).min(augment.ratio[1]);
    let w = ((height as f32 * ratio).round() as usize).clamp(1, width.max(1));
    let h = ((width as f32 / ratio).round() as usize).clamp(1, height.max(1));
    [height.saturating_sub(h) / 2, width.saturating_sub(w) / 2, h, w]
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernelscope::rng::stream;

    fn noise(height: usize, width: usize) -> Image {
        let pixels = (0..(height * width * 3) as u64).map(|i| kernelscope::rng::mix(i) as u8).collect();
        Image::new(height, width, pixels).unwrap()
    }

    #[test]
    fn the_default_only_normalizes_an_image_of_the_right_size() {
        let image = noise(32, 32);
        let transform = TrainTransform::new(32, Augment::default());
        assert_eq!(transform.apply(&image, &mut stream(0, &[])), Normalize::IMAGENET.apply(&image));
        let wide = noise(32, 50);
        assert_eq!(transform.picture(&wide, &mut stream(0, &[])), wide.cropped(0, 9, 32, 32));
    }

    #[test]
    fn crops_fit_and_cover_the_allowed_range() {
        let (image, augment) = (noise(60, 80), Augment::imagenet());
        for i in 0..3000 {
            let [top, left, h, w] = choose_crop(&image, &augment, &mut stream(1, &[i]));
            assert!(h > 0 && w > 0 && top + h <= 60 && left + w <= 80);
            assert!((0.68..1.45).contains(&(w as f32 / h as f32)), "{w} x {h}");
        }
        // A square crop of a square always fits, so its share is uniform in the allowed range.
        let (image, augment) = (noise(80, 80), Augment { ratio: [1.0, 1.0], ..augment });
        let shares: Vec<f32> = (0..3000)
            .map(|i| choose_crop(&image, &augment, &mut stream(2, &[i])))
            .map(|[_, _, h, w]| (h * w) as f32 / 6400.0)
            .collect();
        let mean = shares.iter().sum::<f32>() / 3000.0;
        assert!((mean - 0.54).abs() < 0.02, "{mean}");
        assert!(
            shares.iter().all(|s| *s > 0.07) && shares.iter().any(|s| *s < 0.1) && shares.iter().any(|s| *s > 0.98)
        );
    }

    #[test]
    fn the_fallback_is_the_largest_allowed_center() {
        let augment = Augment { scale: [1.0, 1.0], ratio: [0.75, 4.0 / 3.0], ..Augment::default() };
        let wide = choose_crop(&noise(30, 300), &augment, &mut stream(2, &[]));
        assert_eq!(wide, [0, 130, 30, 40]);
        let tall = choose_crop(&noise(300, 30), &augment, &mut stream(2, &[]));
        assert_eq!(tall, [130, 0, 40, 30]);
    }

    #[test]
    fn flipping_follows_its_probability() {
        let image = noise(8, 8);
        let flipped = |p: f32| {
            let transform = TrainTransform::new(8, Augment { hflip: p, ..Augment::default() });
            (0..400).filter(|&i| transform.picture(&image, &mut stream(3, &[i])) != image).count()
        };
        assert_eq!((flipped(0.0), flipped(1.0)), (0, 400));
        assert!((150..250).contains(&flipped(0.5)), "{}", flipped(0.5));
    }

    #[test]
    fn color_jitter_is_inactive_with_rand_augment() {
        let image = noise(8, 8);
        let jitter = Augment { color_jitter: ColorJitter::uniform(0.4), ..Augment::default() };
        let picture = |augment: Augment| TrainTransform::new(8, augment).picture(&image, &mut stream(4, &[]));
        assert_ne!(picture(jitter), image);
        let idle = RandAugment { layers: 0, ..RandAugment::default() };
        assert_eq!(picture(Augment { rand_augment: Some(idle), ..jitter }), image);
    }

    #[test]
    fn erasing_follows_its_probability_and_comes_after_normalization() {
        let image = Image::filled(16, 16, [124, 116, 104]);
        let transform = |erase| TrainTransform::new(16, Augment { erase, ..Augment::default() });
        let changed = |p: f32| {
            let runs = (0..200).map(|i| transform(p).apply(&image, &mut stream(5, &[i])));
            runs.filter(|v| v.iter().any(|x| x.abs() > 0.5)).count()
        };
        assert_eq!(changed(0.0), 0);
        assert!(changed(1.0) > 190 && (25..80).contains(&changed(0.25)), "{} {}", changed(1.0), changed(0.25));
    }

    #[test]
    fn the_whole_recipe_is_a_function_of_the_stream() {
        let (image, transform) = (noise(50, 41), TrainTransform::new(24, Augment::imagenet()));
        let run = |i| transform.apply(&image, &mut stream(6, &[i]));
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
        assert!((0..50).all(|i| run(i).len() == 3 * 24 * 24 && run(i).iter().all(|v| v.is_finite())));
    }

    #[test]
    fn settings_are_checked() {
        let good = Augment::imagenet();
        assert!(good.check().is_ok() && Augment::default().check().is_ok());
        assert!(Augment { scale: [0.0, 1.0], ..good }.check().is_err());
        assert!(Augment { scale: [0.5, 0.4], ..good }.check().is_err());
        assert!(Augment { ratio: [1.0, f32::INFINITY], ..good }.check().is_err());
        assert!(Augment { hflip: 1.5, ..good }.check().unwrap_err().to_string().contains("hflip"));
        assert!(TrainTransform::new(0, good).check().is_err());
        assert!(serde_json::from_str::<Augment>(r#"{"flip": 0.5}"#).is_err());
    }
}
