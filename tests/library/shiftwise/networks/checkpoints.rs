//! Checkpoints of every form, and what does not fit.

use super::{config, filled};
use crate::common::{random, spec, text, values};
use candle_core::DType;
use kernelscope::nn::BuildOptions;
use kernelscope::weights::{self, Checkpoint, TensorMap};
use kernelscope::zoo::{Merge, Network};
use serde_json::Value;
use std::collections::BTreeMap;

fn load(tensors: TensorMap, overrides: &[&str]) -> kernelscope::Result<Network> {
    let checkpoint = Checkpoint { tensors, source: "memory.pth".into(), ..Checkpoint::default() };
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
        // One name less is an error that names it; only counters of batch norms may be missing.
        let needed = |name: &&String| name.contains("large_kernel") && !name.ends_with("num_batches_tracked");
        for name in network.params().tensors().keys().filter(needed) {
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
