//! What TOML can hold, and what is wrong with a file of it.

use crate::{Error, Result};
use std::path::Path;

/// Refuses a number beyond the integers that every TOML reader knows: they are signed.
pub(super) fn check_toml(name: &str, value: u64) -> Result<()> {
    match i64::try_from(value) {
        Ok(_) => Ok(()),
        Err(_) => Err(Error::argument(name, value, format!("at most {}", i64::MAX))),
    }
}

/// What is wrong with a TOML file, in one line that names the place: the message alone often does not name the field.
pub(crate) fn toml_fault(path: &Path, text: &str, error: &toml::de::Error) -> Error {
    let message = error.message().replace('\n', " ");
    let before = error.span().and_then(|span| text.get(..span.start));
    let Some(number) = before.map(|before| before.matches('\n').count()) else { return Error::file(path, message) };
    let line = text.lines().nth(number).unwrap_or_default().trim();
    Error::file(path, format!("line {} (`{line}`): {message}", number + 1))
}
