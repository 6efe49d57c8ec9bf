//! Bounded reading of a weights file.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::text::one_line;
use crate::{Error, Result};

/// An open file of known length. Reads name a place and a size, so that each part is read once and nothing larger than
/// the file is ever allocated.
pub(super) struct Source {
    file: File,
    path: PathBuf,
    len: u64,
}

impl Source {
    pub(super) fn open(path: &Path) -> Result<Self> {
        // Asked before opening, because opening a named pipe would wait for a writer.
        let metadata = std::fs::metadata(path).map_err(Error::io("read", path))?;
        if !metadata.is_file() {
            return Err(Error::file(path, "is not a regular file"));
        }
        if metadata.len() == 0 {
            return Err(Error::file(path, "is empty; if it was downloaded, fetch it again"));
        }
        let file = File::open(path).map_err(Error::io("read", path))?;
        Ok(Self { file, path: path.to_path_buf(), len: metadata.len() })
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The first bytes, at most `most`.
    pub(super) fn head(&mut self, most: u64) -> Result<Vec<u8>> {
        self.read_at(0, self.len.min(most))
    }

    /// The bytes from `offset` to `offset + len`.
    pub(super) fn read_at(&mut self, offset: u64, len: u64) -> Result<Vec<u8>> {
        let fits = offset.checked_add(len).is_some_and(|end| end <= self.len);
        let size = match usize::try_from(len) {
            Ok(size) if fits => size,
            _ => {
                return Err(self.fault(format!(
                    "is truncated or damaged: {len} bytes at {offset} are needed, but the file has {}",
                    self.len
                )));
            }
        };
        let mut bytes = vec![0; size];
        let read = self.file.seek(SeekFrom::Start(offset)).and_then(|_| self.file.read_exact(&mut bytes));
        read.map_err(Error::io("read", &self.path))?;
        Ok(bytes)
    }

    /// An error about this file, in one line.
    pub(super) fn fault(&self, message: impl AsRef<str>) -> Error {
        Error::file(&self.path, one_line(message.as_ref()))
    }
}
