//! A copy of the source tree, against which cells are compiled: who works on the library while a notebook is open does not
//! change the types of its variables, and a fresh clone with the same text needs no new compilation.

use crate::{Error, Result};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Folders that Cargo reads, and whether cells use what is in them. The others are there because a workspace is not read
/// without its members.
const FOLDERS: [(&str, bool); 6] =
    [("src", true), ("kernels", true), ("notebook", true), ("viewer", false), ("xtask", false), ("benches", false)];
/// Files of the root.
const FILES: [&str; 3] = ["Cargo.toml", "Cargo.lock", "build.rs"];
/// Folders inside those that are left out.
const LEFT_OUT: [&str; 3] = ["target", "tests", "__pycache__"];
/// The kernel itself, which cells do not use.
const KERNEL: &str = "notebook/kernel";

/// Makes the copy equal to the source tree; files with the same content keep their times. Says whether anything that
/// cells use has changed.
///
/// # Errors
/// If a file cannot be read or written.
pub fn sync(root: &Path, copy: &Path) -> Result<bool> {
    let mut changed = false;
    let mut kept = BTreeSet::new();
    for name in FILES {
        kept.insert(PathBuf::from(name));
        changed |= copy_changed(&root.join(name), &copy.join(name))?;
    }
    for (folder, used) in FOLDERS {
        let mut files = Vec::new();
        collect(root, Path::new(folder), &mut files)?;
        for file in files {
            let differs = copy_changed(&root.join(&file), &copy.join(&file))?;
            changed |= differs && used && !file.starts_with(KERNEL);
            kept.insert(file);
        }
        let mut copies = Vec::new();
        collect(copy, Path::new(folder), &mut copies)?;
        for file in copies.into_iter().filter(|file| !kept.contains(file)) {
            let path = copy.join(&file);
            fs::remove_file(&path).map_err(Error::io("remove", &path))?;
            changed |= used;
        }
    }
    Ok(changed)
}

/// Copies a file unless its copy has the same content; says whether it did.
fn copy_changed(from: &Path, to: &Path) -> Result<bool> {
    let content = fs::read(from).map_err(Error::io("read", from))?;
    if fs::read(to).is_ok_and(|found| found == content) {
        return Ok(false);
    }
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    }
    fs::write(to, content).map_err(Error::io("write", to))?;
    Ok(true)
}

/// The files below a folder of a tree, relative to the tree; none if there is no such folder.
fn collect(root: &Path, folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let path = root.join(folder);
    if !path.is_dir() {
        return Ok(());
    }
    for item in fs::read_dir(&path).map_err(Error::io("read", &path))? {
        let item = item.map_err(Error::io("read", &path))?;
        let inside = folder.join(item.file_name());
        if !item.path().is_dir() {
            files.push(inside);
        } else if !LEFT_OUT.iter().any(|name| item.file_name() == *name) {
            collect(root, &inside, files)?;
        }
    }
    Ok(())
}

/// The compiler, as text: another one compiles everything anew.
///
/// # Errors
/// If it cannot be run.
pub fn compiler() -> Result<String> {
    let rustc = Command::new("rustc").arg("-vV").output().map_err(Error::io("run", Path::new("rustc")))?;
    Ok(String::from_utf8_lossy(&rustc.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::places;
    use std::time::{Duration, SystemTime};

    #[test]
    fn a_copy_follows_the_text_of_its_tree_and_not_the_times() {
        let dir = std::env::temp_dir().join(format!("kernelscope-sources-{}", std::process::id()));
        let (root, copy) = (dir.join("tree"), dir.join("copy"));
        let write = |name: &str, text: &str| {
            fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
            fs::write(root.join(name), text).unwrap();
        };
        for name in ["Cargo.toml", "Cargo.lock", "build.rs", "src/lib.rs", "src/ops/a.rs", "xtask/src/main.rs"] {
            write(name, name);
        }
        write("notebook/tests/big.txt", "left out");
        write("notebook/kernel/src/main.rs", "1");
        assert!(sync(&root, &copy).unwrap());
        assert!(!sync(&root, &copy).unwrap() && !copy.join("notebook/tests").exists());
        let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let file = fs::File::options().write(true).open(copy.join("src/lib.rs")).unwrap();
        file.set_modified(long_ago).unwrap();
        write("src/lib.rs", "src/lib.rs");
        assert!(!sync(&root, &copy).unwrap());
        assert_eq!(fs::metadata(copy.join("src/lib.rs")).unwrap().modified().unwrap(), long_ago);
        write("xtask/src/main.rs", "2");
        write("notebook/kernel/src/main.rs", "2");
        assert!(!sync(&root, &copy).unwrap());
        assert_eq!(fs::read_to_string(copy.join("xtask/src/main.rs")).unwrap(), "2");
        write("src/ops/a.rs", "2");
        assert!(sync(&root, &copy).unwrap());
        fs::remove_file(root.join("src/ops/a.rs")).unwrap();
        assert!(sync(&root, &copy).unwrap() && !copy.join("src/ops/a.rs").exists());
        places::remove(&dir);
    }
}
