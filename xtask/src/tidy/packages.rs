//! The order of packages: each knows only what is below it.

use super::{Finding, Tree};

/// The packages of this workspace, which of them each may use, and which its tests and build may use besides.
const ORDER: &[(&str, &[&str], &[&str])] = &[
    ("kernelscope", &[], &["kernelscope-emulator", "kernelscope-lab"]),
    ("kernelscope-emulator", &[], &[]),
    ("kernelscope-lab", &["kernelscope"], &["kernelscope-emulator"]),
    ("kernelscope-features", &[], &[]),
    ("kernelscope-cli", &["kernelscope", "kernelscope-lab"], &["kernelscope-emulator"]),
    ("kernelscope-prelude", &["kernelscope", "kernelscope-lab"], &[]),
    ("kernelscope-viewer", &["kernelscope", "kernelscope-lab"], &[]),
    ("kernelscope-jupyter", &[], &[]),
    ("xtask", &[], &[]),
    (
        "outside",
        &["kernelscope", "kernelscope-cli", "kernelscope-features", "kernelscope-viewer"],
        &["kernelscope-lab"],
    ),
];

pub fn check(tree: &Tree) -> Vec<Finding> {
    check_with(tree, ORDER)
}

fn check_with(tree: &Tree, order: &[(&str, &[&str], &[&str])]) -> Vec<Finding> {
    let is_manifest = |path: &str| path == "Cargo.toml" || path.ends_with("/Cargo.toml");
    let manifests: Vec<_> = tree.files.iter().filter(|file| is_manifest(&file.path)).collect();
    let named: Vec<(String, usize)> = manifests.iter().filter_map(|file| package(&file.text)).collect();
    let mut findings = Vec::new();
    for file in &manifests {
        let Some((name, line)) = package(&file.text) else { continue };
        let Some((_, always, for_tests)) = order.iter().find(|(package, ..)| *package == name) else {
            let message =
                format!("the package `{name}` has no place in the order of packages: xtask/src/tidy/packages.rs");
            findings.push(Finding::new(&file.path, line, message));
            continue;
        };
        for Dependency { name: other, line, always: is_always } in dependencies(&file.text) {
            if !named.iter().any(|(name, _)| *name == other) {
                continue;
            }
            let allowed = [*always, if is_always { &[] } else { *for_tests }].concat();
            if !allowed.contains(&&*other) {
                let what = if is_always { "use" } else { "use in its tests" };
                let allowed = if allowed.is_empty() { "no other".to_string() } else { allowed.join(", ") };
                let message = format!("`{name}` must not use `{other}`; of this workspace it may {what} {allowed}");
                findings.push(Finding::new(&file.path, line, message));
            }
        }
    }
    findings
}

/// A dependency of a manifest.
struct Dependency {
    name: String,
    line: usize,
    /// Not of tests or of the build alone.
    always: bool,
}

/// The name of a manifest's package, and its line.
pub fn package(manifest: &str) -> Option<(String, usize)> {
    let mut section = "";
    manifest.lines().enumerate().find_map(|(number, line)| {
        section = heading(line).unwrap_or(section);
        let name = value_of(line, "name").filter(|_| section == "package")?;
        Some((name, number + 1))
    })
}

/// What a manifest depends on, by the names of packages.
fn dependencies(manifest: &str) -> Vec<Dependency> {
    let mut found: Vec<Dependency> = Vec::new();
    let (mut always, mut in_list, mut in_one) = (false, false, false);
    for (number, line) in manifest.lines().enumerate() {
        let line_number = number + 1;
        if let Some(section) = heading(line) {
            // Also [target.'cfg(unix)'.dependencies] and [dependencies.name].
            let mut parts = section.rsplit('.');
            let (last, before) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            let is_list = |name: &str| name.ends_with("dependencies");
            // Versions for the whole workspace: no package uses them by that.
            let is_table = before == "workspace";
            (in_list, in_one) = (is_list(last) && !is_table, is_list(before) && !is_list(last));
            always = (if in_one { before } else { last }) == "dependencies";
            if in_one {
                found.push(Dependency { name: unquoted(last), line: line_number, always });
            }
        } else if let Some((key, value)) = line.split_once('=').filter(|(key, _)| in_list && !key.starts_with('#')) {
            let renamed = value.split(['{', ',']).find_map(|part| value_of(part, "package"));
            let key = key.trim().split('.').next().map(unquoted).unwrap_or_default();
            found.push(Dependency { name: renamed.unwrap_or(key), line: line_number, always });
        } else if let (true, Some(name), Some(last)) = (in_one, value_of(line, "package"), found.last_mut()) {
            last.name = name;
        }
    }
    found
}

fn heading(line: &str) -> Option<&str> {
    line.trim().strip_prefix('[')?.split(']').next()
}

fn unquoted(text: &str) -> String {
    text.trim().trim_matches(['"', '\'']).to_string()
}

/// The string that a key has on a line.
fn value_of(line: &str, key: &str) -> Option<String> {
    let (name, value) = line.split_once('=')?;
    (name.trim() == key).then(|| unquoted(value.trim().trim_end_matches('}')))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BELOW: (&str, &str) = ("below/Cargo.toml", "[package]\nname = \"below\"\n\n[dependencies]\nserde = \"1\"\n");

    fn found(top: &str) -> Vec<(usize, String)> {
        let top = format!("[package]\nname = \"top\"\n{top}");
        let tests = ("tests/Cargo.toml", "[package]\nname = \"tests\"\n");
        let tree = Tree::of(&[("Cargo.toml", "[workspace]\n"), BELOW, tests, ("top/Cargo.toml", &top)]);
        let order: &[(&str, &[&str], &[&str])] =
            &[("below", &[], &[]), ("tests", &[], &[]), ("top", &["below"], &["tests"])];
        check_with(&tree, order).into_iter().map(|finding| (finding.line, finding.message)).collect()
    }

    #[test]
    fn packages_use_what_is_below_them() {
        let good = "[dependencies]\nbelow = { path = \"../below\" }\nserde.workspace = true\n[dev-dependencies]\n\
                    tests = { path = \"../tests\" }\n[features]\ntests = []";
        assert_eq!(found(good), []);
        for bad in [
            "[dependencies]\ntests = { path = \"../tests\" }",
            "[dependencies]\ntests.workspace = true",
            "[dependencies]\nother = { package = \"tests\", path = \"../tests\" }",
            "[target.'cfg(unix)'.dependencies]\ntests = { path = \"../tests\" }",
            "[dependencies.tests]\npath = \"../tests\"",
        ] {
            let found = found(bad);
            assert!(found.len() == 1 && found[0].1.contains("`top` must not use `tests`"), "{bad}: {found:?}");
        }
        assert_eq!(found("[dependencies.other]\npath = \"../tests\"\npackage = \"tests\"").len(), 1);
    }

    #[test]
    fn nothing_is_below_itself_and_everything_has_a_place() {
        let upward = ("below/Cargo.toml", "[package]\nname = \"below\"\n[dependencies]\ntop = { path = \"../top\" }\n");
        let tree = Tree::of(&[upward, ("top/Cargo.toml", "[package]\nname = \"top\"\n")]);
        let found = check_with(&tree, &[("below", &[], &[])]);
        assert_eq!(found.len(), 2);
        assert!(found[0].message.contains("may use no other") && found[0].line == 4, "{found:?}");
        assert!(found[1].message.contains("`top` has no place"), "{found:?}");
    }
}
