//! Tables as CSV.

use crate::{Error, Result};
use kernelscope::files::write_atomically;
use serde::Serialize;
use std::path::Path;

/// Writes any rows as CSV, atomically. The names of their fields are the header.
///
/// # Errors
/// If a row is no record of plain values, or the file cannot be written.
pub fn table<R: Serialize>(path: &Path, rows: &[R]) -> Result<()> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        writer.serialize(row).map_err(|e| Error::file(path, e))?;
    }
    let bytes = writer.into_inner().map_err(|e| Error::file(path, e.error()))?;
    write_atomically(path, |file| file.write_all(&bytes))
}
