//! The answers to a grid's questions.

use super::jobs::Ablation;
use super::questions::Question;
use super::records::Record;
use super::stats::Difference;
use crate::Result;
use serde::Serialize;

/// The answer to a question as far as runs are finished.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// What is compared with what.
    pub comparison: String,
    /// Number of pairs of variants whose mean difference it is.
    pub variants: usize,
    /// Difference of the final accuracy over the seeds; `None` without a seed of which all runs are finished.
    pub difference: Option<Difference>,
}

impl Ablation {
    /// The answers to the grid's questions. What a seed says is the mean over the pairs of variants, from runs of that
    /// seed alone; mean and interval are over the seeds, since runs of one seed are not independent.
    ///
    /// # Errors
    /// If a question is none that the grid can answer.
    pub fn comparisons(&self, records: &[Record]) -> Result<Vec<Comparison>> {
        let accuracy = |index: usize, seed: u64| {
            records.iter().find(|record| record.index == index && record.seed == seed).map(|record| record.accuracy)
        };
        let answer = |question: Question| {
            let mean = |seed: u64, side: fn(&(usize, usize)) -> usize| {
                let values: Option<Vec<f64>> = question.pairs.iter().map(|pair| accuracy(side(pair), seed)).collect();
                values.filter(|values| !values.is_empty()).map(|v| v.iter().sum::<f64>() / v.len() as f64)
            };
            let of_seed = |&seed: &u64| Some((mean(seed, |pair| pair.0)?, mean(seed, |pair| pair.1)?));
            let seeds: Vec<(f64, f64)> = self.grid.seeds.iter().filter_map(of_seed).collect();
            let (comparison, variants) = (question.label.clone(), question.pairs.len());
            Comparison { comparison, variants, difference: Difference::of(&seeds) }
        };
        Ok(self.grid.questions()?.into_iter().map(answer).collect())
    }
}
