//! The views. Each reads the state, draws what the library computed, and emits commands.

mod erf;
mod kernels;
pub mod messages;
mod network;
mod orientations;
mod scene;
mod shape_bias;
mod sparsity;
mod start;
mod training;

pub use scene::Scene;
pub use start::start;

use crate::state::View;
use eframe::egui;

/// Draws a view.
pub fn show(view: View, ui: &mut egui::Ui, scene: &mut Scene) {
    ui.push_id(view.name(), |ui| match view {
        View::Network => network::ui(ui, scene),
        View::Erf => erf::ui(ui, scene),
        View::Kernels => kernels::ui(ui, scene),
        View::Orientations => orientations::ui(ui, scene),
        View::ShapeBias => shape_bias::ui(ui, scene),
        View::Sparsity => sparsity::ui(ui, scene),
        View::Training => training::ui(ui, scene),
        View::Messages => messages::ui(ui, scene),
    });
}
