//! What is remembered from one start to the next.

use super::{BiasLook, ErfLook, KernelLook, Pane, XAxis};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Most paths in the list of recent ones.
const MOST_RECENT: usize = 12;

/// Settings and habits.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Dark colours.
    pub dark: bool,
    /// Paths that were opened, the newest first, with the network that was named.
    pub recent: Vec<(PathBuf, Option<String>)>,
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
    /// Puts a path at the head of the recent ones.
    pub fn remember(&mut self, path: &Path, model: Option<&str>) {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        self.recent.retain(|(known, _)| *known != path);
        self.recent.insert(0, (path, model.map(str::to_string)));
        self.recent.truncate(MOST_RECENT);
    }
}
