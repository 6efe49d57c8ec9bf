//! Everything that was reported.

use super::scene::Scene;
use crate::command::Command;
use crate::state::Level;
use crate::widgets;
use eframe::egui::{self, Color32, RichText};

/// Draws the view.
pub fn ui(ui: &mut egui::Ui, scene: &mut Scene) {
    let state = scene.state;
    ui.horizontal(|ui| {
        for command in [Command::CopyMessages, Command::ClearMessages] {
            if ui.add_enabled(command.is_enabled(state), egui::Button::new(command.name())).clicked() {
                scene.out.push(command);
            }
        }
    });
    ui.separator();
    if state.messages.all().is_empty() {
        widgets::nothing(ui, "No messages", "Anything that cannot be read or shown is listed here.");
        return;
    }
    egui::ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
        for message in state.messages.all().iter().rev() {
            let (word, ink) = level(message.level, ui.visuals().dark_mode);
            ui.horizontal_wrapped(|ui| {
                ui.label(RichText::new(word).color(ink).strong());
                ui.label(&message.text);
            });
        }
    });
}

/// Name and color of a level.
pub fn level(level: Level, dark: bool) -> (&'static str, Color32) {
    match (level, dark) {
        (Level::Info, true) => ("info", Color32::from_rgb(120, 190, 130)),
        (Level::Info, false) => ("info", Color32::from_rgb(20, 110, 50)),
        (Level::Warning, true) => ("warning", Color32::from_rgb(255, 190, 100)),
        (Level::Warning, false) => ("warning", Color32::from_rgb(160, 90, 0)),
        (Level::Error, true) => ("error", Color32::from_rgb(255, 120, 110)),
        (Level::Error, false) => ("error", Color32::from_rgb(180, 20, 20)),
    }
}
