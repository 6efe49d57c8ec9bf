//! Mixup (Zhang et al., 2018), cutmix (Yun et al., 2019) and label smoothing on whole batches.

use rand::RngExt;
use rand_distr::Beta;
use serde::{Deserialize, Serialize};

use super::random::check_probability;
use crate::{Error, Result};
use kernelscope::rng::ChaCha8Rng;

/// Settings of mixup, cutmix and label smoothing. The default leaves everything as it is.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MixConfig {
    /// Mixup draws its share from Beta(alpha, alpha); 0 turns mixup off.
    pub mixup: f64,
    /// The same for cutmix.
    pub cutmix: f64,
    /// Probability that a batch is mixed at all.
    pub prob: f64,
    /// Probability of cutmix where both are on.
    pub switch_prob: f64,
    /// Label smoothing, 0 to below 1: this much of the target is spread evenly over all classes.
    pub smoothing: f64,
}

impl Default for MixConfig {
    fn default() -> Self {
        MixConfig { mixup: 0.0, cutmix: 0.0, prob: 1.0, switch_prob: 0.5, smoothing: 0.0 }
    }
}

impl MixConfig {
    /// The ImageNet recipe of ConvNeXt: mixup 0.8, cutmix 1.0, label smoothing 0.1.
    pub fn imagenet() -> Self {
        MixConfig { mixup: 0.8, cutmix: 1.0, smoothing: 0.1, ..MixConfig::default() }
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// The first field out of range, by name.
    pub fn check(&self) -> Result<()> {
        for (name, alpha) in [("mixup", self.mixup), ("cutmix", self.cutmix)] {
            if !(alpha >= 0.0 && alpha.is_finite()) {
                return Err(Error::argument(name, alpha, "0 (off) or a positive alpha"));
            }
        }
        check_probability("mix prob", self.prob)?;
        check_probability("switch_prob", self.switch_prob)?;
        match (0.0..1.0).contains(&self.smoothing) {
            true => Ok(()),
            false => Err(Error::argument("smoothing", self.smoothing, "at least 0 and less than 1")),
        }
    }

    /// Which kind of mixing a batch gets, and its share for the image itself.
    fn draw(&self, rng: &mut ChaCha8Rng) -> Result<Option<(Kind, f64)>> {
        if rng.random::<f64>() >= self.prob {
            return Ok(None);
        }
        let (kind, alpha) = match (self.mixup > 0.0, self.cutmix > 0.0) {
            (false, false) => return Ok(None),
            (true, false) => (Kind::Mixup, self.mixup),
            (false, true) => (Kind::Cutmix, self.cutmix),
            (true, true) if rng.random::<f64>() < self.switch_prob => (Kind::Cutmix, self.cutmix),
            (true, true) => (Kind::Mixup, self.mixup),
        };
        let beta = Beta::new(alpha, alpha).map_err(|e| Error::argument("mixing alpha", alpha, e.to_string()))?;
        let share: f64 = rng.sample(beta);
        // For tiny alphas the sampler may divide zero by zero; either end is then right.
        Ok(Some((kind, if share.is_finite() { share.clamp(0.0, 1.0) } else { 1.0 })))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Mixup,
    Cutmix,
}

/// The shape of a batch of images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchShape {
    /// Number of images.
    pub n: usize,
    /// Channels of an image.
    pub channels: usize,
    /// Rows of an image.
    pub height: usize,
    /// Columns of an image.
    pub width: usize,
}

/// Mixes a batch in place and returns its soft targets, `n` rows of `classes` values that each sum to 1.
///
/// As in timm's batch mode, one share is drawn for the whole batch and the partner of image `i` is image `n - 1 - i`.
/// Cutmix pastes a rectangle of the partner; its share is corrected to the area that the rectangle really covers.
///
/// There is one label, below `classes`, per image.
///
/// # Errors
/// If the batch and its labels do not fit each other.
pub fn mix_batch(
    images: &mut [f32],
    shape: BatchShape,
    labels: &[usize],
    classes: usize,
    config: &MixConfig,
    rng: &mut ChaCha8Rng,
) -> Result<Vec<f32>> {
    let BatchShape { n, channels, height, width } = shape;
    config.check()?;
    if images.len() != n * channels * height * width || labels.len() != n {
        let given =
            format!("{} values and {} labels for {:?}", images.len(), labels.len(), (n, channels, height, width));
        return Err(Error::argument("batch", given, "n * channels * height * width values and n labels"));
    }
    if let Some(label) = labels.iter().find(|&&label| label >= classes) {
        return Err(Error::argument("label", label, format!("less than {classes}, the number of classes")));
    }
    let mut share = 1.0;
    match config.draw(rng)? {
        Some((Kind::Mixup, drawn)) => {
            share = drawn;
            for_partners(images, n, |own, other| blend(own, other, drawn as f32));
        }
        Some((Kind::Cutmix, drawn)) => {
            let cut = Cut::draw(height, width, drawn, rng);
            share = 1.0 - (cut.rows.len() * cut.columns.len()) as f64 / (height * width).max(1) as f64;
            for_partners(images, n, |own, other| cut.exchange(own, other, height, width));
        }
        None => {}
    }
    Ok(soft_targets(labels, classes, share, config.smoothing))
}

/// Calls `mix` on every pair of an image and its partner. A middle image is its own partner and stays as it is.
fn for_partners(images: &mut [f32], n: usize, mix: impl Fn(&mut [f32], &mut [f32])) {
    let length = images.len().checked_div(n).unwrap_or(0);
    let (front, back) = images.split_at_mut(length * (n / 2));
    if length > 0 {
        for (own, other) in front.chunks_exact_mut(length).zip(back.rchunks_exact_mut(length)) {
            mix(own, other);
        }
    }
}

fn blend(own: &mut [f32], other: &mut [f32], share: f32) {
    for (a, b) in own.iter_mut().zip(other) {
        (*a, *b) = (*a * share + *b * (1.0 - share), *b * share + *a * (1.0 - share));
    }
}

/// The rectangle that cutmix exchanges.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cut {
    rows: std::ops::Range<usize>,
    columns: std::ops::Range<usize>,
}

impl Cut {
    /// A rectangle of the image's aspect that covers `1 - share` of it, its center anywhere; what sticks out is lost.
    fn draw(height: usize, width: usize, share: f64, rng: &mut ChaCha8Rng) -> Self {
        let side = (1.0 - share).max(0.0).sqrt();
        let mut range = |length: usize| {
            let cut = (length as f64 * side) as usize;
            let center = if length > 0 { rng.random_range(0..length) } else { 0 };
            center.saturating_sub(cut / 2)..(center + cut / 2).min(length)
        };
        Cut { rows: range(height), columns: range(width) }
    }

    fn exchange(&self, own: &mut [f32], other: &mut [f32], height: usize, width: usize) {
        let plane = height * width;
        if plane == 0 {
            return;
        }
        for (own, other) in own.chunks_exact_mut(plane).zip(other.chunks_exact_mut(plane)) {
            for y in self.rows.clone() {
                let span = y * width + self.columns.start..y * width + self.columns.end;
                own[span.clone()].swap_with_slice(&mut other[span]);
            }
        }
    }
}

/// Smoothed one-hot rows, `share` for the own label and the rest for the partner's.
pub(crate) fn soft_targets(labels: &[usize], classes: usize, share: f64, smoothing: f64) -> Vec<f32> {
    let off = smoothing / classes.max(1) as f64;
    let mut targets = vec![off as f32; labels.len() * classes];
    let partners = labels.iter().rev();
    for (row, (&own, &other)) in targets.chunks_exact_mut(classes.max(1)).zip(labels.iter().zip(partners)) {
        let gain = 1.0 - smoothing;
        if own == other {
            row[own] = (off + gain) as f32;
        } else {
            row[own] = (off + gain * share) as f32;
            row[other] = (off + gain * (1.0 - share)) as f32;
        }
    }
    targets
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernelscope::rng::stream;

    const SHAPE: BatchShape = BatchShape { n: 5, channels: 3, height: 12, width: 16 };
    const LABELS: [usize; 5] = [0, 1, 2, 3, 3];

    /// Image `i` holds the value `i` everywhere.
    fn batch() -> Vec<f32> {
        (0..5 * 3 * 12 * 16).map(|i| (i / (3 * 12 * 16)) as f32).collect()
    }

    fn run(config: MixConfig, seed: u64) -> (Vec<f32>, Vec<f32>) {
        let mut images = batch();
        let targets = mix_batch(&mut images, SHAPE, &LABELS, 4, &config, &mut stream(seed, &[])).unwrap();
        (images, targets)
    }

    #[test]
    fn without_mixing_targets_are_smoothed_one_hot() {
        let (images, targets) = run(MixConfig { smoothing: 0.1, ..MixConfig::default() }, 0);
        assert_eq!(images, batch());
        assert!((targets[0] - 0.925).abs() < 1e-6 && (targets[1] - 0.025).abs() < 1e-6);
        let (_, plain) = run(MixConfig::default(), 0);
        assert_eq!(plain[4..8], [0.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn targets_always_sum_to_one() {
        for seed in 0..100 {
            let (_, targets) = run(MixConfig::imagenet(), seed);
            for row in targets.chunks_exact(4) {
                assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5, "seed {seed}: {row:?}");
            }
        }
    }

    #[test]
    fn mixup_blends_images_and_labels_with_the_same_share() {
        for seed in 0..50 {
            let (images, targets) = run(MixConfig { mixup: 0.8, ..MixConfig::default() }, seed);
            let size = 3 * 12 * 16;
            // Image 0 (value 0, label 0) is mixed with image 4 (value 4, label 3).
            let share = targets[0];
            assert!((targets[3] - (1.0 - share)).abs() < 1e-6);
            assert!((images[0] - 4.0 * (1.0 - share)).abs() < 1e-4, "seed {seed}");
            assert!((images[4 * size] - 4.0 * share).abs() < 1e-4, "the partner is mixed with the old image");
            assert_eq!(images[2 * size..3 * size], batch()[2 * size..3 * size], "the middle image stays");
        }
    }

    #[test]
    fn cutmix_shares_are_the_area_that_was_pasted() {
        let mut partial = 0;
        for seed in 0..200 {
            let (images, targets) = run(MixConfig { cutmix: 1.0, ..MixConfig::default() }, seed);
            let size = 3 * 12 * 16;
            let kept = images[..size].iter().filter(|v| **v == 0.0).count() as f32 / size as f32;
            assert!(images[..size].iter().all(|v| *v == 0.0 || *v == 4.0));
            assert!((targets[0] - kept).abs() < 1e-6, "seed {seed}: target {}, kept {kept}", targets[0]);
            let pasted = images[4 * size..].iter().filter(|v| **v == 0.0).count() as f32 / size as f32;
            assert!((pasted - (1.0 - kept)).abs() < 1e-6, "the partner gets the same rectangle");
            partial += usize::from(kept > 0.0 && kept < 1.0);
        }
        assert!(partial > 100, "{partial} of 200 batches were cut");
    }

    #[test]
    fn cuts_stay_inside_and_have_the_drawn_size_where_they_fit() {
        let mut full = 0;
        for seed in 0..500 {
            let cut = Cut::draw(40, 60, 0.75, &mut stream(seed, &[]));
            assert!(cut.rows.end <= 40 && cut.columns.end <= 60);
            assert!(cut.rows.len() <= 20 && cut.columns.len() <= 30);
            full += usize::from(cut.rows.len() == 20 && cut.columns.len() == 30);
        }
        assert!(full > 80, "{full} of 500");
    }

    #[test]
    fn probabilities_choose_between_the_kinds() {
        let kinds = |config: MixConfig| {
            let drawn: Vec<_> = (0..400).map(|s| config.draw(&mut stream(s, &[])).unwrap().map(|(k, _)| k)).collect();
            [None, Some(Kind::Mixup), Some(Kind::Cutmix)].map(|k| drawn.iter().filter(|d| **d == k).count())
        };
        assert_eq!(kinds(MixConfig { prob: 0.0, ..MixConfig::imagenet() }), [400, 0, 0]);
        assert_eq!(kinds(MixConfig { switch_prob: 0.0, ..MixConfig::imagenet() }), [0, 400, 0]);
        let [_, mixup, cutmix] = kinds(MixConfig::imagenet());
        assert!(mixup > 150 && cutmix > 150, "{mixup} {cutmix}");
    }

    #[test]
    fn wrong_batches_and_settings_are_refused() {
        let config = MixConfig::default();
        let mut rng = stream(0, &[]);
        let mut images = batch();
        assert!(mix_batch(&mut images, SHAPE, &LABELS[..4], 4, &config, &mut rng).is_err());
        assert!(mix_batch(&mut images[1..], SHAPE, &LABELS, 4, &config, &mut rng).is_err());
        let message = mix_batch(&mut images, SHAPE, &LABELS, 3, &config, &mut rng).unwrap_err().to_string();
        assert!(message.contains("label") && message.contains("less than 3"), "{message}");
        assert!(MixConfig { mixup: -1.0, ..config }.check().is_err());
        assert!(MixConfig { smoothing: 1.0, ..config }.check().is_err());
        assert!(MixConfig { prob: f64::NAN, ..config }.check().is_err());
        let empty = BatchShape { n: 0, ..SHAPE };
        assert!(mix_batch(&mut [], empty, &[], 4, &MixConfig::imagenet(), &mut rng).unwrap().is_empty());
    }
}
