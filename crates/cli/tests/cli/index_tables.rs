//! Shift-wise networks and their index tables, as the command speaks of them.

use crate::common::{max_abs_diff, random, spec, values};
use candle_core::DType;
use kernelscope::nn::BuildOptions;
use kernelscope::weights::{self, TensorMap};
use kernelscope::zoo::Network;
use std::collections::BTreeMap;

/// A network whose values follow from the parameters' names.
fn filled(name: &str, overrides: &[&str], dtype: DType) -> Network {
    crate::common::filled(spec(name, overrides), dtype)
}

#[test]
fn the_command_says_aloud_which_shuffles_it_assumes() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let network = filled("nano-sw", &[], DType::F32);
    weights::save(&path("bare.safetensors"), &network.params().tensors(), &BTreeMap::new()).unwrap();
    let ours = BTreeMap::from([network.spec().metadata().unwrap()]);
    weights::save(&path("own.safetensors"), &network.params().tensors(), &ours).unwrap();
    let image = TensorMap::from_iter([("input".to_string(), random("images", &[1, 3, 64, 64]))]);
    weights::save(&path("input.safetensors"), &image, &BTreeMap::new()).unwrap();
    let predict = |weights: &str, more: &[&str]| {
        let mut command = assert_cmd::Command::cargo_bin("kernelscope").unwrap();
        command.current_dir(folder.path()).env_remove("RUST_LOG");
        command.args(["predict", "--model", "nano-sw", "--input", "input.safetensors", "--output", "out.safetensors"]);
        let output = command.args(["--weights", weights]).args(more).assert().success().get_output().clone();
        let logits = values(&weights::load(&path("out.safetensors")).unwrap().tensors["logits"]);
        (String::from_utf8(output.stderr).unwrap(), logits)
    };
    let (said, assumed) = predict("bare.safetensors", &[]);
    for part in ["WARN", "bare.safetensors", "reps = 2 is assumed", "another number is set in the configuration"] {
        assert!(said.contains(part), "{said}");
    }
    let (said, other) = predict("bare.safetensors", &["--set", "reps=1"]);
    assert!(said.contains("reps = 1 is assumed"), "{said}");
    assert_ne!(assumed, other, "the number of shuffles makes no difference");
    let (said, known) = predict("own.safetensors", &[]);
    assert_eq!((said.as_str(), &known), ("", &assumed));
    // Merging through the command, to both forms.
    for (flags, end) in [(&[][..], "LoRA.weight"), (&["--fold-norms"], "cross.weight")] {
        let mut command = assert_cmd::Command::cargo_bin("kernelscope").unwrap();
        command.current_dir(folder.path()).args([
            "merge",
            "--weights",
            "own.safetensors",
            "--output",
            "merged.safetensors",
        ]);
        command.args(flags).assert().success();
        let merged = weights::load(&path("merged.safetensors")).unwrap();
        assert!(merged.tensors.keys().any(|name| name.ends_with(end)), "{flags:?}");
        let (said, logits) = predict("merged.safetensors", &["--merged"]);
        assert_eq!(said, "");
        assert!(max_abs_diff(&logits, &assumed) < 1e-4, "{flags:?}");
    }
}

#[test]
fn weights_of_other_index_tables_are_refused_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let small = ["depths=1,1,1,1", "dims=8,8,8,8", "kernel=5"];
    let network = filled("nano-sw", &[&small[..], &["reps=3"]].concat(), DType::F32);
    let tensors = network.params().tensors();
    weights::save(&path("bare.safetensors"), &tensors, &BTreeMap::new()).unwrap();
    let (key, stored) = network.spec().metadata().unwrap();
    weights::save(&path("own.safetensors"), &tensors, &BTreeMap::from([(key.clone(), stored.clone())])).unwrap();
    // The same under the name of another network, whose own number of shuffles is 2.
    let foreign = stored.replace("\"name\":\"nano-sw\"", "\"name\":\"sw-v2-t\"");
    assert_ne!(foreign, stored);
    weights::save(&path("foreign.safetensors"), &tensors, &BTreeMap::from([(key, foreign)])).unwrap();
    let load = |file: &str, name: Option<&str>, reps: &[&str]| {
        let checkpoint = weights::load(&path(file)).unwrap();
        let overrides = [&small[..], reps].concat();
        Network::from_checkpoint(name, checkpoint, &overrides, BuildOptions::frozen()).map(drop)
    };
    let other_tables = |outcome: kernelscope::Result<()>, file: &str| {
        let error = outcome.err().unwrap_or_else(|| panic!("{file} is accepted")).to_string();
        assert!(error.contains(file) && error.contains("index tables") && error.contains("reps"), "{error}");
    };
    load("own.safetensors", None, &["reps=3"]).unwrap();
    other_tables(load("own.safetensors", None, &["reps=2"]), "own.safetensors");
    load("foreign.safetensors", Some("nano-sw"), &["reps=3"]).unwrap();
    other_tables(load("foreign.safetensors", Some("nano-sw"), &[]), "foreign.safetensors");
    load("bare.safetensors", Some("nano-sw"), &["reps=1"]).unwrap();

    let run = |args: &[&str]| {
        let mut command = assert_cmd::Command::cargo_bin("kernelscope").unwrap();
        let output = command.current_dir(folder.path()).env_remove("RUST_LOG").args(args).output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let train = |weights: &str, reps: &str, out: &str| {
        let mut args = vec!["train", "--model", "nano-sw", "--size", "32", "--train-images", "32", "--batch", "16"];
        small.iter().for_each(|set| args.extend(["--set", set]));
        run(&[&args[..], &["--epochs", "1", "--set", reps, "--weights", weights, "--out", out]].concat())
    };
    let (done, said) = train("own.safetensors", "reps=2", "refused");
    assert!(!done && said.contains("own.safetensors") && said.contains("index tables"), "{said}");
    assert!(!path("refused").exists());
    let (done, said) = train("bare.safetensors", "reps=2", "assumed");
    assert!(done && said.contains("WARN") && said.contains("reps = 2 is assumed"), "{said}");
    let (done, said) = train("own.safetensors", "reps=3", "run");
    assert!(done && !said.contains("WARN"), "{said}");
    // A run whose configuration was changed does not go on with other tables.
    let config = std::fs::read_to_string(path("run/config.toml")).unwrap();
    std::fs::write(path("run/config.toml"), config.replace("reps = 3", "reps = 4")).unwrap();
    let (done, said) = run(&["train", "--resume", "run"]);
    assert!(!done && said.contains("epoch-0001.safetensors") && said.contains("index tables"), "{said}");
}
