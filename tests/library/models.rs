//! Every registered network: training passes, traces, checkpoints, seeds, configuration fields and published counts;
//! and the layers whose behavior differs between training and evaluation.

use crate::common::{bits, max_abs_diff, prints_as, random, values};
use candle_core::{DType, Device, Tensor};
use kernelscope::Error;
use kernelscope::nn::{BatchNorm, BuildOptions, Builder, DropPath, FeatureShape, Kind, Mode, Params, Pass, Trace};
use kernelscope::ops::oriented1d::channel_angles;
use kernelscope::weights::{self, Checkpoint, TensorMap};
use kernelscope::zoo::{Merge, ModelConfig, ModelSpec, Network, registry};
use kernelscope::zoo::{convmixer::ConvMixerConfig, mobilenet_v2::MobileNetV2Config};
use kernelscope_lab::train::AdamW;
use std::collections::{BTreeMap, BTreeSet};
use std::f64::consts::PI;

fn spec(name: &str, overrides: &[&str]) -> ModelSpec {
    ModelSpec::named(name).unwrap().with_overrides(overrides).unwrap()
}

/// The network's structure at a size that trains in a moment, without dropped paths and with layer scales that let
/// gradients through.
fn small(name: &str) -> ModelSpec {
    let spec = ModelSpec::named(name).unwrap();
    let changes: &[&str] = match spec.config.family() {
        "convnext" if name.starts_with("nano") => &["drop_path=0"],
        "convnext" => {
            &["depths=1,1,2,1", "dims=16,24,32,40", "stem_channels=8", "classes=10", "drop_path=0", "layer_scale=0.5"]
        }
        "convmixer" => &["depth=4", "dim=32", "classes=10"],
        "mobilenetv3" => &["classes=10"],
        "replknet" if name.starts_with("nano") => &["drop_path=0"],
        "replknet" => &["depths=1,1,2,1", "dims=16,24,32,40", "classes=10", "drop_path=0"],
        "slak" if name.starts_with("nano") => &["drop_path=0"],
        "slak" => &["depths=1,1,2,1", "dims=16,24,32,40", "classes=10", "drop_path=0", "layer_scale=0.5"],
        "mobilenetv2" if name.starts_with("nano") => &[],
        "mobilenetv2" => &["classes=10", "last=64"],
        "resnet" => &["depths=1,2,1,1", "width=8", "classes=10"],
        "shiftwise" => &["depths=1,1,2,1", "dims=16,24,32,40", "classes=10", "drop_path=0", "layer_scale=0.5"],
        other => panic!("{other}"),
    };
    spec.with_overrides(changes).unwrap()
}

fn build(spec: ModelSpec, options: BuildOptions) -> Network {
    let name = spec.name.clone();
    Network::build(spec, options).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// For counts and shapes only.
fn outline(name: &str, overrides: &[&str]) -> Network {
    build(spec(name, overrides), BuildOptions::shapes_only())
}

fn nano(name: &str, overrides: &[&str], seed: u64) -> Network {
    build(spec(name, overrides), BuildOptions { seed, ..BuildOptions::frozen() })
}

fn param(network: &Network, name: &str) -> Vec<f64> {
    values(network.params().get(name).unwrap_or_else(|| panic!("no parameter {name}")).var.as_tensor())
}

fn shape(network: &Network, name: &str) -> Vec<usize> {
    network.params().get(name).unwrap_or_else(|| panic!("no parameter {name}")).var.dims().to_vec()
}

/// Number of different values, exactly compared.
fn distinct(values: &[f64]) -> usize {
    values.iter().map(|v| v.to_bits()).collect::<BTreeSet<_>>().len()
}

fn snapshot(params: &Params) -> BTreeMap<String, Vec<f64>> {
    params.iter().map(|(name, p)| (name.to_string(), values(p.var.as_tensor()))).collect()
}

fn checkpoint_of(network: &Network) -> Checkpoint {
    Checkpoint {
        tensors: network.params().tensors(),
        metadata: BTreeMap::from([network.spec().metadata().unwrap()]),
        source: "memory.safetensors".into(),
    }
}

fn restored(checkpoint: Checkpoint) -> kernelscope::Result<Network> {
    Network::from_checkpoint::<&str>(None, checkpoint, &[], BuildOptions::frozen())
}

/// Biases directly before a norm.
fn biases_before_norms(network: &Network) -> Vec<&str> {
    let ends = ["dwconv.bias", "dwconv1.bias", "dw1.bias", "dw2.bias", "pw2.bias", "downsample_layers.0.0.bias"];
    network.params().iter().map(|(name, _)| name).filter(|name| ends.iter().any(|end| name.ends_with(end))).collect()
}

#[test]
fn no_bias_stands_before_a_batch_norm() {
    for (stem, in_stem) in [("patch", 1), ("oriented-1d", 1), ("depthwise-1d", 3), ("depthwise-2d", 3)] {
        for (name, blocks) in [("nano-2d", 5), ("nano-1dpp", 5)] {
            let network = |norm: &str| outline(name, &[&format!("stem={stem}"), &format!("norm={norm}")]);
            // A batch norm would take it out again, and its gradient would be rounding errors alone.
            assert_eq!(biases_before_norms(&network("batch")), Vec::<&str>::new(), "{name} {stem}");
            assert_eq!(biases_before_norms(&network("layer")).len(), in_stem + blocks, "{name} {stem}");
        }
    }
}

#[test]
fn every_parameter_learns_and_angles_never_do() {
    let nanos = ["nano-2d", "nano-1d", "nano-1dpp"].map(|name| spec(name, &["norm=layer"]));
    let stems = ["stem=patch", "stem=oriented-1d"].map(|stem| spec("nano-1d", &[stem]));
    for spec in registry().iter().map(|e| small(e.name)).chain(nanos).chain(stems) {
        let network = build(spec.clone(), BuildOptions::default());
        let x = random("images", &[2, 3, 64, 64]);
        let logits = network.forward_t(&x, Mode::Train { seed: 1 }).unwrap();
        let cotangent = random("cotangent", logits.dims());
        let grads = (logits * cotangent).unwrap().sum_all().unwrap().backward().unwrap();
        let mut angles = 0;
        for (name, p) in network.params().iter() {
            let gradient = grads.get(p.var.as_tensor());
            angles += usize::from(p.kind == Kind::Theta);
            let name = format!("{}: {name}", spec.name);
            if !p.kind.trainable() {
                assert!(gradient.is_none(), "{name} is not trained but has a gradient");
                continue;
            }
            let gradient = values(gradient.unwrap_or_else(|| panic!("{name} has no gradient")));
            assert_eq!(gradient.len(), p.var.elem_count(), "{name}");
            assert!(gradient.iter().all(|g| g.is_finite()), "{name} has a gradient that is not finite");
            let largest = gradient.iter().fold(0f64, |max, g| max.max(g.abs()));
            assert!(largest > 0.0, "{name}: no gradient but zeros");
        }
        assert_eq!(angles > 0, spec.name.contains("-1d") || spec.name.contains("pp"), "{}", spec.name);
        let before = snapshot(network.params());
        AdamW::new(network.params(), Default::default()).step(&grads, 0.01, 1.0).unwrap();
        let after = snapshot(network.params());
        for (name, p) in network.params().iter() {
            assert_eq!(before[name] != after[name], p.kind.trainable(), "{}: {name} after a step", spec.name);
        }
    }
}

/// Path prefix of the layers of a stage.
fn stage_prefix(config: &ModelConfig, stage: usize) -> String {
    match config.family() {
        "convnext" | "replknet" | "slak" | "shiftwise" => {
            format!("stages.{stage}.")
        }
        "mobilenetv3" => format!("blocks.{stage}."),
        "mobilenetv2" => {
            let config: &MobileNetV2Config = config.downcast_ref().unwrap();
            format!("features.{}.", config.stage_ends()[stage])
        }
        "resnet" => format!("layer{}.", stage + 1),
        "convmixer" => {
            let config: &ConvMixerConfig = config.downcast_ref().unwrap();
            format!("blocks.{}.", config.depth * (stage + 1) / 4 - 1)
        }
        other => panic!("{other}"),
    }
}

fn check_trace(network: &Network, height: usize, width: usize) -> Trace {
    let name = &network.spec().name;
    let trace = network.trace(height, width).unwrap();
    let x = random("images", &[1, 3, height, width]);
    let (features, logits) = network.forward_pass(&x, &mut Pass::new(Mode::Eval)).unwrap();
    let classes = network.spec().config.classes();
    assert_eq!(logits.dims(), [1, classes], "{name}");
    assert_eq!(trace.shape, FeatureShape { channels: classes, height: 1, width: 1 }, "{name}");
    assert_eq!(trace.layers.last().unwrap().output, trace.shape, "{name}");
    for (stage, map) in features.stages.iter().enumerate() {
        let prefix = stage_prefix(&network.spec().config, stage);
        let layer = trace.layers.iter().rev().find(|l| l.path.starts_with(&prefix));
        let output = layer.unwrap_or_else(|| panic!("{name}: no layer {prefix}* in the trace")).output;
        assert_eq!(map.dims(), [1, output.channels, output.height, output.width], "{name}: stage {stage}");
    }
    trace
}

#[test]
fn traces_predict_the_shapes_of_every_network() {
    for entry in registry() {
        // These of full size differ from the small ones in sizes alone, and would take a minute.
        let network = match entry.config().family() {
            "replknet" | "slak" | "shiftwise" | "resnet" => build(small(entry.name), BuildOptions::shapes_only()),
            _ => outline(entry.name, &[]),
        };
        let stages = match network.spec().config.family() {
            "mobilenetv3" => 6,
            // One per resolution.
            "mobilenetv2" => {
                if entry.name.starts_with("nano") {
                    3
                } else {
                    5
                }
            }
            _ => 4,
        };
        let trace = check_trace(&network, 64, 32);
        assert_eq!(trace.macs(), trace.layers.iter().map(|l| l.macs).sum::<u64>());
        let x = Tensor::zeros((1, 3, 64, 32), DType::F32, &Device::Cpu).unwrap();
        let features = network.forward_features(&x, &mut Pass::new(Mode::Eval)).unwrap();
        assert_eq!(features.stages.len(), stages, "{}", entry.name);
    }
}

#[test]
fn images_below_one_patch_are_refused_by_forward_and_trace() {
    for name in ["nano-2d", "nano-1d", "convmixer-768-32"] {
        let network = outline(name, &[]);
        let side = if name.starts_with("nano") { 16 } else { 6 };
        let error = network.forward(&random("images", &[1, 3, side, side])).unwrap_err().to_string();
        assert!(error.contains("input size"), "{name}: {error}");
        assert!(network.trace(side, side).is_err(), "{name}: the trace accepts {side}x{side}, the network does not");
    }
    let network = outline("nano-2d", &[]);
    for wrong in [&[1, 1, 64, 64][..], &[0, 3, 64, 64], &[3, 64, 64]] {
        let x = Tensor::zeros(wrong, DType::F32, &Device::Cpu).unwrap();
        assert!(network.forward(&x).unwrap_err().to_string().contains("(N, 3, H, W)"), "{wrong:?}");
    }
}

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

#[test]
fn published_counts_are_computed() {
    assert!(prints_as(28.58, 28.6) && prints_as(28.58, 28.5) && prints_as(88.6, 89.0) && !prints_as(28.49, 28.6));
    let mut compared = 0;
    for entry in registry().iter().filter(|e| e.published.remark.is_empty()) {
        let network = outline(entry.name, &[]);
        let params = network.params().count() as f64 / 1e6;
        let gmacs = network.trace(224, 224).unwrap().macs() as f64 / 1e9;
        for (what, computed, published) in
            [("M parameters", params, entry.published.params_m), ("GMACs", gmacs, entry.published.gmacs)]
        {
            let Some(published) = published else { continue };
            assert!(prints_as(computed, published), "{}: {computed} {what}, published {published}", entry.name);
            compared += 1;
        }
    }
    assert!(compared >= 14, "only {compared} published values were compared");
}

#[test]
fn counts_of_the_ablations() {
    let millions = |network: &Network| format!("{:.2}", network.params().count() as f64 / 1e6);
    let large = outline("convnext-t", &["kernel=31", "stem=depthwise-2d", "stem_kernel=31"]);
    assert_eq!(millions(&large), "34.76");
    let falling = outline("convnext-t", &["kernel=31,31,15,7"]);
    let gmacs = falling.trace(224, 224).unwrap().macs() as f64 / 1e9;
    assert_eq!((millions(&falling).as_str(), format!("{gmacs:.2}").as_str()), ("29.99", "5.81"));
    let limited = outline("convnext-t-2dpp", &["kernel2=31,31,27,15"]);
    assert!(prints_as(limited.params().count() as f64 / 1e6, 29.2), "{}", limited.params().count());
    assert!(prints_as(outline("convnext-t-2dpp", &[]).params().count() as f64 / 1e6, 29.4));
}

#[test]
fn directions_and_rotation_decide_the_angles() {
    let theta = |overrides: &[&str], layer: &str| param(&nano("nano-1d", overrides, 0), &format!("{layer}.theta"));
    for (setting, directions) in [("directions=8", 8), ("directions=4", 4), ("directions=channels", 32)] {
        let angles = theta(&[setting], "stages.0.0.dwconv");
        assert_eq!((angles.len(), distinct(&angles)), (32, directions), "{setting}");
        for (c, angle) in angles.iter().enumerate() {
            // Channels take turns in equal blocks: 32 is a multiple of every D here.
            let expected = PI * (c / (32 / directions)) as f64 / directions as f64;
            assert!((angle - expected).abs() < 1e-6, "{setting}: channel {c} at {angle}");
        }
    }
    assert_eq!(theta(&[], "stages.0.0.dwconv"), theta(&["directions=8"], "stages.0.0.dwconv"));
    let (even, odd) = (theta(&[], "stages.2.0.dwconv"), theta(&[], "stages.2.1.dwconv"));
    for (a, b) in even.iter().zip(&odd) {
        assert!((a + 0.5 * PI - b).abs() < 1e-6 || (a - 0.5 * PI - b).abs() < 1e-6, "{a} {b}");
        assert!((0.0..PI).contains(b));
    }
    let flat = ["layerwise_rotation=false"];
    assert_eq!(theta(&flat, "stages.2.1.dwconv"), even);
    assert_eq!(theta(&flat, "stages.2.0.dwconv"), even);
}

#[test]
fn kernels_and_stems_decide_the_shapes() {
    let network = outline("convnext-t-1d", &["kernel=31,31,27,15", "stem_channels=32", "stem_kernel=9"]);
    for (stage, taps) in [31, 31, 27, 15].into_iter().enumerate() {
        let dim = 96 << stage;
        assert_eq!(shape(&network, &format!("stages.{stage}.0.dwconv.weight")), [dim, 1, 1, taps]);
    }
    assert_eq!(shape(&network, "downsample_layers.0.pw1.weight"), [32, 3]);
    assert_eq!(shape(&network, "downsample_layers.0.dw2.weight"), [32, 1, 1, 9]);
    let stem = |stem: &str| outline("convnext-t-1d", &[&format!("stem={stem}")]);
    assert_eq!(shape(&stem("patch"), "downsample_layers.0.0.weight"), [96, 3, 4, 4]);
    assert_eq!(shape(&stem("depthwise-1d"), "downsample_layers.0.dw1.weight"), [64, 1, 1, 31]);
    assert_eq!(shape(&stem("depthwise-2d"), "downsample_layers.0.dw1.weight"), [64, 1, 31, 31]);
    let line = stem("oriented-1d");
    assert_eq!(shape(&line, "downsample_layers.0.0.weight").iter().product::<usize>(), 1440);
    assert_eq!(shape(&line, "downsample_layers.0.0.theta"), [96]);
    for name in ["patch", "depthwise-1d", "depthwise-2d", "oriented-1d"] {
        check_trace(&nano("nano-1d", &[&format!("stem={name}")], 0), 64, 96);
    }
}

#[test]
fn sizes_are_strict_unless_said_otherwise() {
    let error = nano("nano-1d", &[], 0).forward(&random("images", &[1, 3, 65, 97])).unwrap_err().to_string();
    assert!(error.contains("65x97"), "{error}");
    assert!(nano("nano-1d", &[], 0).trace(65, 97).is_err());
    let network = nano("nano-1d", &["arbitrary_size=true"], 0);
    let trace = check_trace(&network, 65, 97);
    let stem = trace.layers.iter().find(|l| l.path == "downsample_layers.0.dw2").unwrap().output;
    assert_eq!((stem.height, stem.width), (17, 25));
    // Where the strict mode accepts a size, both agree.
    let x = random("images", &[1, 3, 64, 96]);
    let strict = nano("nano-1d", &[], 0).forward(&x).unwrap();
    assert_eq!(bits(&network.forward(&x).unwrap()), bits(&strict));
}

fn refused(name: &str, setting: &str) -> String {
    let error = ModelSpec::named(name)
        .unwrap()
        .with_overrides(&[setting])
        .and_then(|spec| Network::build(spec, BuildOptions::shapes_only()))
        .err()
        .unwrap_or_else(|| panic!("{name} accepts {setting}"))
        .to_string();
    assert!(!error.contains('\n'), "{error}");
    error
}

#[test]
fn wrong_settings_are_named() {
    let error = refused("nano-1d", "kernels=7");
    for field in ["\"kernels\"", "variant", "kernel2", "directions", "arbitrary_size", "head_scale"] {
        assert!(error.contains(field), "{error}");
    }
    for (name, settings) in [
        (
            "nano-1d",
            &[
                "kernel=8",
                "kernel=129",
                "kernel=0",
                "kernel=7,7,7",
                "kernel=seven",
                "directions=0",
                "directions=many",
                "depths=0",
                "dims=8,0,8,8",
                "drop_path=1",
                "depths=1001",
                "dims=1000000000000",
                "dims=8,8,8,70000",
                "drop_path=nan",
                "drop_path=-0.1",
                "directions=18446744073709551615",
                "directions=9223372036854775807",
                "directions=70000",
                "kernel=1000000000001",
                "kernel2=129",
                "stem_kernel=9223372036854775807",
                "classes=0",
                "classes=-1",
                "classes=1000001",
                "classes=1000000000000",
                "stem_channels=0",
                "stem_channels=1000000000000",
                "layer_scale=nan",
                "layer_scale=inf",
                "layer_scale=-1",
                "head_scale=nan",
                "head_scale=inf",
                "head_scale=-1",
                "head_scale=1e300",
                "variant=3d",
                "stem=round",
                "arbitrary_size=perhaps",
                "layer_scale=small",
                "norm=group",
                "init=zero",
            ][..],
        ),
        ("nano-2d", &["kernel=65", "kernel=8", "stem_kernel=65", "family=convmixer"]),
        (
            "convmixer-768-32-1d",
            &[
                "dim=0",
                "dim=1000000000000",
                "drop_path=1",
                "depth=0",
                "depth=1000000000000",
                "patch=0",
                "patch=1000000000000",
                "classes=0",
                "classes=1000000000000",
                "directions=70000",
                "kernel=64",
                "kernel=8",
                "kernel=129",
            ],
        ),
        (
            "nano-replk",
            &[
                "kernel=8",
                "kernel=65",
                "kernel=0",
                "kernel=7,7,7",
                "small_kernel=9",
                "small_kernel=4",
                "small_kernel=0",
                "small_kernel=five",
                "dw_ratio=0",
                "dw_ratio=0.01",
                "dw_ratio=-1",
                "dw_ratio=nan",
                "dw_ratio=inf",
                "ffn_ratio=1e9",
                "ffn_ratio=wide",
                "depths=0",
                "depths=1001",
                "dims=0",
                "dims=1000000000000",
                "classes=0",
                "classes=1000001",
                "drop_path=1",
                "drop_path=nan",
                "merged=perhaps",
                "folded=true",
                "stage_norms=true",
                "backbone=2",
            ],
        ),
        (
            "nano-slak",
            &[
                "kernel=8",
                "kernel=65",
                "kernel=7,7,7",
                "small_kernel=9",
                "small_kernel=4",
                "small_kernel=0",
                "small_kernel=none",
                "small_kernel=five",
                "width=0",
                "width=0.01",
                "width=-1",
                "width=nan",
                "width=inf",
                "width=1e9",
                "width=wide",
                "depths=0",
                "depths=1001",
                "dims=0",
                "dims=1000000000000",
                "classes=0",
                "classes=1000001",
                "drop_path=1",
                "drop_path=nan",
                "layer_scale=-1",
                "head_scale=nan",
                "init=zero",
                "head_norm=group",
                "decompose=perhaps",
                "merged=2",
                "merge_form=square",
            ],
        ),
        ("convnext-t-31", &["small_kernel=4", "small_kernel=0", "small_kernel=28"]),
        (
            "nano-mbv2",
            &[
                "kernel=8",
                "kernel=65",
                "kernel=0",
                "kernel=7,7,7,7",
                "small_kernel=9",
                "small_kernel=2",
                "small_kernel=0",
                "small_kernel=five",
                "dilation=0",
                "dilation=65",
                "dilation=18446744073709551615",
                "where=first",
                "shortcut=maybe",
                "rows=[]",
                "rows=[[1,8,1]]",
                "rows=[[1,8,1,3]]",
                "rows=[[0,8,1,1]]",
                "rows=[[1,70000,1,1]]",
                "stem=0",
                "last=1000000000000",
                "dropout=1",
                "dropout=nan",
                "drop_path=1",
                "drop_path=nan",
                "classes=0",
                "merged=perhaps",
                "folded=true",
            ],
        ),
        (
            "resnet-50",
            &[
                "drop_path=1",
                "depths=0",
                "depths=1001",
                "width=0",
                "width=1000000000000",
                "classes=0",
                "classes=1000001",
            ],
        ),
        (
            "nano-sw",
            &[
                "body=v3",
                "kernel=8",
                "kernel=65",
                "kernel=0",
                "small_kernel=9",
                "small_kernel=4",
                "small_kernel=0",
                "width=0",
                "width=0.01",
                "width=nan",
                "width=1e9",
                "ghost_ratio=1",
                "ghost_ratio=0.97",
                "ghost_ratio=-0.1",
                "ghost_ratio=nan",
                "paths=0",
                "paths=65",
                "reps=0",
                "reps=1000000000000",
                "padding=none",
                "merged=perhaps",
                "depths=1001",
                "dims=1000000000000",
                "classes=0",
                "drop_path=1",
                "layer_scale=nan",
                "init=zero",
                "head_norm=group",
            ],
        ),
        (
            "mobilenetv3-small-1d",
            &[
                "kernel=same",
                "drop_path=-0.1",
                "kernel=4",
                "kernel=129",
                "directions=0",
                "directions=70000",
                "classes=0",
                "classes=1000001",
            ],
        ),
    ] {
        for setting in settings {
            let error = refused(name, setting);
            let key = setting.split_once('=').unwrap().0;
            assert!(error.contains(key), "{name} {setting}: {error}");
        }
    }
    assert!(refused("nano-1d", "kernel").contains("key=value"));
    let error = ModelSpec::named("convnext-x").unwrap_err().to_string();
    assert!(error.contains("convnext-x") && registry().iter().all(|e| error.contains(e.name)), "{error}");
}

/// Names of networks, and fields with values that are not the networks' own. Scripts may rely on these.
const FIELDS: [(&str, &[&str]); 10] = [
    (
        "convnext-t-1dpp",
        &[
            "kernel=7",
            "kernel2=31,31,27,15",
            "directions=channels",
            "layerwise_rotation=false",
            "stem_kernel=7",
            "stem_channels=32",
            "arbitrary_size=true",
        ],
    ),
    ("replknet-31b", &["kernel=25,25,25,13", "small_kernel=none"]),
    ("mobilenetv2-k9", &["kernel=3", "small_kernel=3", "shortcut=false", "dilation=4", "where=last"]),
    ("convmixer-768-32-1d", &["kernel=7", "directions=4"]),
    ("mobilenetv3-small-1d", &["kernel=7", "directions=4"]),
    ("slak-t", &["kernel=31", "small_kernel=3", "width=1"]),
    ("sw-v1-t", &["kernel=51", "small_kernel=3", "width=1", "ghost_ratio=0.23", "paths=1", "reps=4", "padding=half"]),
    ("sw-v2-s", &["kernel=51", "small_kernel=5", "width=1.3", "ghost_ratio=0", "paths=1", "reps=1", "padding=half"]),
    ("resnet-101", &[]),
    ("nano-sw", &["kernel=7"]),
];

#[test]
fn fields_that_scripts_rely_on_can_be_set() {
    for (name, fields) in FIELDS {
        let plain = ModelSpec::named(name).unwrap();
        for field in fields.iter().chain(&["classes=7", "drop_path=0.3"]) {
            let changed = spec(name, &[field]);
            assert_ne!(changed, plain, "{name}: {field} changes nothing");
            // One large network after the other would take long, and each is built elsewhere.
            if name.starts_with("nano") || name.starts_with("mobile") {
                build(changed, BuildOptions::shapes_only());
            }
        }
    }
}

#[test]
fn every_family_drops_paths_in_training_alone() {
    let x = random("images", &[4, 3, 64, 64]);
    let names = ["nano-1d", "nano-replk", "nano-slak", "nano-sw", "nano-mbv2", "resnet-50", "convmixer-768-32"];
    for name in names.into_iter().chain(["mobilenetv3-small"]) {
        let logits = |rate: &str, mode| {
            let spec = small(name).with_overrides(&[rate]).unwrap();
            bits(&build(spec, BuildOptions { seed: 2, ..BuildOptions::frozen() }).forward_t(&x, mode).unwrap())
        };
        let train = |seed| Mode::Train { seed };
        assert_ne!(logits("drop_path=0.5", train(1)), logits("drop_path=0.5", train(2)), "{name}");
        assert_eq!(logits("drop_path=0.5", train(1)), logits("drop_path=0.5", train(1)), "{name}");
        assert_ne!(logits("drop_path=0.5", train(1)), logits("drop_path=0", train(1)), "{name}");
        assert_eq!(logits("drop_path=0", train(1)), logits("drop_path=0", train(2)), "{name}");
        assert_eq!(logits("drop_path=0.5", Mode::Eval), logits("drop_path=0", Mode::Eval), "{name}");
    }
}

#[test]
fn every_network_that_can_be_merged_computes_the_same_after_it() {
    let x = random("images", &[2, 3, 64, 64]);
    let mut merged_networks = 0;
    for entry in registry() {
        let spec = small(entry.name);
        if spec.config.for_inference() == spec.config {
            continue;
        }
        let network = build(spec, BuildOptions { seed: 3, ..BuildOptions::default() });
        // Batch statistics other than the initial ones.
        for step in 0..3 {
            network.forward_t(&random(&format!("batch {step}"), &[4, 3, 64, 64]), Mode::Train { seed: step }).unwrap();
        }
        let expected = values(&network.forward(&x).unwrap());
        let largest = expected.iter().fold(0f64, |max, v| max.max(v.abs()));
        assert!(largest > 1e-3, "{}: nothing to compare", entry.name);
        let mut reached = false;
        for how in [Merge::Kernels, Merge::Norms] {
            let Ok(merged) = network.merged(how) else { continue };
            let off = max_abs_diff(&values(&merged.forward(&x).unwrap()), &expected);
            assert!(off < 1e-4 * largest, "{}, {how:?}: off by {off:e} of {largest}", entry.name);
            assert!(merged.params().count() < network.params().count(), "{}, {how:?}", entry.name);
            reached |= merged.spec().config == network.spec().config.for_inference();
            // What was merged can be saved and comes back.
            let back = restored(checkpoint_of(&merged)).unwrap();
            assert_eq!(bits(&back.forward(&x).unwrap()), bits(&merged.forward(&x).unwrap()), "{}", entry.name);
        }
        assert!(reached, "{}: no way to merge leads to its form for inference", entry.name);
        merged_networks += 1;
    }
    // RepLKNets, SLaKs, shift-wise networks and MobileNetV2s.
    assert_eq!(merged_networks, 8 + 5 + 7 + 6);
}

#[test]
fn networks_and_images_too_large_to_count_are_refused() {
    // Every field is allowed here; what they come to together is not.
    let error = refused("convnext-t", "dims=60000");
    for part in ["downsample_layers.1.1.weight", "[60000, 60000, 2, 2]", "1073741824 values"] {
        assert!(error.contains(part), "{error}");
    }
    let network = outline("nano-2d", &[]);
    for (height, width) in [(0, 64), (64, 65_537), (1 << 33, 1 << 33), (usize::MAX, usize::MAX)] {
        let error = network.trace(height, width).unwrap_err().to_string();
        assert!(error.contains(&format!("image size: got {height}x{width}")) && error.contains("65536"), "{error}");
    }
    // At the largest size all counts are as many times those of a small one as there are more pixels.
    for name in ["nano-2d", "nano-1dpp", "mobilenetv3-small"] {
        let macs = |side| {
            let trace = outline(name, &[]).trace(side, side).unwrap();
            trace.layers.iter().filter(|l| l.output.height > 1).map(|l| u128::from(l.macs)).sum::<u128>()
        };
        assert_eq!(macs(65_536), macs(256) << 16, "{name}");
    }
}

/// Mean and biased variance of each channel of (N, C, H, W).
fn moments(x: &[f64], n: usize, channels: usize, plane: usize) -> Vec<(f64, f64)> {
    let of = |c: usize| (0..n).flat_map(move |i| x[(i * channels + c) * plane..][..plane].iter().copied());
    let count = (n * plane) as f64;
    (0..channels)
        .map(|c| {
            let mean = of(c).sum::<f64>() / count;
            (mean, of(c).map(|v| (v - mean).powi(2)).sum::<f64>() / count)
        })
        .collect()
}

#[test]
fn batch_norm_keeps_running_statistics() {
    let (n, channels, plane) = (3, 2, 20);
    let builder = Builder::new(BuildOptions::default());
    let layer = BatchNorm::new(&builder.root().child("bn"), channels).unwrap();
    let params = builder.finish().unwrap();
    let read = |name: &str| values(params.get(&format!("bn.{name}")).unwrap().var.as_tensor());
    params.get("bn.weight").unwrap().var.set(&Tensor::new(&[2f32, -1.0], &Device::Cpu).unwrap()).unwrap();
    params.get("bn.bias").unwrap().var.set(&Tensor::new(&[0.5f32, 3.0], &Device::Cpu).unwrap()).unwrap();
    let normalized = |x: &[f64], stats: &[(f64, f64)]| -> Vec<f64> {
        let (weight, bias) = ([2.0, -1.0], [0.5, 3.0]);
        let channel = |i: usize| i / plane % channels;
        x.iter()
            .enumerate()
            .map(|(i, v)| {
                let (c, (mean, var)) = (channel(i), stats[channel(i)]);
                weight[c] * (v - mean) / (var + 1e-5).sqrt() + bias[c]
            })
            .collect()
    };
    let (mut mean, mut var) = ([0.0; 2], [1.0; 2]);
    for step in 0..3 {
        let x = (random(&format!("batch {step}"), &[n, channels, 4, 5]) * 3.0).unwrap();
        let x = (x + f64::from(step)).unwrap();
        let stats = moments(&values(&x), n, channels, plane);
        let y = layer.forward(&x, Mode::Train { seed: 0 }).unwrap();
        assert!(max_abs_diff(&values(&y), &normalized(&values(&x), &stats)) < 1e-4, "step {step}");
        let count = (n * plane) as f64;
        for c in 0..channels {
            mean[c] = 0.9 * mean[c] + 0.1 * stats[c].0;
            var[c] = 0.9 * var[c] + 0.1 * stats[c].1 * count / (count - 1.0);
        }
        assert!(max_abs_diff(&read("running_mean"), &mean) < 1e-5, "step {step}");
        assert!(max_abs_diff(&read("running_var"), &var) < 1e-5, "step {step}");
        assert_eq!(read("num_batches_tracked"), [f64::from(step) + 1.0]);
    }
    let x = random("evaluation", &[n, channels, 4, 5]);
    let y = layer.forward(&x, Mode::Eval).unwrap();
    let stats = [(mean[0], var[0]), (mean[1], var[1])];
    assert!(max_abs_diff(&values(&y), &normalized(&values(&x), &stats)) < 1e-4);
    assert!(max_abs_diff(&read("running_mean"), &mean) < 1e-5, "evaluation changes nothing");
    let single = random("one", &[1, channels, 1, 1]);
    assert!(layer.forward(&single, Mode::Train { seed: 0 }).is_err(), "one value has no variance");
}

#[test]
fn paths_drop_at_their_rate() {
    let path = DropPath::new("stages.0.1", 0.2).unwrap();
    let factors = path.factors(20_000, Mode::Train { seed: 7 });
    assert!(factors.iter().all(|&f| f == 0.0 || f == 1.0 / 0.8), "{:?}", &factors[..5]);
    let mean = factors.iter().sum::<f64>() / factors.len() as f64;
    assert!((mean - 1.0).abs() < 0.02, "mean factor {mean}");
    assert_eq!(factors, path.factors(20_000, Mode::Train { seed: 7 }));
    assert_ne!(factors, path.factors(20_000, Mode::Train { seed: 8 }), "every step has its own mask");
    let other = DropPath::new("stages.0.2", 0.2).unwrap();
    assert_ne!(factors, other.factors(20_000, Mode::Train { seed: 7 }), "every block has its own mask");
    assert_eq!(path.factors(3, Mode::Eval), [1.0; 3]);
    let rates = DropPath::linear_rates(0.4, 5);
    assert_eq!(rates[0], 0.0);
    assert!(max_abs_diff(&rates, &[0.0, 0.1, 0.2, 0.3, 0.4]) < 1e-12, "{rates:?}");
    assert_eq!(DropPath::new("first", rates[0]).unwrap().factors(100, Mode::Train { seed: 1 }), [1.0; 100]);
    assert!(DropPath::new("x", 1.0).is_err() && DropPath::new("x", -0.1).is_err());
    // In a network: training passes depend on their seed, evaluation and a rate of zero do not.
    let x = random("images", &[4, 3, 32, 32]);
    let logits = |rate: &str, seed| bits(&nano("nano-2d", &[rate], 0).forward_t(&x, Mode::Train { seed }).unwrap());
    assert_ne!(logits("drop_path=0.5", 1), logits("drop_path=0.5", 2));
    assert_eq!(logits("drop_path=0.5", 1), logits("drop_path=0.5", 1));
    assert_eq!(logits("drop_path=0", 1), logits("drop_path=0", 2));
}

#[test]
fn one_error_names_everything_that_does_not_fit() {
    let mut checkpoint = checkpoint_of(&nano("nano-2d", &[], 0));
    checkpoint.tensors.shift_remove("head.bias").unwrap();
    checkpoint.tensors.insert("extra.weight".into(), random("extra", &[2]));
    checkpoint.tensors.insert("stages.3.0.pwconv1.bias".into(), random("short", &[7]));
    let error = restored(checkpoint).err().expect("weights that do not fit");
    let text = error.to_string();
    for part in
        ["memory.safetensors", "1 missing (head.bias)", "1 unexpected (extra.weight)", "stages.3.0.pwconv1.bias", "[7]"]
    {
        assert!(text.contains(part) && !text.contains('\n'), "{text}");
    }
    let Error::Weights(mismatch) = error else { panic!("{text}") };
    assert_eq!(mismatch.wrong_shape[0].expected, [512]);
}

#[test]
fn angles_come_from_the_file() {
    let x = random("images", &[2, 3, 64, 64]);
    let flat = nano("nano-1d", &["layerwise_rotation=false"], 3);
    let turned = nano("nano-1d", &["layerwise_rotation=true"], 3);
    let (layer, channels) = ("stages.2.1.dwconv.theta", 96);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("turned.safetensors");
    let through_file = |tensors: &TensorMap| {
        weights::save(&path, tensors, &checkpoint_of(&flat).metadata).unwrap();
        restored(weights::load(&path).unwrap()).unwrap().forward(&x).unwrap()
    };
    let plain = bits(&flat.forward(&x).unwrap());
    assert_eq!(bits(&through_file(&flat.params().tensors())), plain);
    // The second block of stage 2 turned by 90 degrees is what layerwise rotation builds.
    let angles = channel_angles(channels, 8, 0.5).unwrap();
    for stored_as in [&[channels][..], &[channels, 1]] {
        let mut tensors = flat.params().tensors();
        tensors.insert(layer.into(), Tensor::from_slice(&angles, stored_as, &Device::Cpu).unwrap());
        let logits = bits(&through_file(&tensors));
        assert_ne!(logits, plain, "{stored_as:?}");
        assert_eq!(logits, bits(&turned.forward(&x).unwrap()), "{stored_as:?}");
    }
    // All layers turned: every layer's angles count.
    let mut tensors = flat.params().tensors();
    for (name, p) in flat.params().iter().filter(|(_, p)| p.kind == Kind::Theta) {
        tensors.insert(name.into(), (p.var.as_detached_tensor() + 0.5 * PI).unwrap());
        assert_ne!(bits(&through_file(&tensors)), plain, "{name}");
    }
    tensors.insert(layer.into(), random("angles", &[channels, 2]));
    weights::save(&path, &tensors, &checkpoint_of(&flat).metadata).unwrap();
    assert!(restored(weights::load(&path).unwrap()).err().unwrap().to_string().contains(layer));
}

#[test]
fn shared_parameters_follow_training_and_assign_checks_names() {
    let network = build(spec("nano-2d", &[]), BuildOptions::default());
    let view = build(spec("nano-2d", &[]), BuildOptions::view_of(network.params()));
    let other = nano("nano-2d", &[], 9);
    let x = random("images", &[1, 3, 32, 32]);
    assert_eq!(bits(&view.forward(&x).unwrap()), bits(&network.forward(&x).unwrap()));
    network.params().assign(&other.params().tensors(), "other").unwrap();
    assert_eq!(bits(&view.forward(&x).unwrap()), bits(&other.forward(&x).unwrap()));
    let mut less = other.params().tensors();
    less.shift_remove("head.bias").unwrap();
    assert!(network.params().assign(&less, "less").unwrap_err().to_string().contains("head.bias"));
    let wider = outline("nano-2d", &["classes=9"]);
    let error = Network::build(spec("nano-2d", &[]), BuildOptions::view_of(wider.params())).err().unwrap().to_string();
    assert!(error.contains("shape [9, 128] for head.weight"), "{error}");
}

#[test]
fn values_are_assigned_all_or_not_at_all() {
    let network = nano("nano-1d", &[], 3);
    let params = network.params();
    let before = snapshot(params);
    let other = nano("nano-1d", &[], 9).params().tensors();
    let mut turned_weight = other.clone();
    turned_weight.insert("head.weight".into(), other["head.weight"].t().unwrap().contiguous().unwrap());
    let Error::Weights(mismatch) = params.assign(&turned_weight, "turned").unwrap_err() else { panic!() };
    assert_eq!(
        (&mismatch.wrong_shape[0].expected[..], &mismatch.wrong_shape[0].found[..]),
        (&[8, 128][..], &[128, 8][..])
    );
    // The last layer with angles, so that most weights come before it.
    let theta = "stages.3.0.dwconv.theta";
    for angle in [1.0, f32::NAN] {
        let mut angles = other.clone();
        angles.insert(theta.into(), Tensor::full(angle, other[theta].dims(), &Device::Cpu).unwrap());
        assert!(params.assign(&angles, "angles").unwrap_err().to_string().contains(theta), "{angle}");
        assert!(snapshot(params) == before, "weights were written before the error");
    }
    // Angles as a column, and values that are the network's own.
    let mut column = other.clone();
    column.insert(theta.into(), other[theta].unsqueeze(1).unwrap());
    params.assign(&column, "column").unwrap();
    assert!(snapshot(params) == other.iter().map(|(name, value)| (name.clone(), values(value))).collect());
    params.assign(&params.tensors(), "itself").unwrap();
}
