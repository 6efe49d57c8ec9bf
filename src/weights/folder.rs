//! Weights that are not in one file of their own: folders, and tensors in several files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::container::Container;
use super::format::{Content, recognize};
use super::source::Source;
use crate::text::short_name;
use crate::{Error, Result};

/// Files that a folder of the Hugging Face Hub has its weights in, in the order in which they are looked for.
const USUAL: [&str; 4] =
    ["model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"];
/// Endings of files of weights, in the order in which they are looked for.
const ENDINGS: [&[&str]; 2] = [&["safetensors"], &["pth", "pt", "bin", "ckpt"]];
/// Files with such an ending that are no weights.
const NO_WEIGHTS: [&str; 4] = ["training_args.bin", "optimizer", "scheduler", "rng_state"];
const INDEX: &str = ".index.json";
/// Most files in a folder that are looked at, and most files that tensors may be in.
const MAX_FILES: usize = 100_000;

/// The file of weights in a folder, as the Hugging Face Hub and trainers lay it out: `model.safetensors`,
/// `pytorch_model.bin`, the index of either in several files, or else the only file of weights.
///
/// # Errors
/// If there is no such file, or several and none that goes first; the message lists them.
pub fn in_folder(folder: &Path) -> Result<PathBuf> {
    let names = names_in(folder)?;
    let has = |name: &str| names.contains(name);
    if has(".metadata") && names.iter().any(|name| name.ends_with(".distcp")) {
        return Err(Error::file(
            folder,
            "is a torch.distributed.checkpoint; convert it with \
             `python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER OUT`, and load OUT",
        ));
    }
    if has("zero_to_fp32.py") || names.iter().any(|name| name.contains("zero_pp_rank_")) {
        return Err(Error::file(
            folder,
            "is a DeepSpeed ZeRO checkpoint, whose weights are in several files; collect them with \
             `python zero_to_fp32.py FOLDER OUT`, and load OUT",
        ));
    }
    if let Some(name) = USUAL.iter().find(|name| has(name)) {
        return Ok(folder.join(name));
    }
    let is_part = |name: &String| shard(name).is_some();
    let mut indices = names.iter().filter(|name| name.ends_with(INDEX));
    if let (Some(index), None) = (indices.next(), indices.next()) {
        return Ok(folder.join(index));
    }
    for endings in ENDINGS {
        let is_weights = |name: &&String| {
            let ending = Path::new(name).extension().and_then(|ending| ending.to_str());
            ending.is_some_and(|ending| endings.contains(&ending))
                && !NO_WEIGHTS.iter().any(|start| name.starts_with(start))
        };
        let found: Vec<&String> = names.iter().filter(is_weights).collect();
        match found[..] {
            [] => {}
            [name] => return Ok(folder.join(name)),
            _ if found.iter().all(|name| is_part(name)) => {
                return Err(Error::file(
                    folder,
                    "has weights in several files, but no index of them (NAME.index.json)",
                ));
            }
            _ => {
                return Err(Error::file(
                    folder,
                    format!("has several files of weights; name one of: {}", list(&found)),
                ));
            }
        }
    }
    Err(Error::file(folder, without_weights(&names)))
}

/// What a folder without files of weights is.
fn without_weights(names: &BTreeSet<String>) -> &'static str {
    if names.contains("config.toml") && names.contains("checkpoints") {
        "is a run folder; name one of the files in its checkpoints"
    } else if names.contains("saved_model.pb") {
        "is a TensorFlow SavedModel; load it in transformers with from_tf=True and save it with save_pretrained"
    } else {
        "is a folder that contains no file of weights, such as model.safetensors or pytorch_model.bin"
    }
}

fn names_in(folder: &Path) -> Result<BTreeSet<String>> {
    let entries = std::fs::read_dir(folder).map_err(Error::io("read", folder))?;
    Ok(entries.take(MAX_FILES).filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect())
}

fn list(names: &[&String]) -> String {
    const SHOWN: usize = 8;
    let mut shown: Vec<String> = names.iter().take(SHOWN).map(|name| short_name(name)).collect();
    if names.len() > SHOWN {
        shown.push(format!("... {} more", names.len() - SHOWN));
    }
    shown.join(", ")
}

/// The number of a file, and of how many: `model-00001-of-00002.safetensors`.
fn shard(name: &str) -> Option<(&str, &str)> {
    let stem = name.rsplit_once('.')?.0;
    let (start, count) = stem.rsplit_once("-of-")?;
    let number = start.rsplit_once('-')?.1;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (is_number(number) && is_number(count)).then_some((number, count))
}

/// The index that lists a file as one of several, if there is one beside it.
pub(super) fn index_of(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    shard(name)?;
    let folder = path.parent()?;
    let lists = |index: &PathBuf| {
        let content = Source::open(index).and_then(|mut source| recognize(&mut source));
        matches!(content, Ok(Content::Index(files)) if files.values().any(|file| file.as_str() == Some(name)))
    };
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let names = names_in(folder).ok()?;
    names.iter().filter(|name| name.ends_with(INDEX)).map(|name| path.with_file_name(name)).find(lists)
}

/// Opens the files that an index lists, each with one set of tensors.
pub(super) fn open_all(index: &Source, files: &Map<String, Value>) -> Result<Vec<Container>> {
    let mut wanted: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (name, file) in files {
        let file = file.as_str().filter(|file| is_plain(file)).ok_or_else(|| {
            let shown = short_name(&file.to_string());
            index.fault(format!("lists the file {shown} for {}, which is no name in its folder", short_name(name)))
        })?;
        wanted.entry(file).or_default().insert(name);
    }
    if wanted.is_empty() {
        return Err(index.fault("lists no tensors"));
    }
    let mut containers = Vec::with_capacity(wanted.len());
    for (file, names) in wanted {
        let path = index.path().with_file_name(file);
        if !path.is_file() {
            return Err(index.fault(format!("lists the file {}, which is missing beside it", short_name(file))));
        }
        let mut source = Source::open(&path)?;
        let Content::Tensors(format) = recognize(&mut source)? else {
            return Err(index.fault(format!("lists {}, which is an index itself", short_name(file))));
        };
        let container = Container::open(source, format)?;
        check_names(index, file, &names, &container)?;
        containers.push(container);
    }
    Ok(containers)
}

/// Whether a text is the name of a file in the same folder.
fn is_plain(file: &str) -> bool {
    let mut parts = Path::new(file).components();
    let plain = matches!(parts.next(), Some(std::path::Component::Normal(_))) && parts.next().is_none();
    plain && !file.contains(['/', '\\', ':', '\0'])
}

/// That a file has the tensors that the index says, and no others.
fn check_names(index: &Source, file: &str, names: &BTreeSet<&str>, container: &Container) -> Result<()> {
    let Some(set) = container.sets.first() else { return Err(index.fault("is damaged")) };
    let records = set.records.iter().map(|record| record.name.as_str());
    let found: BTreeSet<&str> = records.chain(set.faults.iter().map(|fault| fault.name.as_str())).collect();
    let file = short_name(file);
    if let Some(name) = names.difference(&found).next() {
        return Err(index.fault(format!("says that {} is in {file}, but it is not", short_name(name))));
    }
    match found.difference(names).next() {
        Some(name) => Err(index.fault(format!("does not list {}, which is in {file}", short_name(name)))),
        None => Ok(()),
    }
}
