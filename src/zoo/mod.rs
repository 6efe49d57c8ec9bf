//! The networks: one file per family, and a registry of named configurations.

mod config;
mod conv_norm;
pub mod convmixer;
pub mod convnext;
mod head_norm;
pub mod mobilenet_v2;
pub mod mobilenet_v3;
mod registry;
pub mod replknet;
pub mod resnet;
pub mod shiftwise;
pub mod slak;
mod spec;

pub(crate) use config::parse_value;
pub use config::{Directions, KernelChoice, PerStage, set_field};
pub use registry::{Entry, Preprocessing, Published, entry, registry};
pub use spec::ModelSpec;

use crate::nn::{BuildOptions, Builder, Mode, Params, Pass, Scope, Trace};
use crate::weights::keys::unwrap_downstream;
use crate::weights::{Checkpoint, TensorMap};
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};

/// Largest side of an image that is traced, in pixels: with it, multiply-adds and bytes of any network that can be
/// built are far inside 64 bits.
pub const MAX_IMAGE_SIDE: usize = 1 << 16;

/// Feature maps of a network, one per stage, coarser and coarser.
#[derive(Debug, Clone)]
pub struct Features {
    /// Outputs of the stages, (N, C, H, W) each.
    pub stages: Vec<Tensor>,
}

impl Features {
    /// The output of the last stage.
    ///
    /// # Errors
    /// If the network has no stage.
    pub fn last(&self) -> Result<&Tensor> {
        self.stages.last().ok_or_else(|| Error::argument("network", "no stages", "at least one stage"))
    }
}

/// What every family implements.
pub trait Model: Send + Sync {
    /// Feature maps of all stages for images (N, 3, H, W), normalised as the network expects.
    ///
    /// # Errors
    /// If the image size does not fit.
    fn forward_features(&self, x: &Tensor, pass: &mut Pass) -> Result<Features>;

    /// Logits (N, classes) from the last stage's feature maps.
    ///
    /// # Errors
    /// If the shape does not fit.
    fn forward_head(&self, last: &Tensor, pass: &mut Pass) -> Result<Tensor>;

    /// Shapes and costs of every layer for one image of the given size.
    ///
    /// # Errors
    /// If the image size does not fit.
    fn trace(&self, height: usize, width: usize) -> Result<Trace>;
}

/// Configuration of any network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "family", rename_all = "lowercase")]
pub enum ModelConfig {
    /// ConvNeXt in all variants.
    ConvNext(convnext::ConvNextConfig),
    /// ConvMixer.
    ConvMixer(convmixer::ConvMixerConfig),
    /// MobileNetV3-small.
    MobileNetV3(mobilenet_v3::MobileNetV3Config),
    /// RepLKNet in all sizes and forms.
    RepLkNet(replknet::RepLkNetConfig),
    /// SLaK in all sizes and forms, and ConvNeXt with large kernels.
    Slak(slak::SlakConfig),
    /// MobileNetV2 with kernels of any size.
    MobileNetV2(mobilenet_v2::MobileNetV2Config),
    /// ResNet with bottleneck blocks.
    ResNet(resnet::ResNetConfig),
    /// Shift-wise networks in all sizes and forms.
    ShiftWise(shiftwise::ShiftWiseConfig),
}

/// How far a re-parameterised form goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merge {
    /// Parallel kernels with their norms become one kernel.
    Kernels,
    /// And every norm after a convolution becomes a part of it.
    Norms,
}

/// What the configuration of a family implements, so that adding a family changes two lists: [`ModelConfig`] and
/// [`ModelConfig::family`].
pub(crate) trait Family {
    fn classes(&self) -> usize;
    fn set_classes(&mut self, classes: usize);
    /// See [`ModelConfig::set`].
    fn set(&mut self, key: &str, value: &str) -> Result<()>;
    /// See [`ModelConfig::adapt`].
    fn adapt(&mut self, tensors: &TensorMap);
    fn build(&self, scope: &Scope) -> Result<Box<dyn Model>>;

    /// See [`ModelConfig::has_classifier`].
    fn has_classifier(&self) -> bool {
        true
    }

    /// See [`ModelConfig::is_merged`].
    fn is_merged(&self) -> bool {
        false
    }

    /// See [`ModelConfig::for_inference`]; `None` if it is the same form.
    fn for_inference(&self) -> Option<ModelConfig> {
        None
    }

    /// A checksum of what the network computes with that is drawn at random and neither in the configuration nor among
    /// the parameters. Stored with checkpoints, and compared when they are loaded.
    fn checksum(&self) -> Result<Option<u64>> {
        Ok(None)
    }

    /// What is assumed of a checkpoint that does not say how it was trained, and that its tensors cannot tell.
    fn assumption(&self) -> Option<String> {
        None
    }

    /// Which part of the configuration a checkpoint's tensors show to be another one, where more can be said than names
    /// and shapes.
    fn misfit(&self, _tensors: &TensorMap) -> Option<String> {
        None
    }

    /// See [`ModelConfig::merge`].
    fn merge(&self, _tensors: &TensorMap, _how: Merge) -> Result<(ModelConfig, TensorMap)> {
        Err(Error::argument(
            "network",
            "one without parallel kernels to merge",
            "a re-parameterisable network, as a RepLKNet is",
        ))
    }
}

/// The methods of [`Family`] that are the same for every configuration: about its field `classes`, its fields by name,
/// and its own `adapt`.
macro_rules! common_fields {
    () => {
        fn classes(&self) -> usize {
            self.classes
        }

        fn set_classes(&mut self, classes: usize) {
            self.classes = classes;
        }

        fn set(&mut self, key: &str, value: &str) -> Result<()> {
            super::set_field(self, key, value)
        }

        fn adapt(&mut self, tensors: &TensorMap) {
            self.adapt(tensors);
        }
    };
}
use common_fields;

impl ModelConfig {
    fn family(&self) -> &dyn Family {
        match self {
            ModelConfig::ConvNext(c) => c,
            ModelConfig::ConvMixer(c) => c,
            ModelConfig::MobileNetV3(c) => c,
            ModelConfig::RepLkNet(c) => c,
            ModelConfig::Slak(c) => c,
            ModelConfig::MobileNetV2(c) => c,
            ModelConfig::ResNet(c) => c,
            ModelConfig::ShiftWise(c) => c,
        }
    }

    fn family_mut(&mut self) -> &mut dyn Family {
        match self {
            ModelConfig::ConvNext(c) => c,
            ModelConfig::ConvMixer(c) => c,
            ModelConfig::MobileNetV3(c) => c,
            ModelConfig::RepLkNet(c) => c,
            ModelConfig::Slak(c) => c,
            ModelConfig::MobileNetV2(c) => c,
            ModelConfig::ResNet(c) => c,
            ModelConfig::ShiftWise(c) => c,
        }
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.family().classes()
    }

    /// Sets the number of classes.
    pub fn set_classes(&mut self, classes: usize) {
        self.family_mut().set_classes(classes);
    }

    /// Replaces one field, as `--set key=value` does.
    ///
    /// # Errors
    /// If the field does not exist in this family or the value does not fit.
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        self.family_mut().set(key, value)
    }

    /// Takes what a checkpoint's shapes tell (kernel sizes, classes); what does not fit is found when building.
    pub fn adapt(&mut self, tensors: &TensorMap) {
        self.family_mut().adapt(tensors);
    }

    /// Whether the network ends with a classifier. A backbone does not: it has feature maps alone.
    pub fn has_classifier(&self) -> bool {
        self.family().has_classifier()
    }

    /// Whether this is a re-parameterised form.
    pub fn is_merged(&self) -> bool {
        self.family().is_merged()
    }

    /// The form in which a trained network runs: re-parameterised kernels, if the family has them.
    pub fn for_inference(&self) -> Self {
        self.family().for_inference().unwrap_or_else(|| self.clone())
    }

    /// Configuration and parameters of a re-parameterised form, from those of this form; see [`Network::merged`].
    ///
    /// # Errors
    /// If the family has no such form, this already is one that goes as far, or the parameters do not fit.
    pub fn merge(&self, tensors: &TensorMap, how: Merge) -> Result<(Self, TensorMap)> {
        self.family().merge(tensors, how)
    }
}

/// A network with its parameters.
pub struct Network {
    spec: ModelSpec,
    params: Params,
    model: Box<dyn Model>,
    device: Device,
}

impl Network {
    /// Builds a network; with [`BuildOptions::weights`], from those values.
    ///
    /// # Errors
    /// If the configuration is not allowed or the weights do not fit.
    ///
    /// ```
    /// use candle_core::{DType, Device, Tensor};
    /// use kernelscope::{nn::BuildOptions, zoo::{ModelSpec, Network}};
    /// let net = Network::build(ModelSpec::named("nano-1d")?, BuildOptions::default())?;
    /// let images = Tensor::zeros((2, 3, 64, 64), DType::F32, &Device::Cpu)?;
    /// assert_eq!(net.forward(&images)?.dims(), [2, 8]);
    /// # Ok::<(), kernelscope::Error>(())
    /// ```
    pub fn build(spec: ModelSpec, options: BuildOptions) -> Result<Self> {
        let device = options.device.clone();
        let builder = Builder::new(options);
        let model = spec.config.family().build(&builder.root())?;
        Ok(Network { spec, params: builder.finish()?, model, device })
    }

    /// Builds a network from a checkpoint, strictly: every name must fit.
    ///
    /// # Errors
    /// As [`ModelSpec::for_checkpoint`] and [`Network::build`].
    pub fn from_checkpoint<S: AsRef<str>>(
        name: Option<&str>,
        checkpoint: Checkpoint,
        overrides: &[S],
        options: BuildOptions,
    ) -> Result<Self> {
        // Detection and segmentation backbones wrap their oriented layers one level deeper.
        let checkpoint = Checkpoint { tensors: unwrap_downstream(checkpoint.tensors), ..checkpoint };
        let spec = ModelSpec::for_checkpoint(name, &checkpoint, overrides)?;
        let weights = Some((checkpoint.tensors, checkpoint.source.display().to_string()));
        Network::build(spec, BuildOptions { weights, ..options })
    }

    /// The network in a form for inference: fewer operators that compute the same in evaluation. Its parameters are
    /// new ones, without gradients.
    ///
    /// # Errors
    /// If the family has no such form, or this network already has one that goes as far.
    ///
    /// ```
    /// use kernelscope::{nn::BuildOptions, zoo::{Merge, ModelSpec, Network}};
    /// let network = Network::build(ModelSpec::named("nano-replk")?, BuildOptions::frozen())?;
    /// let merged = network.merged(Merge::Kernels)?;
    /// assert!(merged.trace(64, 64)?.macs() < network.trace(64, 64)?.macs());
    /// # Ok::<(), kernelscope::Error>(())
    /// ```
    pub fn merged(&self, how: Merge) -> Result<Self> {
        let (config, tensors) = self.spec.config.merge(&self.params.tensors(), how)?;
        let spec = ModelSpec { name: self.spec.name.clone(), config };
        let dtype = self.params.iter().next().map_or(DType::F32, |(_, p)| p.var.dtype());
        let weights = Some((tensors, "merged weights".to_string()));
        Network::build(spec, BuildOptions { dtype, device: self.device.clone(), weights, ..BuildOptions::frozen() })
    }

    /// Name and configuration.
    pub fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    /// Parameters.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// The device of the parameters.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Logits of images (N, 3, H, W), in evaluation mode. Here and below, images on another device than the network's
    /// are copied to it.
    ///
    /// # Errors
    /// If the image size does not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.forward_t(x, Mode::Eval)
    }

    /// Logits of images (N, 3, H, W).
    ///
    /// # Errors
    /// If the image size does not fit.
    pub fn forward_t(&self, x: &Tensor, mode: Mode) -> Result<Tensor> {
        self.forward_pass(x, &mut Pass::new(mode)).map(|(_, logits)| logits)
    }

    /// Feature maps and logits of images (N, 3, H, W), reporting intermediate results to the pass's watcher.
    ///
    /// # Errors
    /// If the image size does not fit, or the network has no classifier.
    pub fn forward_pass(&self, x: &Tensor, pass: &mut Pass) -> Result<(Features, Tensor)> {
        self.check_images(x)?;
        let features = self.model.forward_features(&x.to_device(&self.device)?, pass)?;
        let logits = self.model.forward_head(features.last()?, pass)?;
        Ok((features, logits))
    }

    /// Feature maps of images (N, 3, H, W), without the classifier.
    ///
    /// # Errors
    /// If the image size does not fit.
    pub fn forward_features(&self, x: &Tensor, pass: &mut Pass) -> Result<Features> {
        self.check_images(x)?;
        self.model.forward_features(&x.to_device(&self.device)?, pass)
    }

    /// Shapes and costs of every layer for one image of the given size.
    ///
    /// # Errors
    /// If the image size does not fit, or a side is 0 or above [`MAX_IMAGE_SIDE`].
    pub fn trace(&self, height: usize, width: usize) -> Result<Trace> {
        if [height, width].iter().any(|side| !(1..=MAX_IMAGE_SIDE).contains(side)) {
            let allowed = format!("sides from 1 to {MAX_IMAGE_SIDE}");
            return Err(Error::argument("image size", format!("{height}x{width}"), allowed));
        }
        self.model.trace(height, width)
    }

    fn check_images(&self, x: &Tensor) -> Result<()> {
        match x.dims() {
            &[n, 3, h, w] if n > 0 && h > 0 && w > 0 => Ok(()),
            dims => Err(Error::argument("images", format!("shape {dims:?}"), "(N, 3, H, W), none of them 0")),
        }
    }
}
