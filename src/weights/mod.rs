//! Reading, checking and writing network weights.
//!
//! [`load`] reads safetensors files and PyTorch checkpoints (the zip format that `torch.save` has written since
//! torch 1.6), telling them apart by content. Nothing in a checkpoint is executed: a pickle is only parsed as data, and
//! classes it names are never looked up. [`save`] writes safetensors, all of the file or nothing.
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

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;

use crate::Result;

mod flat;
mod kernel;
pub mod keys;
mod pth;
mod source;

pub use crate::mismatch::{Mismatch, WrongShape};
pub use flat::save;
pub use kernel::center_crop_kernel;

use source::Source;

/// Named tensors in the order of their file.
pub type TensorMap = IndexMap<String, candle_core::Tensor>;

/// What a weights file held.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// The tensors, on the CPU. 16-bit and 64-bit floats have become f32; integers are as they were in the file.
    pub tensors: TensorMap,
    /// The text entries of a safetensors header; empty for a PyTorch file.
    pub metadata: BTreeMap<String, String>,
    /// The file.
    pub source: PathBuf,
}

/// How to read a weights file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// The top-level entry of a PyTorch checkpoint that holds the tensors, such as `model_ema`. A file without this
    /// entry is refused. By default the first of `model`, `state_dict`, `model_ema` and `module` that holds tensors is
    /// taken, and otherwise the tensors of the top level itself.
    pub key: Option<String>,
}

/// Reads a safetensors file or a PyTorch checkpoint with the default [`LoadOptions`].
///
/// # Errors
/// A file that is missing, damaged, of another kind, or that holds a tensor of an unsupported element type.
pub fn load(path: &Path) -> Result<Checkpoint> {
    load_with(path, &LoadOptions::default())
}

/// Reads a safetensors file or a PyTorch checkpoint.
///
/// Names from a PyTorch checkpoint lose the prefixes that training wrappers add ([`keys::strip_prefixes`]).
///
/// # Errors
/// As [`load`]; and a `key` that the file does not have.
pub fn load_with(path: &Path, options: &LoadOptions) -> Result<Checkpoint> {
    let mut source = Source::open(path)?;
    let head = source.read_at(0, source.len().min(64))?;
    let (tensors, metadata) = match Kind::of(&head, path) {
        Kind::Zip => {
            let tensors = pth::read(&mut source, options.key.as_deref())?;
            (keys::strip_prefixes(tensors), BTreeMap::new())
        }
        Kind::Safetensors => {
            if let Some(key) = &options.key {
                return Err(source
                    .fault(format!("the entry {key} was requested, but a safetensors file has no nested entries")));
            }
            flat::read(&mut source)?
        }
        Kind::Legacy => {
            return Err(source.fault(
                "is in PyTorch's old format, which is not a zip file; load it with torch >= 1.6 and save it again with \
                 torch.save",
            ));
        }
        Kind::Pointer => {
            return Err(source.fault("is a Git LFS pointer, not the weights; download the actual file"));
        }
        Kind::Other => {
            return Err(source.fault("is neither a safetensors file nor a file saved by torch.save in torch >= 1.6"));
        }
    };
    Ok(Checkpoint { tensors, metadata, source: path.to_path_buf() })
}

/// What the first bytes of a file say it is.
enum Kind {
    Zip,
    Safetensors,
    Legacy,
    Pointer,
    Other,
}

impl Kind {
    fn of(head: &[u8], path: &Path) -> Self {
        // The legacy format starts with a pickled magic number: protocol, LONG1 of ten bytes, 0x1950a86a20f9469cfc6c.
        let magic = [0x8a, 0x0a, 0x6c, 0xfc, 0x9c, 0x46, 0xf9];
        let named_safetensors = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("safetensors"));
        if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
            Kind::Zip
        } else if head.first() == Some(&0x80) && head.get(2..9) == Some(&magic) {
            Kind::Legacy
        } else if head.starts_with(b"version https://git-lfs") {
            Kind::Pointer
        } else if head.get(8) == Some(&b'{') || named_safetensors {
            Kind::Safetensors
        } else {
            Kind::Other
        }
    }
}
