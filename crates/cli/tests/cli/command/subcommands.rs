//! Every subcommand on small data.

use super::{Desk, SUBCOMMANDS, TINY, json, train_tiny};
use crate::common::{files, random, values};
use kernelscope::nn::BuildOptions;
use kernelscope::weights;
use kernelscope::zoo::{Network, registry};
use predicates::prelude::*;
use std::collections::BTreeMap;

#[test]
fn help_has_examples() {
    let desk = Desk::new();
    let top = desk.run(&["--help"]);
    for name in SUBCOMMANDS {
        assert!(top.contains(name), "{name} is not in the help");
        let help = desk.run(&[name, "--help"]);
        assert!(help.contains("Example") && help.contains(&format!("kernelscope {name}")), "{help}");
    }
    desk.command(&["--version"]).assert().success().stdout(predicate::str::contains(env!("CARGO_PKG_VERSION")));
    desk.command(&["unheard-of"]).assert().code(2).stderr(predicate::str::contains("unheard-of"));
    desk.command(&["predict"]).assert().code(2);
}

#[test]
fn models_are_listed() {
    let desk = Desk::new();
    let rows = json(&desk.run(&["models", "--json"]));
    let names: Vec<&str> = rows.as_array().unwrap().iter().map(|r| r["name"].as_str().unwrap()).collect();
    assert_eq!(names, registry().iter().map(|e| e.name).collect::<Vec<_>>());
    for row in rows.as_array().unwrap() {
        assert!(row["parameters"].as_u64().unwrap() > 0 && row["macs"].as_u64().unwrap() > 0, "{row}");
    }
    let table = desk.run(&["models"]);
    assert!(names.iter().all(|name| table.contains(name)), "{table}");
    let layers = desk.run(&["models", "convnext-t-1d", "--layers"]);
    for part in ["downsample_layers.0.dw1", "stages.2.8.dwconv", "oriented 1x31", "head", "total"] {
        assert!(layers.contains(part), "no {part} in {layers}");
    }
    let plain = json(&desk.run(&["models", "nano-1d", "--size", "64", "--layers", "--json"]));
    let more = json(&desk.run(&["models", "nano-1d", "--size", "64", "--set", "kernel=31", "--json"]));
    assert!(more[0]["macs"].as_u64() > plain[0]["macs"].as_u64());
    assert!(plain[0]["layers"]["layers"].as_array().unwrap().len() > 20 && more[0].get("layers").is_none());
    desk.fails_without_trace(&["models", "convnext-q"], &["convnext-q", "nano-1dpp"]);
    desk.fails_without_trace(&["models", "nano-1d", "--set", "wings=2"], &["wings", "directions"]);
    desk.fails_without_trace(&["models", "nano-1d", "--size", "65"], &["65x65"]);
    desk.fails_without_trace(&["models", "--size", "18446744073709551615"], &["--size", "1 to 16384"]);
}

#[test]
fn a_run_serves_every_command() {
    let desk = Desk::new();
    let printed = train_tiny(&desk, "run", &["--ema", "0.9", "--augment", "light"]);
    assert!(printed.contains("run: ") && printed.contains("of 800 validation images after 1 epochs"), "{printed}");
    desk.assert_files(&[
        "run/config.toml",
        "run/metrics.csv",
        "run/checkpoints/epoch-0001.safetensors",
        "run/checkpoints/epoch-0001-ema.safetensors",
        "run/state/progress.toml",
    ]);
    assert!(desk.run(&["train", "--resume", "run"]).contains("already complete"));
    let result = json(&desk.run(&["eval", "--run", "run", "--json"]));
    assert_eq!((result["model"].as_str(), result["images"].as_u64()), (Some("nano-1d"), Some(800)));
    let accuracy = format!("{:.2} %", 100.0 * result["accuracy"].as_f64().unwrap());
    assert!(desk.run(&["eval", "--run", "run"]).contains(&accuracy));
    predict_with(&desk);
    inspect_with(&desk);
    let config = train_again(&desk);
    assert!(config.contains("epochs = 1"), "{config}");
}

fn predict_with(desk: &Desk) {
    desk.input("batch.safetensors");
    let run = ["predict", "--run", "run", "--output", "out.safetensors"];
    let printed = desk.run(&[&run[..], &["--input", "batch.safetensors", "--stages", "--batch", "2"]].concat());
    assert!(printed.contains("out.safetensors: logits of 3 images"), "{printed}");
    let out = desk.tensors("out.safetensors");
    let shapes: BTreeMap<&str, Vec<usize>> = out.iter().map(|(name, t)| (name.as_str(), t.dims().to_vec())).collect();
    let stages = [vec![3, 8, 8, 8], vec![3, 16, 4, 4], vec![3, 16, 2, 2], vec![3, 16, 1, 1]];
    let names = ["stages.0", "stages.1", "stages.2", "stages.3"];
    let expected = names.into_iter().zip(stages).chain([("logits", vec![3, 8])]).collect();
    assert_eq!(shapes, expected);
    // The same values as the library's, with the averaged weights of the last epoch.
    let checkpoint = weights::load(&desk.path("run/checkpoints/epoch-0001-ema.safetensors")).unwrap();
    let network = Network::from_checkpoint::<&str>(None, checkpoint, &[], BuildOptions::frozen()).unwrap();
    let input = random("input", &[3, 3, 32, 32]);
    // In the same batches: sums may be taken in another order in others.
    let batches =
        [(0, 2), (2, 1)].map(|(first, count)| network.forward(&input.narrow(0, first, count).unwrap()).unwrap());
    assert_eq!(values(&out["logits"]), batches.iter().flat_map(values).collect::<Vec<_>>());
    desk.pictures("photos", 3);
    desk.write("photos/notes.txt", b"not an image, and not looked at");
    let printed = desk.run(&[&run[..], &["--input", "photos"]].concat());
    assert!(printed.contains("2.png: class ") && !printed.contains("notes"), "{printed}");
    let saved = weights::load(&desk.path("out.safetensors")).unwrap();
    assert_eq!(saved.tensors["logits"].dims(), [3, 8]);
    assert_eq!(json(&saved.metadata["images"]).as_array().unwrap().len(), 3);
    desk.run(&[&run[..], &["--input", "photos/1.png"]].concat());
    let one = values(&desk.tensors("out.safetensors")["logits"]);
    let three = values(&saved.tensors["logits"]);
    assert!(crate::common::max_abs_diff(&one, &three[8..16]) < 1e-5, "an image's logits do not depend on its batch");
}

fn inspect_with(desk: &Desk) {
    let erf = ["erf", "--run", "run", "--images", "photos", "--size", "64", "--limit", "2", "--output"];
    let ratios = json(&desk.run(&[&erf[..], &["erf", "--json"]].concat()));
    assert_eq!(ratios.as_array().unwrap().len(), 4);
    desk.assert_files(&["erf/erf.safetensors", "erf/erf.csv", "erf/erf.svg", "erf/erf.png"]);
    assert_eq!(desk.tensors("erf/erf.safetensors")["contribution"].dims(), [64, 64]);
    let printed = desk.run(&[&erf[..], &["erf1", "--stage", "1", "--position", "3,4"]].concat());
    assert!(printed.contains("stage 1, position (3, 4), 2 images"), "{printed}");
    desk.fails(&[&erf[..], &["erf2", "--stage", "9"]].concat(), &["stage", "9", "0 to 3"]);
    desk.run(&["orientations", "--run", "run", "--output", "angles"]);
    desk.assert_files(&[
        "angles/orientations.csv",
        "angles/orientations.svg",
        "angles/orientations-polar.png",
        "angles/oriented-taps.svg",
        "angles/kernels-stages-2-1-dwconv.svg",
    ]);
    let bias = ["shape-bias", "--run", "run", "--count", "56"];
    let report = json(&desk.run(&[&bias[..], &["--json", "--output", "bias"]].concat()));
    assert_eq!((report["images"].as_u64(), report["conflicts"].as_u64()), (Some(56), Some(56)));
    desk.assert_files(&["bias/shape_bias.csv", "bias/shape_bias.svg", "bias/shape_bias.png"]);
    assert!(desk.run(&bias).contains("shape bias"));
}

/// A second run from the first one's configuration has the same weights.
fn train_again(desk: &Desk) -> String {
    desk.run(&["train", "--config", "run/config.toml", "--out", "again"]);
    let weights = |run: &str| std::fs::read(desk.path(&format!("{run}/checkpoints/epoch-0001.safetensors"))).unwrap();
    assert!(weights("run") == weights("again"));
    desk.fails_without_trace(
        &["train", "--config", "run/config.toml", "--out", "again"],
        &["again", "already contains"],
    );
    std::fs::read_to_string(desk.path("again/config.toml")).unwrap()
}

#[cfg(unix)]
#[test]
fn a_reader_may_leave_before_the_end() {
    let desk = Desk::new();
    desk.pictures("photos", 2);
    let random = ["--model", "nano-2d", "--random", "0"];
    for args in [
        [&["predict", "--input", "photos", "--output", "out.safetensors"], &random[..]].concat(),
        [&["orientations", "--json"], &random[..]].concat(),
        vec!["models", "nano-2d", "--layers"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_kernelscope"));
        command.current_dir(desk.folder.path()).env_remove("RUST_LOG").args(&args).stdout(writer);
        let output = command.output().unwrap();
        assert_eq!(String::from_utf8(output.stderr).unwrap(), "", "{args:?}");
        assert!(output.status.success(), "{args:?}: {}", output.status);
    }
    desk.assert_files(&["out.safetensors"]);
}

#[cfg(unix)]
#[test]
fn ctrl_c_leaves_a_run_that_goes_on() {
    let desk = Desk::new();
    let train = ["train", "--size", "32", "--train-images", "64", "--batch", "8", "--epochs", "200", "--out", "run"];
    let child = std::process::Command::new(env!("CARGO_BIN_EXE_kernelscope"))
        .current_dir(desk.folder.path())
        .env_remove("RUST_LOG")
        .args([&train[..], &TINY].concat())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let started = std::time::Instant::now();
    while !desk.path("run/state/progress.toml").exists() && started.elapsed().as_secs() < 60 {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    crate::interrupt(&child);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130));
    let stderr = String::from_utf8(output.stderr).unwrap();
    let last = stderr.lines().last().unwrap();
    assert!(last.contains("interrupted") && last.contains("kernelscope train --resume run"), "{stderr}");
    assert!(json(&desk.run(&["eval", "--run", "run", "--json"]))["images"].as_u64() == Some(800));
}

#[test]
fn quickstart_makes_one_page() {
    let desk = Desk::new();
    let quick = ["quickstart", "--epochs", "1", "--train-images", "64", "--size", "32", "--out", "quick"];
    let first = desk.run(&quick);
    let report = std::fs::read_to_string(desk.path("quick/report.html")).unwrap();
    for name in ["nano-2d", "nano-1d", "nano-1dpp"] {
        assert!(first.contains(name) && report.contains(name), "{first}");
        let in_run = |file: &str| format!("quick/{name}/{file}");
        desk.assert_files(&[
            &in_run("checkpoints/epoch-0001.safetensors"),
            &in_run("analysis/erf.safetensors"),
            &in_run("analysis/orientations.csv"),
            &in_run("analysis/costs.csv"),
            &in_run("analysis/shape_bias.csv"),
        ]);
    }
    assert!(!report.contains("http://") && !report.contains("https://"), "the report refers to another place");
    let sources: Vec<&str> =
        report.match_indices("src=").map(|(i, _)| &report[i..(i + 25).min(report.len())]).collect();
    assert!(sources.len() > 5 && sources.iter().all(|s| s.starts_with("src=\"data:")), "{sources:?}");
    assert!(!report.contains("<link") && !report.contains("<script"), "the report loads something");
    let trained = || {
        let kept = |name: &String| name.contains("/checkpoints/") || name.contains("/state/");
        let time = |name: &str| std::fs::metadata(desk.path("quick").join(name)).unwrap().modified().unwrap();
        files(&desk.path("quick")).into_keys().filter(kept).map(|n| (time(&n), n)).collect::<Vec<_>>()
    };
    let before = trained();
    assert!(before.len() >= 9, "{before:?}");
    let second = desk.run(&quick);
    let table = |text: &str| text.lines().filter(|l| l.contains("nano-")).map(String::from).collect::<Vec<_>>();
    assert_eq!((table(&second), table(&first).len()), (table(&first), 3));
    assert_eq!(trained(), before, "what was trained is not trained again");
    let args: Vec<&str> = quick.iter().map(|&a| if a == "64" { "65" } else { a }).collect();
    desk.fails_without_trace(&args, &["quick", "different settings"]);
}
