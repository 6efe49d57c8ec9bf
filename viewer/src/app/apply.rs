//! Applies commands to the state. Nothing else does.

use super::Viewer;
use super::step::Step;
use crate::command::{Command, Target, Threshold};
use crate::export;
use crate::jobs::{Lane, Report, Slot};
use crate::state::{Camera, Dialog, EntryId, Figure, Level, Look, MOST_COMPARED, default_layout, layout};
use eframe::egui;
use kernelscope::analysis::tree::Address;

impl Viewer {
    /// Does what a command says. There is no catch-all, so that a new command does not compile until it is handled.
    pub(super) fn apply(&mut self, ctx: &egui::Context, command: Command) {
        let look = &mut self.state.look;
        match command {
            Command::OpenTyped => self.state.dialog = Dialog::Open(String::new()),
            Command::OpenFiles => self.pick_files(),
            Command::OpenFolder => self.pick_folders(),
            Command::Open(source) => self.open_all(vec![source]),
            Command::ClearRecent => self.state.settings.recent.clear(),
            Command::SetModel(read) => self.set_model(read),
            Command::Reload => self.reload(),
            Command::Follow => self.entry_ids().into_iter().for_each(|id| self.start_follow(id)),
            Command::Close(id) => self.remove(id),
            Command::CloseCurrent => look.current.into_iter().for_each(|id| self.remove(id)),
            Command::CloseAll => self.entry_ids().into_iter().for_each(|id| self.remove(id)),
            Command::ExportFocused => self.ask_for_focused(),
            Command::ExportTyped(figure) => self.ask_for_file(figure),
            Command::Export(target) => self.export(target),
            Command::CopyCommand => self.copy_command(ctx),
            Command::Quit => ctx.send_viewport_cmd(egui::ViewportCommand::Close),

            Command::Undo => self.undo(),
            Command::Redo => self.redo(),
            Command::Palette => self.state.dialog = Dialog::Palette { query: String::new(), chosen: 0 },
            Command::CopyAddress => self.copy_address(ctx),

            Command::GoToTyped => {
                let text = look.address.as_ref().map_or(String::new(), Address::to_string);
                self.state.dialog = Dialog::GoTo(text);
            }
            Command::GoToWhole => look.address = None,
            Command::GoTo(address) => self.go_to(address),
            Command::NextLayer => self.step_layer(Step::Next),
            Command::PreviousLayer => self.step_layer(Step::Previous),
            Command::NextChannel => self.step_channel(Step::Next),
            Command::PreviousChannel => self.step_channel(Step::Previous),
            Command::ExpandAll => self.expand_all(),
            Command::CollapseAll => look.expanded.clear(),
            Command::Expand(path) => drop(look.expanded.insert(path)),
            Command::Collapse(path) => drop(look.expanded.remove(&path)),
            Command::NextEntry => self.step_entry(Step::Next),
            Command::PreviousEntry => self.step_entry(Step::Previous),
            Command::Select(id) => self.select(id),
            Command::Compare(id) => self.compare(id),
            Command::LeaveOut(id) => drop(look.compared.remove(&id)),
            Command::NextEpoch => self.step_epoch(Step::Next),
            Command::PreviousEpoch => self.step_epoch(Step::Previous),
            Command::ShowNewest => self.show_newest(),
            Command::SetEpoch(epoch) => self.show_epoch(epoch),

            Command::Show(view) => {
                layout::show(&mut self.layout, view);
                self.state.focus = Some(view);
            }
            Command::Hide(view) => layout::close(&mut self.layout, view),
            Command::ResetLayout => self.layout = default_layout(),
            Command::ToggleTheme => self.state.settings.dark = !self.state.settings.dark,

            Command::Recompute => self.recompute(),
            Command::Cancel => self.cancel(),
            Command::ToggleLive => look.erf.live = !look.erf.live,
            Command::SetTransfer(transfer) => look.erf.transfer = transfer,
            Command::SetGamma(gamma) => look.erf.gamma = gamma,
            Command::SetThreshold(Threshold { index, share }) => {
                if let Some(threshold) = look.erf.thresholds.get_mut(index) {
                    *threshold = share;
                }
            }
            Command::Arrange(arrangement) => look.erf.arrangement = arrangement,
            Command::SetSwipe(swipe) => look.erf.swipe = swipe,
            Command::SetCamera(camera) => look.erf.camera = camera,
            Command::ShowWholeImage => look.erf.camera = Camera::default(),
            Command::ToggleSquares => look.erf.squares = !look.erf.squares,
            Command::ToggleContours => look.erf.contours = !look.erf.contours,
            Command::ToggleInput => look.erf.input = !look.erf.input,
            Command::ToggleSharedRange => look.erf.shared_range = !look.erf.shared_range,
            Command::SetStage(stage) => {
                // A position belongs to one stage.
                look.erf.position = look.erf.position.filter(|_| stage == look.erf.stage);
                look.erf.stage = stage;
            }
            Command::SetPosition(position) => look.erf.position = position,
            Command::SetSource(source) => look.erf.source = source,
            Command::SetSize(size) => look.erf.size = size,
            Command::SetImages(images) => look.erf.images = images,
            Command::ToggleMerged => look.kernels.merged = !look.kernels.merged,
            Command::ToggleOwnRange => look.kernels.own_range = !look.kernels.own_range,
            Command::SortKernels(sort) => look.kernels.sort = sort,
            Command::SetKernelSide(side) => look.kernels.side = side,
            Command::SetStimuli(stimuli) => look.bias.stimuli = stimuli,
            Command::SetConflicts(images) => look.bias.images = images,
            Command::SetCategory(category) => {
                // The enlarged image belongs to one category.
                look.bias.image = look.bias.image.filter(|_| category == look.bias.category);
                look.bias.category = category;
            }
            Command::SetConflict(image) => look.bias.image = image,
            Command::SetXAxis(axis) => look.x_axis = axis,

            Command::Shortcuts => self.state.dialog = Dialog::Shortcuts,
            Command::ClearMessages => self.state.messages.clear(),
            Command::CopyMessages => {
                let lines: Vec<&str> = self.state.messages.all().iter().map(|m| m.text.as_str()).collect();
                ctx.copy_text(lines.join("\n"));
            }
            Command::CloseDialog => self.state.dialog = Dialog::None,
        }
    }

    fn entry_ids(&self) -> Vec<EntryId> {
        self.state.entries.iter().map(|entry| entry.id).collect()
    }

    fn reload(&mut self) {
        if let Some(entry) = self.state.look.current.and_then(|id| self.state.entry_mut(id)) {
            entry.reloads += 1;
        }
    }

    fn select(&mut self, id: EntryId) {
        if self.state.entry(id).is_some() {
            self.state.look.current = Some(id);
        }
    }

    fn compare(&mut self, id: EntryId) {
        if self.state.look.compared.len() >= MOST_COMPARED {
            let text = format!("compared networks: got one more, allowed: at most {MOST_COMPARED}");
            self.state.messages.push(Level::Error, text);
        } else if self.state.entry(id).is_some() {
            self.state.look.compared.insert(id);
        }
    }

    fn copy_address(&mut self, ctx: &egui::Context) {
        if let Some(address) = &self.state.look.address {
            ctx.copy_text(address.to_string());
            self.state.messages.push(Level::Info, format_args!("Copied {address}"));
        }
    }

    fn copy_command(&mut self, ctx: &egui::Context) {
        let line = export::command_line(&self.state);
        ctx.copy_text(line.clone());
        self.state.messages.push(Level::Info, format_args!("Copied: {line}"));
    }

    fn recompute(&mut self) {
        for id in self.shown_ids() {
            if let Some(entry) = self.state.entry_mut(id) {
                entry.erf_wanted = None;
            }
            self.start_erf(id);
        }
    }

    fn cancel(&mut self) {
        let count = self.jobs.cancel_all(None);
        // Otherwise merging would start again right away.
        self.state.look.kernels.merged &= self.state.current().is_some_and(|entry| entry.merged.is_some());
        self.state.messages.push(Level::Info, format_args!("Canceled {count} jobs"));
    }

    fn undo(&mut self) {
        // Changes since the last step are a step of their own.
        self.state.undo.note(&self.state.look, true);
        if let Some(look) = self.state.undo.undo() {
            self.look_at(look);
        }
    }

    fn redo(&mut self) {
        self.state.undo.note(&self.state.look, true);
        if let Some(look) = self.state.undo.redo() {
            self.look_at(look);
        }
    }

    /// Returns to an earlier look, without what has been closed since.
    fn look_at(&mut self, mut look: Look) {
        let open = |id: &EntryId| self.state.entry(*id).is_some();
        look.compared.retain(open);
        look.epochs.retain(|id, _| open(id));
        look.current = look.current.filter(open).or(self.state.entries.first().map(|entry| entry.id));
        self.state.undo.rebase(&look);
        self.state.look = look;
    }

    fn ask_for_focused(&mut self) {
        let mut of_view = self.state.focus.into_iter().flat_map(Figure::of);
        let figure = of_view.find(|figure| export::figure(&self.state, *figure).is_ok());
        self.ask_for_file(figure.unwrap_or(Figure::Erf));
    }

    fn ask_for_file(&mut self, figure: Figure) {
        self.state.dialog = Dialog::Export(figure, format!("{}.png", figure.name()));
    }

    fn export(&mut self, target: Target) {
        self.state.dialog = Dialog::None;
        match export::figure(&self.state, target.figure) {
            Ok(figure) => {
                let label = format!("Writing {}", target.path.display());
                let slot = Slot::Export(self.next_number());
                self.jobs.start(slot, Lane::Quick, label, move |link| {
                    figure.write(&target.path)?;
                    link.send(Report::Written(target.path));
                    Ok(())
                });
            }
            Err(message) => self.state.messages.push(Level::Error, message),
        }
    }
}
