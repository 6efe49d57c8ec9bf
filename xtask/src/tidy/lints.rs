//! An exception from a lint has a reason, and is an error when the lint no longer fires.

use super::rust::{attributes, closing};
use super::{Finding, Tree};

pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in &tree.rust {
        for attribute in attributes(&source.code) {
            let words = &attribute.tokens;
            for place in 0..words.len().saturating_sub(1) {
                let level = words[place].text;
                if !matches!(level, "allow" | "expect") || words[place + 1].text != "(" {
                    continue;
                }
                let group = &words[place..=closing(words, place + 1)];
                let line = source.line(words[place].at);
                // A lint may fire in one place and not in another where an attribute is about many, or conditional.
                if level == "allow" && place == 0 && !attribute.inner {
                    let message =
                        "`allow` stays when the lint no longer fires; write `#[expect(LINT, reason = \"...\")]`";
                    findings.push(Finding::new(&source.path, line, message.to_string()));
                } else if !group.windows(2).any(|pair| pair[0].text == "reason" && pair[1].text == "=") {
                    let message = format!("`{level}` without a reason; write `{level}(LINT, reason = \"...\")`");
                    findings.push(Finding::new(&source.path, line, message));
                }
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        check(&Tree::of(&[("a.rs", text)])).into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn exceptions_without_a_reason_are_found() {
        for text in
            ["#[expect(dead_code)]", "#![allow(a, b)]", "#![cfg_attr(test, allow(a))]", "#[cfg_attr(x, expect(a))]"]
        {
            let found = found(&format!("{text}\nfn f() {{}}"));
            assert!(found.len() == 1 && found[0].contains("without a reason"), "{text}: {found:?}");
        }
    }

    #[test]
    fn one_thing_is_expected_and_not_allowed() {
        let found = found("#[allow(dead_code, reason = \"x\")]\nfn f() {}");
        assert!(found.len() == 1 && found[0].contains("#[expect"), "{found:?}");
    }

    #[test]
    fn reasons_are_enough() {
        let good = "#![allow(a, reason = \"every file\")]\n#![cfg_attr(test, allow(a, reason = \"b\"))]\n\
                    #[cfg_attr(test, allow(a, reason = \"b\"))]\nfn f() {}\n\
                    #[expect(\n    a,\n    reason = \"b\"\n)]\nfn f() { x.expect(y); /* #[allow(z)] */ }\n#[should_panic(expected = \"a\")]";
        assert_eq!(found(good), Vec::<String>::new());
    }
}
