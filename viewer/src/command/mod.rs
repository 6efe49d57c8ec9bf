//! Everything that can be done. Menus, palette, shortcuts, views and tests emit commands, and one place applies them
//! (`app/apply.rs`).
//!
//! A command is declared once, below, and described by one row in `about.rs`. The palette, the menus, the list of
//! shortcuts and the tests all follow from these two places.

mod about;

pub use about::{About, Menu, Place};

use crate::state::listed::listed;
use crate::state::{
    Arrangement, Camera, Entry, EntryId, Figure, Images, KernelSort, Source, State, Transfer, View, XAxis,
};
use kernelscope::analysis::tree::Address;
use std::path::PathBuf;

/// Which network to read weights as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadAs {
    /// The weights.
    pub entry: EntryId,
    /// Name of the network; the one that the file names if `None`.
    pub model: Option<String>,
}

/// Where to write a figure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The figure.
    pub figure: Figure,
    /// The file.
    pub path: PathBuf,
}

/// One of the thresholds of receptive fields.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Threshold {
    /// Which of them.
    pub index: usize,
    /// Share of the contribution.
    pub share: f64,
}

/// The commands of one kind: the command alone, or the command with each of several values.
macro_rules! offered {
    ($name:ident) => {
        vec![Command::$name]
    };
    ($name:ident ($type:ty) from $values:expr) => {{
        let values: Vec<$type> = $values.into_iter().collect();
        values.into_iter().map(Command::$name).collect()
    }};
}

/// Declares the commands. `from` lists the values with which a command is offered in menus and the palette. The list is
/// empty for a command whose value only a view can provide.
macro_rules! commands {
    (|$state:ident| $($(#[$doc:meta])* $name:ident $(($type:ty) from $values:expr)?,)*) => {
        /// One thing to do.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Command {
            $($(#[$doc])* $name $(($type))?,)*
        }

        listed! {
            /// A command without its value.
            #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
            pub enum Kind {
                $($(#[$doc])* $name,)*
            }
        }

        impl Command {
            /// Its kind.
            pub fn kind(&self) -> Kind {
                match self {
                    $(Command::$name { .. } => Kind::$name,)*
                }
            }
        }

        impl Kind {
            /// The commands of this kind that can be chosen from a list.
            pub fn offered(self, $state: &State) -> Vec<Command> {
                match self {
                    $(Kind::$name => offered!($name $(($type) from $values)?),)*
                }
            }
        }
    };
}

// Menus and the palette list them in this order. Each edit changes one field, so that two edits in one frame both count.
commands! { |state|
    /// Shows the dialog to type a path.
    OpenTyped,
    /// Shows the system's dialog for files.
    OpenFiles,
    /// Shows the system's dialog for folders.
    OpenFolder,
    /// Shows the palette.
    Palette,
    /// Shows the dialog to type an address.
    GoToTyped,
    /// Selects the whole network.
    GoToWhole,
    /// Selects the next layer.
    NextLayer,
    /// Selects the previous layer.
    PreviousLayer,
    /// Selects the next channel.
    NextChannel,
    /// Selects the previous channel.
    PreviousChannel,
    /// Copies the address.
    CopyAddress,
    /// Expands all modules.
    ExpandAll,
    /// Collapses all modules.
    CollapseAll,
    /// Selects the next entry.
    NextEntry,
    /// Selects the previous entry.
    PreviousEntry,
    /// Shows the next checkpoint.
    NextEpoch,
    /// Shows the previous checkpoint.
    PreviousEpoch,
    /// Shows the newest checkpoint of all compared runs.
    ShowNewest,
    /// Reads the current entry again.
    Reload,
    /// Checks whether runs have progressed.
    Follow,
    /// Closes the current entry.
    CloseCurrent,
    /// Closes all entries.
    CloseAll,
    /// Switches between kernels as trained and those of the form for inference.
    ToggleMerged,
    /// Colors of receptive fields.
    SetTransfer(Transfer) from Transfer::ALL,
    /// How several receptive fields are shown.
    Arrange(Arrangement) from Arrangement::ALL,
    /// Shows the whole image of receptive fields.
    ShowWholeImage,
    /// Turns contours on or off.
    ToggleContours,
    /// Turns squares on or off.
    ToggleSquares,
    /// Turns one color range for all receptive fields on or off.
    ToggleSharedRange,
    /// Computes receptive fields again.
    Recompute,
    /// What training curves are drawn over.
    SetXAxis(XAxis) from XAxis::ALL,
    /// Cancels all jobs.
    Cancel,
    /// Undoes the last change of what is being looked at.
    Undo,
    /// Redoes what was undone.
    Redo,
    /// Shows the dialog to export the view that was used last.
    ExportFocused,
    /// Copies the command line that shows the same thing.
    CopyCommand,
    /// Switches between dark and light colors.
    ToggleTheme,
    /// Restores the default arrangement of views.
    ResetLayout,
    /// Shows the list of shortcuts.
    Shortcuts,
    /// Closes the dialog.
    CloseDialog,
    /// Clears the list of recent paths.
    ClearRecent,
    /// Removes all messages.
    ClearMessages,
    /// Copies all messages.
    CopyMessages,
    /// Ends the program.
    Quit,
    /// Order of kernels.
    SortKernels(KernelSort) from KernelSort::ALL,
    /// Brings a view to the front.
    Show(View) from View::ALL,
    /// Closes a view.
    Hide(View) from View::ALL,
    /// Shows the dialog to export a figure.
    ExportTyped(Figure) from Figure::ALL,
    /// Turns separate color ranges for each kernel on or off.
    ToggleOwnRange,
    /// Switches between receptive fields and the input image.
    ToggleInput,
    /// Turns computing receptive fields as soon as something changes on or off.
    ToggleLive,
    /// Opens what is at a path.
    Open(Source) from state.settings.recent.clone(),
    /// Shows the checkpoint of an epoch in all compared runs that have it.
    SetEpoch(usize) from state.current().map(Entry::epochs).unwrap_or_default(),
    /// Selects a layer or channel.
    GoTo(Address) from state.current().map(Entry::layers).unwrap_or_default(),

    /// Chooses the network that an entry is read as.
    SetModel(ReadAs) from [],
    /// Selects an entry.
    Select(EntryId) from [],
    /// Compares an entry.
    Compare(EntryId) from [],
    /// Leaves an entry out of comparisons.
    LeaveOut(EntryId) from [],
    /// Closes an entry.
    Close(EntryId) from [],
    /// Expands a module.
    Expand(String) from [],
    /// Collapses a module.
    Collapse(String) from [],
    /// Writes a figure, or its data, to a file.
    Export(Target) from [],
    /// Side of a kernel in points.
    SetKernelSide(f32) from [],
    /// Stage of receptive fields; the last if `None`.
    SetStage(Option<usize>) from [None],
    /// Row and column of receptive fields; the center if `None`.
    SetPosition(Option<(usize, usize)>) from [None],
    /// Side of the images for receptive fields.
    SetSize(usize) from [],
    /// Number of images for receptive fields.
    SetImages(usize) from [],
    /// Which images receptive fields are computed from.
    SetSource(Images) from [Images::Own],
    /// Exponent of power-law colors.
    SetGamma(f64) from [],
    /// A threshold of receptive fields.
    SetThreshold(Threshold) from [],
    /// Position of the border between two receptive fields.
    SetSwipe(f32) from [],
    /// The visible part of the image.
    SetCamera(Camera) from [],
    /// Number of built-in cue-conflict images.
    SetConflicts(usize) from [],
    /// Folder of cue-conflict images; the built-in ones if `None`.
    SetStimuli(Option<PathBuf>) from [None],
    /// Category whose cue-conflict images are shown; all if `None`.
    SetCategory(Option<usize>) from [None],
    /// Cue-conflict image that is shown enlarged; none if `None`.
    SetConflict(Option<usize>) from [],
}

impl Command {
    /// All commands that can be chosen from a list, in the order of their declaration.
    pub fn offered(state: &State) -> Vec<Command> {
        Kind::ALL.into_iter().flat_map(|kind| kind.offered(state)).collect()
    }

    /// What the palette offers: everything except the palette itself.
    pub fn palette(state: &State) -> Vec<Command> {
        let mut all = Command::offered(state);
        all.retain(|command| !matches!(command, Command::Palette | Command::CloseDialog));
        all
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

    /// Shows a value that can be edited, and adds a command with the new value if it was.
    pub fn edit<T: Clone + PartialEq>(
        &mut self,
        value: &T,
        show: impl FnOnce(&mut T),
        command: impl FnOnce(T) -> Command,
    ) {
        let mut edited = value.clone();
        show(&mut edited);
        if edited != *value {
            self.push(command(edited));
        }
    }

    /// Takes all commands.
    pub fn take(&mut self) -> Vec<Command> {
        std::mem::take(&mut self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eframe::egui::KeyboardShortcut;

    #[test]
    fn shortcuts_are_different() {
        let offered = Command::offered(&State::default());
        let all: Vec<KeyboardShortcut> = offered.iter().filter_map(Command::shortcut).collect();
        for (index, shortcut) in all.iter().enumerate() {
            assert!(!all[..index].contains(shortcut), "{shortcut:?}");
        }
        assert!(all.len() > 20);
    }

    #[test]
    fn names_are_different() {
        let mut names: Vec<String> = Command::offered(&State::default()).iter().map(Command::name).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn a_command_without_a_value_is_always_offered() {
        let offered = Kind::Reload.offered(&State::default());
        assert_eq!(offered, [Command::Reload]);
        assert!(Kind::Open.offered(&State::default()).is_empty());
        assert_eq!(Kind::Show.offered(&State::default()).len(), View::ALL.len());
    }
}
