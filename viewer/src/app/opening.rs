//! Opens paths that are typed, picked or dropped.

use super::Viewer;
use crate::command::ReadAs;
use crate::jobs::{Lane, Opened, Report, Slot};
use crate::state::{Dialog, Source};
use std::path::PathBuf;

impl Viewer {
    /// Opens what is at these paths, in their order.
    pub fn open_all(&mut self, sources: Vec<Source>) {
        self.state.dialog = Dialog::None;
        for source in sources.iter().filter(|source| !source.path.as_os_str().is_empty()) {
            self.state.settings.remember(source.clone());
        }
        let label = match sources.as_slice() {
            [source] => format!("Opening {}", source.path.display()),
            _ => format!("Opening {} paths", sources.len()),
        };
        let slot = Slot::Find(self.next_number());
        self.jobs.start(slot, Lane::Quick, label, move |link| {
            let mut all = Vec::new();
            for Source { path, model } in sources {
                if path.as_os_str().is_empty() {
                    link.send(Report::Fault("path: got nothing, allowed: a run folder or a weights file".into()));
                    continue;
                }
                match kernelscope_lab::open::find(&path) {
                    Ok(found) => all.extend(found.into_iter().map(|found| Opened { found, model: model.clone() })),
                    Err(error) => link.send(Report::Fault(error.to_string())),
                }
            }
            link.send(Report::Found(all));
            Ok(())
        });
    }

    pub(super) fn pick_files(&mut self) {
        self.pick(|dialog| {
            let kinds = ["safetensors", "pth", "pt", "npy"];
            dialog.add_filter("Weights and matrices", &kinds).add_filter("All files", &["*"]).pick_files()
        });
    }

    pub(super) fn pick_folders(&mut self) {
        self.pick(rfd::FileDialog::pick_folders);
    }

    /// Asks for paths with the system's dialog.
    fn pick(&mut self, ask: fn(rfd::FileDialog) -> Option<Vec<PathBuf>>) {
        self.jobs.start(Slot::Pick, Lane::Quick, "Choosing files", move |link| {
            let picked = ask(rfd::FileDialog::new().set_title("Open")).unwrap_or_default();
            link.send(Report::Picked(picked.into_iter().map(Source::from).collect()));
            Ok(())
        });
    }

    pub(super) fn set_model(&mut self, read: ReadAs) {
        let Some(entry) = self.state.entry_mut(read.entry) else { return };
        entry.model.clone_from(&read.model);
        let path = entry.path().to_path_buf();
        self.state.settings.remember(Source { path, model: read.model });
    }
}
