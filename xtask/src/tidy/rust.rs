//! Rust as far as the rules need it: what is code and what is not, words and signs, attributes and signatures.

use std::ops::Range;

/// A file of Rust.
pub struct Source {
    pub path: String,
    pub text: String,
    /// The text with spaces in place of comments and of what is inside literals; every byte is where it was.
    pub code: String,
    /// The same, with spaces in place of what only tests compile.
    pub tested: String,
    /// Modules in files of their own that only tests compile.
    pub test_modules: Vec<String>,
}

impl Source {
    pub fn new(path: String, text: String) -> Self {
        let code = without_comments(&text);
        let (tested, test_modules) = without_tests(&code);
        Source { path, text, code, tested, test_modules }
    }

    /// The line of a byte, counted from one.
    pub fn line(&self, at: usize) -> usize {
        line_of(&self.text, at)
    }
}

/// The line of a byte of a text, counted from one.
pub fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|&byte| byte == b'\n').count()
}

/// A word or a sign, and where it is. `::`, `->` and `=>` are one sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token<'a> {
    pub text: &'a str,
    pub at: usize,
}

/// The words and signs of code without comments.
pub fn tokens(code: &str) -> Vec<Token<'_>> {
    let mut tokens = Vec::new();
    let mut rest = code.char_indices().peekable();
    while let Some((at, first)) = rest.next() {
        if first.is_whitespace() {
            continue;
        }
        let mut end = at + first.len_utf8();
        if is_of_word(first) {
            while let Some((next, letter)) = rest.next_if(|(_, letter)| is_of_word(*letter)) {
                end = next + letter.len_utf8();
            }
        } else if ["::", "->", "=>"].iter().any(|sign| code[at..].starts_with(sign)) {
            rest.next();
            end = at + 2;
        }
        tokens.push(Token { text: &code[at..end], at });
    }
    tokens
}

fn is_of_word(letter: char) -> bool {
    letter == '_' || letter.is_alphanumeric()
}

/// The place of the bracket that closes the one at `open`; that of the last token if there is none.
pub fn closing(tokens: &[Token<'_>], open: usize) -> usize {
    let mut depth = 0_usize;
    for (place, token) in tokens.iter().enumerate().skip(open) {
        match token.text {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" | "}" => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 {
            return place;
        }
    }
    tokens.len().saturating_sub(1)
}

/// The parts of a list that commas separate; those inside brackets, angle brackets included, do not.
pub fn parts<'a, 'b>(tokens: &'b [Token<'a>]) -> Vec<&'b [Token<'a>]> {
    let mut depth = 0_i32;
    let mut parts: Vec<&[Token<'_>]> = Vec::new();
    let mut start = 0;
    for (place, token) in tokens.iter().enumerate() {
        match token.text {
            "(" | "[" | "{" | "<" => depth += 1,
            ")" | "]" | "}" | ">" => depth -= 1,
            "," if depth == 0 => {
                parts.push(&tokens[start..place]);
                start = place + 1;
            }
            _ => {}
        }
    }
    parts.push(&tokens[start..]);
    parts.retain(|part| !part.is_empty());
    parts
}

/// The signature of a function.
#[derive(Debug)]
pub struct Function<'a> {
    pub name: &'a str,
    /// Where its first word is, which is `pub` if there is one.
    pub at: usize,
    /// Whether it is public without restrictions.
    pub public: bool,
    pub parameters: Vec<Vec<Token<'a>>>,
    pub output: Vec<Token<'a>>,
}

/// The functions of code without comments, also those without a body.
pub fn functions(code: &str) -> Vec<Function<'_>> {
    let tokens = tokens(code);
    let names = (1..tokens.len()).filter(|&name| tokens[name - 1].text == "fn");
    names.filter_map(|name| function(&tokens, name)).collect()
}

fn function<'a>(tokens: &[Token<'a>], name: usize) -> Option<Function<'a>> {
    // What follows `fn` is a bracket in types of functions, and a dollar sign in macros.
    tokens[name].text.starts_with(|c: char| c == '_' || c.is_alphabetic()).then_some(())?;
    let mut start = name - 1;
    while start > 0 && ["const", "async", "unsafe", "extern", "\""].contains(&tokens[start - 1].text) {
        start -= 1;
    }
    let public = start > 0 && tokens[start - 1].text == "pub";
    let mut next = name + 1;
    if tokens.get(next)?.text == "<" {
        let mut depth = 0;
        while let Some(token) = tokens.get(next) {
            next += 1;
            depth += i32::from(token.text == "<") - i32::from(token.text == ">");
            if depth == 0 {
                break;
            }
        }
    }
    (tokens.get(next)?.text == "(").then_some(())?;
    let end = closing(tokens, next);
    let parameters = parts(&tokens[next + 1..end]).into_iter().map(<[_]>::to_vec).collect();
    let output = tokens.get(end + 1).filter(|token| token.text == "->").map_or(&[][..], |_| &tokens[end + 2..]);
    let output = output.iter().take_while(|token| !["{", ";", "where"].contains(&token.text)).copied().collect();
    let at = tokens[if public { start - 1 } else { start }].at;
    Some(Function { name: tokens[name].text, at, public, parameters, output })
}

/// An attribute: what is between its brackets, and whether it is about what surrounds it (`#![...]`).
pub struct Attribute<'a> {
    pub at: usize,
    pub inner: bool,
    pub tokens: Vec<Token<'a>>,
}

/// The attributes of code without comments.
pub fn attributes(code: &str) -> Vec<Attribute<'_>> {
    let tokens = tokens(code);
    let mut found = Vec::new();
    for (place, token) in tokens.iter().enumerate().filter(|(_, token)| token.text == "#") {
        let inner = tokens.get(place + 1).is_some_and(|token| token.text == "!");
        let open = place + 1 + usize::from(inner);
        if tokens.get(open).is_some_and(|token| token.text == "[") {
            let end = closing(&tokens, open);
            found.push(Attribute { at: token.at, inner, tokens: tokens[open + 1..end.max(open + 1)].to_vec() });
        }
    }
    found
}

/// Spaces in place of comments and of what is inside literals.
fn without_comments(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut code = text.as_bytes().to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = comment_end(text, at);
        if let Some(end) = end {
            blank(&mut code, at..end);
            at = end;
        } else if let Some(inside) = literal(text, at) {
            at = inside.end + 1;
            blank(&mut code, inside);
        } else {
            at += 1;
        }
    }
    // Only whole characters were replaced, each of their bytes by a space.
    String::from_utf8_lossy(&code).into_owned()
}

fn blank(code: &mut [u8], range: Range<usize>) {
    let end = range.end.min(code.len());
    for byte in code[range.start..end].iter_mut().filter(|byte| **byte != b'\n') {
        *byte = b' ';
    }
}

/// The end of the comment that begins here, if one does.
fn comment_end(text: &str, at: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    if bytes[at..].starts_with(b"//") {
        let length = bytes[at..].iter().position(|&byte| byte == b'\n');
        return Some(length.map_or(bytes.len(), |length| at + length));
    }
    if !bytes[at..].starts_with(b"/*") {
        return None;
    }
    let (mut depth, mut end) = (0, at);
    while end < bytes.len() {
        let step = match &bytes[end..] {
            [b'/', b'*', ..] => {
                depth += 1;
                2
            }
            [b'*', b'/', ..] => {
                depth -= 1;
                2
            }
            _ => 1,
        };
        end += step;
        if depth == 0 {
            break;
        }
    }
    Some(end)
}

/// What is inside the string or character that begins here, if one does.
fn literal(text: &str, at: usize) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    match bytes[at] {
        b'"' => {
            let mut end = at + 1;
            while end < bytes.len() && bytes[end] != b'"' {
                end += if bytes[end] == b'\\' { 2 } else { 1 };
            }
            Some(at + 1..end)
        }
        b'r' if !text[..at].ends_with(|c: char| is_of_word(c) && !matches!(c, 'b' | 'c')) => {
            let hashes = bytes[at + 1..].iter().take_while(|&&byte| byte == b'#').count();
            let start = at + 1 + hashes;
            (bytes.get(start) == Some(&b'"')).then_some(())?;
            let end = format!("\"{}", "#".repeat(hashes));
            let length = bytes[start + 1..].windows(end.len()).position(|window| window == end.as_bytes());
            // The quotation mark at its end and its hashes are passed over as code.
            Some(start + 1..length.map_or(bytes.len(), |length| start + 1 + length))
        }
        b'\'' => {
            let mut letters = text[at + 1..].char_indices();
            match letters.next()? {
                (_, '\\') => {
                    letters.next();
                    let end = letters.find(|(_, letter)| *letter == '\'')?.0;
                    Some(at + 1..at + 1 + end)
                }
                // Otherwise it is a lifetime.
                _ => letters.next().filter(|(_, letter)| *letter == '\'').map(|(end, _)| at + 1..at + 1 + end),
            }
        }
        _ => None,
    }
}

/// Words with which something begins that ends at its closing brace, or at a semicolon.
const ITEMS: [&str; 14] = [
    "pub", "fn", "mod", "use", "impl", "struct", "enum", "trait", "const", "static", "type", "unsafe", "async",
    "extern",
];

/// Spaces in place of what `#[cfg(test)]` stands before; also the names of such modules that are files.
fn without_tests(code: &str) -> (String, Vec<String>) {
    let all = tokens(code);
    let mut tested = code.as_bytes().to_vec();
    let mut modules = Vec::new();
    for attribute in attributes(code) {
        let words: Vec<&str> = attribute.tokens.iter().map(|token| token.text).collect();
        if words != ["cfg", "(", "test", ")"] {
            continue;
        }
        if attribute.inner {
            blank(&mut tested, 0..code.len());
            continue;
        }
        let mut first = all.partition_point(|token| token.at < attribute.at);
        // This attribute and those after it.
        while all.get(first).is_some_and(|token| token.text == "#") {
            first = closing(&all, first + 1) + 1;
        }
        let Some(last) = end_of_item(&all, first) else { continue };
        if let [.., before, name, end] = &all[first..=last]
            && (before.text, end.text) == ("mod", ";")
        {
            modules.push(name.text.to_string());
        }
        blank(&mut tested, attribute.at..all[last].at + 1);
    }
    (String::from_utf8_lossy(&tested).into_owned(), modules)
}

/// The last token of the item, variant, field or statement that begins with a token.
fn end_of_item(tokens: &[Token<'_>], first: usize) -> Option<usize> {
    let is_item = ITEMS.contains(&tokens.get(first)?.text);
    let ends_with_brace = |words: &[Token<'_>]| !words.iter().any(|t| ["use", "static", "type", "="].contains(&t.text));
    let mut place = first;
    while let Some(token) = tokens.get(place) {
        match token.text {
            ";" => return Some(place),
            "," if !is_item => return Some(place),
            "(" | "[" => place = closing(tokens, place),
            "{" => {
                let brace = place;
                place = closing(tokens, place);
                if is_item && ends_with_brace(&tokens[first..brace]) {
                    return Some(place);
                }
            }
            // What surrounds it ends.
            ")" | "]" | "}" => return Some(place.saturating_sub(1)),
            _ => {}
        }
        place += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_literals_are_no_code() {
        let text = "a(\"x // y\\\" {\", 'b', '\\'', '\\u{1f}', '{'); // c {\n/* d /* e */ { */ r#\"f \" {\"# 'life b\"{\" br\"\\\" g";
        let code = without_comments(text);
        assert_eq!(code.len(), text.len());
        let words: String = code.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(words, "a(\" \", ' ', ' ', ' ', ' '); r#\" \"# 'life b\" \" br\" \" g");
        assert_eq!(without_comments("é /* é */ é"), "é          é");
    }

    #[test]
    fn what_only_tests_compile_is_left_out() {
        let text = "use a;\n#[cfg(test)]\nuse b::{c, d};\n#[cfg(test)]\n#[path = \"x\"]\nmod e { fn f() {} }\nfn g() {}\n\
                    #[cfg(test)]\nmod h;\nenum I { A, #[cfg(test)] B(u8, u8), C }\n#[cfg(test)]\nconst J: [u8; 2] = [1, 2];\n\
                    #[cfg(test)]\npub fn k<T, U>() -> T { x }\nfn l() { m(); #[cfg(test)] n(1, 2); o() }";
        let source = Source::new("x.rs".into(), text.into());
        let words: Vec<&str> = source.tested.split_whitespace().collect();
        assert_eq!(words.join(" "), "use a; fn g() {} enum I { A, C } fn l() { m(); o() }");
        assert_eq!(source.test_modules, ["h"]);
        assert_eq!(Source::new("x.rs".into(), "#![cfg(test)]\nfn a() {}".into()).tested.trim(), "");
    }

    #[test]
    fn signatures_are_read() {
        let code = "impl A { pub const unsafe fn b<T: Fn(u8, u8) -> u8, const N: usize>(&self, c: Vec<(T, T)>,) -> d::Result<T> \
                    where T: Copy {} }\npub(crate) fn e();\ntype F = fn(u8);\nextern \" \" fn g(_: u8) -> [u8; 2] {}";
        let found = functions(code);
        let names: Vec<(&str, bool, usize)> = found.iter().map(|f| (f.name, f.public, f.parameters.len())).collect();
        assert_eq!(names, [("b", true, 2), ("e", false, 0), ("g", false, 1)]);
        let output: Vec<&str> = found[0].output.iter().map(|token| token.text).collect();
        assert_eq!(output, ["d", "::", "Result", "<", "T", ">"]);
        assert!(code[found[0].at..].starts_with("pub const") && code[found[2].at..].starts_with("extern"));
        // An array's semicolon is inside brackets, but what comes before it is enough here.
        assert_eq!(found[2].output[0].text, "[");
    }

    #[test]
    fn attributes_are_read() {
        let found = attributes("#![a(b)]\n#[c]\nlet x = y[0];");
        assert_eq!(found.len(), 2);
        assert!(found[0].inner && found[0].tokens.len() == 4);
        assert!(!found[1].inner && found[1].tokens[0].text == "c");
    }
}
