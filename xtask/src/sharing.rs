//! What the two commands of the README build, they share: other crates have the same features in both, and the crate
//! outside of the workspace has the same profile. One feature more of a crate that all others are built on would compile
//! everything twice.

use crate::{cargo, files, printed, root};
use std::collections::BTreeSet;

pub fn check() -> Result<(), String> {
    let first = packages(&["--edges", "normal,build"])?;
    let tests = ["--workspace", "--exclude", "kernelscope-jupyter", "--edges", "normal,build,dev"];
    let tests = packages(&tests)?;
    let apart = apart(&first, &tests);
    if !apart.is_empty() {
        return Err(format!(
            "the tests build these with other features than `cargo build` does, and all that is built on them: {}; \
             crates/features/Cargo.toml makes them the same",
            apart.join(", ")
        ));
    }
    let (outside, workspace) = (root().join("tests/outside/Cargo.toml"), root().join("Cargo.toml"));
    if release_profile(&files::read(&outside)?) != release_profile(&files::read(&workspace)?) {
        return Err(format!("{} has another profile `release` than the workspace", outside.display()));
    }
    Ok(())
}

/// The packages that a selection consists of, each with its features, as `cargo tree` prints them.
fn packages(selection: &[&str]) -> Result<BTreeSet<String>, String> {
    let mut tree = cargo();
    tree.args(["tree", "--prefix", "none", "--no-dedupe", "--format", "{p} [{f}]"]).args(selection);
    Ok(printed(&mut tree)?.lines().map(|line| line.replace(" (*)", "").replace(" (proc-macro)", "")).collect())
}

/// What the first selection has that the second has not.
fn apart(first: &BTreeSet<String>, second: &BTreeSet<String>) -> Vec<String> {
    first.difference(second).cloned().collect()
}

/// The settings of a manifest's profile `release`; those of this program do not matter outside.
fn release_profile(manifest: &str) -> Vec<&str> {
    let mut inside = false;
    let mut settings = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.starts_with("[profile.release");
        }
        if inside && !line.is_empty() && !line.starts_with('#') && !line.starts_with("xtask.") {
            settings.push(line);
        }
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feature_more_is_seen() {
        let set = |lines: &[&str]| lines.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
        let tests = set(&["syn v3.0.9 [full]", "rand v0.10.0 [std]", "egui v0.37.0 []"]);
        assert!(apart(&set(&["syn v3.0.9 [full]"]), &tests).is_empty());
        assert_eq!(apart(&set(&["syn v3.0.9 []", "rand v0.10.0 [std]"]), &tests), ["syn v3.0.9 []"]);
    }

    #[test]
    fn the_profile_is_all_of_its_sections() {
        let manifest = "[profile.release]\n# why\nlto = \"off\"\n\n[profile.release.package]\nimage.opt-level = 1\n\
                        xtask.opt-level = 1\n[profile.dev]\nopt-level = 1\n";
        let expected = ["[profile.release]", "lto = \"off\"", "[profile.release.package]", "image.opt-level = 1"];
        assert_eq!(release_profile(manifest), expected);
    }
}
