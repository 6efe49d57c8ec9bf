//! Weights from runs and other sources.

use super::{Desk, TINY, json};
use crate::common::{random, values};
use candle_core::{DType, Device, Tensor};
use kernelscope::nn::BuildOptions;
use kernelscope::weights;
use kernelscope::zoo::{ModelSpec, Network};
use kernelscope_lab::data::Normalize;
use kernelscope_lab::run::RunFolder;
use std::collections::BTreeMap;

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
    desk.fails_without_trace(&[&again[..], &["twice.safetensors"]].concat(), &["already merged", "training form"]);
    desk.fails_without_trace(&[&again[..], &["merged.safetensors"]].concat(), &["--output", "a file other than"]);
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
fn angles_in_half_precision_are_understood() {
    let desk = Desk::new();
    desk.network("nano-1d", "plain.safetensors", false);
    desk.input("batch.safetensors");
    let in_half = |file: &str, half: DType| {
        let mut tensors = desk.tensors(file);
        tensors
            .iter_mut()
            .filter(|(name, _)| name.ends_with(".theta"))
            .for_each(|(_, t)| *t = t.to_dtype(half).unwrap());
        weights::save(&desk.path("half.safetensors"), &tensors, &BTreeMap::new()).unwrap();
    };
    // Logits, and what was said about the weights.
    let predict = |weights: &str, more: &[&str]| {
        let args = ["predict", "--input", "batch.safetensors", "--output", "out.safetensors", "--model", "nano-1d"];
        let output = desk.command(&[&args[..], &["--weights", weights], more].concat()).assert().success();
        let said = String::from_utf8(output.get_output().stderr.clone()).unwrap();
        let said: Vec<String> = said.lines().filter(|line| line.contains("WARN")).map(str::to_string).collect();
        (values(&desk.tensors("out.safetensors")["logits"]), said)
    };
    let expected = predict("plain.safetensors", &[]);
    assert!(expected.1.is_empty(), "{:?}", expected.1);
    for half in [DType::F16, DType::BF16] {
        in_half("plain.safetensors", half);
        assert_eq!(predict("half.safetensors", &[]), expected, "{half:?}");
    }
    // Another number of directions than the network is registered with.
    let spec = ModelSpec::named("nano-1d").unwrap().with_overrides(&["directions=channels"]).unwrap();
    let network = Network::build(spec, BuildOptions::frozen()).unwrap();
    weights::save(&desk.path("channels.safetensors"), &network.params().tensors(), &BTreeMap::new()).unwrap();
    in_half("channels.safetensors", DType::BF16);
    let expected = predict("channels.safetensors", &[]);
    assert_eq!(predict("half.safetensors", &["--set", "directions=channels"]), expected);
    let (logits, said) = predict("half.safetensors", &[]);
    assert_eq!((logits, said.len()), (expected.0, 1), "{said:?}");
    for part in ["half.safetensors", "half precision", "directions=channels"] {
        assert!(said[0].contains(part), "{said:?}");
    }
    // Angles of nobody's rule.
    let mut tensors = desk.tensors("half.safetensors");
    let layer = "stages.0.0.dwconv.theta";
    tensors.insert(layer.into(), Tensor::full(0.5f32, 32, &Device::Cpu).unwrap());
    weights::save(&desk.path("odd.safetensors"), &tensors, &BTreeMap::new()).unwrap();
    let (_, said) = predict("odd.safetensors", &[]);
    let kept = said.iter().find(|line| line.contains("stages.0.0.dwconv")).unwrap_or_else(|| panic!("{said:?}"));
    assert!(kept.contains("odd.safetensors") && kept.contains("store theta in f32"), "{said:?}");
}
