//! The files of the source tree.

use super::rust::Source;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Files that are read as text; of others only the names matter.
const TEXT: [&str; 14] = ["rs", "md", "toml", "py", "cu", "cuh", "h", "c", "cpp", "sh", "yml", "yaml", "ipynb", "css"];
/// The same, by their names.
const TEXT_NAMES: [&str; 2] = ["run", ".gitignore"];
/// Folders that are not of the source tree, where git does not say so.
const LEFT_OUT: [&str; 4] = ["target", "runs", "__pycache__", ".git"];

/// A text file. Its path is relative to the root and has slashes.
pub struct File {
    pub path: String,
    pub text: String,
}

pub struct Tree {
    /// All files, sorted.
    pub paths: BTreeSet<String>,
    /// Text files that are not Rust.
    pub files: Vec<File>,
    pub rust: Vec<Source>,
}

impl Tree {
    pub fn read(root: &Path) -> Result<Self, String> {
        let mut files = Vec::new();
        let paths = match of_git(root) {
            Some(paths) => paths,
            None => walk(root)?,
        };
        for path in &paths {
            if is_text(path) {
                let at = root.join(path);
                let text = fs::read_to_string(&at).map_err(|e| format!("cannot read {}: {e}", at.display()))?;
                files.push(File { path: path.clone(), text });
            }
        }
        Ok(Tree::new(paths, files))
    }

    fn new(paths: BTreeSet<String>, files: Vec<File>) -> Self {
        let (rust, files): (Vec<File>, Vec<File>) = files.into_iter().partition(|file| file.path.ends_with(".rs"));
        let rust = rust.into_iter().map(|file| Source::new(file.path, file.text)).collect();
        Tree { paths, files, rust }
    }

    /// A tree of a few texts, for the rules' tests.
    #[cfg(test)]
    pub fn of(files: &[(&str, &str)]) -> Self {
        let paths = files.iter().map(|(path, _)| path.to_string()).collect();
        let texts = files.iter().map(|(path, text)| File { path: path.to_string(), text: text.to_string() });
        Tree::new(paths, texts.filter(|file| is_text(&file.path)).collect())
    }

    /// Paths and texts of all text files.
    pub fn texts(&self) -> impl Iterator<Item = (&str, &str)> {
        let rust = self.rust.iter().map(|source| (&*source.path, &*source.text));
        rust.chain(self.files.iter().map(|file| (&*file.path, &*file.text)))
    }

    /// The folder of the package that a file belongs to, with a slash at its end; empty for that of the root.
    pub fn package_of(&self, path: &str) -> String {
        let mut folder = path;
        while let Some((parent, _)) = folder.rsplit_once('/') {
            if self.paths.contains(&format!("{parent}/Cargo.toml")) {
                return format!("{parent}/");
            }
            folder = parent;
        }
        String::new()
    }
}

fn is_text(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    TEXT_NAMES.contains(&name) || name.rsplit_once('.').is_some_and(|(_, extension)| TEXT.contains(&extension))
}

/// What git knows or would add, if this is a clone and there is git.
fn of_git(root: &Path) -> Option<BTreeSet<String>> {
    let mut git = Command::new("git");
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(root);
    let output = git.output().ok().filter(|output| output.status.success())?;
    let names = String::from_utf8(output.stdout).ok()?;
    // A file that was removed or renamed by hand is still known.
    let there = |name: &&str| !name.is_empty() && root.join(name).is_file();
    Some(names.split('\0').filter(there).map(str::to_string).collect())
}

/// All files below the root.
fn walk(root: &Path) -> Result<BTreeSet<String>, String> {
    let mut paths = BTreeSet::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        let at = root.join(&folder);
        let cannot = |e| format!("cannot read {}: {e}", at.display());
        for item in fs::read_dir(&at).map_err(cannot)? {
            let item = item.map_err(cannot)?;
            let Ok(name) = item.file_name().into_string() else { continue };
            let path = format!("{folder}{name}");
            match item.file_type().map_err(cannot)? {
                kind if kind.is_dir() && !LEFT_OUT.contains(&&*name) => folders.push(path + "/"),
                kind if kind.is_file() => {
                    paths.insert(path);
                }
                _ => {}
            }
        }
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_belong_to_the_nearest_package() {
        let tree = Tree::of(&[("Cargo.toml", ""), ("a/Cargo.toml", ""), ("a/b/Cargo.toml", ""), ("a/src/x/y.rs", "")]);
        assert_eq!(tree.package_of("a/src/x/y.rs"), "a/");
        assert_eq!(tree.package_of("a/b/build.rs"), "a/b/");
        assert_eq!(tree.package_of("src/lib.rs"), "");
    }

    #[test]
    fn a_tree_is_read_with_git_and_without() {
        let root = std::env::temp_dir().join(format!("xtask-tree-{}", std::process::id()));
        for path in ["src/a.rs", "target/b.rs", ".git/c.rs", ".ci/run"] {
            crate::files::make(root.join(path).parent().unwrap()).unwrap();
            crate::files::write(&root.join(path), "").unwrap();
        }
        assert_eq!(walk(&root).unwrap().into_iter().collect::<Vec<_>>(), [".ci/run", "src/a.rs"]);
        crate::files::remove(&root).unwrap();
        // This tree, where it is a clone.
        if let Some(paths) = of_git(&crate::root()) {
            assert!(paths.contains("xtask/src/tidy/tree.rs") && !paths.iter().any(|path| path.starts_with("target/")));
        }
    }
}
