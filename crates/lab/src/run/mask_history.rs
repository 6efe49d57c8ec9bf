//! `masks.csv` of a run: the masks over its training.

use crate::{Error, Result};
use kernelscope::analysis::report::{MaskHistory, MaskPoint};
use std::collections::HashMap;
use std::path::Path;

/// Reads `masks.csv`, whose header is `step,layer,density,merged_density,explored`. The last two may be empty. A last
/// line that was cut off is left out, as in the metrics of a run.
///
/// # Errors
/// If the file cannot be read, a column is missing, a complete line is damaged, a share is not between 0 and 1, or a
/// layer's steps go back.
pub fn read_mask_history(label: &str, path: &Path) -> Result<MaskHistory> {
    let bytes = std::fs::read(path).map_err(Error::io("read", path))?;
    let end = bytes.iter().rposition(|&b| b == b'\n').map_or(0, |end| end + 1);
    let mut reader = csv::Reader::from_reader(bytes.get(..end).unwrap_or_default());
    let mut points: Vec<MaskPoint> = Vec::new();
    let mut last = HashMap::new();
    for row in reader.deserialize() {
        let point: MaskPoint = row.map_err(|e| Error::file(path, format!("is damaged: {e}")))?;
        let place = || format!("step {}, layer {:?}", point.step, point.layer);
        let shares =
            [("density", Some(point.density)), ("merged_density", point.merged_density), ("explored", point.explored)];
        for (name, share) in shares {
            if let Some(share) = share.filter(|share| !(0.0..=1.0).contains(share)) {
                return Err(Error::file(
                    path,
                    format!("is damaged: {name} is {share} at {}, allowed: 0 to 1", place()),
                ));
            }
        }
        if last.insert(point.layer.clone(), point.step).is_some_and(|before| before >= point.step) {
            return Err(Error::file(
                path,
                format!("is damaged: {} does not follow the previous step of that layer", place()),
            ));
        }
        points.push(point);
    }
    if points.is_empty() {
        return Err(Error::file(path, "has no complete row"));
    }
    Ok(MaskHistory { label: label.to_string(), points })
}
