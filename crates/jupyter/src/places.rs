//! Where things are: the source tree, the prepared build, the folders of sessions.

use crate::{Error, Result};
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// Names another source tree than the one that the kernel was built from.
pub const SOURCE: &str = "KERNELSCOPE_SOURCE";
/// Names another folder for prepared builds and sessions.
pub const CACHE: &str = "KERNELSCOPE_CACHE";
/// Folders that the loader searches first.
pub const LIBRARY_PATH: &str = if cfg!(target_os = "macos") { "DYLD_LIBRARY_PATH" } else { "LD_LIBRARY_PATH" };

/// The root of kernelscope's source tree, which cells are compiled against.
///
/// # Errors
/// If it is not there any more.
pub fn source_root() -> Result<PathBuf> {
    let root = match std::env::var_os(SOURCE) {
        Some(root) => PathBuf::from(root),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."),
    };
    match root.canonicalize() {
        Ok(root) if root.join("crates/prelude/Cargo.toml").is_file() => Ok(root),
        _ => Err(Error::Other(format!(
            "{} is not kernelscope's source tree, which cells are compiled against; set {SOURCE} to the tree",
            root.display()
        ))),
    }
}

/// The folder of prepared builds and sessions, all on one file system.
///
/// # Errors
/// If the system names no folder for caches, or cells cannot be run in it or in one that stands in for it.
pub fn cache_root() -> Result<PathBuf> {
    let root = match std::env::var_os(CACHE) {
        Some(root) => std::path::absolute(&root).map_err(Error::io("find", Path::new(&root)))?,
        None => {
            let cache = dirs::cache_dir();
            let cache = cache.ok_or_else(|| Error::Other(format!("there is no cache folder; set {CACHE} to one")))?;
            cache.join("kernelscope").join("notebook")
        }
    };
    if has_blank(&root) { stand_in(&root) } else { Ok(root) }
}

/// Whether cells cannot be run in a folder: evcxr says in one line which compiled cell is to be run, and splits the line
/// at blanks.
fn has_blank(folder: &Path) -> bool {
    // What is there already may lead to another place.
    let real = folder.ancestors().find_map(|above| above.canonicalize().ok());
    [Some(folder.to_path_buf()), real].iter().flatten().any(|path| path.to_string_lossy().contains(char::is_whitespace))
}

/// A folder of this user without blanks in its path, the same each time.
#[cfg(unix)]
fn stand_in(root: &Path) -> Result<PathBuf> {
    use std::hash::{DefaultHasher, Hash, Hasher};
    use std::os::unix::fs::{DirBuilderExt, MetadataExt};
    let refuse = |folder: &Path, what: &str| {
        let (root, folder) = (root.display(), folder.display());
        Error::Other(format!(
            "cells cannot be run in {root}, whose path has a blank, and {folder}, which would stand in for it, {what}; set \
             {CACHE} to a folder without blanks in its path"
        ))
    };
    let mut hash = DefaultHasher::new();
    root.hash(&mut hash);
    let mut user = dirs::home_dir().unwrap_or_default();
    while !user.exists() && user.pop() {}
    let user = fs::metadata(&user).map_err(Error::io("read", &user))?.uid();
    // What is there survives a restart.
    let temporary = Path::new("/var/tmp");
    let temporary = if temporary.is_dir() { temporary.to_path_buf() } else { std::env::temp_dir() };
    let folder = temporary.join(format!("kernelscope-{user}-{:016x}", hash.finish()));
    if has_blank(&folder) {
        return Err(refuse(&folder, "has one, too"));
    }
    if let Err(error) = fs::DirBuilder::new().mode(0o700).create(&folder)
        && error.kind() != std::io::ErrorKind::AlreadyExists
    {
        return Err(Error::io("create", &folder)(error));
    }
    // Everybody may write where it is.
    let found = fs::symlink_metadata(&folder).map_err(Error::io("read", &folder))?;
    if !found.is_dir() || found.uid() != user || found.mode() & 0o022 != 0 {
        return Err(refuse(&folder, "is not a folder that only this user can write to"));
    }
    Ok(folder)
}

/// Elsewhere none is known.
#[cfg(not(unix))]
fn stand_in(root: &Path) -> Result<PathBuf> {
    let root = root.display();
    Err(Error::Other(format!("cells cannot be run in {root}; set {CACHE} to a folder without blanks in its path")))
}

/// The folder of one session: what evcxr compiles, and the pipe of its frames. It is removed when the value is dropped.
#[derive(Debug)]
pub struct SessionFolder {
    path: PathBuf,
    _lock: File,
}

impl SessionFolder {
    /// Makes a new folder, and removes those of sessions that were killed.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn create(cache: &Path) -> Result<Self> {
        let sessions = cache.join("sessions");
        fs::create_dir_all(&sessions).map_err(Error::io("create", &sessions))?;
        // Nobody looks at a folder between its making and its lock.
        let guard = lock(&sessions.join("lock"))?;
        sweep(&sessions);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_nanos());
        let path = sessions.join(format!("{}-{now:x}", std::process::id()));
        fs::create_dir(&path).map_err(Error::io("create", &path))?;
        let own = lock(&path.join("lock"))?;
        drop(guard);
        Ok(SessionFolder { path, _lock: own })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SessionFolder {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// Removes a folder in which a process that is just ending may still write.
pub fn remove(path: &Path) {
    for _ in 0..20 {
        match fs::remove_dir_all(path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
            _ => return,
        }
    }
}

/// Waits for the lock of a file, which it makes.
///
/// # Errors
/// If the file cannot be made, or the file system has no locks.
pub fn lock(path: &Path) -> Result<File> {
    let file = File::options().create(true).append(true).open(path).map_err(Error::io("create", path))?;
    file.lock().map_err(Error::io("lock", path))?;
    Ok(file)
}

/// Where the loader must look for the standard library, as a value of `LD_LIBRARY_PATH`. Compiled cells name it relative
/// to the folder that the linker wrote them to, and evcxr moves them one folder up; that goes unnoticed only where the
/// way leads through the root of the file system.
pub fn library_path() -> Option<std::ffi::OsString> {
    let output = Command::new("rustc").args(["--print", "target-libdir"]).output().ok()?;
    let folder = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    let before = std::env::var_os(LIBRARY_PATH).unwrap_or_default();
    // An empty name would be the current folder.
    let others = std::env::split_paths(&before).filter(|path| !path.as_os_str().is_empty());
    std::env::join_paths(std::iter::once(folder).chain(others)).ok()
}

/// Removes the folders that no process holds.
fn sweep(sessions: &Path) {
    let Ok(found) = fs::read_dir(sessions) else { return };
    for path in found.filter_map(|item| item.ok().map(|i| i.path())).filter(|p| p.is_dir()) {
        let Ok(file) = File::open(path.join("lock")) else {
            remove(&path);
            continue;
        };
        match file.try_lock() {
            Ok(()) => remove(&path),
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_folder_with_a_blank_has_a_stand_in_of_its_own() {
        let (first, second) = (Path::new("/no such folder/first"), Path::new("/no such folder/second"));
        assert!(has_blank(first) && !has_blank(Path::new("/no-such-folder")));
        let folder = stand_in(first).unwrap();
        assert!(folder.is_dir() && !has_blank(&folder), "{}", folder.display());
        assert_eq!(stand_in(first).unwrap(), folder);
        let other = stand_in(second).unwrap();
        assert_ne!(other, folder);
        // Somebody else may have put something there.
        fs::remove_dir(&folder).unwrap();
        std::os::unix::fs::symlink(&other, &folder).unwrap();
        let error = stand_in(first).unwrap_err().to_string();
        assert!(error.contains("has a blank") && error.contains("only this user") && error.contains(CACHE), "{error}");
        fs::remove_file(&folder).unwrap();
        fs::remove_dir(&other).unwrap();
    }

    #[test]
    fn folders_of_ended_sessions_are_removed_and_others_kept() {
        let cache = std::env::temp_dir().join(format!("kernelscope-sessions-{}", std::process::id()));
        let first = SessionFolder::create(&cache).unwrap();
        let dead = cache.join("sessions/1-dead");
        fs::create_dir(&dead).unwrap();
        fs::write(dead.join("lock"), "").unwrap();
        let second = SessionFolder::create(&cache).unwrap();
        assert!(first.path().is_dir() && second.path().is_dir() && !dead.exists());
        let path = first.path().to_path_buf();
        drop(first);
        assert!(!path.exists() && second.path().is_dir());
        drop(second);
        remove(&cache);
    }
}
