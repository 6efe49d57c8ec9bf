//! The prepared build: kernelscope, candle and all they need, compiled once as cells are compiled. Each session starts
//! with a copy, so that sessions never wait for each other or overwrite each other's files.

use crate::frames::SESSION;
use crate::{Error, Result};
use crate::{analysis, places, sources};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What every session begins with: how cells are compiled, and the prelude.
///
/// evcxr's own profile is for short compile times, and makes tensor code three times slower. Errors are shown with
/// `Display`: kernelscope's are sentences.
fn first_cell(root: &Path, cargo_home: &Path) -> String {
    let path = root.join("crates/prelude").display().to_string().replace('\\', "\\\\").replace('"', "\\\"");
    let mut lines: Vec<String> = BUILD_ENV.iter().map(|(name, value)| format!(":build_env {name}={value}")).collect();
    // This process may have another one, for rust-analyzer.
    lines.push(format!(":build_env CARGO_HOME={}", cargo_home.display()));
    lines.push(":efmt {}".into());
    lines.push(format!(":dep kernelscope-prelude = {{ path = \"{path}\" }}"));
    lines.push("use kernelscope_prelude::prelude::*;".into());
    // The question mark is known to be allowed from here on; otherwise the first cell with one is compiled twice.
    lines.push(format!("{START} Ok::<(), String>(())?;"));
    // The types of variables are rust-analyzer's to find, and its first look at the standard library takes seconds.
    lines.push("let ready = true;".into());
    lines.join("\n")
}

/// Prepares a process that runs cells.
pub const START: &str = "kernelscope_prelude::start();";

/// Settings of Cargo's profile for cells and all they use.
pub const BUILD_ENV: [(&str, &str); 5] = [
    ("CARGO_PROFILE_DEV_OPT_LEVEL", "3"),
    ("CARGO_PROFILE_DEV_CODEGEN_UNITS", "1"),
    ("CARGO_PROFILE_DEV_DEBUG_ASSERTIONS", "false"),
    ("CARGO_PROFILE_DEV_OVERFLOW_CHECKS", "false"),
    ("CARGO_PROFILE_DEV_INCREMENTAL", "false"),
];

/// What is left to do, for whoever waits.
pub type Progress<'a> = &'a (dyn Fn(&str) + Sync);

/// The prepared build of a source tree.
#[derive(Debug)]
pub struct Prepared {
    folder: PathBuf,
    root: PathBuf,
}

impl Prepared {
    /// The place of the prepared build in the cache.
    pub fn new(root: &Path, cache: &Path) -> Self {
        Prepared { folder: cache.join("prepared"), root: root.to_path_buf() }
    }

    fn stamp(&self) -> PathBuf {
        self.folder.join("compiled.txt")
    }

    /// The copy of the source tree. It is not inside the folder, which is a workspace to Cargo: packages in a workspace
    /// are others than those outside of it, as they are to sessions.
    fn sources(&self) -> PathBuf {
        self.folder.with_file_name("source")
    }

    /// What every session begins with.
    pub fn first_cell(&self) -> String {
        first_cell(&self.sources(), &analysis::cargo_home())
    }

    /// Where the build is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Compiles what has changed; nothing, usually.
    ///
    /// # Errors
    /// If something cannot be compiled; the error has the compiler's words.
    pub fn update(&self, progress: Progress<'_>) -> Result<()> {
        fs::create_dir_all(&self.folder).map_err(Error::io("create", &self.folder))?;
        let lock = self.folder.join("lock");
        let _guard = places::lock(&lock)?;
        // Cargo's names for what it builds follow from where the sources are, and the folder may have been moved.
        let complete = format!("{}in {}\n", sources::compiler()?, self.folder.display());
        // Whoever is interrupted after the first change leaves sources that nothing was compiled from yet.
        let begin = || _ = fs::remove_file(self.stamp());
        let changed = sources::sync(&self.root, &self.sources(), &begin)?;
        let is_complete = || fs::read_to_string(self.stamp()).is_ok_and(|found| found == complete);
        if !changed && is_complete() && analysis::is_prepared(&self.folder) {
            return Ok(());
        }
        if !analysis::add_library() {
            progress("the sources of Rust's standard library are missing (rustup component add rust-src)");
        }
        progress("preparing Rust: compiling kernelscope and candle, once");
        let _ = fs::remove_file(self.stamp());
        self.compile(progress)?;
        analysis::prepare(&self.folder)?;
        fs::write(self.stamp(), complete).map_err(Error::io("write", &self.stamp()))
    }

    /// Runs the first cell in a process of its own, whose folder of compilation this is.
    fn compile(&self, progress: Progress<'_>) -> Result<()> {
        let program = std::env::current_exe().map_err(Error::io("find", Path::new("this program")))?;
        let mut child = Command::new(program)
            .arg("compile")
            .env("EVCXR_TMPDIR", &self.folder)
            // They may be relative to this process's folder.
            .env(places::SOURCE, &self.root)
            .env(places::CACHE, self.folder.parent().unwrap_or(&self.folder))
            .env("CARGO_HOME", analysis::cargo_home())
            .env_remove("RUST_SRC_PATH")
            // It runs one cell that nobody listens to.
            .env_remove(SESSION)
            .envs(places::library_path().map(|path| (places::LIBRARY_PATH, path)))
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(Error::io("start", Path::new("this program")))?;
        let mut said = Vec::new();
        let mut crates = 0;
        if let Some(stderr) = child.stderr.take() {
            for line in BufReader::new(stderr).lines().map_while(std::io::Result::ok) {
                match line.trim_start().strip_prefix("Compiling ") {
                    Some(name) => {
                        crates += 1;
                        progress(&format!("preparing Rust: {name} ({crates})"));
                    }
                    None => said.push(line),
                }
            }
        }
        let status = child.wait().map_err(Error::io("wait for", Path::new("the compiler")))?;
        if status.success() {
            return Ok(());
        }
        Err(Error::Other(format!("kernelscope could not be compiled for cells ({status}):\n{}", said.join("\n"))))
    }

    /// Copies the build into a session's folder; most of it as further names of the same files.
    ///
    /// # Errors
    /// If a file cannot be copied.
    pub fn copy_to(&self, session: &Path) -> Result<()> {
        let _guard = places::lock(&self.folder.join("lock"))?;
        copy_tree(&self.folder.join("target"), &session.join("target"))
    }

    /// Gives a session the versions of all crates, those that the command is built with. evcxr starts with a project
    /// without dependencies, for which Cargo removes them again, so this comes after.
    ///
    /// # Errors
    /// If the file cannot be copied.
    pub fn copy_lock_to(&self, session: &Path) -> Result<()> {
        let from = self.sources().join("Cargo.lock");
        fs::copy(&from, session.join("Cargo.lock")).map_err(Error::io("copy", &from))?;
        Ok(())
    }
}

/// What the compiler replaces and never changes: a second name is as good as a copy.
const LINKED: [&str; 4] = ["rlib", "rmeta", "so", "a"];

fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).map_err(Error::io("create", to))?;
    for item in fs::read_dir(from).map_err(Error::io("read", from))? {
        let path = item.map_err(Error::io("read", from))?.path();
        let Some(name) = path.file_name() else { continue };
        if is_left_out(&name.to_string_lossy()) {
            continue;
        }
        let target = to.join(name);
        if path.is_dir() {
            copy_tree(&path, &target)?;
            continue;
        }
        let linked = path.extension().is_some_and(|e| LINKED.iter().any(|l| e == *l));
        if linked && fs::hard_link(&path, &target).is_ok() {
            continue;
        }
        // Cargo compares times.
        let copy = || {
            fs::copy(&path, &target)?;
            let modified = fs::metadata(&path)?.modified()?;
            fs::File::options().write(true).open(&target)?.set_modified(modified)
        };
        copy().map_err(Error::io("copy", &path))?;
    }
    Ok(())
}

/// Whether sessions do without a file: it is of the cells that the prepared build compiled, or says why something was
/// compiled, which Cargo reads only to compile it again. Of those there are as many as of all others.
fn is_left_out(name: &str) -> bool {
    let of_cells = ["ctx-", "ctx.", "libctx", "libcode_"].iter().any(|start| name.starts_with(start));
    of_cells || name == "incremental" || name.ends_with(".d") || (name.ends_with(".json") && !name.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_keep_times_and_leave_cells_out() {
        let dir = std::env::temp_dir().join(format!("kernelscope-copy-{}", std::process::id()));
        let from = dir.join("from");
        fs::create_dir_all(from.join("deps")).unwrap();
        for name in ["libcandle.rlib", "candle", "candle.d", "libctx.so", "ctx-1.d"] {
            fs::write(from.join("deps").join(name), name).unwrap();
        }
        let long_ago = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
        let file = fs::File::options().write(true).open(from.join("deps/candle")).unwrap();
        file.set_modified(long_ago).unwrap();
        copy_tree(&from, &dir.join("to")).unwrap();
        let deps = dir.join("to/deps");
        assert_eq!(fs::metadata(deps.join("candle")).unwrap().modified().unwrap(), long_ago);
        assert!(deps.join("libcandle.rlib").exists());
        assert!(!deps.join("libctx.so").exists() && !deps.join("ctx-1.d").exists() && !deps.join("candle.d").exists());
        places::remove(&dir);
    }

    #[test]
    fn the_first_cell_names_the_source_tree() {
        let cell = first_cell(Path::new("/a b"), Path::new("/home/a b/.cargo"));
        assert!(cell.contains(":dep kernelscope-prelude = { path = \"/a b/crates/prelude\" }"), "{cell}");
        assert!(cell.lines().count() == BUILD_ENV.len() + 6);
        assert!(cell.lines().any(|line| line == ":build_env CARGO_HOME=/home/a b/.cargo"), "{cell}");
    }
}
