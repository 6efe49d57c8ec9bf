//! Virtual environments of Python.

use crate::packages::succeeds;
use crate::{files, run};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Says what is installed. It is written last, so that without it an environment is not complete.
const STAMP: &str = "installed.txt";

/// Makes an environment with packages, unless it is there already; its Python.
///
/// Programs of the environment are run as modules (`python -m NAME`): their scripts name the folder that they were
/// installed in, which may have been moved.
pub fn environment(folder: &Path, packages: &[&str]) -> Result<PathBuf, String> {
    let (python, stamp, wanted) = (folder.join("bin/python"), folder.join(STAMP), packages.join("\n"));
    let installed = fs::read_to_string(&stamp).ok();
    // The system's Python, which it refers to, may have gone.
    let works = succeeds(&python, &["-m", "pip", "--version"]);
    if works && installed.as_ref() == Some(&wanted) {
        return Ok(python);
    }
    if works && installed.is_some() {
        fs::remove_file(&stamp).map_err(|e| format!("cannot remove {}: {e}", stamp.display()))?;
    } else {
        files::remove(folder)?;
        run(Command::new("python3").args(["-m", "venv"]).arg(folder))?;
    }
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(packages);
    // A user's settings may say so, and environments refuse it.
    run(pip.env("PIP_USER", "0"))?;
    files::write(&stamp, &wanted)?;
    Ok(python)
}
