//! Commands become changes of the state: the only place that does.

use super::Viewer;
use crate::command::Command;
use crate::export;
use crate::jobs::{Lane, Report, Slot};
use crate::state::{Dialog, EntryId, Figure, Level, MOST_COMPARED, default_layout, layout};
use eframe::egui;
use kernelscope::analysis::tree::Address;
use std::path::PathBuf;

impl Viewer {
    /// Does what a command says.
    pub(super) fn apply(&mut self, ctx: &egui::Context, command: Command) {
        match command {
            Command::Open(path, model) => self.open_all(vec![(path, model)]),
            Command::OpenFiles => self.pick(false),
            Command::OpenFolder => self.pick(true),
            Command::SetModel(id, model) => self.set_model(id, model),
            Command::Reload => {
                if let Some(entry) = self.state.look.current.and_then(|id| self.state.entry_mut(id)) {
                    entry.reloads += 1;
                }
            }
            Command::Close(id) => self.remove(id),
            Command::CloseCurrent => self.state.look.current.into_iter().for_each(|id| self.remove(id)),
            Command::CloseAll => {
                let ids: Vec<EntryId> = self.state.entries.iter().map(|entry| entry.id).collect();
                ids.into_iter().for_each(|id| self.remove(id));
            }
            Command::ClearRecent => self.state.settings.recent.clear(),
            Command::Follow => {
                let ids: Vec<EntryId> = self.state.entries.iter().map(|entry| entry.id).collect();
                ids.into_iter().for_each(|id| self.start_follow(id));
            }
            Command::Select(_) | Command::NextEntry | Command::PreviousEntry | Command::Compare(..) => {
                self.choose(&command);
            }
            Command::SetEpoch(_) | Command::NextEpoch | Command::PreviousEpoch => self.set_epoch(&command),
            Command::GoTo(_)
            | Command::NextLayer
            | Command::PreviousLayer
            | Command::NextChannel
            | Command::PreviousChannel
            | Command::Expand(..)
            | Command::ExpandAll
            | Command::CollapseAll => self.go(&command),
            Command::CopyAddress => {
                if let Some(address) = &self.state.look.address {
                    ctx.copy_text(address.to_string());
                    self.state.messages.push(Level::Info, format_args!("Copied {address}"));
                }
            }
            Command::Show(view) => {
                layout::show(&mut self.layout, view);
                self.state.focus = Some(view);
            }
            Command::Hide(view) => layout::close(&mut self.layout, view),
            Command::ResetLayout => self.layout = default_layout(),
            Command::Cancel => {
                let count = self.jobs.cancel_all(None);
                // It would be merged again at once.
                self.state.look.kernels.merged &= self.state.current().is_some_and(|entry| entry.merged.is_some());
                self.state.messages.push(Level::Info, format_args!("Cancelled {count} jobs"));
            }
            Command::Undo | Command::Redo => self.undo_redo(command == Command::Undo),
            Command::ToggleTheme => self.state.settings.dark = !self.state.settings.dark,
            Command::Export(figure, path) => self.export(figure, path),
            Command::CopyCommand => {
                let line = export::command_line(&self.state);
                ctx.copy_text(line.clone());
                self.state.messages.push(Level::Info, format_args!("Copied: {line}"));
            }
            Command::ClearMessages => self.state.messages.clear(),
            Command::CopyMessages => {
                let lines: Vec<&str> = self.state.messages.all().iter().map(|m| m.text.as_str()).collect();
                ctx.copy_text(lines.join("\n"));
            }
            Command::Quit => ctx.send_viewport_cmd(egui::ViewportCommand::Close),
            other => self.dialog_or_look(other),
        }
    }

    fn dialog_or_look(&mut self, command: Command) {
        let look = &mut self.state.look;
        match command {
            Command::OpenTyped => self.state.dialog = Dialog::Open(String::new()),
            Command::GoToTyped => {
                let text = look.address.as_ref().map_or(String::new(), Address::to_string);
                self.state.dialog = Dialog::GoTo(text);
            }
            Command::Palette => self.state.dialog = Dialog::Palette(String::new(), 0),
            Command::Shortcuts => self.state.dialog = Dialog::Shortcuts,
            Command::CloseDialog => self.state.dialog = Dialog::None,
            Command::ExportTyped(figure) => {
                self.state.dialog = Dialog::Export(figure, format!("{}.png", figure.name()));
            }
            Command::ExportFocused => {
                let mut of_view = self.state.focus.into_iter().flat_map(Figure::of);
                let figure = of_view.find(|figure| export::figure(&self.state, *figure).is_ok());
                let figure = figure.unwrap_or(Figure::Erf);
                self.state.dialog = Dialog::Export(figure, format!("{}.png", figure.name()));
            }
            Command::SetKernels(kernels) => look.kernels = kernels,
            Command::SortKernels(sort) => look.kernels.sort = sort,
            Command::ToggleMerged => look.kernels.merged = !look.kernels.merged,
            Command::SetErf(erf) => look.erf = *erf,
            Command::SetTransfer(transfer) => look.erf.transfer = transfer,
            Command::Arrange(arrangement) => look.erf.arrangement = arrangement,
            Command::SetCamera(camera) => look.erf.camera = camera,
            Command::ToggleContours => look.erf.contours = !look.erf.contours,
            Command::ToggleSquares => look.erf.squares = !look.erf.squares,
            Command::ToggleSharedRange => look.erf.shared_range = !look.erf.shared_range,
            Command::Recompute => {
                let ids: Vec<EntryId> = self.state.shown().iter().map(|entry| entry.id).collect();
                for id in ids {
                    if let Some(entry) = self.state.entry_mut(id) {
                        entry.erf_wanted = None;
                    }
                    self.start_erf(id);
                }
            }
            Command::SetBias(bias) => look.bias = bias,
            Command::SetXAxis(axis) => look.x_axis = axis,
            _ => {}
        }
    }

    /// Looks what is at paths, and opens it in their order.
    pub fn open_all(&mut self, paths: Vec<(PathBuf, Option<String>)>) {
        self.state.dialog = Dialog::None;
        for (path, model) in paths.iter().filter(|(path, _)| !path.as_os_str().is_empty()) {
            self.state.settings.remember(path, model.as_deref());
        }
        self.searches += 1;
        let label = match paths.as_slice() {
            [(path, _)] => format!("Opening {}", path.display()),
            _ => format!("Opening {} paths", paths.len()),
        };
        self.jobs.start(Slot::Find(self.searches), Lane::Quick, label, move |link| {
            let mut all = Vec::new();
            for (path, model) in paths {
                if path.as_os_str().is_empty() {
                    link.send(Report::Fault("path: got nothing, allowed: a run folder or a file of weights".into()));
                    continue;
                }
                match kernelscope::open::find(&path) {
                    Ok(found) => all.extend(found.into_iter().map(|found| (found, model.clone()))),
                    Err(error) => link.send(Report::Fault(error.to_string())),
                }
            }
            link.send(Report::Found(all));
            Ok(())
        });
    }

    fn pick(&mut self, folder: bool) {
        self.jobs.start(Slot::Pick, Lane::Quick, "Choosing files", move |link| {
            let dialog = rfd::FileDialog::new().set_title("Open");
            let picked = if folder {
                dialog.pick_folders()
            } else {
                let kinds = ["safetensors", "pth", "pt", "npy"];
                dialog.add_filter("Weights and matrices", &kinds).add_filter("All files", &["*"]).pick_files()
            };
            link.send(Report::Picked(picked.unwrap_or_default()));
            Ok(())
        });
    }

    fn set_model(&mut self, id: EntryId, model: Option<String>) {
        let Some(entry) = self.state.entry_mut(id) else { return };
        entry.model.clone_from(&model);
        let path = entry.path().to_path_buf();
        self.state.settings.remember(&path, model.as_deref());
    }

    fn choose(&mut self, command: &Command) {
        let count = self.state.entries.len();
        match *command {
            Command::Select(id) if self.state.entry(id).is_some() => self.state.look.current = Some(id),
            Command::Compare(id, true) => {
                if self.state.look.compared.len() >= MOST_COMPARED {
                    let text = format!("compared networks: got one more, allowed: at most {MOST_COMPARED}");
                    self.state.messages.push(Level::Error, text);
                } else if self.state.entry(id).is_some() {
                    self.state.look.compared.insert(id);
                }
            }
            Command::Compare(id, false) => drop(self.state.look.compared.remove(&id)),
            Command::NextEntry | Command::PreviousEntry if count > 0 => {
                let index = self.state.look.current.map_or(0, |id| self.state.index_of(id));
                let step = if *command == Command::NextEntry { 1 } else { count - 1 };
                let next = self.state.entries.get((index + step) % count).map(|entry| entry.id);
                self.state.look.current = next.or(self.state.look.current);
            }
            _ => {}
        }
    }

    fn set_epoch(&mut self, command: &Command) {
        let Some(current) = self.state.current() else { return };
        let epochs = current.overview.as_ref().map(|overview| overview.epochs()).unwrap_or_default();
        let chosen = self.state.look.epochs.get(&current.id).copied().or(epochs.last().copied());
        let index = epochs.iter().position(|epoch| Some(*epoch) == chosen).unwrap_or(0);
        let epoch = match command {
            Command::SetEpoch(epoch) => *epoch,
            Command::NextEpoch => epochs.get(index + 1).or(epochs.last()).copied(),
            _ => epochs.get(index.saturating_sub(1)).copied(),
        };
        let ids: Vec<EntryId> = self.state.shown().iter().map(|entry| entry.id).collect();
        for id in ids {
            let has = |epoch: usize| {
                let overview = self.state.entry(id).and_then(|entry| entry.overview.as_ref());
                overview.is_some_and(|overview| overview.epochs().contains(&epoch))
            };
            match epoch {
                None => drop(self.state.look.epochs.remove(&id)),
                Some(epoch) if has(epoch) => drop(self.state.look.epochs.insert(id, epoch)),
                Some(_) => {}
            }
        }
    }

    fn go(&mut self, command: &Command) {
        let Some(current) = self.state.current() else { return };
        let tree = current.facts.tree.clone();
        let address = self.state.look.address.clone();
        match command {
            Command::GoTo(None) => self.state.look.address = None,
            Command::GoTo(Some(address)) => {
                let known = tree.as_ref().map(|tree| tree.check(address));
                // Kernels of weights without a known network can be looked at as well.
                let kernel = current.facts.kernels.iter().any(|layer| layer.path == address.path);
                match known {
                    Some(Err(error)) if !kernel => self.state.messages.push(Level::Error, error),
                    None if !kernel => {
                        self.state
                            .messages
                            .push(Level::Error, format!("address: got {address}, but no layers are known"));
                    }
                    _ => {
                        self.state.dialog = Dialog::None;
                        self.reveal(&address.path);
                        self.state.look.address = Some(address.clone());
                    }
                }
            }
            Command::NextLayer | Command::PreviousLayer => {
                let Some(tree) = tree else { return };
                let paths: Vec<&str> = tree.leaves().iter().map(|leaf| leaf.path.as_str()).collect();
                let place = address.as_ref().map_or("", |address| address.path.as_str());
                let inside = |path: &&str| {
                    path.strip_prefix(place)
                        .is_some_and(|rest| place.is_empty() || rest.is_empty() || rest.starts_with('.'))
                };
                let first = paths.iter().position(inside);
                let whole = first.is_none_or(|index| paths.get(index) != Some(&place));
                let next = match (command, first) {
                    (Command::NextLayer, Some(index)) => index + usize::from(!whole),
                    (_, Some(index)) => index.saturating_sub(1),
                    (_, None) => 0,
                };
                if let Some(path) = paths.get(next.min(paths.len().saturating_sub(1))) {
                    self.reveal(path);
                    self.state.look.address = Some(Address::layer(*path));
                }
            }
            Command::NextChannel | Command::PreviousChannel => {
                let Some((_, layer)) = self.state.kernel_layer(current) else { return };
                let channel = self.state.channel(layer);
                let last = layer.channels.saturating_sub(1);
                let next = match (command, channel) {
                    (_, None) => 0,
                    (Command::NextChannel, Some(channel)) => (channel + 1).min(last),
                    (_, Some(channel)) => channel.saturating_sub(1),
                };
                let address = Address::layer(layer.path.clone()).with_channel(next);
                self.state.look.address = Some(address);
            }
            Command::Expand(path, open) => {
                let expanded = &mut self.state.look.expanded;
                let _ = if *open { expanded.insert(path.clone()) } else { expanded.remove(path) };
            }
            Command::CollapseAll => self.state.look.expanded.clear(),
            Command::ExpandAll => {
                let leaves = tree.iter().flat_map(|tree| tree.leaves()).map(|leaf| leaf.path.clone());
                leaves.collect::<Vec<_>>().iter().for_each(|path| self.reveal(path));
            }
            _ => {}
        }
    }

    /// Shows the insides of all modules around a path.
    pub fn reveal(&mut self, path: &str) {
        let mut place = path;
        while let Some((outer, _)) = place.rsplit_once('.') {
            self.state.look.expanded.insert(outer.to_string());
            place = outer;
        }
    }

    fn undo_redo(&mut self, back: bool) {
        // What was changed since the last step is a step of its own.
        self.undo.note(&self.state.look, true);
        let Some(mut look) = (if back { self.undo.undo() } else { self.undo.redo() }) else { return };
        let open = |id: &EntryId| self.state.entry(*id).is_some();
        look.compared.retain(open);
        look.epochs.retain(|id, _| open(id));
        look.current = look.current.filter(open).or(self.state.entries.first().map(|entry| entry.id));
        self.undo.rebase(&look);
        self.state.look = look;
    }

    fn export(&mut self, figure: Figure, path: PathBuf) {
        self.state.dialog = Dialog::None;
        match export::figure(&self.state, figure) {
            Ok(figure) => {
                let label = format!("Writing {}", path.display());
                self.searches += 1;
                self.jobs.start(Slot::Export(self.searches), Lane::Quick, label, move |link| {
                    figure.write(&path)?;
                    link.send(Report::Written(path));
                    Ok(())
                });
            }
            Err(message) => self.state.messages.push(Level::Error, message),
        }
    }
}
