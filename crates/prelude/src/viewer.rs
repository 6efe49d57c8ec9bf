//! From a notebook to the viewer.

use crate::show::Shown;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Names the command, where it is not on the `PATH`.
const COMMAND: &str = "KERNELSCOPE_COMMAND";

/// Opens a run folder, a folder of runs or a checkpoint in the viewer, which follows runs while they are trained. Without a
/// screen, or without the command, it says what to type elsewhere.
pub fn open_viewer(path: &str) -> Shown {
    let full = std::path::absolute(path).unwrap_or_else(|_| PathBuf::from(path));
    // What is typed in the notebook's folder; its own place differs from machine to machine.
    let typed = format!("kernelscope view {}", quoted(Path::new(path)));
    let screen = cfg!(not(target_os = "linux"))
        || ["DISPLAY", "WAYLAND_DISPLAY"].iter().any(|name| std::env::var_os(name).is_some_and(|v| !v.is_empty()));
    if !screen {
        return Shown::text(format!(
            "There is no display here. On a machine that has one, run this in the notebook's folder: {typed}"
        ));
    }
    let command = std::env::var_os(COMMAND).unwrap_or_else(|| "kernelscope".into());
    let mut viewer = Command::new(&command);
    viewer.arg("view").arg(&full).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    match viewer.spawn() {
        Ok(_) => Shown::text(format!("The viewer opens: {typed}")),
        Err(error) => {
            let name = command.to_string_lossy();
            Shown::text(format!("{name} cannot be started ({error}); set {COMMAND}, or run this elsewhere: {typed}"))
        }
    }
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = text.chars().all(|c| c.is_alphanumeric() || "/._-".contains(c));
    if plain { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_quoted_for_a_shell() {
        assert_eq!(quoted(Path::new("/a/b-1")), "/a/b-1");
        assert_eq!(quoted(Path::new("/a b/it's")), "'/a b/it'\\''s'");
    }
}
