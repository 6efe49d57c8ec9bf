//! What a person does with a network of their own: every step through the command of this crate.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use kernelscope_lab::data::{Cue, Dataset, ShapesTextures};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Runs the command in a folder; what it prints.
fn run(folder: &Path, args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_outside")).current_dir(folder).args(args).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {errors}");
    String::from_utf8(output.stdout).unwrap() + &errors
}

/// Images that the built-in data makes.
fn pictures(folder: &Path, count: usize) {
    let set = ShapesTextures::generate(64, count, 1, Cue::Both, 0).unwrap();
    fs::create_dir_all(folder.join("photos")).unwrap();
    for index in 0..count {
        set.get(index).unwrap().image.save_png(folder.join(format!("photos/{index}.png"))).unwrap();
    }
}

const GRID: &str = r#"
name = "rings"
title = "Kernels of rings"
seeds = [0]

[base]
model = "ring"
data.source = { kind = "builtin", train = 64, val = 32 }
train.epochs = 1

[[axis]]
key = "set.kernel"
name = "kernel"
values = [3, 9]
"#;

#[test]
fn a_network_of_another_crate_has_the_whole_command() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    let costs = run(here, &["models", "ring", "--size", "64", "--layers"]);
    // 24 (3 * 16 + 1) in the stem, 24 (81 + 1 + 2) + 24 * 25 in a ring, and 8 * 25 in the classifier.
    assert!(costs.contains("rings.1.depthwise") && costs.contains("depthwise 9x9"), "{costs}");

    run(here, &["train", "--model", "ring", "--data", "builtin", "--epochs", "2", "--out", "run"]);
    let config = fs::read_to_string(here.join("run/config.toml")).unwrap();
    assert!(config.contains("family = \"ring\"") && config.contains("kernel = 9"), "{config}");
    run(here, &["train", "--resume", "run"]);
    let eval = run(here, &["eval", "--run", "run"]);
    assert!(eval.contains("ring: ") && eval.contains(" images, loss "), "{eval}");

    pictures(here, 2);
    run(here, &["erf", "--run", "run", "--images", "photos", "--size", "64", "--output", "erf"]);
    run(here, &["predict", "--run", "run", "--input", "photos", "--output", "logits.safetensors"]);
    run(here, &["orientations", "--run", "run", "--output", "orientations"]);
    run(here, &["shape-bias", "--run", "run", "--output", "bias"]);
    run(here, &["masks", "--run", "run", "--output", "masks"]);
    let channels = fs::read_to_string(here.join("orientations/orientations.csv")).unwrap();
    assert_eq!(channels.lines().count(), 1 + 2 * 24, "{channels}");
    assert!(channels.contains("rings.0.depthwise"), "{channels}");
    assert!(here.join("erf").read_dir().unwrap().count() > 0);

    fs::write(here.join("rings.toml"), GRID).unwrap();
    run(here, &["ablate", "rings.toml", "--out", "grid"]);
    let table = fs::read_to_string(here.join("grid/summary.csv")).unwrap();
    assert_eq!(table.lines().count(), 3, "{table}");

    run(here, &["view", "run", "--headless", "--view", "kernels", "--export", "kernels.png"]);
    assert!(here.join("kernels.png").metadata().unwrap().len() > 1000);
}

#[test]
fn its_checkpoints_load_by_what_they_say_and_its_mistakes_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path();
    run(here, &["train", "--model", "ring", "--set", "kernel=5", "--epochs", "1", "--data", "builtin", "--out", "run"]);
    let saved = here.join("run/checkpoints/epoch-0001.safetensors");
    pictures(here, 1);
    let saved = saved.display().to_string();
    run(here, &["erf", "--weights", &saved, "--images", "photos", "--size", "64", "--output", "erf"]);
    let wrong = Command::new(env!("CARGO_BIN_EXE_outside"))
        .current_dir(here)
        .args(["train", "--model", "ring", "--set", "kernel=4", "--data", "builtin", "--out", "other"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&wrong.stderr);
    assert!(!wrong.status.success() && said.contains("kernel: got 4, allowed: an odd number"), "{said}");
}
