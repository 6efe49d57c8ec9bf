//! Named networks with what their papers publish about them.

use super::convmixer::ConvMixerConfig;
use super::convnext::{ConvNextConfig, Variant};
use super::mobilenet_v2::MobileNetV2Config;
use super::mobilenet_v3::MobileNetV3Config;
use super::replknet::RepLkNetConfig;
use super::{ModelConfig, PerStage, slak};
use crate::weights::Checkpoint;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

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
    /// Its configuration.
    pub config: fn() -> ModelConfig,
    /// What was published about it.
    pub published: Published,
    /// How its images are prepared.
    pub preprocessing: Preprocessing,
    /// Where its official weights are.
    pub weights: &'static str,
}

const ORIENTED: &str = "Kirchmeyer and Deng, Convolutional Networks with Oriented 1D Kernels, ICCV 2023";
const ORIENTED_WEIGHTS: &str =
    "pretrained/image_classification of the princeton-vl/Oriented1D repository's drive folder";
pub(super) const NO_WEIGHTS: &str = "none published";
const OWN: &str = "small network of this project for its built-in data";

const fn published(params_m: f64, gmacs: f64, top1: f64, remark: &'static str) -> Published {
    Published { params_m: Some(params_m), gmacs: Some(gmacs), top1: Some(top1), remark }
}

pub(super) const UNPUBLISHED: Published = Published { params_m: None, gmacs: None, top1: None, remark: "" };

fn convnext(name: &'static str, config: fn() -> ModelConfig, published: Published) -> Entry {
    Entry {
        name,
        paper: ORIENTED,
        config,
        published,
        preprocessing: Preprocessing::default(),
        weights: ORIENTED_WEIGHTS,
    }
}

pub(super) fn nano(name: &'static str, config: fn() -> ModelConfig) -> Entry {
    Entry { name, paper: OWN, config, published: UNPUBLISHED, preprocessing: NANO, weights: NO_WEIGHTS }
}

fn other(name: &'static str, paper: &'static str, config: fn() -> ModelConfig, published: Published) -> Entry {
    Entry { name, paper, config, published, preprocessing: Preprocessing::default(), weights: "timm (2-D form only)" }
}

const REPLK: &str = "Ding et al., Scaling Up Your Kernels to 31x31 (RepLKNet), CVPR 2022";
const REPLK_WEIGHTS: &str = "links in the readme of the DingXiaoH/RepLKNet-pytorch repository";

/// All RepLKNets of the paper.
fn replknets() -> Vec<Entry> {
    use ModelConfig::RepLkNet;
    const FOLDED: &str = "published counts are those of the merged form with its norms folded";
    let entry = |name, config, (params_m, gmacs, top1), remark, weights| Entry {
        name,
        paper: REPLK,
        config,
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
            || RepLkNet(RepLkNetConfig::base_with(PerStage::all(3))),
            (71.8, Some(12.9), None),
            FOLDED,
            NO_WEIGHTS,
        ),
        entry(
            "replknet-7",
            || RepLkNet(RepLkNetConfig::base_with(PerStage::all(7))),
            (72.2, Some(13.1), None),
            FOLDED,
            NO_WEIGHTS,
        ),
        entry(
            "replknet-13",
            || RepLkNet(RepLkNetConfig::base_with(PerStage::all(13))),
            (73.7, Some(13.4), None),
            FOLDED,
            REPLK_WEIGHTS,
        ),
        entry(
            "replknet-25",
            || RepLkNet(RepLkNetConfig::base_with(PerStage([25, 25, 25, 13]))),
            (78.2, Some(14.8), None),
            FOLDED,
            NO_WEIGHTS,
        ),
        entry(
            "replknet-31b",
            || RepLkNet(RepLkNetConfig::base_31()),
            (79.0, Some(15.3), Some(83.5)),
            "published counts are those of the merged form with its norms folded (Table 5 prints 79.3M, which are its \
             convolutions and classifier without biases and norms)",
            REPLK_WEIGHTS,
        ),
        Entry {
            preprocessing: large,
            ..entry(
                "replknet-31l",
                || RepLkNet(RepLkNetConfig::large_31()),
                (172.0, None, Some(86.6)),
                "published at 384x384 after training on ImageNet-22K: 96.0 GMACs in the merged form",
                REPLK_WEIGHTS,
            )
        },
        Entry {
            preprocessing: extra_large,
            ..entry(
                "replknet-xl",
                || RepLkNet(RepLkNetConfig::extra_large()),
                (335.0, None, Some(87.8)),
                "published at 320x320 after training on MegData73M: 128.7 GMACs",
                REPLK_WEIGHTS,
            )
        },
    ]
}

/// All registered networks, in the order of the papers.
pub fn registry() -> Vec<Entry> {
    use ModelConfig::{ConvMixer, ConvNext, MobileNetV2, MobileNetV3, RepLkNet};
    const MIXER: &str = "Trockman and Kolter, Patches Are All You Need?, 2022";
    const MOBILE: &str = "Howard et al., Searching for MobileNetV3, ICCV 2019";
    let mut all = vec![
        convnext("convnext-t", || ConvNext(ConvNextConfig::tiny(Variant::TwoD)), published(28.6, 4.5, 81.8, "")),
        convnext(
            "convnext-t-1d",
            || ConvNext(ConvNextConfig::tiny(Variant::OneD)),
            published(
                28.5,
                4.4,
                82.2,
                "4.46 GMACs, cut off to 4.4 in Tables 3, 6 and 9 (Table 8 prints 4.5 for the same network)",
            ),
        ),
        convnext(
            "convnext-t-1dpp",
            || ConvNext(ConvNextConfig::tiny(Variant::OneDPlus)),
            published(29.2, 4.7, 82.4, ""),
        ),
        convnext(
            "convnext-t-2dpp",
            || ConvNext(ConvNextConfig::tiny(Variant::TwoDPlus)),
            published(
                29.2,
                4.8,
                82.3,
                "29.2M matches only kernels limited to 31,31,27,15; Table 6 prints 29.4M and 4.7G for 31 everywhere, which is \
             what the released classifiers have",
            ),
        ),
        convnext("convnext-b", || ConvNext(ConvNextConfig::base(Variant::TwoD)), published(89.0, 15.4, 83.6, "")),
        convnext("convnext-b-1d", || ConvNext(ConvNextConfig::base(Variant::OneD)), published(88.0, 15.3, 83.6, "")),
        convnext(
            "convnext-b-1dpp",
            || ConvNext(ConvNextConfig::base(Variant::OneDPlus)),
            published(90.0, 15.8, 83.5, ""),
        ),
        convnext(
            "convnext-b-2dpp",
            || ConvNext(ConvNextConfig::base(Variant::TwoDPlus)),
            published(91.0, 15.9, 83.6, ""),
        ),
        other(
            "convmixer-768-32",
            MIXER,
            || ConvMixer(ConvMixerConfig::large(false)),
            Published { params_m: Some(21.1), gmacs: Some(20.7), top1: Some(80.2), remark: "" },
        ),
        other(
            "convmixer-768-32-1d",
            ORIENTED,
            || ConvMixer(ConvMixerConfig::large(true)),
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
            || MobileNetV3(MobileNetV3Config::small(false)),
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
            || MobileNetV3(MobileNetV3Config::small(true)),
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
        nano("nano-2d", || ConvNext(ConvNextConfig::nano(Variant::TwoD))),
        nano("nano-1d", || ConvNext(ConvNextConfig::nano(Variant::OneD))),
        nano("nano-1dpp", || ConvNext(ConvNextConfig::nano(Variant::OneDPlus))),
        nano("nano-replk", || RepLkNet(RepLkNetConfig::nano())),
        nano("nano-mbv2", || MobileNetV2(MobileNetV2Config::nano())),
    ]);
    all.extend(slak::entries());
    all
}

/// The registered network of this name.
///
/// # Errors
/// If there is none; the message lists the names.
pub fn entry(name: &str) -> Result<Entry> {
    let all = registry();
    let names: Vec<&str> = all.iter().map(|e| e.name).collect();
    let allowed = names.join(", ");
    all.into_iter().find(|e| e.name == name).ok_or_else(|| Error::argument("--model", name, allowed))
}
