//! Receptive fields of several networks in one table, with the published figures beside, and the maps that are kept
//! so that a table can be continued.

use crate::data::EvalTransform;
use crate::save::table;
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};
use kernelscope::analysis::erf::{Definition, PUBLISHED_SIZE, Probe, THRESHOLDS, area_ratios};
use kernelscope::analysis::report::{AreaRatio, ErfMap};
use kernelscope::rng::{hash_name, mix};
use kernelscope::weights::{self, TensorMap};
use kernelscope::zoo::Network;
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What is published about one network's receptive field.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PublishedErf {
    /// The network's name in the registry.
    pub model: &'static str,
    /// Its name in the paper.
    pub printed: &'static str,
    /// Area ratios in percent, one per threshold of [`THRESHOLDS`].
    pub percent: [f64; THRESHOLDS.len()],
}

/// Number of images behind the published figures.
pub const PUBLISHED_IMAGES: usize = 50;

/// Area ratios of the RepLKNet paper (Ding et al., CVPR 2022, arXiv version, Table 10): last stage, 50 images of
/// ImageNet's validation set at 1024x1024. We had no copy of that table: 22.4 and 98.6 are confirmed by other sources,
/// the other 14 are not.
pub const PUBLISHED: [PublishedErf; 4] = [
    PublishedErf { model: "resnet-101", printed: "ResNet-101", percent: [0.9, 1.5, 3.2, 22.4] },
    PublishedErf { model: "resnet-152", printed: "ResNet-152", percent: [1.1, 1.8, 3.9, 34.4] },
    PublishedErf { model: "replknet-13", printed: "RepLKNet-13", percent: [11.2, 17.1, 30.2, 96.3] },
    PublishedErf { model: "replknet-31b", printed: "RepLKNet-31", percent: [16.3, 24.7, 43.2, 98.6] },
];

/// Whether a row was computed here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RowSource {
    /// Computed here.
    Measured,
    /// Printed in the paper.
    Published,
}

/// One row: a network as measured, or as published.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ErfRow {
    /// What the network is called in this table.
    pub network: String,
    /// Whether the row was computed here.
    pub source: RowSource,
    /// The probed stage, counted from 0; `None` where it is published as the last.
    pub stage: Option<usize>,
    /// Side of the images in pixels.
    pub size: usize,
    /// Number of images.
    pub images: usize,
    /// Area ratios; published rows have no sides.
    pub areas: Vec<AreaRatio>,
}

/// The table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ErfTable {
    /// The definition of A in the measured rows.
    pub definition: Definition,
    /// The rows: each network, its published figures after it, and at the end those of networks that were not measured.
    pub rows: Vec<ErfRow>,
}

/// One measured network of a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// Registered name of the network, if published figures are about it as it was measured: with trained weights.
    pub model: Option<String>,
    /// The map, its `model` being what the network is called in the table.
    pub map: ErfMap,
}

impl ErfTable {
    /// The table of measured networks, in their order.
    pub fn new(measured: &[Measured], definition: Definition) -> Self {
        let is_about = |p: &PublishedErf, m: &Measured| m.model.as_deref() == Some(p.model);
        let mut rows = Vec::new();
        for m in measured {
            rows.push(ErfRow {
                network: m.map.model.clone(),
                source: RowSource::Measured,
                stage: Some(m.map.stage),
                size: m.map.height,
                images: m.map.images,
                areas: area_ratios(&definition.of(m.map.clone()), &THRESHOLDS),
            });
            rows.extend(PUBLISHED.iter().filter(|p| is_about(p, m)).map(published_row));
        }
        let others = PUBLISHED.iter().filter(|p| !measured.iter().any(|m| is_about(p, m)));
        rows.extend(others.map(published_row));
        ErfTable { definition, rows }
    }

    /// Writes one line per network and threshold.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn save_csv(&self, path: &Path) -> Result<()> {
        #[derive(Serialize)]
        struct Line<'a> {
            network: &'a str,
            source: RowSource,
            definition: Definition,
            stage: Option<usize>,
            size: usize,
            images: usize,
            threshold: f64,
            side: Option<usize>,
            ratio: Option<f64>,
        }
        let lines: Vec<Line> = self
            .rows
            .iter()
            .flat_map(|row| {
                row.areas.iter().map(|area| Line {
                    network: &row.network,
                    source: row.source,
                    definition: if row.source == RowSource::Published { Definition::Script } else { self.definition },
                    stage: row.stage,
                    size: row.size,
                    images: row.images,
                    threshold: area.threshold,
                    side: area.side,
                    ratio: area.ratio,
                })
            })
            .collect();
        table(path, &lines)
    }
}

fn published_row(p: &PublishedErf) -> ErfRow {
    let areas = THRESHOLDS.iter().zip(p.percent);
    ErfRow {
        network: p.printed.to_string(),
        source: RowSource::Published,
        stage: None,
        size: PUBLISHED_SIZE,
        images: PUBLISHED_IMAGES,
        areas: areas
            .map(|(&threshold, percent)| AreaRatio { threshold, side: None, ratio: Some(percent / 100.0) })
            .collect(),
    }
}

/// Everything that a map follows from, as one number: equal keys mean equal maps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapKey(u64);

impl MapKey {
    /// The key of a network's map over images.
    ///
    /// # Errors
    /// If an image cannot be read.
    pub fn new(
        network: &Network,
        probe: Probe,
        transform: &EvalTransform,
        size: usize,
        images: &[PathBuf],
    ) -> Result<Self> {
        let mut key = MapKey(0);
        key.absorb(format!("{size} {probe:?} {:?} {:?}", transform.normalize, transform.filter).as_bytes());
        key.absorb(network.spec().metadata()?.1.as_bytes());
        for (name, tensor) in network.params().tensors() {
            key.absorb(name.as_bytes());
            for value in tensor.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()? {
                key.0 = mix(key.0 ^ u64::from(value.to_bits()));
            }
        }
        for path in images {
            key.absorb(&std::fs::read(path).map_err(Error::io("read", path))?);
        }
        Ok(key)
    }

    /// The key if images are turned as their EXIF orientation says.
    #[must_use]
    pub fn turned(mut self) -> Self {
        self.absorb(b"EXIF orientation");
        self
    }

    fn absorb(&mut self, bytes: &[u8]) {
        self.0 = mix(self.0 ^ bytes.len() as u64);
        for chunk in bytes.chunks(8) {
            let word = chunk.iter().fold(0, |word, &byte| word << 8 | u64::from(byte));
            self.0 = mix(self.0 ^ word);
        }
    }

    fn text(self) -> String {
        format!("{:016x}", self.0)
    }
}

const KEY: &str = "key";

/// Saves a finished map (tensor `contribution`, (H, W), the mean over images), with the key of what it follows from.
///
/// # Errors
/// If the file cannot be written.
pub fn save_map(path: &Path, map: &ErfMap, key: MapKey) -> Result<()> {
    let contribution = Tensor::from_slice(&map.contribution, (map.height, map.width), &Device::Cpu)?;
    let metadata = BTreeMap::from([
        ("model".to_string(), map.model.clone()),
        ("stage".to_string(), map.stage.to_string()),
        ("position".to_string(), format!("{},{}", map.position.0, map.position.1)),
        ("images".to_string(), map.images.to_string()),
        (KEY.to_string(), key.text()),
    ]);
    weights::save(path, &TensorMap::from_iter([("contribution".to_string(), contribution)]), &metadata)
}

/// A map that was saved with this key; `None` if there is no file, or one of another key.
///
/// # Errors
/// If the file is damaged or is something else, which must not be overwritten.
pub fn saved_map(path: &Path, key: MapKey) -> Result<Option<ErfMap>> {
    if !path.exists() {
        return Ok(None);
    }
    let file = weights::load(path)?;
    let entry = |name: &str| file.metadata.get(name);
    let other = || Error::occupied(path, "something else than a saved receptive field");
    let (Some(contribution), Some(saved)) = (file.tensors.get("contribution"), entry(KEY)) else {
        return Err(other());
    };
    if *saved != key.text() {
        return Ok(None);
    }
    let number = |text: &str| text.parse::<usize>().ok();
    let read = || {
        let (row, column) = entry("position")?.split_once(',')?;
        let (height, width) = contribution.dims2().ok()?;
        Some(ErfMap {
            model: entry("model")?.clone(),
            stage: number(entry("stage")?)?,
            position: (number(row)?, number(column)?),
            height,
            width,
            images: number(entry("images")?)?,
            contribution: contribution.flatten_all().and_then(|c| c.to_vec1()).ok()?,
        })
    };
    read().ok_or_else(other).map(Some)
}

/// A name as part of a file's name: letters, digits, `.` and `_` are kept, everything else becomes `-`. Names that
/// become the same, or empty, are told apart by their hash.
pub fn file_stem(name: &str) -> String {
    let kept = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
    let stem: String = name.chars().map(kept).collect();
    if stem == name && !name.is_empty() { stem } else { format!("{stem}-{:08x}", hash_name(name) as u32) }
}
