//! The views. Each reads the state, draws what the library computed, and emits commands.

mod erf;
mod erf_controls;
mod erf_paint;
mod kernels;
pub mod messages;
mod network;
mod orientations;
mod shape_bias;
mod sparsity;
mod sparsity_maps;
mod start;
mod training;

pub use start::start;

use crate::command::Commands;
use crate::state::{Entry, State, View};
use crate::widgets::{self, Textures};
use eframe::egui;

/// Draws a view.
pub fn show(view: View, ui: &mut egui::Ui, state: &State, textures: &mut Textures, out: &mut Commands) {
    ui.push_id(view.name(), |ui| match view {
        View::Network => network::ui(ui, state, out),
        View::Erf => erf::ui(ui, state, textures, out),
        View::Kernels => kernels::ui(ui, state, textures, out),
        View::Orientations => orientations::ui(ui, state, textures, out),
        View::ShapeBias => shape_bias::ui(ui, state, textures, out),
        View::Sparsity => sparsity::ui(ui, state, textures, out),
        View::Training => training::ui(ui, state, out),
        View::Messages => messages::ui(ui, state, out),
    });
}

/// The current entry; without one, or while it is read, the view says so.
fn current<'a>(ui: &mut egui::Ui, state: &'a State) -> Option<&'a Entry> {
    let Some(entry) = state.current() else {
        widgets::nothing(ui, "No network is open", "Drop a run folder or a checkpoint on the window, or press Ctrl+O.");
        return None;
    };
    if entry.subject.is_none() && entry.overview.is_none() && entry.erf.is_none() {
        widgets::nothing(ui, "Reading…", &entry.path().display().to_string());
        return None;
    }
    Some(entry)
}
