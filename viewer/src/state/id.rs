//! Identifiers of entries.

use serde::{Deserialize, Serialize};

/// Identifies an entry while the program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EntryId(pub u64);
