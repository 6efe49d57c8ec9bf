//! Parameters, masks and random numbers that follow from names.

use crate::common::{fill_signed, fill_u};
use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor};
use kernelscope::nn::{BuildOptions, Builder, Init, Kind, Params};
use kernelscope_lab::train::sparse::{Masks, SparseConfig, SparseKind};

/// Parameters of these names and shapes, with values that follow from the names.
pub fn params<'a>(list: impl IntoIterator<Item = (&'a str, Vec<usize>, Kind)>) -> Params {
    let builder = Builder::new(BuildOptions::default());
    for (name, shape, kind) in list {
        let values = fill_signed(name, shape.iter().product());
        builder.root().param(name, shape, kind, Init::Values(values)).unwrap();
    }
    builder.finish().unwrap()
}

/// A block of a shift-wise network: two paths of kernels, linear maps, a response norm with 4 axes; and a stem.
pub fn shift_wise() -> Params {
    params([
        ("stem.weight", vec![8, 3, 4, 4], Kind::Weight),
        ("stages.0.0.large_kernel.LoRAs.0.weight", vec![40, 1, 3, 3], Kind::Weight),
        ("stages.0.0.large_kernel.LoRAs.1.weight", vec![40, 1, 3, 3], Kind::Weight),
        ("stages.0.0.pwconv1.1.weight", vec![32, 8], Kind::Weight),
        ("stages.0.0.act.gamma", vec![1, 1, 1, 32], Kind::Gamma),
        ("stages.0.1.large_kernel.LoRAs.0.weight", vec![50, 1, 3, 3], Kind::Weight),
        ("stages.0.1.large_kernel.LoRAs.1.weight", vec![50, 1, 3, 3], Kind::Weight),
        ("stages.0.1.large_kernel.bn.weight", vec![8], Kind::NormWeight),
        ("head.weight", vec![4, 8], Kind::Weight),
    ])
}

pub fn config(kind: SparseKind) -> SparseConfig {
    SparseConfig { kind, ..SparseConfig::default() }
}

/// Random numbers that follow from a number and the layer's name.
pub fn noise(number: usize) -> impl Fn(&str, usize) -> Vec<f32> + Sync {
    move |name, count| fill_u(&format!("{number} {name}"), count)
}

/// Masks of a kind in which every layer keeps about the given share.
pub fn drawn(kind: SparseKind, params: &Params, density: f64) -> Masks {
    let mut masks = Masks::select(&config(kind), params).unwrap();
    masks.draw(&vec![density; masks.units()], &noise(0)).unwrap();
    masks.apply().unwrap();
    masks
}

pub fn keeps(masks: &Masks) -> Vec<Vec<u8>> {
    masks.iter().map(|mask| mask.keep().to_vec()).collect()
}

pub fn names(masks: &Masks) -> Vec<&str> {
    masks.iter().map(|mask| mask.name()).collect()
}

/// Gradients with the given values, as those of `sum(parameter * value)`.
pub fn gradients(params: &Params, of: impl Fn(&str, usize) -> Vec<f32>) -> GradStore {
    let terms = params.trainable().map(|(name, p)| {
        let value = Tensor::from_vec(of(name, p.var.elem_count()), p.var.shape(), &Device::Cpu).unwrap();
        (p.var.as_tensor() * value).unwrap().sum_all().unwrap()
    });
    terms.reduce(|a, b| (a + b).unwrap()).unwrap().backward().unwrap()
}

/// New weights, as an optimizer step would leave them.
pub fn move_weights(params: &Params, of: impl Fn(&str, &[usize]) -> Vec<f32>) {
    for (name, p) in params.trainable() {
        p.var.set(&Tensor::from_vec(of(name, p.var.dims()), p.var.shape(), &Device::Cpu).unwrap()).unwrap();
    }
}
