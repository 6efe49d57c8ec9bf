//! Functions have few parameters, and no tuple that is several of them in disguise.

use super::rust::{Token, closing, functions, parts, tokens};
use super::{Finding, Tree};
use std::ops::Range;

/// The most parameters, `self` included; clippy's number.
const MOST: usize = 7;
/// The most parts of a tuple that is a parameter.
const MOST_OF_TUPLE: usize = 3;

pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in &tree.rust {
        let foreign = foreign(&source.code);
        let functions = functions(&source.code).into_iter();
        for function in functions.filter(|function| !foreign.iter().any(|block| block.contains(&function.at))) {
            let (name, count, line) = (function.name, function.parameters.len(), source.line(function.at));
            if count > MOST {
                let message =
                    format!("`{name}` has {count} parameters; at most {MOST} are allowed, so make a struct of some");
                findings.push(Finding::new(&source.path, line, message));
            }
            for count in function.parameters.iter().filter_map(|p| tuple_size(p)).filter(|count| *count > MOST_OF_TUPLE)
            {
                let message = format!(
                    "`{name}` takes a tuple of {count}; at most {MOST_OF_TUPLE} are allowed, so make it a struct or parameters"
                );
                findings.push(Finding::new(&source.path, line, message));
            }
        }
    }
    findings
}

/// The blocks that declare functions of other languages, which others have written.
fn foreign(code: &str) -> Vec<Range<usize>> {
    let tokens = tokens(code);
    let is_block = |words: &[Token<'_>]| [words[0].text, words[1].text, words[3].text] == ["extern", "\"", "{"];
    let starts = tokens.windows(4).enumerate().filter(|(_, words)| is_block(words)).map(|(place, _)| place);
    starts.map(|place| tokens[place].at..tokens[closing(&tokens, place + 3)].at).collect()
}

/// The number of parts of a parameter's type, if that is a tuple or a reference to one.
fn tuple_size(parameter: &[Token<'_>]) -> Option<usize> {
    // The first colon that is not inside a pattern.
    let mut colon = 0;
    while parameter.get(colon)?.text != ":" {
        colon = closing(parameter, colon) + 1;
    }
    let mut kind = &parameter[colon + 1..];
    loop {
        kind = match kind {
            [sign, rest @ ..] if matches!(sign.text, "&" | "mut") => rest,
            [sign, _, rest @ ..] if sign.text == "'" => rest,
            _ => break,
        };
    }
    let is_tuple = kind.first()?.text == "(" && closing(kind, 0) + 1 == kind.len();
    is_tuple.then(|| parts(&kind[1..kind.len() - 1]).len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> usize {
        check(&Tree::of(&[("a.rs", text)])).len()
    }

    #[test]
    fn many_parameters_are_found_also_in_disguise() {
        assert_eq!(found("fn f(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8) {}"), 1);
        for tuple in ["(u8, u8, u8, u8)", "&(u8, [u8; 2], Vec<(u8, u8)>, u8)", "&'a mut (A<B, C>, u8, u8, u8,)"] {
            assert_eq!(found(&format!("fn f(&self, (a, b, c, d): {tuple}) {{}}")), 1, "{tuple}");
        }
    }

    #[test]
    fn functions_of_other_languages_are_as_they_are() {
        let many = "fn f(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8)";
        assert_eq!(found(&format!("unsafe extern \"C\" {{ {many}; {many}; }}")), 0);
        assert_eq!(found(&format!("unsafe extern \"C\" {{ {many}; }}\nextern \"C\" {many} {{}}")), 1);
    }

    #[test]
    fn few_are_not() {
        assert_eq!(found("fn f(&self, b: u8, c: u8, d: u8, e: u8, f: u8, g: HashMap<u8, u8>) {}"), 0);
        for kind in
            ["(u8, u8, u8)", "Vec<(u8, u8, u8, u8)>", "impl Fn(u8, u8, u8, u8)", "fn(u8, u8, u8, u8) -> (u8, u8)", "()"]
        {
            assert_eq!(found(&format!("fn f(a: {kind}) -> (u8, u8, u8, u8) {{}}")), 0, "{kind}");
        }
    }
}
