//! The code bases whose checkpoints are understood.

use crate::{Error, Result};
use std::fmt;
use std::str::FromStr;

/// A code base with names of its own for the tensors of networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ecosystem {
    /// The code that this crate follows, a different one for each family: that of the authors for ConvNeXt and RepLKNet,
    /// torchvision for MobileNetV2 and ResNet, timm for MobileNetV3 and ConvMixer.
    Official,
    /// torchvision.
    Torchvision,
    /// timm (pytorch-image-models).
    Timm,
    /// Hugging Face transformers.
    Transformers,
    /// mmpretrain (mmcls), and the backbones of mmdet and mmseg.
    Mmpretrain,
}

impl Ecosystem {
    /// All of them.
    pub const ALL: [Ecosystem; 5] =
        [Ecosystem::Official, Ecosystem::Torchvision, Ecosystem::Timm, Ecosystem::Transformers, Ecosystem::Mmpretrain];

    /// Its name, as in text.
    pub fn name(self) -> &'static str {
        match self {
            Ecosystem::Official => "official",
            Ecosystem::Torchvision => "torchvision",
            Ecosystem::Timm => "timm",
            Ecosystem::Transformers => "transformers",
            Ecosystem::Mmpretrain => "mmpretrain",
        }
    }
}

impl fmt::Display for Ecosystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Ecosystem {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let known = || Ecosystem::ALL.map(|ecosystem| ecosystem.name().to_string()).to_vec();
        let found = Ecosystem::ALL.into_iter().find(|ecosystem| ecosystem.name() == text);
        found.ok_or_else(|| Error::Unknown { what: "ecosystem".into(), name: text.to_string(), known: known() })
    }
}
