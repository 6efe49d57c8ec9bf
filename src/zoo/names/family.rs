//! What is known of the names of one family of networks.

use super::ecosystem::Ecosystem;
use super::rules::Rules;
use crate::weights::TensorMap;
use crate::zoo::ModelConfig;

/// The names of a family in one code base.
#[derive(Debug, Clone, Default)]
pub(super) struct Naming {
    pub rules: Rules,
    /// Stands before all names but those of the classifier.
    pub prefix: &'static str,
}

impl Naming {
    /// Names that are the official ones.
    pub fn official() -> Self {
        Naming { rules: Rules::default().and_others_stay(), prefix: "" }
    }
}

/// Which registered network a file holds, by the shapes in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Registered {
    /// This one.
    Named(&'static str),
    /// A known one that is not registered.
    Other(&'static str),
    /// One of other sizes.
    Unknown,
}

/// The names of a family of networks. Tensors are those of a file without its backbone's prefix, or have official
/// names, where it says so.
pub(super) trait FamilyNames: Sync {
    /// [`Family::NAME`](crate::zoo::Family::NAME) of the family.
    fn family(&self) -> &'static str;

    /// What it is called in text.
    fn title(&self) -> &'static str;

    /// The code base that a file of this family has its names from, if it is one.
    fn recognize(&self, tensors: &TensorMap) -> Option<Ecosystem>;

    /// The family's names in a code base; `None` if that does not have it.
    fn naming(&self, ecosystem: Ecosystem) -> Option<Naming>;

    /// Official paths of the classifier's modules.
    fn classifier(&self) -> &'static [&'static str];

    /// Whether a network of this family can be without a classifier.
    fn runs_without_classifier(&self) -> bool {
        false
    }

    /// The official shape of a tensor with this official name, where files may have another one, `dims`.
    fn official_shape(&self, _name: &str, _dims: &[usize]) -> Option<Vec<usize>> {
        None
    }

    /// The shape that a code base has in place of the official one.
    fn other_shape(&self, _ecosystem: Ecosystem, _name: &str, _dims: &[usize]) -> Option<Vec<usize>> {
        None
    }

    /// The registered network with these official names and shapes.
    fn registered(&self, tensors: &TensorMap) -> Registered;

    /// Fields of the configuration that a code base has other values for, which names and shapes do not show.
    fn settings(&self, _ecosystem: Ecosystem) -> &'static [(&'static str, &'static str)] {
        &[]
    }

    /// Whether a code base has networks with this configuration.
    ///
    /// # Errors
    /// If not: what it does not have.
    fn check(&self, config: &ModelConfig, ecosystem: Ecosystem) -> Result<(), String>;
}

/// All of them.
pub(super) fn families() -> [&'static dyn FamilyNames; 6] {
    use super::{convmixer, convnext, mobilenet_v2, mobilenet_v3, replknet, resnet};
    [&convnext::Names, &mobilenet_v2::Names, &mobilenet_v3::Names, &resnet::Names, &replknet::Names, &convmixer::Names]
}

/// A length in the shape of a tensor.
pub(super) fn dim(tensors: &TensorMap, name: &str, axis: usize) -> Option<usize> {
    tensors.get(name)?.dims().get(axis).copied()
}

/// How many modules in a list have a tensor of this name, `name(0)`, `name(1)`, ...
pub(super) fn count(tensors: &TensorMap, name: impl Fn(usize) -> String) -> usize {
    (0..).take_while(|&index| tensors.contains_key(&name(index))).count()
}

/// `(outputs, inputs)` of a linear map that is stored as a pointwise convolution.
pub(super) fn as_linear(dims: &[usize]) -> Option<Vec<usize>> {
    match dims {
        &[outputs, inputs, 1, 1] => Some(vec![outputs, inputs]),
        _ => None,
    }
}
