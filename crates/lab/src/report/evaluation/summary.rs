//! From the answers to the numbers of an evaluation.

use super::{Answered, Answers, LabelMap, MatchedBy};
use crate::Result;
use crate::data::{Broken, ClassNames, Dataset};
use kernelscope::analysis::calibration::{BINS, Calibration};
use kernelscope::analysis::confusion::Confusion;
use serde::Serialize;

/// Images that are most sure and most wrong, of each.
const REMARKABLE: usize = 12;
/// Most frequent mistakes that are listed.
const MISTAKES: usize = 50;
/// What the confusion matrix calls answers that are no class of the images.
const OTHERS: &str = "(another class)";

/// What was evaluated, and how.
pub struct About<'a> {
    /// Name of the network.
    pub model: &'a str,
    /// The images.
    pub set: &'a dyn Dataset,
    /// Their classes among the network's.
    pub labels: &'a LabelMap,
    /// Names of the network's classes, as far as they are known.
    pub names: Option<&'a ClassNames>,
    /// Whether only the logits of the images' classes were to be compared.
    pub restrict: bool,
}

impl About<'_> {
    /// Whether classes of the network were left out: only if the images have a part of them.
    pub(super) fn is_restricted(&self) -> bool {
        self.restrict && self.labels.is_part()
    }

    /// A class of the images in words: a folder that is named by a WordNet id or a number says little.
    pub(super) fn label(&self, label: usize) -> String {
        let own = self.set.classes().get(label).map_or("?", String::as_str);
        let (Some(names), Some(&class)) = (self.names, self.labels.classes().get(label)) else {
            return own.to_string();
        };
        match self.labels.matched_by() {
            MatchedBy::Names => names.describe(class).to_string(),
            // The names may be those of other images with as many classes.
            MatchedBy::Order if names.names() != self.set.classes() => own.to_string(),
            MatchedBy::Order => names.describe(class).to_string(),
        }
    }

    /// A class of the network in words.
    pub(super) fn answer(&self, class: usize) -> String {
        match (self.labels.classes().iter().position(|&own| own == class), self.names) {
            (Some(label), _) => self.label(label),
            (None, Some(names)) => names.describe(class).to_string(),
            (None, None) => format!("class {class}"),
        }
    }

    /// Number of logits that compete.
    fn competing(&self) -> usize {
        if self.is_restricted() { self.labels.classes().len() } else { self.labels.outputs() }
    }
}

/// One class of the images.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassScore {
    /// The class in words.
    pub class: String,
    /// Its name in the images' set: that of its folder.
    pub folder: String,
    /// Its number in the network.
    pub output: usize,
    /// Number of its images.
    pub images: usize,
    /// Number of images with this answer.
    pub answers: usize,
    /// Share of its images that are answered with it; `None` without images.
    pub recall: Option<f64>,
    /// Share of the images with this answer that are of the class; `None` without answers.
    pub precision: Option<f64>,
}

/// A label and another answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Mistake {
    /// The label.
    pub label: String,
    /// The answer.
    pub answer: String,
    /// Number of images.
    pub images: usize,
}

/// An image that the network is very sure or very wrong about.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Remarkable {
    /// Its index in the set.
    pub sample: usize,
    /// Its file, if it has one.
    pub file: Option<String>,
    /// The label.
    pub label: String,
    /// The answer.
    pub answer: String,
    /// Probability of the answer.
    pub confidence: f64,
    /// Probability of the label.
    pub probability: f64,
}

/// The numbers of an evaluation.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EvaluationReport {
    /// Name of the network.
    pub model: String,
    /// Number of images that were looked at.
    pub images: usize,
    /// Mean cross entropy.
    pub loss: f64,
    /// Share of images classified as labeled: top-1.
    pub accuracy: f64,
    /// Share of images whose label is among the five largest logits; `None` if no more than five compete.
    pub top5: Option<f64>,
    /// Number of classes of the images.
    pub classes: usize,
    /// Number of classes of the network.
    pub outputs: usize,
    /// How the classes of the images were found among those of the network.
    pub matched_by: MatchedBy,
    /// Whether only the logits of the images' classes were compared.
    pub restricted: bool,
    /// Confidence and accuracy.
    pub calibration: Calibration,
    /// The classes of the images.
    pub per_class: Vec<ClassScore>,
    /// The most frequent mistakes.
    pub mistakes: Vec<Mistake>,
    /// Right answers, the most confident first.
    pub most_sure: Vec<Remarkable>,
    /// Wrong answers, those with the least probability of the label first.
    pub most_wrong: Vec<Remarkable>,
    /// Images that were left out.
    pub broken: Vec<Broken>,
    /// Why not all images were looked at.
    pub stopped: Option<String>,
}

impl EvaluationReport {
    /// Counts answers.
    ///
    /// # Errors
    /// If an answer or a label is no class.
    pub fn new(about: &About<'_>, answers: &Answers) -> Result<Self> {
        let found = &answers.images;
        let right = |answered: &Answered| about.labels.classes().get(answered.label) == Some(&answered.answer);
        let share = |count: usize| count as f64 / found.len().max(1) as f64;
        let confusion = confusion(about, answers)?;
        let mut sure: Vec<&Answered> = found.iter().filter(|answered| right(answered)).collect();
        sure.sort_by(|a, b| b.confidence.total_cmp(&a.confidence));
        let mut wrong: Vec<&Answered> = found.iter().filter(|answered| !right(answered)).collect();
        wrong.sort_by(|a, b| a.probability.total_cmp(&b.probability).then(b.confidence.total_cmp(&a.confidence)));
        let remarkable = |list: Vec<&Answered>| list.into_iter().take(REMARKABLE).map(|a| shown(about, a)).collect();
        let class = |label: usize| confusion.classes.get(label).cloned().unwrap_or_default();
        let mistake = |(label, answer, images)| Mistake { label: class(label), answer: class(answer), images };
        let score = |(label, folder): (usize, &String)| ClassScore {
            class: about.label(label),
            folder: folder.clone(),
            output: about.labels.classes().get(label).copied().unwrap_or(label),
            images: confusion.images(label),
            answers: confusion.answers(label),
            recall: confusion.recall(label),
            precision: confusion.precision(label),
        };
        Ok(EvaluationReport {
            model: about.model.to_string(),
            images: found.len(),
            loss: answers.loss,
            accuracy: share(found.iter().filter(|answered| right(answered)).count()),
            top5: (about.competing() > 5).then(|| share(found.iter().filter(|answered| answered.rank < 5).count())),
            classes: about.set.classes().len(),
            outputs: about.labels.outputs(),
            matched_by: about.labels.matched_by(),
            restricted: about.is_restricted(),
            calibration: Calibration::of(found.iter().map(|a| (a.confidence, right(a))), BINS)?,
            per_class: about.set.classes().iter().enumerate().map(score).collect(),
            mistakes: confusion.mistakes().into_iter().take(MISTAKES).map(mistake).collect(),
            most_sure: remarkable(sure),
            most_wrong: remarkable(wrong),
            broken: answers.broken.clone(),
            stopped: answers.stopped.clone(),
        })
    }

    /// Which classes were compared, in a sentence.
    pub fn scope(&self) -> String {
        let by = match self.matched_by {
            MatchedBy::Names => "name, id, or number",
            MatchedBy::Order => "their order",
        };
        let (part, all) = (self.classes, self.outputs);
        match (part < all, self.restricted) {
            (false, _) => format!("The {part} classes are matched by {by}."),
            (true, true) => {
                format!(
                    "{part} of the network's {all} classes, matched by {by}; only the logits of these are compared."
                )
            }
            (true, false) => {
                format!("{part} of the network's {all} classes, matched by {by}; the logits of all {all} are compared.")
            }
        }
    }
}

fn shown(about: &About<'_>, answered: &Answered) -> Remarkable {
    Remarkable {
        sample: answered.sample,
        file: about.set.name(answered.sample),
        label: about.label(answered.label),
        answer: about.answer(answered.answer),
        confidence: answered.confidence,
        probability: answered.probability,
    }
}

/// The confusion matrix over the classes of the images. If there are answers that are none of these, the last row and
/// column are for them.
///
/// # Errors
/// If a label is no class.
pub(super) fn confusion(about: &About<'_>, answers: &Answers) -> Result<Confusion> {
    let mut classes: Vec<String> = (0..about.set.classes().len()).map(|label| about.label(label)).collect();
    let others = classes.len();
    let mut own = vec![others; about.labels.outputs()];
    for (label, &class) in about.labels.classes().iter().enumerate() {
        if let Some(place) = own.get_mut(class) {
            *place = label;
        }
    }
    let pairs: Vec<(usize, usize)> =
        answers.images.iter().map(|a| (a.label, own.get(a.answer).copied().unwrap_or(others))).collect();
    if pairs.iter().any(|(_, answer)| *answer == others) {
        classes.push(OTHERS.to_string());
    }
    Confusion::of(&classes, pairs)
}
