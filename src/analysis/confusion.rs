//! What a network answers instead of the label: the confusion matrix.
//!
//! ```text
//! counts[l][p] = number of images with label l and answer p
//! recall(l)    = counts[l][l] / sum over p of counts[l][p]
//! precision(p) = counts[p][p] / sum over l of counts[l][p]
//! ```

use crate::{Error, Result};
use serde::Serialize;

/// Answers counted by label.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Confusion {
    /// Names of the classes.
    pub classes: Vec<String>,
    /// `classes * classes` counts, row-major: a row per label, a column per answer.
    pub counts: Vec<usize>,
}

impl Confusion {
    /// Counts pairs of label and answer.
    ///
    /// # Errors
    /// If a label or an answer is no class.
    ///
    /// ```
    /// use kernelscope::analysis::confusion::Confusion;
    /// let classes = ["cat".to_string(), "dog".to_string()];
    /// let confusion = Confusion::of(&classes, [(0, 0), (0, 1), (1, 1)])?;
    /// assert_eq!(confusion.counts, [1, 1, 0, 1]);
    /// assert_eq!(confusion.accuracy(), Some(2.0 / 3.0));
    /// assert_eq!(confusion.recall(0), Some(0.5));
    /// # Ok::<(), kernelscope::Error>(())
    /// ```
    pub fn of(classes: &[String], pairs: impl IntoIterator<Item = (usize, usize)>) -> Result<Self> {
        let n = classes.len();
        let mut counts = vec![0; n * n];
        for (label, answer) in pairs {
            for (name, class) in [("label", label), ("answer", answer)] {
                if class >= n {
                    return Err(Error::argument(name, class, format!("less than {n}, the number of classes")));
                }
            }
            counts[label * n + answer] += 1;
        }
        Ok(Confusion { classes: classes.to_vec(), counts })
    }

    /// Number of images with a label and an answer; 0 for what is no class.
    pub fn count(&self, label: usize, answer: usize) -> usize {
        let n = self.classes.len();
        if label < n && answer < n { self.counts.get(label * n + answer).copied().unwrap_or(0) } else { 0 }
    }

    /// Number of images with a label.
    pub fn images(&self, label: usize) -> usize {
        (0..self.classes.len()).map(|answer| self.count(label, answer)).sum()
    }

    /// Share of the images with a label that are answered with it; `None` if there are none.
    pub fn recall(&self, label: usize) -> Option<f64> {
        let images = self.images(label);
        (images > 0).then(|| self.count(label, label) as f64 / images as f64)
    }

    /// Number of images with an answer.
    pub fn answers(&self, answer: usize) -> usize {
        (0..self.classes.len()).map(|label| self.count(label, answer)).sum()
    }

    /// Share of the images with an answer that have it as their label; `None` if there are none.
    pub fn precision(&self, answer: usize) -> Option<f64> {
        let images = self.answers(answer);
        (images > 0).then(|| self.count(answer, answer) as f64 / images as f64)
    }

    /// Pairs of a label and another answer, with the number of images, the most frequent first; of equally frequent ones
    /// the first class.
    pub fn mistakes(&self) -> Vec<(usize, usize, usize)> {
        let n = self.classes.len();
        let places = self.counts.iter().enumerate().map(|(place, &count)| (place / n.max(1), place % n.max(1), count));
        let mut mistakes: Vec<_> = places.filter(|(label, answer, count)| label != answer && *count > 0).collect();
        mistakes.sort_by_key(|(.., count)| std::cmp::Reverse(*count));
        mistakes
    }

    /// Share of all images that are answered with their label; `None` without images.
    pub fn accuracy(&self) -> Option<f64> {
        let n = self.classes.len();
        let images: usize = self.counts.iter().sum();
        (images > 0).then(|| (0..n).map(|c| self.count(c, c)).sum::<usize>() as f64 / images as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_labels_and_what_is_no_class_is_refused() {
        let classes: Vec<String> = ["a", "b", "c"].map(String::from).into();
        let confusion = Confusion::of(&classes, [(0, 2), (0, 2), (2, 2)]).unwrap();
        assert_eq!((confusion.count(0, 2), confusion.count(2, 0), confusion.count(0, 3)), (2, 0, 0));
        assert_eq!((confusion.recall(0), confusion.recall(1), confusion.recall(2)), (Some(0.0), None, Some(1.0)));
        assert_eq!(
            (confusion.precision(0), confusion.precision(1), confusion.precision(2)),
            (None, None, Some(1.0 / 3.0))
        );
        assert_eq!((confusion.answers(2), confusion.mistakes()), (3, vec![(0, 2, 2)]));
        assert!(Confusion::of(&classes, [(3, 0)]).unwrap_err().to_string().contains("label"));
        assert!(Confusion::of(&classes, [(0, 3)]).unwrap_err().to_string().contains("answer"));
        assert_eq!(Confusion::of(&classes, []).unwrap().accuracy(), None);
    }
}
