//! Initial values, and checkpoints that bring them back.

use super::{build, nano, param, restored, shape, small, snapshot};
use crate::common::{bits, random, values};
use kernelscope::nn::{BuildOptions, Kind, Mode};
use kernelscope::weights;
use kernelscope::zoo::{ModelSpec, registry};
use std::collections::BTreeMap;

#[test]
fn saved_networks_come_back_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    for entry in registry() {
        let network = build(small(entry.name), BuildOptions { seed: 3, ..BuildOptions::default() });
        // Batch statistics other than the initial ones.
        network.forward_t(&random("batch", &[2, 3, 64, 64]), Mode::Train { seed: 1 }).unwrap();
        let path = folder.path().join(format!("{}.safetensors", entry.name));
        let metadata = BTreeMap::from([network.spec().metadata().unwrap()]);
        weights::save(&path, &network.params().tensors(), &metadata).unwrap();
        let checkpoint = weights::load(&path).unwrap();
        let stored: ModelSpec = serde_json::from_str(&checkpoint.metadata["kernelscope.model"]).unwrap();
        assert_eq!(&stored, network.spec());
        let back = restored(checkpoint).unwrap();
        assert_eq!(back.spec(), network.spec(), "{}", entry.name);
        let x = random("images", &[2, 3, 64, 64]);
        let logits = bits(&network.forward(&x).unwrap());
        assert_eq!(bits(&back.forward(&x).unwrap()), logits, "{}", entry.name);
        let fresh = build(small(entry.name), BuildOptions { seed: 4, ..BuildOptions::frozen() });
        assert_ne!(bits(&fresh.forward(&x).unwrap()), logits, "{}: the weights do not matter", entry.name);
    }
}

#[test]
fn a_seed_decides_every_value() {
    for name in ["nano-2d", "nano-1d", "nano-1dpp", "nano-replk", "nano-slak", "nano-mbv2", "nano-sw"] {
        let (a, b, c) = (nano(name, &[], 5), nano(name, &[], 5), nano(name, &[], 6));
        assert_eq!(snapshot(a.params()), snapshot(b.params()), "{name}");
        for (path, p) in a.params().iter().filter(|(_, p)| p.kind == Kind::Weight) {
            let own = values(p.var.as_tensor());
            assert_ne!(own, param(&c, path), "{name}: {path} does not depend on the seed");
        }
    }
}

#[test]
fn initial_weights_have_the_named_spread() {
    for (setting, by_fan_in) in [("init=published", false), ("init=fan-in", true)] {
        let network = nano("nano-1d", &[setting], 0);
        for (path, p) in network.params().iter().filter(|(_, p)| p.kind == Kind::Weight) {
            let own = values(p.var.as_tensor());
            let spread = (own.iter().map(|v| v * v).sum::<f64>() / own.len() as f64).sqrt();
            let fan_in = p.var.elem_count() / p.var.dims()[0];
            let named = if by_fan_in && path != "head.weight" { (fan_in as f64).sqrt().recip() } else { 0.02 };
            // Small layers have few values, and a sample's spread scatters.
            let tolerance = 4.0 / (2.0 * own.len() as f64).sqrt();
            assert!((spread / named - 1.0).abs() < tolerance, "{setting}: {path} has {spread}, not {named}");
        }
    }
}

#[test]
fn values_do_not_depend_on_the_rest_of_the_network() {
    let (eight, five) = (nano("nano-2d", &[], 5), nano("nano-2d", &["classes=5", "depths=1,1,3,1"], 5));
    for (path, p) in eight.params().iter().filter(|(path, _)| !path.starts_with("head.")) {
        assert_eq!(values(p.var.as_tensor()), param(&five, path), "{path}");
    }
    assert_eq!(shape(&five, "head.weight"), [5, 128]);
    // Layers of one shape are still different from each other.
    assert_ne!(param(&eight, "stages.2.0.dwconv.weight"), param(&eight, "stages.2.1.dwconv.weight"));
}
