//! From an 8-bit image to normalized floats in CHW order, with and without augmentation.

mod augment;
mod erase;
mod eval;
mod geometry;
mod mix;
mod normalize;
mod photometric;
mod rand_augment;
mod random;

pub use augment::{Augment, ColorJitter, TrainTransform};
pub use eval::EvalTransform;
pub(super) use mix::soft_targets;
pub use mix::{BatchShape, MixConfig, mix_batch};
pub use normalize::Normalize;
pub use rand_augment::RandAugment;

use crate::Result;
use crate::data::Image;
use kernelscope::rng::ChaCha8Rng;

/// What a loader does with every image.
#[derive(Clone, Debug, PartialEq)]
pub enum Transform {
    /// Random augmentation.
    Train(TrainTransform),
    /// The fixed transformation of validation and inference.
    Eval(EvalTransform),
}

impl Transform {
    /// Side of the square result in pixels.
    pub fn size(&self) -> usize {
        match self {
            Transform::Train(t) => t.size,
            Transform::Eval(t) => t.size,
        }
    }

    /// Checks every setting.
    ///
    /// # Errors
    /// The first field out of range, by name.
    pub fn check(&self) -> Result<()> {
        match self {
            Transform::Train(t) => t.check(),
            Transform::Eval(t) => t.check(),
        }
    }

    /// The transformed image in CHW order, length `3 * size * size`. Only training uses `rng`.
    pub fn apply(&self, image: &Image, rng: &mut ChaCha8Rng) -> Vec<f32> {
        match self {
            Transform::Train(t) => t.apply(image, rng),
            Transform::Eval(t) => t.apply(image),
        }
    }
}

impl From<TrainTransform> for Transform {
    fn from(transform: TrainTransform) -> Self {
        Transform::Train(transform)
    }
}

impl From<EvalTransform> for Transform {
    fn from(transform: EvalTransform) -> Self {
        Transform::Eval(transform)
    }
}
