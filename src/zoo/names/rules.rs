//! Renaming by tables of module paths, in both directions.

/// Names of a module's parameters, which all code bases share.
const LEAVES: [&str; 6] = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked", "theta"];

/// A number in a path, as `{2i+1}`: `factor * variable + offset`.
#[derive(Debug, Clone, Copy)]
struct Number {
    variable: char,
    factor: usize,
    offset: usize,
}

/// A part of a path between dots: a word, and a number behind it.
#[derive(Debug, Clone)]
struct Segment {
    word: String,
    number: Option<Number>,
}

/// Values of the variables in a path.
type Values = Vec<(char, usize)>;

impl Segment {
    /// From `word`, `word{i}`, `{2i+1}`.
    fn parse(text: &str) -> Self {
        let Some((word, rest)) = text.split_once('{') else {
            return Segment { word: text.to_string(), number: None };
        };
        let (term, offset) = rest.trim_end_matches('}').split_once('+').unwrap_or((rest.trim_end_matches('}'), "0"));
        let factor = term.trim_end_matches(|c: char| c.is_ascii_alphabetic());
        let number = Number {
            variable: term.chars().next_back().unwrap_or_default(),
            factor: factor.parse().unwrap_or(1),
            offset: offset.parse().unwrap_or_default(),
        };
        Segment { word: word.to_string(), number: Some(number) }
    }

    fn matches(&self, text: &str, values: &mut Values) -> bool {
        let Some(Number { variable, factor, offset }) = self.number else { return text == self.word };
        let Some(digits) = text.strip_prefix(&self.word) else { return false };
        // As it would be written: no sign, no zeros in front.
        let Some(found) = digits.parse::<usize>().ok().filter(|found| found.to_string() == digits) else {
            return false;
        };
        let Some(multiple) = found.checked_sub(offset).filter(|multiple| multiple.is_multiple_of(factor)) else {
            return false;
        };
        let value = multiple / factor;
        match values.iter().find(|(known, _)| *known == variable) {
            Some((_, known)) => *known == value,
            None => {
                values.push((variable, value));
                true
            }
        }
    }

    fn written(&self, values: &Values) -> Option<String> {
        let Some(Number { variable, factor, offset }) = self.number else { return Some(self.word.clone()) };
        let (_, value) = values.iter().find(|(known, _)| *known == variable)?;
        Some(format!("{}{}", self.word, value.checked_mul(factor)?.checked_add(offset)?))
    }
}

/// The path of modules or of a parameter, with variables.
#[derive(Debug, Clone)]
struct Pattern(Vec<Segment>);

impl Pattern {
    fn parse(text: &str) -> Self {
        Pattern(text.split('.').map(Segment::parse).collect())
    }

    fn values(&self, path: &str) -> Option<Values> {
        let mut values = Values::new();
        let mut parts = path.split('.');
        let fits = self.0.iter().all(|segment| parts.next().is_some_and(|part| segment.matches(part, &mut values)));
        (fits && parts.next().is_none()).then_some(values)
    }

    fn written(&self, values: &Values) -> Option<String> {
        let parts: Option<Vec<String>> = self.0.iter().map(|segment| segment.written(values)).collect();
        parts.map(|parts| parts.join("."))
    }
}

/// Pairs of paths: what a thing is called officially, and what it is called elsewhere.
#[derive(Debug, Clone, Default)]
pub(super) struct Rules {
    pairs: Vec<(Pattern, Pattern)>,
    /// Whether everything without a pair has the same name in both.
    others_stay: bool,
}

impl Rules {
    /// Rules from pairs (official, other), of which the first that fits is used. A path is that of a module, whose
    /// parameters keep their last names, or that of one parameter. Parts of it may be numbers: `layer{i+1}`, `{2i}`.
    pub fn new<A: AsRef<str>, B: AsRef<str>>(pairs: impl IntoIterator<Item = (A, B)>) -> Self {
        let parsed = |(official, other): (A, B)| (Pattern::parse(official.as_ref()), Pattern::parse(other.as_ref()));
        Rules { pairs: pairs.into_iter().map(parsed).collect(), others_stay: false }
    }

    /// The same, where all other names are official ones.
    pub fn and_others_stay(self) -> Self {
        Rules { others_stay: true, ..self }
    }

    /// The official name.
    pub fn official(&self, name: &str) -> Option<String> {
        let pairs = self.pairs.iter().map(|(official, other)| (other, official));
        renamed(pairs, name).or_else(|| self.others_stay.then(|| name.to_string()))
    }

    /// The other name of what is officially called so.
    pub fn other(&self, name: &str) -> Option<String> {
        let pairs = self.pairs.iter().map(|(official, other)| (official, other));
        renamed(pairs, name).or_else(|| self.others_stay.then(|| name.to_string()))
    }
}

fn renamed<'a>(mut pairs: impl Iterator<Item = (&'a Pattern, &'a Pattern)>, name: &str) -> Option<String> {
    let module = name.rsplit_once('.').filter(|(_, leaf)| LEAVES.contains(leaf));
    pairs.find_map(|(from, to)| {
        if let Some(values) = from.values(name) {
            return to.written(&values);
        }
        let (path, leaf) = module?;
        Some(format!("{}.{leaf}", to.written(&from.values(path)?)?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_turned_in_both_directions() {
        let rules = Rules::new([
            ("down.0.0", "features.0.0"),
            ("down.{i}.0", "features.{2i}.0"),
            ("stages.{i}.{j}.gamma", "features.{2i+1}.{j}.scale"),
            ("layer{i+1}.conv{k+1}", "stages.{i}.layer.{k}.convolution"),
        ]);
        for (official, other) in [
            ("down.0.0.bias", "features.0.0.bias"),
            ("down.3.0.weight", "features.6.0.weight"),
            ("stages.2.11.gamma", "features.5.11.scale"),
            ("layer1.conv3.num_batches_tracked", "stages.0.layer.2.convolution.num_batches_tracked"),
        ] {
            assert_eq!(rules.official(other).as_deref(), Some(official));
            assert_eq!(rules.other(official).as_deref(), Some(other));
        }
    }

    #[test]
    fn names_without_a_rule_have_no_other() {
        let rules = Rules::new([("down.{i}.0", "features.{2i}.0"), ("layer{i+1}", "stages.{i}")]);
        for name in [
            "features.3.0.weight",
            "features.02.0.weight",
            "features.+2.0.weight",
            "features.2.0.weight.weight",
            "features.2.0.scale",
            "features.99999999999999999999.0.weight",
            "",
        ] {
            assert_eq!(rules.official(name), None, "{name}");
        }
        assert_eq!(rules.other("layer0.weight"), None);
        assert_eq!(rules.other(&format!("down.{}.0.weight", usize::MAX)), None);
        assert_eq!(rules.and_others_stay().official("anything").as_deref(), Some("anything"));
    }
}
