//! How well a network classifies a set of images: accuracy, loss, recall and precision per class, the confusion matrix,
//! calibration, and the images that it is most sure and most wrong about; as values, files, figures, and a page.
//!
//! With `p` the softmax of an image's logits:
//!
//! ```text
//! top-k       = share of the images whose label is among the k largest logits
//! loss        = mean of -log p(label)
//! confidence  = p(answer), answer = argmax p
//! ```
//!
//! Images may have a part of the network's classes ([`LabelMap`]). Then all of the network's classes compete for an
//! answer, or, if the evaluation is *restricted*, only those that the images have; the published accuracies on ImageNet-A
//! and ImageNet-R are restricted ones.

mod answers;
mod files;
mod labels;
mod page;
mod summary;

pub use answers::{Answered, Answers, Ranked, answers, ranked};
pub use files::save;
pub use labels::{LabelMap, MatchedBy};
pub use summary::{About, ClassScore, EvaluationReport, Mistake, Remarkable};
