//! PyTorch checkpoints in the zip format of `torch.save`.
//!
//! Candle has a reader for these, which is not used here: it keeps a copy of every shared object instead of the object,
//! recurses as deeply as the file says and shifts by as much as the file says, so a hostile or damaged file can exhaust
//! the memory or end the process. It also refuses files in which a foreign entry holds a subclass of `dict` or a
//! `deque`, or a large integer, and tensors that are neither row- nor column-major; and it loses the order of entries.

mod object;
mod pickle;
mod records;
mod tensors;
mod zip;

use super::TensorMap;
use super::source::Source;
use crate::Result;
use crate::text::short_name;
use zip::Archive;

/// Largest description of objects (`data.pkl`) that is read. Those of large networks with optimizer state have a few
/// megabytes; tensor values are not in it.
const MAX_PICKLE: u64 = 256 << 20;

/// Reads the tensors of the entry `key`, or of the entry that usually holds them.
pub(super) fn read(source: &mut Source, key: Option<&str>) -> Result<TensorMap> {
    let archive = Archive::open(source)?;
    let root = root(source, &archive)?;
    if archive.get(&format!("{root}constants.pkl")).is_some() {
        return Err(source.fault("is a TorchScript program; save the state_dict() of the model instead"));
    }
    let order = format!("{root}byteorder");
    if archive.get(&order).is_some() && archive.read(source, &order)? != b"little" {
        return Err(source.fault(
            "was written on a big-endian machine; load it with torch and save it again on a little-endian machine",
        ));
    }
    let objects = format!("{root}data.pkl");
    if let Some(entry) = archive.get(&objects)
        && entry.size > MAX_PICKLE
    {
        return Err(source.fault(format!("{objects} has {} bytes, allowed: up to {MAX_PICKLE}", entry.size)));
    }
    let bytes = archive.read(source, &objects)?;
    let pickle = pickle::parse(&bytes).map_err(|message| source.fault(message))?;
    let records = records::select(&pickle, key).map_err(|message| source.fault(message))?;
    tensors::read(source, &archive, &root, &records)
}

/// The folder inside the zip that everything is in, with its slash. `torch.save` names it after the file.
fn root(source: &Source, archive: &Archive) -> Result<String> {
    let mut roots = archive.names().filter_map(|name| name.strip_suffix("data.pkl")).filter(|folder| {
        let inner = folder.strip_suffix('/');
        folder.is_empty() || inner.is_some_and(|inner| !inner.contains('/'))
    });
    match (roots.next(), roots.next()) {
        (Some(root), None) => Ok(root.to_owned()),
        (None, _) => Err(source.fault("is a zip file, but not one of PyTorch's: it has no data.pkl")),
        (Some(a), Some(b)) => {
            let (a, b) = if a < b { (a, b) } else { (b, a) };
            Err(source.fault(format!("has more than one data.pkl: in {} and {}", short_name(a), short_name(b))))
        }
    }
}
