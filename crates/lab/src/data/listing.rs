//! Listing folders of images: what is passed over, and which links are followed.
//!
//! Passed over, at every level, is what systems and programs leave among images: names that begin with a dot (`.DS_Store`,
//! `.ipynb_checkpoints`, `._photo.jpg`), and [`LEFT_BEHIND`]. Links to files and folders are followed, but for those that
//! lead back to a folder on the way to them.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// File name endings that count as images, compared without case.
pub const IMAGE_EXTENSIONS: [&str; 9] = ["png", "jpg", "jpeg", "jpe", "bmp", "webp", "tif", "tiff", "gif"];

/// Names that are passed over, compared without case, beside those that begin with a dot.
pub const LEFT_BEHIND: [&str; 5] = ["__MACOSX", "Thumbs.db", "ehthumbs.db", "desktop.ini", "@eaDir"];

/// The images at `path`: the file itself, or all images in that folder and below, sorted. A path without any image is
/// an error.
///
/// # Errors
/// If the folder cannot be read.
pub fn list_images(path: impl AsRef<Path>) -> Result<Vec<PathBuf>> {
    let path = path.as_ref();
    let kind = std::fs::metadata(path).map_err(Error::io("read", path))?;
    if !kind.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    let files = images_below(path)?;
    if files.is_empty() {
        return Err(Error::file(path, format!("this folder contains no images ({})", extensions())));
    }
    Ok(files)
}

/// The folders in `dir`, sorted by name.
pub(super) fn folders(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut way = Way::to(dir)?;
    let mut found = Vec::new();
    for entry in entries(dir)? {
        if way.enter(&entry)? {
            way.leave();
            found.push(entry.path);
        }
    }
    found.sort_by_key(|path| file_name(path));
    Ok(found)
}

/// The images in `dir` and below, sorted; possibly none.
pub(super) fn images_below(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    collect(dir, &mut Way::to(dir)?, &mut found)?;
    found.sort();
    Ok(found)
}

/// The endings of [`IMAGE_EXTENSIONS`], for messages.
pub(super) fn extensions() -> String {
    format!("recognized file extensions: {}", IMAGE_EXTENSIONS.join(", "))
}

/// A file's or folder's own name; what is not UTF-8 in it is replaced.
pub(super) fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn collect(dir: &Path, way: &mut Way, into: &mut Vec<PathBuf>) -> Result<()> {
    for entry in entries(dir)? {
        if way.enter(&entry)? {
            collect(&entry.path, way, into)?;
            way.leave();
        } else if is_image(&entry.path) && entry.kind != Kind::LinkedFolder {
            into.push(entry.path);
        }
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Folder,
    LinkedFolder,
    /// A file, or a link to one or to nothing.
    Other,
}

struct Entry {
    path: PathBuf,
    kind: Kind,
}

/// Everything in `dir` that is not passed over, in no particular order.
fn entries(dir: &Path) -> Result<Vec<Entry>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(Error::io("read", dir))? {
        let entry = entry.map_err(Error::io("read", dir))?;
        if is_passed_over(&entry.file_name()) {
            continue;
        }
        let path = entry.path();
        // The kind of an entry costs nothing; only links have to be followed.
        let kind = match entry.file_type().map_err(Error::io("read", &path))? {
            kind if kind.is_dir() => Kind::Folder,
            kind if kind.is_symlink() && path.is_dir() => Kind::LinkedFolder,
            _ => Kind::Other,
        };
        found.push(Entry { path, kind });
    }
    Ok(found)
}

/// The folders from the outermost to the one that is listed, with all links resolved.
struct Way(Vec<PathBuf>);

impl Way {
    fn to(dir: &Path) -> Result<Self> {
        Ok(Way(vec![dir.canonicalize().map_err(Error::io("read", dir))?]))
    }

    /// Goes one folder deeper, if the entry is a folder and not one that leads back.
    fn enter(&mut self, entry: &Entry) -> Result<bool> {
        let real = match (entry.kind, self.0.last(), entry.path.file_name()) {
            (Kind::Folder, Some(above), Some(name)) => above.join(name),
            (Kind::LinkedFolder, ..) => entry.path.canonicalize().map_err(Error::io("read", &entry.path))?,
            _ => return Ok(false),
        };
        if entry.kind == Kind::LinkedFolder && self.0.iter().any(|above| above.starts_with(&real)) {
            tracing::debug!("{}: a link that leads back to where it is", entry.path.display());
            return Ok(false);
        }
        self.0.push(real);
        Ok(true)
    }

    fn leave(&mut self) {
        self.0.pop();
    }
}

fn is_passed_over(name: &OsStr) -> bool {
    // The bytes of a name that is not UTF-8 begin with a dot as well.
    name.as_encoded_bytes().starts_with(b".") || LEFT_BEHIND.iter().any(|known| name.eq_ignore_ascii_case(known))
}

fn is_image(path: &Path) -> bool {
    path.extension().is_some_and(|e| IMAGE_EXTENSIONS.iter().any(|known| e.eq_ignore_ascii_case(known)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(dir: &Path, name: impl AsRef<Path>) {
        let path = dir.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "not read here").unwrap();
    }

    fn names(dir: &Path) -> Vec<String> {
        let short = |path: &PathBuf| path.strip_prefix(dir).unwrap().display().to_string();
        list_images(dir).unwrap().iter().map(short).collect()
    }

    #[test]
    fn what_systems_leave_behind_is_passed_over_at_every_level() {
        let dir = tempfile::tempdir().unwrap();
        for level in ["", "a/", "a/deep/er/"] {
            put(dir.path(), format!("{level}photo.JPG"));
            for name in [
                ".DS_Store",
                "._photo.jpg",
                ".hidden.png",
                ".ipynb_checkpoints/photo-checkpoint.png",
                "__MACOSX/a/photo.png",
                "__macosx/photo.png",
                "Thumbs.db",
                "@eaDir/photo.jpg",
                "desktop.ini",
                "notes.txt",
                "png",
            ] {
                put(dir.path(), format!("{level}{name}"));
            }
        }
        assert_eq!(names(dir.path()), ["a/deep/er/photo.JPG", "a/photo.JPG", "photo.JPG"]);
        let found: Vec<String> = folders(dir.path()).unwrap().iter().map(|path| file_name(path)).collect();
        assert_eq!(found, ["a"]);
        // Who names a hidden folder wants to see it.
        assert_eq!(names(&dir.path().join(".ipynb_checkpoints")), ["photo-checkpoint.png"]);
    }

    #[test]
    fn a_hundred_thousand_files_are_listed_in_order() {
        let dir = tempfile::tempdir().unwrap();
        // Links to one file are made faster than files.
        put(dir.path(), "0.txt");
        for index in 0..100_000 {
            std::fs::hard_link(dir.path().join("0.txt"), dir.path().join(format!("{index:06}.png")))
                .or_else(|_| std::fs::write(dir.path().join(format!("{index:06}.png")), ""))
                .unwrap();
        }
        let found = list_images(dir.path()).unwrap();
        assert_eq!(found.len(), 100_000);
        assert!(found.is_sorted() && found[99_999].ends_with("099999.png"));
    }

    #[cfg(unix)]
    #[test]
    fn links_are_followed_but_not_around_in_circles() {
        use std::os::unix::fs::symlink;
        let dir = tempfile::tempdir().unwrap();
        let (root, elsewhere) = (dir.path().join("root"), dir.path().join("elsewhere"));
        put(&root, "cat/a.png");
        put(&elsewhere, "b.png");
        symlink(&root, root.join("cat/up")).unwrap();
        symlink(".", root.join("cat/here")).unwrap();
        symlink(".", root.join("self")).unwrap();
        symlink("around", root.join("around.png")).unwrap();
        symlink(root.join("around.png"), root.join("around")).unwrap();
        // Two folders that each contain the other: a circle without a link to a folder above it.
        symlink(&elsewhere, root.join("dog")).unwrap();
        symlink(&root, elsewhere.join("back")).unwrap();
        symlink("a.png", root.join("cat/z.png")).unwrap();
        // A link to nothing counts: it has the name of an image, and reading it will say what is wrong.
        assert_eq!(names(&root), ["around.png", "cat/a.png", "cat/z.png", "dog/b.png"]);
        let found: Vec<String> = folders(&root).unwrap().iter().map(|path| file_name(path)).collect();
        assert_eq!(found, ["cat", "dog"]);
    }

    #[cfg(unix)]
    #[test]
    fn names_need_not_be_utf_8() {
        use std::os::unix::ffi::OsStrExt;
        let dir = tempfile::tempdir().unwrap();
        let name = |bytes: &[u8]| PathBuf::from(OsStr::from_bytes(bytes));
        put(dir.path(), name(b"caf\xe9/\xff.png"));
        put(dir.path(), name(b".\xff.png"));
        let found = list_images(dir.path()).unwrap();
        assert_eq!(found, [dir.path().join(name(b"caf\xe9/\xff.png"))]);
    }
}
