//! Names of MobileNetV2. Official: torchvision.

use super::ecosystem::Ecosystem;
use super::family::{FamilyNames, Naming, Registered, dim};
use super::rules::Rules;
use crate::nn::BatchNorm;
use crate::weights::TensorMap;
use crate::zoo::mobilenet_v2::MobileNetV2Config;
use crate::zoo::{ModelConfig, Padding};

/// Blocks in the rows of the architecture's table.
const BLOCKS: [usize; 7] = [1, 2, 3, 4, 3, 3, 1];

/// What batch norms add to the variance in networks that came from TensorFlow.
const TENSORFLOW_EPS: f64 = 1e-3;

/// MobileNetV2.
pub(super) struct Names;

/// A convolution and its batch norm, in torchvision's and another code base.
type Pair = ([String; 2], [String; 2]);

/// All convolutions with their norms: `unit(row, block)` names those of a block, in their order.
fn pairs(stem: [&str; 2], unit: impl Fn(usize, usize) -> Vec<[String; 2]>, last: [&str; 2]) -> Vec<Pair> {
    let plain = |pair: [&str; 2]| pair.map(str::to_string);
    let mut pairs = vec![(plain(["features.0.0", "features.0.1"]), plain(stem))];
    let places = BLOCKS.iter().enumerate().flat_map(|(row, &blocks)| (0..blocks).map(move |block| (row, block)));
    for (index, (row, block)) in places.enumerate() {
        let list = format!("features.{}.conv", index + 1);
        let theirs = unit(row, block);
        let end = theirs.len() - 1;
        for (place, other) in theirs.into_iter().enumerate() {
            // The projection and its norm stand in the list itself, the others in lists of their own.
            let own = if place == end {
                [format!("{list}.{place}"), format!("{list}.{}", place + 1)]
            } else {
                [format!("{list}.{place}.0"), format!("{list}.{place}.1")]
            };
            pairs.push((own, other));
        }
    }
    pairs.push((plain(["features.18.0", "features.18.1"]), plain(last)));
    pairs
}

/// timm: in the first block, which does not expand, `bn1` follows the depthwise convolution.
fn timm() -> Vec<Pair> {
    let unit = |row: usize, block: usize| {
        let names: &[[&str; 2]] = match row {
            0 => &[["conv_dw", "bn1"], ["conv_pw", "bn2"]],
            _ => &[["conv_pw", "bn1"], ["conv_dw", "bn2"], ["conv_pwl", "bn3"]],
        };
        names.iter().map(|pair| pair.map(|name| format!("blocks.{row}.{block}.{name}"))).collect()
    };
    pairs(["conv_stem", "bn1"], unit, ["conv_head", "bn2"])
}

/// transformers: the first block is a part of the stem, so that the other 16 are counted from 0.
fn transformers() -> Vec<Pair> {
    const PARTS: [&str; 2] = ["convolution", "normalization"];
    let unit = |row: usize, block: usize| {
        let before: usize = BLOCKS[..row].iter().sum();
        let (path, names): (_, &[&str]) = match row {
            0 => ("conv_stem".to_string(), &["conv_3x3", "reduce_1x1"]),
            _ => (format!("layer.{}", before + block - 1), &["expand_1x1", "conv_3x3", "reduce_1x1"]),
        };
        names.iter().map(|name| PARTS.map(|part| format!("{path}.{name}.{part}"))).collect()
    };
    let stem = ["conv_stem.first_conv.convolution", "conv_stem.first_conv.normalization"];
    pairs(stem, unit, ["conv_1x1.convolution", "conv_1x1.normalization"])
}

fn mmpretrain() -> Vec<Pair> {
    let unit = |row: usize, block: usize| {
        let convs = if row == 0 { 2 } else { 3 };
        let path = |conv: usize, part: &str| format!("layer{}.{block}.conv.{conv}.{part}", row + 1);
        (0..convs).map(|conv| ["conv", "bn"].map(|part| path(conv, part))).collect()
    };
    pairs(["conv1.conv", "conv1.bn"], unit, ["conv2.conv", "conv2.bn"])
}

/// Rules from pairs of convolutions with norms, and the name of the classifier.
fn rules(pairs: Vec<Pair>, classifier: &str) -> Rules {
    let modules = pairs.into_iter().flat_map(|(own, other)| own.into_iter().zip(other));
    Rules::new(modules.chain([("classifier.1".to_string(), classifier.to_string())]))
}

impl FamilyNames for Names {
    fn family(&self) -> &'static str {
        "mobilenetv2"
    }

    fn title(&self) -> &'static str {
        "MobileNetV2"
    }

    fn recognize(&self, tensors: &TensorMap) -> Option<Ecosystem> {
        let has = |name: &str| tensors.contains_key(name);
        let squeezes = || tensors.keys().any(|name| name.starts_with("blocks.0.0.se."));
        let stem = "conv_stem.first_conv.convolution.weight";
        if has("features.1.conv.0.0.weight") {
            Some(Ecosystem::Official)
        } else if has("conv_stem.weight") && has("blocks.0.0.conv_dw.weight") && !squeezes() {
            Some(Ecosystem::Timm)
        } else if has(stem) || has(&format!("mobilenet_v2.{stem}")) {
            Some(Ecosystem::Transformers)
        } else if has("layer1.0.conv.0.conv.weight") && has("conv1.conv.weight") {
            Some(Ecosystem::Mmpretrain)
        } else {
            None
        }
    }

    fn naming(&self, ecosystem: Ecosystem) -> Option<Naming> {
        Some(match ecosystem {
            Ecosystem::Official | Ecosystem::Torchvision => Naming::official(),
            Ecosystem::Timm => Naming { rules: rules(timm(), "classifier"), prefix: "" },
            Ecosystem::Transformers => Naming { rules: rules(transformers(), "classifier"), prefix: "mobilenet_v2." },
            Ecosystem::Mmpretrain => Naming { rules: rules(mmpretrain(), "head.fc"), prefix: "backbone." },
        })
    }

    fn classifier(&self) -> &'static [&'static str] {
        &["classifier.1"]
    }

    fn registered(&self, tensors: &TensorMap) -> Registered {
        let sizes = (dim(tensors, "features.0.0.weight", 0), dim(tensors, "features.18.0.weight", 0));
        if sizes != (Some(32), Some(1280)) {
            return Registered::Unknown;
        }
        match dim(tensors, "features.17.conv.1.0.weight", 3) {
            Some(5) => Registered::Named("mobilenetv2-k5"),
            Some(7) => Registered::Named("mobilenetv2-k7"),
            Some(9) => Registered::Named("mobilenetv2-k9"),
            Some(13) => Registered::Named("mobilenetv2-k13"),
            Some(_) => Registered::Named("mobilenetv2-k3"),
            None => Registered::Unknown,
        }
    }

    fn settings(&self, ecosystem: Ecosystem) -> &'static [(&'static str, &'static str)] {
        match ecosystem {
            Ecosystem::Transformers => &[("norm_eps", "0.001"), ("padding", "same")],
            _ => &[],
        }
    }

    fn check(&self, config: &ModelConfig, ecosystem: Ecosystem) -> Result<(), String> {
        let Some(config) = config.downcast_ref::<MobileNetV2Config>() else { return Err("this configuration".into()) };
        if ecosystem == Ecosystem::Official {
            return Ok(());
        }
        let plain = MobileNetV2Config::with_kernel(3);
        if config.kernel != 3 || config.dilation != 1 || config.small_kernel.is_some() || config.merged {
            return Err("depthwise kernels other than plain 3x3 ones".into());
        }
        if (config.stem, &config.rows, config.last, config.shortcut) != (plain.stem, &plain.rows, plain.last, true) {
            return Err("blocks other than the published ones".into());
        }
        let (eps, padding) = match ecosystem {
            Ecosystem::Transformers => (TENSORFLOW_EPS, Padding::Same),
            _ => (BatchNorm::EPS, Padding::Half),
        };
        match (config.norm_eps == eps, config.padding == padding) {
            (true, true) => Ok(()),
            (false, _) => Err(format!("norm_eps={} (its own is {eps})", config.norm_eps)),
            (true, false) => Err("this padding".into()),
        }
    }
}
