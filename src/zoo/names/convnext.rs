//! Names of ConvNeXt. Official: facebookresearch/ConvNeXt, and Oriented1D for its own layers.

use super::ecosystem::Ecosystem;
use super::family::{FamilyNames, Naming, Registered, as_linear, count, dim};
use super::rules::Rules;
use crate::weights::TensorMap;
use crate::zoo::ModelConfig;
use crate::zoo::convnext::{ConvNextConfig, NormKind, Stem, Variant};

/// Columns of [`TABLE`].
const TORCHVISION: usize = 1;
const TIMM: usize = 2;
const TRANSFORMERS: usize = 3;
const MMPRETRAIN: usize = 4;

/// Official, torchvision, timm, transformers (without `convnext.`), mmpretrain (without `backbone.`); i counts stages,
/// j blocks.
#[rustfmt::skip]
const TABLE: [[&str; 5]; 11] = [
    ["downsample_layers.0.0", "features.0.0", "stem.0", "embeddings.patch_embeddings", "downsample_layers.0.0"],
    ["downsample_layers.0.1", "features.0.1", "stem.1", "embeddings.layernorm", "downsample_layers.0.1"],
    ["downsample_layers.{i}.0", "features.{2i}.0", "stages.{i}.downsample.0", "encoder.stages.{i}.downsampling_layer.0", "downsample_layers.{i}.0"],
    ["downsample_layers.{i}.1", "features.{2i}.1", "stages.{i}.downsample.1", "encoder.stages.{i}.downsampling_layer.1", "downsample_layers.{i}.1"],
    ["stages.{i}.{j}.gamma", "features.{2i+1}.{j}.layer_scale", "stages.{i}.blocks.{j}.gamma", "encoder.stages.{i}.layers.{j}.layer_scale_parameter", "stages.{i}.{j}.gamma"],
    ["stages.{i}.{j}.dwconv", "features.{2i+1}.{j}.block.0", "stages.{i}.blocks.{j}.conv_dw", "encoder.stages.{i}.layers.{j}.dwconv", "stages.{i}.{j}.depthwise_conv"],
    ["stages.{i}.{j}.norm", "features.{2i+1}.{j}.block.2", "stages.{i}.blocks.{j}.norm", "encoder.stages.{i}.layers.{j}.layernorm", "stages.{i}.{j}.norm"],
    ["stages.{i}.{j}.pwconv1", "features.{2i+1}.{j}.block.3", "stages.{i}.blocks.{j}.mlp.fc1", "encoder.stages.{i}.layers.{j}.pwconv1", "stages.{i}.{j}.pointwise_conv1"],
    ["stages.{i}.{j}.pwconv2", "features.{2i+1}.{j}.block.5", "stages.{i}.blocks.{j}.mlp.fc2", "encoder.stages.{i}.layers.{j}.pwconv2", "stages.{i}.{j}.pointwise_conv2"],
    ["norm", "classifier.0", "head.norm", "layernorm", "norm3"],
    ["head", "classifier.2", "head.fc", "classifier", "head.fc"],
];

/// The registered networks: 2D, 1D, 1D++, 2D++.
const TINY: [&str; 4] = ["convnext-t", "convnext-t-1d", "convnext-t-1dpp", "convnext-t-2dpp"];
const BASE: [&str; 4] = ["convnext-b", "convnext-b-1d", "convnext-b-1dpp", "convnext-b-2dpp"];

/// ConvNeXt.
pub(super) struct Names;

impl FamilyNames for Names {
    fn family(&self) -> &'static str {
        "convnext"
    }

    fn title(&self) -> &'static str {
        "ConvNeXt"
    }

    fn recognize(&self, tensors: &TensorMap) -> Option<Ecosystem> {
        let has = |name: &str| tensors.contains_key(name);
        if has("stages.0.0.dwconv.weight") || has("stages.0.0.dwconv1.weight") {
            Some(Ecosystem::Official)
        } else if has("features.1.0.layer_scale") {
            Some(Ecosystem::Torchvision)
        } else if has("stages.0.blocks.0.conv_dw.weight") && has("stem.0.weight") {
            Some(Ecosystem::Timm)
        } else if has("convnext.embeddings.patch_embeddings.weight") || has("embeddings.patch_embeddings.weight") {
            Some(Ecosystem::Transformers)
        } else if has("stages.0.0.depthwise_conv.weight") {
            Some(Ecosystem::Mmpretrain)
        } else {
            None
        }
    }

    fn naming(&self, ecosystem: Ecosystem) -> Option<Naming> {
        let (column, prefix) = match ecosystem {
            Ecosystem::Official => return Some(Naming::official()),
            Ecosystem::Torchvision => (TORCHVISION, ""),
            Ecosystem::Timm => (TIMM, ""),
            Ecosystem::Transformers => (TRANSFORMERS, "convnext."),
            Ecosystem::Mmpretrain => (MMPRETRAIN, "backbone."),
        };
        Some(Naming { rules: Rules::new(TABLE.iter().map(|row| (row[0], row[column]))), prefix })
    }

    fn classifier(&self) -> &'static [&'static str] {
        &["head"]
    }

    fn official_shape(&self, name: &str, dims: &[usize]) -> Option<Vec<usize>> {
        match dims {
            &[channels, 1, 1] if name.ends_with(".gamma") => Some(vec![channels]),
            _ if name.ends_with(".pwconv1.weight") || name.ends_with(".pwconv2.weight") => as_linear(dims),
            _ => None,
        }
    }

    fn other_shape(&self, ecosystem: Ecosystem, name: &str, dims: &[usize]) -> Option<Vec<usize>> {
        match dims {
            &[channels] if ecosystem == Ecosystem::Torchvision && name.ends_with(".gamma") => {
                Some(vec![channels, 1, 1])
            }
            _ => None,
        }
    }

    fn registered(&self, tensors: &TensorMap) -> Registered {
        // The kernel of an oriented convolution is a row.
        let rows = |name: &str| dim(tensors, name, 2);
        let variant = match (rows("stages.0.0.dwconv.weight"), rows("stages.0.0.dwconv1.weight")) {
            (Some(1), _) => 1,
            (Some(_), _) => 0,
            (None, Some(1)) => 2,
            (None, Some(_)) => 3,
            (None, None) => return Registered::Unknown,
        };
        // The small networks of this project have batch norms.
        if tensors.contains_key("norm.running_mean") {
            return Registered::Unknown;
        }
        let width = dim(tensors, "stages.0.0.pwconv2.weight", 0);
        match (width, count(tensors, |block| format!("stages.2.{block}.pwconv1.weight"))) {
            (Some(96), 9) => Registered::Named(TINY[variant]),
            (Some(128), 27) => Registered::Named(BASE[variant]),
            (Some(96), 27) => Registered::Other("ConvNeXt-S"),
            (Some(192), 27) => Registered::Other("ConvNeXt-L"),
            (Some(256), 27) => Registered::Other("ConvNeXt-XL"),
            _ => Registered::Unknown,
        }
    }

    fn check(&self, config: &ModelConfig, ecosystem: Ecosystem) -> Result<(), String> {
        let Some(config) = config.downcast_ref::<ConvNextConfig>() else { return Err("this configuration".into()) };
        // Whatever kernels and parts there are have official names.
        if ecosystem == Ecosystem::Official {
            return Ok(());
        }
        let others = [
            (config.variant != Variant::TwoD, "oriented kernels"),
            (config.stem != Stem::Patch, "a stem of depthwise convolutions"),
            (config.norm != NormKind::Layer, "batch norms"),
            (config.kernel.0 != [7; 4], "kernels other than 7x7"),
            (config.layer_scale == 0.0, "blocks without layer scale"),
        ];
        match others.into_iter().find(|(other, _)| *other) {
            Some((_, what)) => Err(what.to_string()),
            None => Ok(()),
        }
    }
}
