//! Which class of a network each class of a set of images is.

use crate::data::ClassNames;
use crate::{Error, Result};
use serde::Serialize;

/// Names that a message lists at most.
const LISTED: usize = 5;

/// What the classes of the images have in common with those of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MatchedBy {
    /// They are the same in the same order: the set is the network's own, or nothing but their number tells.
    Order,
    /// Names, WordNet ids, or numbers.
    Names,
}

/// For every class of the images, the class of the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelMap {
    classes: Vec<usize>,
    outputs: usize,
    by: MatchedBy,
}

impl LabelMap {
    /// The same classes in the same order.
    ///
    /// # Errors
    /// If their numbers differ.
    pub fn identity(images: &[String], outputs: usize) -> Result<Self> {
        if images.len() != outputs {
            let given = format!("{} classes", images.len());
            return Err(Error::argument("data", given, format!("{outputs} classes, as the network has")));
        }
        Ok(LabelMap { classes: (0..outputs).collect(), outputs, by: MatchedBy::Order })
    }

    /// Finds the classes of images in a network with this number of outputs, whose names may be known.
    ///
    /// Each class is one of the network's by its name, WordNet id, or number ([`ClassNames::find`]); without names only
    /// numbers tell. Where nothing tells, as many classes as the network has are its own in their order.
    ///
    /// # Errors
    /// If classes are not found, or two of them are the same class of the network.
    ///
    /// ```
    /// use kernelscope_lab::data::ClassNames;
    /// use kernelscope_lab::report::evaluation::LabelMap;
    /// let folders = ["n02123045", "n01440764"].map(String::from);
    /// let map = LabelMap::find(&folders, Some(&ClassNames::imagenet()), 1000)?;
    /// assert_eq!(map.classes(), [281, 0]);
    /// # Ok::<(), kernelscope::Error>(())
    /// ```
    pub fn find(images: &[String], names: Option<&ClassNames>, outputs: usize) -> Result<Self> {
        let number = |name: &str| name.parse().ok().filter(|&class: &usize| class < outputs);
        let found = |name: &String| names.map_or_else(|| number(name), |names| names.find(name));
        let classes: Vec<Option<usize>> = images.iter().map(found).collect();
        let all: Option<Vec<usize>> = classes.iter().copied().collect();
        let Some(classes) = all.filter(|classes| !classes.is_empty()) else {
            // Names that are only assumed may be wrong, and names in another language match nothing.
            let nothing_tells = classes.iter().all(Option::is_none) || names.is_some_and(ClassNames::is_assumed);
            if images.len() == outputs && nothing_tells {
                return LabelMap::identity(images, outputs);
            }
            return Err(unknown(images, &classes, names, outputs));
        };
        let mut seen = vec![None; outputs];
        for (image, &class) in images.iter().zip(&classes) {
            if let Some(Some(other)) = seen.get(class) {
                let given = format!("the classes {other} and {image}, which are both class {class} of the network");
                return Err(Error::argument("data", given, "classes that are different ones of the network"));
            }
            if let Some(place) = seen.get_mut(class) {
                *place = Some(image);
            }
        }
        Ok(LabelMap { classes, outputs, by: MatchedBy::Names })
    }

    /// The network's class of every class of the images.
    pub fn classes(&self) -> &[usize] {
        &self.classes
    }

    /// Number of the network's classes.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// How they were found.
    pub fn matched_by(&self) -> MatchedBy {
        self.by
    }

    /// Whether the images have fewer classes than the network.
    pub fn is_part(&self) -> bool {
        self.classes.len() < self.outputs
    }

    /// Whether every class has the same number in both.
    pub fn is_identity(&self) -> bool {
        !self.is_part() && self.classes.iter().enumerate().all(|(image, &class)| image == class)
    }
}

/// The error for classes that are not the network's.
fn unknown(images: &[String], classes: &[Option<usize>], names: Option<&ClassNames>, outputs: usize) -> Error {
    let missing: Vec<&str> =
        images.iter().zip(classes).filter(|(_, class)| class.is_none()).map(|(name, _)| name.as_str()).collect();
    let given = format!("{} classes, of which {} are not known: {}", images.len(), missing.len(), list(&missing));
    let own: Vec<&str> = names.map(|names| (0..names.len()).map(|c| names.describe(c)).collect()).unwrap_or_default();
    let allowed = match own.is_empty() {
        true => format!("{outputs} classes, as the network has, or folders named by their numbers, from 0"),
        false => format!(
            "{outputs} classes, as the network has, or some of them by name ({}), WordNet id, or number, from 0",
            list(&own)
        ),
    };
    Error::argument("data", given, allowed)
}

fn list(names: &[&str]) -> String {
    let shown = names.iter().take(LISTED).copied().collect::<Vec<_>>().join(", ");
    if names.len() > LISTED { format!("{shown}, ...") } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(list: &[&str]) -> Vec<String> {
        list.iter().map(|name| name.to_string()).collect()
    }

    #[test]
    fn classes_are_found_by_name_id_and_number() {
        let own = ClassNames::new(strings(&["cat", "dog", "eel"]));
        for (folders, expected) in [
            (&["dog", "eel", "cat"][..], &[1, 2, 0][..]),
            (&["eel"], &[2]),
            (&["2", "Cat"], &[2, 0]),
            (&["n02526121"], &[2]),
        ] {
            let map = LabelMap::find(&strings(folders), Some(&own), 3).unwrap();
            assert_eq!((map.classes(), map.matched_by()), (expected, MatchedBy::Names), "{folders:?}");
            assert_eq!((map.is_part(), map.is_identity()), (expected.len() < 3, false));
        }
        let same = LabelMap::find(&strings(&["cat", "dog", "eel"]), Some(&own), 3).unwrap();
        assert!(same.is_identity() && same.matched_by() == MatchedBy::Names);
        // Sorted as text, 10 comes before 2.
        let numbers: Vec<String> = (0..12).map(|n| n.to_string()).collect();
        let mut sorted = numbers.clone();
        sorted.sort();
        let map = LabelMap::find(&sorted, None, 12).unwrap();
        assert_eq!(map.classes(), [0, 1, 10, 11, 2, 3, 4, 5, 6, 7, 8, 9]);
    }

    #[test]
    fn as_many_classes_as_the_network_has_are_its_own_where_nothing_tells() {
        let folders = strings(&["Aal", "Hund", "Katze"]);
        let own = ClassNames::new(strings(&["cat", "dog", "eel"]));
        for names in [None, Some(&own)] {
            let map = LabelMap::find(&folders, names, 3).unwrap();
            assert_eq!((map.classes(), map.matched_by()), (&[0, 1, 2][..], MatchedBy::Order));
        }
        let custom: Vec<String> =
            (0..1000).map(|n| if n == 7 { "tench".into() } else { format!("kind {n}") }).collect();
        let map = LabelMap::find(&custom, Some(&ClassNames::imagenet()), 1000).unwrap();
        assert!(map.is_identity(), "ImageNet's names are only assumed");
    }

    #[test]
    fn other_classes_are_refused() {
        let own = ClassNames::new(strings(&["cat", "dog", "eel"]));
        let error = |folders: &[&str], names| LabelMap::find(&strings(folders), names, 3).unwrap_err().to_string();
        for (folders, names, parts) in [
            (
                &["cat", "dog", "wolf"][..],
                Some(&own),
                &["3 classes, of which 1 are not known: wolf", "cat, dog, eel"][..],
            ),
            (&["wolf"], Some(&own), &["1 classes", "wolf", "WordNet id"]),
            (&["a", "b"], None, &["2 classes", "a, b", "3 classes", "numbers"]),
            (&["a", "b", "c", "d", "e", "f"], None, &["a, b, c, d, e, ..."]),
            (&["dog", "1"], Some(&own), &["dog and 1", "class 1"]),
            (&[], Some(&own), &["0 classes"]),
        ] {
            let message = error(folders, names);
            assert!(parts.iter().all(|part| message.contains(part)), "{folders:?}: {message}");
        }
    }
}
