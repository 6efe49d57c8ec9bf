//! What a network answers to every image of a set.

use super::{About, LabelMap};
use crate::data::{Batch, Broken, Loader};
use crate::train::{batch, soft_cross_entropy};
use crate::{Error, Result};
use candle_core::{D, Tensor};
use kernelscope::zoo::Network;

/// One of the classes that a network answers with, among others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ranked {
    /// The class, as an index into the logits.
    pub class: usize,
    /// Its logit.
    pub logit: f32,
    /// Its probability: the softmax of the logits.
    pub probability: f64,
}

/// The `count` classes with the largest logits, the largest first; of equal ones the first class.
///
/// ```
/// use kernelscope_lab::report::evaluation::ranked;
/// let best = ranked(&[0.0, 2.0, 1.0], 2);
/// assert_eq!((best[0].class, best[1].class), (1, 2));
/// assert!((best[0].probability - 0.665).abs() < 1e-3);
/// ```
pub fn ranked(logits: &[f32], count: usize) -> Vec<Ranked> {
    let probabilities = softmax(logits);
    let mut all: Vec<Ranked> = logits
        .iter()
        .zip(probabilities)
        .enumerate()
        .map(|(class, (&logit, probability))| Ranked { class, logit, probability })
        .collect();
    all.sort_by(|a, b| b.logit.total_cmp(&a.logit));
    all.truncate(count);
    all
}

fn softmax(logits: &[f32]) -> Vec<f64> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exp: Vec<f64> = logits.iter().map(|&logit| f64::from(logit - max).exp()).collect();
    let sum: f64 = exp.iter().sum();
    exp.iter().map(|value| value / sum).collect()
}

/// One image, and what the network answers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Answered {
    /// Index of the image in its set.
    pub sample: usize,
    /// Its class, as an index into the set's.
    pub label: usize,
    /// The answer, as an index into the network's classes.
    pub answer: usize,
    /// Probability of the answer.
    pub confidence: f64,
    /// Probability of the label.
    pub probability: f64,
    /// Number of classes with a larger logit than the label's.
    pub rank: usize,
}

impl Answered {
    /// Cross entropy with the label.
    pub fn loss(&self) -> f64 {
        // Certainly wrong answers have a large loss, not an infinite one.
        -self.probability.max(f64::MIN_POSITIVE).ln()
    }
}

/// All answers.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Answers {
    /// The images, in the order of their set.
    pub images: Vec<Answered>,
    /// Mean cross entropy, as in training.
    pub loss: f64,
    /// Images that were left out.
    pub broken: Vec<Broken>,
    /// Why not all images were looked at, if an image was broken and must not be left out.
    pub stopped: Option<String>,
}

/// Asks a network about every image of a loader, batch by batch; `progress` hears of the number of images in each.
///
/// The classes are those of `about`, which also says which of them compete. An image that cannot be read, if it is not
/// left out, ends the evaluation: the answers so far are returned, with the reason.
///
/// # Errors
/// If a size does not fit, a logit is not finite, or no image could be read before the first broken one.
pub fn answers(
    network: &Network,
    loader: &Loader,
    about: &About<'_>,
    progress: &mut dyn FnMut(usize),
) -> Result<Answers> {
    let columns = about.is_restricted().then(|| about.labels.classes().to_vec());
    let (mut found, mut sum) = (Answers::default(), 0.0);
    let name = |index: usize| loader.dataset().name(index).unwrap_or_else(|| format!("image {index}"));
    for batch in loader.epoch(0) {
        let batch = match batch {
            Ok(batch) => batch,
            Err(error) if found.images.is_empty() => return Err(error),
            Err(error) => {
                found.stopped = Some(error.to_string().replace('\n', " "));
                break;
            }
        };
        let broken = batch.broken.iter();
        found.broken.extend(broken.map(|(index, reason)| Broken { path: name(*index), reason: reason.clone() }));
        if batch.n > 0 {
            sum += add(&mut found, network, &batch, about.labels, columns.as_deref())?;
        }
        progress(batch.n + batch.broken.len());
    }
    if let (true, Some(first)) = (found.images.is_empty(), found.broken.first()) {
        return Err(Error::argument("images", "none that can be read", format!("at least one ({})", first.reason)));
    }
    found.loss = sum / found.images.len().max(1) as f64;
    Ok(found)
}

/// Adds the answers to one batch; the sum of their losses.
fn add(
    found: &mut Answers,
    network: &Network,
    batch: &Batch,
    labels: &LabelMap,
    columns: Option<&[usize]>,
) -> Result<f64> {
    let all = network.forward(&batch::images(batch, network.device())?)?;
    let logits = match columns {
        Some(columns) => all.index_select(&indices(columns, &all)?, D::Minus1)?,
        None => all,
    };
    // The label's column; with the columns of the images' classes alone, they are in the order of those.
    let column = |label: usize| match columns {
        Some(_) => label,
        None => labels.classes().get(label).copied().unwrap_or(label),
    };
    let width = logits.dim(D::Minus1)?;
    let targets = if labels.is_identity() { batch.targets.clone() } else { one_hot(&batch.labels, width, column) };
    let targets = Tensor::from_vec(targets, (batch.n, width), logits.device())?;
    let loss = f64::from(soft_cross_entropy(&logits, &targets)?.to_scalar::<f32>()?) * batch.n as f64;
    for ((row, &label), &sample) in logits.to_vec2::<f32>()?.iter().zip(&batch.labels).zip(&batch.indices) {
        if let Some(bad) = row.iter().find(|logit| !logit.is_finite()) {
            let place = format!("the answer to image {sample}");
            return Err(Error::NonFinite { what: "a logit".into(), value: f64::from(*bad), place });
        }
        let probabilities = softmax(row);
        let at = column(label);
        let own = row.get(at).copied().unwrap_or(f32::NEG_INFINITY);
        let answer = row.iter().enumerate().fold(0, |best, (c, logit)| if *logit > row[best] { c } else { best });
        found.images.push(Answered {
            sample,
            label,
            answer: columns.map_or(answer, |columns| columns.get(answer).copied().unwrap_or(answer)),
            confidence: probabilities.get(answer).copied().unwrap_or_default().min(1.0),
            probability: probabilities.get(at).copied().unwrap_or_default(),
            rank: row.iter().enumerate().filter(|&(c, &logit)| logit > own || (logit == own && c < at)).count(),
        });
    }
    Ok(loss)
}

fn indices(columns: &[usize], beside: &Tensor) -> Result<Tensor> {
    let columns: Vec<u32> = columns.iter().map(|&column| column as u32).collect();
    Ok(Tensor::new(columns, beside.device())?)
}

fn one_hot(labels: &[usize], width: usize, column: impl Fn(usize) -> usize) -> Vec<f32> {
    let mut targets = vec![0.0; labels.len() * width];
    for (row, &label) in targets.chunks_exact_mut(width.max(1)).zip(labels) {
        if let Some(place) = row.get_mut(column(label)) {
            *place = 1.0;
        }
    }
    targets
}
