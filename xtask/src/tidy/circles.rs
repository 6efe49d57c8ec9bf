//! The modules at the top of a package do not know each other in circles: each can be read, tested and moved with what
//! it knows, and that ends somewhere.
//!
//! What a module knows is what its files name after `crate::`, or after as many `super::` as lead out of it, outside of
//! tests. An item that the root re-exports is of the module that it comes from.

use super::rust::{Source, Token, closing, parts, tokens};
use super::{Finding, Tree, packages};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Circles that are known: package, module, and the module that it should not know.
const EXCEPTIONS: &[(&str, &str, &str)] = &[];

/// Where a module names another: file and line.
type Edges<'a> = BTreeMap<(String, String), (&'a str, usize)>;

pub fn check(tree: &Tree) -> Vec<Finding> {
    check_with(tree, EXCEPTIONS)
}

fn check_with(tree: &Tree, exceptions: &[(&str, &str, &str)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.files.iter().filter(|file| file.path.ends_with("Cargo.toml")) {
        let Some((name, _)) = packages::package(&file.text) else { continue };
        let mut edges = edges(tree, &tree.package_of(&file.path));
        for (_, from, to) in exceptions.iter().filter(|(package, ..)| *package == name) {
            let edge = (from.to_string(), to.to_string());
            // Only what closes a circle need be listed.
            if edges.contains_key(&edge) && shortest_way(&edges, to, from).is_some() {
                edges.remove(&edge);
            } else {
                let message =
                    format!("`{from}` and `{to}` are in no circle; xtask/src/tidy/circles.rs need not list them");
                findings.push(Finding::new(&file.path, 1, message));
            }
        }
        findings.extend(circles(&edges));
    }
    findings
}

/// The shortest circle through every place where a module names one that knows it.
fn circles(edges: &Edges<'_>) -> Vec<Finding> {
    let mut seen = BTreeSet::new();
    let mut findings = Vec::new();
    for (from, to) in edges.keys() {
        let Some(way) = shortest_way(edges, to, from) else { continue };
        let mut members = way;
        let first = members.iter().enumerate().min_by_key(|(_, name)| *name).map_or(0, |(place, _)| place);
        members.rotate_left(first);
        if !seen.insert(members.clone()) {
            continue;
        }
        let steps: Vec<_> = (0..members.len()).map(|n| (members[n], members[(n + 1) % members.len()])).collect();
        let place = |(from, to): &(&str, &str)| edges[&(from.to_string(), to.to_string())];
        let told = steps.iter().map(|step| {
            let (path, line) = place(step);
            format!("`{}` knows `{}` ({path}:{line})", step.0, step.1)
        });
        let told = told.collect::<Vec<_>>().join(", ");
        let (path, line) = place(&steps[0]);
        let message = format!("a circle of modules: {told}; what one module knows must not know it in turn");
        findings.push(Finding::new(path, line, message));
    }
    findings
}

/// The modules on the shortest way from one to another, both included.
fn shortest_way<'a>(edges: &'a Edges<'_>, from: &'a str, to: &'a str) -> Option<Vec<&'a str>> {
    let mut before: BTreeMap<&str, &str> = BTreeMap::new();
    let mut queue = VecDeque::from([from]);
    while let Some(module) = queue.pop_front() {
        if module == to {
            let mut way = vec![to];
            while let Some(previous) = way.last().filter(|last| **last != from).and_then(|last| before.get(last)) {
                way.push(previous);
            }
            way.reverse();
            return Some(way);
        }
        for next in edges.keys().filter(|(other, _)| other == module).map(|(_, next)| &**next) {
            if next != from && !before.contains_key(next) {
                before.insert(next, module);
                queue.push_back(next);
            }
        }
    }
    None
}

/// What each module at the top of a package knows of the others, with the first place that says so.
fn edges<'a>(tree: &'a Tree, package: &str) -> Edges<'a> {
    let start = format!("{package}src/");
    let of_package = |source: &&Source| source.path.starts_with(&start) && tree.package_of(&source.path) == package;
    let sources: Vec<&Source> = tree.rust.iter().filter(of_package).collect();
    let tests: Vec<String> = sources.iter().flat_map(|source| files_of_tests(source)).collect();
    let is_test =
        |path: &str| tests.iter().any(|test| path == format!("{test}.rs") || path.starts_with(&format!("{test}/")));
    let inside: Vec<(Vec<&str>, &Source)> = sources
        .iter()
        .filter(|source| !is_test(&source.path))
        .map(|source| (module_path(&source.path[start.len()..]), *source))
        .collect();
    let modules: BTreeSet<&str> = inside.iter().filter_map(|(path, _)| path.first().copied()).collect();
    let roots = inside.iter().filter(|(path, _)| path.is_empty());
    let exported: BTreeMap<&str, &str> = roots.flat_map(|(_, source)| exports(&source.tested, &modules)).collect();
    let mut edges = BTreeMap::new();
    for (path, source) in inside {
        let Some(module) = path.first() else { continue };
        for Token { text: name, at } in names_from_root(&tokens(&source.tested), path.len()) {
            let other = modules.get(name).or_else(|| exported.get(name));
            if let Some(other) = other.filter(|other| *other != module) {
                let place = (&*source.path, source.line(at));
                edges.entry((module.to_string(), other.to_string())).or_insert(place);
            }
        }
    }
    edges
}

/// The names of the modules around a file; none for the root.
fn module_path(path: &str) -> Vec<&str> {
    let mut names: Vec<&str> = path.trim_end_matches(".rs").split('/').collect();
    if names.last() == Some(&"mod") || names == ["lib"] || names == ["main"] || names.first() == Some(&"bin") {
        names.pop();
    }
    if names == ["bin"] { Vec::new() } else { names }
}

/// The modules of tests that a file declares, as paths without an extension.
fn files_of_tests(source: &Source) -> Vec<String> {
    let path = source.path.trim_end_matches(".rs");
    let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
    let folder = if matches!(name, "mod" | "lib" | "main") { folder.to_string() } else { path.to_string() };
    source.test_modules.iter().map(|module| format!("{folder}/{module}")).collect()
}

/// What the code of a module of a certain depth names at the root.
fn names_from_root<'a>(tokens: &[Token<'a>], depth: usize) -> Vec<Token<'a>> {
    let mut names = Vec::new();
    let is = |place: usize, text: &str| tokens.get(place).is_some_and(|token| token.text == text);
    for place in 0..tokens.len() {
        let after_path = place > 0 && is(place - 1, "::");
        let mut next = place;
        if is(place, "crate") {
            next += 1;
        } else if is(place, "super") && !after_path {
            let ups = (0..).take_while(|n| is(place + 2 * n, "super") && is(place + 2 * n + 1, "::")).count();
            if ups != depth {
                continue;
            }
            next += 2 * ups - 1;
        }
        if next == place || !is(next, "::") {
            continue;
        }
        if is(next + 1, "{") {
            let group = &tokens[next + 2..closing(tokens, next + 1)];
            names.extend(parts(group).iter().map(|part| part[0]));
        } else {
            names.extend(tokens.get(next + 1));
        }
    }
    names
}

/// What the root takes from its modules with `use`, and from which.
fn exports<'a>(code: &'a str, modules: &BTreeSet<&'a str>) -> Vec<(&'a str, &'a str)> {
    let tokens = tokens(code);
    let mut found = Vec::new();
    for (place, _) in tokens.iter().enumerate().filter(|(_, token)| token.text == "use") {
        let end =
            tokens[place..].iter().position(|token| token.text == ";").map_or(tokens.len(), |length| place + length);
        let tree = &tokens[place + 1..end];
        let skipped = if tree.first().is_some_and(|t| matches!(t.text, "crate" | "self")) { 2 } else { 0 };
        let tree = tree.get(skipped..).unwrap_or_default();
        let trees = if tree.first().is_some_and(|token| token.text == "{") {
            parts(&tree[1..tree.len() - 1])
        } else {
            vec![tree]
        };
        for tree in trees {
            let Some(module) = tree.first().and_then(|first| modules.get(first.text)) else { continue };
            // The last word before a comma, a closing brace or the end is what it is called here.
            for (n, token) in tree.iter().enumerate().skip(1) {
                let last = tree.get(n + 1).is_none_or(|next| matches!(next.text, "," | "}"));
                if last && !matches!(token.text, "}" | "*" | "self") {
                    found.push((token.text, *module));
                }
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)], exceptions: &[(&str, &str, &str)]) -> Vec<String> {
        let manifest = [("Cargo.toml", "[package]\nname = \"p\"\n")];
        let tree = Tree::of(&[&manifest[..], files].concat());
        check_with(&tree, exceptions).into_iter().map(|finding| finding.message).collect()
    }

    #[test]
    fn circles_are_found_by_every_kind_of_path() {
        for (a, b) in [
            ("use crate::b::B;", "fn f() { crate::a::g(); }"),
            ("use crate::{c, b::{B, C}};", "type A = super::a::A;"),
            ("mod x { use crate::Exported; }", "use crate::{a, c};"),
            ("use crate::Renamed;", "use crate::{Error, a as other};"),
        ] {
            let lib = "pub mod a;\npub mod b;\npub use b::{Exported, Other as Renamed};";
            let found = found(&[("src/lib.rs", lib), ("src/a.rs", a), ("src/b.rs", b)], &[]);
            assert_eq!(found.len(), 1, "{a} {b}: {found:?}");
            let told = "`a` knows `b` (src/a.rs:1), `b` knows `a` (src/b.rs:1)";
            assert!(found[0].contains(told), "{found:?}");
        }
    }

    #[test]
    fn a_long_circle_is_found_once_and_each_of_two() {
        let a = ("src/a/mod.rs", "mod inner;");
        let inner = ("src/a/inner.rs", "use super::super::b;\nuse super::own;");
        let long = [a, inner, ("src/b.rs", "use crate::c;"), ("src/c.rs", "\nuse crate::a;")];
        let once = found(&long, &[]);
        assert_eq!(once.len(), 1, "{once:?}");
        assert!(once[0].contains("`a` knows `b` (src/a/inner.rs:1), `b` knows `c`"), "{once:?}");
        assert!(once[0].contains("`c` knows `a` (src/c.rs:2)"), "{once:?}");
        let two = [a, inner, ("src/b.rs", "use crate::c;"), ("src/c.rs", "use crate::{a, b};")];
        assert_eq!(found(&two, &[]).len(), 2);
        assert_eq!(found(&two, &[("p", "c", "b"), ("p", "c", "a")]), Vec::<String>::new());
        // One that is not needed is said.
        assert_eq!(found(&long, &[("p", "c", "a"), ("p", "c", "b")]).len(), 1);
    }

    #[test]
    fn what_tests_use_and_comments_say_closes_no_circle() {
        let a = "use crate::b;\n#[cfg(test)]\nmod tests;\n";
        let b = "// use crate::a;\n#[cfg(test)]\nmod tests { use crate::a; }\nconst C: &str = \"crate::a::x\";";
        let files = [
            ("src/lib.rs", "use a::A; use b::B;"),
            ("src/a/mod.rs", a),
            ("src/a/tests.rs", "use crate::c;"),
            ("src/b.rs", b),
            ("src/c.rs", "use crate::a;"),
        ];
        assert_eq!(found(&files, &[]), Vec::<String>::new());
        // A module of the same name inside of another is not the one at the top.
        let inner = [("src/a/mod.rs", "mod b;"), ("src/a/c.rs", "use super::b;"), ("src/b.rs", "use crate::a;")];
        assert_eq!(found(&inner, &[]), Vec::<String>::new());
        // The same outside of tests does.
        assert_eq!(found(&[("src/a.rs", "use crate::b;"), ("src/b.rs", "mod inner { use crate::a; }")], &[]).len(), 1);
    }
}
