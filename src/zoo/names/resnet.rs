//! Names of ResNets with bottleneck blocks. Official: torchvision, whose names timm shares.

use super::ecosystem::Ecosystem;
use super::family::{FamilyNames, Naming, Registered, count};
use super::rules::Rules;
use crate::nn::BatchNorm;
use crate::weights::TensorMap;
use crate::zoo::ModelConfig;
use crate::zoo::resnet::{ResNetConfig, StrideIn};

/// Official and transformers (without `resnet.`); i counts stages, j blocks, k convolutions.
const TRANSFORMERS: [(&str, &str); 7] = [
    ("conv1", "embedder.embedder.convolution"),
    ("bn1", "embedder.embedder.normalization"),
    ("layer{i+1}.{j}.conv{k+1}", "encoder.stages.{i}.layers.{j}.layer.{k}.convolution"),
    ("layer{i+1}.{j}.bn{k+1}", "encoder.stages.{i}.layers.{j}.layer.{k}.normalization"),
    ("layer{i+1}.{j}.downsample.0", "encoder.stages.{i}.layers.{j}.shortcut.convolution"),
    ("layer{i+1}.{j}.downsample.1", "encoder.stages.{i}.layers.{j}.shortcut.normalization"),
    ("fc", "classifier.1"),
];

/// ResNet.
pub(super) struct Names;

impl FamilyNames for Names {
    fn family(&self) -> &'static str {
        "resnet"
    }

    fn title(&self) -> &'static str {
        "ResNet"
    }

    fn recognize(&self, tensors: &TensorMap) -> Option<Ecosystem> {
        let has = |name: &str| tensors.contains_key(name);
        let stem = "embedder.embedder.convolution.weight";
        if has("conv1.weight") && has("layer1.0.conv1.weight") {
            Some(if has("head.fc.weight") { Ecosystem::Mmpretrain } else { Ecosystem::Official })
        } else if has(stem) || has(&format!("resnet.{stem}")) {
            Some(Ecosystem::Transformers)
        } else {
            None
        }
    }

    fn naming(&self, ecosystem: Ecosystem) -> Option<Naming> {
        Some(match ecosystem {
            Ecosystem::Official | Ecosystem::Torchvision | Ecosystem::Timm => Naming::official(),
            Ecosystem::Transformers => Naming { rules: Rules::new(TRANSFORMERS), prefix: "resnet." },
            Ecosystem::Mmpretrain => {
                Naming { rules: Rules::new([("fc", "head.fc")]).and_others_stay(), prefix: "backbone." }
            }
        })
    }

    fn classifier(&self) -> &'static [&'static str] {
        &["fc"]
    }

    fn registered(&self, tensors: &TensorMap) -> Registered {
        if !tensors.contains_key("layer1.0.conv3.weight") {
            return Registered::Other("ResNet with basic blocks (ResNet-18 or -34)");
        }
        if tensors.get("layer1.0.conv2.weight").is_none_or(|weight| weight.dims() != [64, 64, 3, 3]) {
            return Registered::Unknown;
        }
        let blocks = |stage: usize| count(tensors, |block| format!("layer{stage}.{block}.conv2.weight"));
        match [1, 2, 3, 4].map(blocks) {
            [3, 4, 6, 3] => Registered::Named("resnet-50"),
            [3, 4, 23, 3] => Registered::Named("resnet-101"),
            [3, 8, 36, 3] => Registered::Named("resnet-152"),
            _ => Registered::Unknown,
        }
    }

    fn check(&self, config: &ModelConfig, ecosystem: Ecosystem) -> Result<(), String> {
        let Some(config) = config.downcast_ref::<ResNetConfig>() else { return Err("this configuration".into()) };
        if ecosystem == Ecosystem::Official {
            return Ok(());
        }
        if config.norm_eps != BatchNorm::EPS {
            return Err(format!("norm_eps={} (its own is {})", config.norm_eps, BatchNorm::EPS));
        }
        // transformers and mmpretrain have them, but only a configuration beside the weights says so.
        if config.stride_in != StrideIn::Middle { Err("stride_in=1x1 by its names alone".into()) } else { Ok(()) }
    }
}
