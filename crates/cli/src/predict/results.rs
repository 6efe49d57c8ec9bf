//! What a prediction gives, and its files.

use super::super::network::Loaded;
use candle_core::Tensor;
use indexmap::IndexMap;
use kernelscope::files::write_atomically;
use kernelscope::weights::{self, TensorMap};
use kernelscope::{Error, Result};
use kernelscope_lab::data::{Broken, ClassNames};
use kernelscope_lab::report::evaluation::{Ranked, ranked};
use kernelscope_lab::save;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The tensor of the logits.
const LOGITS: &str = "logits";

/// What a file holds, by its ending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Csv,
    Json,
    Tensors,
}

impl Format {
    pub fn of(path: &Path) -> Self {
        let is = |ending: &str| path.extension().is_some_and(|e| e.eq_ignore_ascii_case(ending));
        match (is("csv"), is("json")) {
            (true, _) => Format::Csv,
            (_, true) => Format::Json,
            _ => Format::Tensors,
        }
    }
}

/// The outputs of the network so far.
#[derive(Default)]
pub struct Results {
    parts: IndexMap<String, Vec<Tensor>>,
    names: Vec<PathBuf>,
    count: usize,
    pub broken: Vec<Broken>,
}

impl Results {
    /// Adds the outputs of some images.
    pub fn add(&mut self, images: usize, names: Vec<PathBuf>, logits: Option<Tensor>, stages: Vec<Tensor>) {
        self.count += images;
        self.names.extend(names);
        let named = logits.map(|logits| (LOGITS.to_string(), logits));
        let stages = stages.into_iter().enumerate().map(|(stage, map)| (format!("stages.{stage}"), map));
        for (name, part) in named.into_iter().chain(stages) {
            self.parts.entry(name).or_default().push(part);
        }
    }

    /// Number of images so far.
    pub fn images(&self) -> usize {
        self.count
    }

    /// Puts the parts together.
    pub fn finish(self, loaded: &Loaded, top: usize) -> Result<Finished> {
        let mut tensors = TensorMap::new();
        for (name, part) in self.parts {
            tensors.insert(name, Tensor::cat(&part, 0)?);
        }
        let mut metadata = BTreeMap::from([loaded.network.spec().metadata()?]);
        if !self.names.is_empty() {
            let names: Vec<String> = self.names.iter().map(|p| p.display().to_string()).collect();
            metadata.insert("images".into(), serde_json::Value::from(names).to_string());
        }
        let images = match tensors.get(LOGITS) {
            Some(logits) => predictions(logits, &self.names, loaded.classes.as_ref(), top)?,
            None => Vec::new(),
        };
        Ok(Finished { tensors, metadata, images, broken: self.broken })
    }
}

/// One class of an image.
#[derive(Debug, Serialize)]
struct Class {
    class: usize,
    name: Option<String>,
    id: Option<String>,
    probability: f64,
    logit: f32,
}

/// The most probable classes of an image.
#[derive(Debug, Serialize)]
struct Prediction {
    image: String,
    top: Vec<Class>,
}

/// A line of the table: one class of one image.
#[derive(Serialize)]
struct Line<'a> {
    image: &'a str,
    rank: usize,
    class: usize,
    name: Option<&'a str>,
    id: Option<&'a str>,
    probability: f64,
    logit: f32,
}

/// What the JSON file holds.
#[derive(Serialize)]
struct Document<'a> {
    images: &'a [Prediction],
    broken: &'a [Broken],
}

/// All outputs, ready to be written.
pub struct Finished {
    tensors: TensorMap,
    metadata: BTreeMap<String, String>,
    images: Vec<Prediction>,
    broken: Vec<Broken>,
}

fn predictions(
    logits: &Tensor,
    names: &[PathBuf],
    classes: Option<&ClassNames>,
    top: usize,
) -> Result<Vec<Prediction>> {
    let name = |index: usize| names.get(index).map_or(index.to_string(), |path| path.display().to_string());
    let class = |found: Ranked| Class {
        class: found.class,
        name: classes.map(|names| names.describe(found.class).to_string()),
        id: classes.and_then(|names| names.id(found.class)).map(String::from),
        probability: found.probability,
        logit: found.logit,
    };
    let rows = logits.to_vec2::<f32>()?;
    let prediction = |(index, row): (usize, &Vec<f32>)| Prediction {
        image: name(index),
        top: ranked(row, top).into_iter().map(class).collect(),
    };
    Ok(rows.iter().enumerate().map(prediction).collect())
}

impl Finished {
    /// Writes one file.
    pub fn save(&self, path: &Path) -> Result<()> {
        match Format::of(path) {
            Format::Tensors => weights::save(path, &self.tensors, &self.metadata),
            Format::Csv => save::table(path, &self.table()),
            Format::Json => {
                let document = Document { images: &self.images, broken: &self.broken };
                let text = serde_json::to_string_pretty(&document);
                let text = text.map_err(|e| Error::argument("predictions", e, "values that JSON can represent"))?;
                write_atomically(path, |file| file.write_all(text.as_bytes()))
            }
        }
    }

    fn table(&self) -> Vec<Line<'_>> {
        self.images.iter().flat_map(lines_of).collect()
    }

    /// One line per image, for people.
    pub fn lines(&self) -> impl Iterator<Item = String> + '_ {
        self.images.iter().map(|image| {
            let name = |class: &Class| class.name.as_ref().map_or(String::new(), |name| format!(" ({name})"));
            let best = image.top.first().map(|class| {
                format!("{}: class {}{}, probability {:.3}", image.image, class.class, name(class), class.probability)
            });
            let others = image.top.iter().skip(1);
            let others = others.map(|class| format!("; {}{} {:.3}", class.class, name(class), class.probability));
            best.unwrap_or_default() + &others.collect::<String>()
        })
    }

    /// What a file holds, in words.
    pub fn what(&self, path: &Path) -> &'static str {
        match (Format::of(path), self.tensors.contains_key(LOGITS)) {
            (Format::Tensors, true) => "logits",
            (Format::Tensors, false) => "feature maps",
            _ => "most probable classes",
        }
    }
}

fn lines_of(image: &Prediction) -> Vec<Line<'_>> {
    image
        .top
        .iter()
        .enumerate()
        .map(|(index, class)| Line {
            image: &image.image,
            rank: index + 1,
            class: class.class,
            name: class.name.as_deref(),
            id: class.id.as_deref(),
            probability: class.probability,
            logit: class.logit,
        })
        .collect()
}
