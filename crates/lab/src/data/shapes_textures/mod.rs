//! The built-in set *shapes and textures*: eight shapes, each drawn in a texture of its own, so that either cue alone
//! tells the class. Cue-conflict images, the shape of one class in the texture of another, then show which of the two
//! a network relies on (after Geirhos et al., "ImageNet-trained CNNs are biased towards texture", ICLR 2019).
//!
//! | class | shape | texture |
//! |---|---|---|
//! | 0 | circle | stripes |
//! | 1 | triangle | checks |
//! | 2 | square | dots |
//! | 3 | star | zigzag |
//! | 4 | cross | bricks |
//! | 5 | heart | blobs |
//! | 6 | crescent | grain |
//! | 7 | arrow | rings |
//!
//! Position, size, rotation, colors, light, clutter and pixel noise are random, and each object is either filled or
//! drawn as a thick outline. Every image is a function of (seed, split, index) alone; images that differ only in the
//! [`Cue`] share the pose, the colors and the background.

mod scene;
mod shapes;
mod textures;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{Dataset, Image, MAX_SIDE, Sample, index_error};
use crate::{Error, Result};
use scene::Scene;
use shapes::Shape;
use textures::Texture;

/// Shape names in class order; also the class names.
pub const SHAPE_NAMES: [&str; CLASSES] =
    ["circle", "triangle", "square", "star", "cross", "heart", "crescent", "arrow"];

/// Texture names in class order: `TEXTURE_NAMES[c]` belongs to the shape `SHAPE_NAMES[c]`.
pub const TEXTURE_NAMES: [&str; CLASSES] = ["stripes", "checks", "dots", "zigzag", "bricks", "blobs", "grain", "rings"];

/// Class names: those of the shapes.
pub const CLASS_NAMES: [&str; CLASSES] = SHAPE_NAMES;

/// Number of classes.
pub const CLASSES: usize = 8;

/// Smallest image side at which the textures can still be told apart, in pixels.
pub const MIN_SIZE: usize = 32;

/// A set of more bytes is refused; it would be rendered into memory.
const MAX_BYTES: u64 = 1 << 40;

/// The `split` of training images.
pub const TRAIN_SPLIT: u64 = 0;
/// The `split` of validation images.
pub const VAL_SPLIT: u64 = 1;

/// Which cues an image carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cue {
    /// Shape and texture of the same class.
    #[default]
    Both,
    /// The shape in plain ink.
    ShapeOnly,
    /// The texture all over the image.
    TextureOnly,
    /// The shape of one class in the texture of another; all ordered pairs in turn.
    Conflict,
}

/// Size and seed of the built-in set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ShapesTexturesConfig {
    /// Image side in pixels, at least 32.
    pub size: usize,
    /// Number of training images.
    pub train: usize,
    /// Number of validation images.
    pub val: usize,
    /// Seed of all images.
    pub seed: u64,
}

impl Default for ShapesTexturesConfig {
    fn default() -> Self {
        ShapesTexturesConfig { size: 64, train: 4000, val: 800, seed: 0 }
    }
}

impl ShapesTexturesConfig {
    /// Checks the size.
    ///
    /// # Errors
    /// If it is not between [`MIN_SIZE`] and [`MAX_SIDE`].
    pub fn check(&self) -> Result<()> {
        check_size(self.size)
    }

    /// Renders the validation set alone, the same as [`ShapesTexturesConfig::generate`] does.
    ///
    /// # Errors
    /// If the size or the number of images is not allowed.
    pub fn generate_val(&self) -> Result<ShapesTextures> {
        ShapesTextures::generate(self.size, self.val, self.seed, Cue::Both, VAL_SPLIT)
    }

    /// Renders the training and the validation set, both with shape and texture in agreement.
    ///
    /// # Errors
    /// If the size or a count is out of range.
    pub fn generate(&self) -> Result<(ShapesTextures, ShapesTextures)> {
        let train = ShapesTextures::generate(self.size, self.train, self.seed, Cue::Both, TRAIN_SPLIT)?;
        Ok((train, self.generate_val()?))
    }
}

fn check_size(size: usize) -> Result<()> {
    match (MIN_SIZE..=MAX_SIDE).contains(&size) {
        true => Ok(()),
        false => Err(Error::argument("size", size, format!("at least {MIN_SIZE} and at most {MAX_SIDE} pixels"))),
    }
}

/// A rendered part of the built-in set, held in memory.
#[derive(Clone, Debug)]
pub struct ShapesTextures {
    images: Vec<Image>,
    cue: Cue,
    classes: Vec<String>,
}

impl ShapesTextures {
    /// Renders `count` images of `size` x `size` pixels on all cores.
    ///
    /// Classes take turns (`index % 8`), for [`Cue::Conflict`] all 56 ordered pairs of different classes do. Sets with
    /// different `split` numbers share no random choice.
    ///
    /// # Errors
    /// If the size or a count is out of range.
    pub fn generate(size: usize, count: usize, seed: u64, cue: Cue, split: u64) -> Result<Self> {
        check_size(size)?;
        if count == 0 {
            return Err(Error::argument("count", count, "at least 1 image"));
        }
        let most = MAX_BYTES / (3 * size * size) as u64;
        if count as u64 > most {
            return Err(Error::argument("count", count, format!("at most {most} images of {size}x{size} pixels")));
        }
        let images = (0..count)
            .into_par_iter()
            .map(|index| {
                let (shape, texture) = cues(cue, index);
                let scene = Scene::sample(seed, &[split, index as u64]);
                scene.render(size, shape.map(Shape::from_class), texture.map(Texture::from_class))
            })
            .collect();
        Ok(ShapesTextures { images, cue, classes: CLASS_NAMES.map(String::from).to_vec() })
    }

    /// The cues that these images carry.
    pub fn cue(&self) -> Cue {
        self.cue
    }

    /// Class of the shape in image `index`; `None` for images without a shape.
    pub fn shape_of(&self, index: usize) -> Option<usize> {
        cues(self.cue, index).0
    }

    /// Class of the texture in image `index`; `None` for images in plain ink.
    pub fn texture_of(&self, index: usize) -> Option<usize> {
        cues(self.cue, index).1
    }
}

impl Dataset for ShapesTextures {
    fn len(&self) -> usize {
        self.images.len()
    }

    fn get(&self, index: usize) -> Result<Sample> {
        let image = self.images.get(index).ok_or_else(|| index_error(index, self.images.len()))?;
        // Every image shows a shape or, failing that, a texture.
        let label = self.shape_of(index).or(self.texture_of(index)).unwrap_or_default();
        Ok(Sample { image: image.clone(), label })
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }
}

/// The shape and the texture class of image `index`.
fn cues(cue: Cue, index: usize) -> (Option<usize>, Option<usize>) {
    let class = index % CLASSES;
    match cue {
        Cue::Both => (Some(class), Some(class)),
        Cue::ShapeOnly => (Some(class), None),
        Cue::TextureOnly => (None, Some(class)),
        Cue::Conflict => {
            let offset = 1 + (index / CLASSES) % (CLASSES - 1);
            (Some(class), Some((class + offset) % CLASSES))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn set(count: usize, cue: Cue) -> ShapesTextures {
        ShapesTextures::generate(32, count, 5, cue, 0).unwrap()
    }

    #[test]
    fn images_do_not_depend_on_the_number_of_threads() {
        let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let one = pool(1).install(|| set(40, Cue::Both));
        let four = pool(4).install(|| set(40, Cue::Both));
        assert_eq!(one.images, four.images);
        let fewer = set(10, Cue::Both);
        assert_eq!(fewer.images[..], one.images[..10], "nor on the number of images");
    }

    #[test]
    fn seed_split_and_index_all_matter() {
        let base = set(9, Cue::Both);
        assert_ne!(base.images[0], base.images[8]);
        assert_ne!(ShapesTextures::generate(32, 1, 6, Cue::Both, 0).unwrap().images[0], base.images[0]);
        assert_ne!(ShapesTextures::generate(32, 1, 5, Cue::Both, 1).unwrap().images[0], base.images[0]);
    }

    #[test]
    fn conflict_covers_every_pair_evenly_and_never_agrees() {
        let conflict = set(112, Cue::Conflict);
        let mut pairs = BTreeMap::new();
        for i in 0..conflict.len() {
            let (shape, texture) = (conflict.shape_of(i).unwrap(), conflict.texture_of(i).unwrap());
            assert_ne!(shape, texture);
            assert_eq!(conflict.get(i).unwrap().label, shape);
            *pairs.entry((shape, texture)).or_insert(0) += 1;
        }
        assert_eq!(pairs.len(), 56);
        assert!(pairs.values().all(|&count| count == 2));
    }

    #[test]
    fn labels_are_balanced_and_cues_are_as_asked() {
        for cue in [Cue::Both, Cue::ShapeOnly, Cue::TextureOnly] {
            let images = set(24, cue);
            for i in 0..24 {
                assert_eq!(images.get(i).unwrap().label, i % CLASSES);
            }
            assert_eq!(images.shape_of(0).is_some(), cue != Cue::TextureOnly);
            assert_eq!(images.texture_of(0).is_some(), cue != Cue::ShapeOnly);
        }
    }

    #[test]
    fn the_background_is_shared_between_cues() {
        let (both, plain) = (set(8, Cue::Both), set(8, Cue::ShapeOnly));
        for (a, b) in both.images.iter().zip(&plain.images) {
            let equal = a.pixels.iter().zip(&b.pixels).filter(|(x, y)| x == y).count();
            assert!(equal > a.pixels.len() / 4 && equal < a.pixels.len(), "{equal} equal bytes");
        }
    }

    #[test]
    fn bad_sizes_and_indices_are_refused() {
        let message = ShapesTextures::generate(31, 4, 0, Cue::Both, 0).unwrap_err().to_string();
        assert!(message.contains("31") && message.contains("at least 32"), "{message}");
        assert!(ShapesTextures::generate(32, 0, 0, Cue::Both, 0).is_err());
        let message = ShapesTextures::generate(32, usize::MAX, 0, Cue::Both, 0).unwrap_err().to_string();
        assert!(message.contains("at most 357913941 images"), "{message}");
        assert!(ShapesTextures::generate(usize::MAX, 4, 0, Cue::Both, 0).is_err());
        assert!(set(3, Cue::Both).get(3).is_err());
    }

    #[test]
    fn config_makes_disjoint_parts() {
        let config = ShapesTexturesConfig { size: 32, train: 16, val: 8, seed: 3 };
        let (train, val) = config.generate().unwrap();
        assert_eq!((train.len(), val.len()), (16, 8));
        assert!(val.images.iter().all(|image| !train.images.contains(image)));
        assert_eq!(config.generate_val().unwrap().images, val.images);
        assert!(serde_json::from_str::<ShapesTexturesConfig>(r#"{"sizes": 64}"#).is_err());
        let partial: ShapesTexturesConfig = serde_json::from_str(r#"{"val": 9}"#).unwrap();
        assert_eq!((partial.val, partial.size), (9, 64));
    }
}
