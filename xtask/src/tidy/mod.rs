//! `cargo xtask tidy`: the rules of this project that neither the compiler nor clippy checks.
//!
//! Every rule is a function from the [`Tree`] to its findings, in a file of its own, with examples of both kinds as
//! tests. Rust is read by [`rust`], which knows comments, literals, attributes and signatures but not types: a rule that
//! needs more belongs into clippy.
//!
//! | rule | file |
//! |---|---|
//! | no file of thousands of lines | `length.rs` |
//! | what can fail says when | `errors.rs` |
//! | American spelling | `spelling.rs`, with the words in `words.rs` |
//! | an exception from a lint has a reason | `lints.rs` |
//! | links in the documents lead somewhere | `links.rs` |
//! | packages know only what is below them | `packages.rs` |
//! | modules do not know each other in circles | `circles.rs` |
//! | few parameters, and none of them in disguise | `parameters.rs` |

mod circles;
mod errors;
mod length;
mod links;
mod lints;
mod packages;
mod parameters;
mod rust;
mod spelling;
mod tree;
mod words;

use crate::files;
use std::path::Path;
use tree::Tree;

/// Something that a rule does not allow.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    path: String,
    line: usize,
    /// What is wrong, and what is allowed.
    message: String,
}

impl Finding {
    fn new(path: &str, line: usize, message: String) -> Self {
        Finding { path: path.to_string(), line, message }
    }
}

/// A rule and its name.
type Rule = (&'static str, fn(&Tree) -> Vec<Finding>);

const RULES: [Rule; 8] = [
    ("length", length::check),
    ("errors", errors::check),
    ("spelling", spelling::check),
    ("lints", lints::check),
    ("links", links::check),
    ("packages", packages::check),
    ("circles", circles::check),
    ("parameters", parameters::check),
];

/// Checks the source tree and prints what it finds.
pub fn check(root: &Path) -> Result<(), String> {
    let tree = Tree::read(root)?;
    let mut counts = Vec::new();
    for (name, rule) in RULES {
        let mut findings = rule(&tree);
        findings.sort();
        for Finding { path, line, message } in &findings {
            println!("{path}:{line}: {message}");
        }
        if !findings.is_empty() {
            counts.push(format!("{name} {}", findings.len()));
        }
    }
    if counts.is_empty() { Ok(()) } else { Err(format!("the source tree is not tidy ({})", counts.join(", "))) }
}

/// Rewrites British words as American ones, in texts and in names of files.
pub fn fix_spelling(root: &Path) -> Result<(), String> {
    let (mut words, mut files) = (0, 0);
    for fix in spelling::fixes(&Tree::read(root)?) {
        let (old, new) = (root.join(&fix.path), root.join(&fix.new_path));
        if let Some(text) = &fix.text {
            files::write(&old, text)?;
        }
        if old != new {
            if new.exists() {
                return Err(format!("cannot rename {} to {}, which exists", old.display(), new.display()));
            }
            files::make(new.parent().unwrap_or(root))?;
            std::fs::rename(&old, &new).map_err(|e| format!("cannot rename {}: {e}", old.display()))?;
            println!("{} is now {}", fix.path, fix.new_path);
        }
        words += fix.words;
        files += 1;
    }
    println!(
        "{words} words in {files} files; lines may need `cargo fmt`, and pictures with text have to be made again"
    );
    Ok(())
}
