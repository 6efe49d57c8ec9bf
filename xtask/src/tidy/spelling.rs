//! American spelling, in prose, names and texts for users.

use super::words::american;
use super::{Finding, Tree};
use std::collections::HashMap;
use std::ops::Range;

/// What speaks of British words.
const NOT_READ: [&str; 2] = ["xtask/src/tidy/words.rs", "xtask/src/tidy/spelling.rs"];

/// Texts that stay as they are: the text, a part of the paths where it does, and why.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("labelled_by", "viewer/", "a method of egui"),
    ("dialogue", "bench/peer.rs", "a conversation of two programs, which Americans spell so too"),
    ("Dialogue", "bench/peer.rs", "the same"),
    ("alias = \"centre\"", "viewer/src/state/", "settings that were saved under this name"),
];

pub fn check(tree: &Tree) -> Vec<Finding> {
    let american = american();
    let lines = tree.texts().filter(|(path, _)| !NOT_READ.contains(path));
    let lines =
        lines.flat_map(|(path, text)| text.lines().enumerate().map(move |(number, line)| (path, number + 1, line)));
    // The name of a file is a line, too.
    let lines = lines.chain(tree.paths.iter().map(|path| (&**path, 1, &**path)));
    lines
        .flat_map(|(path, number, line)| {
            british(path, line, &american, EXCEPTIONS).into_iter().map(move |(place, american)| {
                let message = format!("`{}` is British spelling; write `{american}`", &line[place]);
                Finding::new(path, number, message)
            })
        })
        .collect()
}

/// What changes in a file.
pub struct Fix {
    pub path: String,
    /// Where it is moved; the same path if its name stays.
    pub new_path: String,
    pub text: Option<String>,
    /// How many words are rewritten.
    pub words: usize,
}

/// What makes the tree American.
pub fn fixes(tree: &Tree) -> Vec<Fix> {
    fixes_with(tree, EXCEPTIONS)
}

fn fixes_with(tree: &Tree, exceptions: &[(&str, &str, &str)]) -> Vec<Fix> {
    let american = american();
    let texts: HashMap<&str, &str> = tree.texts().filter(|(path, _)| !NOT_READ.contains(path)).collect();
    let mut fixes = Vec::new();
    for path in &tree.paths {
        let (new_path, renamed) = rewritten(path, path, &american, exceptions);
        let text = texts.get(&**path).map(|text| {
            let lines = text.split_inclusive('\n').map(|line| rewritten(path, line, &american, exceptions));
            let (lines, words): (Vec<String>, Vec<usize>) = lines.unzip();
            (lines.concat(), words.iter().sum::<usize>())
        });
        let (text, words) = text.map_or((None, 0), |(text, words)| ((words > 0).then_some(text), words));
        if renamed + words > 0 {
            fixes.push(Fix { path: path.clone(), new_path, text, words: renamed + words });
        }
    }
    fixes
}

/// A line with American words, and the number of those that were British.
fn rewritten(
    path: &str,
    line: &str,
    american: &HashMap<String, String>,
    exceptions: &[(&str, &str, &str)],
) -> (String, usize) {
    let mut result = String::with_capacity(line.len());
    let mut copied = 0;
    let found = british(path, line, american, exceptions);
    for (place, word) in &found {
        result.push_str(&line[copied..place.start]);
        result.push_str(word);
        copied = place.end;
    }
    result.push_str(&line[copied..]);
    (result, found.len())
}

/// Where a line has British words, and what to write instead.
fn british(
    path: &str,
    line: &str,
    american: &HashMap<String, String>,
    exceptions: &[(&str, &str, &str)],
) -> Vec<(Range<usize>, String)> {
    // Pictures as text are none.
    if path.ends_with(".ipynb") && line.trim_start().starts_with("\"image/png\"") {
        return Vec::new();
    }
    let mut excepted: Vec<Range<usize>> = Vec::new();
    for (text, ..) in exceptions.iter().filter(|(_, place, _)| path.contains(place)) {
        excepted.extend(line.match_indices(text).map(|(at, _)| at..at + text.len()));
    }
    for (at, mark) in line.match_indices("base64,") {
        let start = at + mark.len();
        let is_of_it = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=');
        excepted.push(start..line[start..].find(|c| !is_of_it(c)).map_or(line.len(), |length| start + length));
    }
    let mut found = Vec::new();
    for place in words(line) {
        let word = &line[place.clone()];
        let american = american.get(&word.to_lowercase());
        let stays = || excepted.iter().any(|other| other.start <= place.start && place.end <= other.end);
        if let Some(american) = american.filter(|_| !stays()) {
            found.push((place, in_case_of(word, american)));
        }
    }
    found
}

/// Where the words of a line are. Those of a name are words of their own: `RGBColour_centre` has three.
fn words(line: &str) -> Vec<Range<usize>> {
    let mut words = Vec::new();
    let letters: Vec<(usize, char)> = line.char_indices().collect();
    let kind = |n: usize| letters.get(n).map(|(_, c)| (c.is_alphabetic(), c.is_uppercase()));
    let mut start = None;
    for (n, (at, letter)) in letters.iter().enumerate() {
        let begins = match (n.checked_sub(1).and_then(kind), kind(n), kind(n + 1)) {
            (Some((true, before)), Some((true, true)), after) => !before || matches!(after, Some((true, false))),
            (Some((true, _)), ..) => false,
            _ => true,
        };
        if let Some(start) = start.take_if(|_| begins || !letter.is_alphabetic()) {
            words.push(start..*at);
        }
        if begins && letter.is_alphabetic() {
            start = Some(*at);
        }
    }
    words.extend(start.map(|start| start..line.len()));
    words
}

/// A word with capitals where another has them.
fn in_case_of(model: &str, word: &str) -> String {
    let mut capitals = model.chars().map(char::is_uppercase);
    let (first, others) = (capitals.next() == Some(true), capitals.any(|capital| capital));
    match (first, others) {
        (true, true) => word.to_uppercase(),
        (true, false) => word[..1].to_uppercase() + &word[1..],
        _ => word.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixed(text: &str) -> String {
        let exceptions = [("colour_of_others", "", "the name in another crate"), ("grey", "other/", "a file format")];
        let tree = Tree::of(&[("a.md", text)]);
        fixes_with(&tree, &exceptions).pop().and_then(|fix| fix.text).unwrap_or_else(|| text.to_string())
    }

    #[test]
    fn words_are_rewritten_also_inside_names() {
        assert_eq!(fixed("The Colour's centre, re-parameterised."), "The Color's center, re-parameterized.");
        assert_eq!(
            fixed("fn set_colour(RGBColour, COLOURS, ColourMap2, x2colour)"),
            "fn set_color(RGBColor, COLORS, ColorMap2, x2color)"
        );
        assert_eq!(fixed("é colour\r\nno\n\ncentre"), "é color\r\nno\n\ncenter");
    }

    #[test]
    fn other_words_and_exceptions_stay() {
        for text in
            ["colours_of_color", "colour_of_others", "data:image/png;base64,/grey/Grey=", "otherwise precise noise"]
        {
            let expected = text.replace("colours_of", "colors_of");
            assert_eq!(fixed(text), expected);
        }
    }

    #[test]
    fn names_of_files_are_found_and_rewritten() {
        let tree = Tree::of(&[("src/colour/grey.rs", "mod colour;"), ("other/grey.toml", "a = \"grey\"")]);
        let paths: Vec<(String, usize)> =
            check(&tree).into_iter().map(|finding| (finding.path, finding.line)).collect();
        let expected =
            ["src/colour/grey.rs", "other/grey.toml", "other/grey.toml", "src/colour/grey.rs", "src/colour/grey.rs"];
        assert_eq!(paths.iter().map(|(path, _)| &**path).collect::<Vec<_>>(), expected);
        let fix = fixes(&tree).pop().unwrap();
        assert_eq!((&*fix.new_path, fix.text.as_deref(), fix.words), ("src/color/gray.rs", Some("mod color;"), 3));
    }

    #[test]
    fn pictures_in_notebooks_are_not_read() {
        let tree = Tree::of(&[("a.ipynb", "      \"image/png\": \"Grey\",\n      \"text\": \"Grey\"\n")]);
        assert_eq!(check(&tree).iter().map(|finding| finding.line).collect::<Vec<_>>(), [2]);
    }
}
