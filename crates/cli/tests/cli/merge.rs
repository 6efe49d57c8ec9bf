//! `merge`: what it writes for a SLaK, and what it leaves alone.

use crate::common::{filled, max_abs_diff, random, spec, values};
use assert_cmd::Command;
use candle_core::DType;
use kernelscope::weights::{self, TensorMap};
use std::collections::BTreeMap;
use std::path::Path;

const CROSS: &str = "merge_form=cross";

/// Runs the command in a folder: whether it succeeded, and what it printed.
fn run(folder: &Path, args: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_kernelscope")).current_dir(folder).args(args).output().unwrap();
    let printed = if output.status.success() { output.stdout } else { output.stderr };
    (output.status.success(), String::from_utf8(printed).unwrap())
}

#[test]
fn the_command_merges_a_slak_into_either_form() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let network = filled(spec("nano-slak", &[]), DType::F32);
    // As an official file: it does not say what it is.
    weights::save(&at("plain.safetensors"), &network.params().tensors(), &BTreeMap::new()).unwrap();
    let input = TensorMap::from_iter([("input".to_string(), random("input", &[2, 3, 64, 64]))]);
    weights::save(&at("batch.safetensors"), &input, &BTreeMap::new()).unwrap();
    let plain = ["--model", "nano-slak", "--weights", "plain.safetensors"];
    let logits = |more: &[&str]| {
        let predict = ["predict", "--input", "batch.safetensors", "--output", "out.safetensors"];
        let (done, printed) = run(folder.path(), &[&predict, more].concat());
        assert!(done, "{more:?}: {printed}");
        values(&weights::load(&at("out.safetensors")).unwrap().tensors["logits"])
    };
    let expected = logits(&plain);
    let largest = expected.iter().fold(0f64, |max, v| max.max(v.abs()));
    let same = |found: Vec<f64>| assert!(max_abs_diff(&found, &expected) < 1e-5 * (1.0 + largest));
    let (rows, square) = ("large_kernel.LoRA1.bias", "large_kernel.lkb_reparam.bias");
    for (file, set, has) in [("pair.safetensors", &[][..], rows), ("cross.safetensors", &["--set", CROSS], square)] {
        let (done, printed) = run(folder.path(), &[&["merge", "--output", file], &plain[..], set].concat());
        assert!(done && printed.contains("max logit difference "), "{printed}");
        let merged = weights::load(&at(file)).unwrap();
        assert!(merged.tensors.contains_key(&format!("stages.0.0.{has}")), "{file}");
        same(logits(&["--weights", file]));
        same(logits(&["--weights", file, "--merged"]));
        // Without its description, the names tell the form.
        weights::save(&at("bare.safetensors"), &merged.tensors, &BTreeMap::new()).unwrap();
        same(logits(&["--model", "nano-slak", "--weights", "bare.safetensors"]));
        let (done, printed) = run(folder.path(), &["merge", "--weights", file, "--output", "twice.safetensors"]);
        assert!(!done && printed.contains("already merged"), "{printed}");
    }
    same(logits(&[&plain[..], &["--merged"]].concat()));
    let fold = [&["merge", "--fold-norms", "--output", "folded.safetensors"], &plain[..]].concat();
    let (done, printed) = run(folder.path(), &fold);
    assert!(!done && printed.contains("layer norms") && printed.lines().count() == 1, "{printed}");
    assert!(!at("folded.safetensors").exists() && !at("twice.safetensors").exists());
}

#[test]
fn merging_a_run_does_not_replace_its_checkpoints() {
    let folder = tempfile::tempdir().unwrap();
    let size = ["--size", "32", "--train-images", "32", "--batch", "16", "--epochs", "1", "--ema", "0.9"];
    let (done, printed) = run(folder.path(), &[&["train", "--model", "nano-slak", "--out", "run"], &size[..]].concat());
    assert!(done, "{printed}");
    let weights =
        ["epoch-0001.safetensors", "epoch-0001-ema.safetensors"].map(|name| format!("run/checkpoints/{name}"));
    let read = || weights.clone().map(|path| std::fs::read(folder.path().join(path)).unwrap());
    let before = read();
    for output in &weights {
        let (done, printed) = run(folder.path(), &["merge", "--run", "run", "--output", output]);
        assert!(!done && printed.contains("--output") && printed.contains("a file other than"), "{printed}");
    }
    let (done, printed) =
        run(folder.path(), &["merge", "--run", "run", "--output", "run/checkpoints/merged.safetensors"]);
    assert!(done && read() == before, "{printed}");
}
