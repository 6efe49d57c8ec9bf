//! `convert`, and weights with the names of other code bases.

use super::Desk;
use crate::common::values;
use kernelscope::nn::BuildOptions;
use kernelscope::weights;
use kernelscope::zoo::{ModelSpec, Network};
use std::collections::BTreeMap;

#[test]
fn converted_weights_compute_the_same_and_need_no_name() {
    let desk = Desk::new();
    desk.input("batch.safetensors");
    let logits = |network: &[&str]| {
        desk.run(&[&["predict", "--input", "batch.safetensors", "--output", "out.safetensors"], network].concat());
        values(&desk.tensors("out.safetensors")["logits"])
    };
    let random = ["--model", "mobilenetv3-small", "--set", "norm_eps=0.001", "--random", "1"];
    let expected = logits(&random);
    let printed = desk.run(&[&["convert", "--to", "torchvision", "--output", "tv.safetensors"], &random[..]].concat());
    assert!(
        printed.contains("tv.safetensors: mobilenetv3-small, 244 tensors with the names of torchvision"),
        "{printed}"
    );
    assert!(desk.tensors("tv.safetensors").contains_key("features.1.block.1.fc1.weight"));
    assert_eq!(logits(&["--weights", "tv.safetensors"]), expected);
    desk.run(&["convert", "--weights", "tv.safetensors", "--to", "official", "--output", "own.safetensors"]);
    assert!(desk.tensors("own.safetensors").contains_key("blocks.0.0.se.conv_reduce.weight"));
    assert_eq!(logits(&["--weights", "own.safetensors"]), expected);
    desk.run(&["convert", "--weights", "own.safetensors", "--to", "torchvision", "--output", "again.safetensors"]);
    let bytes = |file: &str| std::fs::read(desk.path(file)).unwrap();
    assert!(bytes("again.safetensors") == bytes("tv.safetensors"), "there and back changes nothing");
    let own = ["convert", "--weights", "own.safetensors", "--to"];
    for (more, parts) in [
        (&["timm", "--output", "no.safetensors"][..], &["--to", "timm for mobilenetv3-small", "norm_eps=0.001"][..]),
        (&["transformers", "--output", "no.safetensors"], &["--to", "transformers has ConvNeXt"]),
        (&["official", "--output", "own.safetensors"], &["--output", "a file other than"]),
    ] {
        desk.fails_without_trace(&[&own[..], more].concat(), parts);
    }
    desk.command(&[&own[..], &["keras", "--output", "no.safetensors"]].concat()).assert().failure().code(2);
}

#[test]
fn weights_that_do_not_fit_are_named_as_in_their_file() {
    let desk = Desk::new();
    let spec = ModelSpec::named("mobilenetv2-k3").unwrap().with_overrides(&["classes=5"]).unwrap();
    let network = Network::build(spec, BuildOptions::shapes_only()).unwrap();
    weights::save(&desk.path("own.safetensors"), &network.params().tensors(), &BTreeMap::new()).unwrap();
    desk.run(&["convert", "--weights", "own.safetensors", "--to", "timm", "--output", "timm.safetensors"]);
    let mut tensors = desk.tensors("timm.safetensors");
    tensors.shift_remove("blocks.1.0.conv_pwl.weight").unwrap();
    weights::save(&desk.path("short.safetensors"), &tensors, &BTreeMap::new()).unwrap();
    let convert = ["convert", "--to", "official", "--output", "no.safetensors", "--weights"];
    desk.fails_without_trace(
        &[&convert[..], &["short.safetensors"]].concat(),
        &["short.safetensors", "1 missing (blocks.1.0.conv_pwl.weight)"],
    );
    tensors.insert("conv_stem.zero_point".into(), tensors["bn1.weight"].clone());
    weights::save(&desk.path("odd.safetensors"), &tensors, &BTreeMap::new()).unwrap();
    desk.fails_without_trace(&[&convert[..], &["odd.safetensors"]].concat(), &["odd.safetensors", "quantized"]);
}
