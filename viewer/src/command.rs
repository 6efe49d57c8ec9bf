//! Everything that can be done. Menus, palette, shortcuts, views and tests emit these, and one place applies them
//! (`app/apply.rs`).

use crate::state::{
    Arrangement, BiasLook, Camera, Dialog, EntryId, ErfLook, Figure, KernelLook, KernelSort, State, Transfer, View,
    XAxis,
};
use eframe::egui::{Key, KeyboardShortcut, Modifiers};
use kernelscope::analysis::tree::Address;
use std::path::PathBuf;

/// One thing to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Opens a path, with the network of a file that does not say.
    Open(PathBuf, Option<String>),
    /// Shows the dialogue to type a path.
    OpenTyped,
    /// Shows the system's dialogue for files.
    OpenFiles,
    /// Shows the system's dialogue for folders.
    OpenFolder,
    /// Names the network of an entry.
    SetModel(EntryId, Option<String>),
    /// Reads the current entry again.
    Reload,
    /// Closes an entry.
    Close(EntryId),
    /// Closes the current entry.
    CloseCurrent,
    /// Closes all entries.
    CloseAll,
    /// Forgets the recent paths.
    ClearRecent,
    /// Looks whether runs went on.
    Follow,

    /// Looks at an entry.
    Select(EntryId),
    /// Looks at the next entry.
    NextEntry,
    /// Looks at the previous entry.
    PreviousEntry,
    /// Compares an entry, or no longer.
    Compare(EntryId, bool),
    /// Shows the checkpoint of an epoch in all compared runs that have it; the newest if `None`.
    SetEpoch(Option<usize>),
    /// Shows the next checkpoint.
    NextEpoch,
    /// Shows the previous checkpoint.
    PreviousEpoch,

    /// Looks at a layer or channel; at the whole network if `None`.
    GoTo(Option<Address>),
    /// Shows the dialogue to type an address.
    GoToTyped,
    /// Looks at the next layer.
    NextLayer,
    /// Looks at the previous layer.
    PreviousLayer,
    /// Looks at the next channel.
    NextChannel,
    /// Looks at the previous channel.
    PreviousChannel,
    /// Shows the insides of a module, or no longer.
    Expand(String, bool),
    /// Shows the insides of all modules.
    ExpandAll,
    /// Shows the insides of no module.
    CollapseAll,
    /// Copies the address.
    CopyAddress,

    /// Brings a view to the front.
    Show(View),
    /// Takes a view away.
    Hide(View),
    /// Puts all views back.
    ResetLayout,

    /// How kernels are shown.
    SetKernels(KernelLook),
    /// Order of kernels.
    SortKernels(KernelSort),
    /// Shows the form for inference, or no longer.
    ToggleMerged,
    /// How receptive fields are computed and shown.
    SetErf(Box<ErfLook>),
    /// Colours of receptive fields.
    SetTransfer(Transfer),
    /// How several receptive fields are shown.
    Arrange(Arrangement),
    /// The part of the image that is seen.
    SetCamera(Camera),
    /// Draws contours, or no longer.
    ToggleContours,
    /// Draws squares, or no longer.
    ToggleSquares,
    /// One colour range for all fields, or no longer.
    ToggleSharedRange,
    /// Computes receptive fields again.
    Recompute,
    /// What is chosen in the shape-bias view.
    SetBias(BiasLook),
    /// What training curves are drawn over.
    SetXAxis(XAxis),

    /// Cancels all jobs.
    Cancel,
    /// Undoes the last change of what is looked at.
    Undo,
    /// Does it again.
    Redo,
    /// Shows the palette.
    Palette,
    /// Shows the list of shortcuts.
    Shortcuts,
    /// Closes the dialogue.
    CloseDialog,
    /// Dark or light.
    ToggleTheme,
    /// Shows the dialogue to export a figure.
    ExportTyped(Figure),
    /// Shows the dialogue to export the view that was used last.
    ExportFocused,
    /// Writes a figure, or its data, to a file.
    Export(Figure, PathBuf),
    /// Copies the command that shows the same.
    CopyCommand,
    /// Forgets all messages.
    ClearMessages,
    /// Copies all messages.
    CopyMessages,
    /// Ends the program.
    Quit,
}

const CTRL: Modifiers = Modifiers::COMMAND;
const CTRL_SHIFT: Modifiers = Modifiers { shift: true, ..Modifiers::COMMAND };
const ALT: Modifiers = Modifiers::ALT;

impl Command {
    /// What it does, in a few words; for the palette and menus.
    pub fn name(&self) -> String {
        let text = match self {
            Command::Open(path, None) => return format!("Open {}", path.display()),
            Command::Open(path, Some(model)) => return format!("Open {} as {model}", path.display()),
            Command::OpenTyped => "Open path…",
            Command::OpenFiles => "Open files…",
            Command::OpenFolder => "Open folder…",
            Command::SetModel(_, Some(model)) => return format!("Read as {model}"),
            Command::SetModel(_, None) => "Read as the file says",
            Command::Reload => "Reload network",
            Command::Close(_) => "Close network",
            Command::CloseCurrent => "Close this network",
            Command::CloseAll => "Close all networks",
            Command::ClearRecent => "Clear recent paths",
            Command::Follow => "Refresh runs",
            Command::Select(_) => "Look at network",
            Command::NextEntry => "Next network",
            Command::PreviousEntry => "Previous network",
            Command::Compare(_, true) => "Compare network",
            Command::Compare(_, false) => "Leave network out of comparisons",
            Command::SetEpoch(Some(epoch)) => return format!("Show epoch {epoch}"),
            Command::SetEpoch(None) => "Show newest checkpoint",
            Command::NextEpoch => "Next checkpoint",
            Command::PreviousEpoch => "Previous checkpoint",
            Command::GoTo(Some(address)) => return format!("Go to {address}"),
            Command::GoTo(None) => "Go to the whole network",
            Command::GoToTyped => "Go to address…",
            Command::NextLayer => "Next layer",
            Command::PreviousLayer => "Previous layer",
            Command::NextChannel => "Next channel",
            Command::PreviousChannel => "Previous channel",
            Command::Expand(path, true) => return format!("Expand {path}"),
            Command::Expand(path, false) => return format!("Collapse {path}"),
            Command::ExpandAll => "Expand all modules",
            Command::CollapseAll => "Collapse all modules",
            Command::CopyAddress => "Copy address",
            Command::Show(view) => return format!("Show {}", view.title().to_lowercase()),
            Command::Hide(view) => return format!("Hide {}", view.title().to_lowercase()),
            Command::ResetLayout => "Reset layout",
            Command::SetKernels(_) => "Change kernels",
            Command::SortKernels(sort) => return format!("Sort kernels by {}", sort.name()),
            Command::ToggleMerged => "Kernels: as trained / merged for inference",
            Command::SetErf(_) => "Change receptive field",
            Command::SetTransfer(Transfer::Log) => "Receptive field: logarithmic colours",
            Command::SetTransfer(Transfer::Linear) => "Receptive field: linear colours",
            Command::SetTransfer(Transfer::Power) => "Receptive field: power-law colours",
            Command::Arrange(Arrangement::Side) => "Receptive field: side by side",
            Command::Arrange(Arrangement::Swipe) => "Receptive field: swipe",
            Command::Arrange(Arrangement::Difference) => "Receptive field: difference",
            Command::SetCamera(_) => "Receptive field: whole image",
            Command::ToggleContours => "Receptive field: contours",
            Command::ToggleSquares => "Receptive field: squares",
            Command::ToggleSharedRange => "Receptive field: shared colour range",
            Command::Recompute => "Receptive field: compute again",
            Command::SetBias(_) => "Change shape bias",
            Command::SetXAxis(XAxis::Epoch) => "Training curves over epochs",
            Command::SetXAxis(XAxis::Step) => "Training curves over steps",
            Command::Cancel => "Cancel running work",
            Command::Undo => "Undo",
            Command::Redo => "Redo",
            Command::Palette => "Command palette",
            Command::Shortcuts => "Keyboard shortcuts",
            Command::CloseDialog => "Close dialogue",
            Command::ToggleTheme => "Dark / light colours",
            Command::ExportTyped(figure) => return format!("Export {}…", figure.title()),
            Command::ExportFocused => "Export figure…",
            Command::Export(_, path) => return format!("Write {}", path.display()),
            Command::CopyCommand => "Copy as command",
            Command::ClearMessages => "Clear messages",
            Command::CopyMessages => "Copy messages",
            Command::Quit => "Quit",
        };
        text.to_string()
    }

    /// Its keys.
    pub fn shortcut(&self) -> Option<KeyboardShortcut> {
        let (modifiers, key) = match self {
            Command::OpenTyped => (CTRL, Key::O),
            Command::OpenFiles => (CTRL_SHIFT, Key::O),
            Command::Reload => (Modifiers::NONE, Key::F5),
            Command::CloseCurrent => (CTRL, Key::W),
            Command::NextEntry => (CTRL, Key::PageDown),
            Command::PreviousEntry => (CTRL, Key::PageUp),
            Command::NextEpoch => (CTRL, Key::ArrowRight),
            Command::PreviousEpoch => (CTRL, Key::ArrowLeft),
            Command::GoToTyped => (CTRL, Key::L),
            Command::NextLayer => (ALT, Key::ArrowDown),
            Command::PreviousLayer => (ALT, Key::ArrowUp),
            Command::NextChannel => (ALT, Key::ArrowRight),
            Command::PreviousChannel => (ALT, Key::ArrowLeft),
            Command::CopyAddress => (CTRL_SHIFT, Key::A),
            Command::Show(view) => {
                let keys = [Key::Num1, Key::Num2, Key::Num3, Key::Num4, Key::Num5, Key::Num6, Key::Num7, Key::Num8];
                let index = View::ALL.iter().position(|known| known == view)?;
                (CTRL, *keys.get(index)?)
            }
            Command::Cancel => (CTRL, Key::Period),
            Command::Undo => (CTRL, Key::Z),
            Command::Redo => (CTRL_SHIFT, Key::Z),
            Command::Palette => (CTRL, Key::K),
            Command::Shortcuts => (Modifiers::NONE, Key::F1),
            Command::CloseDialog => (Modifiers::NONE, Key::Escape),
            Command::ToggleTheme => (CTRL_SHIFT, Key::D),
            Command::ExportFocused => (CTRL, Key::E),
            Command::CopyCommand => (CTRL_SHIFT, Key::C),
            Command::Quit => (CTRL, Key::Q),
            _ => return None,
        };
        Some(KeyboardShortcut::new(modifiers, key))
    }

    /// The commands that need nothing chosen beforehand: all that have a shortcut, and more.
    pub fn general() -> Vec<Command> {
        let mut all = vec![
            Command::OpenTyped,
            Command::OpenFiles,
            Command::OpenFolder,
            Command::Palette,
            Command::GoToTyped,
            Command::GoTo(None),
            Command::NextLayer,
            Command::PreviousLayer,
            Command::NextChannel,
            Command::PreviousChannel,
            Command::CopyAddress,
            Command::ExpandAll,
            Command::CollapseAll,
            Command::NextEntry,
            Command::PreviousEntry,
            Command::NextEpoch,
            Command::PreviousEpoch,
            Command::SetEpoch(None),
            Command::Reload,
            Command::Follow,
            Command::CloseCurrent,
            Command::CloseAll,
            Command::ToggleMerged,
            Command::SetTransfer(Transfer::Log),
            Command::SetTransfer(Transfer::Linear),
            Command::SetTransfer(Transfer::Power),
            Command::Arrange(Arrangement::Side),
            Command::Arrange(Arrangement::Swipe),
            Command::Arrange(Arrangement::Difference),
            Command::SetCamera(Camera::default()),
            Command::ToggleContours,
            Command::ToggleSquares,
            Command::ToggleSharedRange,
            Command::Recompute,
            Command::SetXAxis(XAxis::Epoch),
            Command::SetXAxis(XAxis::Step),
            Command::Cancel,
            Command::Undo,
            Command::Redo,
            Command::ExportFocused,
            Command::CopyCommand,
            Command::ToggleTheme,
            Command::ResetLayout,
            Command::Shortcuts,
            Command::CloseDialog,
            Command::ClearRecent,
            Command::ClearMessages,
            Command::CopyMessages,
            Command::Quit,
        ];
        all.extend(KernelSort::ALL.map(Command::SortKernels));
        all.extend(View::ALL.map(Command::Show));
        all.extend(View::ALL.map(Command::Hide));
        all.extend(Figure::ALL.map(Command::ExportTyped));
        all
    }

    /// What the palette offers: the general commands, recent paths, open networks, epochs and layers.
    pub fn palette(state: &State) -> Vec<Command> {
        let mut all = Command::general();
        all.retain(|command| !matches!(command, Command::Palette | Command::CloseDialog));
        all.extend(state.settings.recent.iter().map(|(path, model)| Command::Open(path.clone(), model.clone())));
        if let Some(current) = state.current() {
            let epochs = current.overview.iter().flat_map(|overview| overview.epochs());
            all.extend(epochs.map(|epoch| Command::SetEpoch(Some(epoch))));
            let leaves = current.facts.tree.iter().flat_map(|tree| tree.leaves());
            all.extend(leaves.map(|leaf| Command::GoTo(Some(Address::layer(leaf.path.clone())))));
        }
        all
    }

    /// Whether it can do something now; the others are grey.
    pub fn is_enabled(&self, state: &State) -> bool {
        let current = state.current();
        let epochs = || current.and_then(|entry| entry.overview.as_ref()).is_some_and(|o| !o.checkpoints.is_empty());
        match self {
            Command::Reload | Command::CloseCurrent | Command::CopyCommand | Command::ExportFocused => {
                current.is_some()
            }
            Command::ExportTyped(_) | Command::Recompute => current.is_some(),
            Command::CloseAll | Command::Follow => !state.entries.is_empty(),
            Command::NextEntry | Command::PreviousEntry => state.entries.len() > 1,
            Command::NextEpoch | Command::PreviousEpoch | Command::SetEpoch(_) => epochs(),
            Command::NextLayer | Command::PreviousLayer | Command::ExpandAll | Command::CollapseAll => {
                current.is_some_and(|entry| entry.facts.tree.is_some())
            }
            Command::NextChannel | Command::PreviousChannel => {
                current.is_some_and(|entry| state.kernel_layer(entry).is_some())
            }
            Command::GoToTyped => current.is_some(),
            Command::CopyAddress | Command::GoTo(None) => state.look.address.is_some(),
            Command::Cancel => !state.running.is_empty(),
            Command::CloseDialog => state.dialog != Dialog::None,
            Command::ClearRecent => !state.settings.recent.is_empty(),
            Command::ClearMessages | Command::CopyMessages => !state.messages.all().is_empty(),
            _ => true,
        }
    }
}

/// Commands that were emitted in a frame.
#[derive(Debug, Default)]
pub struct Commands(Vec<Command>);

impl Commands {
    /// Adds a command.
    pub fn push(&mut self, command: Command) {
        self.0.push(command);
    }

    /// Takes all commands.
    pub fn take(&mut self) -> Vec<Command> {
        std::mem::take(&mut self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shortcuts_are_different() {
        let all: Vec<KeyboardShortcut> = Command::general().iter().filter_map(Command::shortcut).collect();
        for (index, shortcut) in all.iter().enumerate() {
            assert!(!all[..index].contains(shortcut), "{shortcut:?}");
        }
        assert!(all.len() > 20);
    }

    #[test]
    fn names_are_different() {
        let mut names: Vec<String> = Command::general().iter().map(Command::name).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
