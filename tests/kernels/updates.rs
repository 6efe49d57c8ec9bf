//! Steps of the optimizer, averaged weights and masks with kernels: bit by bit what the CPU computes.

use crate::common::{device, fill_signed, on_device, spec};
use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor};
use kernelscope::Result;
use kernelscope::nn::{BuildOptions, Params};
use kernelscope::weights::TensorMap;
use kernelscope::zoo::Network;
use kernelscope_lab::train::sparse::{Masks, SparseConfig, SparseKind};
use kernelscope_lab::train::{AdamW, AdamWConfig, Ema};
use std::collections::BTreeMap;

/// Gradients that are the same values on every device.
fn gradients(params: &Params, step: usize) -> Result<GradStore> {
    let mut sum: Option<Tensor> = None;
    for (name, param) in params.trainable() {
        let shape = param.var.dims();
        let values = fill_signed(&format!("{step} {name}"), param.var.elem_count());
        let cotangent = Tensor::from_vec(values, shape, &Device::Cpu)?.to_device(param.var.device())?;
        let product = (param.var.as_tensor() * cotangent)?.sum_all()?;
        sum = Some(match sum {
            Some(sum) => (sum + product)?,
            None => product,
        });
    }
    Ok(sum.expect("a parameter").backward()?)
}

/// Everything that three steps leave behind.
struct Outcome {
    tensors: BTreeMap<String, Vec<u32>>,
    norms: Vec<f64>,
}

fn bits(tensors: &TensorMap, what: &str) -> BTreeMap<String, Vec<u32>> {
    let of = |tensor: &Tensor| -> Vec<u32> {
        tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
    };
    let floats = tensors.iter().filter(|(_, tensor)| tensor.dtype() == candle_core::DType::F32);
    floats.map(|(name, tensor)| (format!("{what} {name}"), of(tensor))).collect()
}

/// Trains `name` for three steps with the masks of a kind; the third one from restored moments.
fn train(name: &str, kind: Option<SparseKind>, device: &Device) -> Result<Outcome> {
    let options = BuildOptions { device: device.clone(), ..BuildOptions::default() };
    let network = Network::build(spec(name, &[]), options)?;
    let params = network.params();
    let mut masks = None;
    if let Some(kind) = kind {
        let mut drawn = Masks::select(&SparseConfig { kind, ..SparseConfig::default() }, params)?;
        let random = |name: &str, count| fill_signed(name, count).into_iter().map(|v| 0.5 * v + 0.5).collect();
        drawn.draw(&vec![0.4; drawn.units()], &random)?;
        drawn.apply()?;
        masks = Some(drawn);
    }
    let mut optimizer = AdamW::new(params, AdamWConfig::default());
    let mut ema = Ema::new(params, 0.9)?;
    let mut norms = Vec::new();
    for step in 0..3 {
        let grads = gradients(params, step)?;
        norms.push(optimizer.gradient_norm(&grads)?);
        if step == 2 {
            let (state, steps) = optimizer.state()?;
            optimizer = AdamW::new(params, AdamWConfig::default());
            optimizer.restore(&state, steps)?;
        }
        optimizer.step(&grads, 1e-2 / (1.0 + step as f64), 0.75)?;
        match &mut masks {
            Some(masks) => {
                masks.apply()?;
                ema.update_masked(params, masks)?;
                if step == 0 {
                    // Others are kept from now on: copies of the first masks are of no use.
                    let random =
                        |name: &str, count| fill_signed(name, count).into_iter().rev().map(|v| 0.5 * v + 0.5).collect();
                    masks.draw(&vec![0.5; masks.units()], &random)?;
                    masks.apply()?;
                    optimizer.reset_pruned(masks)?;
                }
            }
            None => ema.update(params)?,
        }
    }
    let mut tensors = bits(&params.tensors(), "weight");
    tensors.extend(bits(&optimizer.state()?.0, "moment"));
    tensors.extend(bits(ema.tensors(), "average"));
    Ok(Outcome { tensors, norms })
}

fn compare(name: &str, kind: Option<SparseKind>) -> Result<()> {
    let expected = train(name, kind, &Device::Cpu)?;
    let device = device();
    let actual = on_device(&[name.len()], || train(name, kind, &device))?;
    assert_eq!(actual.tensors.keys().collect::<Vec<_>>(), expected.tensors.keys().collect::<Vec<_>>());
    for (key, expected) in &expected.tensors {
        let other = actual.tensors[key].iter().zip(expected).filter(|(a, e)| a != e).count();
        assert_eq!(other, 0, "{name}, {key}: so many of {} values have other bits", expected.len());
    }
    // Squares are added up in single precision within a chunk, in double precision on the CPU.
    for (actual, expected) in actual.norms.iter().zip(&expected.norms) {
        assert!((actual - expected).abs() < 2e-7 * expected, "{actual} {expected}");
    }
    Ok(())
}

#[test]
fn dense_training_has_the_same_bits() -> Result<()> {
    compare("nano-1d", None)
}

#[test]
fn fine_masks_have_the_same_bits() -> Result<()> {
    compare("nano-slak", Some(SparseKind::Fine))
}

#[test]
fn masks_of_small_kernels_have_the_same_bits() -> Result<()> {
    compare("nano-sw", Some(SparseKind::RepCoarse))
}

#[test]
fn gradients_of_another_shape_are_refused() {
    let one = Network::build(spec("nano-1d", &[]), BuildOptions::default()).unwrap();
    let other = Network::build(spec("nano-1d", &[]), BuildOptions::default()).unwrap();
    let grads = gradients(other.params(), 0).unwrap();
    let step = || AdamW::new(one.params(), AdamWConfig::default()).step(&grads, 1e-3, 1.0);
    let message = on_device(&[1], step).unwrap_err().to_string();
    assert!(message.contains("gradients") && message.contains("none for"), "{message}");
}
