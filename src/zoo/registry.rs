//! Named networks, and the families that files may be of.

use super::convmixer::ConvMixerConfig;
use super::convnext::{ConvNextConfig, Variant};
use super::entry::{Entry, NO_WEIGHTS, Preprocessing, Published, nano};
use super::family::{FAMILY_KEY, FamilyReader, ModelConfig};
use super::mobilenet_v2::{self, MobileNetV2Config};
use super::mobilenet_v3::MobileNetV3Config;
use super::replknet::RepLkNetConfig;
use super::{config::PerStage, resnet, shiftwise, slak};
use crate::{Error, Result};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock, PoisonError, RwLock};

/// Networks by name, and the families that files may be of.
///
/// A process has one registry, which names and configurations in files are looked up in: that of this crate
/// ([`Registry::builtin`]) until another one is installed. An example of a network of another crate is at
/// [`Family`](super::Family).
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

impl<'de> Deserialize<'de> for ModelConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let mut table = toml::Table::deserialize(deserializer)?;
        let family = match table.remove(FAMILY_KEY) {
            Some(toml::Value::String(name)) => name,
            Some(other) => {
                return Err(D::Error::custom(format!("{FAMILY_KEY}: got {other}, allowed: a family's name")));
            }
            None => return Err(D::Error::missing_field(FAMILY_KEY)),
        };
        let registry = Registry::current();
        let Some(reader) = registry.family(&family) else {
            let known: Vec<&str> = registry.families().collect();
            let known = known.join(", ");
            return Err(D::Error::custom(format!("{FAMILY_KEY}: got \"{family}\", allowed: {known}")));
        };
        (reader.read)(table).map_err(|e| D::Error::custom(e.message()))
    }
}

const ORIENTED: &str = "Kirchmeyer and Deng, Convolutional Networks with Oriented 1D Kernels, ICCV 2023";
const ORIENTED_WEIGHTS: &str =
    "pretrained/image_classification of the princeton-vl/Oriented1D repository's drive folder";

const fn published(params_m: f64, gmacs: f64, top1: f64, remark: &'static str) -> Published {
    Published { params_m: Some(params_m), gmacs: Some(gmacs), top1: Some(top1), remark }
}

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
const REPLK_WEIGHTS: &str = "links in the README of the DingXiaoH/RepLKNet-pytorch repository";

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
                "4.46 GMACs, truncated to 4.4 in Tables 3, 6, and 9 (Table 8 prints 4.5 for the same network)",
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
                remark: "the paper does not state the kernel sizes; those of the replaced kernels are kept",
            },
        ),
    ];
    all.extend(replknets());
    all.extend(mobilenet_v2::entries());
    all.extend(resnet::entries());
    all.extend(shiftwise::entries());
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
