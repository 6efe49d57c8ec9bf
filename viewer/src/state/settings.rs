//! What is remembered between sessions.

use super::layout::Pane;
use super::look::{BiasLook, ErfLook, KernelLook, XAxis};
use super::source::Source;
use serde::{Deserialize, Serialize};

/// Maximum number of recent paths.
const MOST_RECENT: usize = 12;

/// Settings and habits.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Whether colors are dark.
    pub dark: bool,
    /// Recently opened paths, newest first.
    pub recent: Vec<Source>,
    /// The arrangement of the views.
    pub layout: Option<egui_tiles::Tree<Pane>>,
    /// Kernels.
    pub kernels: KernelLook,
    /// Receptive fields.
    pub erf: ErfLook,
    /// Shape bias.
    pub bias: BiasLook,
    /// Training curves.
    pub x_axis: XAxis,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            dark: true,
            recent: Vec::new(),
            layout: None,
            kernels: KernelLook::default(),
            erf: ErfLook::default(),
            bias: BiasLook::default(),
            x_axis: XAxis::default(),
        }
    }
}

impl Settings {
    /// Puts a path at the top of the recent ones.
    pub fn remember(&mut self, source: Source) {
        let path = std::path::absolute(&source.path).unwrap_or(source.path);
        self.recent.retain(|known| known.path != path);
        self.recent.insert(0, Source { path, model: source.model });
        self.recent.truncate(MOST_RECENT);
    }
}
