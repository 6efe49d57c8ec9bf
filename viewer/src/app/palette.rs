//! The command palette: a few letters find any command.

use crate::command::{Command, Commands};
use crate::state::{Dialog, Level, State};
use crate::widgets::faint;
use eframe::egui::{self, Align2, Area, Id, Key, Modal, Order, TextEdit};
use nucleo_matcher::pattern::{CaseMatching, Normalization, Pattern};
use nucleo_matcher::{Config, Matcher, Utf32Str};

/// Maximum number of results that are shown.
const MOST: usize = 14;

/// The commands that match a query, best first. An empty query matches all commands, in their usual order.
pub fn matches(state: &State, query: &str) -> Vec<Command> {
    let all = Command::palette(state);
    if query.trim().is_empty() {
        return all;
    }
    let mut matcher = Matcher::new(Config::DEFAULT);
    let pattern = Pattern::parse(query, CaseMatching::Ignore, Normalization::Smart);
    let mut buffer = Vec::new();
    let mut scored: Vec<(u32, usize, Command)> = all
        .into_iter()
        .enumerate()
        .filter_map(|(index, command)| {
            let name = command.name();
            let score = pattern.score(Utf32Str::new(&name, &mut buffer), &mut matcher)?;
            Some((score, index, command))
        })
        .collect();
    // Commands that are available come before those that are not.
    scored.sort_by_key(|(score, index, command)| (!command.is_enabled(state), u32::MAX - score, *index));
    scored.into_iter().map(|(_, _, command)| command).collect()
}

/// Shows the palette if it is open.
pub fn show(ctx: &egui::Context, state: &mut State, out: &mut Commands) {
    let Dialog::Palette { mut query, mut chosen } = state.dialog.clone() else { return };
    let found = matches(state, &query);
    let (down, up, enter) =
        ctx.input(|i| (i.key_pressed(Key::ArrowDown), i.key_pressed(Key::ArrowUp), i.key_pressed(Key::Enter)));
    if down {
        chosen += 1;
    }
    chosen = chosen.saturating_sub(usize::from(up)).min(found.len().saturating_sub(1));
    let mut run = enter.then(|| found.get(chosen).cloned()).flatten();
    let place = Area::new(Id::unique("palette area")).order(Order::Foreground).anchor(Align2::CENTER_TOP, [0.0, 70.0]);
    let modal = Modal::new(Id::unique("palette")).area(place).show(ctx, |ui| {
        ui.set_width(480.0);
        let label = ui.label(faint("Commands").small());
        let field =
            TextEdit::singleline(&mut query).hint_text("Type a command, a layer, or a path").desired_width(480.0);
        let response = ui.add(field).labelled_by(label.id);
        response.request_focus();
        if response.changed() {
            chosen = 0;
        }
        let first = chosen.saturating_sub(MOST - 1);
        for (index, command) in found.iter().enumerate().skip(first).take(MOST) {
            let enabled = command.is_enabled(state);
            ui.horizontal(|ui| {
                ui.set_width(480.0);
                let text = egui::RichText::new(command.name());
                let text = if enabled { text } else { text.weak() };
                if ui.selectable_label(index == chosen, text).clicked() {
                    run = Some(command.clone());
                }
                if let Some(shortcut) = command.shortcut() {
                    ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
                        ui.label(faint(ui.ctx().format_shortcut(&shortcut)).small());
                    });
                }
            });
        }
        if found.is_empty() {
            ui.label(faint("Nothing found"));
        } else if found.len() > MOST {
            ui.label(faint(format!("{} of {}", MOST.min(found.len()), found.len())).small());
        }
    });
    state.dialog = Dialog::Palette { query, chosen };
    match run {
        Some(command) if command.is_enabled(state) => {
            state.dialog = Dialog::None;
            out.push(command);
        }
        Some(command) => {
            let text = format!("{}: not available right now", command.name());
            state.messages.push(Level::Info, text);
            state.dialog = Dialog::None;
        }
        None if modal.should_close() => state.dialog = Dialog::None,
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_letters_find_a_command() {
        let state = State::default();
        let best = |query: &str| matches(&state, query).first().map(Command::name);
        assert_eq!(best("open folder").as_deref(), Some("Open folder…"));
        assert_eq!(best("short").as_deref(), Some("Keyboard shortcuts"));
        assert_eq!(best("rcpfld log").as_deref(), Some("Receptive field: logarithmic colors"));
        assert!(matches(&state, "qqqqzzzz").is_empty());
        assert!(matches(&state, "").len() > 50);
    }
}
