//! The 1000 classes of ImageNet-1K (Russakovsky et al., *ImageNet Large Scale Visual Recognition Challenge*, IJCV 2015):
//! their WordNet ids, in whose order they are numbered, and a word or two for each.

use std::sync::LazyLock;

/// One class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageNetClass {
    /// Its synset in WordNet 3.0, for example `n01440764`: the names of the folders of the data set.
    pub id: &'static str,
    /// What it shows, for example `tench`. No two classes have the same.
    pub name: &'static str,
}

static CLASSES: LazyLock<Vec<ImageNetClass>> = LazyLock::new(|| {
    let lines = include_str!("imagenet1k.txt").lines();
    lines.filter_map(|line| line.split_once(' ').map(|(id, name)| ImageNetClass { id, name })).collect()
});

/// The classes in the order of the networks' outputs.
///
/// ```
/// use kernelscope_lab::data::imagenet_classes;
/// let classes = imagenet_classes();
/// assert_eq!(classes.len(), 1000);
/// assert_eq!((classes[281].id, classes[281].name), ("n02123045", "tabby"));
/// ```
pub fn imagenet_classes() -> &'static [ImageNetClass] {
    &CLASSES
}

/// The index of a WordNet id.
pub(super) fn index_of_id(id: &str) -> Option<usize> {
    // The classes are in the order of their ids.
    CLASSES.binary_search_by(|class| class.id.cmp(id)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernelscope::analysis::shape_bias::Categories;
    use std::collections::BTreeSet;

    #[test]
    fn ids_and_names_are_distinct_and_in_order() {
        let classes = imagenet_classes();
        assert_eq!(classes.len(), 1000);
        assert!(classes.is_sorted_by(|a, b| a.id < b.id));
        assert_eq!(classes.iter().map(|class| class.name).collect::<BTreeSet<_>>().len(), 1000);
        for class in classes {
            assert!(class.id.len() == 9 && class.id[1..].bytes().all(|b| b.is_ascii_digit()), "{class:?}");
        }
        for (index, class) in classes.iter().enumerate() {
            assert_eq!(index_of_id(class.id), Some(index));
        }
        assert_eq!(index_of_id("n00000000"), None);
    }

    #[test]
    fn they_are_numbered_as_the_categories_of_cue_conflict_images_are() {
        // One class each, whose category does not depend on another of its classes.
        let probabilities = |class: usize| {
            let logits: Vec<f32> = (0..1000).map(|c| if c == class { 20.0 } else { 0.0 }).collect();
            Categories::imagenet16().decide(&logits).unwrap()
        };
        let categories = Categories::imagenet16();
        for (id, category) in [
            ("n02690373", "airplane"),
            ("n02132136", "bear"),
            ("n02835271", "bicycle"),
            ("n02123045", "cat"),
            ("n02504013", "elephant"),
            ("n03085013", "keyboard"),
            ("n03041632", "knife"),
            ("n04111531", "oven"),
            ("n03345487", "truck"),
        ] {
            let class = index_of_id(id).unwrap();
            assert_eq!(categories.names()[probabilities(class)], category, "{}", imagenet_classes()[class].name);
        }
    }
}
