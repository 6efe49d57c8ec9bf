//! Data sets, augmentation and batches.
//!
//! A [`Dataset`] hands out 8-bit RGB [`Image`]s with a label: the built-in [`ShapesTextures`] set, a folder of class
//! folders ([`ImageFolder`]) or [`Cifar10`]. A [`Transform`] turns an image into normalized floats in CHW order, and
//! a [`Loader`] draws batches with worker threads. Every random choice comes from a stream derived from (seed, epoch,
//! sample), so a batch has the same bits whatever the number of workers.
//!
//! ```
//! use std::sync::Arc;
//! use kernelscope_lab::data::{Cue, EvalTransform, Loader, LoaderConfig, ShapesTextures};
//!
//! # fn main() -> kernelscope::Result<()> {
//! let set = ShapesTextures::generate(32, 16, 7, Cue::Both, 0)?;
//! let transform = EvalTransform { crop_pct: 1.0, ..EvalTransform::new(32) };
//! let config = LoaderConfig { batch_size: 8, ..LoaderConfig::default() };
//! let loader = Loader::new(Arc::new(set), transform.into(), None, config)?;
//! for batch in loader.epoch(0) {
//!     let batch = batch?;
//!     assert_eq!(batch.images.len(), batch.n * 3 * 32 * 32);
//! }
//! # Ok(())
//! # }
//! ```

mod cifar10;
mod classes;
mod deep_tiff;
mod folder;
mod imagenet;
mod jpeg;
mod listing;
mod loader;
mod raster;
mod reading;
pub mod shapes_textures;
mod stimuli;
pub mod transforms;

pub use cifar10::Cifar10;
pub use classes::ClassNames;
pub use folder::ImageFolder;
pub use imagenet::{ImageNetClass, imagenet_classes};
pub use listing::{IMAGE_EXTENSIONS, LEFT_BEHIND, list_images};
pub use loader::{Batch, BatchIter, Loader, LoaderConfig};
pub use raster::{Filter, Image};
pub use reading::{Broken, Reading};
pub use shapes_textures::{Cue, ShapesTextures, ShapesTexturesConfig};
pub use stimuli::{Stimulus, stimuli, texture_of_file_name};
pub use transforms::{
    Augment, BatchShape, ColorJitter, EvalTransform, MixConfig, Normalize, RandAugment, TrainTransform, Transform,
    mix_batch,
};

use crate::{Error, Result};

/// Largest side of a prepared image in pixels. Larger ones would fit no memory; the bound keeps sizes from overflowing.
pub const MAX_SIDE: usize = 16_384;

/// Refuses a side of prepared images that is 0 or above [`MAX_SIDE`].
///
/// # Errors
/// As said; the error has the given name.
pub fn check_side(name: &str, side: usize) -> Result<()> {
    match (1..=MAX_SIDE).contains(&side) {
        true => Ok(()),
        false => Err(Error::argument(name, side, format!("1 to {MAX_SIDE} pixels"))),
    }
}

/// One labeled image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The picture.
    pub image: Image,
    /// Index into [`Dataset::classes`].
    pub label: usize,
}

/// A finite, indexable collection of labeled images that several threads may read at once.
pub trait Dataset: Send + Sync {
    /// Number of samples.
    fn len(&self) -> usize;

    /// Whether there are no samples.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The sample at `index`, which must be below [`Dataset::len`]. The same index always gives the same sample.
    fn get(&self, index: usize) -> Result<Sample>;

    /// Class names; a label is an index into them.
    fn classes(&self) -> &[String];

    /// What the sample at `index` is called, where it has a name: its file.
    fn name(&self, _index: usize) -> Option<String> {
        None
    }
}

/// The error for an index that is not below `len`.
fn index_error(index: usize, len: usize) -> Error {
    Error::argument("sample index", index, format!("less than {len}, the number of samples"))
}
