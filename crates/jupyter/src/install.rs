//! Tells Jupyter of this kernel: a folder with `kernel.json` and a logo.

use crate::{Error, Result};
use serde_json::json;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Install below DIR (share/jupyter/kernels), for example into a virtual environment, instead of for the current
    /// user
    #[arg(long, value_name = "DIR")]
    prefix: Option<PathBuf>,
}

/// Name that notebooks refer to.
const NAME: &str = "kernelscope";
/// Name that people see.
const DISPLAY_NAME: &str = "Rust (kernelscope)";

pub fn run(args: &Args) -> Result<()> {
    let kernels = match &args.prefix {
        Some(prefix) => prefix.join("share").join("jupyter"),
        None => user_folder()?,
    };
    let folder = kernels.join("kernels").join(NAME);
    std::fs::create_dir_all(&folder).map_err(Error::io("create", &folder))?;
    let program = std::env::current_exe().map_err(Error::io("find", Path::new("this program")))?;
    for (name, content) in [("kernel.json", spec(&program)), ("logo-svg.svg", LOGO.to_string())] {
        let path = folder.join(name);
        let beside = folder.join(format!("{name}.new"));
        std::fs::write(&beside, content).map_err(Error::io("write", &beside))?;
        std::fs::rename(&beside, &path).map_err(Error::io("write", &path))?;
    }
    println!("{}", folder.display());
    Ok(())
}

fn spec(program: &Path) -> String {
    let mut environment = serde_json::Map::new();
    // Jupyter may have been started from a desktop, which knows nothing of Cargo.
    if let Some(path) = std::env::var_os("PATH") {
        environment.insert("PATH".into(), path.to_string_lossy().into_owned().into());
    }
    let spec = json!({
        "argv": [program.to_string_lossy(), "run", "{connection_file}"],
        "display_name": DISPLAY_NAME,
        "language": "rust",
        "interrupt_mode": "message",
        "env": environment,
        "metadata": { "debugger": false },
    });
    format!("{spec:#}\n")
}

/// Where Jupyter looks for the user's kernels.
fn user_folder() -> Result<PathBuf> {
    if let Some(dir) = std::env::var_os("JUPYTER_DATA_DIR") {
        return Ok(dir.into());
    }
    let none = || Error::Other("no home folder; use --prefix DIR".into());
    if cfg!(target_os = "macos") {
        return Ok(dirs::home_dir().ok_or_else(none)?.join("Library/Jupyter"));
    }
    Ok(dirs::data_dir().ok_or_else(none)?.join("jupyter"))
}

/// A square of pixels with the taps of an oriented kernel.
const LOGO: &str = include_str!("logo.svg");
