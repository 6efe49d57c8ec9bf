//! Every registered network: training passes, traces, checkpoints, seeds, configuration fields and published counts;
//! and the layers whose behavior differs between training and evaluation.

mod angles;
mod assigning;
mod counts;
mod layers;
mod merging;
mod settings;
mod sizes;
mod traces;
mod training;
mod values;

use crate::common::{random, values};
use kernelscope::nn::{BuildOptions, FeatureShape, Mode, Params, Pass, Trace};
use kernelscope::weights::Checkpoint;
use kernelscope::zoo::convmixer::ConvMixerConfig;
use kernelscope::zoo::mobilenet_v2::MobileNetV2Config;
use kernelscope::zoo::{ModelConfig, ModelSpec, Network};
use std::collections::{BTreeMap, BTreeSet};

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
        ..Checkpoint::default()
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
