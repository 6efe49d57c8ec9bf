//! Dialogs: a path, an address or a file name to type, and the list of shortcuts.

use crate::command::{Command, Commands, Target};
use crate::state::{Dialog, Level, Source, State};
use crate::widgets::faint;
use eframe::egui::{self, Id, Modal, TextEdit};
use kernelscope::analysis::tree::Address;
use std::path::PathBuf;

/// Removes quotes and spaces around a path, and replaces `~` by the home folder.
fn typed_path(text: &str) -> PathBuf {
    let text = text.trim().trim_matches(['"', '\'']).trim();
    match (text.strip_prefix("~/"), std::env::home_dir()) {
        (Some(rest), Some(home)) => home.join(rest),
        _ => PathBuf::from(text),
    }
}

/// Shows the dialog that is open.
pub fn show(ctx: &egui::Context, state: &mut State, out: &mut Commands) {
    let mut dialog = state.dialog.clone();
    match &mut dialog {
        // The palette is shown by its own module.
        Dialog::None | Dialog::Palette { .. } => return,
        Dialog::Open(text) => {
            let hint = "run folder, folder of runs, .safetensors, .pth, .npy, or NETWORK=PATH";
            let question = Question { title: "Open path", hint, verb: "Open" };
            if ask(ctx, out, &question, text) {
                let Source { path, model } = Source::parse(text.trim());
                out.push(Command::Open(Source { path: typed_path(&path.to_string_lossy()), model }));
            }
        }
        Dialog::GoTo(text) => {
            let question = Question { title: "Go to address", hint: "stages.2.5.dwconv:17", verb: "Go" };
            if ask(ctx, out, &question, text) {
                match text.parse::<Address>() {
                    Ok(address) => out.push(Command::GoTo(address)),
                    Err(error) => state.messages.push(Level::Error, error),
                }
            }
        }
        Dialog::Export(figure, text) => {
            let title = format!("Export {}", figure.title());
            let question = Question { title: &title, hint: "figure.png, .svg or .csv", verb: "Export" };
            if ask(ctx, out, &question, text) {
                out.push(Command::Export(Target { figure: *figure, path: typed_path(text) }));
            }
        }
        Dialog::Shortcuts => shortcuts(ctx, out),
    }
    state.dialog = dialog;
}

/// What a dialog asks for.
struct Question<'a> {
    title: &'a str,
    /// What may be typed.
    hint: &'a str,
    /// What the button says.
    verb: &'a str,
}

/// Asks for a line of text, and returns whether it was confirmed.
fn ask(ctx: &egui::Context, out: &mut Commands, question: &Question, text: &mut String) -> bool {
    let Question { title, hint, verb } = *question;
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
                for command in Command::offered(&State::default()) {
                    let Some(shortcut) = command.shortcut() else { continue };
                    ui.label(command.name());
                    ui.monospace(ui.ctx().format_shortcut(&shortcut));
                    ui.end_row();
                }
            });
        });
        ui.label(
            faint("On a map: drag to pan, scroll to zoom, double-click for the whole image, click to probe.").small(),
        );
        if ui.button("Close").clicked() {
            out.push(Command::CloseDialog);
        }
    });
    if modal.should_close() {
        out.push(Command::CloseDialog);
    }
}
