//! What is shown while nothing is open.

use crate::command::{Command, Commands};
use crate::state::State;
use crate::widgets;
use eframe::egui::{self, RichText};

/// How to open something, and what was open recently.
pub fn start(ui: &mut egui::Ui, state: &State, out: &mut Commands) {
    egui::Frame::new().fill(ui.visuals().panel_fill).show(ui, |ui| {
        ui.set_min_size(ui.available_size());
        ui.vertical_centered(|ui| {
            ui.set_max_width(560.0);
            ui.add_space((ui.available_height() * 0.16).max(16.0));
            ui.label(RichText::new("kernelscope").size(26.0).strong());
            ui.add_space(4.0);
            ui.label(
                "Drop a run folder, a folder of runs, a checkpoint (.safetensors, .pth), or a matrix (.npy) here.",
            );
            ui.add_space(12.0);
            ui.horizontal(|ui| {
                ui.add_space(130.0);
                for command in [Command::OpenTyped, Command::OpenFiles, Command::OpenFolder] {
                    if ui.button(command.name()).clicked() {
                        out.push(command);
                    }
                }
            });
            ui.add_space(20.0);
            if state.settings.recent.is_empty() {
                ui.label(widgets::faint("This command makes a run to open:"));
                ui.add_space(2.0);
                ui.label(RichText::new("kernelscope quickstart").monospace());
            } else {
                ui.label(RichText::new("Recent").strong());
                for source in &state.settings.recent {
                    if ui.link(source.to_string()).clicked() {
                        out.push(Command::Open(source.clone()));
                    }
                }
            }
            if let Some(message) = state.messages.last() {
                ui.add_space(16.0);
                widgets::fault(ui, &message.text);
            }
            ui.add_space(20.0);
            ui.label(widgets::faint("Press Ctrl+K to find any command, or F1 for the keyboard shortcuts."));
        });
    });
}
