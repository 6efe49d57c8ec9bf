//! The networks: against values from the official code, in every form; counts; checkpoints; what does not fit.

use crate::common::{
    array, fill_kind, fill_signed, fill_u, golden, integer, integers, losses_of_training, max_abs_diff, numbers,
    outline, prints_as, random, spec, text, values, with_tensors,
};
use candle_core::{DType, Device, Tensor};
use kernelscope::nn::{BuildOptions, Mode, Pass};
use kernelscope::ops::shiftwise::{ChannelSplit, Padding, Window, small_convolutions};
use kernelscope::weights::{self, Checkpoint, TensorMap};
use kernelscope::zoo::shiftwise::{Merged, ShiftWiseConfig};
use kernelscope::zoo::{Merge, ModelSpec, Network, entry};
use kernelscope_lab::train::{AdamW, AdamWConfig};
use serde_json::Value;
use std::collections::BTreeMap;

fn config(network: &Network) -> ShiftWiseConfig {
    let config: &ShiftWiseConfig = network.spec().config.downcast_ref().unwrap();
    config.clone()
}

/// 1 where a small kernel is kept, by the mask of the golden files: one for all paths of a block.
fn mask(layer: &str, count: usize, density: f64) -> Tensor {
    let kept = fill_u(&format!("mask:{layer}.LoRAs.0.weight"), count);
    let kept: Vec<f32> = kept.iter().map(|&u| f32::from(u8::from(f64::from(u) < density))).collect();
    Tensor::from_vec(kept, (count, 1, 1, 1), &Device::Cpu).unwrap()
}

/// The weights with small kernels pruned in all paths.
fn pruned(tensors: &TensorMap, density: f64) -> TensorMap {
    let prune = |(name, tensor): (&String, &Tensor)| {
        let tensor = match name.split_once(".LoRAs.") {
            Some((layer, _)) => {
                let mask = mask(layer, tensor.dims()[0], density).to_dtype(tensor.dtype()).unwrap();
                tensor.broadcast_mul(&mask).unwrap()
            }
            None => tensor.clone(),
        };
        (name.clone(), tensor)
    };
    tensors.iter().map(prune).collect()
}

// Golden networks

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

// Forms, on small networks

const SMALL: [&str; 4] = ["depths=1,1,2,1", "dims=16,24,32,40", "classes=10", "drop_path=0"];

/// A network whose values follow from the parameters' names.
fn filled(name: &str, overrides: &[&str], dtype: DType) -> Network {
    crate::common::filled(spec(name, overrides), dtype)
}

#[test]
fn every_form_computes_the_same() {
    let x = random("images", &[2, 3, 64, 48]);
    for (name, extra) in [
        ("sw-v1-t", &[][..]),
        ("sw-v1-s", &["paths=3", "ghost_ratio=0"]),
        ("sw-v2-t", &["reps=1"]),
        ("sw-v2-b", &["kernel=13,9,7,7", "small_kernel=5", "paths=1"]),
        ("nano-sw", &[]),
    ] {
        let overrides = [&SMALL[..], extra].concat();
        for (dtype, tolerance) in [(DType::F64, 1e-11), (DType::F32, 2e-5)] {
            let dense = filled(name, &overrides, dtype);
            let x = x.to_dtype(dtype).unwrap();
            for density in [1.0, 0.4, 0.05] {
                let network = with_tensors(dense.spec(), pruned(&dense.params().tensors(), density));
                let expected = values(&network.forward(&x).unwrap());
                let largest = expected.iter().fold(0f64, |max, v| max.max(v.abs()));
                assert!(largest > 0.1, "{name}: nothing to compare");
                for (how, form) in [(Merge::Kernels, "merged=paths"), (Merge::Norms, "merged=cross")] {
                    let merged = network.merged(how).unwrap();
                    let off = max_abs_diff(&values(&merged.forward(&x).unwrap()), &expected);
                    assert!(
                        off < tolerance * largest,
                        "{name} {extra:?} {density} {form} {dtype:?}: off by {off:e} of {largest}"
                    );
                    assert_eq!(merged.spec(), &spec(name, &[&overrides[..], &[form]].concat()));
                    assert_eq!(merged.params().iter().next().unwrap().1.var.dtype(), dtype);
                }
            }
        }
    }
}

#[test]
fn what_is_pruned_costs_nothing_in_the_cross() {
    let dense = filled("sw-v1-t", &SMALL, DType::F32);
    let layer = "stages.2.0.large_kernel";
    let cost = |network: &Network| {
        let trace = network.merged(Merge::Norms).unwrap().trace(224, 224).unwrap();
        trace.layers.iter().find(|l| l.path == format!("{layer}.cross")).unwrap().macs
    };
    // 45 pixels of 5 lines, twice, but for the 5x5 in which they meet; 41 - 24 channels, 14x14 outputs.
    let channels = 41 - 24;
    assert_eq!(cost(&dense), (2 * 45 * 5 - 25) * channels * 196);
    let network = with_tensors(dense.spec(), pruned(&dense.params().tensors(), 0.3));
    // Every channel keeps its center, where the identity is, and what its kept kernels cover.
    let kept = mask(layer, channels as usize * 9, 0.3).flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let most: u64 = kept.iter().map(|&kept| kept as u64 * (2 * 25 + 25)).sum::<u64>() + channels;
    let least: u64 = kept.iter().map(|&kept| kept as u64 * 25).sum();
    let taps = cost(&network) / 196;
    assert!((least..=most).contains(&taps), "{taps} taps, {least} to {most} expected");
    // The weights are stored with their zeros.
    let merged = network.merged(Merge::Norms).unwrap();
    let stored = values(merged.params().get(&format!("{layer}.cross.weight")).unwrap().var.as_tensor());
    assert_eq!(stored.len() as u64, (2 * 45 * 5 - 25) * channels);
    assert_eq!(stored.iter().filter(|w| **w != 0.0).count() as u64, taps);
}

#[test]
fn half_padding_merges_its_paths_alone() {
    let network = filled("sw-v1-t", &[&SMALL[..], &["padding=half", "reps=2"]].concat(), DType::F32);
    let x = random("images", &[2, 3, 48, 64]);
    let expected = values(&network.forward(&x).unwrap());
    let merged = network.merged(Merge::Kernels).unwrap();
    assert!(max_abs_diff(&values(&merged.forward(&x).unwrap()), &expected) < 1e-5);
    let full = filled("sw-v1-t", &[&SMALL[..], &["reps=2"]].concat(), DType::F32);
    assert!(max_abs_diff(&values(&full.forward(&x).unwrap()), &expected) > 1e-2, "the padding makes no difference");
    assert!(network.trace(64, 64).unwrap().macs() < full.trace(64, 64).unwrap().macs());
    for network in [&network, &merged] {
        let error = network.merged(Merge::Norms).err().unwrap().to_string();
        assert!(error.contains("padding") && error.contains("half"), "{error}");
    }
    let inference = |network: &Network| network.spec().config.for_inference();
    assert_eq!(inference(&network), merged.spec().config);
    assert_eq!(inference(&full), full.merged(Merge::Norms).unwrap().spec().config);
}

#[test]
fn only_what_can_be_merged_is_merged_in_a_shiftwise_network() {
    let network = filled("nano-sw", &[], DType::F32);
    let (paths, cross) = (network.merged(Merge::Kernels).unwrap(), network.merged(Merge::Norms).unwrap());
    let fails = |network: &Network, how| network.merged(how).err().unwrap().to_string();
    assert!(fails(&paths, Merge::Kernels).contains("paths are merged already"));
    assert!(fails(&cross, Merge::Kernels).contains("merged already"));
    assert!(fails(&cross, Merge::Norms).contains("branches are merged already"));
    let config = config(&network);
    for name in ["LoRAs.1.weight", "bn_lora2.running_var", "bn_small.bias"] {
        let mut tensors = network.params().tensors();
        let name = format!("stages.2.1.large_kernel.{name}");
        tensors.shift_remove(&name).unwrap();
        let error = kernelscope::zoo::shiftwise::merge_cross(&config, &tensors).unwrap_err().to_string();
        assert!(error.contains(&name) && !error.contains('\n'), "{error}");
    }
    let mut tensors = network.params().tensors();
    tensors.insert("stages.0.0.large_kernel.LoRAs.1.weight".into(), random("short", &[7, 1, 3, 3]));
    let error = kernelscope::zoo::shiftwise::merge_paths(&config, &tensors).unwrap_err().to_string();
    assert!(error.contains("LoRAs.1.weight") && error.contains("[7, 1, 3, 3]"), "{error}");
}

// Checkpoints

fn load(tensors: TensorMap, overrides: &[&str]) -> kernelscope::Result<Network> {
    let checkpoint = Checkpoint { tensors, metadata: BTreeMap::new(), source: "memory.pth".into() };
    Network::from_checkpoint(Some("nano-sw"), checkpoint, overrides, BuildOptions::frozen())
}

#[test]
fn checkpoints_of_every_shiftwise_form_are_recognized() {
    let x = random("images", &[1, 3, 48, 48]);
    for (overrides, how) in [
        (&["classes=5", "paths=3"][..], None),
        (&["paths=1", "small_kernel=5"], None),
        (&["classes=3"], Some(Merge::Kernels)),
        (&[], Some(Merge::Norms)),
    ] {
        let trained = filled("nano-sw", overrides, DType::F32);
        let network = how.map(|how| trained.merged(how).unwrap()).unwrap_or(trained);
        let back = load(network.params().tensors(), &[]).unwrap_or_else(|e| panic!("{overrides:?}: {e}"));
        assert_eq!(values(&back.forward(&x).unwrap()), values(&network.forward(&x).unwrap()), "{overrides:?}");
        assert_eq!(config(&back).merged, config(&network).merged);
        // One name less is an error that names it.
        for name in network.params().tensors().keys().filter(|name| name.contains("large_kernel")) {
            let mut less = network.params().tensors();
            less.shift_remove(name).unwrap();
            let error = load(less, &[]).err().unwrap_or_else(|| panic!("loads without {name}")).to_string();
            assert!(error.contains(name.as_str()) || error.contains("paths"), "{name}: {error}");
        }
    }
}

#[test]
fn what_does_not_fit_a_shiftwise_network_is_said() {
    let network = filled("nano-sw", &[], DType::F32);
    let tensors = network.params().tensors();
    for (overrides, parts) in [
        (&["ghost_ratio=0.5"][..], &["24 of 32 channels of stage 0", "not 16", "ghost_ratio = 0.5"][..]),
        (&["paths=1"], &["2 paths, not 1"]),
        (&["paths=4"], &["2 paths, not 4"]),
        (&["kernel=21,15,7,7"], &["stage 0 has 120 small kernels, not 7", "kernel = 21", "small_kernel = 3"]),
        (&["small_kernel=5"], &["stage 0 has 120 small kernels", "small_kernel = 5"]),
        (&["dims=32,48,96,128"], &["stage 1 has 64 channels, not 48", "dims"]),
        (&["width=1.5"], &["stage 0 has 32 channels, not 48", "width = 1.5"]),
        (&["body=v1"], &["body v2", "body = v1"]),
        (&["classes=9"], &["head.weight"]),
        (&["merged=paths"], &["missing", "LoRA.weight"]),
        (&["depths=1,1,1,1"], &["unexpected", "stages.2.1."]),
    ] {
        let error = load(tensors.clone(), overrides).err().unwrap_or_else(|| panic!("{overrides:?} fits")).to_string();
        assert!(error.starts_with("memory.pth") || error.contains("in memory.pth"), "{error}");
        for part in parts {
            assert!(error.contains(part) && !error.contains('\n'), "{overrides:?}: {error}");
        }
    }
    let other = Network::build(spec("nano-replk", &[]), BuildOptions::shapes_only()).unwrap();
    let error = load(other.params().tensors(), &[]).err().unwrap().to_string();
    assert!(error.contains("no shift-wise kernels") && error.contains("nano-sw"), "{error}");
    assert!(load(tensors, &["ghost_ratio=0.23"]).is_ok());
}

#[test]
fn checkpoints_hold_a_checksum_of_the_index_tables() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.safetensors");
    let network = filled("nano-sw", &["reps=3"], DType::F32);
    let (key, stored) = network.spec().metadata().unwrap();
    let json: Value = serde_json::from_str(&stored).unwrap();
    assert_eq!(text(&json["checksum"]).len(), 16, "{stored}");
    let read = |text: &str| {
        weights::save(&path, &network.params().tensors(), &BTreeMap::from([(key.clone(), text.to_string())])).unwrap();
        Network::from_checkpoint::<&str>(None, weights::load(&path).unwrap(), &[], BuildOptions::frozen())
    };
    let back = read(&stored).unwrap();
    assert_eq!(back.spec(), network.spec(), "the number of shuffles comes from the file");
    // Shapes are the same with any number of shuffles, so only the checksum tells.
    let changed = stored.replace("\"reps\":3", "\"reps\":2");
    assert_ne!(changed, stored);
    let error = read(&changed).err().unwrap().to_string();
    assert!(error.contains("checksum of the index tables") && error.contains(text(&json["checksum"])), "{error}");
    // A file without one, of other networks or versions, is not refused for that.
    let mut without = json.clone();
    without.as_object_mut().unwrap().remove("checksum");
    assert!(read(&without.to_string()).is_ok());
    let cross = network.merged(Merge::Norms).unwrap();
    assert!(!cross.spec().metadata().unwrap().1.contains("checksum"), "a cross has no tables");
    // A hostile configuration is refused before tables are made of it.
    for (from, to) in
        [("\"reps\":3", "\"reps\":18446744073709551615"), ("\"dims\":[32", "\"dims\":[18446744073709551615")]
    {
        assert!(read(&stored.replace(from, to)).is_err(), "{to}");
    }
}

// Behavior

#[test]
fn a_shiftwise_configuration_survives_files() {
    for name in ["sw-v1-t", "sw-v1-s", "sw-v1-b", "sw-v2-t", "sw-v2-s", "sw-v2-b", "nano-sw"] {
        for overrides in [&[][..], &["merged=cross", "reps=1"], &["padding=half", "merged=paths", "body=v1"]] {
            let spec = spec(name, overrides);
            let json = serde_json::to_value(&spec).unwrap();
            assert_eq!(json["config"]["family"], "shiftwise");
            assert_eq!(serde_json::from_value::<ModelSpec>(json).unwrap(), spec);
            assert_eq!(toml::from_str::<ModelSpec>(&toml::to_string(&spec).unwrap()).unwrap(), spec);
        }
    }
}

#[test]
fn only_the_small_network_has_a_batch_norm_before_its_classifier() {
    let outline = |name: &str| Network::build(spec(name, &[]), BuildOptions::shapes_only()).unwrap();
    let batch = |name: &str| outline(name).params().get("norm.running_var").is_some();
    assert!(batch("nano-sw") && !batch("sw-v1-t") && !batch("sw-v2-t"));
}

#[test]
fn nano_sw_learns() {
    let losses = losses_of_training("nano-sw", 3e-3);
    assert!(losses[0] < 3.5 && losses[19] < 0.3 * losses[0], "{losses:?}");
}

#[test]
fn a_cross_can_be_trained_further() {
    let dense = filled("nano-sw", &[], DType::F32);
    let pruned = with_tensors(dense.spec(), pruned(&dense.params().tensors(), 0.2));
    let cross = pruned.merged(Merge::Norms).unwrap();
    let options = BuildOptions { weights: Some((cross.params().tensors(), "test".into())), ..BuildOptions::default() };
    let network = Network::build(cross.spec().clone(), options).unwrap();
    let x = random("images", &[4, 3, 32, 32]);
    let loss = network.forward_t(&x, Mode::Train { seed: 0 }).unwrap().sqr().unwrap().mean_all().unwrap();
    AdamW::new(network.params(), AdamWConfig::default()).step(&loss.backward().unwrap(), 1e-2, 1.0).unwrap();
    let name = "stages.0.0.large_kernel.cross.weight";
    let read = |network: &Network| values(network.params().get(name).unwrap().var.as_tensor());
    let (before, after) = (read(&cross), read(&network));
    assert!(before.iter().zip(&after).filter(|(b, a)| b != a).count() > 100, "nothing was learned");
    assert!(before.iter().zip(&after).all(|(b, a)| (*b == 0.0) == (*a == 0.0)), "what is pruned stays pruned");
}
