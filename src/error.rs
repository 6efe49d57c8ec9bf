//! The crate's error type: every message names what was wrong, what was given and what is allowed.

use std::path::{Path, PathBuf};

/// Result with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong in kernelscope.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An argument that is outside what the function accepts.
    #[error("{name}: got {given}, allowed: {allowed}")]
    Argument {
        /// Name of the argument.
        name: String,
        /// The value that was given.
        given: String,
        /// What would have been accepted.
        allowed: String,
    },
    /// A tensor whose shape is not what the function accepts.
    #[error("{argument}: got shape {given:?}, allowed: {expected}")]
    #[non_exhaustive]
    Shape {
        /// Name of the argument.
        argument: String,
        /// Its shape.
        given: Vec<usize>,
        /// Which shapes would have been accepted.
        expected: String,
    },
    /// A name that is not among those that there are.
    #[error("{what}: got {name}, allowed: {}", known.join(", "))]
    Unknown {
        /// What it should name ("model", "field").
        what: String,
        /// The name that was given.
        name: String,
        /// The names that there are.
        known: Vec<String>,
    },
    /// A file or folder that could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was attempted, as a verb ("read", "write", "create").
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The operating system's answer.
        source: std::io::Error,
    },
    /// A file whose content is not what it should be.
    #[error("{}: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// Weights that do not say which network they are for, and no name was given.
    #[error("{}: does not say which network it is for", path.display())]
    #[non_exhaustive]
    UnknownNetwork {
        /// The file of the weights.
        path: PathBuf,
    },
    /// A place for results that already contains something else, which is not overwritten.
    #[error("{}: already contains {content}", path.display())]
    #[non_exhaustive]
    Occupied {
        /// The file or folder.
        path: PathBuf,
        /// What it holds.
        content: String,
    },
    /// Weights that do not fit the network.
    #[error(transparent)]
    Weights(#[from] crate::mismatch::Mismatch),
    /// A tensor operation failed.
    #[error("tensor operation failed: {0}")]
    Tensor(candle_core::Error),
    /// A value became infinite or not a number.
    #[error("{what} is not finite ({value}) at {place}")]
    NonFinite {
        /// The quantity.
        what: String,
        /// Its value.
        value: f64,
        /// Where it happened.
        place: String,
    },
    /// A figure could not be drawn.
    #[error("cannot draw the figure: {0}")]
    Plot(String),
    /// Somebody asked to stop.
    #[error("interrupted{}", after_interruption(resumable.as_deref()))]
    #[non_exhaustive]
    Interrupted {
        /// The folder of what is done so far, where the work can go on from it.
        resumable: Option<PathBuf>,
    },
}

impl Error {
    /// An argument error: `name` got `given`, but `allowed` is required.
    pub fn argument(name: impl Into<String>, given: impl std::fmt::Display, allowed: impl Into<String>) -> Self {
        Error::Argument { name: name.into(), given: given.to_string(), allowed: allowed.into() }
    }

    /// A tensor of the wrong shape: `argument` has the shape `given`, but `expected` is required.
    pub fn shape(argument: impl Into<String>, given: &[usize], expected: impl Into<String>) -> Self {
        Error::Shape { argument: argument.into(), given: given.to_vec(), expected: expected.into() }
    }

    /// Weights that do not say which network they are for.
    pub fn unknown_network(path: impl AsRef<Path>) -> Self {
        Error::UnknownNetwork { path: path.as_ref().to_path_buf() }
    }

    /// A place for results that already contains something else.
    pub fn occupied(path: impl AsRef<Path>, content: impl Into<String>) -> Self {
        Error::Occupied { path: path.as_ref().to_path_buf(), content: content.into() }
    }

    /// Work that was stopped on request and leaves nothing to go on from.
    pub fn interrupted() -> Self {
        Error::Interrupted { resumable: None }
    }

    /// Work that was stopped on request, and can go on from what is done in this folder.
    pub fn interrupted_in(folder: impl AsRef<Path>) -> Self {
        Error::Interrupted { resumable: Some(folder.as_ref().to_path_buf()) }
    }

    /// Wraps an I/O error with the attempted action and the path; for use in `map_err`.
    pub fn io(action: &'static str, path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Error::Io { action, path, source }
    }

    /// A file whose content is wrong.
    pub fn file(path: impl AsRef<Path>, message: impl std::fmt::Display) -> Self {
        Error::File { path: path.as_ref().to_path_buf(), message: message.to_string() }
    }
}

/// What can be said of work that was interrupted.
fn after_interruption(resumable: Option<&Path>) -> String {
    resumable.map_or(String::new(), |folder| format!("; {} holds what is done, to go on from", folder.display()))
}

impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        Error::Tensor(error)
    }
}

impl From<Error> for candle_core::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Tensor(inner) => inner,
            other => candle_core::Error::Msg(other.to_string()),
        }
    }
}
