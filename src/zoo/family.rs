//! Configurations of networks as an open type: what a family implements, and the box that holds any of them.

use super::config::set_field;
use super::model::Model;
use crate::nn::Scope;
use crate::weights::TensorMap;
use crate::{Error, Result};
use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};
use std::any::Any;
use std::fmt;

/// How far a re-parameterized form goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merge {
    /// Parallel kernels with their norms become one kernel.
    Kernels,
    /// And every norm after a convolution becomes a part of it.
    Norms,
}

/// The configuration of a family of networks: plain data from which a network is built.
///
/// It is written into run folders and checkpoints as a table of its fields, with the name of the family beside them. Any
/// crate can define one; entered in a [`Registry`](super::Registry), its networks can be named like those of this crate.
///
/// ```
/// use candle_core::Tensor;
/// use kernelscope::nn::{BuildOptions, FeatureShape, Linear, Pass, PatchConv, Scope, Trace, global_mean};
/// use kernelscope::weights::TensorMap;
/// use kernelscope::zoo::{Entry, Family, Features, Model, ModelSpec, Network, Registry};
/// use kernelscope::{Error, Result};
///
/// /// Patches, their mean, and a classifier.
/// #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
/// #[serde(deny_unknown_fields)]
/// struct Patches {
///     width: usize,
///     classes: usize,
/// }
///
/// struct PatchNet {
///     stem: PatchConv,
///     head: Linear,
/// }
///
/// impl Family for Patches {
///     const NAME: &'static str = "patches";
///
///     fn classes(&self) -> usize {
///         self.classes
///     }
///
///     fn set_classes(&mut self, classes: usize) {
///         self.classes = classes;
///     }
///
///     fn build(&self, scope: &Scope) -> Result<Box<dyn Model>> {
///         let stem = PatchConv::new(&scope.child("stem"), 3, self.width, 8, true)?;
///         let head = Linear::new(&scope.child("head"), self.width, self.classes, 1.0)?;
///         Ok(Box::new(PatchNet { stem, head }))
///     }
/// }
///
/// impl Model for PatchNet {
///     fn forward_features(&self, x: &Tensor, _pass: &mut Pass) -> Result<Features> {
///         Ok(Features { stages: vec![self.stem.forward(x)?] })
///     }
///
///     fn forward_head(&self, last: &Tensor, _pass: &mut Pass) -> Result<Tensor> {
///         self.head.forward(&global_mean(last)?)
///     }
///
///     fn trace(&self, height: usize, width: usize) -> Result<Trace> {
///         let mut trace = Trace::new(FeatureShape { channels: 3, height, width });
///         self.stem.trace(&mut trace)?;
///         self.head.trace(&mut trace)?;
///         Ok(trace)
///     }
/// }
///
/// # fn main() -> Result<()> {
/// Registry::builtin().with(Entry::new("patches-16", || Patches { width: 16, classes: 10 })).install()?;
/// let spec = ModelSpec::named("patches-16")?.with_overrides(&["width=24"])?;
/// let network = Network::build(spec, BuildOptions::default())?;
/// assert_eq!(network.params().count(), 24 * (3 * 8 * 8 + 1) + 10 * (24 + 1));
/// # Ok(())
/// # }
/// ```
pub trait Family: fmt::Debug + Clone + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Name of the family in files; no other family of a registry has it.
    const NAME: &'static str;

    /// Number of classes.
    fn classes(&self) -> usize;

    /// Sets the number of classes.
    fn set_classes(&mut self, classes: usize);

    /// Builds the network, with its parameters from the scope.
    ///
    /// # Errors
    /// If the configuration is not allowed.
    fn build(&self, scope: &Scope) -> Result<Box<dyn Model>>;

    /// Takes what a checkpoint's names and shapes tell (kernel sizes, classes, the form). What does not fit is found when
    /// the network is built.
    fn adapt(&mut self, _tensors: &TensorMap) {}

    /// Whether the network ends with a classifier. A backbone does not: it has feature maps alone.
    fn has_classifier(&self) -> bool {
        true
    }

    /// Whether this is a re-parameterized form.
    fn is_merged(&self) -> bool {
        false
    }

    /// The form in which a trained network runs: re-parameterized kernels, if the family has them.
    fn for_inference(&self) -> Self {
        self.clone()
    }

    /// A checksum of what the network computes with that is drawn at random and neither in the configuration nor among
    /// the parameters. It is stored with checkpoints and compared when they are loaded.
    ///
    /// # Errors
    /// If the configuration is not allowed.
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

    /// Configuration and parameters of a re-parameterized form, from those of this form.
    ///
    /// # Errors
    /// If the family has no such form, this already is one that goes as far, or the parameters do not fit.
    fn merge(&self, _tensors: &TensorMap, _how: Merge) -> Result<(Self, TensorMap)> {
        Err(Error::argument(
            "network",
            "one that has no parallel kernels to merge",
            "a re-parameterizable network, as a RepLKNet is",
        ))
    }
}

/// [`Family`] as a trait that can be behind a pointer.
trait AnyFamily: fmt::Debug + Send + Sync {
    fn name(&self) -> &'static str;
    fn as_any(&self) -> &dyn Any;
    fn as_any_mut(&mut self) -> &mut dyn Any;
    fn boxed(&self) -> Box<dyn AnyFamily>;
    fn equals(&self, other: &dyn AnyFamily) -> bool;
    fn table(&self) -> Result<toml::Table, toml::ser::Error>;
    fn reader(&self) -> FamilyReader;
    fn classes(&self) -> usize;
    fn set_classes(&mut self, classes: usize);
    fn set(&mut self, key: &str, value: &str) -> Result<()>;
    fn adapt(&mut self, tensors: &TensorMap);
    fn build(&self, scope: &Scope) -> Result<Box<dyn Model>>;
    fn has_classifier(&self) -> bool;
    fn is_merged(&self) -> bool;
    fn for_inference(&self) -> ModelConfig;
    fn checksum(&self) -> Result<Option<u64>>;
    fn assumption(&self) -> Option<String>;
    fn misfit(&self, tensors: &TensorMap) -> Option<String>;
    fn merge(&self, tensors: &TensorMap, how: Merge) -> Result<(ModelConfig, TensorMap)>;
}

impl<F: Family> AnyFamily for F {
    fn name(&self) -> &'static str {
        F::NAME
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn as_any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn boxed(&self) -> Box<dyn AnyFamily> {
        Box::new(self.clone())
    }

    fn equals(&self, other: &dyn AnyFamily) -> bool {
        other.as_any().downcast_ref::<F>() == Some(self)
    }

    fn table(&self) -> Result<toml::Table, toml::ser::Error> {
        toml::Table::try_from(self)
    }

    fn reader(&self) -> FamilyReader {
        FamilyReader::of::<F>()
    }

    fn classes(&self) -> usize {
        Family::classes(self)
    }

    fn set_classes(&mut self, classes: usize) {
        Family::set_classes(self, classes);
    }

    fn set(&mut self, key: &str, value: &str) -> Result<()> {
        set_field(self, key, value)
    }

    fn adapt(&mut self, tensors: &TensorMap) {
        Family::adapt(self, tensors);
    }

    fn build(&self, scope: &Scope) -> Result<Box<dyn Model>> {
        Family::build(self, scope)
    }

    fn has_classifier(&self) -> bool {
        Family::has_classifier(self)
    }

    fn is_merged(&self) -> bool {
        Family::is_merged(self)
    }

    fn for_inference(&self) -> ModelConfig {
        Family::for_inference(self).into()
    }

    fn checksum(&self) -> Result<Option<u64>> {
        Family::checksum(self)
    }

    fn assumption(&self) -> Option<String> {
        Family::assumption(self)
    }

    fn misfit(&self, tensors: &TensorMap) -> Option<String> {
        Family::misfit(self, tensors)
    }

    fn merge(&self, tensors: &TensorMap, how: Merge) -> Result<(ModelConfig, TensorMap)> {
        let (config, tensors) = Family::merge(self, tensors, how)?;
        Ok((config.into(), tensors))
    }
}

/// Reads configurations of one family.
#[derive(Clone, Copy)]
pub(super) struct FamilyReader {
    pub(super) name: &'static str,
    /// Tells families of one name apart.
    pub(super) id: std::any::TypeId,
    pub(super) read: fn(toml::Table) -> Result<ModelConfig, toml::de::Error>,
}

impl FamilyReader {
    fn of<F: Family>() -> Self {
        let read = |table: toml::Table| table.try_into::<F>().map(ModelConfig::from);
        FamilyReader { name: F::NAME, id: std::any::TypeId::of::<F>(), read }
    }
}

/// Configuration of any network: that of one [`Family`].
///
/// It is read and written as a table of the family's fields and its name as `family`; what is read must be of a family in
/// the process's [`Registry`](super::Registry).
///
/// ```
/// use kernelscope::zoo::{ModelConfig, convnext::{ConvNextConfig, Variant}};
/// let mut config = ModelConfig::from(ConvNextConfig::nano(Variant::OneD));
/// config.set("kernel", "31,31,27,15")?;
/// let fields: &ConvNextConfig = config.downcast_ref().expect("a ConvNeXt");
/// assert_eq!((config.family(), fields.kernel.0), ("convnext", [31, 31, 27, 15]));
/// # Ok::<(), kernelscope::Error>(())
/// ```
#[derive(Debug)]
pub struct ModelConfig(Box<dyn AnyFamily>);

impl<F: Family> From<F> for ModelConfig {
    fn from(config: F) -> Self {
        ModelConfig(Box::new(config))
    }
}

impl Clone for ModelConfig {
    fn clone(&self) -> Self {
        ModelConfig(self.0.boxed())
    }
}

impl PartialEq for ModelConfig {
    fn eq(&self, other: &Self) -> bool {
        self.0.equals(&*other.0)
    }
}

/// Key of the family's name beside the fields of a configuration.
pub(super) const FAMILY_KEY: &str = "family";

impl Serialize for ModelConfig {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let fields = self.0.table().map_err(serde::ser::Error::custom)?;
        let family = (FAMILY_KEY.to_string(), toml::Value::String(self.family().to_string()));
        serializer.collect_map(std::iter::once(family).chain(fields))
    }
}

impl ModelConfig {
    /// Name of the family.
    pub fn family(&self) -> &'static str {
        self.0.name()
    }

    /// The configuration, if it is of this family.
    pub fn downcast_ref<F: Family>(&self) -> Option<&F> {
        self.0.as_any().downcast_ref()
    }

    /// The configuration to be changed, if it is of this family.
    pub fn downcast_mut<F: Family>(&mut self) -> Option<&mut F> {
        self.0.as_any_mut().downcast_mut()
    }

    pub(super) fn reader(&self) -> FamilyReader {
        self.0.reader()
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.0.classes()
    }

    /// Sets the number of classes.
    pub fn set_classes(&mut self, classes: usize) {
        self.0.set_classes(classes);
    }

    /// Replaces one field; see [`set_field`].
    ///
    /// # Errors
    /// If the field does not exist in this family or the value does not fit.
    pub fn set(&mut self, key: &str, value: &str) -> Result<()> {
        self.0.set(key, value)
    }

    /// See [`Family::adapt`].
    pub fn adapt(&mut self, tensors: &TensorMap) {
        self.0.adapt(tensors);
    }

    /// See [`Family::build`].
    ///
    /// # Errors
    /// If the configuration is not allowed.
    pub fn build(&self, scope: &Scope) -> Result<Box<dyn Model>> {
        self.0.build(scope)
    }

    /// See [`Family::has_classifier`].
    pub fn has_classifier(&self) -> bool {
        self.0.has_classifier()
    }

    /// See [`Family::is_merged`].
    pub fn is_merged(&self) -> bool {
        self.0.is_merged()
    }

    /// See [`Family::for_inference`].
    pub fn for_inference(&self) -> Self {
        self.0.for_inference()
    }

    /// See [`Family::checksum`].
    ///
    /// # Errors
    /// If the configuration is not allowed.
    pub fn checksum(&self) -> Result<Option<u64>> {
        self.0.checksum()
    }

    /// See [`Family::assumption`].
    pub fn assumption(&self) -> Option<String> {
        self.0.assumption()
    }

    /// See [`Family::misfit`].
    pub fn misfit(&self, tensors: &TensorMap) -> Option<String> {
        self.0.misfit(tensors)
    }

    /// See [`Family::merge`].
    ///
    /// # Errors
    /// If the family has no such form, this already is one that goes as far, or the parameters do not fit.
    pub fn merge(&self, tensors: &TensorMap, how: Merge) -> Result<(Self, TensorMap)> {
        self.0.merge(tensors, how)
    }
}

/// The methods of [`Family`] that are the same for every configuration here: about its field `classes`, and its own
/// `adapt`.
macro_rules! common_fields {
    () => {
        fn classes(&self) -> usize {
            self.classes
        }

        fn set_classes(&mut self, classes: usize) {
            self.classes = classes;
        }

        fn adapt(&mut self, tensors: &TensorMap) {
            self.adapt(tensors);
        }
    };
}
pub(super) use common_fields;
