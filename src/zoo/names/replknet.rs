//! Names of RepLKNet. Official: DingXiaoH/RepLKNet-pytorch, which mmpretrain follows but for the ends.

use super::ecosystem::Ecosystem;
use super::family::{FamilyNames, Naming, Registered, dim};
use super::rules::Rules;
use crate::weights::TensorMap;
use crate::zoo::ModelConfig;
use crate::zoo::replknet::RepLkNetConfig;

/// RepLKNet.
pub(super) struct Names;

impl FamilyNames for Names {
    fn family(&self) -> &'static str {
        "replknet"
    }

    fn title(&self) -> &'static str {
        "RepLKNet"
    }

    fn recognize(&self, tensors: &TensorMap) -> Option<Ecosystem> {
        let has = |name: &str| tensors.contains_key(name);
        let found = has("stages.0.blocks.0.prelkb_bn.weight");
        // A backbone's norms of stages have the official names.
        found.then(|| if has("head.fc.weight") { Ecosystem::Mmpretrain } else { Ecosystem::Official })
    }

    fn naming(&self, ecosystem: Ecosystem) -> Option<Naming> {
        match ecosystem {
            Ecosystem::Official => Some(Naming::official()),
            Ecosystem::Mmpretrain => {
                let rules = Rules::new([("norm", "stages.3.norm"), ("head", "head.fc")]).and_others_stay();
                Some(Naming { rules, prefix: "backbone." })
            }
            Ecosystem::Torchvision | Ecosystem::Timm | Ecosystem::Transformers => None,
        }
    }

    fn classifier(&self) -> &'static [&'static str] {
        &["head"]
    }

    fn runs_without_classifier(&self) -> bool {
        true
    }

    fn registered(&self, tensors: &TensorMap) -> Registered {
        let layer = "stages.0.blocks.0.large_kernel";
        let kernel = |conv: &str| dim(tensors, &format!("{layer}.{conv}.weight"), 3);
        let kernel = kernel("lkb_origin.conv").or_else(|| kernel("lkb_reparam"));
        match (dim(tensors, "stages.0.blocks.0.prelkb_bn.weight", 0), kernel) {
            (Some(128), Some(3)) => Registered::Named("replknet-3"),
            (Some(128), Some(7)) => Registered::Named("replknet-7"),
            (Some(128), Some(13)) => Registered::Named("replknet-13"),
            (Some(128), Some(25)) => Registered::Named("replknet-25"),
            (Some(128), Some(_)) => Registered::Named("replknet-31b"),
            (Some(192), Some(_)) => Registered::Named("replknet-31l"),
            (Some(256), Some(_)) => Registered::Named("replknet-xl"),
            _ => Registered::Unknown,
        }
    }

    fn check(&self, config: &ModelConfig, ecosystem: Ecosystem) -> Result<(), String> {
        let Some(config) = config.downcast_ref::<RepLkNetConfig>() else { return Err("this configuration".into()) };
        match ecosystem {
            Ecosystem::Official => Ok(()),
            _ if config.folded => Err("norms folded into its convolutions".into()),
            _ if config.backbone => Err("feature maps alone".into()),
            _ => Ok(()),
        }
    }
}
