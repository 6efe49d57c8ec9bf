//! What is open and what is being looked at. Views read it; only commands and the results of jobs change it.

mod dialog;
mod entry;
mod figure;
mod id;
pub mod layout;
pub(crate) mod listed;
mod look;
mod messages;
mod progress;
mod settings;
mod source;
mod undo;
mod view;

pub use dialog::Dialog;
pub use entry::{BiasResult, Entry, ErfResult, Merged, OpenKey};
pub use figure::Figure;
pub use id::EntryId;
pub use layout::{Pane, default_layout};
pub use look::{
    Arrangement, BiasKey, BiasLook, Camera, ErfKey, ErfLook, Images, KernelLook, KernelSort, Look, MOST_COMPARED,
    Transfer, XAxis,
};
pub use messages::{Level, Message, Messages};
pub use progress::{Progress, Running};
pub use settings::Settings;
pub use source::Source;
pub use undo::Undo;
pub use view::View;

use kernelscope::analysis::report::KernelLayer;
use kernelscope::analysis::tree::Address;

/// Everything that is shown.
#[derive(Default)]
pub struct State {
    /// What is open, in the order in which it was opened.
    pub entries: Vec<Entry>,
    /// What is being looked at; this is what undo covers.
    pub look: Look,
    /// Earlier looks, and those that were undone.
    pub undo: Undo,
    /// What is remembered between sessions.
    pub settings: Settings,
    /// What was reported.
    pub messages: Messages,
    /// The open dialog.
    pub dialog: Dialog,
    /// The view that was used last; export and "Copy as command" refer to it.
    pub focus: Option<View>,
    /// Jobs in progress.
    pub running: Vec<Running>,
    /// Epoch at which runs are shown when they are opened; the newest if `None`.
    pub first_epoch: Option<usize>,
    /// Number for the next entry.
    pub(crate) next_entry: u64,
}

impl State {
    /// A number for a new entry.
    pub fn new_id(&mut self) -> EntryId {
        self.next_entry += 1;
        EntryId(self.next_entry)
    }

    /// The entry that is looked at.
    pub fn current(&self) -> Option<&Entry> {
        self.look.current.and_then(|id| self.entry(id))
    }

    /// An entry.
    pub fn entry(&self, id: EntryId) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.id == id)
    }

    /// An entry.
    pub fn entry_mut(&mut self, id: EntryId) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.id == id)
    }

    /// Position of an entry in the list, which decides its color.
    pub fn index_of(&self, id: EntryId) -> usize {
        self.entries.iter().position(|entry| entry.id == id).unwrap_or(0)
    }

    /// The current entry and those compared with it, in the order of the list, at most [`MOST_COMPARED`].
    pub fn shown(&self) -> Vec<&Entry> {
        let mut shown: Vec<&Entry> =
            self.entries.iter().filter(|entry| self.look.compared.contains(&entry.id)).collect();
        shown.truncate(MOST_COMPARED);
        if let Some(current) = self.current()
            && !shown.iter().any(|entry| entry.id == current.id)
        {
            shown.truncate(MOST_COMPARED - 1);
            shown.push(current);
            shown.sort_by_key(|entry| self.index_of(entry.id));
        }
        shown
    }

    /// The kernel layer that the address refers to in an entry: the layer itself, or the first one inside the module.
    pub fn kernel_layer<'a>(&self, entry: &'a Entry) -> Option<(usize, &'a KernelLayer)> {
        let layers = entry.kernels(self.look.kernels.merged);
        let mut place = self.look.address.as_ref().map_or("", |address| address.path.as_str());
        loop {
            let inside = |layer: &KernelLayer| {
                let rest = layer.path.strip_prefix(place);
                place.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            };
            match layers.iter().position(inside) {
                Some(index) => return layers.get(index).map(|layer| (index, layer)),
                None if place.is_empty() => return None,
                // A layer without kernels, such as a norm, belongs to the block around it.
                None => place = place.rsplit_once('.').map_or("", |(outer, _)| outer),
            }
        }
    }

    /// The channel that the address names, if it is a channel of this layer.
    pub fn channel(&self, layer: &KernelLayer) -> Option<usize> {
        let address: &Address = self.look.address.as_ref()?;
        address.channel.filter(|&channel| address.holds(&layer.path) && channel < layer.channels)
    }
}
