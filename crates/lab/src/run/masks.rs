//! `masks.csv`: how the masks of a sparse run change, one row per layer at the start and after every update.

use super::metrics::{RowWriter, read_table};
use crate::Result;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// One layer's mask after an update. A *group* is what one value of the mask decides on: a weight, or in coarse masks a
/// whole small kernel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MaskRow {
    /// Optimizer steps done; 0 for the initial masks.
    pub step: usize,
    /// Name of the weight.
    pub layer: String,
    /// Share of groups that the layer's mask keeps.
    pub density: f64,
    /// Share of groups that any path of the layer's block keeps: what is left in the sum over the paths. The density
    /// itself where a layer has no parallel paths.
    pub merged_density: f64,
    /// Share of groups that have been kept at least once since the start of training: the in-time
    /// over-parameterization of Liu et al. (2021).
    pub explored: f64,
}

/// Appends rows to `masks.csv`.
pub type MaskWriter = RowWriter<MaskRow>;

/// Reads all complete rows; a last line that was cut off by a crash is left out.
///
/// # Errors
/// If the file cannot be read or a row other than the last is damaged.
pub fn read_mask_rows(path: &Path) -> Result<Vec<MaskRow>> {
    read_table(path)
}
