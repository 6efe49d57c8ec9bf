//! `kernelscope view`: starts the viewer, which is a program of its own.

use kernelscope::{Error, Result};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
#[command(after_help = "Examples:\n  kernelscope view runs/quickstart\n  \
    kernelscope view RepLKNet-31B.pth --model replknet-31b\n  \
    kernelscope view runs/a runs/b --headless --view erf --export erf.png\n\n\
    All arguments are passed to the program kernelscope-viewer, which must be in the same folder as this one;\n\
    `kernelscope view --help` shows its help. In a clone of the repository,\n\
    `cargo build --release -p kernelscope-viewer` builds it.")]
pub struct Args {
    /// Run folders, folders of runs, checkpoints (.safetensors, .pth) or matrices (.npy), and options of the viewer
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "PATH")]
    args: Vec<OsString>,
}

/// A viewer inside this program, in place of the executable beside it: gets the arguments of `view`, returns an exit code.
pub type Viewer = fn(Vec<OsString>) -> ExitCode;

/// Name of the viewer's executable.
const VIEWER: &str = "kernelscope-viewer";

/// Runs the viewer; its exit code is that of the command.
pub fn run(args: &Args, viewer: Option<Viewer>) -> Result<ExitCode> {
    if let Some(viewer) = viewer {
        return Ok(viewer(args.args.clone()));
    }
    let own = std::env::current_exe().map_err(Error::io("find", "this program"))?;
    let viewer = beside(&own).ok_or_else(|| {
        let allowed = "a viewer in the folder of this program; `cargo build --release -p kernelscope-viewer` builds it";
        Error::argument("viewer", format!("no {} in {}", name(), own.parent().unwrap_or(&own).display()), allowed)
    })?;
    let status = Command::new(&viewer).args(&args.args).status().map_err(Error::io("start", &viewer))?;
    // A viewer that was killed has no code.
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}

fn name() -> String {
    format!("{VIEWER}{}", std::env::consts::EXE_SUFFIX)
}

/// The viewer in the folder of this program, or of the file that a link to it means.
fn beside(own: &Path) -> Option<PathBuf> {
    let real = std::fs::canonicalize(own).ok();
    let folders = [Some(own), real.as_deref()];
    folders.into_iter().flatten().map(|path| path.with_file_name(name())).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_viewer_is_found_beside_the_program_and_beside_what_a_link_means() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(place("real")).unwrap();
        std::fs::create_dir_all(place("bin")).unwrap();
        std::fs::write(place("real/kernelscope"), "").unwrap();
        assert_eq!(beside(&place("real/kernelscope")), None);
        std::fs::write(place("real").join(name()), "").unwrap();
        assert_eq!(beside(&place("real/kernelscope")), Some(place("real").join(name())));
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(place("real/kernelscope"), place("bin/kernelscope")).unwrap();
            let found = beside(&place("bin/kernelscope")).unwrap();
            assert_eq!(found, std::fs::canonicalize(place("real")).unwrap().join(name()));
        }
    }
}
