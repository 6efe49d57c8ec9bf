//! Networks against reference values: parameter lists, logits, intermediate points, gradients.
// A test stops at the first surprise; errors are printed so that they can be quoted.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

mod common;

use candle_core::{Device, Tensor};
use common::{fill_kind, fill_signed, golden, integers as shape_of, numbers, values};
use kernelscope::nn::{BuildOptions, Mode, Pass};
use kernelscope::weights::TensorMap;
use kernelscope::zoo::{ModelSpec, Network};
use serde_json::Value;
use std::collections::BTreeMap;

/// The network with every parameter filled by its name; angles keep their constructed values.
fn filled(name: &str, golden: &Value, options: BuildOptions) -> Network {
    let spec = ModelSpec::named(name).unwrap();
    let fresh = Network::build(spec.clone(), BuildOptions::shapes_only()).unwrap();
    let built = Network::build(spec.clone(), BuildOptions::frozen()).unwrap();
    let expected: BTreeMap<String, Vec<usize>> = golden["params"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| (p["name"].as_str().unwrap().to_string(), shape_of(&p["shape"])))
        .collect();
    let ours: BTreeMap<String, Vec<usize>> =
        fresh.params().iter().map(|(n, p)| (n.to_string(), p.var.dims().to_vec())).collect();
    assert_eq!(ours, expected, "names and shapes of {name}");
    assert_eq!(fresh.params().count() as u64, golden["param_count"].as_u64().unwrap());
    let without_theta = golden["param_count_without_theta"].as_u64().unwrap();
    assert_eq!((fresh.params().count() - fresh.params().count_theta()) as u64, without_theta);
    let mut weights = TensorMap::new();
    for param in golden["params"].as_array().unwrap() {
        let (name, kind) = (param["name"].as_str().unwrap(), param["kind"].as_str().unwrap());
        let shape = shape_of(&param["shape"]);
        let tensor = match kind {
            "theta" => built.params().get(name).unwrap().var.as_detached_tensor(),
            _ => Tensor::from_vec(fill_kind(name, &shape, kind), &shape[..], &Device::Cpu).unwrap(),
        };
        weights.insert(name.to_string(), tensor);
    }
    Network::build(spec, BuildOptions { weights: Some((weights, "fill".into())), ..options }).unwrap()
}

fn input(shape: &[usize]) -> Tensor {
    Tensor::from_vec(fill_signed("input", shape.iter().product()), shape, &Device::Cpu).unwrap()
}

fn check_forward(name: &str, golden: &Value, tolerance: f64) {
    let network = filled(name, golden, BuildOptions::frozen());
    let mut worst_logit = 0f64;
    let mut worst_point = 0f64;
    for run in golden["runs"].as_array().unwrap() {
        let x = input(&shape_of(&run["input_shape"]));
        let points: BTreeMap<String, &Value> =
            run["points"].as_array().unwrap().iter().map(|p| (p["name"].as_str().unwrap().to_string(), p)).collect();
        let mut seen = Vec::new();
        let mut watch = |name: &str, value: &Tensor| {
            let Some(point) = points.get(name) else { return };
            assert_eq!(value.dims(), shape_of(&point["shape"]), "shape of {name}");
            let values = values(value);
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let std = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt();
            let mut off =
                (mean - point["mean"].as_f64().unwrap()).abs().max((std - point["std"].as_f64().unwrap()).abs());
            for (ours, reference) in values.iter().zip(numbers(&point["first8"])) {
                off = off.max((ours - reference).abs());
            }
            assert!(off < 5e-5, "{name}: off by {off:e}");
            worst_point = worst_point.max(off);
            seen.push(name.to_string());
        };
        let (_, logits) = network.forward_pass(&x, &mut Pass::watched(Mode::Eval, &mut watch)).unwrap();
        assert_eq!(seen.len(), points.len(), "points reported: {seen:?}");
        let logits = values(&logits);
        let reference = numbers(&run["logits"]);
        assert_eq!(logits.len(), reference.len());
        for (ours, reference) in logits.iter().zip(reference) {
            worst_logit = worst_logit.max((ours - reference).abs());
        }
    }
    println!("{name}: logits off by at most {worst_logit:.2e}, points by {worst_point:.2e}");
    assert!(worst_logit < tolerance, "{name}: logits off by {worst_logit:e}");
    let macs = network.trace(224, 224).unwrap().macs();
    assert_eq!(macs, golden["macs_at_224"]["total"].as_u64().unwrap(), "multiply-adds of {name}");
}

/// Gradients of `sum(logits * cotangent)` on the first run's input.
fn check_gradients(name: &str, golden: &Value) {
    let network = filled(name, golden, BuildOptions::default());
    let run = &golden["runs"][0];
    let x = candle_core::Var::from_tensor(&input(&shape_of(&run["input_shape"]))).unwrap();
    let shape = shape_of(&run["logits_shape"]);
    let cotangent = fill_signed("cotangent", shape.iter().product());
    let cotangent = Tensor::from_vec(cotangent, &shape[..], &Device::Cpu).unwrap();
    let loss = (network.forward(x.as_tensor()).unwrap() * cotangent).unwrap().sum_all().unwrap();
    let grads = loss.backward().unwrap();
    let mut worst = 0f64;
    let mut check = |name: &str, gradient: &Tensor, reference: &Value, first: &str| {
        let values = values(gradient);
        let norm = values.iter().map(|v| v * v).sum::<f64>().sqrt();
        let expected = reference["l2"].as_f64().unwrap();
        let mut off = (norm - expected).abs() / expected;
        for (ours, reference) in values.iter().zip(numbers(&reference[first])) {
            off = off.max((ours - reference).abs() / expected);
        }
        // The sum cancels; it is compared on the scale of sqrt(count) * norm, its largest possible value.
        let scale = expected * (values.len() as f64).sqrt();
        off = off.max((values.iter().sum::<f64>() - reference["sum"].as_f64().unwrap()).abs() / scale);
        assert!(off < 2e-5, "gradient of {name}: off by {off:e} of its norm {expected}");
        worst = worst.max(off);
    };
    check("input", grads.get(x.as_tensor()).unwrap(), &golden["grads"]["input"], "first8");
    let references = golden["grads"]["params"].as_array().unwrap();
    assert_eq!(references.len(), network.params().trainable().count());
    for reference in references {
        let name = reference["name"].as_str().unwrap();
        let var = &network.params().get(name).unwrap().var;
        check(name, grads.get(var.as_tensor()).expect(name), reference, "first4");
    }
    println!("{name}: gradients off by at most {worst:.2e} of their norm");
}

macro_rules! convnext {
    ($test:ident, $file:literal, $model:literal) => {
        #[test]
        fn $test() {
            let golden = golden(concat!("oriented/", $file, ".json"));
            check_forward($model, &golden, 2e-5);
            check_gradients($model, &golden);
        }
    };
}

convnext!(convnext_t, "convnext_t", "convnext-t");
convnext!(convnext_t_1d, "convnext_t_1d", "convnext-t-1d");
convnext!(convnext_t_1dpp, "convnext_t_1dpp", "convnext-t-1dpp");
convnext!(convnext_t_2dpp, "convnext_t_2dpp", "convnext-t-2dpp");

#[test]
fn convmixer_768_32() {
    check_forward("convmixer-768-32", &golden("oriented/convmixer_768_32.json"), 2e-6);
}

#[test]
fn mobilenetv3_small() {
    check_forward("mobilenetv3-small", &golden("oriented/mobilenetv3_small_100.json"), 2e-6);
}
