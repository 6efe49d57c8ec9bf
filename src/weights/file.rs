//! Files of weights before their values are read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::container::{Container, Values};
use super::folder::{in_folder, index_of, open_all};
use super::format::{Content, recognize};
use super::record::Entry;
use super::sets::Rank;
use super::source::Source;
use super::{Checkpoint, TensorMap};
use crate::text::short_name;
use crate::{Error, Result};

/// Largest `config.json` that is read.
const MAX_CONFIG: u64 = 1 << 20;

/// An opened file of weights: what it contains is known, but no values are read yet.
///
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use kernelscope::weights::{File, TensorMap, save};
/// # fn main() -> kernelscope::Result<()> {
/// # let folder = tempfile::tempdir().map_err(kernelscope::Error::io("create", "folder"))?;
/// let path = folder.path().join("net.safetensors");
/// let bias = Tensor::zeros(3, DType::F32, &Device::Cpu)?;
/// save(&path, &TensorMap::from_iter([("head.bias".to_owned(), bias)]), &Default::default())?;
/// let mut file = File::open(&path)?;
/// let entry = &file.entries()[0];
/// assert_eq!((entry.path.as_str(), entry.tensors[0].shape.as_slice()), ("", &[3][..]));
/// let checkpoint = file.read("")?;
/// assert_eq!(checkpoint.tensors["head.bias"].dims(), [3]);
/// # Ok(())
/// # }
/// ```
pub struct File {
    path: PathBuf,
    /// One, or those that an index lists, each with a part of one set of tensors.
    containers: Vec<Container>,
    entries: Vec<Entry>,
    config: Option<String>,
}

impl File {
    /// Opens a file of weights, the index of tensors in several files (`NAME.index.json`), or a folder that has one of
    /// them. Of a file that is one of several, the index is opened.
    ///
    /// # Errors
    /// A file that is missing, damaged, or of another kind; the message says what it is and what to do.
    pub fn open(path: &Path) -> Result<Self> {
        let path = if path.is_dir() { in_folder(path)? } else { path.to_path_buf() };
        let path = index_of(&path).unwrap_or(path);
        let mut source = Source::open(&path)?;
        let containers = match recognize(&mut source)? {
            Content::Tensors(format) => vec![Container::open(source, format)?],
            Content::Index(files) => open_all(&source, &files)?,
        };
        let entries = match &containers[..] {
            [one] => one.sets.iter().map(|set| set.entry()).collect(),
            several => {
                let parts = several.iter().filter_map(|container| Some(container.sets.first()?.entry().tensors));
                vec![Entry { path: String::new(), tensors: parts.flatten().collect() }]
            }
        };
        let config = config_beside(&path);
        Ok(File { path, containers, entries, config })
    }

    /// All sets of tensors that may be weights of a network, the preferred first: those under a usual name, averaged
    /// weights, the top level, and others. A file has at least one.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Reads one of the sets of tensors. `key` is the path of an entry, also of one that is not in the list, or the
    /// start of names in it, up to a dot.
    ///
    /// # Errors
    /// If there is no such set, it is damaged, or it has a tensor of an element type that is not supported.
    pub fn read(&mut self, key: &str) -> Result<Checkpoint> {
        if let Some(index) = self.entries.iter().position(|entry| entry.path == key) {
            return self.read_index(index);
        }
        let mut all = (TensorMap::new(), Default::default());
        let mut failure = None;
        for container in &mut self.containers {
            // Of several files, some may have nothing of it.
            match container.find(key) {
                Ok(set) => extend(&mut all, container.read(&set)?),
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            Some(error) if all.0.is_empty() => Err(error),
            _ => Ok(self.checkpoint(all, key.to_owned())),
        }
    }

    /// Reads the preferred set of tensors. The other sets are noted in the checkpoint.
    ///
    /// # Errors
    /// As [`File::read`].
    pub fn read_preferred(&mut self) -> Result<Checkpoint> {
        let checkpoint = self.read_index(0)?;
        Ok(Checkpoint { others: self.entries.iter().skip(1).cloned().collect(), ..checkpoint })
    }

    fn read_index(&mut self, index: usize) -> Result<Checkpoint> {
        let mut all = (TensorMap::new(), Default::default());
        for container in &mut self.containers {
            extend(&mut all, container.read_index(index)?);
        }
        let path = self.entries.get(index).map(|entry| entry.path.clone()).unwrap_or_default();
        Ok(self.checkpoint(all, path))
    }

    fn checkpoint(&self, (tensors, dtypes): Values, entry: String) -> Checkpoint {
        let mut metadata = BTreeMap::new();
        self.containers.iter().for_each(|container| metadata.extend(container.metadata.clone()));
        let (source, config) = (self.path.clone(), self.config.clone());
        Checkpoint { tensors, metadata, source, dtypes, entry, others: Vec::new(), config }
    }
}

fn extend(all: &mut Values, part: Values) {
    all.0.extend(part.0);
    all.1.extend(part.1);
}

/// The text of the `config.json` beside a file that has the name of weights in a folder of the Hugging Face Hub.
fn config_beside(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    if !["model", "pytorch_model"].contains(&name.split('.').next()?) {
        return None;
    }
    let config = path.with_file_name("config.json");
    let small = std::fs::metadata(&config).is_ok_and(|found| found.is_file() && found.len() <= MAX_CONFIG);
    if small { std::fs::read_to_string(config).ok() } else { None }
}

impl Checkpoint {
    /// Finds out whether these are the weights that a file is for, as far as their names tell. A network finds its
    /// weights among several sets; who has none can show only those that are meant.
    ///
    /// # Errors
    /// If the file has other sets of weights that are about as large, and no name says which are meant.
    pub fn check_only(&self) -> Result<()> {
        let unnamed = |path: &str| Rank::of(path) == Rank::Unnamed;
        let similar = |entry: &&Entry| unnamed(&entry.path) && entry.tensors.len() * 2 >= self.tensors.len();
        let others: Vec<&str> = self.others.iter().filter(similar).map(|entry| entry.path.as_str()).collect();
        if !unnamed(&self.entry) || others.is_empty() {
            return Ok(());
        }
        let all = std::iter::once(self.entry.as_str()).chain(others);
        Err(several(&self.source, &all.collect::<Vec<_>>()))
    }
}

/// That a file has several sets of weights, and how to choose one.
pub(crate) fn several(source: &Path, keys: &[&str]) -> Error {
    const SHOWN: usize = 8;
    let mut shown: Vec<String> = keys.iter().take(SHOWN).map(|key| short_name(key)).collect();
    if keys.len() > SHOWN {
        shown.push(format!("... {} more", keys.len() - SHOWN));
    }
    let list = shown.join(", ");
    Error::file(source, format!("contains several sets of weights: {list}; choose one with the option `key`"))
}
