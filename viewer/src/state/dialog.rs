//! The dialogs.

use super::figure::Figure;

/// A dialog over the views.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Dialog {
    /// None is open.
    #[default]
    None,
    /// A path to type.
    Open(String),
    /// Commands to search.
    Palette {
        /// What is searched for.
        query: String,
        /// Which of the results is chosen.
        chosen: usize,
    },
    /// An address to type.
    GoTo(String),
    /// The list of shortcuts.
    Shortcuts,
    /// The name of the file that a figure is written to.
    Export(Figure, String),
}
