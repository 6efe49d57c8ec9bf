//! Shape bias on cue-conflict images (Geirhos et al., *ImageNet-trained CNNs are biased towards texture*, ICLR 2019).
//!
//! Each image shows the shape of one category with the texture of another. With `N` images in all (those with agreeing
//! cues included) and, among the conflicts, `n_s` decisions for the shape and `n_t` for the texture:
//!
//! ```text
//! fraction_shape = n_s / N      fraction_texture = n_t / N      shape bias = fraction_shape / (sum of both)
//! ```
//!
//! Images answered with neither cue do not count in the ratio.

use super::imagenet16;
use super::report::{CategoryBias, ShapeBiasReport};
use crate::{Error, Result};

/// Pooled shape bias of the ten human observers of the original study.
pub const HUMAN: f64 = 0.9587;

/// One answered image: indices of categories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// Category of the shape.
    pub shape: usize,
    /// Category of the texture.
    pub texture: usize,
    /// Category that the network chose.
    pub decision: usize,
}

/// How class probabilities become category decisions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Categories {
    names: Vec<String>,
    classes: Vec<Vec<usize>>,
}

impl Categories {
    /// The 16 categories over ImageNet's 1000 classes.
    pub fn imagenet16() -> Self {
        Categories {
            names: imagenet16::CATEGORIES.iter().map(|(name, _)| name.to_string()).collect(),
            classes: imagenet16::CATEGORIES.iter().map(|(_, classes)| classes.to_vec()).collect(),
        }
    }

    /// Every class is its own category.
    pub fn identity(names: &[String]) -> Self {
        Categories { names: names.to_vec(), classes: (0..names.len()).map(|c| vec![c]).collect() }
    }

    /// Names of the categories.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Index of a category.
    pub fn index(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|n| n == name)
    }

    /// Mean probability of each category's classes, from the logits of one image (softmax in single precision).
    ///
    /// # Errors
    /// If there are too few logits or one is not finite.
    pub fn probabilities(&self, logits: &[f32]) -> Result<Vec<f32>> {
        let needed = self.classes.iter().flatten().max().map_or(0, |&m| m + 1);
        if logits.len() < needed {
            return Err(Error::argument(
                "classes",
                format!("{} logits", logits.len()),
                format!("a network with at least {needed} classes"),
            ));
        }
        if let Some(bad) = logits.iter().find(|v| !v.is_finite()) {
            let place = "the shape-bias decision".to_string();
            return Err(Error::NonFinite { what: "a logit".into(), value: f64::from(*bad), place });
        }
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let exp: Vec<f32> = logits.iter().map(|&l| (l - max).exp()).collect();
        let sum: f32 = exp.iter().sum();
        Ok(self
            .classes
            .iter()
            .map(|classes| classes.iter().map(|&c| exp[c] / sum).sum::<f32>() / classes.len() as f32)
            .collect())
    }

    /// The category with the largest mean probability; an exact tie goes to the later one, as in the original toolbox.
    ///
    /// # Errors
    /// As [`Categories::probabilities`].
    pub fn decide(&self, logits: &[f32]) -> Result<usize> {
        let probabilities = self.probabilities(logits)?;
        Ok((0..probabilities.len()).fold(0, |best, c| if probabilities[c] >= probabilities[best] { c } else { best }))
    }
}

/// Counts the answers of one network.
pub fn shape_bias(model: &str, categories: &[String], answers: &[Answer]) -> ShapeBiasReport {
    let ratio = |shape: usize, texture: usize| (shape + texture > 0).then(|| shape as f64 / (shape + texture) as f64);
    let count = |in_category: Option<usize>| {
        let rows = answers.iter().filter(|a| a.shape != a.texture && in_category.is_none_or(|c| a.shape == c));
        rows.fold((0, 0, 0), |(n, shape, texture), a| {
            (n + 1, shape + usize::from(a.decision == a.shape), texture + usize::from(a.decision == a.texture))
        })
    };
    let (conflicts, shape, texture) = count(None);
    let images = answers.len().max(1) as f64;
    ShapeBiasReport {
        model: model.to_string(),
        images: answers.len(),
        conflicts,
        fraction_shape: shape as f64 / images,
        fraction_texture: texture as f64 / images,
        shape_bias: ratio(shape, texture),
        categories: categories
            .iter()
            .enumerate()
            .map(|(index, category)| {
                let (conflicts, shape_decisions, texture_decisions) = count(Some(index));
                CategoryBias {
                    category: category.clone(),
                    conflicts,
                    shape_decisions,
                    texture_decisions,
                    shape_bias: ratio(shape_decisions, texture_decisions),
                }
            })
            .collect(),
    }
}
