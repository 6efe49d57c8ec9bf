//! The views.

use super::listed::listed;
use serde::{Deserialize, Serialize};

listed! {
    /// The views, in the order of their shortcuts.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
    pub enum View {
        /// The layer tree.
        Network,
        /// Effective receptive fields.
        Erf,
        /// Learned kernels.
        Kernels,
        /// Angles of kernels.
        Orientations,
        /// Shape bias.
        ShapeBias,
        /// Masks and densities.
        Sparsity,
        /// Curves and the step slider.
        Training,
        /// What was reported.
        Messages,
    }
}

impl View {
    /// Title of the tab.
    pub fn title(self) -> &'static str {
        match self {
            View::Network => "Network",
            View::Erf => "Receptive field",
            View::Kernels => "Kernels",
            View::Orientations => "Orientations",
            View::ShapeBias => "Shape bias",
            View::Sparsity => "Sparsity",
            View::Training => "Training",
            View::Messages => "Messages",
        }
    }

    /// Name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            View::Network => "network",
            View::Erf => "erf",
            View::Kernels => "kernels",
            View::Orientations => "orientations",
            View::ShapeBias => "shape-bias",
            View::Sparsity => "sparsity",
            View::Training => "training",
            View::Messages => "messages",
        }
    }

    /// The view of a name.
    pub fn named(name: &str) -> Option<View> {
        View::ALL.into_iter().find(|view| view.name() == name)
    }
}
