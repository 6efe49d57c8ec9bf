//! What the process that runs cells tells the kernel: one JSON object per line.
//!
//! Cells write text and figures to standard output. Figures are lines that begin with [`MARK`]; the wrapper crate prints
//! them, so that text and figures keep their order. [`crate::relay`] passes both on through a pipe of its own, since evcxr
//! reads standard output while a cell runs and at no other time: background work would stop.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Begins a line of standard output that is a frame. The same text is in `crates/prelude/src/show/wire.rs`.
pub const MARK: &str = "\u{1}kernelscope ";

/// Environment variable that holds the folder of the session; the wrapper crate reads it, too.
pub const SESSION: &str = "KERNELSCOPE_SESSION";

/// Name of the pipe in the session's folder.
pub const PIPE: &str = "frames";

/// Name of the file whose existence asks for an interruption.
pub const INTERRUPT: &str = "interrupt";

/// Values by MIME type.
pub type Bundle = Map<String, Value>;

/// One thing that happened in the process that runs cells.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Frame {
    /// Text on standard output or standard error.
    Stream {
        /// `stdout` or `stderr`.
        name: String,
        /// The text.
        text: String,
    },
    /// Something to show.
    Display {
        /// Values by MIME type.
        data: Bundle,
        /// Name under which it can be changed later.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        /// Whether it replaces what is shown under this name.
        #[serde(default)]
        update: bool,
    },
    /// The value of the last expression.
    Result {
        /// Values by MIME type.
        data: Bundle,
    },
    /// Removes what the cell has shown.
    Clear {
        /// Whether to wait for the next output.
        #[serde(default)]
        wait: bool,
    },
    /// A thread panicked.
    Panic {
        /// The panic's message.
        message: String,
        /// File, line and column.
        location: String,
        /// The thread's name.
        thread: String,
    },
    /// The cell ended early: by a panic, or by an error and `?`.
    Failed {
        /// Whether by a panic.
        panic: bool,
    },
    /// The cell has ended; everything it wrote came before.
    Complete,
}

impl Frame {
    /// Text of a stream.
    pub fn stream(name: &str, text: impl Into<String>) -> Self {
        Frame::Stream { name: name.to_string(), text: text.into() }
    }
}
