//! The passes of a convolution that are timed by themselves on a GPU.

use serde::Serialize;

/// A pass of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pass {
    /// The output.
    Forward,
    /// The gradient of the input.
    InputGradient,
    /// The gradients of weights and bias.
    WeightGradient,
}

impl Pass {
    /// All passes.
    pub const ALL: [Pass; 3] = [Pass::Forward, Pass::InputGradient, Pass::WeightGradient];

    /// As files and the peer name it.
    pub fn name(self) -> &'static str {
        match self {
            Pass::Forward => "forward",
            Pass::InputGradient => "input-gradient",
            Pass::WeightGradient => "weight-gradient",
        }
    }

    /// For tables.
    pub fn label(self) -> &'static str {
        match self {
            Pass::Forward => "forward",
            Pass::InputGradient => "input gradient",
            Pass::WeightGradient => "weight gradient",
        }
    }
}
