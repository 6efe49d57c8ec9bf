//! PyTorch checkpoints: a pickle that describes objects, and the values of their tensors. Since torch 1.6 both are in a
//! zip file; before, they followed each other ([`legacy`]).
//!
//! Candle has a reader for zip files, which is not used here: it keeps a copy of every shared object instead of the
//! object, recurses as deeply as the file says and shifts by as much as the file says, so a hostile or damaged file can
//! exhaust the memory or end the process. It also refuses files in which a foreign entry holds a subclass of `dict` or a
//! `deque`, or a large integer, and tensors that are neither row- nor column-major; and it loses the order of entries.

mod entries;
mod legacy;
mod object;
mod pickle;
mod records;

use std::collections::HashMap;

use super::record::Set;
use super::source::Source;
use super::zip::Archive;
use crate::Result;
use crate::text::short_name;
pub(super) use legacy::is_legacy;
use object::Pickle;
use records::Places;

/// Largest description of objects (`data.pkl`) that is read. Those of large networks with optimizer state have a few
/// megabytes; tensor values are not in it.
const MAX_PICKLE: u64 = 256 << 20;

/// A checkpoint, as far as its pickle describes it.
pub(super) struct Described {
    pickle: Pickle,
    places: Places,
    archive: Option<Archive>,
}

impl Described {
    /// Reads the description from a zip file.
    pub(super) fn from_zip(source: &mut Source) -> Result<Self> {
        let archive = Archive::open(source)?;
        if is_exported(&archive) {
            return Err(source.fault("is a program of torch.export; save the state_dict() of the model instead"));
        }
        let root = root(source, &archive)?;
        let program = |name: &str| name.strip_prefix(&root).is_some_and(|name| name.starts_with("code/"));
        if archive.get(&format!("{root}constants.pkl")).is_some() || archive.names().any(program) {
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
        let pickle = pickle::parse(bytes).map_err(|message| source.fault(message))?;
        Ok(Described { pickle, places: Places::Zip { root }, archive: Some(archive) })
    }

    /// Reads the description from a file in the format before zip files.
    pub(super) fn from_legacy(source: &mut Source) -> Result<Self> {
        let (pickle, places) = legacy::read(source)?;
        Ok(Described { pickle, places: Places::Legacy(places), archive: None })
    }

    /// The zip file that the values are in.
    pub(super) fn archive(&self) -> Option<&Archive> {
        self.archive.as_ref()
    }

    /// All sets of tensors that may be weights of a network, the preferred first.
    pub(super) fn sets(&self, source: &Source) -> Result<Vec<Set>> {
        entries::find(&self.pickle, &self.places).map_err(|message| source.fault(message))
    }

    /// The set at a dotted path, wherever it is, and what is left of the path: the start of names in that set.
    pub(super) fn set_at(&self, source: &Source, path: &str) -> Result<(Set, String)> {
        entries::at(&self.pickle, &self.places, path).map_err(|message| source.fault(message))
    }

    /// That there is no entry of this name, and which there are.
    pub(super) fn absent(&self, key: &str) -> String {
        entries::absent(&self.pickle, key)
    }
}

/// Places of values in a file before zip files, by their keys.
type LegacyPlaces = HashMap<String, (u64, u64)>;

/// The folder inside the zip that everything is in, with its slash. `torch.save` names it after the file.
fn root(source: &Source, archive: &Archive) -> Result<String> {
    let mut roots = archive.names().filter_map(|name| name.strip_suffix("data.pkl")).filter(|folder| {
        let inner = folder.strip_suffix('/');
        folder.is_empty() || inner.is_some_and(|inner| !inner.contains('/'))
    });
    match (roots.next(), roots.next()) {
        (Some(root), None) => Ok(root.to_owned()),
        (None, _) => Err(source.fault(foreign(archive))),
        (Some(a), Some(b)) => {
            let (a, b) = if a < b { (a, b) } else { (b, a) };
            Err(source.fault(format!("has more than one data.pkl: in {} and {}", short_name(a), short_name(b))))
        }
    }
}

/// Endings of checkpoints.
const CHECKPOINTS: [&str; 5] = [".pth", ".pt", ".bin", ".ckpt", ".safetensors"];

/// What a zip file is that torch.save did not write.
fn foreign(archive: &Archive) -> String {
    let any = |wanted: &dyn Fn(&str) -> bool| archive.names().any(wanted);
    if any(&|name| name.ends_with(".npy")) {
        return "is an archive of NumPy arrays (npz); convert it with \
                safetensors.numpy.save_file(dict(np.load(FILE)), OUT) if its names are PyTorch's, since the layouts of JAX \
                and TensorFlow are transposed"
            .to_owned();
    }
    if any(&|name| name == "model.weights.h5") {
        return "is a Keras archive; load it in Keras, and convert it to a PyTorch state dict".to_owned();
    }
    let mut inside: Vec<&str> =
        archive.names().filter(|name| CHECKPOINTS.iter().any(|end| name.ends_with(end))).collect();
    inside.sort_unstable();
    match inside[..] {
        [] => "is a zip file, but not one of PyTorch's: it has no data.pkl".to_owned(),
        [one] => format!("is a zip file around the checkpoint {}; unpack it first (unzip FILE)", short_name(one)),
        [one, two, ..] => format!(
            "is a zip file around {} checkpoints, such as {} and {}; unpack it first (unzip FILE)",
            inside.len(),
            short_name(one),
            short_name(two)
        ),
    }
}

/// Whether a zip file is a program of torch.export.
fn is_exported(archive: &Archive) -> bool {
    archive.names().any(|name| {
        let (folder, file) = name.rsplit_once('/').unwrap_or(("", name));
        let in_models = folder == "models" || folder.ends_with("/models");
        file == "archive_format" || file == "serialized_exported_program.json" || in_models && file.ends_with(".json")
    })
}
