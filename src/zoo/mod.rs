//! The networks: one file or folder per family, and a registry of named configurations.
//!
//! | item | is |
//! |---|---|
//! | [`Model`] | what every network computes: feature maps, logits, a trace of its costs |
//! | [`Family`], [`ModelConfig`] | a configuration that builds models, and the box that holds any of them |
//! | [`Entry`], [`Registry`] | a named network, and all of them; other crates add theirs |
//! | [`ModelSpec`] | a name and a configuration: which network a file or a command means |
//! | [`Network`] | a model with its parameters: what everything else takes |

mod config;
mod conv_norm;
pub mod convmixer;
pub mod convnext;
mod entry;
mod family;
mod head_norm;
mod loading;
pub mod mobilenet_v2;
pub mod mobilenet_v3;
mod model;
mod network;
mod registry;
pub mod replknet;
pub mod resnet;
pub mod shiftwise;
pub mod slak;
mod spec;

pub use config::{Directions, KernelChoice, PerStage, parse_value, set_field};
pub use entry::{Entry, Preprocessing, Published};
pub use family::{Family, Merge, ModelConfig};
pub use model::{Features, Model};
pub use network::{MAX_IMAGE_SIDE, Network};
pub use registry::{Registry, entry, registry};
pub use spec::ModelSpec;

use family::common_fields;
