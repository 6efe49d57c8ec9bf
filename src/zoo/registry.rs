//! Named networks with what their papers publish about them.

use super::convmixer::ConvMixerConfig;
use super::convnext::{ConvNextConfig, Variant};
use super::family::FamilyReader;
use super::mobilenet_v2::MobileNetV2Config;
use super::mobilenet_v3::MobileNetV3Config;
use super::replknet::RepLkNetConfig;
use super::{Family, ModelConfig, PerStage, slak};
use crate::weights::Checkpoint;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

/// What a paper or its repository states about a network, at 224x224.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Published {
    /// Parameters in millions.
    pub params_m: Option<f64>,
    /// Multiply-adds in 10^9 (the papers print them as FLOPs).
    pub gmacs: Option<f64>,
    /// ImageNet-1K top-1 accuracy in percent.
    pub top1: Option<f64>,
    /// Why our counts differ from the published ones, where they do.
    pub remark: &'static str,
}

/// How images must be prepared. Saved with every checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Preprocessing {
    /// Side of the input in pixels.
    pub size: usize,
    /// Share of the resized shorter side that the centre crop keeps.
    pub crop_pct: f64,
    /// Mean per colour channel, for values in [0, 1].
    pub mean: [f32; 3],
    /// Standard deviation per colour channel.
    pub std: [f32; 3],
}

impl Default for Preprocessing {
    /// ConvNeXt's evaluation on ImageNet.
    fn default() -> Self {
        Preprocessing { size: 224, crop_pct: 224.0 / 256.0, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] }
    }
}

/// Key of the preprocessing in a checkpoint's metadata.
const PREPROCESSING_KEY: &str = "kernelscope.preprocessing";

impl Preprocessing {
    /// The metadata entry that stores this preprocessing in a checkpoint.
    ///
    /// # Errors
    /// If it cannot be serialised.
    pub fn metadata(&self) -> Result<(String, String)> {
        let text =
            serde_json::to_string(self).map_err(|e| Error::argument("preprocessing", e, "serialisable values"))?;
        Ok((PREPROCESSING_KEY.to_string(), text))
    }

    /// What a checkpoint says of the images it was trained on, which may differ from the registered preprocessing;
    /// `None` if it says nothing, as official files do.
    ///
    /// # Errors
    /// If the entry cannot be read.
    pub fn of_checkpoint(checkpoint: &Checkpoint) -> Result<Option<Self>> {
        let Some(text) = checkpoint.metadata.get(PREPROCESSING_KEY) else { return Ok(None) };
        let read = serde_json::from_str(text);
        read.map(Some).map_err(|e| {
            Error::file(&checkpoint.source, format!("its stored preprocessing of images is not readable: {e}"))
        })
    }
}

/// Preprocessing of the small networks for the built-in data.
pub(super) const NANO: Preprocessing = Preprocessing { size: 64, crop_pct: 1.0, mean: [0.5; 3], std: [0.5; 3] };

/// One registered network.
#[derive(Clone)]
pub struct Entry {
    /// Name, as the command takes it.
    pub name: &'static str,
    /// Where it was published.
    pub paper: &'static str,
    /// What was published about it.
    pub published: Published,
    /// How its images are prepared.
    pub preprocessing: Preprocessing,
    /// Where its official weights are.
    pub weights: &'static str,
    pub(super) config: Arc<dyn Fn() -> ModelConfig + Send + Sync>,
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("name", &self.name).field("config", &self.config()).finish_non_exhaustive()
    }
}

impl Entry {
    /// A network of any family, of which nothing was published. Images are prepared as for ImageNet; the other fields can
    /// be set: `Entry { preprocessing, ..Entry::new(name, config) }`.
    pub fn new<F: Family>(name: &'static str, config: impl Fn() -> F + Send + Sync + 'static) -> Self {
        Entry {
            name,
            paper: UNPUBLISHED_PAPER,
            published: UNPUBLISHED,
            preprocessing: Preprocessing::default(),
            weights: NO_WEIGHTS,
            config: Arc::new(move || config().into()),
        }
    }

    /// Its configuration.
    pub fn config(&self) -> ModelConfig {
        (self.config)()
    }
}

/// Networks by name, and the families that files may be of.
///
/// A process has one registry, which names and configurations in files are looked up in: that of this crate
/// ([`Registry::builtin`]) until another one is installed. An example of a network of another crate is at [`Family`].
#[derive(Debug, Clone)]
pub struct Registry {
    entries: Vec<Entry>,
}

/// What [`Registry::install`] has installed.
static INSTALLED: RwLock<Option<Arc<Registry>>> = RwLock::new(None);

impl Registry {
    /// The networks of this crate, in the order of the papers.
    pub fn builtin() -> Self {
        Registry { entries: builtin() }
    }

    /// Adds a network, and its family. It takes the place of one of the same name.
    #[must_use]
    pub fn with(mut self, entry: Entry) -> Self {
        match self.entries.iter_mut().find(|known| known.name == entry.name) {
            Some(known) => *known = entry,
            None => self.entries.push(entry),
        }
        self
    }

    /// Makes this the registry of the process, in place of the one before.
    ///
    /// # Errors
    /// If two families have one name.
    pub fn install(self) -> Result<()> {
        let readers: Vec<_> = self.entries.iter().map(|entry| entry.config().reader()).collect();
        for (index, reader) in readers.iter().enumerate() {
            if readers[..index].iter().any(|other| other.name == reader.name && other.id != reader.id) {
                let allowed = "a name of its own for every family";
                return Err(Error::argument("registry", format!("two families called {}", reader.name), allowed));
            }
        }
        *INSTALLED.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(self));
        Ok(())
    }

    /// The registry of the process.
    pub fn current() -> Arc<Self> {
        if let Some(installed) = &*INSTALLED.read().unwrap_or_else(PoisonError::into_inner) {
            return installed.clone();
        }
        static BUILTIN: LazyLock<Arc<Registry>> = LazyLock::new(|| Arc::new(Registry::builtin()));
        BUILTIN.clone()
    }

    /// All networks.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The network of this name.
    ///
    /// # Errors
    /// If there is none; the error has the names that there are.
    pub fn entry(&self, name: &str) -> Result<&Entry> {
        let known = || self.entries.iter().map(|e| e.name.to_string()).collect();
        let found = self.entries.iter().find(|e| e.name == name);
        found.ok_or_else(|| Error::Unknown { what: "model".into(), name: name.to_string(), known: known() })
    }

    /// Names of the families, each once.
    pub fn families(&self) -> impl Iterator<Item = &'static str> {
        let names: BTreeSet<&str> = self.entries.iter().map(|entry| entry.config().family()).collect();
        names.into_iter()
    }

    pub(super) fn family(&self, name: &str) -> Option<FamilyReader> {
        self.entries.iter().map(|entry| entry.config().reader()).find(|reader| reader.name == name)
    }
}

const ORIENTED: &str = "Kirchmeyer and Deng, Convolutional Networks with Oriented 1D Kernels, ICCV 2023";
const ORIENTED_WEIGHTS: &str =
    "pretrained/image_classification of the princeton-vl/Oriented1D repository's drive folder";
pub(super) const NO_WEIGHTS: &str = "none published";
const UNPUBLISHED_PAPER: &str = "not published";
const OWN: &str = "small network of this project for its built-in data";

const fn published(params_m: f64, gmacs: f64, top1: f64, remark: &'static str) -> Published {
    Published { params_m: Some(params_m), gmacs: Some(gmacs), top1: Some(top1), remark }
}

pub(super) const UNPUBLISHED: Published = Published { params_m: None, gmacs: None, top1: None, remark: "" };

fn convnext(name: &'static str, config: fn() -> ModelConfig, published: Published) -> Entry {
    Entry {
        name,
        paper: ORIENTED,
        config: Arc::new(config),
        published,
        preprocessing: Preprocessing::default(),
        weights: ORIENTED_WEIGHTS,
    }
}

pub(super) fn nano(name: &'static str, config: fn() -> ModelConfig) -> Entry {
    Entry {
        name,
        paper: OWN,
        config: Arc::new(config),
        published: UNPUBLISHED,
        preprocessing: NANO,
        weights: NO_WEIGHTS,
    }
}

fn other(name: &'static str, paper: &'static str, config: fn() -> ModelConfig, published: Published) -> Entry {
    Entry {
        name,
        paper,
        config: Arc::new(config),
        published,
        preprocessing: Preprocessing::default(),
        weights: "timm (2-D form only)",
    }
}

const REPLK: &str = "Ding et al., Scaling Up Your Kernels to 31x31 (RepLKNet), CVPR 2022";
const REPLK_WEIGHTS: &str = "links in the readme of the DingXiaoH/RepLKNet-pytorch repository";

/// All RepLKNets of the paper.
fn replknets() -> Vec<Entry> {
    const FOLDED: &str = "published counts are those of the merged form with its norms folded";
    let entry = |name, config: fn() -> ModelConfig, (params_m, gmacs, top1), remark, weights| Entry {
        name,
        paper: REPLK,
        config: Arc::new(config),
        published: Published { params_m: Some(params_m), gmacs, top1, remark },
        preprocessing: Preprocessing::default(),
        weights,
    };
    let large = Preprocessing { size: 384, crop_pct: 1.0, ..Preprocessing::default() };
    // Images are resized to 365 pixels, which is 320 / (224 / 256) rounded down.
    let extra_large = Preprocessing { size: 320, crop_pct: 320.0 / 365.0, mean: [0.5; 3], std: [0.5; 3] };
    vec![
        entry(
            "replknet-3",
            || RepLkNetConfig::base_with(PerStage::all(3)).into(),
            (71.8, Some(12.9), None),
            FOLDED,
            NO_WEIGHTS,
        ),
        entry(
            "replknet-7",
            || RepLkNetConfig::base_with(PerStage::all(7)).into(),
            (72.2, Some(13.1), None),
            FOLDED,
            NO_WEIGHTS,
        ),
        entry(
            "replknet-13",
            || RepLkNetConfig::base_with(PerStage::all(13)).into(),
            (73.7, Some(13.4), None),
            FOLDED,
            REPLK_WEIGHTS,
        ),
        entry(
            "replknet-25",
            || RepLkNetConfig::base_with(PerStage([25, 25, 25, 13])).into(),
            (78.2, Some(14.8), None),
            FOLDED,
            NO_WEIGHTS,
        ),
        entry(
            "replknet-31b",
            || RepLkNetConfig::base_31().into(),
            (79.0, Some(15.3), Some(83.5)),
            "published counts are those of the merged form with its norms folded (Table 5 prints 79.3M, which are its \
             convolutions and classifier without biases and norms)",
            REPLK_WEIGHTS,
        ),
        Entry {
            preprocessing: large,
            ..entry(
                "replknet-31l",
                || RepLkNetConfig::large_31().into(),
                (172.0, None, Some(86.6)),
                "published at 384x384 after training on ImageNet-22K: 96.0 GMACs in the merged form",
                REPLK_WEIGHTS,
            )
        },
        Entry {
            preprocessing: extra_large,
            ..entry(
                "replknet-xl",
                || RepLkNetConfig::extra_large().into(),
                (335.0, None, Some(87.8)),
                "published at 320x320 after training on MegData73M: 128.7 GMACs",
                REPLK_WEIGHTS,
            )
        },
    ]
}

/// The networks of the process's registry.
pub fn registry() -> Vec<Entry> {
    Registry::current().entries().to_vec()
}

/// The network of this name in the process's registry.
///
/// # Errors
/// If there is none; the error has the names that there are.
pub fn entry(name: &str) -> Result<Entry> {
    Registry::current().entry(name).cloned()
}

/// The networks of this crate.
fn builtin() -> Vec<Entry> {
    const MIXER: &str = "Trockman and Kolter, Patches Are All You Need?, 2022";
    const MOBILE: &str = "Howard et al., Searching for MobileNetV3, ICCV 2019";
    let mut all = vec![
        convnext("convnext-t", || ConvNextConfig::tiny(Variant::TwoD).into(), published(28.6, 4.5, 81.8, "")),
        convnext(
            "convnext-t-1d",
            || ConvNextConfig::tiny(Variant::OneD).into(),
            published(
                28.5,
                4.4,
                82.2,
                "4.46 GMACs, cut off to 4.4 in Tables 3, 6 and 9 (Table 8 prints 4.5 for the same network)",
            ),
        ),
        convnext("convnext-t-1dpp", || ConvNextConfig::tiny(Variant::OneDPlus).into(), published(29.2, 4.7, 82.4, "")),
        convnext(
            "convnext-t-2dpp",
            || ConvNextConfig::tiny(Variant::TwoDPlus).into(),
            published(
                29.2,
                4.8,
                82.3,
                "29.2M matches only kernels limited to 31,31,27,15; Table 6 prints 29.4M and 4.7G for 31 everywhere, which is \
             what the released classifiers have",
            ),
        ),
        convnext("convnext-b", || ConvNextConfig::base(Variant::TwoD).into(), published(89.0, 15.4, 83.6, "")),
        convnext("convnext-b-1d", || ConvNextConfig::base(Variant::OneD).into(), published(88.0, 15.3, 83.6, "")),
        convnext("convnext-b-1dpp", || ConvNextConfig::base(Variant::OneDPlus).into(), published(90.0, 15.8, 83.5, "")),
        convnext("convnext-b-2dpp", || ConvNextConfig::base(Variant::TwoDPlus).into(), published(91.0, 15.9, 83.6, "")),
        other(
            "convmixer-768-32",
            MIXER,
            || ConvMixerConfig::large(false).into(),
            Published { params_m: Some(21.1), gmacs: Some(20.7), top1: Some(80.2), remark: "" },
        ),
        other(
            "convmixer-768-32-1d",
            ORIENTED,
            || ConvMixerConfig::large(true).into(),
            Published {
                params_m: Some(20.3),
                gmacs: Some(20.1),
                top1: None,
                remark: "19.8 GMACs computed for 15 taps; 20.1 is not explained by any kernel of the paper",
            },
        ),
        other(
            "mobilenetv3-small",
            MOBILE,
            || MobileNetV3Config::small(false).into(),
            Published {
                params_m: Some(2.5),
                gmacs: Some(0.06),
                top1: Some(67.4),
                remark: "the oriented-kernel paper prints 5.5M, which is MobileNetV3-large",
            },
        ),
        other(
            "mobilenetv3-small-1d",
            ORIENTED,
            || MobileNetV3Config::small(true).into(),
            Published {
                params_m: None,
                gmacs: None,
                top1: None,
                remark: "kernel not stated in the paper: the replaced sizes are kept",
            },
        ),
    ];
    all.extend(replknets());
    all.extend(super::mobilenet_v2::entries());
    all.extend(super::resnet::entries());
    all.extend(super::shiftwise::entries());
    all.extend([
        nano("nano-2d", || ConvNextConfig::nano(Variant::TwoD).into()),
        nano("nano-1d", || ConvNextConfig::nano(Variant::OneD).into()),
        nano("nano-1dpp", || ConvNextConfig::nano(Variant::OneDPlus).into()),
        nano("nano-replk", || RepLkNetConfig::nano().into()),
        nano("nano-mbv2", || MobileNetV2Config::nano().into()),
    ]);
    all.extend(slak::entries());
    all
}
