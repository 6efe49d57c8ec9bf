//! No file of thousands of lines: who looks for something reads the names of files, and who reads one reads all of it.

use super::{Finding, Tree};

/// The most lines of a file of Rust.
const MOST: usize = 450;

/// Longer files, and why they are one.
const EXCEPTIONS: &[(&str, &str)] = &[];

pub fn check(tree: &Tree) -> Vec<Finding> {
    check_with(tree, EXCEPTIONS)
}

fn check_with(tree: &Tree, exceptions: &[(&str, &str)]) -> Vec<Finding> {
    let excepted = |path: &str| exceptions.iter().any(|(exception, _)| *exception == path);
    let lengths = tree.rust.iter().map(|source| (&*source.path, source.text.lines().count()));
    let mut findings: Vec<Finding> = lengths
        .clone()
        .filter(|(path, lines)| *lines > MOST && !excepted(path))
        .map(|(path, lines)| {
            let message = format!("the file has {lines} lines; at most {MOST} are allowed, so split it by subject");
            Finding::new(path, lines, message)
        })
        .collect();
    for (exception, _) in exceptions {
        if !lengths.clone().any(|(path, lines)| path == *exception && lines > MOST) {
            let message =
                format!("no file of more than {MOST} lines; the list in xtask/src/tidy/length.rs need not name it");
            findings.push(Finding::new(exception, 1, message));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_files_need_an_exception_and_short_ones_none() {
        let long = "x\n".repeat(MOST + 1);
        let tree = Tree::of(&[("a.rs", &long), ("b.rs", &long[2..]), ("c.rs", &long), ("d.py", &long)]);
        let found = check_with(&tree, &[("c.rs", "one table")]);
        assert_eq!(found.len(), 1);
        assert_eq!((&*found[0].path, found[0].line), ("a.rs", MOST + 1));
        let found =
            check_with(&tree, &[("a.rs", "one table"), ("b.rs", "short"), ("c.rs", "one table"), ("e.rs", "gone")]);
        let paths: Vec<&str> = found.iter().map(|finding| &*finding.path).collect();
        assert_eq!(paths, ["b.rs", "e.rs"]);
    }
}
