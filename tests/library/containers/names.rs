//! Names of other code bases, in files as trainings and hubs leave them.

use super::torch::{Store, dict, text};
use super::{Shelf, listen, same};
use crate::common::{filled, golden, spec};
use crate::names::{self, in_memory, outline_of};
use candle_core::{DType, Device, Tensor};
use kernelscope::nn::BuildOptions;
use kernelscope::weights::{self, Checkpoint, LoadOptions, TensorMap};
use kernelscope::zoo::names::{Ecosystem, Translated, renamed_for};
use kernelscope::zoo::{ModelSpec, Network, Preprocessing};
use std::path::Path;

/// The network of a checkpoint, and what is said meanwhile.
fn found(name: Option<&str>, checkpoint: Checkpoint, settings: &[&str]) -> (kernelscope::Result<Network>, String) {
    listen(|| Network::from_checkpoint(name, checkpoint, settings, BuildOptions::frozen()))
}

fn read(path: &Path, key: Option<&str>) -> Checkpoint {
    weights::load_with(path, &LoadOptions { key: key.map(str::to_owned) }).unwrap()
}

/// The tensors in a module called `model`, with the weight of a loss beside it.
fn in_lightning(tensors: &TensorMap) -> TensorMap {
    let mut all: TensorMap = tensors.iter().map(|(name, tensor)| (format!("model.{name}"), tensor.clone())).collect();
    all.insert("criterion.weight".to_owned(), Tensor::new(&[1f32], &Device::Cpu).unwrap());
    all
}

#[test]
fn a_network_of_another_code_base_is_found_in_a_training() {
    let settings = ["dims=8,16,32,64", "depths=1,1,2,1", "classes=5"];
    let network = filled(spec("convnext-t", &settings), DType::F32);
    let own = network.params().tensors();
    let timm = renamed_for(network.spec(), &own, Ecosystem::Timm).unwrap();
    let mut all = in_lightning(&timm);
    let shelf = Shelf::new();
    let mut store = Store::default();
    let state = store.state_dict(&all, "");
    let file = dict([("pytorch-lightning_version", text("2.2.0")), ("state_dict", state)]);
    let path = shelf.write("last.ckpt", &store.zip(&file));
    let (loaded, said) = found(Some("convnext-t"), read(&path, None), &settings);
    same(&loaded.unwrap(), &own);
    assert!(said.contains("WARN") && said.contains("criterion.weight"), "{said}");
    assert!(said.contains("INFO") && said.contains("a ConvNeXt with the names of timm"), "{said}");
    assert_eq!(said.lines().count(), 2, "{said}");
    // What a run starts from is found in the same way.
    let fitted = network.spec().weights_in(read(&path, None)).unwrap();
    assert!(fitted.tensors.keys().eq(own.keys()), "{:?}", fitted.tensors.keys());
    assert_eq!(fitted.dtypes.len(), own.len(), "element types follow");
    // What is missing is named as it would be in this file.
    let lost = "model.stages.2.blocks.1.mlp.fc1.bias";
    all.shift_remove(lost).unwrap();
    let path = shelf.save("short.safetensors", &all);
    let (loaded, said) = found(Some("convnext-t"), read(&path, None), &settings);
    let error = loaded.err().unwrap().to_string();
    assert!(error.contains("short.safetensors (model)") && error.contains(&format!("1 missing ({lost})")), "{error}");
    assert_eq!(said, "");
}

#[test]
fn a_certain_refusal_goes_before_names_that_differ() {
    // Without its prefix it is a ResNet-D; with it, every name differs.
    let checkpoint = in_memory(in_lightning(&outline_of("timm_resnet50d").tensors));
    for name in [None, Some("resnet-50")] {
        let (loaded, said) = found(name, checkpoint.clone(), &[]);
        let error = loaded.err().unwrap().to_string();
        assert!(error.contains("memory.pth") && error.contains("three convolutions in its stem"), "{error}");
        assert_eq!(said, "");
    }
}

#[test]
fn a_folder_of_transformers_says_what_names_do_not() {
    let shelf = Shelf::new();
    shelf.save("hub/model.safetensors", &outline_of("hf_mobilenet_v2").tensors);
    let google = br#"{"size": {"shortest_edge": 256}, "crop_size": {"height": 192, "width": 192},
                      "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}"#;
    shelf.write("hub/preprocessor_config.json", google);
    let with = |config: &str| {
        shelf.write("hub/config.json", config.as_bytes());
        read(&shelf.path("hub"), None)
    };
    let checkpoint = with(r#"{"model_type": "mobilenet_v2", "tf_padding": false, "layer_norm_eps": 0.01}"#);
    let expected = Preprocessing { size: 192, crop_pct: 0.75, mean: [0.5; 3], std: [0.5; 3] };
    assert_eq!(Preprocessing::of_checkpoint(&checkpoint).unwrap(), Some(expected));
    let (network, said) = found(None, checkpoint, &[]);
    let other = ["norm_eps=0.01", "padding=half", "classes=1001"];
    assert_eq!(network.unwrap().spec(), &spec("mobilenetv2-k3", &other), "{said}");
    let dilated = with(r#"{"model_type": "mobilenet_v2", "output_stride": 8}"#);
    let error = found(None, dilated, &[]).0.err().unwrap().to_string();
    for part in ["model.safetensors", "config.json", "output_stride is 8"] {
        assert!(error.contains(part), "no {part} in: {error}");
    }
}

#[test]
fn a_checkpoint_of_mmpretrain_says_in_itself_what_names_do_not() {
    let plain = names::filled(&golden("names/mmpretrain_mobilenet_v3_small.json")).tensors;
    let average: TensorMap = plain.iter().map(|(name, tensor)| (name.clone(), (tensor * 0.5).unwrap())).collect();
    // Longer than any text that is looked at elsewhere.
    let comment = "x".repeat(5000);
    let config = format!(
        "# {comment}\nmodel = dict(type='ImageClassifier', backbone=dict(type='MobileNetV3', arch='small', \
         norm_cfg=dict(type='BN', eps=0.002)), head=dict(type='StackedLinearClsHead', num_classes=1000))"
    );
    let mut store = Store::default();
    let file = dict([
        ("meta", dict([("epoch", text("3")), ("cfg", text(&config))])),
        ("ema_state_dict", store.state_dict(&average, "module.")),
        ("state_dict", store.state_dict(&plain, "")),
    ]);
    let shelf = Shelf::new();
    let path = shelf.write("epoch_3.pth", &store.zip(&file));
    let expected = ModelSpec::named("mobilenetv3-small").unwrap().with_overrides(&["norm_eps=0.002"]).unwrap();
    for (key, tensors) in [(None, plain), (Some("ema_state_dict"), average)] {
        let (network, said) = found(None, read(&path, key), &[]);
        let network = network.unwrap();
        assert_eq!(network.spec(), &expected);
        same(&network, &Translated::new(in_memory(tensors), None).unwrap().checkpoint().tensors);
        assert!(!said.contains("WARN") && said.contains("MobileNetV3 with the names of mmpretrain"), "{said}");
        assert_eq!(said.contains("ema_state_dict"), key.is_none(), "{said}");
    }
    // A network that is meant to be another one is not changed, but that is said.
    let meant = ModelSpec::named("mobilenetv3-small").unwrap();
    let (network, said) = listen(|| Network::from_weights(&meant, read(&path, None), BuildOptions::frozen()));
    assert_eq!(network.unwrap().spec(), &meant);
    assert!(said.contains("WARN") && said.contains("norm_eps=0.002, which this one does not have"), "{said}");
}
