//! Parameters take values from files and from training.

use super::{build, checkpoint_of, nano, outline, restored, snapshot, spec};
use crate::common::{bits, random, values};
use candle_core::{Device, Tensor};
use kernelscope::Error;
use kernelscope::nn::{BuildOptions, Kind};
use kernelscope::ops::oriented1d::channel_angles;
use kernelscope::weights::{self, TensorMap};
use kernelscope::zoo::Network;
use std::f64::consts::PI;

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
