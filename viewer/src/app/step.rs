//! Moves between networks, checkpoints, layers and channels.

use super::Viewer;
use crate::state::{EntryId, Level};
use kernelscope::analysis::tree::Address;

/// A direction in a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Next,
    Previous,
}

impl Step {
    /// The neighboring index in a list that does not wrap around.
    fn beside(self, index: usize, count: usize) -> usize {
        match self {
            Step::Next => (index + 1).min(count.saturating_sub(1)),
            Step::Previous => index.saturating_sub(1),
        }
    }
}

impl Viewer {
    pub(super) fn step_entry(&mut self, step: Step) {
        let count = self.state.entries.len();
        let index = self.state.look.current.map_or(0, |id| self.state.index_of(id));
        // The list wraps around.
        let next = match step {
            Step::Next => (index + 1).checked_rem(count),
            Step::Previous => (index + count).checked_sub(1).and_then(|index| index.checked_rem(count)),
        };
        let next = next.and_then(|index| self.state.entries.get(index)).map(|entry| entry.id);
        self.state.look.current = next.or(self.state.look.current);
    }

    pub(super) fn step_epoch(&mut self, step: Step) {
        let Some(current) = self.state.current() else { return };
        let epochs = current.epochs();
        let chosen = self.state.look.epochs.get(&current.id).copied().or(epochs.last().copied());
        let index = epochs.iter().position(|epoch| Some(*epoch) == chosen).unwrap_or(0);
        match epochs.get(step.beside(index, epochs.len())) {
            Some(epoch) => self.show_epoch(*epoch),
            None => self.show_newest(),
        }
    }

    pub(super) fn show_newest(&mut self) {
        for id in self.shown_ids() {
            self.state.look.epochs.remove(&id);
        }
    }

    /// Shows the checkpoint of an epoch in all shown runs that have it.
    pub(super) fn show_epoch(&mut self, epoch: usize) {
        for id in self.shown_ids() {
            if self.state.entry(id).is_some_and(|entry| entry.epochs().contains(&epoch)) {
                self.state.look.epochs.insert(id, epoch);
            }
        }
    }

    pub(super) fn shown_ids(&self) -> Vec<EntryId> {
        self.state.shown().iter().map(|entry| entry.id).collect()
    }

    /// Selects the layer or channel at an address, if there is one.
    pub(super) fn go_to(&mut self, address: Address) {
        let Some(current) = self.state.current() else { return };
        let known = current.facts.tree.as_ref().map(|tree| tree.check(&address));
        // Kernels of an unknown network can be selected as well.
        let kernel = current.facts.kernels.iter().any(|layer| layer.path == address.path);
        match known {
            Some(Err(error)) if !kernel => self.state.messages.push(Level::Error, error),
            None if !kernel => {
                let text = format!("address: got {address}, but no layers are known");
                self.state.messages.push(Level::Error, text);
            }
            Some(_) | None => {
                self.state.dialog = crate::state::Dialog::None;
                self.reveal(&address.path);
                self.state.look.address = Some(address);
            }
        }
    }

    pub(super) fn step_layer(&mut self, step: Step) {
        let Some(current) = self.state.current().filter(|entry| entry.facts.tree.is_some()) else { return };
        let paths: Vec<String> = current.layers().into_iter().map(|address| address.path).collect();
        let place = self.state.look.address.as_ref().map_or("", |address| address.path.as_str());
        let inside = |path: &String| {
            let rest = path.strip_prefix(place);
            rest.is_some_and(|rest| place.is_empty() || rest.is_empty() || rest.starts_with('.'))
        };
        let first = paths.iter().position(inside);
        let next = match (step, first) {
            // From a module, the next layer is the first one inside.
            (Step::Next, Some(index)) if paths.get(index).is_some_and(|path| path != place) => index,
            (_, Some(index)) => step.beside(index, paths.len()),
            (_, None) => 0,
        };
        if let Some(path) = paths.get(next) {
            self.reveal(path);
            self.state.look.address = Some(Address::layer(path.clone()));
        }
    }

    pub(super) fn step_channel(&mut self, step: Step) {
        let Some((_, layer)) = self.state.current().and_then(|entry| self.state.kernel_layer(entry)) else { return };
        let next = self.state.channel(layer).map_or(0, |channel| step.beside(channel, layer.channels));
        let address = Address::layer(layer.path.clone()).with_channel(next);
        self.state.look.address = Some(address);
    }

    pub(super) fn expand_all(&mut self) {
        let layers = self.state.current().map(|entry| entry.layers()).unwrap_or_default();
        layers.iter().for_each(|address| self.reveal(&address.path));
    }

    /// Expands all modules around a path.
    pub fn reveal(&mut self, path: &str) {
        let mut place = path;
        while let Some((outer, _)) = place.rsplit_once('.') {
            self.state.look.expanded.insert(outer.to_string());
            place = outer;
        }
    }
}
