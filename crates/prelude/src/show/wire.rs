//! How outputs leave the process: as frames for kernelscope's kernel, as evcxr's blocks for the stock kernel.

use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;

/// Begins a line of standard output that is a frame. The same text is in `crates/jupyter/src/frames.rs`.
const MARK: &str = "\u{1}kernelscope ";
/// Environment variable that holds the folder of the session, set by the kernel.
const SESSION: &str = "KERNELSCOPE_SESSION";

/// The folder of the session; `None` in the stock kernel.
pub(crate) fn session_folder() -> Option<PathBuf> {
    std::env::var_os(SESSION).map(PathBuf::from)
}

/// Whether kernelscope's own kernel listens.
pub(crate) fn in_kernel() -> bool {
    std::env::var_os(SESSION).is_some()
}

/// Sends one frame.
pub(crate) fn send(frame: &Value) {
    print(&format!("{MARK}{frame}\n"));
}

/// The value of the last expression, for the stock kernel: a block for each type.
pub(crate) fn blocks(data: &serde_json::Map<String, Value>) {
    for (mime, value) in data {
        if let Value::String(text) = value {
            print(&format!("EVCXR_BEGIN_CONTENT {mime}\n{text}\nEVCXR_END_CONTENT\n"));
        }
    }
}

/// Writes a whole piece of text at once, between those of other threads.
pub(crate) fn print(text: &str) {
    let mut stdout = std::io::stdout().lock();
    // A reader that is gone has ended this process's kernel.
    let _ = stdout.write_all(text.as_bytes());
    let _ = stdout.flush();
}

/// Sends panics as frames, with their place.
pub(crate) fn report_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let payload = panic.payload();
        let message = payload.downcast_ref::<String>().map(String::as_str);
        let message =
            message.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("a panic without a message");
        // evcxr's own name for the code of cells.
        let place = |location: &std::panic::Location<'_>| match location.file() {
            "src/lib.rs" => "in a cell".to_string(),
            file => format!("{file}:{}:{}", location.line(), location.column()),
        };
        let location = panic.location().map(place).unwrap_or_default();
        let thread = std::thread::current().name().unwrap_or("unnamed").to_string();
        send(&json!({ "type": "panic", "message": message, "location": location, "thread": thread }));
    }));
}
