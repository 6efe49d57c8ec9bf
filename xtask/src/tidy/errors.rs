//! What can fail says when: a public function of a library that returns `Result` has a section `# Errors`.

use super::rust::{Function, functions};
use super::{Finding, Tree};

pub fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in &tree.rust {
        let package = tree.package_of(&source.path);
        let inside = source.path.strip_prefix(&*package).and_then(|path| path.strip_prefix("src/"));
        // The modules of the command are its own: what others see is its `main`.
        let is_library = tree.paths.contains(&format!("{package}src/lib.rs")) && package != "crates/cli/";
        if !is_library || inside.is_none_or(|path| path == "main.rs" || path.starts_with("bin/")) {
            continue;
        }
        for function in functions(&source.tested).iter().filter(|f| f.public && returns_result(f)) {
            let line = source.line(function.at);
            if !documentation(&source.text, line).any(|text| text.trim() == "# Errors") {
                let name = function.name;
                let message = format!("`{name}` returns `Result`, so its documentation needs a section `# Errors`");
                findings.push(Finding::new(&source.path, line, message));
            }
        }
    }
    findings
}

/// Whether the last part of the returned type's path is `Result`.
fn returns_result(function: &Function<'_>) -> bool {
    let is_name = |text: &str| text == "::" || text.starts_with(|c: char| c.is_alphabetic());
    let path = function.output.iter().take_while(|token| is_name(token.text));
    path.last().is_some_and(|token| token.text == "Result")
}

/// The lines of documentation before a line, the nearest first.
fn documentation(text: &str, line: usize) -> impl Iterator<Item = &str> {
    let before: Vec<&str> = text.lines().take(line - 1).map(str::trim).collect();
    let mut in_attribute = false;
    let mut lines = Vec::new();
    for line in before.into_iter().rev() {
        if let Some(documentation) = line.strip_prefix("///") {
            lines.push(documentation);
        } else if line.starts_with("#[") {
            in_attribute = false;
        } else if line.ends_with(']') {
            in_attribute = true;
        } else if !in_attribute && !line.starts_with("//") {
            break;
        }
    }
    lines.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<usize> {
        let tree = Tree::of(&[("Cargo.toml", ""), ("src/lib.rs", ""), ("xtask/Cargo.toml", ""), (path, text)]);
        check(&tree).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn public_functions_that_fail_say_when() {
        assert_eq!(found("src/a.rs", "/// Reads.\npub fn read() -> Result<u8> {}"), [2]);
        assert_eq!(found("src/a.rs", "struct A;\nimpl A {\n    pub fn read(&self) -> io::Result<u8> {}\n}"), [3]);
        let good = "/// Reads.\n///\n/// # Errors\n/// If not.\n#[inline]\n#[expect(\n    x,\n    reason = \"y\"\n)]\npub fn read() -> \
                    std::result::Result<u8, E> {}";
        assert_eq!(found("src/a.rs", good), []);
        // The section is of the function before.
        assert_eq!(found("src/a.rs", &format!("{good}\npub fn more() -> Result<u8> {{}}")), [11]);
    }

    #[test]
    fn others_need_not() {
        for text in [
            "pub(crate) fn a() -> Result<u8> {}",
            "impl B for C { fn a() -> Result<u8> {} }",
            "pub fn a() -> impl Iterator<Item = Result<u8>> {}",
            "#[cfg(test)]\nmod tests { pub fn a() -> Result<u8> {} }",
            "// pub fn a() -> Result<u8> {}",
        ] {
            assert_eq!(found("src/a.rs", text), [], "{text}");
        }
        for path in ["src/main.rs", "src/bin/x.rs", "tests/a.rs", "xtask/src/a.rs"] {
            assert_eq!(found(path, "pub fn read() -> Result<u8> {}"), [], "{path}");
        }
    }
}
