//! A copy of the source tree, against which cells are compiled: who works on the library while a notebook is open does not
//! change the types of its variables, and a fresh clone with the same text needs no new compilation.

use crate::{Error, Result};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Folders that Cargo reads, and whether cells use what is in them. The others are there because a workspace is not read
/// without its members.
const FOLDERS: [(&str, bool); 9] = [
    ("src", true),
    ("kernels", true),
    ("crates/lab", true),
    ("crates/prelude", true),
    ("crates/cli", false),
    ("crates/jupyter", false),
    ("viewer", false),
    ("xtask", false),
    ("benches", false),
];
/// Files of the root.
const FILES: [&str; 3] = ["Cargo.toml", "Cargo.lock", "build.rs"];
/// Folders inside those that are left out.
const LEFT_OUT: [&str; 3] = ["target", "tests", "__pycache__"];
/// The manifest of what cells depend on.
const MANIFEST: &str = "crates/prelude/Cargo.toml";
/// The package of this manifest.
const PACKAGE: &str = "kernelscope-prelude";
/// A package that the copy has besides, and what is added to that manifest.
const PINS: &str = "crates/prelude/pins/Cargo.toml";
const NO_PINS: &str = "crates/prelude/pins/src/lib.rs";
const WITH_PINS: &str = "\n[dependencies.kernelscope-pins]\npath = \"pins\"\n";

/// Makes the copy equal to the source tree; files with the same content keep their times. Says whether anything that
/// cells use has changed, and calls `begin` before that changes.
///
/// # Errors
/// If a file cannot be read or written.
pub fn sync(root: &Path, copy: &Path, begin: &dyn Fn()) -> Result<bool> {
    let mut changed = false;
    let mut kept = BTreeSet::new();
    for name in FILES {
        kept.insert(PathBuf::from(name));
        changed |= write_changed(&read(&root.join(name))?, &copy.join(name), begin)?;
    }
    for (file, content) in [(PINS, pins(&root.join("Cargo.lock"))?.as_str()), (NO_PINS, "")] {
        kept.insert(PathBuf::from(file));
        changed |= write_changed(content.as_bytes(), &copy.join(file), begin)?;
    }
    for (folder, used) in FOLDERS {
        let mut files = Vec::new();
        collect(root, Path::new(folder), &mut files)?;
        for file in files {
            let mut content = read(&root.join(&file))?;
            if file == Path::new(MANIFEST) {
                content.extend_from_slice(WITH_PINS.as_bytes());
            }
            let differs = write_changed(&content, &copy.join(&file), if used { begin } else { &|| () })?;
            changed |= differs && used;
            kept.insert(file);
        }
        let mut copies = Vec::new();
        collect(copy, Path::new(folder), &mut copies)?;
        for file in copies.into_iter().filter(|file| !kept.contains(file)) {
            let path = copy.join(&file);
            if used {
                begin();
            }
            fs::remove_file(&path).map_err(Error::io("remove", &path))?;
            changed |= used;
        }
    }
    Ok(changed)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(Error::io("read", path))
}

/// Writes a file unless it has this content; says whether it did.
fn write_changed(content: &[u8], to: &Path, begin: &dyn Fn()) -> Result<bool> {
    if fs::read(to).is_ok_and(|found| found == content) {
        return Ok(false);
    }
    begin();
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder).map_err(Error::io("create", folder))?;
    }
    fs::write(to, content).map_err(Error::io("write", to))?;
    Ok(true)
}

/// The part of a lock file that says which versions there are.
#[derive(Debug, serde::Deserialize)]
struct Lock {
    #[serde(default)]
    package: Vec<Package>,
}

#[derive(Debug, serde::Deserialize)]
struct Package {
    name: String,
    version: String,
    source: Option<String>,
    /// Names, with a version where there are several.
    #[serde(default)]
    dependencies: Vec<String>,
}

impl Lock {
    /// What a package depends on, directly or not.
    fn below(&self, name: &str) -> Vec<&Package> {
        let mut found: Vec<&Package> = self.package.iter().filter(|package| package.name == name).collect();
        let mut next = 0;
        while let Some(package) = found.get(next).copied() {
            for dependency in &package.dependencies {
                let mut words = dependency.split(' ');
                let (name, version) = (words.next(), words.next());
                let is_it = |p: &&Package| Some(&*p.name) == name && version.is_none_or(|version| p.version == version);
                let new = |p: &&Package| !found.iter().any(|other| std::ptr::eq(*other, *p));
                found.extend(self.package.iter().filter(is_it).filter(new).collect::<Vec<_>>());
            }
            next += 1;
        }
        found
    }
}

/// A package with dependencies that no platform has, on exactly the versions of a lock file. evcxr makes Cargo forget the session's own
/// lock file whenever a cell adds a dependency. With newer versions, what variables are made of would be compiled anew, and
/// be of other types than before.
fn pins(lock: &Path) -> Result<String> {
    let text = String::from_utf8_lossy(&read(lock)?).into_owned();
    let parsed = toml::from_str(&text);
    let lock: Lock = parsed.map_err(|e| Error::Other(format!("{}: {e}", lock.display())))?;
    let mut pins = String::from(
        "[package]\nname = \"kernelscope-pins\"\nedition = \"2024\"\n\n[target.'cfg(any())'.dependencies]\n",
    );
    let registry = |package: &&Package| package.source.as_ref().is_some_and(|source| source.starts_with("registry+"));
    for (number, Package { name, version, .. }) in lock.below(PACKAGE).into_iter().filter(registry).enumerate() {
        // What follows a plus is of no importance to which version it is.
        let version = version.split('+').next().unwrap_or(version);
        pins +=
            &format!("pin{number} = {{ package = \"{name}\", version = \"={version}\", default-features = false }}\n");
    }
    Ok(pins)
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
    use std::cell::Cell;
    use std::time::{Duration, SystemTime};

    const LOCK: &str = r#"
version = 4
[[package]]
name = "kernelscope-prelude"
version = "0.1.0"
dependencies = ["png 0.18.1", "toml"]
[[package]]
name = "png"
version = "0.17.16"
source = "registry+https://github.com/rust-lang/crates.io-index"
[[package]]
name = "png"
version = "0.18.1"
source = "registry+https://github.com/rust-lang/crates.io-index"
[[package]]
name = "toml"
version = "1.2.1+spec-1.1.0"
source = "registry+https://github.com/rust-lang/crates.io-index"
dependencies = ["png 0.18.1", "toml"]
[[package]]
name = "egui"
version = "0.37.0"
source = "registry+https://github.com/rust-lang/crates.io-index"
"#;

    #[test]
    fn pins_are_of_what_cells_depend_on() {
        let file = std::env::temp_dir().join(format!("kernelscope-lock-{}", std::process::id()));
        fs::write(&file, LOCK).unwrap();
        let pins = pins(&file).unwrap();
        let pins: Vec<&str> = pins.lines().skip(5).collect();
        assert_eq!(
            pins,
            [
                "pin0 = { package = \"png\", version = \"=0.18.1\", default-features = false }",
                "pin1 = { package = \"toml\", version = \"=1.2.1\", default-features = false }",
            ]
        );
        fs::write(&file, "[[package").unwrap();
        assert!(super::pins(&file).unwrap_err().to_string().contains("kernelscope-lock"));
        fs::remove_file(&file).unwrap();
    }

    #[test]
    fn a_copy_follows_the_text_of_its_tree_and_not_the_times() {
        let dir = std::env::temp_dir().join(format!("kernelscope-sources-{}", std::process::id()));
        let (root, copy) = (dir.join("tree"), dir.join("copy"));
        let write = |name: &str, text: &str| {
            fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
            fs::write(root.join(name), text).unwrap();
        };
        for name in ["Cargo.toml", "build.rs", "src/lib.rs", "src/ops/a.rs", "xtask/src/main.rs", MANIFEST] {
            write(name, &format!("# {name}"));
        }
        write("Cargo.lock", LOCK);
        write("crates/prelude/tests/big.txt", "left out");
        write("crates/jupyter/src/main.rs", "1");
        let begun = Cell::new(0);
        let sync = || sync(&root, &copy, &|| begun.set(begun.get() + 1)).unwrap();
        assert!(sync() && begun.take() > 0);
        assert!(!sync() && begun.take() == 0 && !copy.join("crates/prelude/tests").exists());
        let manifest = fs::read_to_string(copy.join(MANIFEST)).unwrap();
        assert!(manifest.starts_with("# crates/prelude/Cargo.toml\n[dependencies."), "{manifest}");
        assert!(copy.join(PINS).is_file() && copy.join(NO_PINS).is_file());
        let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let file = fs::File::options().write(true).open(copy.join("src/lib.rs")).unwrap();
        file.set_modified(long_ago).unwrap();
        write("src/lib.rs", "# src/lib.rs");
        assert!(!sync());
        assert_eq!(fs::metadata(copy.join("src/lib.rs")).unwrap().modified().unwrap(), long_ago);
        write("xtask/src/main.rs", "2");
        write("crates/jupyter/src/main.rs", "2");
        assert!(!sync() && begun.take() == 0);
        assert_eq!(fs::read_to_string(copy.join("xtask/src/main.rs")).unwrap(), "2");
        write("src/ops/a.rs", "2");
        assert!(sync() && begun.take() == 1);
        fs::remove_file(root.join("src/ops/a.rs")).unwrap();
        assert!(sync() && begun.take() == 1 && !copy.join("src/ops/a.rs").exists());
        places::remove(&dir);
    }
}
