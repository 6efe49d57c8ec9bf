//! Everything that can be done. Menus, palette, shortcuts, views and tests emit commands, and one place applies them
//! (`app/apply.rs`).
//!
//! A command is declared once, below, and has a row in the table of `about.rs`. From these two it comes into the
//! palette, the menus, the list of shortcuts and the tests.

mod about;

pub use about::{About, Menu, Place};

use crate::state::listed::listed;
use crate::state::{
    Arrangement, Camera, Entry, EntryId, Figure, Images, KernelSort, Source, State, Transfer, View, XAxis,
};
use kernelscope::analysis::tree::Address;
use std::path::PathBuf;

/// The network that weights are read as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadAs {
    /// The weights.
    pub entry: EntryId,
    /// Name of the network; the one that the file names if `None`.
    pub model: Option<String>,
}

/// Where a figure is written.
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

/// The commands of one kind: itself, or with each of some values.
macro_rules! offered {
    ($name:ident) => {
        vec![Command::$name]
    };
    ($name:ident ($type:ty) from $values:expr) => {{
        let values: Vec<$type> = $values.into_iter().collect();
        values.into_iter().map(Command::$name).collect()
    }};
}

/// Declares the commands. `from` says with which values a command is offered in lists; one whose value only a view can
/// give is offered `from []`.
macro_rules! commands {
    (|$state:ident| $($(#[$doc:meta])* $name:ident $(($type:ty) from $values:expr)?,)*) => {
        /// One thing to do.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Command {
            $($(#[$doc])* $name $(($type))?,)*
        }

        listed! {
            /// What a command does, without the value that it does it with.
            #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
            pub enum Kind {
                $($(#[$doc])* $name,)*
            }
        }

        impl Command {
            /// What it does.
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

// In the order in which they are listed. Every edit changes one field, so that two edits in one frame both count.
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
    /// Looks at the whole network.
    GoToWhole,
    /// Looks at the next layer.
    NextLayer,
    /// Looks at the previous layer.
    PreviousLayer,
    /// Looks at the next channel.
    NextChannel,
    /// Looks at the previous channel.
    PreviousChannel,
    /// Copies the address.
    CopyAddress,
    /// Shows the insides of all modules.
    ExpandAll,
    /// Shows the insides of no module.
    CollapseAll,
    /// Looks at the next entry.
    NextEntry,
    /// Looks at the previous entry.
    PreviousEntry,
    /// Shows the next checkpoint.
    NextEpoch,
    /// Shows the previous checkpoint.
    PreviousEpoch,
    /// Shows the newest checkpoint of all compared runs.
    ShowNewest,
    /// Reads the current entry again.
    Reload,
    /// Looks whether runs went on.
    Follow,
    /// Closes the current entry.
    CloseCurrent,
    /// Closes all entries.
    CloseAll,
    /// Shows kernels of the form for inference, or no longer.
    ToggleMerged,
    /// Colors of receptive fields.
    SetTransfer(Transfer) from Transfer::ALL,
    /// How several receptive fields are shown.
    Arrange(Arrangement) from Arrangement::ALL,
    /// Shows the whole image of receptive fields.
    ShowWholeImage,
    /// Draws contours, or no longer.
    ToggleContours,
    /// Draws squares, or no longer.
    ToggleSquares,
    /// One color range for all receptive fields, or no longer.
    ToggleSharedRange,
    /// Computes receptive fields again.
    Recompute,
    /// What training curves are drawn over.
    SetXAxis(XAxis) from XAxis::ALL,
    /// Cancels all jobs.
    Cancel,
    /// Undoes the last change of what is looked at.
    Undo,
    /// Does it again.
    Redo,
    /// Shows the dialog to export the view that was used last.
    ExportFocused,
    /// Copies the command that shows the same.
    CopyCommand,
    /// Dark or light.
    ToggleTheme,
    /// Puts all views back.
    ResetLayout,
    /// Shows the list of shortcuts.
    Shortcuts,
    /// Closes the dialog.
    CloseDialog,
    /// Forgets the recent paths.
    ClearRecent,
    /// Forgets all messages.
    ClearMessages,
    /// Copies all messages.
    CopyMessages,
    /// Ends the program.
    Quit,
    /// Order of kernels.
    SortKernels(KernelSort) from KernelSort::ALL,
    /// Brings a view to the front.
    Show(View) from View::ALL,
    /// Takes a view away.
    Hide(View) from View::ALL,
    /// Shows the dialog to export a figure.
    ExportTyped(Figure) from Figure::ALL,
    /// A color range for each kernel, or no longer.
    ToggleOwnRange,
    /// Shows the input image in place of receptive fields, or no longer.
    ToggleInput,
    /// Computes receptive fields as soon as something changes, or no longer.
    ToggleLive,
    /// Opens what is at a path.
    Open(Source) from state.settings.recent.clone(),
    /// Shows the checkpoint of an epoch in all compared runs that have it.
    SetEpoch(usize) from state.current().map(Entry::epochs).unwrap_or_default(),
    /// Looks at a layer or channel.
    GoTo(Address) from state.current().map(Entry::layers).unwrap_or_default(),

    /// Names the network of an entry.
    SetModel(ReadAs) from [],
    /// Looks at an entry.
    Select(EntryId) from [],
    /// Compares an entry.
    Compare(EntryId) from [],
    /// Leaves an entry out of comparisons.
    LeaveOut(EntryId) from [],
    /// Closes an entry.
    Close(EntryId) from [],
    /// Shows the insides of a module.
    Expand(String) from [],
    /// Hides the insides of a module.
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
    /// Which images receptive fields are computed of.
    SetSource(Images) from [Images::Own],
    /// Exponent of power-law colors.
    SetGamma(f64) from [],
    /// A threshold of receptive fields.
    SetThreshold(Threshold) from [],
    /// Where the border between two receptive fields is.
    SetSwipe(f32) from [],
    /// The part of the image that is seen.
    SetCamera(Camera) from [],
    /// Number of built-in cue-conflict images.
    SetConflicts(usize) from [],
    /// Folder of cue-conflict images; the built-in ones if `None`.
    SetStimuli(Option<PathBuf>) from [None],
    /// Category whose cue-conflict images are shown; all if `None`.
    SetCategory(Option<usize>) from [None],
    /// Cue-conflict image that is shown large.
    SetConflict(Option<usize>) from [],
}

impl Command {
    /// All commands that can be chosen from a list, in the order of their declaration.
    pub fn offered(state: &State) -> Vec<Command> {
        Kind::ALL.into_iter().flat_map(|kind| kind.offered(state)).collect()
    }

    /// What the palette offers: all but what concerns the palette itself.
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

    /// Shows a value that can be edited, and adds the command that edits it if it was.
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
