//! Whole networks with kernels: results and gradients of every kind of network as on the CPU.

use crate::common::{device, fill_kind, on_device, values};
use candle_core::{Device, Tensor};
use kernelscope::Result;
use kernelscope::nn::{BuildOptions, Mode};
use kernelscope::zoo::{ModelSpec, Network};
use std::collections::BTreeMap;

/// Side of the images: the last stages have 2x2 positions. With fewer, batch norms of two images magnify roundings.
const SIDE: usize = 64;

/// Logits and gradients of all parameters and of the images, by name.
fn run(spec: &ModelSpec, device: &Device, mode: Mode) -> Result<BTreeMap<String, Vec<f64>>> {
    let network = Network::build(spec.clone(), BuildOptions { device: device.clone(), ..BuildOptions::default() })?;
    let images = Tensor::from_vec(fill_kind("images", &[2, 3, SIDE, SIDE], "input"), (2, 3, SIDE, SIDE), &Device::Cpu)?;
    let logits = network.forward_t(&images.to_device(device)?, mode)?;
    let cotangent = Tensor::from_vec(fill_kind("cotangent", logits.dims(), "input"), logits.dims(), &Device::Cpu)?;
    let grads = (&logits * cotangent.to_device(device)?)?.sum_all()?.backward()?;
    let mut found = BTreeMap::from([("logits".to_string(), values(&logits))]);
    for (name, param) in network.params().trainable() {
        let gradient = grads.get(param.var.as_tensor()).unwrap_or_else(|| panic!("{name}: no gradient"));
        found.insert(name.to_string(), values(gradient));
    }
    Ok(found)
}

/// Allowed error of gradients, relative to their norm: single precision; and where there are rectifiers, some of which
/// switch between two roundings.
const SMOOTH: f64 = 2e-3;
const RECTIFIED: f64 = 5e-2;

fn compare(name: &str, changes: &[&str], mode: Mode, allowed: f64) -> Result<()> {
    let spec = ModelSpec::named(name)?.with_overrides(changes)?;
    let expected = run(&spec, &Device::Cpu, mode)?;
    let device = device();
    let actual = on_device(&[name.len()], || run(&spec, &device, mode))?;
    assert_eq!(actual.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (key, expected) in &expected {
        let norm = |values: &[f64]| values.iter().map(|v| v * v).sum::<f64>().sqrt();
        let difference: Vec<f64> = actual[key].iter().zip(expected).map(|(a, e)| a - e).collect();
        // Gradients that are zero but for rounding have no scale of their own.
        let allowed = if key == "logits" { 2e-4 } else { allowed } * norm(expected) + 1e-4;
        assert!(norm(&difference) <= allowed, "{name}, {key}: off by {:e} of {:e}", norm(&difference), norm(expected));
    }
    Ok(())
}

const TRAIN: Mode = Mode::Train { seed: 3 };

#[test]
fn oriented_convnext() -> Result<()> {
    compare("nano-1d", &["drop_path=0.1"], TRAIN, SMOOTH)?;
    compare("nano-1dpp", &[], Mode::Eval, SMOOTH)
}

#[test]
fn dense_convnext_with_layer_norms() -> Result<()> {
    let changes = ["depths=1,1,2,1", "dims=16,24,32,40", "stem_channels=8", "classes=10", "layer_scale=0.5"];
    compare("convnext-t", &changes, TRAIN, SMOOTH)
}

#[test]
fn large_kernels_with_parallel_small_ones() -> Result<()> {
    compare("nano-replk", &[], TRAIN, RECTIFIED)?;
    compare("nano-slak", &[], TRAIN, RECTIFIED)
}

#[test]
fn shift_wise_networks() -> Result<()> {
    compare("nano-sw", &[], TRAIN, RECTIFIED)
}

#[test]
fn inverted_residuals_and_resnets() -> Result<()> {
    compare("nano-mbv2", &[], TRAIN, RECTIFIED)?;
    compare("resnet-50", &["depths=1,1,1,1", "width=8", "classes=10"], TRAIN, RECTIFIED)
}
