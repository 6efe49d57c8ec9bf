//! The figures that can be written to files.

use super::listed::listed;
use super::view::View;

listed! {
    /// The figures of the views. Exporting a view picks the first of its figures that is available.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
    pub enum Figure {
        /// Multiply-adds of the network's parts.
        Costs,
        /// Receptive fields, or the difference of two.
        Erf,
        /// Kernels of a layer.
        Kernels,
        /// Rose of a layer, or of all.
        Orientations,
        /// Built and learned angles of every layer.
        AnglesByLayer,
        /// Taps of the oriented layers.
        OrientedTaps,
        /// Shape bias per category.
        ShapeBias,
        /// Shifts of shift-wise layers that survive.
        KeptShifts,
        /// Small kernels of shift-wise layers that are kept.
        KeptGroups,
        /// Histograms of kept small kernels per channel.
        GroupCounts,
        /// Taps of sums of parallel kernels.
        KeptTaps,
        /// Masks over training.
        Masks,
        /// Density per layer.
        Densities,
        /// Training curves.
        Curves,
    }
}

impl Figure {
    /// The view that shows it.
    pub fn view(self) -> View {
        match self {
            Figure::Costs => View::Network,
            Figure::Erf => View::Erf,
            Figure::Kernels => View::Kernels,
            Figure::Orientations | Figure::AnglesByLayer | Figure::OrientedTaps => View::Orientations,
            Figure::ShapeBias => View::ShapeBias,
            Figure::KeptShifts
            | Figure::KeptGroups
            | Figure::GroupCounts
            | Figure::KeptTaps
            | Figure::Masks
            | Figure::Densities => View::Sparsity,
            Figure::Curves => View::Training,
        }
    }

    /// Name on the command line, and of its file.
    pub fn name(self) -> &'static str {
        match self {
            Figure::Costs => "costs",
            Figure::Erf => "erf",
            Figure::Kernels => "kernels",
            Figure::Orientations => "orientations",
            Figure::AnglesByLayer => "angles-by-layer",
            Figure::OrientedTaps => "oriented-taps",
            Figure::ShapeBias => "shape-bias",
            Figure::KeptShifts => "kept-shifts",
            Figure::KeptGroups => "kept-groups",
            Figure::GroupCounts => "group-counts",
            Figure::KeptTaps => "kept-taps",
            Figure::Masks => "masks",
            Figure::Densities => "densities",
            Figure::Curves => "curves",
        }
    }

    /// Its name in menus.
    pub fn title(self) -> String {
        match self {
            Figure::Erf => "receptive field".to_string(),
            Figure::Masks => "masks over training".to_string(),
            Figure::Curves => "training curves".to_string(),
            other => other.name().replace('-', " "),
        }
    }

    /// The figure of a name.
    pub fn named(name: &str) -> Option<Figure> {
        Figure::ALL.into_iter().find(|figure| figure.name() == name)
    }

    /// The figures of a view.
    pub fn of(view: View) -> impl Iterator<Item = Figure> {
        Figure::ALL.into_iter().filter(move |figure| figure.view() == view)
    }
}
