//! Against values from the official code, and counts.

use super::{config, mask, pruned};
use crate::common::{
    array, fill_kind, fill_signed, golden, integer, integers, max_abs_diff, numbers, outline, prints_as, spec, text,
    values, with_tensors,
};
use candle_core::{Device, Tensor};
use kernelscope::nn::{BuildOptions, Mode, Pass};
use kernelscope::ops::shiftwise::{ChannelSplit, Padding, Window, small_convolutions};
use kernelscope::weights::TensorMap;
use kernelscope::zoo::shiftwise::Merged;
use kernelscope::zoo::{Merge, Network, entry};
use serde_json::Value;
use std::collections::BTreeMap;

fn input(shape: &[usize]) -> Tensor {
    Tensor::from_vec(fill_signed("input", shape.iter().product()), shape, &Device::Cpu).unwrap()
}

/// Compares a run's logits and those intermediate points that the form has.
fn check_run(what: &str, network: &Network, run: &Value) -> f64 {
    let x = input(&integers(&run["input_shape"]));
    let points: BTreeMap<&str, &Value> = array(&run["points"]).iter().map(|p| (text(&p["name"]), p)).collect();
    let mut seen = Vec::new();
    let mut watch = |name: &str, value: &Tensor| {
        if let Some(point) = points.get(name) {
            check_point(&format!("{what}: {name}"), value, point);
            seen.push(name.to_string());
        }
        // The official code makes the results of the small convolutions; here they are made for comparison alone.
        let here = name == "downsample_layers.0" && config(network).merged == Merged::None;
        if let Some(point) = points.get("stages.0.0.large_kernel.LoRAs.0").filter(|_| here) {
            check_point(&format!("{what}: LoRAs.0"), &first_path(network, value), point);
            seen.push("LoRAs.0".into());
        }
    };
    let (_, logits) = network.forward_pass(&x, &mut Pass::watched(Mode::Eval, &mut watch)).unwrap();
    let expected = match config(network).merged {
        Merged::None => points.len(),
        Merged::Paths => points.len() - 1,
        Merged::Cross => points.len() - 4,
    };
    assert_eq!(seen.len(), expected, "{what}: points reported: {seen:?}");
    check_logits(what, &logits, &run["logits"])
}

fn check_logits(what: &str, logits: &Tensor, expected: &Value) -> f64 {
    let off = max_abs_diff(&values(logits), &numbers(expected));
    assert!(off < 2e-5, "{what}: logits off by {off:e}");
    off
}

fn check_point(what: &str, value: &Tensor, point: &Value) {
    assert_eq!(value.dims(), integers(&point["shape"]), "{what}");
    let values = values(value);
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let std = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt();
    let ours = [&[mean, std], &values[..8]].concat();
    let expected =
        [&[point["mean"].as_f64().unwrap(), point["std"].as_f64().unwrap()], &numbers(&point["first8"])[..]].concat();
    let off = max_abs_diff(&ours, &expected);
    assert!(off < 5e-5, "{what}: off by {off:e}");
}

/// z of the first path of the first block.
fn first_path(network: &Network, x: &Tensor) -> Tensor {
    let config = config(network);
    let window = Window::new(config.kernel.stage(0), config.small_kernel, Padding::Full).unwrap();
    let weight = network.params().get("stages.0.0.large_kernel.LoRAs.0.weight").unwrap().var.as_detached_tensor();
    let reps = weight.dims()[0] / window.groups();
    let split = ChannelSplit::new(x.dims()[1], x.dims()[1] - reps).unwrap();
    let rep = x.index_select(&Tensor::new(split.rep, &Device::Cpu).unwrap(), 1).unwrap();
    small_convolutions(&rep, &weight, &window).unwrap()
}

fn macs_224(network: &Network) -> usize {
    network.trace(224, 224).unwrap().macs() as usize
}

fn check_golden(name: &str, file: &str) {
    let golden = golden(file);
    let spec = spec(name, &[]);
    let fresh = Network::build(spec.clone(), BuildOptions::shapes_only()).unwrap();
    let ours: Vec<(String, Vec<usize>)> =
        fresh.params().iter().map(|(name, p)| (name.to_string(), p.var.dims().to_vec())).collect();
    let list = array(&golden["params"]);
    let official: Vec<(String, Vec<usize>)> =
        list.iter().map(|p| (text(&p["name"]).to_string(), integers(&p["shape"]))).collect();
    assert_eq!(ours, official, "names, shapes and order of {name}");
    assert_eq!(fresh.params().count(), integer(&golden["param_count"]), "{name}");
    assert_eq!(macs_224(&fresh), integer(&golden["macs_224"]["total"]), "{name}");
    let filled = |p: &Value| {
        let (name, shape) = (text(&p["name"]), integers(&p["shape"]));
        let values = fill_kind(name, &shape, text(&p["kind"]));
        (name.to_string(), Tensor::from_vec(values, shape, &Device::Cpu).unwrap())
    };
    let tensors: TensorMap = list.iter().map(filled).collect();
    let runs = array(&golden["runs"]);
    assert_eq!(runs.len(), 2);
    let network = with_tensors(&spec, tensors.clone());
    let mut worst = runs.iter().fold(0f64, |worst, run| worst.max(check_run(name, &network, run)));
    println!("{name}: logits off by at most {worst:.2e}");
    // The official form for inference.
    let merged = network.merged(Merge::Kernels).unwrap();
    let reference = &golden["merged"]["reparameterize"];
    assert_eq!(merged.params().count(), integer(&reference["param_count"]), "{name}, merged");
    assert_eq!(macs_224(&merged), integer(&reference["macs_224"]["total"]), "{name}, merged");
    for state in array(&reference["state"]) {
        let param = merged.params().get(text(&state["name"])).unwrap_or_else(|| panic!("{name}: no {state}"));
        assert_eq!(param.var.dims(), integers(&state["shape"]), "{name}: {state}");
    }
    worst = check_run(&format!("{name}, merged"), &merged, &runs[0]);
    println!("{name}, merged: logits off by {worst:.2e}");
    // One kernel per block.
    let cross = merged.merged(Merge::Norms).unwrap();
    worst = runs.iter().fold(0f64, |worst, run| worst.max(check_run(&format!("{name}, cross"), &cross, run)));
    println!("{name}, cross: logits off by at most {worst:.2e}");
    // Pruned small kernels, in all three forms.
    let masked = &golden["masked"];
    let tensors = pruned(&tensors, masked["density"].as_f64().unwrap());
    for (name, counts) in masked["nonzero"].as_object().unwrap() {
        let layer = name.strip_suffix(".LoRAs.0.weight").unwrap();
        let [kept, count] = integers(counts)[..] else { panic!("{counts}") };
        let ours: f64 = values(&mask(layer, count, masked["density"].as_f64().unwrap())).iter().sum();
        assert_eq!(ours, kept as f64, "{name}");
    }
    let network = with_tensors(&spec, tensors);
    let x = input(&integers(&masked["input_shape"]));
    for (form, network) in [
        ("pruned", &network),
        ("pruned and merged", &network.merged(Merge::Kernels).unwrap()),
        ("pruned cross", &network.merged(Merge::Norms).unwrap()),
    ] {
        let off = check_logits(&format!("{name}, {form}"), &network.forward(&x).unwrap(), &masked["logits"]);
        println!("{name}, {form}: logits off by {off:.2e}");
    }
}

#[test]
fn sw_v1_t_computes_what_the_official_network_does() {
    check_golden("sw-v1-t", "replk/sw_v1_t.json");
}

#[test]
fn sw_v2_t_computes_what_the_official_network_does() {
    check_golden("sw-v2-t", "replk/sw_v2_t.json");
}

#[test]
fn counts_of_every_shiftwise_network() {
    // Parameters and millions of multiply-adds at 224 pixels, in training and with merged paths.
    for (name, overrides, params, macs) in [
        ("sw-v1-t", &[][..], [48_624_574, 48_013_324], [8_055, 7_688]),
        ("sw-v1-t", &["width=1"], [0, 28_744_951], [0, 4_635]),
        ("sw-v1-s", &[], [89_380_720, 86_385_745], [16_939, 15_644]),
        ("sw-v1-b", &[], [155_614_548, 151_623_573], [28_952, 27_226]),
        ("sw-v2-t", &[], [31_790_260, 31_002_670], [5_336, 5_024]),
        ("sw-v2-s", &[], [57_312_892, 55_990_108], [9_805, 9_334]),
        ("sw-v2-b", &[], [100_250_380, 98_477_182], [17_016, 16_383]),
    ] {
        for (form, (params, macs)) in ["merged=none", "merged=paths"].into_iter().zip(params.into_iter().zip(macs)) {
            let network = outline(name, &[overrides, &[form]].concat());
            let ours = (network.params().count(), (macs_224(&network) as f64 / 1e6).round() as u64);
            assert!(params == 0 || ours == (params, macs), "{name} {overrides:?} {form}: {ours:?}");
        }
    }
    let published = entry("sw-v1-t").unwrap().published;
    let merged = outline("sw-v1-t", &["merged=paths"]);
    assert!(prints_as(merged.params().count() as f64 / 1e6, published.params_m.unwrap()));
    assert!(prints_as(macs_224(&merged) as f64 / 1e9, published.gmacs.unwrap()));
    // The readme of January 2024 prints 7,701,405,072 operations, which are these multiply-adds and 4 for each value of
    // a batch norm, and 48.01 M parameters.
    let values = |layers: &[kernelscope::nn::LayerTrace]| -> u64 {
        layers.iter().filter(|l| l.kind == "batch norm" || l.path == "norm").map(|l| l.output.values()).sum()
    };
    let trace = merged.trace(224, 224).unwrap();
    assert_eq!(trace.macs() + 4 * values(&trace.layers), 7_701_405_072);
}
