//! The command on files of weights and masks.

use super::{Desk, Shiftwise, bits, json, pruned, random_keep, tensor};
use crate::common::files;
use candle_core::Tensor;
use kernelscope::analysis::cost::costs;
use kernelscope::nn::BuildOptions;
use kernelscope::weights::{self, TensorMap};
use kernelscope::zoo::{Merge, ModelSpec, Network};
use std::collections::BTreeMap;

#[test]
fn a_pruned_checkpoint_of_a_network_is_reported() {
    let desk = Desk::new();
    let network = Network::build(ModelSpec::named("nano-replk").unwrap(), BuildOptions::frozen()).unwrap();
    let mut tensors = network.params().tensors();
    let dense = desk.run(&["masks", "--model", "nano-replk", "--random", "0"]);
    assert!(dense.contains("is dense (density 1)") && dense.contains("Multiply-adds at 64x64"), "{dense}");
    let pruned_names: Vec<String> = tensors.keys().filter(|name| name.ends_with("conv.weight")).cloned().collect();
    let mut gone = 0;
    for name in &pruned_names {
        let shape = tensors[name].dims().to_vec();
        let keep = random_keep(name, shape.iter().product(), 0.6);
        gone += keep.iter().filter(|keep| !**keep).count();
        tensors.insert(name.clone(), pruned(name, &shape, |i| keep[i]));
    }
    desk.save("pruned.safetensors", &tensors);
    let args = ["masks", "--model", "nano-replk", "--weights", "pruned.safetensors"];
    let report = json(&desk.run(&[&args[..], &["--json", "--output", "out"]].concat()));
    let total = report["totals"].as_array().unwrap().last().unwrap();
    let count = network.params().count();
    assert_eq!(total["parameters"].as_u64(), Some(count as u64));
    assert_eq!(total["effective_parameters"].as_u64(), Some((count - gone) as u64));
    let costs = costs(&network, 64, 64).unwrap();
    let mut expected = costs.macs as f64;
    for layer in report["layers"].as_array().unwrap() {
        let number = |key: &str| layer[key].as_u64().unwrap() as f64;
        let macs = costs.layers.iter().find(|l| format!("{}.weight", l.path) == layer["name"]).unwrap().macs as f64;
        assert_eq!(number("macs"), macs, "{layer}");
        let density = number("kept") / number("units");
        assert!((number("effective_macs") - macs * density).abs() <= 0.5, "{layer}");
        expected -= macs * (1.0 - density);
    }
    assert!((total["effective_macs"].as_u64().unwrap() as f64 - expected).abs() < 100.0, "{total} {expected}");
    let made: Vec<String> = files(&desk.path("out")).into_keys().collect();
    let names = [
        "density.png",
        "density.svg",
        "kept-taps.png",
        "kept-taps.svg",
        "sparsity-merged.csv",
        "sparsity-totals.csv",
        "sparsity.csv",
        "sparsity.md",
    ];
    assert_eq!(made, names);
    let lines = |name: &str| std::fs::read_to_string(desk.path("out").join(name)).unwrap().lines().count();
    assert_eq!(lines("sparsity.csv"), 1 + report["layers"].as_array().unwrap().len());
    assert_eq!(desk.run(&args), desk.run(&args));
    let small = json(&desk.run(&[&args[..], &["--json", "--size", "32"]].concat()));
    assert!(small["totals"].as_array().unwrap().last().unwrap()["macs"].as_u64() < total["macs"].as_u64());
}

#[test]
fn files_of_unknown_networks_and_masks_beside_them_are_reported() {
    let desk = Desk::new();
    let sw = Shiftwise::new("stages.0.0.large_kernel", (24, 11, 5), &[0.7, 0.6]);
    let mut tensors = TensorMap::new();
    sw.insert_into(&mut tensors);
    desk.save("sw.safetensors", &tensors);
    let printed = desk.run(&["masks", "--weights", "sw.safetensors", "--output", "out"]);
    for part in ["kept groups per channel", "11 kept", "264", "group", "Weights that are 0 count as pruned", "--model"]
    {
        assert!(printed.contains(part), "no {part:?} in {printed}");
    }
    let made: Vec<String> = files(&desk.path("out")).into_keys().collect();
    for name in ["kept-groups.svg", "groups-stage-0.png", "sparsity-groups.csv"] {
        assert!(made.iter().any(|made| made == name), "no {name} in {made:?}");
    }
    let markdown = std::fs::read_to_string(desk.path("out/sparsity.md")).unwrap();
    assert!(
        markdown.contains("## Kept groups per channel") && markdown.contains("| stage 0 | 11 | 1 | 24 |"),
        "{markdown}"
    );
    // Masks beside the file decide: here they keep everything, the zeros notwithstanding.
    let name = "stages.0.0.large_kernel.LoRAs.0.weight";
    let all = TensorMap::from_iter([(name.to_string(), bits(&[true; 264], &[264, 1, 1, 1]))]);
    desk.save("sw.masks.safetensors", &all);
    desk.save("sw-ema.safetensors", &tensors);
    for file in ["sw.safetensors", "sw-ema.safetensors"] {
        let report = json(&desk.run(&["masks", "--weights", file, "--json"]));
        assert_eq!(
            (report["layers"][0]["density"].as_f64(), &report["layers"][0]["masked"]),
            (Some(1.0), &true.into())
        );
        assert!(report["layers"][1]["density"].as_f64().unwrap() < 0.8);
    }
    let mut wrong = all.clone();
    wrong.insert("nothing.weight".into(), bits(&[true], &[1, 1]));
    desk.save("wrong.safetensors", &wrong);
    let args = ["masks", "--weights", "sw.safetensors", "--masks"];
    desk.fails(&[&args[..], &["wrong.safetensors"]].concat(), &["wrong.safetensors", "nothing.weight"]);
    desk.fails(&[&args[..], &["absent.safetensors"]].concat(), &["absent.safetensors"]);
    let none = bits(&[false; 264], &[264, 1, 1, 1]);
    desk.save("none.safetensors", &TensorMap::from_iter([(name.to_string(), none)]));
    let notes =
        desk.command(&[&args[..], &["none.safetensors"]].concat()).assert().success().get_output().stderr.clone();
    assert!(String::from_utf8(notes).unwrap().contains("weights are not 0 although the masks prune them"));
}

#[test]
fn what_is_pruned_from_a_cross_is_taken_off_once() {
    let desk = Desk::new();
    let spec = ModelSpec::named("nano-sw").unwrap().with_overrides(&["depths=1", "dims=16"]).unwrap();
    let mut network = Network::build(spec.clone(), BuildOptions::frozen()).unwrap();
    let prune = |(name, tensor): (String, Tensor)| {
        let shape = tensor.dims().to_vec();
        if !name.contains(".LoRAs.") {
            return (name, tensor);
        }
        // The same small kernels in both paths, so that they are gone from the sum.
        let keep = random_keep(&name.replace(".LoRAs.1.", ".LoRAs.0."), shape[0], 0.2);
        let tensor = pruned(&name, &shape, |i| keep[i / shape[3] / shape[2]]);
        (name, tensor)
    };
    let tensors: TensorMap = network.params().tensors().into_iter().map(prune).collect();
    network =
        Network::build(spec, BuildOptions { weights: Some((tensors, "pruned".into())), ..BuildOptions::frozen() })
            .unwrap()
            .merged(Merge::Norms)
            .unwrap();
    let metadata = BTreeMap::from([network.spec().metadata().unwrap()]);
    weights::save(&desk.path("cross.safetensors"), &network.params().tensors(), &metadata).unwrap();
    let report = json(&desk.run(&["masks", "--weights", "cross.safetensors", "--json"]));
    let name = "stages.0.0.large_kernel.cross.weight";
    let layer = report["layers"].as_array().unwrap().iter().find(|l| l["name"] == name).unwrap();
    let number = |key: &str| layer[key].as_u64().unwrap();
    // 12 of 16 channels, 16x16 outputs.
    let taps = 2 * 3 * 15 - 9;
    assert_eq!((number("units"), number("macs")), (12 * taps, 12 * taps * 256));
    assert!(number("kept") < number("units") / 2, "{layer}");
    assert_eq!(number("effective_macs"), number("kept") * 256);
    let trace = network.trace(64, 64).unwrap();
    assert_eq!(report["totals"].as_array().unwrap().last().unwrap()["effective_macs"].as_u64(), Some(trace.macs()));
}

#[test]
fn files_that_cannot_be_reported() {
    let desk = Desk::new();
    let tensors = TensorMap::from_iter([("input".to_string(), crate::common::random("input", &[1, 3, 8, 8]))]);
    desk.save("input.safetensors", &tensors);
    desk.fails(&["masks", "--weights", "input.safetensors"], &["input", "without weights of a convolution"]);
    let nan = TensorMap::from_iter([("a.weight".to_string(), tensor(vec![1.0, f32::NAN], &[1, 2]))]);
    desk.save("nan.safetensors", &nan);
    desk.fails(&["masks", "--weights", "nan.safetensors", "--output", "out"], &["a.weight", "not finite", "index 1"]);
    let whole = std::fs::read(desk.path("nan.safetensors")).unwrap();
    std::fs::write(desk.path("cut.safetensors"), &whole[..whole.len() - 3]).unwrap();
    desk.fails(&["masks", "--weights", "cut.safetensors"], &["cut.safetensors", "truncated"]);
    desk.fails(&["masks", "--weights", "absent.pth"], &["absent.pth"]);
    desk.fails(&["masks", "--model", "nano-2d", "--weights", "nan.safetensors"], &["nan.safetensors", "missing"]);
    desk.fails(&["masks"], &["--weights", "--run", "--random"]);
    desk.fails(&["masks", "--model", "nano-2d", "--random", "0", "--size", "0"], &["--size", "0"]);
    desk.fails(&["masks", "--run", "absent"], &["absent", "run folder"]);
    let blocked = ["masks", "--model", "nano-2d", "--random", "0", "--output", "input.safetensors/x"];
    desk.fails(&blocked, &["input.safetensors/x"]);
}
