//! Files that appear complete or not at all.

use std::io::{BufWriter, Error as IoError, ErrorKind, Write};
use std::path::Path;

use tempfile::NamedTempFile;

use crate::{Error, Result};

/// Writes a file through a temporary one in the same folder, which is flushed, synced to the disk and only then renamed.
///
/// A reader sees the old file or the new one, never a part. When anything fails (a full disk, an unwritable folder, an
/// error of `write` itself), the temporary file is removed and an existing file stays as it was. A symbolic link at
/// `path` is replaced, not followed.
///
/// ```
/// # fn main() -> kernelscope::Result<()> {
/// # let folder = tempfile::tempdir().map_err(kernelscope::Error::io("create", "folder"))?;
/// let path = folder.path().join("table.csv");
/// kernelscope::files::write_atomically(&path, |out| out.write_all(b"epoch,loss\n"))?;
/// assert_eq!(std::fs::read_to_string(&path).ok().as_deref(), Some("epoch,loss\n"));
/// # Ok(())
/// # }
/// ```
///
/// # Errors
/// The file cannot be written; the error names `path`.
pub fn write_atomically(path: &Path, write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> Result<()> {
    let attempt = || -> std::io::Result<()> {
        let mut buffered = BufWriter::new(temporary_beside(path)?);
        write(&mut buffered)?;
        let temporary = buffered.into_inner().map_err(|e| e.into_error())?;
        temporary.as_file().sync_all()?;
        temporary.persist(path).map_err(|e| e.error)?;
        // The rename itself reaches the disk with the folder. Not every file system can sync one, and the file is in
        // place already, so a failure here is none of the caller's.
        #[cfg(unix)]
        let _ = std::fs::File::open(folder_of(path)).and_then(|f| f.sync_all());
        Ok(())
    };
    attempt().map_err(Error::io("write", path))
}

/// Finds out whether [`write_atomically`] can write `path`, before the work whose result will go there. Nothing is left
/// behind, and an existing file stays as it is.
///
/// # Errors
/// As [`write_atomically`].
pub fn check_writable(path: &Path) -> Result<()> {
    let attempt = || match path.is_dir() {
        true => Err(IoError::new(ErrorKind::IsADirectory, "it is a folder")),
        false => temporary_beside(path).map(drop),
    };
    attempt().map_err(Error::io("write", path))
}

/// The folder that holds `path`.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// A temporary file in the folder of `path`, which is removed unless it is renamed.
fn temporary_beside(path: &Path) -> std::io::Result<NamedTempFile> {
    if path.file_name().is_none() {
        return Err(IoError::new(ErrorKind::InvalidInput, "the path does not end in a file name"));
    }
    let mut builder = tempfile::Builder::new();
    builder.prefix(".kernelscope-").suffix(".part");
    // A temporary file is private by default; results should get the permissions of any other new file. The operating
    // system takes the user's mask off these.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder_of(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_checked_without_trace() {
        let folder = tempfile::tempdir().unwrap();
        let old = folder.path().join("old.csv");
        std::fs::write(&old, "old").unwrap();
        check_writable(&old).unwrap();
        check_writable(&folder.path().join("new.csv")).unwrap();
        assert_eq!(std::fs::read_to_string(&old).unwrap(), "old");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "a file was left");
        for (place, part) in [("absent/new.csv", "absent"), ("old.csv/new.csv", "old.csv"), ("", "folder")] {
            let message = check_writable(&folder.path().join(place)).unwrap_err().to_string();
            assert!(message.contains("cannot write") && message.contains(part), "{place}: {message}");
        }
    }
}
