//! The images over which a receptive field is averaged, one at a time.

use crate::data::{Cue, Dataset, EvalTransform, Image, Reading, ShapesTextures, check_side, list_images};
use crate::run::{DataConfig, DataSource};
use crate::{Error, Result};
use candle_core::{Device, Tensor};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Stream of the built-in images for receptive fields.
const ERF_SPLIT: u64 = 3;

enum Source {
    Set(Arc<dyn Dataset>),
    Files(Vec<PathBuf>),
}

/// Images for a receptive field, squeezed to squares of one size without a crop.
pub struct ErfInputs {
    source: Source,
    count: usize,
    transform: EvalTransform,
    reading: Reading,
    about: String,
}

impl ErfInputs {
    /// Images of a run's data: built-in ones are drawn at `size`, since enlarged pixels would not be what the network
    /// knows; of other data the first validation images are taken.
    ///
    /// # Errors
    /// If images are missing, or the size is not allowed.
    pub fn of_data(data: &DataConfig, size: usize, count: usize) -> Result<Self> {
        check_side("size of the images", size)?;
        let (set, about): (Arc<dyn Dataset>, String) = match &data.source {
            DataSource::Builtin(set) => {
                let images = ShapesTextures::generate(size, count, set.seed, Cue::Both, ERF_SPLIT)?;
                (Arc::new(images), format!("built-in images of seed {}", set.seed))
            }
            DataSource::Cifar10 { path } | DataSource::Folder { path } => {
                (data.open_val()?, format!("first validation images of {}", path.display()))
            }
        };
        let transform = EvalTransform { size, crop_pct: 1.0, ..data.eval_transform() };
        let count = count.min(set.len());
        Ok(ErfInputs { source: Source::Set(set), count, transform, reading: data.reading, about })
    }

    /// An image, or the first images of a folder, normalized as `transform` says.
    ///
    /// # Errors
    /// If there is no image, or the size is not allowed.
    pub fn of_files(path: &Path, transform: EvalTransform, size: usize, count: usize) -> Result<Self> {
        check_side("size of the images", size)?;
        let mut files = list_images(path)?;
        files.truncate(count);
        let transform = EvalTransform { size, crop_pct: 1.0, ..transform };
        let about = path.display().to_string();
        let reading = Reading::default();
        Ok(ErfInputs { count: files.len(), source: Source::Files(files), transform, reading, about })
    }

    /// The same images, read in another way.
    #[must_use]
    pub fn with_reading(self, reading: Reading) -> Self {
        ErfInputs { reading, ..self }
    }

    /// Which images these are, in a few words.
    pub fn about(&self) -> &str {
        &self.about
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The picture at an index below [`ErfInputs::len`], in the size that the network gets to see.
    ///
    /// # Errors
    /// If there is none, or its file cannot be read.
    pub fn image(&self, index: usize) -> Result<Image> {
        let size = self.transform.size;
        let missing = || Error::argument("image", index, format!("below {}", self.count));
        if index >= self.count {
            return Err(missing());
        }
        let image = match &self.source {
            Source::Set(set) => return Ok(self.transform.geometry(&set.get(index)?.image)),
            Source::Files(files) => self.reading.open(files.get(index).ok_or_else(missing)?)?,
        };
        Ok(image.resized(size, size, self.transform.filter))
    }

    /// A picture as the network's input (1, 3, H, W).
    ///
    /// # Errors
    /// If its buffer has another length than its size calls for.
    pub fn tensor(&self, image: &Image) -> Result<Tensor> {
        let values = self.transform.normalize.apply(image);
        Ok(Tensor::from_vec(values, (1, 3, image.height, image.width), &Device::Cpu)?)
    }
}
