//! The command as a person uses it: every subcommand on small data, and one clear line for everything that goes wrong.

use crate::common::{files, random, root, values};
use assert_cmd::Command;
use kernelscope::nn::BuildOptions;
use kernelscope::weights::{self, TensorMap};
use kernelscope::zoo::{ModelSpec, Network, registry};
use kernelscope_lab::data::{Cue, Dataset, Normalize, ShapesTextures};
use kernelscope_lab::run::RunFolder;
use predicates::prelude::*;
use std::collections::BTreeMap;
use std::path::PathBuf;

const SUBCOMMANDS: [&str; 12] = [
    "quickstart",
    "models",
    "train",
    "eval",
    "predict",
    "merge",
    "erf",
    "masks",
    "shape-bias",
    "orientations",
    "notebook",
    "bench",
];

/// A network that needs little time, as options of `train`.
const TINY: [&str; 8] =
    ["--model", "nano-1d", "--set", "dims=8,16,16,16", "--set", "stem_channels=8", "--set", "kernel=7"];

/// A folder in which the command runs, and which is removed afterwards.
struct Desk {
    folder: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        Desk { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kernelscope"));
        command.current_dir(self.folder.path()).env_remove("RUST_LOG").args(args);
        command
    }

    /// Runs a command that must succeed; what it printed.
    fn run(&self, args: &[&str]) -> String {
        let output = self.command(args).assert().success().get_output().clone();
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command that must fail with one line on standard error, apart from progress, that contains every part.
    fn fails(&self, args: &[&str], parts: &[&str]) {
        let output = self.command(args).assert().failure().get_output().clone();
        let stderr = String::from_utf8(output.stderr).unwrap();
        let lines: Vec<&str> = stderr.lines().filter(|line| !line.contains("  epoch ")).collect();
        assert_eq!(lines.len(), 1, "{args:?}: {stderr}");
        assert!(lines[0].starts_with("kernelscope: "), "{args:?}: {stderr}");
        for part in parts {
            assert!(lines[0].contains(part), "{args:?}: no {part:?} in: {stderr}");
        }
        let temporary = |name: &&String| name.ends_with(".part");
        assert_eq!(files(self.folder.path()).keys().find(temporary), None, "{args:?}: a temporary file is left");
    }

    /// As [`Desk::fails`], and nothing may be created, changed or removed.
    fn fails_without_trace(&self, args: &[&str], parts: &[&str]) {
        let before = files(self.folder.path());
        self.fails(args, parts);
        let after = files(self.folder.path());
        let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&after), names(&before), "{args:?}: files were left or removed");
        assert!(after == before, "{args:?}: a file was changed");
    }

    fn write(&self, name: &str, content: &[u8]) {
        std::fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        std::fs::write(self.path(name), content).unwrap();
    }

    /// Pictures of the built-in set, as `FOLDER/0.png`, `FOLDER/1.png`, ...
    fn pictures(&self, folder: &str, count: usize) {
        let set = ShapesTextures::generate(40, count, 1, Cue::Both, 0).unwrap();
        std::fs::create_dir_all(self.path(folder)).unwrap();
        for i in 0..count {
            set.get(i).unwrap().image.save_png(self.path(&format!("{folder}/{i}.png"))).unwrap();
        }
    }

    /// Saves a fresh network of this kind, with or without saying which it is.
    fn network(&self, name: &str, file: &str, described: bool) -> Network {
        let network = Network::build(ModelSpec::named(name).unwrap(), BuildOptions::frozen()).unwrap();
        let metadata: BTreeMap<_, _> = described.then(|| network.spec().metadata().unwrap()).into_iter().collect();
        weights::save(&self.path(file), &network.params().tensors(), &metadata).unwrap();
        network
    }

    /// A normalized input of two images.
    fn input(&self, file: &str) {
        let tensors = TensorMap::from_iter([("input".to_string(), random("input", &[3, 3, 32, 32]))]);
        weights::save(&self.path(file), &tensors, &BTreeMap::new()).unwrap();
    }

    fn tensors(&self, file: &str) -> TensorMap {
        weights::load(&self.path(file)).unwrap().tensors
    }

    fn assert_files(&self, names: &[&str]) {
        for name in names {
            let size = std::fs::metadata(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}")).len();
            assert!(size > 0, "{name} is empty");
        }
    }
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

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

fn train_tiny(desk: &Desk, out: &str, more: &[&str]) -> String {
    let size = ["--size", "32", "--train-images", "64", "--batch", "16", "--epochs", "1", "--out", out];
    desk.run(&[&["train"], &TINY[..], &size, more].concat())
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
    desk.fails_without_trace(&["train", "--config", "run/config.toml", "--out", "again"], &["again", "already holds"]);
    std::fs::read_to_string(desk.path("again/config.toml")).unwrap()
}

#[test]
fn weights_of_other_sources_and_random_ones() {
    let desk = Desk::new();
    let network = desk.network("nano-2d", "plain.safetensors", false);
    desk.input("batch.safetensors");
    let predict = ["predict", "--input", "batch.safetensors", "--output", "out.safetensors"];
    desk.run(&[&predict[..], &["--model", "nano-2d", "--weights", "plain.safetensors"]].concat());
    let logits = values(&desk.tensors("out.safetensors")["logits"]);
    assert_eq!(logits, values(&network.forward(&random("input", &[3, 3, 32, 32])).unwrap()));
    desk.run(&[&predict[..], &["--model", "nano-2d", "--random", "0"]].concat());
    assert_eq!(values(&desk.tensors("out.safetensors")["logits"]), logits, "seed 0 is the library's default");
    desk.fails_without_trace(&[&predict[..], &["--weights", "plain.safetensors"]].concat(), &["plain", "--model"]);
    desk.fails_without_trace(&predict, &["--weights", "--run", "--random"]);
    let stimuli = ["shape-bias", "--model", "nano-2d", "--set", "classes=1000", "--random", "0", "--json"];
    desk.pictures("pictures", 2);
    for (i, name) in ["cat/cat1-dog1.png", "dog/dog2-dog1.png"].into_iter().enumerate() {
        desk.write(&format!("cues/{name}"), &std::fs::read(desk.path(&format!("pictures/{i}.png"))).unwrap());
    }
    let report = json(&desk.run(&[&stimuli[..], &["--stimuli", "cues"]].concat()));
    assert_eq!((report["images"].as_u64(), report["conflicts"].as_u64()), (Some(2), Some(1)));
    desk.fails_without_trace(&stimuli, &["--stimuli", "1000 classes"]);
    desk.write("cues/wolf/wolf1-cat2.png", b"");
    desk.fails_without_trace(&[&stimuli[..], &["--stimuli", "cues"]].concat(), &["wolf", "airplane"]);
    // Without a decision there is nothing to draw, but the table is kept.
    desk.write("same/cat/cat1-cat2.png", &std::fs::read(desk.path("pictures/0.png")).unwrap());
    let report = json(&desk.run(&[&stimuli[..], &["--stimuli", "same", "--output", "bias"]].concat()));
    assert_eq!((report["images"].as_u64(), &report["shape_bias"]), (Some(1), &serde_json::Value::Null));
    desk.assert_files(&["bias/shape_bias.csv"]);
    assert!(!desk.path("bias/shape_bias.svg").exists());
}

#[test]
fn a_folder_is_measured_whole_unless_the_run_divided_it() {
    let desk = Desk::new();
    for class in ["flat/cat", "flat/dog", "data/train/cat", "data/train/dog", "data/val/cat", "data/val/dog"] {
        desk.pictures(class, 5);
    }
    let eval =
        ["eval", "--json", "--model", "nano-2d", "--random", "0", "--set", "classes=2", "--size", "32", "--data"];
    let images = |args: &[&str]| json(&desk.run(args))["images"].as_u64();
    for folder in ["folder:flat", "folder:data", "folder:data/val"] {
        assert_eq!(images(&[&eval[..], &[folder]].concat()), Some(10), "{folder}");
    }
    let train = ["train", "--data", "folder:flat", "--size", "32", "--epochs", "1", "--batch", "2", "--out", "run"];
    desk.run(&[&train[..], &TINY].concat());
    let of_run = ["eval", "--json", "--run", "run"];
    assert_eq!(images(&of_run), Some(2), "a fifth was kept from training");
    assert_eq!(images(&[&of_run[..], &["--data", "folder:flat"]].concat()), Some(2), "the others were trained on");
    assert_eq!(images(&[&of_run[..], &["--data", "folder:data"]].concat()), Some(10));
}

#[test]
fn a_run_and_its_weights_prepare_images_alike() {
    let desk = Desk::new();
    for class in ["train/cat", "train/dog", "val/cat", "val/dog"] {
        desk.pictures(&format!("data/{class}"), 3);
    }
    let train = ["train", "--data", "folder:data", "--size", "32", "--epochs", "1", "--batch", "2", "--out", "run"];
    let small = ["depths=1", "dims=8", "kernel=7", "stem_kernel=7", "stem_channels=8"];
    let small: Vec<&str> = small.into_iter().flat_map(|field| ["--set", field]).collect();
    desk.run(&[&train[..], &["--model", "convnext-t-1d"], &small].concat());
    let data = RunFolder::open(&desk.path("run")).unwrap().config().unwrap().data;
    assert_eq!((data.size, data.crop_pct, data.normalize), (32, 0.875, Normalize::IMAGENET));
    let logits = |weights: &[&str]| {
        desk.run(&[&["predict", "--input", "data/val", "--output", "out.safetensors"], weights].concat());
        values(&desk.tensors("out.safetensors")["logits"])
    };
    let of_run = logits(&["--run", "run"]);
    assert_eq!(of_run, logits(&["--weights", "run/checkpoints/epoch-0001.safetensors"]));
    // The images are found from another working directory.
    std::fs::create_dir(desk.path("elsewhere")).unwrap();
    for args in [&["train", "--resume", "../run"][..], &["eval", "--run", "../run"]] {
        desk.command(args).current_dir(desk.path("elsewhere")).assert().success();
    }
    // Preparation that makes no sense is refused.
    let mut checkpoint = weights::load(&desk.path("run/checkpoints/epoch-0001.safetensors")).unwrap();
    let stored = &checkpoint.metadata["kernelscope.preprocessing"];
    for (entry, part) in [(stored.replace("\"crop_pct\":0.875", "\"crop_pct\":0.0"), "crop_pct"), ("{}".into(), "size")]
    {
        checkpoint.metadata.insert("kernelscope.preprocessing".into(), entry);
        weights::save(&desk.path("odd.safetensors"), &checkpoint.tensors, &checkpoint.metadata).unwrap();
        let predict = ["predict", "--input", "data/val", "--output", "no.safetensors", "--weights", "odd.safetensors"];
        desk.fails_without_trace(&predict, &["odd.safetensors", part]);
    }
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

#[test]
fn a_merged_replknet_predicts_the_same() {
    let desk = Desk::new();
    desk.network("nano-replk", "plain.safetensors", false);
    desk.input("batch.safetensors");
    let logits = |more: &[&str]| {
        desk.run(&[&["predict", "--input", "batch.safetensors", "--output", "out.safetensors"], more].concat());
        values(&desk.tensors("out.safetensors")["logits"])
    };
    let plain = ["--model", "nano-replk", "--weights", "plain.safetensors"];
    let expected = logits(&plain);
    let largest = expected.iter().fold(0f64, |max, v| max.max(v.abs()));
    let same = |found: Vec<f64>| assert!(crate::common::max_abs_diff(&found, &expected) < 1e-5 * (1.0 + largest));
    same(logits(&[&plain[..], &["--merged"]].concat()));
    let merge = [&["merge", "--output", "merged.safetensors"], &plain[..]].concat();
    let printed = desk.run(&merge);
    assert!(printed.contains("max logit difference ") && printed.contains("64x64 image from seed 0"), "{printed}");
    let merged = weights::load(&desk.path("merged.safetensors")).unwrap();
    assert!(merged.tensors.contains_key("stages.0.blocks.0.large_kernel.lkb_reparam.bias"));
    assert!(merged.metadata.contains_key("kernelscope.preprocessing"));
    // The file says what it is; without that, the names do.
    same(logits(&["--weights", "merged.safetensors"]));
    same(logits(&["--weights", "merged.safetensors", "--merged"]));
    weights::save(&desk.path("bare.safetensors"), &merged.tensors, &BTreeMap::new()).unwrap();
    same(logits(&["--model", "nano-replk", "--weights", "bare.safetensors", "--merged"]));
    desk.run(&["merge", "--weights", "merged.safetensors", "--output", "folded.safetensors", "--fold-norms"]);
    assert!(desk.tensors("folded.safetensors").contains_key("stem.0.conv.bias"));
    same(logits(&["--weights", "folded.safetensors", "--merged"]));
    let again = ["merge", "--weights", "merged.safetensors", "--output"];
    desk.fails_without_trace(&[&again[..], &["twice.safetensors"]].concat(), &["merged already", "training form"]);
    desk.fails_without_trace(&[&again[..], &["merged.safetensors"]].concat(), &["--output", "another file"]);
    desk.fails_without_trace(&[&again[..], &["absent/x.safetensors"]].concat(), &["cannot write", "absent"]);
    let random = ["--model", "nano-2d", "--random", "0"];
    desk.fails_without_trace(&[&["merge", "--output", "no.safetensors"], &random[..]].concat(), &["RepLKNet"]);
    let predict = ["predict", "--merged", "--input", "batch.safetensors", "--output", "no.safetensors"];
    desk.fails_without_trace(&[&predict[..], &random].concat(), &["RepLKNet"]);
}

#[test]
fn a_replknet_backbone_has_feature_maps_alone() {
    let desk = Desk::new();
    desk.input("batch.safetensors");
    let random = ["--model", "nano-replk", "--set", "backbone=true", "--random", "0"];
    let predict = ["predict", "--input", "batch.safetensors", "--output", "out.safetensors"];
    desk.fails_without_trace(&[&predict[..], &random].concat(), &["--stages", "backbone"]);
    let printed = desk.run(&[&predict[..], &random, &["--stages"]].concat());
    assert!(printed.contains("feature maps of 3 images"), "{printed}");
    let out = desk.tensors("out.safetensors");
    assert_eq!(out.keys().collect::<Vec<_>>(), ["stages.0", "stages.1", "stages.2", "stages.3"]);
    assert_eq!(out["stages.3"].dims(), [3, 128, 1, 1]);
    let printed = desk.run(&[&["merge", "--output", "merged.safetensors"], &random[..]].concat());
    assert!(printed.contains("last feature map"), "{printed}");
    let train = ["train", "--model", "nano-replk", "--set", "backbone=true", "--train-images", "16", "--out", "run"];
    desk.fails_without_trace(&train, &["backbone", "classifier"]);
}

#[test]
fn damaged_and_foreign_weights() {
    let desk = Desk::new();
    desk.network("nano-2d", "two.safetensors", true);
    desk.input("batch.safetensors");
    let whole = std::fs::read(desk.path("two.safetensors")).unwrap();
    desk.write("cut.safetensors", &whole[..whole.len() - 1000]);
    desk.write("head.safetensors", &whole[..5]);
    desk.write("empty.pth", b"");
    desk.write("text.pth", b"these are not weights");
    let fixture = root().join("tests/fixtures/model.pth");
    desk.write("other.pth", &std::fs::read(fixture).unwrap());
    for (model, file, part) in [
        ("nano-2d", "cut.safetensors", "truncated"),
        ("nano-2d", "head.safetensors", "truncated"),
        ("nano-2d", "empty.pth", "empty"),
        ("nano-2d", "text.pth", "neither a safetensors file nor a PyTorch file"),
        ("nano-2d", "absent.pth", "cannot read"),
        ("nano-1d", "two.safetensors", "missing"),
        ("nano-1d", "other.pth", "missing"),
        ("nano-1d", "batch.safetensors", "unexpected (input)"),
    ] {
        for command in [
            &["predict", "--input", "batch.safetensors", "--output", "out.safetensors"][..],
            &["orientations", "--output", "angles"],
            &["erf", "--images", "batch.safetensors", "--output", "erf"],
            &["eval", "--data", "builtin"],
        ] {
            let args = [command, &["--model", model, "--weights", file]].concat();
            desk.fails_without_trace(&args, &[file, part]);
        }
    }
}

#[test]
fn files_that_are_not_images() {
    let desk = Desk::new();
    let random = ["--model", "nano-2d", "--random", "0"];
    desk.pictures("photos", 2);
    desk.write("photos/note.png", b"this is text");
    let predict = [&["predict", "--input", "photos", "--output", "out.safetensors"], &random[..]].concat();
    desk.fails_without_trace(&predict, &["note.png", "not an image"]);
    let erf = [&["erf", "--images", "photos", "--size", "64", "--output", "erf"], &random[..]].concat();
    desk.fails_without_trace(&erf, &["note.png", "not an image"]);
    for class in ["train/cat", "train/dog", "val/cat", "val/dog"] {
        desk.pictures(&format!("data/{class}"), 3);
    }
    desk.write("data/train/dog/note.png", b"this is text");
    let train = ["train", "--data", "folder:data", "--size", "32", "--epochs", "1", "--batch", "2", "--out", "run"];
    let train = [&train[..], &TINY].concat();
    desk.fails(&train, &["note.png", "not an image"]);
    assert!(std::fs::read_dir(desk.path("run/checkpoints")).unwrap().next().is_none(), "a checkpoint was written");
    desk.fails_without_trace(&["eval", "--run", "run"], &["run", "no checkpoint yet"]);
    // With the image repaired, the run goes on.
    std::fs::copy(desk.path("data/train/cat/0.png"), desk.path("data/train/dog/note.png")).unwrap();
    assert!(desk.run(&["train", "--resume", "run"]).contains("of 6 validation images"));
    std::fs::create_dir(desk.path("data/train/eel")).unwrap();
    let train: Vec<&str> = train.iter().map(|&a| if a == "run" { "other" } else { a }).collect();
    desk.fails_without_trace(&train, &["eel", "no image"]);
    desk.fails_without_trace(&["eval", "--run", "run", "--data", "builtin"], &["8 classes", "2 classes"]);
}

#[test]
fn places_that_cannot_be_written() {
    let desk = Desk::new();
    desk.pictures("photos", 1);
    desk.write("file.txt", b"a regular file, not a folder");
    let random = ["--model", "nano-2d", "--random", "0"];
    for command in [
        &["predict", "--input", "photos", "--output", "file.txt/out.safetensors"][..],
        &["predict", "--input", "photos", "--output", "absent/out.safetensors"],
        &["erf", "--images", "photos", "--size", "64", "--output", "file.txt/erf"],
        &["orientations", "--output", "file.txt/angles"],
        &["shape-bias", "--count", "8", "--output", "file.txt/bias"],
    ] {
        let place = command[command.len() - 1];
        desk.fails_without_trace(&[command, &random].concat(), &[place]);
    }
    // The place is checked before anything is computed or, as here, read.
    desk.write("odd/note.png", b"this is text");
    for place in ["absent/out.safetensors", "photos"] {
        let predict = ["predict", "--input", "odd", "--output", place];
        desk.fails_without_trace(&[&predict, &random[..]].concat(), &["cannot write", place]);
    }
    let train = [&["train", "--size", "32", "--train-images", "16", "--out", "file.txt/run"], &TINY[..]].concat();
    desk.fails_without_trace(&train, &["file.txt/run"]);
    let quick = ["quickstart", "--size", "32", "--train-images", "16", "--epochs", "1", "--out", "file.txt/quick"];
    desk.fails_without_trace(&quick, &["file.txt/quick"]);
}

#[test]
fn wrong_arguments() {
    let desk = Desk::new();
    desk.write("empty/readme.txt", b"no images here");
    desk.write("odd.toml", b"[train]\nepochs = \"ten\"\n");
    fn train<'a>(more: &[&'a str]) -> Vec<&'a str> {
        [&["train", "--train-images", "16", "--out", "run"], more].concat()
    }
    for (args, parts) in [
        (train(&["--model", "nano-3d"]), &["nano-3d", "nano-2d"][..]),
        (train(&["--model", "nano-1d", "--set", "kernels=3"]), &["kernels", "kernel2"]),
        (train(&["--model", "nano-1d", "--set", "kernel=4"]), &["kernel", "4"]),
        (train(&["--model", "nano-2d", "--size", "16"]), &["16"]),
        (train(&["--model", "nano-1d", "--size", "33"]), &["33x33"]),
        (train(&["--model", "nano-2d", "--lr", "inf"]), &["learning rate", "inf"]),
        (train(&["--model", "nano-2d", "--epochs", "0"]), &["epochs"]),
        (train(&["--model", "nano-2d", "--ema", "2"]), &["EMA", "2"]),
        (train(&["--model", "nano-2d", "--warmup", "nan"]), &["warm-up", "NaN"]),
        (train(&["--model", "nano-2d", "--weight-decay", "nan"]), &["weight decay", "NaN"]),
        (train(&["--model", "nano-2d", "--batch", "1"]), &["batch size", "got 1", "batch norm"]),
        (train(&["--model", "nano-2d", "--size", "99999"]), &["99999", "16384"]),
        (train(&["--model", "nano-2d", "--epochs", "18446744073709551615"]), &["epochs", "1000000"]),
        (train(&["--model", "nano-2d", "--set", "classes=5"]), &["--set", "classes=5", "the data decides"]),
        (train(&["--model", "nano-2d", "--data", "folder:empty"]), &["--train-images", "builtin"]),
        (train(&["--model", "nano-2d", "--data", "somewhere"]), &["somewhere", "folder:DIR"]),
        (vec!["train", "--model", "nano-2d", "--out", "run", "--data", "folder:absent"], &["absent"]),
        (vec!["train", "--model", "nano-2d", "--out", "run", "--data", "folder:empty"], &["empty"]),
        (vec!["train", "--model", "nano-2d", "--out", "run", "--data", "cifar10:absent"], &["absent"]),
        (vec!["train", "--resume", "absent"], &["absent", "run folder"]),
        (vec!["train", "--config", "absent.toml", "--out", "run"], &["absent.toml"]),
        (vec!["train", "--config", "odd.toml", "--out", "run"], &["odd.toml", "line 2", "epochs"]),
        (vec!["eval", "--run", "absent"], &["absent"]),
        (vec!["predict", "--model", "nano-2d", "--random", "0", "--input", "absent", "--output", "o"], &["absent"]),
        (vec!["predict", "--model", "nano-2d", "--random", "0", "--input", "empty", "--output", "o"], &["empty"]),
        (vec!["erf", "--model", "nano-2d", "--random", "0", "--images", "absent", "--output", "o"], &["absent"]),
        (vec!["shape-bias", "--model", "nano-2d", "--random", "0", "--stimuli", "absent"], &["absent"]),
        (vec!["quickstart", "--size", "16", "--out", "quick"], &["16"]),
        (vec!["quickstart", "--size", "70", "--out", "quick"], &["--size", "70", "a multiple of 4, at least 32"]),
        (vec!["quickstart", "--epochs", "0", "--out", "quick"], &["epochs"]),
    ] {
        desk.fails_without_trace(&args, parts);
    }
}

#[test]
fn a_loss_that_is_not_finite() {
    let desk = Desk::new();
    let train = ["train", "--size", "32", "--train-images", "64", "--batch", "16", "--epochs", "2", "--out", "run"];
    let train = [&train[..], &["--lr", "1e30", "--warmup", "0"], &TINY].concat();
    desk.fails(&train, &["not finite", "at step ", "learning rate"]);
    assert!(std::fs::read_dir(desk.path("run/checkpoints")).unwrap().next().is_none(), "a checkpoint was written");
    desk.assert_files(&["run/config.toml"]);
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
    let sent = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
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
    desk.fails_without_trace(&args, &["quick", "other settings"]);
}
