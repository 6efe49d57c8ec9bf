//! Names of ConvMixer. Official: timm.

use super::ecosystem::Ecosystem;
use super::family::{FamilyNames, Naming, Registered, count, dim};
use crate::weights::TensorMap;
use crate::zoo::ModelConfig;
use crate::zoo::convmixer::ConvMixerConfig;

/// ConvMixer.
pub(super) struct Names;

impl FamilyNames for Names {
    fn family(&self) -> &'static str {
        "convmixer"
    }

    fn title(&self) -> &'static str {
        "ConvMixer"
    }

    fn recognize(&self, tensors: &TensorMap) -> Option<Ecosystem> {
        tensors.contains_key("blocks.0.0.fn.0.weight").then_some(Ecosystem::Official)
    }

    fn naming(&self, ecosystem: Ecosystem) -> Option<Naming> {
        matches!(ecosystem, Ecosystem::Official | Ecosystem::Timm).then(Naming::official)
    }

    fn classifier(&self) -> &'static [&'static str] {
        &["head"]
    }

    fn registered(&self, tensors: &TensorMap) -> Registered {
        let blocks = count(tensors, |block| format!("blocks.{block}.0.fn.0.weight"));
        match (dim(tensors, "stem.0.weight", 0), blocks, dim(tensors, "blocks.0.0.fn.0.weight", 2)) {
            // The kernel of an oriented convolution is a row.
            (Some(768), 32, Some(1)) => Registered::Named("convmixer-768-32-1d"),
            (Some(768), 32, Some(_)) => Registered::Named("convmixer-768-32"),
            _ => Registered::Unknown,
        }
    }

    fn check(&self, config: &ModelConfig, ecosystem: Ecosystem) -> Result<(), String> {
        let Some(config) = config.downcast_ref::<ConvMixerConfig>() else { return Err("this configuration".into()) };
        match ecosystem {
            Ecosystem::Timm if config.oriented => Err("oriented kernels".into()),
            _ => Ok(()),
        }
    }
}
