//! Images with their labels, and with what a network answers.

use crate::show::{Show, Shown};
use candle_core::{Device, Tensor};
use kernelscope::Result;
use kernelscope::zoo::Network;
use kernelscope_lab::data::Dataset;
use kernelscope_lab::plot::{ImageSheet, SheetImage};
use kernelscope_lab::run::DataConfig;

/// One image.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// Rows and columns.
    pub size: (usize, usize),
    /// Red, green and blue of every pixel.
    pub pixels: Vec<u8>,
    /// Class.
    pub label: usize,
    /// The network's answer and its probability.
    pub answer: Option<(usize, f32)>,
}

/// Images with labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Pictures {
    /// The images.
    pub list: Vec<Picture>,
    /// Names of the classes.
    pub classes: Vec<String>,
}

/// Images that a sheet shows at most.
const SHOWN: usize = 48;

/// The first images of a set, with their labels.
///
/// # Errors
/// If one cannot be read.
pub fn pictures(set: &dyn Dataset, count: usize) -> Result<Pictures> {
    let mut list = Vec::new();
    for index in 0..count.min(set.len()) {
        let sample = set.get(index)?;
        let size = (sample.image.height, sample.image.width);
        list.push(Picture { size, pixels: sample.image.pixels, label: sample.label, answer: None });
    }
    Ok(Pictures { list, classes: set.classes().to_vec() })
}

/// The first images of a set, with what a network answers to them.
///
/// # Errors
/// If one cannot be read, or does not fit the network.
pub fn answers(network: &Network, data: &DataConfig, set: &dyn Dataset, count: usize) -> Result<Pictures> {
    const BATCH: usize = 32;
    let mut pictures = pictures(set, count)?;
    let transform = data.eval_transform();
    for (batch, chunk) in pictures.list.chunks_mut(BATCH).enumerate() {
        let mut values = Vec::new();
        for index in 0..chunk.len() {
            values.extend(transform.apply(&set.get(batch * BATCH + index)?.image));
        }
        let x = Tensor::from_vec(values, (chunk.len(), 3, data.size, data.size), &Device::Cpu)?;
        let probabilities = candle_nn::ops::softmax_last_dim(&network.forward(&x)?)?.to_vec2::<f32>()?;
        for (picture, row) in chunk.iter_mut().zip(probabilities) {
            picture.answer = row.iter().copied().enumerate().max_by(|a, b| a.1.total_cmp(&b.1));
        }
    }
    Ok(pictures)
}

impl Pictures {
    /// Pairs of label and answer, of those that have one.
    pub fn pairs(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        self.list.iter().filter_map(|picture| Some((picture.label, picture.answer?.0)))
    }

    /// Those that are answered with another class.
    pub fn wrong(&self) -> Pictures {
        let wrong = |picture: &&Picture| picture.answer.is_some_and(|(class, _)| class != picture.label);
        Pictures { list: self.list.iter().filter(wrong).cloned().collect(), classes: self.classes.clone() }
    }

    /// At most `count` of them.
    pub fn first(&self, count: usize) -> Pictures {
        Pictures { list: self.list.iter().take(count).cloned().collect(), classes: self.classes.clone() }
    }

    fn caption(&self, picture: &Picture) -> String {
        let name = |class: usize| self.classes.get(class).map_or("?", String::as_str);
        match picture.answer {
            None => name(picture.label).to_string(),
            Some((class, p)) if class == picture.label => format!("{} ({:.0}\u{a0}%)", name(class), 100.0 * p),
            Some((class, p)) => format!("{}, not {} ({:.0}\u{a0}%)", name(picture.label), name(class), 100.0 * p),
        }
    }
}

impl Show for Pictures {
    fn shown(&self) -> Shown {
        let right = self.pairs().filter(|(label, answer)| label == answer).count();
        let answered = self.pairs().count();
        let mut text = format!("{} images", self.list.len());
        if answered > 0 {
            text += &format!(", {right} of {answered} answered with their label");
        }
        if self.list.is_empty() {
            return Shown::text(text);
        }
        let sheet = |picture: &Picture| SheetImage {
            height: picture.size.0,
            width: picture.size.1,
            pixels: picture.pixels.clone(),
            caption: self.caption(picture),
        };
        Shown::figure(&ImageSheet { images: self.list.iter().take(SHOWN).map(sheet).collect(), columns: 8 }, text)
    }
}
