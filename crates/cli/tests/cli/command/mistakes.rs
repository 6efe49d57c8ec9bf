//! One clear line for everything that goes wrong.

use super::{Desk, TINY};
use crate::common::root;

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
        ("nano-2d", "text.pth", "neither a safetensors file nor a file saved"),
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
    desk.fails(&predict, &["note.png", "not an image"]);
    // What was done before it is kept, but not under the name of the whole.
    assert_eq!(desk.tensors("out.partial.safetensors")["logits"].dims(), [2, 8]);
    assert!(!desk.path("out.safetensors").exists());
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
        (train(&["--model", "nano-2d", "--set", "classes=5"]), &["--set", "classes=5", "follows from the data"]),
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
