//! Angles that were stored in half precision: taps are those that the network was trained with.

use super::{checkpoint_of, nano, restored};
use crate::common::{bits, random};
use candle_core::{DType, Tensor};
use kernelscope::nn::{BuildOptions, Kind};
use kernelscope::weights::{self, TensorMap};
use kernelscope::zoo::Network;

const HALVES: [DType; 2] = [DType::F16, DType::BF16];

/// The tensors with some of them converted, by whether they are angles.
fn converted(tensors: &TensorMap, convert: impl Fn(&Tensor, bool) -> Tensor) -> TensorMap {
    tensors.iter().map(|(name, tensor)| (name.clone(), convert(tensor, name.ends_with(".theta")))).collect()
}

fn rounded(tensor: &Tensor, half: DType) -> Tensor {
    tensor.to_dtype(half).unwrap().to_dtype(DType::F32).unwrap()
}

/// Logits and angles of the network that a file of these tensors holds.
fn loaded(original: &Network, tensors: &TensorMap) -> (Vec<u32>, Vec<u32>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("net.safetensors");
    weights::save(&path, tensors, &checkpoint_of(original).metadata).unwrap();
    let network = restored(weights::load(&path).unwrap()).unwrap();
    (bits(&network.forward(&random("images", &[2, 3, 64, 64])).unwrap()), all_angles(&network))
}

fn all_angles(network: &Network) -> Vec<u32> {
    let angles = network.params().iter().filter(|(_, p)| p.kind == Kind::Theta);
    angles.flat_map(|(_, p)| bits(p.var.as_tensor())).collect()
}

#[test]
fn half_precision_leaves_taps_where_they_were() {
    for settings in [&[][..], &["directions=channels"], &["directions=3"]] {
        let network = nano("nano-1d", settings, 3);
        let plain = network.params().tensors();
        let expected = loaded(&network, &plain);
        assert_eq!(expected.1, all_angles(&network));
        for half in HALVES {
            let only_angles = converted(&plain, |t, angle| if angle { t.to_dtype(half).unwrap() } else { t.clone() });
            assert!(loaded(&network, &only_angles) == expected, "{settings:?}: angles in {half:?}");
            let again = converted(&plain, |t, angle| if angle { rounded(t, half) } else { t.clone() });
            assert!(loaded(&network, &again) == expected, "{settings:?}: angles in {half:?} and back");
            // Weights that were rounded stay so.
            let weights = converted(&plain, |t, angle| if angle { t.clone() } else { rounded(t, half) });
            let all = converted(&plain, |t, _| t.to_dtype(half).unwrap());
            let reference = loaded(&network, &weights);
            assert_ne!(reference.0, expected.0);
            assert!(loaded(&network, &all) == reference, "{settings:?}: everything in {half:?}");
        }
        let double = converted(&plain, |t, _| t.to_dtype(DType::F64).unwrap());
        assert!(loaded(&network, &double) == expected, "{settings:?}: double precision");
        let column =
            |t: &Tensor, angle| if angle { t.unsqueeze(1).unwrap().to_dtype(DType::F16).unwrap() } else { t.clone() };
        assert!(loaded(&network, &converted(&plain, column)) == expected, "{settings:?}: columns");
        let mut without = plain.clone();
        without.shift_remove("stages.0.0.dwconv.theta").unwrap();
        let checkpoint = weights::Checkpoint { tensors: without, ..checkpoint_of(&network) };
        assert!(restored(checkpoint).err().unwrap().to_string().contains("1 missing (stages.0.0.dwconv.theta)"));
    }
}

#[test]
fn other_directions_are_found_where_all_layers_have_them() {
    let own = nano("nano-1d", &["directions=channels"], 3);
    let plain = own.params().tensors();
    // A network that is built for 8 directions, as if nobody had said otherwise.
    let built = nano("nano-1d", &[], 3);
    for half in HALVES {
        let all = converted(&plain, |t, angle| if angle { t.to_dtype(half).unwrap() } else { t.clone() });
        assert!(loaded(&built, &all) == loaded(&own, &plain), "{half:?}");
        // One layer is of another number, so that nobody knows.
        let mut mixed = all.clone();
        let (layer, of_twelve) = ("stages.1.0.dwconv.theta", nano("nano-1d", &["directions=12"], 3));
        mixed.insert(layer.into(), rounded(&of_twelve.params().tensors()[layer], half));
        let stored: Vec<u32> = mixed
            .iter()
            .filter(|(name, _)| name.ends_with(".theta"))
            .flat_map(|(_, t)| bits(&t.to_dtype(DType::F32).unwrap()))
            .collect();
        assert!(loaded(&built, &mixed).1 == stored, "{half:?}: they stay");
    }
}

#[test]
fn networks_in_half_precision_have_exact_angles() {
    let network = nano("nano-1d", &[], 3);
    for dtype in [DType::F16, DType::BF16, DType::F64] {
        for weights in [None, Some((network.params().tensors(), "plain".to_string()))] {
            let options = BuildOptions { dtype, weights, ..BuildOptions::frozen() };
            let other = Network::build(network.spec().clone(), options).unwrap();
            assert!(all_angles(&other) == all_angles(&network), "{dtype:?}");
            for (name, tensor) in other.params().tensors() {
                assert_eq!(tensor.dtype(), if name.ends_with(".theta") { DType::F32 } else { dtype }, "{name}");
            }
        }
    }
}

#[test]
fn angles_in_half_precision_can_be_assigned() {
    let network = nano("nano-1d", &[], 3);
    let before = all_angles(&network);
    for half in HALVES {
        let all = converted(&nano("nano-1d", &[], 9).params().tensors(), |t, _| t.to_dtype(half).unwrap());
        network.params().assign(&all, "half").unwrap();
        assert!(all_angles(&network) == before, "{half:?}");
    }
}
