//! What rust-analyzer reads. evcxr asks it for the types of variables, and before the first answer it reads every crate
//! below the prelude: 140 MB of image decoders, regular expressions and system calls, twelve seconds of each session.
//! Types of variables come from public signatures, which name few crates. So a session's rust-analyzer has a Cargo home
//! and a standard library of its own, made of links: crates that no signature names are an empty file there. Builds use
//! the true ones.

use crate::sources::compiler;
use crate::{Error, Result, places};
use cargo_metadata::camino::Utf8Path;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The crates that public signatures of kernelscope, candle and plotters name.
const NAMED: [&str; 21] = [
    "candle-core",
    "candle-nn",
    "float8",
    "half",
    "image",
    "indexmap",
    "num-complex",
    "num-traits",
    "plotters",
    "plotters-backend",
    "plotters-bitmap",
    "plotters-svg",
    "rand",
    "rand_chacha",
    "rand_core",
    "safetensors",
    "serde",
    "serde_core",
    "serde_json",
    "tempfile",
    "toml",
];
/// Parts of the standard library's sources with which variables of cells have nothing to do. Without its manifest,
/// rust-analyzer does not ask for the crates that it consists of in turn.
const NOT_OF_LIBRARY: [&str; 7] =
    ["Cargo.toml", "Cargo.lock", "backtrace", "compiler-builtins", "portable-simd", "stdarch", "vendor"];
/// The place of a view in a session's folder, which rust-analyzer reads in turn; this part it leaves out.
const FOLDER: &str = "target/analysis";
/// Where Cargo unpacks crates, below its home.
const UNPACKED: &str = "registry/src";
/// The link to Cargo's home beside that of a view.
const TRUE_HOME: &str = "true-home";

/// Sees to it that the standard library's sources are there: types of variables come from them.
pub fn add_library() -> bool {
    let mut rustup = Command::new("rustup");
    // Standard output may be a pipe to somebody else.
    rustup.args(["component", "add", "rust-src"]).stdout(Stdio::null()).stderr(Stdio::null());
    library().is_some() || rustup.status().is_ok_and(|status| status.success())
}

/// Makes what sessions can link to, in the folder of the prepared build.
///
/// # Errors
/// If Cargo cannot say what the build consists of, or a file cannot be written.
pub fn prepare(prepared: &Path) -> Result<()> {
    let folder = prepared.join("analysis");
    places::remove(&folder);
    for path in [folder.join("nothing/core"), folder.join("src")] {
        fs::create_dir_all(&path).map_err(Error::io("create", &path))?;
    }
    if let Some(library) = library() {
        for name in names(&library).filter(|name| !NOT_OF_LIBRARY.iter().any(|other| name == *other)) {
            link(&library.join(&name), &folder.join("library").join(&name))?;
        }
    }
    prepare_crates(prepared, &folder.join("src"))
}

/// Copies the crates that signatures name, and an outline of the others.
fn prepare_crates(prepared: &Path, sources: &Path) -> Result<()> {
    let compiler = compiler()?;
    let host = compiler.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default();
    let home = cargo_home();
    let metadata = cargo_metadata::MetadataCommand::new()
        .env("CARGO_HOME", &home)
        .manifest_path(prepared.join("Cargo.toml"))
        .other_options(["--offline", "--filter-platform", host].map(String::from))
        .exec()
        .map_err(|e| Error::Other(format!("cargo metadata: {e}")))?;
    let unpacked = home.join(UNPACKED);
    for package in &metadata.packages {
        // Others are not below Cargo's home, and are read as they are.
        let Some(from) = package.manifest_path.parent().filter(|from| from.starts_with(&unpacked)) else { continue };
        let to = sources.join(from.as_std_path().strip_prefix(&unpacked).unwrap_or(from.as_std_path()));
        for name in ["Cargo.toml", ".cargo-ok"] {
            copy(&from.as_std_path().join(name), &to.join(name))?;
        }
        if NAMED.contains(&package.name.as_str()) {
            copy_sources(from, &to)?;
            continue;
        }
        for target in &package.targets {
            if let Ok(path) = target.src_path.strip_prefix(from) {
                let path = to.join(path);
                create_parent(&path)?;
                fs::write(&path, "").map_err(Error::io("write", &path))?;
            }
        }
    }
    Ok(())
}

/// Whether it is there.
pub fn is_prepared(prepared: &Path) -> bool {
    prepared.join("analysis/src").is_dir()
}

/// Copies the Rust files of a folder and of those inside.
fn copy_sources(from: &Utf8Path, to: &Path) -> Result<()> {
    for item in from.read_dir_utf8().map_err(Error::io("read", from.as_std_path()))? {
        let item = item.map_err(Error::io("read", from.as_std_path()))?;
        let (path, to) = (item.path(), to.join(item.file_name()));
        if path.is_dir() {
            copy_sources(path, &to)?;
        } else if path.extension() == Some("rs") {
            copy(path.as_std_path(), &to)?;
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    create_parent(to)?;
    fs::copy(from, to).map_err(Error::io("copy", from))?;
    Ok(())
}

fn create_parent(path: &Path) -> Result<()> {
    let parent = path.parent().unwrap_or(path);
    fs::create_dir_all(parent).map_err(Error::io("create", parent))
}

/// The sources of the standard library, if they are installed.
fn library() -> Option<PathBuf> {
    let output = Command::new("rustc").args(["--print", "sysroot"]).output().ok()?;
    let root = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    Some(root.join("lib/rustlib/src/rust/library")).filter(|path| path.is_dir())
}

/// What is in a folder; nothing if it cannot be read.
fn names(folder: &Path) -> impl Iterator<Item = OsString> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|item| item.file_name())
}

/// Cargo's home, also for a process that has a view of its own.
pub fn cargo_home() -> PathBuf {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(dirs::home_dir()?.join(".cargo"))).unwrap_or_default();
    fs::read_link(home.with_file_name(TRUE_HOME)).unwrap_or(home)
}

/// Makes a link, or what is nearest to one.
fn link(to: &Path, at: &Path) -> Result<()> {
    create_parent(at)?;
    #[cfg(unix)]
    let made = std::os::unix::fs::symlink(to, at);
    #[cfg(not(unix))]
    let made = if to.is_dir() { std::os::windows::fs::symlink_dir(to, at) } else { fs::hard_link(to, at) };
    made.map_err(Error::io("link to", to))
}

/// Where the rust-analyzer of one session reads.
#[derive(Debug, Clone)]
pub struct View {
    folder: PathBuf,
}

impl View {
    /// That of a session's folder, if it has one.
    pub fn of(session: &Path) -> Option<Self> {
        let view = View { folder: session.join(FOLDER) };
        view.folder.join(TRUE_HOME).is_symlink().then_some(view)
    }

    /// Makes the view. What it shows is said before rust-analyzer reads.
    ///
    /// # Errors
    /// If a link cannot be made.
    pub fn create(session: &Path) -> Result<Self> {
        let view = View { folder: session.join(FOLDER) };
        view.link_all()?;
        Ok(view)
    }

    fn link_all(&self) -> Result<()> {
        let home = cargo_home();
        for name in names(&home).filter(|name| name != "registry") {
            link(&home.join(&name), &self.home().join(&name))?;
        }
        for name in names(&home.join("registry")).filter(|name| name != "src") {
            link(&home.join("registry").join(&name), &self.home().join("registry").join(&name))?;
        }
        link(&home, &self.folder.join(TRUE_HOME))
    }

    /// What to set in the environment of the process that rust-analyzer is part of.
    pub fn environment(&self) -> [(&'static str, PathBuf); 2] {
        [("CARGO_HOME", self.home()), ("RUST_SRC_PATH", self.library())]
    }

    fn home(&self) -> PathBuf {
        self.folder.join("home")
    }

    fn library(&self) -> PathBuf {
        self.folder.join("library")
    }

    /// No standard library either: evcxr starts with a cell that needs no types.
    ///
    /// # Errors
    /// If a link cannot be replaced.
    pub fn show_nothing(&self, prepared: &Path) -> Result<()> {
        self.show(&prepared.join("analysis/src"), Some(&prepared.join("analysis/nothing")))
    }

    /// The crates that signatures name.
    ///
    /// # Errors
    /// If a link cannot be replaced.
    pub fn show_named(&self, prepared: &Path) -> Result<()> {
        self.show(&prepared.join("analysis/src"), Some(&prepared.join("analysis/library")))
    }

    /// Everything.
    ///
    /// # Errors
    /// If a link cannot be replaced.
    pub fn show_everything(&self) -> Result<()> {
        self.show(&cargo_home().join(UNPACKED), library().as_deref())
    }

    fn show(&self, unpacked: &Path, library: Option<&Path>) -> Result<()> {
        for (to, at) in [(Some(unpacked), self.home().join(UNPACKED)), (library, self.library())] {
            let _ = fs::remove_file(&at);
            to.map_or(Ok(()), |to| link(to, &at))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_leads_to_what_it_shows() {
        let dir = std::env::temp_dir().join(format!("kernelscope-view-{}", std::process::id()));
        let (session, prepared) = (dir.join("session"), dir.join("prepared"));
        for path in ["analysis/src/crates/image-1", "analysis/nothing/core", "analysis/library/core/src"] {
            fs::create_dir_all(prepared.join(path)).unwrap();
        }
        assert!(View::of(&session).is_none());
        let view = View::create(&session).unwrap();
        assert!(View::of(&session).is_some());
        let [(_, home), (_, library)] = view.environment();
        view.show_nothing(&prepared).unwrap();
        assert!(library.join("core").is_dir() && !library.join("core/src").exists());
        view.show_named(&prepared).unwrap();
        assert!(library.join("core/src").is_dir() && home.join(UNPACKED).join("crates/image-1").is_dir());
        view.show_everything().unwrap();
        assert!(!home.join(UNPACKED).join("crates").exists());
        assert_eq!(fs::read_link(home.join(UNPACKED)).unwrap(), cargo_home().join(UNPACKED));
        places::remove(&dir);
    }
}
