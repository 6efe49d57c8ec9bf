//! One opened file, of whichever format.

use std::collections::BTreeMap;

use indexmap::IndexMap;

use super::element::ElementType;
use super::format::Format;
use super::keys::without_wrappers;
use super::pth::Described;
use super::record::{Record, Set};
use super::source::Source;
use super::zip::Archive;
use super::{TensorMap, flat, tensors};
use crate::Result;
use crate::text::short_name;

/// Tensors, and their element types in the file.
pub(super) type Values = (TensorMap, IndexMap<String, ElementType>);

/// A file of weights, whose values can be read.
pub(super) struct Container {
    source: Source,
    /// At least one, the preferred first.
    pub(super) sets: Vec<Set>,
    /// Texts of a safetensors header.
    pub(super) metadata: BTreeMap<String, String>,
    described: Option<Described>,
}

impl Container {
    /// Reads what a file contains, but no values.
    pub(super) fn open(mut source: Source, format: Format) -> Result<Self> {
        let described = match format {
            Format::Safetensors => {
                let (set, metadata) = flat::describe(&mut source)?;
                return Ok(Container { source, sets: vec![set], metadata, described: None });
            }
            Format::Zip => Described::from_zip(&mut source)?,
            Format::Legacy => Described::from_legacy(&mut source)?,
        };
        let sets = described.sets(&source)?;
        Ok(Container { source, sets, metadata: BTreeMap::new(), described: Some(described) })
    }

    /// Reads the tensors of a set.
    pub(super) fn read(&mut self, set: &Set) -> Result<Values> {
        if let Some(fault) = set.faults.first() {
            return Err(self.source.fault(&fault.message));
        }
        let archive = self.described.as_ref().and_then(Described::archive);
        values(&mut self.source, archive, &set.records)
    }

    /// Reads a set of [`Container::sets`].
    pub(super) fn read_index(&mut self, index: usize) -> Result<Values> {
        let set = self.sets.get_mut(index).map(std::mem::take).unwrap_or_default();
        let read = self.read(&set);
        if let Some(place) = self.sets.get_mut(index) {
            *place = set;
        }
        read
    }

    /// The set that a key means, with its path: a dotted path to a dictionary, or the start of names.
    pub(super) fn find(&self, key: &str) -> Result<Set> {
        let mut failure = None;
        if let Some(described) = &self.described {
            match described.set_at(&self.source, key) {
                Ok((set, rest)) if rest.is_empty() => return Ok(set),
                Ok((set, rest)) if !set.path.is_empty() => {
                    if let Some(part) = behind(&set, &rest) {
                        return Ok(Set { path: key.to_owned(), ..part });
                    }
                }
                Ok(_) => {}
                Err(error) => failure = Some(error),
            }
        }
        if let Some(part) = self.sets.iter().find_map(|set| behind(set, key)) {
            return Ok(Set { path: key.to_owned(), ..part });
        }
        if let Some(error) = failure {
            return Err(error);
        }
        Err(self.source.fault(match &self.described {
            Some(described) => described.absent(key),
            None => format!(
                "the entry {} was requested, but a safetensors file has no nested entries, and no names that start with \
                 it",
                short_name(key)
            ),
        }))
    }
}

fn values(source: &mut Source, archive: Option<&Archive>, records: &[Record]) -> Result<Values> {
    let types = records.iter().map(|record| (record.name.clone(), record.dtype)).collect();
    Ok((tensors::read(source, archive, records)?, types))
}

/// The tensors whose names start with a prefix, without it and what wrappers add.
fn behind(set: &Set, prefix: &str) -> Option<Set> {
    let inside = |name: &str| name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('.')).map(str::to_owned);
    let raw: Vec<&str> = set.records.iter().map(|record| record.name.as_str()).collect();
    let mut names: Vec<Option<String>> = raw.iter().map(|name| inside(name)).collect();
    if names.iter().all(Option::is_none) {
        // Somebody who has seen the names without their wrappers asks for those.
        names = without_wrappers(&raw).iter().map(|name| inside(name.as_deref()?)).collect();
    }
    let (records, rest): (Vec<&Record>, Vec<&str>) =
        set.records.iter().zip(&names).filter_map(|(record, name)| Some((record, name.as_deref()?))).unzip();
    if records.is_empty() {
        return None;
    }
    let bare = without_wrappers(&rest);
    let named = |(record, name): (&Record, Option<String>)| Some(Record { name: name?, ..record.clone() });
    let records = records.into_iter().zip(bare).filter_map(named).collect();
    let faults = set.faults.iter().filter(|fault| inside(&fault.name).is_some()).cloned().collect();
    Some(Set { path: String::new(), records, faults })
}
