//! Describes commands: their names, menus and keys, and what they need.

use super::Command;
use crate::state::listed::listed;
use crate::state::{Arrangement, Dialog, Images, State, Transfer, View, XAxis};
use eframe::egui::{Key, KeyboardShortcut, Modifiers};
use std::borrow::Cow;

listed! {
    /// The menus.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Menu {
        /// Opening, closing and exporting.
        File,
        /// Inside the file menu: recent paths.
        Recent,
        /// Inside the file menu: all figures.
        Export,
        /// Undo and the like.
        Edit,
        /// Moving between networks, checkpoints and layers.
        Go,
        /// Views and themes.
        View,
        /// What is computed, and how it is shown.
        Analysis,
        /// Help and messages.
        Help,
    }
}

impl Menu {
    /// Its title.
    pub fn title(self) -> &'static str {
        match self {
            Menu::File => "File",
            Menu::Recent => "Recent",
            Menu::Export => "Export",
            Menu::Edit => "Edit",
            Menu::Go => "Go",
            Menu::View => "View",
            Menu::Analysis => "Analysis",
            Menu::Help => "Help",
        }
    }

    /// Its place inside another menu; `None` in the menu bar.
    pub fn outer(self) -> Option<Place> {
        match self {
            Menu::Recent => Some(Place { menu: Menu::File, group: 0 }),
            Menu::Export => Some(Place { menu: Menu::File, group: 2 }),
            Menu::File | Menu::Edit | Menu::Go | Menu::View | Menu::Analysis | Menu::Help => None,
        }
    }

    /// A command in this menu. Lines separate the groups.
    fn item(self, group: u8, name: impl Into<Cow<'static, str>>) -> About {
        unlisted(name).also(self, group)
    }
}

/// A place in a menu.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The menu.
    pub menu: Menu,
    /// Number of the group in it.
    pub group: u8,
}

/// The description of a command.
pub struct About {
    /// What it does, in a few words; for the palette and menus.
    pub name: Cow<'static, str>,
    /// Its places in menus.
    pub places: Vec<Place>,
    /// Its keys.
    pub shortcut: Option<KeyboardShortcut>,
    /// Whether it can do anything right now.
    needs: fn(&State) -> bool,
}

/// A command that is not in any menu.
fn unlisted(name: impl Into<Cow<'static, str>>) -> About {
    About { name: name.into(), places: Vec::new(), shortcut: None, needs: |_| true }
}

impl About {
    fn also(mut self, menu: Menu, group: u8) -> Self {
        self.places.push(Place { menu, group });
        self
    }

    fn keys(self, modifiers: Modifiers, key: Key) -> Self {
        About { shortcut: Some(KeyboardShortcut::new(modifiers, key)), ..self }
    }

    fn needs(self, needs: fn(&State) -> bool) -> Self {
        About { needs, ..self }
    }
}

fn network(state: &State) -> bool {
    state.current().is_some()
}

fn networks(state: &State) -> bool {
    !state.entries.is_empty()
}

fn other_networks(state: &State) -> bool {
    state.entries.len() > 1
}

fn checkpoints(state: &State) -> bool {
    state.current().is_some_and(|entry| !entry.epochs().is_empty())
}

fn tree(state: &State) -> bool {
    state.current().is_some_and(|entry| entry.facts.tree.is_some())
}

fn kernels(state: &State) -> bool {
    state.current().is_some_and(|entry| state.kernel_layer(entry).is_some())
}

fn address(state: &State) -> bool {
    state.look.address.is_some()
}

fn messages(state: &State) -> bool {
    !state.messages.all().is_empty()
}

const NONE: Modifiers = Modifiers::NONE;
const CTRL: Modifiers = Modifiers::COMMAND;
const CTRL_SHIFT: Modifiers = Modifiers { shift: true, ..Modifiers::COMMAND };
const ALT: Modifiers = Modifiers::ALT;

/// The keys that show the views, in the order of the views.
const DIGITS: [Key; View::ALL.len()] =
    [Key::Num1, Key::Num2, Key::Num3, Key::Num4, Key::Num5, Key::Num6, Key::Num7, Key::Num8];

impl Command {
    /// Its description. Every row says whether the command is in a menu; keys and needs are optional.
    pub fn about(&self) -> About {
        match self {
            Command::OpenTyped => Menu::File.item(0, "Open path…").keys(CTRL, Key::O),
            Command::OpenFiles => Menu::File.item(0, "Open files…").keys(CTRL_SHIFT, Key::O),
            Command::OpenFolder => Menu::File.item(0, "Open folder…"),
            Command::Open(source) => Menu::Recent.item(0, format!("Open {source}")),
            Command::ClearRecent => {
                Menu::Recent.item(1, "Clear recent paths").needs(|state| !state.settings.recent.is_empty())
            }
            Command::SetModel(read) => match &read.model {
                Some(model) => unlisted(format!("Read as {model}")),
                None => unlisted("Read as the file says"),
            },
            Command::Reload => Menu::File.item(1, "Reload network").keys(NONE, Key::F5).needs(network),
            Command::Follow => Menu::File.item(1, "Refresh runs").needs(networks),
            Command::Close(_) => unlisted("Close network"),
            Command::CloseCurrent => Menu::File.item(1, "Close this network").keys(CTRL, Key::W).needs(network),
            Command::CloseAll => Menu::File.item(1, "Close all networks").needs(networks),
            Command::ExportFocused => Menu::File.item(2, "Export figure…").keys(CTRL, Key::E).needs(network),
            Command::ExportTyped(figure) => Menu::Export.item(0, format!("Export {}…", figure.title())).needs(network),
            Command::Export(target) => unlisted(format!("Write {}", target.path.display())),
            Command::CopyCommand => Menu::File.item(2, "Copy as command").keys(CTRL_SHIFT, Key::C).needs(network),
            Command::Quit => Menu::File.item(3, "Quit").keys(CTRL, Key::Q),

            Command::Undo => {
                Menu::Edit.item(0, "Undo").keys(CTRL, Key::Z).needs(|state| state.undo.can_undo(&state.look))
            }
            Command::Redo => Menu::Edit.item(0, "Redo").keys(CTRL_SHIFT, Key::Z).needs(|state| state.undo.can_redo()),
            Command::Palette => Menu::Edit.item(1, "Command palette").keys(CTRL, Key::K),
            Command::CopyAddress => Menu::Edit.item(1, "Copy address").keys(CTRL_SHIFT, Key::A).needs(address),

            Command::GoToTyped => Menu::Go.item(0, "Go to address…").keys(CTRL, Key::L).needs(network),
            Command::GoToWhole => Menu::Go.item(0, "Go to the whole network").needs(address),
            Command::GoTo(address) => unlisted(format!("Go to {address}")),
            Command::NextLayer => Menu::Go.item(0, "Next layer").keys(ALT, Key::ArrowDown).needs(tree),
            Command::PreviousLayer => Menu::Go.item(0, "Previous layer").keys(ALT, Key::ArrowUp).needs(tree),
            Command::NextChannel => Menu::Go.item(0, "Next channel").keys(ALT, Key::ArrowRight).needs(kernels),
            Command::PreviousChannel => Menu::Go.item(0, "Previous channel").keys(ALT, Key::ArrowLeft).needs(kernels),
            Command::ExpandAll => Menu::Go.item(0, "Expand all modules").needs(tree),
            Command::CollapseAll => Menu::Go.item(0, "Collapse all modules").needs(tree),
            Command::Expand(path) => unlisted(format!("Expand {path}")),
            Command::Collapse(path) => unlisted(format!("Collapse {path}")),
            Command::NextEntry => Menu::Go.item(1, "Next network").keys(CTRL, Key::PageDown).needs(other_networks),
            Command::PreviousEntry => {
                Menu::Go.item(1, "Previous network").keys(CTRL, Key::PageUp).needs(other_networks)
            }
            Command::Select(_) => unlisted("Select network"),
            Command::Compare(_) => unlisted("Compare network"),
            Command::LeaveOut(_) => unlisted("Exclude network from comparisons"),
            Command::NextEpoch => Menu::Go.item(2, "Next checkpoint").keys(CTRL, Key::ArrowRight).needs(checkpoints),
            Command::PreviousEpoch => {
                Menu::Go.item(2, "Previous checkpoint").keys(CTRL, Key::ArrowLeft).needs(checkpoints)
            }
            Command::ShowNewest => Menu::Go.item(2, "Show the newest checkpoint").needs(checkpoints),
            Command::SetEpoch(epoch) => unlisted(format!("Show epoch {epoch}")).needs(checkpoints),

            Command::Show(view) => {
                let digit = DIGITS.get(*view as usize).map(|digit| KeyboardShortcut::new(CTRL, *digit));
                let name = format!("Show {}", view.title().to_lowercase());
                let shown = About { shortcut: digit, ..Menu::View.item(0, name) };
                if *view == View::Messages { shown.also(Menu::Help, 0) } else { shown }
            }
            Command::Hide(view) => unlisted(format!("Hide {}", view.title().to_lowercase())),
            Command::ResetLayout => Menu::View.item(1, "Reset layout"),
            Command::ToggleTheme => Menu::View.item(1, "Dark / light colors").keys(CTRL_SHIFT, Key::D),

            Command::Recompute => Menu::Analysis.item(0, "Receptive field: recompute").needs(network),
            Command::Cancel => {
                let running = |state: &State| !state.running.is_empty();
                Menu::Analysis.item(0, "Cancel running work").keys(CTRL, Key::Period).needs(running)
            }
            Command::ToggleLive => Menu::Analysis.item(0, "Receptive field: compute changes immediately"),
            Command::SetTransfer(transfer) => Menu::Analysis.item(
                1,
                match transfer {
                    Transfer::Log => "Receptive field: logarithmic colors",
                    Transfer::Linear => "Receptive field: linear colors",
                    Transfer::Power => "Receptive field: power-law colors",
                },
            ),
            Command::Arrange(arrangement) => Menu::Analysis.item(
                1,
                match arrangement {
                    Arrangement::Side => "Receptive field: side by side",
                    Arrangement::Swipe => "Receptive field: swipe",
                    Arrangement::Difference => "Receptive field: difference",
                },
            ),
            Command::ToggleSquares => Menu::Analysis.item(1, "Receptive field: squares"),
            Command::ToggleContours => Menu::Analysis.item(1, "Receptive field: contours"),
            Command::ToggleInput => Menu::Analysis.item(1, "Receptive field: input image"),
            Command::ToggleSharedRange => Menu::Analysis.item(1, "Receptive field: shared color range"),
            Command::ShowWholeImage => Menu::Analysis.item(1, "Receptive field: whole image"),
            Command::SetStage(None) => unlisted("Receptive field: last stage"),
            Command::SetStage(Some(stage)) => unlisted(format!("Receptive field: stage {stage}")),
            Command::SetPosition(None) => unlisted("Receptive field: central position"),
            Command::SetPosition(Some((row, column))) => {
                unlisted(format!("Receptive field: row {row}, column {column}"))
            }
            Command::SetSource(Images::Own) => unlisted("Receptive field: own images"),
            Command::SetSource(Images::Path(path)) => {
                unlisted(format!("Receptive field: images of {}", path.display()))
            }
            Command::SetSize(size) => unlisted(format!("Receptive field: images of {size} pixels")),
            Command::SetImages(images) => unlisted(format!("Receptive field: {images} images")),
            Command::SetGamma(gamma) => unlisted(format!("Receptive field: exponent {gamma}")),
            Command::SetThreshold(threshold) => unlisted(format!("Receptive field: threshold {}", threshold.index + 1)),
            Command::SetSwipe(_) => unlisted("Receptive field: border of the swipe"),
            Command::SetCamera(_) => unlisted("Receptive field: part of the image"),
            Command::ToggleMerged => Menu::Analysis.item(2, "Kernels: as trained / merged for inference"),
            Command::ToggleOwnRange => Menu::Analysis.item(2, "Kernels: own color ranges"),
            Command::SortKernels(sort) => Menu::Analysis.item(2, format!("Sort kernels by {}", sort.name())),
            Command::SetKernelSide(side) => unlisted(format!("Kernels: {side} points wide")),
            Command::SetStimuli(None) => unlisted("Shape bias: built-in images"),
            Command::SetStimuli(Some(path)) => unlisted(format!("Shape bias: images of {}", path.display())),
            Command::SetConflicts(images) => unlisted(format!("Shape bias: {images} images")),
            Command::SetCategory(None) => unlisted("Shape bias: all categories"),
            Command::SetCategory(Some(category)) => unlisted(format!("Shape bias: category {category}")),
            Command::SetConflict(None) => unlisted("Shape bias: no image"),
            Command::SetConflict(Some(image)) => unlisted(format!("Shape bias: image {image}")),
            Command::SetXAxis(XAxis::Epoch) => Menu::Analysis.item(3, "Training curves over epochs"),
            Command::SetXAxis(XAxis::Step) => Menu::Analysis.item(3, "Training curves over steps"),

            Command::Shortcuts => Menu::Help.item(0, "Keyboard shortcuts").keys(NONE, Key::F1),
            Command::ClearMessages => Menu::Help.item(0, "Clear messages").needs(messages),
            Command::CopyMessages => Menu::Help.item(0, "Copy messages").needs(messages),
            Command::CloseDialog => {
                unlisted("Close dialog").keys(NONE, Key::Escape).needs(|state| state.dialog != Dialog::None)
            }
        }
    }

    /// What it does, in a few words.
    pub fn name(&self) -> String {
        self.about().name.into_owned()
    }

    /// Its keys.
    pub fn shortcut(&self) -> Option<KeyboardShortcut> {
        self.about().shortcut
    }

    /// Whether it can do anything right now; otherwise it is grayed out.
    pub fn is_enabled(&self, state: &State) -> bool {
        (self.about().needs)(state)
    }
}
