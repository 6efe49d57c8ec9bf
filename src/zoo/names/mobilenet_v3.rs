//! Names of MobileNetV3-small. Official: timm.

use super::ecosystem::Ecosystem;
use super::family::{FamilyNames, Naming, Registered, as_linear, dim};
use super::rules::Rules;
use crate::nn::BatchNorm;
use crate::weights::TensorMap;
use crate::zoo::mobilenet_v3::MobileNetV3Config;
use crate::zoo::{ModelConfig, Padding};

/// timm's stage and block of the blocks that others count from 1 to 11.
const BLOCKS: [(usize, usize); 11] =
    [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2), (3, 0), (3, 1), (4, 0), (4, 1), (4, 2)];

/// What batch norms add to the variance in torchvision and mmpretrain.
const OTHER_EPS: f64 = 1e-3;

/// A part of a block: two modules for a convolution and its norm, or for the two convolutions of the squeeze.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Expand,
    Depthwise,
    Squeeze,
    Project,
}

/// The parts of a block, counted from 1. The first does not expand, and those of the second stage do not squeeze.
fn parts(block: usize) -> Vec<Part> {
    let all = [Part::Expand, Part::Depthwise, Part::Squeeze, Part::Project];
    let there = |part: &Part| match part {
        Part::Expand => block != 1,
        Part::Squeeze => !matches!(block, 2 | 3),
        Part::Depthwise | Part::Project => true,
    };
    all.into_iter().filter(there).collect()
}

/// timm's modules of a part. The block that does not expand has other names for its projection and its norms.
fn official(part: Part, block: usize) -> [&'static str; 2] {
    match (part, block) {
        (Part::Depthwise, 1) => ["conv_dw", "bn1"],
        (Part::Project, 1) => ["conv_pw", "bn2"],
        (Part::Expand, _) => ["conv_pw", "bn1"],
        (Part::Depthwise, _) => ["conv_dw", "bn2"],
        (Part::Squeeze, _) => ["se.conv_reduce", "se.conv_expand"],
        (Part::Project, _) => ["conv_pwl", "bn3"],
    }
}

/// Pairs of modules, official and other: `modules(part, block, place)` are those of the part at a place of its block.
fn pairs(modules: impl Fn(Part, usize, usize) -> [String; 2]) -> Vec<(String, String)> {
    let mut pairs = Vec::new();
    for (index, (stage, inner)) in BLOCKS.into_iter().enumerate() {
        let block = index + 1;
        for (place, part) in parts(block).into_iter().enumerate() {
            let own = official(part, block).map(|name| format!("blocks.{stage}.{inner}.{name}"));
            pairs.extend(own.into_iter().zip(modules(part, block, place)));
        }
    }
    pairs
}

fn torchvision() -> Vec<(String, String)> {
    let modules = |part: Part, block: usize, place: usize| {
        let names = if part == Part::Squeeze { ["fc1", "fc2"] } else { ["0", "1"] };
        names.map(|name| format!("features.{block}.block.{place}.{name}"))
    };
    with_ends(
        pairs(modules),
        [
            ("conv_stem", "features.0.0"),
            ("bn1", "features.0.1"),
            ("blocks.5.0.conv", "features.12.0"),
            ("blocks.5.0.bn1", "features.12.1"),
            ("conv_head", "classifier.0"),
            ("classifier", "classifier.3"),
        ],
    )
}

fn mmpretrain() -> Vec<(String, String)> {
    let modules = |part: Part, block: usize, _place: usize| {
        let names = match part {
            Part::Expand => ["expand_conv.conv", "expand_conv.bn"],
            Part::Depthwise => ["depthwise_conv.conv", "depthwise_conv.bn"],
            Part::Squeeze => ["se.conv1.conv", "se.conv2.conv"],
            Part::Project => ["linear_conv.conv", "linear_conv.bn"],
        };
        names.map(|name| format!("layer{block}.{name}"))
    };
    with_ends(
        pairs(modules),
        [
            ("conv_stem", "layer0.conv"),
            ("bn1", "layer0.bn"),
            ("blocks.5.0.conv", "layer12.conv"),
            ("blocks.5.0.bn1", "layer12.bn"),
            ("conv_head", "head.layers.0.fc"),
            ("classifier", "head.layers.1.fc"),
        ],
    )
}

/// What is before and after the blocks, too.
fn with_ends(mut pairs: Vec<(String, String)>, ends: [(&str, &str); 6]) -> Vec<(String, String)> {
    pairs.extend(ends.map(|(own, other)| (own.to_string(), other.to_string())));
    pairs
}

/// MobileNetV3-small.
pub(super) struct Names;

impl FamilyNames for Names {
    fn family(&self) -> &'static str {
        "mobilenetv3"
    }

    fn title(&self) -> &'static str {
        "MobileNetV3"
    }

    fn recognize(&self, tensors: &TensorMap) -> Option<Ecosystem> {
        let has = |name: &str| tensors.contains_key(name);
        if has("blocks.0.0.se.conv_reduce.weight") {
            Some(Ecosystem::Official)
        } else if has("features.1.block.0.0.weight") {
            Some(Ecosystem::Torchvision)
        } else if has("layer1.depthwise_conv.conv.weight") && has("layer0.conv.weight") {
            Some(Ecosystem::Mmpretrain)
        } else {
            None
        }
    }

    fn naming(&self, ecosystem: Ecosystem) -> Option<Naming> {
        match ecosystem {
            Ecosystem::Official | Ecosystem::Timm => Some(Naming::official()),
            Ecosystem::Torchvision => Some(Naming { rules: Rules::new(torchvision()), prefix: "" }),
            Ecosystem::Mmpretrain => Some(Naming { rules: Rules::new(mmpretrain()), prefix: "backbone." }),
            Ecosystem::Transformers => None,
        }
    }

    fn classifier(&self) -> &'static [&'static str] {
        &["classifier", "conv_head"]
    }

    fn official_shape(&self, name: &str, dims: &[usize]) -> Option<Vec<usize>> {
        match dims {
            &[outputs, inputs] if name == "conv_head.weight" => Some(vec![outputs, inputs, 1, 1]),
            _ => None,
        }
    }

    fn other_shape(&self, ecosystem: Ecosystem, name: &str, dims: &[usize]) -> Option<Vec<usize>> {
        let linear = matches!(ecosystem, Ecosystem::Torchvision | Ecosystem::Mmpretrain) && name == "conv_head.weight";
        linear.then(|| as_linear(dims)).flatten()
    }

    fn registered(&self, tensors: &TensorMap) -> Registered {
        let sizes = (dim(tensors, "conv_stem.weight", 0), dim(tensors, "conv_head.weight", 0));
        match (sizes, dim(tensors, "blocks.1.1.conv_dw.weight", 2)) {
            // The kernel of an oriented convolution is a row.
            ((Some(16), Some(1024)), Some(1)) => Registered::Named("mobilenetv3-small-1d"),
            ((Some(16), Some(1024)), Some(_)) => Registered::Named("mobilenetv3-small"),
            ((Some(16), Some(1280)), _) => Registered::Other("MobileNetV3-large"),
            _ => Registered::Unknown,
        }
    }

    fn settings(&self, ecosystem: Ecosystem) -> &'static [(&'static str, &'static str)] {
        match ecosystem {
            Ecosystem::Torchvision | Ecosystem::Mmpretrain => &[("norm_eps", "0.001")],
            _ => &[],
        }
    }

    fn check(&self, config: &ModelConfig, ecosystem: Ecosystem) -> Result<(), String> {
        let Some(config) = config.downcast_ref::<MobileNetV3Config>() else { return Err("this configuration".into()) };
        if ecosystem == Ecosystem::Official {
            return Ok(());
        }
        if config.oriented {
            return Err("oriented kernels".into());
        }
        let from_tensorflow = (config.norm_eps, config.padding) == (OTHER_EPS, Padding::Same);
        if ecosystem == Ecosystem::Timm && from_tensorflow {
            return Ok(());
        }
        let eps = if ecosystem == Ecosystem::Timm { BatchNorm::EPS } else { OTHER_EPS };
        match (config.norm_eps == eps, config.padding == Padding::Half) {
            (true, true) => Ok(()),
            (false, _) => Err(format!("norm_eps={} (its own is {eps})", config.norm_eps)),
            (true, false) => Err("this padding".into()),
        }
    }
}
