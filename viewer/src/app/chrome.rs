//! The menu bar, the bar of open networks and the status bar.

use crate::command::{Command, Commands, Menu};
use crate::state::{Entry, Progress, Running, State, View};
use crate::views::messages::level;
use crate::widgets::{faint, series_color};
use eframe::egui::{self, Align2, Button, Color32, FontId, Id, LayerId, Order, RichText};

fn item(ui: &mut egui::Ui, state: &State, command: Command, out: &mut Commands) {
    let about = command.about();
    let mut button = Button::new(about.name.as_ref());
    if let Some(shortcut) = about.shortcut {
        button = button.shortcut_text(ui.ctx().format_shortcut(&shortcut));
    }
    if ui.add_enabled(command.is_enabled(state), button).clicked() {
        out.push(command);
        ui.close();
    }
}

pub fn menu_bar(ui: &mut egui::Ui, state: &State, out: &mut Commands) {
    egui::Panel::top("menu").show(ui, |ui| {
        egui::MenuBar::new().ui(ui, |ui| {
            for menu in Menu::ALL.into_iter().filter(|menu| menu.outer().is_none()) {
                ui.menu_button(menu.title(), |ui| items(ui, state, menu, out));
            }
        });
    });
}

/// An item of a menu.
enum Item {
    Command(Command),
    Menu(Menu),
}

/// Shows the commands of a menu and the menus inside it, with lines between the groups.
fn items(ui: &mut egui::Ui, state: &State, menu: Menu, out: &mut Commands) {
    let mut all: Vec<(u8, Item)> = Vec::new();
    for command in Command::offered(state) {
        let place = command.about().places.into_iter().find(|place| place.menu == menu);
        all.extend(place.map(|place| (place.group, Item::Command(command))));
    }
    for inner in Menu::ALL {
        let place = inner.outer().filter(|place| place.menu == menu);
        all.extend(place.map(|place| (place.group, Item::Menu(inner))));
    }
    all.sort_by_key(|(group, _)| *group);
    let mut last = None;
    for (group, item_of_menu) in all {
        if last.is_some_and(|last| last != group) {
            ui.separator();
        }
        last = Some(group);
        match item_of_menu {
            Item::Command(command) => item(ui, state, command, out),
            Item::Menu(inner) => drop(ui.menu_button(inner.title(), |ui| items(ui, state, inner, out))),
        }
    }
}

/// The open networks: a click selects one, the checkbox compares it, the cross closes it.
pub fn networks_bar(ui: &mut egui::Ui, state: &State, out: &mut Commands) {
    if state.entries.is_empty() {
        return;
    }
    egui::Panel::top("networks").show(ui, |ui| {
        ui.add_space(2.0);
        ui.horizontal_wrapped(|ui| {
            for (index, open) in state.entries.iter().enumerate() {
                let ink = series_color(index, ui.visuals().dark_mode);
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
                            out.push(if compared { Command::Compare(open.id) } else { Command::LeaveOut(open.id) });
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

fn tip(open: &Entry) -> String {
    let mut text = open.path().display().to_string();
    if let Some(name) = open.network_name() {
        text.push_str(&format!("\n{name}"));
    }
    text
}

pub fn status_bar(ui: &mut egui::Ui, state: &State, out: &mut Commands) {
    egui::Panel::bottom("status").show(ui, |ui| {
        ui.horizontal(|ui| {
            for Running { label, progress: Progress { done, all } } in state.running.iter().take(2) {
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

/// Covers the window while files are dragged over it.
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
