//! Cue-conflict images, and what a network answers to each.

use crate::data::{Broken, Dataset, EvalTransform, Image, Reading, ShapesTextures, Stimulus, stimuli};
use crate::run::DataConfig;
use crate::{Error, Result};
use candle_core::{Device, Tensor};
use kernelscope::analysis::report::ShapeBiasReport;
use kernelscope::analysis::shape_bias::{Answer, Categories, shape_bias};
use kernelscope::zoo::Network;
use std::path::Path;

enum Images {
    Builtin(ShapesTextures),
    Folder(Vec<Stimulus>, Reading),
}

/// Images whose shape and texture belong to different categories.
pub struct Stimuli {
    images: Images,
    categories: Categories,
    transform: EvalTransform,
}

/// A network's answer to one image, with the probability of every category.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    /// Cues and decision.
    pub answer: Answer,
    /// Mean probability of each category's classes.
    pub probabilities: Vec<f32>,
}

impl Stimuli {
    /// The images that belong to a run's built-in set; `None` for other data.
    ///
    /// # Errors
    /// If they cannot be generated.
    pub fn builtin(data: &DataConfig, count: usize) -> Result<Option<Self>> {
        let Some(set) = data.cue_conflict(count)? else { return Ok(None) };
        let categories = Categories::identity(set.classes());
        Ok(Some(Stimuli { images: Images::Builtin(set), categories, transform: data.eval_transform() }))
    }

    /// A folder in the layout of Geirhos et al., for networks of 1000 ImageNet classes.
    ///
    /// # Errors
    /// If the folder is missing, empty, or holds a shape or texture that is no category.
    pub fn folder(dir: &Path, transform: EvalTransform) -> Result<Self> {
        let categories = Categories::imagenet16();
        let images = Images::Folder(stimuli(dir, &categories)?, Reading::default());
        Ok(Stimuli { images, categories, transform })
    }

    /// The same images, with those of a folder read in another way.
    #[must_use]
    pub fn with_reading(self, reading: Reading) -> Self {
        match self.images {
            Images::Folder(found, _) => Stimuli { images: Images::Folder(found, reading), ..self },
            Images::Builtin(_) => self,
        }
    }

    /// Reads every file once, and leaves out those that cannot be read, if [`Reading::skip_broken`] says so.
    ///
    /// # Errors
    /// The first file that cannot be read, if it is not left out; and if none can be read.
    pub fn sifted(self) -> Result<(Self, Vec<Broken>)> {
        match self.images {
            Images::Folder(found, reading) => {
                let (found, broken) = reading.sift(found, |stimulus| stimulus.path.as_path())?;
                Ok((Stimuli { images: Images::Folder(found, reading), ..self }, broken))
            }
            Images::Builtin(_) => Ok((self, Vec::new())),
        }
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        match &self.images {
            Images::Builtin(set) => set.len(),
            Images::Folder(found, _) => found.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Names of the categories.
    pub fn categories(&self) -> &[String] {
        self.categories.names()
    }

    /// The image at an index below [`Stimuli::len`].
    ///
    /// # Errors
    /// If there is none, or its file cannot be read.
    pub fn image(&self, index: usize) -> Result<Image> {
        match &self.images {
            Images::Builtin(set) => Ok(set.get(index)?.image),
            Images::Folder(found, reading) => reading.open(&self.of(found, index)?.path),
        }
    }

    fn of<'a>(&self, found: &'a [Stimulus], index: usize) -> Result<&'a Stimulus> {
        found.get(index).ok_or_else(|| Error::argument("image", index, format!("below {}", found.len())))
    }

    /// Categories of an image's shape and texture.
    ///
    /// # Errors
    /// If there is no such image.
    pub fn cues(&self, index: usize) -> Result<(usize, usize)> {
        match &self.images {
            Images::Builtin(set) => match (set.shape_of(index), set.texture_of(index)) {
                (Some(shape), Some(texture)) if index < set.len() => Ok((shape, texture)),
                _ => Err(Error::argument("image", index, format!("below {}", set.len()))),
            },
            Images::Folder(found, _) => self.of(found, index).map(|stimulus| (stimulus.shape, stimulus.texture)),
        }
    }

    /// What a network answers to an image.
    ///
    /// Images of a folder are fed as they are, as in the original toolbox, whose stimuli are 224x224; built-in images are
    /// prepared as in validation.
    ///
    /// # Errors
    /// If the image cannot be read, or the network's classes or size do not fit.
    pub fn answer(&self, network: &Network, index: usize) -> Result<Answered> {
        let (shape, texture) = self.cues(index)?;
        let image = self.image(index)?;
        let (values, height, width) = match &self.images {
            Images::Builtin(_) => (self.transform.apply(&image), self.transform.size, self.transform.size),
            Images::Folder(..) => (self.transform.normalize.apply(&image), image.height, image.width),
        };
        let x = Tensor::from_vec(values, (1, 3, height, width), &Device::Cpu)?;
        let logits = network.forward(&x)?.flatten_all()?.to_vec1::<f32>()?;
        let decision = self.categories.decide(&logits)?;
        let probabilities = self.categories.probabilities(&logits)?;
        Ok(Answered { answer: Answer { shape, texture, decision }, probabilities })
    }

    /// Counts the answers of one network.
    pub fn report(&self, model: &str, answered: &[Answered]) -> ShapeBiasReport {
        let answers: Vec<Answer> = answered.iter().map(|a| a.answer).collect();
        shape_bias(model, self.categories(), &answers)
    }
}
