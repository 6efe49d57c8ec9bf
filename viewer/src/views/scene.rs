//! What views read, and where they put their commands.

use crate::command::Commands;
use crate::state::{Entry, State};
use crate::widgets::{self, Textures};
use eframe::egui;

/// What every view is given.
pub struct Scene<'a> {
    /// What is open and what is being looked at.
    pub state: &'a State,
    /// Pictures that are kept between frames.
    pub textures: &'a mut Textures,
    /// Commands of this frame.
    pub out: &'a mut Commands,
}

/// The current entry. If there is none, or it is still being read, the view says so.
pub fn current<'a>(ui: &mut egui::Ui, state: &'a State) -> Option<&'a Entry> {
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
