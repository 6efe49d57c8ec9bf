//! Dialogues: a path, an address or a file name to type, and the list of shortcuts.

use crate::cli::named_path;
use crate::command::{Command, Commands};
use crate::state::{Dialog, State};
use crate::widgets::faint;
use eframe::egui::{self, Id, Modal, TextEdit};
use kernelscope::analysis::tree::Address;
use std::path::PathBuf;

/// A path without quotes and spaces around it, and with the home folder in place of `~`.
fn typed_path(text: &str) -> PathBuf {
    let text = text.trim().trim_matches(['"', '\'']).trim();
    match (text.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(text),
    }
}

/// Shows the dialogue that is open.
pub fn show(ctx: &egui::Context, state: &mut State, out: &mut Commands) {
    let mut dialog = state.dialog.clone();
    match &mut dialog {
        Dialog::None | Dialog::Palette(..) => return,
        Dialog::Open(text) => {
            let hint = "run folder, folder of runs, .safetensors, .pth, .npy, or NETWORK=PATH";
            let done = ask(ctx, out, "Open path", hint, "Open", text);
            if done {
                let (path, model) = named_path(text.trim());
                out.push(Command::Open(typed_path(&path.to_string_lossy()), model));
            }
        }
        Dialog::GoTo(text) => {
            let done = ask(ctx, out, "Go to address", "stages.2.5.dwconv:17", "Go", text);
            if done {
                match text.parse::<Address>() {
                    Ok(address) => out.push(Command::GoTo(Some(address))),
                    Err(error) => state.messages.push(crate::state::Level::Error, error),
                }
            }
        }
        Dialog::Export(figure, text) => {
            let title = format!("Export {}", figure.title());
            let done = ask(ctx, out, &title, "figure.png, .svg or .csv", "Export", text);
            if done {
                out.push(Command::Export(*figure, typed_path(text)));
            }
        }
        Dialog::Shortcuts => shortcuts(ctx, out),
    }
    state.dialog = dialog;
}

/// A line to type; says whether it is done.
fn ask(ctx: &egui::Context, out: &mut Commands, title: &str, hint: &str, verb: &str, text: &mut String) -> bool {
    let mut done = false;
    let modal = Modal::new(Id::unique("dialog")).show(ctx, |ui| {
        ui.set_width(460.0);
        let heading = ui.heading(title);
        ui.add_space(4.0);
        let field = TextEdit::singleline(text).hint_text(hint).desired_width(f32::INFINITY);
        let response = ui.add(field).labelled_by(heading.id);
        done |= response.lost_focus() && ui.input(|i| i.key_pressed(egui::Key::Enter));
        if !done {
            response.request_focus();
        }
        ui.label(faint(hint).small());
        ui.add_space(6.0);
        ui.horizontal(|ui| {
            done |= ui.button(verb).clicked();
            if ui.button("Cancel").clicked() {
                out.push(Command::CloseDialog);
            }
        });
    });
    if modal.should_close() && !done {
        out.push(Command::CloseDialog);
    }
    done
}

fn shortcuts(ctx: &egui::Context, out: &mut Commands) {
    let modal = Modal::new(Id::unique("dialog")).show(ctx, |ui| {
        ui.set_width(420.0);
        ui.heading("Keyboard shortcuts");
        egui::ScrollArea::vertical().max_height(460.0).show(ui, |ui| {
            egui::Grid::new("shortcuts").num_columns(2).striped(true).min_col_width(200.0).show(ui, |ui| {
                for command in Command::general() {
                    let Some(shortcut) = command.shortcut() else { continue };
                    ui.label(command.name());
                    ui.monospace(ui.ctx().format_shortcut(&shortcut));
                    ui.end_row();
                }
            });
        });
        ui.label(faint("On a map: drag to pan, wheel to zoom, double click for the whole, click to probe.").small());
        if ui.button("Close").clicked() {
            out.push(Command::CloseDialog);
        }
    });
    if modal.should_close() {
        out.push(Command::CloseDialog);
    }
}
