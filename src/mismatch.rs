//! The report on weights that do not fit a network: a value of its own, below the error that carries it and the
//! weights that it is about.

use std::fmt;

use crate::text::{one_line, short_name};

/// How many names a list shows.
const SHOWN: usize = 5;

/// The differences between the tensors a network needs and those a file has. Its text is one line, however many
/// differences there are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mismatch {
    /// Where the weights came from, usually a file name.
    pub source: String,
    /// Tensors that the network needs and the file lacks.
    pub missing: Vec<String>,
    /// Tensors in the file that the network does not have.
    pub unexpected: Vec<String>,
    /// Tensors that both have, with different shapes.
    pub wrong_shape: Vec<WrongShape>,
}

/// A tensor whose shape differs between the network and the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongShape {
    /// Name of the tensor.
    pub name: String,
    /// Shape in the network.
    pub expected: Vec<usize>,
    /// Shape in the file.
    pub found: Vec<usize>,
}

impl Mismatch {
    /// Whether there is no difference.
    pub fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.wrong_shape.is_empty()
    }
}

impl std::error::Error for Mismatch {}

impl fmt::Display for WrongShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: expected {:?}, found {:?}", short_name(&self.name), self.expected, self.found)
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = one_line(&self.source);
        if self.is_empty() {
            return write!(f, "weights in {file} fit the network");
        }
        let parts = [
            list(&self.missing, "missing", |name| short_name(name)),
            list(&self.unexpected, "unexpected", |name| short_name(name)),
            list(&self.wrong_shape, "with a wrong shape", WrongShape::to_string),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        write!(f, "weights in {file} do not fit the network: {}", parts.join(", "))
    }
}

/// "7 missing (a, b, c, d, e, ... 2 more)", or nothing for an empty list.
fn list<T>(items: &[T], what: &str, text: impl Fn(&T) -> String) -> Option<String> {
    if items.is_empty() {
        return None;
    }
    let mut shown: Vec<String> = items.iter().take(SHOWN).map(text).collect();
    if items.len() > SHOWN {
        shown.push(format!("... {} more", items.len() - SHOWN));
    }
    Some(format!("{} {what} ({})", items.len(), shown.join(", ")))
}
