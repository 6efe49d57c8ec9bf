//! Checks of figures' values; every error names the field.

use crate::{Error, Result};

/// Refuses an empty list.
pub(super) fn not_empty<T>(name: &str, list: &[T]) -> Result<()> {
    if list.is_empty() { Err(Error::argument(name, "an empty list", "at least one entry")) } else { Ok(()) }
}

/// Refuses a list of another length.
pub(super) fn length(name: &str, given: usize, wanted: usize) -> Result<()> {
    if given == wanted { Ok(()) } else { Err(Error::argument(name, format!("{given} values"), format!("{wanted}"))) }
}

/// Refuses a value outside `low..=high`, and NaN.
pub(super) fn range(name: &str, value: f64, low: f64, high: f64) -> Result<()> {
    if (low..=high).contains(&value) { Ok(()) } else { Err(Error::argument(name, value, format!("{low} to {high}"))) }
}

/// Refuses a count outside `low..=high`.
pub(super) fn count(name: &str, value: usize, low: usize, high: usize) -> Result<()> {
    if (low..=high).contains(&value) { Ok(()) } else { Err(Error::argument(name, value, format!("{low} to {high}"))) }
}

/// Refuses a value that is infinite or not a number.
pub(super) fn finite(name: &str, value: f64) -> Result<()> {
    if value.is_finite() { Ok(()) } else { Err(Error::argument(name, value, "a finite number")) }
}
