//! Every form computes the same, survives files and learns.

use super::{SMALL, config, filled, mask, pruned};
use crate::common::{losses_of_training, max_abs_diff, random, spec, values, with_tensors};
use candle_core::DType;
use kernelscope::nn::{BuildOptions, Mode};
use kernelscope::zoo::{Merge, ModelSpec, Network};
use kernelscope_lab::train::{AdamW, AdamWConfig};

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
    assert!(fails(&paths, Merge::Kernels).contains("paths are already merged"));
    assert!(fails(&cross, Merge::Kernels).contains("already merged"));
    assert!(fails(&cross, Merge::Norms).contains("branches are already merged"));
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
