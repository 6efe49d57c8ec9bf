//! Checkpoints of other code bases: their names, their shapes, and their logits.
//!
//! The golden files list the modules of a file as `NAME SHAPE LEAVES`: the shape of the weight, and the first letters of
//! `weight`, `bias`, `running_mean`, `running_var`, and `num_batches_tracked` (`t`), or `-` for a parameter of this name.

use crate::common::{
    array, fill_kind, fill_signed, golden, integer, integers, max_abs_diff, numbers, outline, text, values,
};
use candle_core::{DType, Device, Tensor};
use kernelscope::nn::BuildOptions;
use kernelscope::weights::{Checkpoint, TensorMap};
use kernelscope::zoo::names::{Ecosystem, Translated, renamed_for};
use kernelscope::zoo::{ModelSpec, Network, Preprocessing, registry};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// Names, shapes and kinds of the tensors of a golden file.
fn tensors_of(golden: &Value) -> Vec<(String, Vec<usize>, &'static str)> {
    let small = golden.get("small_variance").map(text);
    let mut tensors = Vec::new();
    for line in array(&golden["modules"]) {
        let [name, shape, leaves] = text(line).split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let shape: Vec<usize> = shape.split('x').map(|side| side.parse().unwrap()).collect();
        for leaf in leaves.chars() {
            let (leaf, kind) = match leaf {
                'w' => (".weight", if shape.len() > 1 { "weight" } else { "norm_weight" }),
                'b' => (".bias", "bias"),
                'm' => (".running_mean", "running_mean"),
                'v' => (".running_var", "running_var"),
                't' => (".num_batches_tracked", "num_batches_tracked"),
                '-' => ("", "gamma"),
                other => panic!("{line}: {other}"),
            };
            let name = format!("{name}{leaf}");
            let kind = if small == Some(name.as_str()) { "running_var_small" } else { kind };
            let shape = match kind {
                "num_batches_tracked" => vec![],
                "bias" | "running_mean" | "running_var" | "running_var_small" => vec![shape[0]],
                _ => shape.clone(),
            };
            tensors.push((name, shape, kind));
        }
    }
    assert_eq!(tensors.len(), integer(&golden["tensors"]));
    tensors
}

/// The file that a golden file describes, all zero.
pub fn outline_of(file: &str) -> Checkpoint {
    let golden = golden(&format!("names/{file}.json"));
    let zero = |dims: &[usize]| Tensor::zeros(dims, DType::F32, &Device::Cpu).unwrap();
    in_memory(tensors_of(&golden).into_iter().map(|(name, dims, _)| (name, zero(&dims))).collect())
}

pub fn in_memory(tensors: TensorMap) -> Checkpoint {
    Checkpoint { tensors, source: "memory.pth".into(), ..Checkpoint::default() }
}

fn shapes(tensors: &TensorMap) -> BTreeMap<String, Vec<usize>> {
    tensors.iter().map(|(name, tensor)| (name.clone(), tensor.dims().to_vec())).collect()
}

fn recognized(checkpoint: &Checkpoint) -> kernelscope::Result<ModelSpec> {
    ModelSpec::for_checkpoint::<&str>(None, checkpoint, &[])
}

fn refused(checkpoint: &Checkpoint) -> String {
    let error = recognized(checkpoint).expect_err("a network that is not among those here").to_string();
    assert!(!error.contains('\n'), "{error}");
    error
}

/// Files with the names of other code bases, and the networks that they hold.
const FILES: [(&str, &str, Ecosystem); 13] = [
    ("hf_convnext_tiny", "convnext-t", Ecosystem::Transformers),
    ("hf_mobilenet_v2", "mobilenetv2-k3", Ecosystem::Transformers),
    ("hf_resnet50", "resnet-50", Ecosystem::Transformers),
    ("mmpretrain_convnext_tiny", "convnext-t", Ecosystem::Mmpretrain),
    ("mmpretrain_mobilenet_v2", "mobilenetv2-k3", Ecosystem::Mmpretrain),
    ("mmpretrain_mobilenet_v3_small", "mobilenetv3-small", Ecosystem::Mmpretrain),
    ("mmpretrain_replknet_31b", "replknet-31b", Ecosystem::Mmpretrain),
    ("mmpretrain_resnet50", "resnet-50", Ecosystem::Mmpretrain),
    ("mmpretrain_resnet50_caffe", "resnet-50", Ecosystem::Mmpretrain),
    ("timm_convnext_tiny", "convnext-t", Ecosystem::Timm),
    ("timm_mobilenetv2_100", "mobilenetv2-k3", Ecosystem::Timm),
    ("torchvision_convnext_tiny", "convnext-t", Ecosystem::Torchvision),
    ("torchvision_mobilenet_v3_small", "mobilenetv3-small", Ecosystem::Torchvision),
];

#[test]
fn names_of_other_code_bases_become_official_ones_and_back() {
    for (file, model, ecosystem) in FILES {
        let checkpoint = outline_of(file);
        let spec = recognized(&checkpoint).unwrap_or_else(|e| panic!("{file}: {e}"));
        assert_eq!(spec.name, model, "{file}");
        let own = Network::build(spec.clone(), BuildOptions::shapes_only()).unwrap().params().tensors();
        let translated = Translated::new(checkpoint.clone(), None).unwrap();
        assert_eq!(translated.ecosystem(), Some(ecosystem), "{file}");
        let official = &translated.checkpoint().tensors;
        assert_eq!(shapes(official), shapes(&own), "{file}");
        let back = renamed_for(&spec, official, ecosystem).unwrap_or_else(|e| panic!("{file}: {e}"));
        assert_eq!(shapes(&back), shapes(&checkpoint.tensors), "{file}");
        // The same with the name of the network given.
        let named = ModelSpec::for_checkpoint::<&str>(Some(model), &checkpoint, &[]).unwrap();
        assert_eq!(named, spec, "{file}");
    }
}

#[test]
fn official_files_need_no_name() {
    let families = ["convnext", "mobilenetv2", "mobilenetv3", "resnet", "replknet", "convmixer"];
    let mut found = 0;
    for entry in registry().iter().filter(|entry| families.contains(&entry.config().family())) {
        let network = outline(entry.name, &["classes=12"]);
        let checkpoint = in_memory(network.params().tensors());
        if entry.name.starts_with("nano") {
            // Their names are those of other sizes.
            assert!(refused(&checkpoint).contains("does not say which network"), "{}", entry.name);
            continue;
        }
        let spec = recognized(&checkpoint).unwrap_or_else(|e| panic!("{}: {e}", entry.name));
        assert_eq!(&spec, network.spec());
        found += 1;
    }
    assert_eq!(found, 8 + 2 + 2 + 7 + 5 + 3);
}

/// The file that a golden file describes, with the values of the fill.
pub fn filled(golden: &Value) -> Checkpoint {
    let fill = |(name, shape, kind): (String, Vec<usize>, &str)| {
        let values = fill_kind(&name, &shape, kind);
        (name, Tensor::from_vec(values, shape, &Device::Cpu).unwrap())
    };
    in_memory(tensors_of(golden).into_iter().map(fill).collect())
}

/// How far logits are from those of the code base that the names are from.
fn off(golden: &Value, checkpoint: Checkpoint, overrides: &[&str]) -> f64 {
    let network = Network::from_checkpoint(None, checkpoint, overrides, BuildOptions::frozen()).unwrap();
    let shape = integers(&golden["input_shape"]);
    let input = Tensor::from_vec(fill_signed("input", shape.iter().product()), shape, &Device::Cpu).unwrap();
    max_abs_diff(&values(&network.forward(&input).unwrap()), &numbers(&golden["logits"]))
}

#[test]
fn logits_are_those_of_the_code_base() {
    for (file, tolerance) in [
        ("torchvision_convnext_tiny", 2e-5),
        // Its last norm adds another number to the variance, which is far below the tolerance.
        ("hf_convnext_tiny", 2e-5),
        ("timm_mobilenetv2_100", 2e-6),
        ("hf_mobilenet_v2", 2e-6),
        ("torchvision_mobilenet_v3_small", 2e-6),
        ("mmpretrain_mobilenet_v3_small", 2e-6),
    ] {
        let golden = golden(&format!("names/{file}.json"));
        let off = off(&golden, filled(&golden), &[]);
        println!("{file}: logits off by at most {off:.2e}");
        assert!(off < tolerance, "{file}: logits off by {off:e}");
    }
}

#[test]
fn what_names_do_not_show_is_set_or_can_be_set() {
    // The same tensors as a network that they are not of.
    for (file, blind) in [
        ("torchvision_mobilenet_v3_small", &["norm_eps=0.00001"][..]),
        ("hf_mobilenet_v2", &["norm_eps=0.00001"]),
        ("hf_mobilenet_v2", &["padding=half"]),
    ] {
        let golden = golden(&format!("names/{file}.json"));
        let off = off(&golden, filled(&golden), blind);
        assert!(off > 1e-5, "{file}, {blind:?}: logits off by {off:e}");
    }
    // Only the configuration in the file says where the strides are.
    let golden = golden("names/mmpretrain_resnet50_caffe.json");
    let mut checkpoint = filled(&golden);
    let style = "model = dict(backbone=dict(type='ResNet', depth=50, style='caffe'), head=dict(type='LinearClsHead'))";
    checkpoint.metadata.insert("meta.config".into(), style.into());
    let off = off(&golden, checkpoint, &[]);
    println!("mmpretrain_resnet50_caffe: logits off by at most {off:.2e}");
    assert!(off < 2e-5, "logits off by {off:e}");
}

#[test]
fn lookalikes_and_backbones_are_refused_by_name() {
    for (file, parts) in [
        ("timm_convnextv2_tiny", ["ConvNeXt V2", "memory.pth"]),
        ("timm_inception_next_tiny", ["InceptionNeXt", "not among the networks here"]),
        ("timm_resnet50d", ["three convolutions in its stem", "not among the networks here"]),
        ("torchvision_resnext50_32x4d", ["ResNeXt", "not among the networks here"]),
        ("facebook_convnext_tiny_detection", ["ConvNeXt without a classifier", "backbone.head.weight"]),
        ("mmdet_resnet50", ["ResNet without a classifier", "backbone.fc.weight"]),
        ("mmseg_mobilenet_v2", ["MobileNetV2 without a classifier", "head.fc.weight"]),
    ] {
        let error = refused(&outline_of(file));
        assert!(parts.iter().all(|part| error.contains(part)), "{file}: {error}");
    }
    // The name of a network does not change that.
    let resnext = outline_of("torchvision_resnext50_32x4d");
    let error = ModelSpec::for_checkpoint::<&str>(Some("resnet-50"), &resnext, &[]).unwrap_err().to_string();
    assert!(error.contains("ResNeXt"), "{error}");
    // Sizes of a family that are not registered.
    let small = outline("convnext-t", &["depths=3,3,27,3"]);
    let timm = renamed_for(small.spec(), &small.params().tensors(), Ecosystem::Timm).unwrap();
    let error = refused(&in_memory(timm.clone()));
    assert!(error.contains("ConvNeXt-S"), "{error}");
    let other = ModelSpec::for_checkpoint(Some("convnext-t"), &in_memory(timm), &["depths=3,3,27,3"]).unwrap();
    assert_eq!(&other, small.spec());
}

#[test]
fn what_does_not_fit_is_named_as_in_the_file() {
    let mut checkpoint = outline_of("timm_mobilenetv2_100");
    checkpoint.tensors.shift_remove("blocks.2.1.conv_pwl.weight").unwrap();
    let zero = |dims: &[usize]| Tensor::zeros(dims, DType::F32, &Device::Cpu).unwrap();
    checkpoint.tensors.insert("bn2.bias".into(), zero(&[7]));
    checkpoint.tensors.insert("extra.weight".into(), zero(&[2]));
    let error =
        Network::from_checkpoint::<&str>(None, checkpoint, &[], BuildOptions::frozen()).err().unwrap().to_string();
    for part in [
        "1 missing (blocks.2.1.conv_pwl.weight)",
        "1 unexpected (extra.weight)",
        "bn2.bias: expected [1280], found [7]",
    ] {
        assert!(error.contains(part), "no {part} in: {error}");
    }
}

/// What a file in a folder with this configuration becomes.
fn beside(folder: &Path, name: &str, config: &str, file: &Checkpoint) -> Checkpoint {
    let source = folder.join("model.safetensors");
    std::fs::write(&source, b"").unwrap();
    std::fs::write(folder.join(name), config).unwrap();
    let config = (name == "config.json").then(|| config.to_string());
    Checkpoint { source, config, ..file.clone() }
}

#[test]
fn configurations_beside_the_file_are_followed() {
    let folder = tempfile::tempdir().unwrap();
    let small = in_memory(outline("mobilenetv3-small", &[]).params().tensors());
    let with = |config: &str, file: &Checkpoint| recognized(&beside(folder.path(), "config.json", config, file));
    let plain = recognized(&small).unwrap();
    assert_eq!(with(r#"{"architecture": "mobilenetv3_small_100"}"#, &small).unwrap(), plain);
    let tensorflow = plain.clone().with_overrides(&["norm_eps=0.001", "padding=same"]).unwrap();
    assert_eq!(with(r#"{"architecture": "tf_mobilenetv3_small_100"}"#, &small).unwrap(), tensorflow);
    for other in [r#"{"architecture": "resnetaa50"}"#, "{", "[]", r#"{"architecture": 3}"#] {
        assert_eq!(with(other, &small).unwrap(), plain, "{other} is about something else");
    }
    let resnet = in_memory(outline("resnet-50", &[]).params().tensors());
    let error = with(r#"{"architecture": "resnetaa50"}"#, &resnet).unwrap_err().to_string();
    assert!(error.contains("config.json") && error.contains("resnetaa50"), "{error}");
    let bottleneck = r#"{"model_type": "resnet", "downsample_in_bottleneck": true}"#;
    let spec = with(bottleneck, &outline_of("hf_resnet50")).unwrap();
    assert_eq!(spec, recognized(&resnet).unwrap().with_overrides(&["stride_in=1x1"]).unwrap());
    // A setting of the caller is the last word.
    let file = beside(folder.path(), "config.json", bottleneck, &outline_of("hf_resnet50"));
    let spec = ModelSpec::for_checkpoint(None, &file, &["stride_in=3x3"]).unwrap();
    assert_eq!(spec, recognized(&resnet).unwrap());
}

#[test]
fn images_are_prepared_as_is_said_beside_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let said = |name: &str, config: &str, file: &Checkpoint| {
        Preprocessing::of_checkpoint(&beside(folder.path(), name, config, file)).unwrap()
    };
    let resnet = in_memory(outline("resnet-50", &[]).params().tensors());
    let config = r#"{"architecture": "resnet50", "pretrained_cfg": {"input_size": [3, 288, 288], "crop_pct": 1.0,
                     "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}}"#;
    let expected = Preprocessing { size: 288, crop_pct: 1.0, mean: [0.5; 3], std: [0.25; 3] };
    assert_eq!(said("config.json", config, &resnet), Some(expected));
    let google = r#"{"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224},
                     "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}"#;
    let expected = Preprocessing { size: 224, crop_pct: 0.875, mean: [0.5; 3], std: [0.5; 3] };
    assert_eq!(said("preprocessor_config.json", google, &outline_of("hf_mobilenet_v2")), Some(expected));
    assert_eq!(Preprocessing::of_checkpoint(&resnet).unwrap(), None);
}

#[test]
fn code_bases_get_only_networks_that_they_have() {
    for (model, settings, ecosystem, part) in [
        ("convnext-t-1d", &[][..], Ecosystem::Timm, "oriented kernels"),
        ("nano-2d", &[], Ecosystem::Torchvision, "stem of depthwise convolutions"),
        ("convnext-t", &["kernel=9"], Ecosystem::Transformers, "other than 7x7"),
        ("mobilenetv2-k7", &[], Ecosystem::Timm, "plain 3x3"),
        ("mobilenetv2-k3", &[], Ecosystem::Transformers, "norm_eps=0.00001 (its own is 0.001)"),
        ("mobilenetv2-k3", &["norm_eps=0.001"], Ecosystem::Transformers, "padding"),
        ("mobilenetv3-small", &[], Ecosystem::Torchvision, "norm_eps=0.00001 (its own is 0.001)"),
        ("mobilenetv3-small", &["norm_eps=0.001"], Ecosystem::Timm, "norm_eps=0.001"),
        ("mobilenetv3-small", &[], Ecosystem::Transformers, "transformers has ConvNeXt, MobileNetV2, ResNet"),
        ("resnet-50", &["stride_in=1x1"], Ecosystem::Torchvision, "stride_in"),
        ("nano-replk", &[], Ecosystem::Timm, "timm has ConvNeXt"),
        ("nano-slak", &[], Ecosystem::Timm, "timm has ConvNeXt"),
    ] {
        let network = outline(model, settings);
        let error = renamed_for(network.spec(), &network.params().tensors(), ecosystem).unwrap_err().to_string();
        assert!(error.contains(part) && error.contains(model), "{model} {ecosystem}: {error}");
    }
    for model in ["nano-1d", "nano-slak", "resnet-50", "mobilenetv3-small-1d"] {
        let network = outline(model, &[]);
        let tensors = network.params().tensors();
        let official = renamed_for(network.spec(), &tensors, Ecosystem::Official).unwrap();
        assert_eq!(shapes(&official), shapes(&tensors), "{model}");
    }
}
