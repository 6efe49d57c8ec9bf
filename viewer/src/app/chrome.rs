//! Menu, the bar of open networks, the status line.

use crate::command::{Command, Commands};
use crate::state::{Arrangement, Camera, Figure, KernelSort, State, Transfer, Undo, View};
use crate::views::messages::level;
use crate::widgets::{faint, series_colour};
use eframe::egui::{self, Align2, Button, Color32, FontId, Id, LayerId, Order, RichText};

fn item(ui: &mut egui::Ui, state: &State, command: Command, out: &mut Commands) {
    let enabled = command.is_enabled(state);
    entry(ui, enabled, command, out);
}

fn entry(ui: &mut egui::Ui, enabled: bool, command: Command, out: &mut Commands) {
    let mut button = Button::new(command.name());
    if let Some(shortcut) = command.shortcut() {
        button = button.shortcut_text(ui.ctx().format_shortcut(&shortcut));
    }
    if ui.add_enabled(enabled, button).clicked() {
        out.push(command);
        ui.close();
    }
}

pub fn menu_bar(ui: &mut egui::Ui, state: &State, undo: &Undo, out: &mut Commands) {
    egui::Panel::top("menu").show(ui, |ui| {
        egui::MenuBar::new().ui(ui, |ui| {
            ui.menu_button("File", |ui| {
                for command in [Command::OpenTyped, Command::OpenFiles, Command::OpenFolder] {
                    item(ui, state, command, out);
                }
                ui.menu_button("Recent", |ui| {
                    for (path, model) in &state.settings.recent {
                        item(ui, state, Command::Open(path.clone(), model.clone()), out);
                    }
                    ui.separator();
                    item(ui, state, Command::ClearRecent, out);
                });
                ui.separator();
                for command in [Command::Reload, Command::Follow, Command::CloseCurrent, Command::CloseAll] {
                    item(ui, state, command, out);
                }
                ui.separator();
                item(ui, state, Command::ExportFocused, out);
                ui.menu_button("Export", |ui| {
                    Figure::ALL.into_iter().for_each(|figure| item(ui, state, Command::ExportTyped(figure), out));
                });
                item(ui, state, Command::CopyCommand, out);
                ui.separator();
                item(ui, state, Command::Quit, out);
            });
            ui.menu_button("Edit", |ui| {
                entry(ui, undo.can_undo(), Command::Undo, out);
                entry(ui, undo.can_redo(), Command::Redo, out);
                ui.separator();
                item(ui, state, Command::CopyAddress, out);
                item(ui, state, Command::Palette, out);
            });
            ui.menu_button("Go", |ui| {
                for command in [
                    Command::GoToTyped,
                    Command::GoTo(None),
                    Command::NextLayer,
                    Command::PreviousLayer,
                    Command::NextChannel,
                    Command::PreviousChannel,
                    Command::NextEntry,
                    Command::PreviousEntry,
                    Command::NextEpoch,
                    Command::PreviousEpoch,
                    Command::SetEpoch(None),
                    Command::ExpandAll,
                    Command::CollapseAll,
                ] {
                    item(ui, state, command, out);
                }
            });
            ui.menu_button("View", |ui| {
                View::ALL.into_iter().for_each(|view| item(ui, state, Command::Show(view), out));
                ui.separator();
                item(ui, state, Command::ResetLayout, out);
                item(ui, state, Command::ToggleTheme, out);
            });
            ui.menu_button("Analysis", |ui| {
                item(ui, state, Command::Recompute, out);
                item(ui, state, Command::Cancel, out);
                ui.separator();
                for transfer in [Transfer::Log, Transfer::Linear, Transfer::Power] {
                    item(ui, state, Command::SetTransfer(transfer), out);
                }
                for arrangement in [Arrangement::Side, Arrangement::Swipe, Arrangement::Difference] {
                    item(ui, state, Command::Arrange(arrangement), out);
                }
                let more = [
                    Command::ToggleSquares,
                    Command::ToggleContours,
                    Command::ToggleSharedRange,
                    Command::SetCamera(Camera::default()),
                    Command::ToggleMerged,
                ];
                more.into_iter().for_each(|command| item(ui, state, command, out));
                ui.separator();
                KernelSort::ALL.into_iter().for_each(|sort| item(ui, state, Command::SortKernels(sort), out));
            });
            ui.menu_button("Help", |ui| {
                item(ui, state, Command::Shortcuts, out);
                item(ui, state, Command::Show(View::Messages), out);
            });
        });
    });
}

/// The open networks: a click looks at one, the box compares it, the cross closes it.
pub fn networks_bar(ui: &mut egui::Ui, state: &State, out: &mut Commands) {
    if state.entries.is_empty() {
        return;
    }
    egui::Panel::top("networks").show(ui, |ui| {
        ui.add_space(2.0);
        ui.horizontal_wrapped(|ui| {
            for (index, open) in state.entries.iter().enumerate() {
                let ink = series_colour(index, ui.visuals().dark_mode);
                let chosen = state.look.current == Some(open.id);
                egui::Frame::new()
                    .fill(if chosen { ui.visuals().selection.bg_fill } else { ui.visuals().faint_bg_color })
                    .corner_radius(4)
                    .inner_margin(egui::Margin::symmetric(6, 1))
                    .show(ui, |ui| {
                        ui.spacing_mut().item_spacing.x = 5.0;
                        let mut compared = state.look.compared.contains(&open.id);
                        let tick = ui.checkbox(&mut compared, "").on_hover_text("Compare");
                        tick.widget_info(|| {
                            let text = format!("Compare {}", open.label);
                            egui::WidgetInfo::selected(egui::Role::CheckBox, true, compared, text)
                        });
                        if tick.changed() {
                            out.push(Command::Compare(open.id, compared));
                        }
                        let text = RichText::new(&open.label).color(ink).strong();
                        let name = ui.add(Button::new(text).frame(false)).on_hover_text(tip(open));
                        if name.clicked() {
                            out.push(Command::Select(open.id));
                        }
                        if let Some(epoch) = state.look.epochs.get(&open.id) {
                            ui.label(faint(format!("epoch {epoch}")).small());
                        }
                        let cross = ui.add(Button::new("×").frame(false)).on_hover_text("Close");
                        cross.widget_info(|| {
                            egui::WidgetInfo::labeled(egui::Role::Button, true, format!("Close {}", open.label))
                        });
                        if cross.clicked() {
                            out.push(Command::Close(open.id));
                        }
                    });
            }
        });
        ui.add_space(2.0);
    });
}

fn tip(open: &crate::state::Entry) -> String {
    let mut text = open.path().display().to_string();
    if let Some(name) = open.network_name() {
        text.push_str(&format!("\n{name}"));
    }
    text
}

pub fn status_bar(ui: &mut egui::Ui, state: &State, out: &mut Commands) {
    egui::Panel::bottom("status").show(ui, |ui| {
        ui.horizontal(|ui| {
            for (label, done, all) in state.running.iter().take(2) {
                ui.spinner();
                let text = if *all > 0 { format!("{label}: {done} of {all}") } else { label.clone() };
                ui.label(text);
            }
            if state.running.len() > 2 {
                ui.label(faint(format!("and {} more", state.running.len() - 2)));
            }
            if !state.running.is_empty() && ui.small_button("Cancel").clicked() {
                out.push(Command::Cancel);
            }
            if let Some(message) = state.messages.last() {
                let (_, ink) = level(message.level, ui.visuals().dark_mode);
                let text = egui::Label::new(RichText::new(&message.text).color(ink)).truncate();
                if ui.add(text.sense(egui::Sense::click())).on_hover_text("Show all messages").clicked() {
                    out.push(Command::Show(View::Messages));
                }
            } else {
                ui.label(faint("Ctrl+K: all commands"));
            }
        });
    });
}

/// Over the window while files are dragged onto it.
pub fn drop_hint(ctx: &egui::Context) {
    if ctx.input(|i| i.raw.hovered_files.is_empty()) {
        return;
    }
    let painter = ctx.layer_painter(LayerId::new(Order::Foreground, Id::unique("drop")));
    let rect = ctx.content_rect();
    painter.rect_filled(rect, 0.0, Color32::from_black_alpha(170));
    let font = FontId::proportional(24.0);
    painter.text(rect.center(), Align2::CENTER_CENTER, "Drop to open", font, Color32::WHITE);
}
