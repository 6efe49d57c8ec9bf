//! Links in Markdown lead to files of the source tree, and to headings that are there.

use super::tree::File;
use super::{Finding, Tree};
use std::collections::BTreeMap;

pub fn check(tree: &Tree) -> Vec<Finding> {
    let documents: Vec<&File> = tree.files.iter().filter(|file| file.path.ends_with(".md")).collect();
    let headings: BTreeMap<&str, Vec<String>> =
        documents.iter().map(|file| (&*file.path, anchors(&file.text))).collect();
    let mut findings = Vec::new();
    for file in documents {
        for (line, target) in links(&file.text) {
            let problem = match target.split_once(':') {
                // Another site, or an address.
                Some((scheme, _)) if scheme.chars().all(|c| c.is_ascii_alphanumeric()) => continue,
                _ => problem(tree, &headings, &file.path, &target),
            };
            if let Some(problem) = problem {
                findings.push(Finding::new(
                    &file.path,
                    line,
                    format!("the link to `{target}` leads nowhere: {problem}"),
                ));
            }
        }
    }
    findings
}

/// What is wrong with a link inside a document.
fn problem(tree: &Tree, headings: &BTreeMap<&str, Vec<String>>, document: &str, target: &str) -> Option<String> {
    let (path, anchor) = target.split_once('#').map_or((target, None), |(path, anchor)| (path, Some(anchor)));
    let path = if path.is_empty() {
        document.to_string()
    } else {
        let Some(path) = resolve(document, &path.replace("%20", " ")) else {
            return Some("it is outside of the source tree; write a full address".into());
        };
        path
    };
    let is_folder = path.is_empty() || tree.paths.iter().any(|file| file.starts_with(&format!("{path}/")));
    if !tree.paths.contains(&path) && !is_folder {
        return Some(format!("there is no `{path}`"));
    }
    let (anchors, anchor) = (headings.get(&*path)?, anchor?);
    (!anchors.iter().any(|other| other == anchor)).then(|| {
        let allowed: Vec<String> = anchors.iter().map(|anchor| format!("#{anchor}")).collect();
        format!("`{path}` has the anchors {}", allowed.join(", "))
    })
}

/// A path relative to the folder of a document, from the root; `None` where that is left.
fn resolve(document: &str, path: &str) -> Option<String> {
    let mut parts: Vec<&str> = document.split('/').collect();
    parts.pop();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

/// Numbered lines without code: those of blocks are left out, and spans are spaces.
fn prose(text: &str) -> impl Iterator<Item = (usize, String)> {
    let mut fence: Option<&str> = None;
    text.lines().enumerate().filter_map(move |(number, line)| {
        let start = line.trim_start();
        let mark = ["```", "~~~"].into_iter().find(|mark| start.starts_with(mark));
        match (fence, mark) {
            (None, Some(_)) => fence = mark,
            (Some(_), Some(_)) if fence == mark => fence = None,
            (None, None) => {
                let spans = line.split('`').enumerate();
                let parts = spans.map(|(n, part)| if n % 2 == 0 { part.to_string() } else { " ".repeat(part.len()) });
                return Some((number + 1, parts.collect::<Vec<_>>().join("`")));
            }
            _ => {}
        }
        None
    })
}

/// The targets of all links and pictures, with their lines.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    for (number, line) in prose(text) {
        let mut add = |target: &str| links.push((number, target.to_string()));
        for (at, mark) in line.match_indices("](") {
            let target = &line[at + mark.len()..];
            // A title may follow.
            let end = target.find(|c: char| c == ')' || c.is_whitespace()).unwrap_or(target.len());
            add(target[..end].trim_matches(['<', '>']));
        }
        for mark in ["src=\"", "href=\""] {
            for (at, _) in line.match_indices(mark) {
                add(line[at + mark.len()..].split('"').next().unwrap_or_default());
            }
        }
        // [name]: target
        if let Some((name, target)) = line.split_once("]: ")
            && name.starts_with('[')
        {
            add(target.split_whitespace().next().unwrap_or_default());
        }
    }
    links
}

/// The anchors of a document's headings, made as GitHub makes them.
fn anchors(text: &str) -> Vec<String> {
    let mut anchors: Vec<String> = Vec::new();
    // Code in a heading is part of its name, so that only lines are taken from the prose.
    let whole: Vec<&str> = text.lines().collect();
    for (number, _) in prose(text) {
        let line = whole[number - 1];
        let title = line.trim_start_matches('#');
        let level = line.len() - title.len();
        if !(1..=6).contains(&level) || !title.starts_with(' ') {
            continue;
        }
        // Of a link only its text.
        let mut name = String::new();
        for (number, part) in title.trim().split("](").enumerate() {
            name.push_str(if number == 0 { part } else { part.split_once(')').map_or("", |(_, rest)| rest) });
        }
        let kept = name.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        let slug: String = kept.collect::<String>().to_lowercase().replace(' ', "-");
        let earlier = anchors.iter().filter(|other| **other == slug).count();
        anchors.push(if earlier == 0 { slug } else { format!("{slug}-{earlier}") });
    }
    anchors
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        let tree = Tree::of(&[
            ("README.md", "# One\n## Two words: `code`, [link](#one)!\n## One\n```sh\n# no heading\n```\n"),
            ("docs/a.md", text),
            ("docs/images/x.png", ""),
        ]);
        check(&tree).into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn links_that_lead_somewhere_are_good() {
        let good = "# Here\n[a](../README.md) ![b](images/x.png \"title\") [c](#here) [d](../README.md#two-words-code-link)\n\
                    [e](../README.md#one-1) [f](https://x.y/z) [g](mailto:a@b.c) `[h](nowhere)` [i](images) <img src=\"images/x.png\">\n\
                    ```md\n[j](nowhere)\n```\n[k]: ../README.md";
        assert_eq!(found(good), Vec::<String>::new());
    }

    #[test]
    fn links_that_do_not_are_found() {
        for (text, words) in [
            ("[a](README.md)", "no `docs/README.md`"),
            ("[a](../README.md#three)", "has the anchors #one, #two-words-code-link, #one-1"),
            ("[a](#no-heading)", "has the anchors "),
            ("![a](images/y.png)", "no `docs/images/y.png`"),
            ("<a href=\"b\">", "no `docs/b`"),
            ("[a]: b", "no `docs/b`"),
            ("[a](../../other)", "outside"),
            ("[a](images/x.png) [b](c)", "no `docs/c`"),
        ] {
            let found = found(text);
            assert!(found.len() == 1 && found[0].contains(words), "{text}: {found:?}");
        }
    }
}
