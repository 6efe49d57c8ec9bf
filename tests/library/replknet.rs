//! RepLKNet: published counts, the forms for inference, checkpoints of every form, and that the small one learns.

use crate::common::{filled, losses_of_training, max_abs_diff, outline, prints_as, random, spec, values};
use candle_core::{DType, Tensor};
use kernelscope::nn::{BuildOptions, Mode, Pass};
use kernelscope::weights::{Checkpoint, TensorMap};
use kernelscope::zoo::{Merge, ModelSpec, Network, entry, registry, replknet};
use std::collections::BTreeMap;

const MERGED: &str = "merged=true";
const FOLDED: [&str; 2] = [MERGED, "folded=true"];

/// A size at which every form runs in a moment.
const SMALL: [&str; 4] = ["depths=1,1,2,1", "dims=16,24,32,40", "classes=10", "drop_path=0.5"];

fn replknets() -> Vec<&'static str> {
    let names: Vec<_> = registry().iter().map(|e| e.name).filter(|name| name.contains("replk")).collect();
    assert_eq!(names.len(), 8, "{names:?}");
    names
}

fn checkpoint(tensors: TensorMap) -> Checkpoint {
    Checkpoint { tensors, source: "memory.pth".into(), ..Checkpoint::default() }
}

fn stages(network: &Network, x: &Tensor) -> Vec<Tensor> {
    network.forward_features(x, &mut Pass::new(Mode::Eval)).unwrap().stages
}

#[test]
fn counts_of_every_replknet_in_every_form() {
    // Parameters in training, merged and folded; millions of multiply-adds at 224 pixels in training and merged.
    for (name, [train, merged, folded], [macs, merged_macs]) in [
        ("replknet-3", [71_906_408, 71_894_376, 71_806_056], [12_939, 12_939]),
        ("replknet-7", [72_712_552, 72_375_656, 72_287_336], [13_141, 13_063]),
        ("replknet-13", [74_156_392, 73_819_496, 73_731_176], [13_514, 13_436]),
        ("replknet-25", [78_709_096, 78_372_200, 78_283_880], [14_887, 14_809]),
        ("replknet-31b", [79_864_168, 79_527_272, 79_438_952], [15_431, 15_354]),
        ("replknet-31l", [172_671_016, 172_165_672, 0], [32_781, 32_664]),
        ("replknet-xl", [335_435_752, 335_399_656, 0], [63_079, 63_079]),
    ] {
        let form = |overrides: &[&str]| {
            let network = outline(name, overrides);
            (network.params().count(), network.trace(224, 224).unwrap().macs())
        };
        let millions = |macs: u64| (macs as f64 / 1e6).round() as u64;
        let (in_training, when_merged, when_folded) = (form(&[]), form(&[MERGED]), form(&FOLDED));
        assert_eq!((in_training.0, when_merged.0), (train, merged), "{name}");
        assert_eq!((millions(in_training.1), millions(when_merged.1)), (macs, merged_macs), "{name}");
        assert!(folded == 0 || when_folded.0 == folded, "{name}: {}", when_folded.0);
        assert_eq!(when_folded.1, when_merged.1, "{name}: norms are free");
        // What was published is about the last form.
        let published = entry(name).unwrap().published;
        let params = when_folded.0 as f64 / 1e6;
        assert!(prints_as(params, published.params_m.unwrap()), "{name}: {params}");
        let gmacs = when_folded.1 as f64 / 1e9;
        assert!(published.gmacs.is_none_or(|p| prints_as(gmacs, p)), "{name}: {gmacs}");
    }
    // At the sizes of the larger networks' trainings.
    for (name, size, train, merged) in [
        ("replknet-31b", 384, 45.347, 45.119),
        ("replknet-31l", 384, 96.332, 95.989),
        ("replknet-xl", 320, 128.730, 128.730),
    ] {
        let gmacs = |overrides: &[&str]| outline(name, overrides).trace(size, size).unwrap().macs() as f64 / 1e9;
        assert!((gmacs(&[]) - train).abs() < 6e-4 && (gmacs(&[MERGED]) - merged).abs() < 6e-4, "{name} at {size}");
    }
}

#[test]
fn merged_replknets_compute_the_same() {
    let x = random("images", &[2, 3, 64, 64]);
    for name in replknets() {
        // In double precision, in which only rounding to 16 digits is left, and in single precision.
        for (dtype, tolerance) in [(DType::F64, 1e-11), (DType::F32, 1e-5)] {
            let network = filled(spec(name, &SMALL), dtype);
            let x = x.to_dtype(dtype).unwrap();
            let expected = values(&network.forward(&x).unwrap());
            let largest = expected.iter().fold(0f64, |max, v| max.max(v.abs()));
            assert!(largest > 0.1, "{name}: nothing to compare");
            for (how, form) in [(Merge::Kernels, &FOLDED[..1]), (Merge::Norms, &FOLDED[..])] {
                let merged = network.merged(how).unwrap();
                let off = max_abs_diff(&values(&merged.forward(&x).unwrap()), &expected);
                assert!(off < tolerance * largest, "{name}, {how:?}, {dtype:?}: off by {off:e} of {largest}");
                let maps = stages(&network, &x);
                for (ours, map) in stages(&merged, &x).iter().zip(&maps) {
                    assert!(max_abs_diff(&values(ours), &values(map)) < 100.0 * tolerance, "{name}, {how:?}");
                }
                assert_eq!(merged.spec(), &spec(name, &[&SMALL[..], form].concat()));
                assert!(merged.params().count() < network.params().count());
                assert_eq!(merged.params().iter().next().unwrap().1.var.dtype(), dtype);
            }
        }
    }
}

#[test]
fn merging_takes_the_statistics_of_evaluation() {
    let network = Network::build(spec("nano-replk", &[]), BuildOptions::default()).unwrap();
    let x = random("images", &[4, 3, 32, 32]);
    let merged = |network: &Network| values(&network.merged(Merge::Kernels).unwrap().forward(&x).unwrap());
    let before = merged(&network);
    network.forward_t(&x, Mode::Train { seed: 0 }).unwrap();
    let (eval, after) = (values(&network.forward(&x).unwrap()), merged(&network));
    assert!(max_abs_diff(&after, &eval) < 1e-5, "off by {:e}", max_abs_diff(&after, &eval));
    assert!(max_abs_diff(&after, &before) > 1e-4, "the batch left no trace in the statistics");
}

#[test]
fn only_what_can_be_merged_is_merged_in_a_replknet() {
    let network = filled(spec("nano-replk", &[]), DType::F32);
    let merged = network.merged(Merge::Kernels).unwrap();
    let folded = network.merged(Merge::Norms).unwrap();
    let fails = |network: &Network, how| network.merged(how).err().unwrap().to_string();
    for form in [&merged, &folded] {
        assert!(fails(form, Merge::Kernels).contains("already merged"));
    }
    assert!(fails(&folded, Merge::Norms).contains("already folded"));
    let other = Network::build(spec("nano-2d", &[]), BuildOptions::shapes_only()).unwrap();
    assert!(fails(&other, Merge::Kernels).contains("RepLKNet"));
    let config: &replknet::RepLkNetConfig = network.spec().config.downcast_ref().unwrap();
    let mut tensors = network.params().tensors();
    assert!(replknet::fold(config, &tensors).unwrap_err().to_string().contains("training form"));
    let name = "stages.2.blocks.2.large_kernel.small_conv.bn.running_var";
    tensors.shift_remove(name).unwrap();
    let error = replknet::merge(config, &tensors).unwrap_err().to_string();
    assert!(error.contains(name) && !error.contains('\n'), "{error}");
}

#[test]
fn checkpoints_of_every_replknet_form_are_recognized() {
    let x = random("images", &[1, 3, 48, 48]);
    for (overrides, how) in [
        (&["kernel=9,11,13,5", "small_kernel=3", "classes=5"][..], None),
        (&["kernel=9,7,7,3", "small_kernel=none", "classes=5"], None),
        (&["kernel=9,7,7,3", "small_kernel=none"], Some(Merge::Kernels)),
        (&["kernel=15,13,11,9"], Some(Merge::Kernels)),
        (&["kernel=5,5,5,5"], Some(Merge::Norms)),
    ] {
        let trained = filled(spec("nano-replk", overrides), DType::F32);
        let network = how.map_or(trained, |how| filled(spec("nano-replk", overrides), DType::F32).merged(how).unwrap());
        let load = |tensors| {
            Network::from_checkpoint::<&str>(Some("nano-replk"), checkpoint(tensors), &[], BuildOptions::frozen())
        };
        let back = load(network.params().tensors()).unwrap_or_else(|e| panic!("{overrides:?}: {e}"));
        let (ours, theirs) = (values(&back.forward(&x).unwrap()), values(&network.forward(&x).unwrap()));
        assert_eq!(ours, theirs, "{overrides:?}");
        let [found, made] =
            [&back, &network].map(|network| network.spec().config.downcast_ref::<replknet::RepLkNetConfig>().unwrap());
        assert_eq!((found.kernel, found.merged, found.folded), (made.kernel, made.merged, made.folded));
        assert!(made.merged || found.small_kernel == made.small_kernel, "{overrides:?}");
        // One name less is an error that names it; only counters of batch norms may be missing.
        let needed = |name: &&String| name.contains("large_kernel") && !name.ends_with("num_batches_tracked");
        for name in network.params().tensors().keys().filter(needed).take(20) {
            let mut less = network.params().tensors();
            less.shift_remove(name).unwrap();
            let error = load(less).err().unwrap_or_else(|| panic!("{overrides:?}: loads without {name}")).to_string();
            assert!(error.contains(name) || error.contains("unexpected"), "{name}: {error}");
        }
    }
}

#[test]
fn a_replknet_loads_into_its_downstream_form() {
    let x = random("images", &[1, 3, 64, 96]);
    let network = filled(spec("replknet-31b", &SMALL), DType::F32);
    let maps = stages(&network, &x);
    // As in a checkpoint for segmentation: a prefix, and a head of another kind.
    let named = |(name, value): (String, Tensor)| (format!("backbone.{name}"), value);
    let mut tensors: TensorMap = network
        .params()
        .tensors()
        .into_iter()
        .filter(|(name, _)| !name.starts_with("head.") && !name.starts_with("norm."))
        .map(named)
        .collect();
    tensors.insert("decode_head.conv_seg.weight".into(), random("seg", &[19, 4, 1, 1]));
    let load = |tensors| {
        let sizes = &SMALL[..2];
        Network::from_checkpoint(Some("replknet-31b"), checkpoint(tensors), sizes, BuildOptions::frozen())
    };
    let backbone = load(tensors.clone()).unwrap();
    assert!(!backbone.spec().config.has_classifier());
    for (ours, map) in stages(&backbone, &x).iter().zip(&maps) {
        assert_eq!(values(ours), values(map));
    }
    let error = backbone.forward(&x).unwrap_err().to_string();
    assert!(error.contains("backbone") && error.contains("classifier"), "{error}");
    let trace = backbone.trace(64, 96).unwrap();
    assert_eq!((trace.shape.channels, trace.shape.height, trace.shape.width), (40, 2, 3));
    let merged = backbone.merged(Merge::Norms).unwrap();
    for (ours, map) in stages(&merged, &x).iter().zip(&maps) {
        assert!(max_abs_diff(&values(ours), &values(map)) < 1e-4);
    }
    // Norms on the maps, as RepLKNet-XL has them: what the next stage gets is not normalized.
    let normed = [&SMALL[..], &["backbone=true", "stage_norms=true"]].concat();
    let normed = filled(spec("replknet-31b", &normed), DType::F32);
    let names: Vec<&str> = normed.params().iter().map(|(name, _)| name).collect();
    let position = |name: &str| names.iter().position(|n| *n == name).unwrap_or_else(|| panic!("no {name}"));
    assert!(position("stages.0.blocks.1.pw2.bn.bias") < position("stages.0.norm.weight"));
    assert!(position("stages.0.norm.num_batches_tracked") < position("stages.1.blocks.0.pw1.conv.weight"));
    for (stage, (ours, map)) in stages(&normed, &x).iter().zip(&maps).enumerate() {
        let read = |leaf: &str| {
            let var = &normed.params().get(&format!("stages.{stage}.norm.{leaf}")).unwrap().var;
            var.as_detached_tensor().reshape((1, (), 1, 1)).unwrap()
        };
        let scale = (read("weight") / (read("running_var") + 1e-5).unwrap().sqrt().unwrap()).unwrap();
        let expected = map.broadcast_sub(&read("running_mean")).unwrap().broadcast_mul(&scale).unwrap();
        let expected = expected.broadcast_add(&read("bias")).unwrap();
        assert!(max_abs_diff(&values(ours), &values(&expected)) < 1e-4, "stage {stage}");
    }
    assert!(load(normed.params().tensors()).is_ok(), "norms on the maps are recognized");
}

#[test]
fn replknets_take_images_of_any_size() {
    let network = filled(spec("nano-replk", &[]), DType::F32);
    for (height, width, last) in [(32, 32, (1, 1)), (33, 65, (2, 3)), (96, 40, (3, 2)), (1, 1, (1, 1))] {
        let x = random("images", &[1, 3, height, width]);
        let maps = stages(&network, &x);
        assert_eq!(maps[3].dims(), [1, 128, last.0, last.1], "{height}x{width}");
        let trace = network.trace(height, width).unwrap();
        for (stage, map) in maps.iter().enumerate() {
            let prefix = format!("stages.{stage}.");
            let output = trace.layers.iter().rfind(|l| l.path.starts_with(&prefix)).unwrap().output;
            assert_eq!(map.dims(), [1, output.channels, output.height, output.width], "{height}x{width}");
        }
    }
}

#[test]
fn a_replknet_configuration_survives_files() {
    for name in replknets() {
        for overrides in [&[][..], &["small_kernel=none"], &["small_kernel=3", MERGED], &["backbone=true"]] {
            let spec = spec(name, overrides);
            let json = serde_json::to_value(&spec).unwrap();
            assert_eq!(json["config"]["family"], "replknet");
            assert_eq!(serde_json::from_value::<ModelSpec>(json).unwrap(), spec);
            assert_eq!(toml::from_str::<ModelSpec>(&toml::to_string(&spec).unwrap()).unwrap(), spec);
        }
    }
    let config: replknet::RepLkNetConfig = spec("replknet-3", &[]).config.downcast_ref().cloned().unwrap();
    assert_eq!(config.small_kernel, None, "5x5 does not fit into 3x3");
}

#[test]
fn paths_of_both_replknet_blocks_drop_at_random() {
    let x = random("images", &[4, 3, 32, 32]);
    let network = |rate: &str| Network::build(spec("nano-replk", &[rate]), BuildOptions::default()).unwrap();
    let mut seen = BTreeMap::new();
    let mut watch = |name: &str, value: &Tensor| {
        seen.insert(name.to_string(), value.clone());
    };
    let dropping = network("drop_path=0.9");
    dropping.forward_pass(&x, &mut Pass::watched(Mode::Train { seed: 3 }, &mut watch)).unwrap();
    // Samples whose path is dropped pass a block unchanged. The first pair drops none, the last nearly all.
    let dropped = |before: &str, after: &str| {
        let same = |i: usize| values(&seen[before].get(i).unwrap()) == values(&seen[after].get(i).unwrap());
        (0..4).filter(|&i| same(i)).count()
    };
    assert_eq!(dropped("stem.3", "stages.0.blocks.0") + dropped("stages.0.blocks.0", "stages.0.blocks.1"), 0);
    let last = [("transitions.2", "stages.3.blocks.0"), ("stages.3.blocks.0", "stages.3.blocks.1")];
    for (before, after) in last {
        assert!(dropped(before, after) > 0, "{after}");
    }
    let logits = |network: &Network, seed| values(&network.forward_t(&x, Mode::Train { seed }).unwrap());
    assert_ne!(logits(&dropping, 1), logits(&dropping, 2));
    let keeping = network("drop_path=0");
    assert_eq!(logits(&keeping, 1), logits(&keeping, 2));
}

#[test]
fn nano_replk_learns() {
    let losses = losses_of_training("nano-replk", 3e-3);
    assert!(losses[0] < 3.5 && losses[19] < 0.3 * losses[0], "{losses:?}");
}
