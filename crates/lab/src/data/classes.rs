//! Names of a network's classes, and which of them a name means.

use super::imagenet::{imagenet_classes, index_of_id};
use crate::{Error, Result};
use kernelscope::weights::Checkpoint;

/// Key of the class names in a checkpoint's metadata.
const KEY: &str = "kernelscope.classes";

/// Names of a network's classes, in the order of its outputs.
///
/// ```
/// use kernelscope_lab::data::ClassNames;
/// let names = ClassNames::imagenet();
/// assert_eq!(names.describe(281), "tabby");
/// assert_eq!(names.id(281), Some("n02123045"));
/// assert_eq!(names.find("n02123045"), Some(281));
/// assert_eq!(names.find("Great_White_Shark"), Some(2));
/// assert_eq!(names.find("999"), Some(999));
/// assert_eq!(names.find("unicorn"), None);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassNames {
    names: Vec<String>,
    assumed: bool,
}

impl ClassNames {
    /// These names.
    pub fn new(names: Vec<String>) -> Self {
        ClassNames { names, assumed: false }
    }

    /// Those of ImageNet-1K, by their WordNet ids.
    pub fn imagenet() -> Self {
        ClassNames { names: imagenet_classes().iter().map(|class| class.id.to_string()).collect(), assumed: true }
    }

    /// The names of a network with this number of classes: the stored ones, or, if there are none and it has 1000
    /// classes, ImageNet's.
    pub fn of_network(stored: Option<Self>, classes: usize) -> Option<Self> {
        match stored {
            Some(names) if names.len() == classes => Some(names),
            Some(names) => {
                tracing::warn!("{} class names are stored with a network of {classes} classes; not used", names.len());
                None
            }
            None => (classes == imagenet_classes().len()).then(ClassNames::imagenet),
        }
    }

    /// What a checkpoint says; `None` if it says nothing, as official files do.
    ///
    /// # Errors
    /// If the entry cannot be read.
    pub fn of_checkpoint(checkpoint: &Checkpoint) -> Result<Option<Self>> {
        let Some(text) = checkpoint.metadata.get(KEY) else { return Ok(None) };
        let read = serde_json::from_str::<Vec<String>>(text);
        let fault = |e| Error::file(&checkpoint.source, format!("its stored class names cannot be read: {e}"));
        read.map(|names| Some(ClassNames::new(names))).map_err(fault)
    }

    /// The metadata entry that stores the names in a checkpoint; none for those that are only assumed.
    ///
    /// # Errors
    /// If they cannot be serialized.
    pub fn metadata(&self) -> Result<Option<(String, String)>> {
        if self.assumed {
            return Ok(None);
        }
        let text = serde_json::to_string(&self.names);
        let text = text.map_err(|e| Error::argument("class names", e, "serializable values"))?;
        Ok(Some((KEY.to_string(), text)))
    }

    /// Number of classes.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Whether the names are ImageNet's for want of others.
    pub fn is_assumed(&self) -> bool {
        self.assumed
    }

    /// The names as they are stored.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// A class in words: its name, or the word of ImageNet's that has this id as its name. `?` for what is no class.
    pub fn describe(&self, class: usize) -> &str {
        let Some(name) = self.names.get(class) else { return "?" };
        index_of_id(name).and_then(|index| imagenet_classes().get(index)).map_or(name.as_str(), |known| known.name)
    }

    /// The WordNet id of a class, if its name is one.
    pub fn id(&self, class: usize) -> Option<&str> {
        self.names.get(class).map(String::as_str).filter(|name| index_of_id(name).is_some())
    }

    /// The class that a name means: the stored name, a WordNet id, words (without regard to case, hyphens and
    /// underscores), or a number, counted from 0. `None` if it means none, or more than one.
    pub fn find(&self, name: &str) -> Option<usize> {
        let exact = self.names.iter().position(|own| own == name);
        exact.or_else(|| self.by_words(name)).or_else(|| self.by_number(name))
    }

    fn by_words(&self, name: &str) -> Option<usize> {
        // An id means what its words mean in a network whose names are words.
        let name = index_of_id(name).and_then(|index| imagenet_classes().get(index)).map_or(name, |known| known.name);
        let wanted = plain(name);
        let mut found = (0..self.len()).filter(|&class| plain(self.describe(class)) == wanted);
        found.next().filter(|_| found.next().is_none())
    }

    fn by_number(&self, name: &str) -> Option<usize> {
        name.parse().ok().filter(|&class: &usize| class < self.len())
    }
}

/// A name without case, hyphens and underscores.
fn plain(name: &str) -> String {
    name.to_lowercase().replace(['_', '-'], " ").trim().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &[&str]) -> ClassNames {
        ClassNames::new(list.iter().map(|name| name.to_string()).collect())
    }

    #[test]
    fn a_name_is_found_in_every_form() {
        let imagenet = ClassNames::imagenet();
        for name in ["n01484850", "great white shark", "great_white_shark", "Great-White Shark", "2"] {
            assert_eq!(imagenet.find(name), Some(2), "{name}");
        }
        for name in ["1000", "-1", "n99999999", "shark", ""] {
            assert_eq!(imagenet.find(name), None, "{name}");
        }
        // Stored names come before numbers.
        let digits = names(&["1", "0", "ten"]);
        assert_eq!(["0", "1", "2", "ten", "TEN"].map(|name| digits.find(name)), [1, 0, 2, 2, 2].map(Some));
        // A network of words, and a folder of ids.
        let words = names(&["goldfish", "Tench"]);
        assert_eq!((words.find("n01440764"), words.find("n01443537")), (Some(1), Some(0)));
        assert_eq!(names(&["a b", "a_b"]).find("A-B"), None, "two classes are meant");
    }

    #[test]
    fn names_survive_a_checkpoint() {
        let checkpoint = |metadata: Option<(String, String)>| Checkpoint {
            metadata: metadata.into_iter().collect(),
            source: "weights.safetensors".into(),
            ..Checkpoint::default()
        };
        let own = names(&["cat", "\"dog\"", "caf\u{e9}"]);
        let read = ClassNames::of_checkpoint(&checkpoint(own.metadata().unwrap())).unwrap();
        assert_eq!(read, Some(own.clone()));
        assert_eq!(ClassNames::imagenet().metadata().unwrap(), None, "what is assumed is not stored");
        assert_eq!(ClassNames::of_checkpoint(&checkpoint(None)).unwrap(), None);
        let damaged = checkpoint(Some((KEY.to_string(), "{".to_string())));
        let message = ClassNames::of_checkpoint(&damaged).unwrap_err().to_string();
        assert!(message.contains("weights.safetensors") && message.contains("class names"), "{message}");
        assert_eq!(ClassNames::of_network(Some(own.clone()), 3), Some(own.clone()));
        assert_eq!(ClassNames::of_network(Some(own), 4), None);
        assert_eq!(ClassNames::of_network(None, 1000), Some(ClassNames::imagenet()));
        assert_eq!(ClassNames::of_network(None, 10), None);
    }
}
