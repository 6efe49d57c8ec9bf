//! Reading, checking and writing network weights.
//!
//! [`load`] reads safetensors files and PyTorch checkpoints, old and new, in one file or in several, telling them apart
//! by content. Nothing in a checkpoint is executed: a pickle is only parsed as data, and classes it names are never
//! looked up. [`File`] says what a file contains without reading values. [`save`] writes safetensors, all of the file or
//! nothing.
//!
//! ```
//! use candle_core::{Device, Tensor};
//! use kernelscope::weights::{TensorMap, load, save};
//! # fn main() -> kernelscope::Result<()> {
//! # let folder = tempfile::tempdir().map_err(kernelscope::Error::io("create", "folder"))?;
//! let path = folder.path().join("net.safetensors");
//! let mut tensors = TensorMap::new();
//! tensors.insert("head.bias".to_owned(), Tensor::new(&[1f32, 2.0], &Device::Cpu)?);
//! save(&path, &tensors, &[("epoch".to_owned(), "3".to_owned())].into())?;
//! let checkpoint = load(&path)?;
//! assert_eq!(checkpoint.tensors["head.bias"].to_vec1::<f32>()?, [1.0, 2.0]);
//! assert_eq!(checkpoint.metadata["epoch"], "3");
//! # Ok(())
//! # }
//! ```

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use candle_core::TensorId;
use indexmap::IndexMap;

use crate::Result;

mod container;
mod element;
mod file;
mod flat;
mod folder;
mod format;
mod kernel;
pub mod keys;
mod pth;
mod record;
mod sets;
mod source;
mod tensors;
pub(crate) mod views;
mod zip;

pub use crate::mismatch::{Mismatch, WrongShape};
pub use element::ElementType;
pub use file::File;
pub(crate) use file::several;
pub use flat::save;
pub use folder::in_folder;
pub use kernel::center_crop_kernel;
pub use record::{Entry, TensorInfo};
pub(crate) use sets::Rank;

/// Named tensors in the order of their file.
pub type TensorMap = IndexMap<String, candle_core::Tensor>;

/// What a weights file held.
///
/// The fields may grow: `Checkpoint { tensors, source, ..Checkpoint::default() }` makes one of tensors in memory.
#[derive(Debug, Clone, Default)]
pub struct Checkpoint {
    /// The tensors, on the CPU. Floats of all widths have become f32; integers are as they were in the file.
    pub tensors: TensorMap,
    /// The text entries of a safetensors header; empty for a PyTorch file.
    pub metadata: BTreeMap<String, String>,
    /// The file: for a folder, the one in it.
    pub source: PathBuf,
    /// The element types that the tensors had in the file.
    pub dtypes: IndexMap<String, ElementType>,
    /// Where in the file the tensors were: the path of an [`Entry`], or the start of names that was asked for.
    pub entry: String,
    /// Other sets of tensors in the file, which a network may turn out to belong to; none if one was asked for.
    pub others: Vec<Entry>,
    /// The text of the `config.json` beside weights in a folder of the Hugging Face Hub.
    pub config: Option<String>,
}

impl Checkpoint {
    /// The checkpoint with its tensors under other names. Element types follow the tensors that are kept as they are.
    ///
    /// # Errors
    /// Those of `rename`.
    pub fn renamed(self, rename: impl FnOnce(TensorMap) -> Result<TensorMap>) -> Result<Self> {
        let known = self.tensors.iter().filter_map(|(name, tensor)| Some((tensor.id(), *self.dtypes.get(name)?)));
        let types: HashMap<TensorId, ElementType> = known.collect();
        let tensors = rename(self.tensors)?;
        let found = tensors.iter().filter_map(|(name, tensor)| Some((name.clone(), *types.get(&tensor.id())?)));
        let dtypes = found.collect();
        Ok(Checkpoint { tensors, dtypes, ..self })
    }
}

/// How to read a weights file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// Which tensors of the file are meant, where it has several sets: the names of the dictionaries around them, joined
    /// by dots (`model_ema`, `ema.module`), or the start of their names, up to a dot (`ema_model`). A file without them
    /// is refused. By default a network takes those that fit it: first those under a usual name, such as `state_dict`
    /// or `model`, then averaged weights, then the top level of the file.
    pub key: Option<String>,
}

/// Reads a weights file with the default [`LoadOptions`].
///
/// # Errors
/// A file that is missing, damaged, of another kind, or that holds a tensor of an unsupported element type.
pub fn load(path: &Path) -> Result<Checkpoint> {
    load_with(path, &LoadOptions::default())
}

/// Reads a weights file: safetensors, a PyTorch checkpoint, the index of either in several files, or a folder with one of
/// these ([`in_folder`]).
///
/// Names from a PyTorch checkpoint lose the prefixes that training wrappers add ([`keys::strip_prefixes`]).
///
/// # Errors
/// As [`load`]; and a `key` that the file does not have.
pub fn load_with(path: &Path, options: &LoadOptions) -> Result<Checkpoint> {
    let mut file = File::open(path)?;
    match &options.key {
        Some(key) => file.read(key),
        None => file.read_preferred(),
    }
}
