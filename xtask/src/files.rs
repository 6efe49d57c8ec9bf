//! Files and folders, with errors that name them.

use std::fs;
use std::path::Path;

pub fn make(folder: &Path) -> Result<(), String> {
    fs::create_dir_all(folder).map_err(|e| format!("cannot create {}: {e}", folder.display()))
}

pub fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()))
}

pub fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|e| format!("cannot write {}: {e}", path.display()))
}

/// Removes a folder with all that is in it, if it is there.
pub fn remove(folder: &Path) -> Result<(), String> {
    match fs::remove_dir_all(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(format!("cannot remove {}: {e}", folder.display())),
        _ => Ok(()),
    }
}

/// Makes a link, unless there is something that it could lead to.
pub fn link(to: &str, at: &Path) -> Result<(), String> {
    if at.exists() {
        return Ok(());
    }
    // One that leads nowhere is in the way.
    let _ = fs::remove_file(at);
    std::os::unix::fs::symlink(to, at).map_err(|e| format!("cannot link {}: {e}", at.display()))
}
