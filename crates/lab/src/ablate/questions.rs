//! The questions of a grid as pairs of variants.

use super::grid::Grid;
use super::variants::Variant;
use crate::{Error, Result};

/// A question as pairs of variants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// What is compared with what.
    pub label: String,
    /// Indices of the variants: the first of a pair minus the second.
    pub pairs: Vec<(usize, usize)>,
}

impl Grid {
    /// All questions as pairs of variants. The values of an axis are compared in every combination of the other axes and
    /// of the variants that are written out.
    ///
    /// # Errors
    /// If a question is incomplete, or names a variant, an axis or a value that is none of the grid's.
    pub fn questions(&self) -> Result<Vec<Question>> {
        let variants = self.variants()?;
        let mut questions = Vec::new();
        for compare in &self.comparisons {
            match (&compare.variant, &compare.axis, &compare.with) {
                (Some(variant), None, Some(with)) => {
                    let pair =
                        (place("compare: variant", variant, &variants)?, place("compare: with", with, &variants)?);
                    questions.push(Question { label: format!("{variant} against {with}"), pairs: vec![pair] });
                }
                (None, Some(axis), with) => questions.extend(self.along(axis, with.as_deref(), &variants)?),
                _ => {
                    let allowed = "variant and with, or axis alone, or axis with the name of one of its values in with";
                    return Err(Error::argument("compare", "other fields", allowed));
                }
            }
        }
        Ok(questions)
    }

    /// The questions of an axis: each of its values against one of them.
    fn along(&self, name: &str, with: Option<&str>, variants: &[Variant]) -> Result<Vec<Question>> {
        let names = || self.axes.iter().map(|axis| axis.name()).collect::<Vec<_>>().join("; ");
        let Some(along) = self.axes.iter().position(|axis| axis.name() == name) else {
            return Err(Error::argument("compare: axis", format!("\"{name}\""), names()));
        };
        let axis = &self.axes[along];
        let labels: Vec<String> = (0..axis.values.len()).map(|value| axis.value_label(value)).collect();
        let base = match with {
            None => 0,
            Some(with) => labels.iter().position(|label| label == with).ok_or_else(|| {
                Error::argument(format!("compare: with, of axis {name}"), format!("\"{with}\""), labels.join("; "))
            })?,
        };
        let question = |(value, label): (usize, &String)| {
            let pairs = variants.iter().enumerate().filter(|(_, variant)| variant.places[along] == value);
            let partner = |variant: &Variant| {
                let mut places = variant.places.clone();
                places[along] = base;
                variants.iter().position(|other| other.entry == variant.entry && other.places == places)
            };
            let pairs = pairs.filter_map(|(index, variant)| Some((index, partner(variant)?))).collect();
            Question { label: format!("{name} {label} against {}", labels[base]), pairs }
        };
        Ok(labels.iter().enumerate().filter(|(value, _)| *value != base).map(question).collect())
    }
}

/// Index of the variant of this label.
fn place(field: &str, label: &str, variants: &[Variant]) -> Result<usize> {
    variants.iter().position(|variant| variant.label == label).ok_or_else(|| {
        let labels: Vec<&str> = variants.iter().map(|variant| variant.label.as_str()).collect();
        Error::argument(field, format!("\"{label}\""), labels.join("; "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const AXES: &str = "[[axis]]\nkey = \"set.kernel\"\nname = \"K\"\nvalues = [7, 15]\n\
                        [[axis]]\nkey = \"set.directions\"\nname = \"D\"\nvalues = [2, 4, \"channels\"]\nlabels = [\"2\", \"4\", \"C\"]\n";

    fn grid(rest: &str) -> Result<Grid> {
        Grid::from_toml(&format!("name = \"g\"\nseeds = [0, 1]\n[base]\nmodel = \"nano-1d\"\n{AXES}{rest}"))
    }

    #[test]
    fn values_of_an_axis_are_compared_in_every_combination_of_the_others() {
        let questions =
            grid("[[compare]]\naxis = \"D\"\nwith = \"4\"\n[[compare]]\naxis = \"K\"\n").unwrap().questions();
        let questions: Vec<_> = questions.unwrap().into_iter().map(|q| (q.label, q.pairs)).collect();
        let expected = [
            ("D 2 against 4", vec![(0, 1), (3, 4)]),
            ("D C against 4", vec![(2, 1), (5, 4)]),
            ("K 15 against 7", vec![(3, 0), (4, 1), (5, 2)]),
        ];
        assert_eq!(questions, expected.map(|(label, pairs)| (label.to_string(), pairs)));
        let entries = "[[variant]]\nlabel = \"a\"\n[[variant]]\nlabel = \"b\"\nset.kernel2 = 3\n";
        let two = "[[compare]]\nvariant = \"b, K 7, D C\"\nwith = \"a, K 15, D 2\"\n[[compare]]\naxis = \"K\"\n";
        let questions = grid(&format!("{entries}{two}")).unwrap().questions().unwrap();
        assert_eq!(questions[0].pairs, [(8, 3)]);
        assert_eq!(questions[1].pairs, [(3, 0), (4, 1), (5, 2), (9, 6), (10, 7), (11, 8)]);
    }

    #[test]
    fn a_question_about_nothing_is_refused() {
        for (rest, parts) in [
            ("variant = \"K 7, D 2\"", &["compare", "variant and with"][..]),
            ("with = \"K 7, D 2\"", &["compare", "variant and with"]),
            ("axis = \"K\"\nvariant = \"K 7, D 2\"", &["compare", "variant and with"]),
            ("variant = \"K 7\"\nwith = \"K 7, D 2\"", &["compare: variant", "\"K 7\"", "K 15, D C"]),
            ("variant = \"K 7, D 2\"\nwith = \"K 8\"", &["compare: with", "\"K 8\"", "K 15, D C"]),
            ("axis = \"set.kernel\"", &["compare: axis", "\"set.kernel\"", "K; D"]),
            ("axis = \"D\"\nwith = \"channels\"", &["compare: with, of axis D", "\"channels\"", "2; 4; C"]),
            ("axes = \"D\"", &["unknown field `axes`", "`axis`"]),
        ] {
            let message = grid(&format!("[[compare]]\n{rest}\n")).unwrap_err().to_string();
            assert!(parts.iter().all(|part| message.contains(part)), "{rest}: {message}");
        }
    }
}
