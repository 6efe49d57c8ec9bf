//! Networks after merging.

use super::{build, checkpoint_of, restored, small, spec};
use crate::common::{bits, max_abs_diff, random, values};
use candle_core::{DType, Tensor};
use kernelscope::nn::{BuildOptions, Mode};
use kernelscope::zoo::{Merge, registry};

#[test]
fn norms_and_padding_of_tensorflow_merge_too() {
    let settings = ["norm_eps=0.001", "padding=same", "small_kernel=3", "kernel=7"];
    let spec = spec("nano-mbv2", &settings);
    // Dividing by small deviations, layer after layer, magnifies rounding: in single precision that would be all there is.
    let options = BuildOptions { seed: 3, dtype: DType::F64, ..BuildOptions::frozen() };
    let network = build(spec.clone(), options.clone());
    let tiny = |(name, tensor): (&String, &Tensor)| {
        // Variances at which the number that is added counts.
        let tensor = if name.ends_with("running_var") { (tensor * 0.01).unwrap() } else { tensor.clone() };
        (name.clone(), tensor)
    };
    let tensors = network.params().tensors().iter().map(tiny).collect();
    let options = BuildOptions { weights: Some((tensors, "small variances".into())), ..options };
    let network = build(spec, options);
    for size in [64, 63] {
        let x = random("images", &[2, 3, size, size]).to_dtype(DType::F64).unwrap();
        let expected = values(&network.forward(&x).unwrap());
        let largest = expected.iter().fold(0f64, |max, v| max.max(v.abs()));
        for how in [Merge::Kernels, Merge::Norms] {
            let merged = values(&network.merged(how).unwrap().forward(&x).unwrap());
            let off = max_abs_diff(&merged, &expected);
            assert!(off < 1e-6 * largest, "{size}, {how:?}: off by {off:e} of {largest}");
        }
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
