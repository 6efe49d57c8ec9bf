//! A network with its parameters.

use super::family::{Family, Merge};
use super::loading::{Fitted, Wanted};
use super::model::{Features, Model};
use super::spec::ModelSpec;
use crate::nn::{BuildOptions, Builder, Mode, Params, Pass, Scope, Trace};
use crate::weights::Checkpoint;
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};

/// Largest side of an image that is traced, in pixels: with it, multiply-adds and bytes of any network that can be
/// built are far inside 64 bits.
pub const MAX_IMAGE_SIDE: usize = 1 << 16;

/// The configuration of [`Network::from_model`]: nothing is known of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct FromModel {
    classes: usize,
}

impl Family for FromModel {
    const NAME: &'static str = "model";

    fn classes(&self) -> usize {
        self.classes
    }

    fn set_classes(&mut self, classes: usize) {
        self.classes = classes;
    }

    fn build(&self, _scope: &Scope) -> Result<Box<dyn Model>> {
        Err(Error::argument("network", "one that was made from a model", "a configuration that implements Family"))
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
        let model = spec.config.build(&builder.root())?;
        Ok(Network { spec, params: builder.finish()?, model, device })
    }

    /// A network from a model and its parameters, however they were made: from a [`Builder`], or from a candle `VarMap`
    /// ([`Params::from_var_map`]). It can be run, analyzed, measured and saved like any other. What builds it anew
    /// (training, loading a checkpoint by its name) needs a [`Family`].
    ///
    /// ```
    /// use candle_core::{DType, Device, Tensor};
    /// use candle_nn::{Conv2d, Conv2dConfig, Linear, Module, VarBuilder, VarMap, conv2d, linear};
    /// use kernelscope::nn::{FeatureShape, Params, Pass, Trace, global_mean};
    /// use kernelscope::zoo::{Features, Model, Network};
    ///
    /// struct Mine(Conv2d, Linear);
    ///
    /// impl Model for Mine {
    ///     fn forward_features(&self, x: &Tensor, _pass: &mut Pass) -> kernelscope::Result<Features> {
    ///         Ok(Features { stages: vec![self.0.forward(x)?] })
    ///     }
    ///
    ///     fn forward_head(&self, last: &Tensor, _pass: &mut Pass) -> kernelscope::Result<Tensor> {
    ///         Ok(self.1.forward(&global_mean(last)?)?)
    ///     }
    ///
    ///     fn trace(&self, height: usize, width: usize) -> kernelscope::Result<Trace> {
    ///         Ok(Trace::new(FeatureShape { channels: 3, height, width }))
    ///     }
    /// }
    ///
    /// # fn main() -> kernelscope::Result<()> {
    /// let vars = VarMap::new();
    /// let at = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
    /// let model = Mine(conv2d(3, 8, 3, Conv2dConfig::default(), at.pp("conv"))?, linear(8, 10, at.pp("head"))?);
    /// let network = Network::from_model("mine", model, Params::from_var_map(&vars)?);
    /// assert_eq!(network.params().count(), 8 * 3 * 9 + 8 + 10 * 8 + 10);
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_model(name: &str, model: impl Model + 'static, params: Params) -> Self {
        let device = params.iter().next().map_or(Device::Cpu, |(_, param)| param.var.device().clone());
        let config = FromModel { classes: 0 }.into();
        Network { spec: ModelSpec { name: name.to_string(), config }, params, model: Box::new(model), device }
    }

    /// Builds a network from a checkpoint, strictly: every name must fit. Of several sets of tensors in a file, those are
    /// taken that fit, and prefixes that trainings put before names are taken off. Names of other code bases become
    /// official ones ([`names`](super::names)), and the network need not be named where they show which it is.
    ///
    /// # Errors
    /// As [`ModelSpec::for_checkpoint`] and [`Network::build`]; and if several sets fit, of which none is preferred.
    /// Tensors that do not fit are named as in the file.
    pub fn from_checkpoint<S: AsRef<str>>(
        name: Option<&str>,
        checkpoint: Checkpoint,
        overrides: &[S],
        options: BuildOptions,
    ) -> Result<Self> {
        let overrides: Vec<&str> = overrides.iter().map(AsRef::as_ref).collect();
        let wanted = Wanted::Described { name, overrides: &overrides };
        Network::from_fitted(Fitted::find(checkpoint, &wanted)?, options)
    }

    /// Builds a network of this kind from the tensors of a checkpoint, strictly. In contrast to
    /// [`Network::from_checkpoint`], the checkpoint has no say in the configuration.
    ///
    /// # Errors
    /// As [`ModelSpec::weights_in`] and [`Network::build`].
    pub fn from_weights(spec: &ModelSpec, checkpoint: Checkpoint, options: BuildOptions) -> Result<Self> {
        Network::from_fitted(Fitted::find(checkpoint, &Wanted::Exactly(spec))?, options)
    }

    fn from_fitted(Fitted { spec, checkpoint, notes }: Fitted, options: BuildOptions) -> Result<Self> {
        let weights = Some((checkpoint.tensors, checkpoint.source.display().to_string()));
        let network = Network::build(spec, BuildOptions { weights, ..options })?;
        // Of weights that turn out not to be usable, only the error is said.
        notes.say();
        Ok(network)
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
        let features = self.features(x, pass)?;
        let logits = self.model.forward_head(features.last()?, pass)?;
        Ok((features, logits))
    }

    /// Feature maps of images (N, 3, H, W), without the classifier.
    ///
    /// # Errors
    /// If the image size does not fit.
    pub fn forward_features(&self, x: &Tensor, pass: &mut Pass) -> Result<Features> {
        self.check_images(x)?;
        self.features(x, pass)
    }

    fn features(&self, x: &Tensor, pass: &mut Pass) -> Result<Features> {
        let size = (x.dim(2)?, x.dim(3)?);
        self.model.forward_features(&x.to_device(&self.device)?, pass).map_err(|error| for_images(error, size))
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
        self.model.trace(height, width).map_err(|error| for_images(error, (height, width)))
    }

    fn check_images(&self, x: &Tensor) -> Result<()> {
        match x.dims() {
            &[n, 3, h, w] if n > 0 && h > 0 && w > 0 => Ok(()),
            dims => Err(Error::shape("images", dims, "(N, 3, H, W) with no axis of length 0")),
        }
    }
}

/// A layer's refusal of a feature map, with the size of the images that led to it.
fn for_images(error: Error, (height, width): (usize, usize)) -> Error {
    match error {
        Error::Argument { name, given, allowed }
            if name.starts_with("input size") && given != format!("{height}x{width}") =>
        {
            Error::Argument { name, given: format!("{given} for images of {height}x{width}"), allowed }
        }
        other => other,
    }
}
