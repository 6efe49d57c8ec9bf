//! The shifts that a shift-wise network keeps.

use super::{Desk, pruned, random_keep, refused};
use candle_core::{Device, Tensor};
use kernelscope::analysis::report::Direction;
use kernelscope::analysis::sparsity::{kept_shifts, sparsity};
use kernelscope::nn::BuildOptions;
use kernelscope::ops::shiftwise::ShiftWise;
use kernelscope::weights::{self, TensorMap};
use kernelscope::zoo::{ModelSpec, Network};
use kernelscope_lab::plot::{self, ShiftMaps};
use std::collections::BTreeMap;

/// A small shift-wise network of which every path keeps some small kernels, and its weights.
fn pruned_network(density: f32) -> (ModelSpec, TensorMap) {
    let spec = ModelSpec::named("nano-sw").unwrap().with_overrides(&["depths=1", "dims=16"]).unwrap();
    let network = Network::build(spec.clone(), BuildOptions::frozen()).unwrap();
    let prune = |(name, tensor): (String, Tensor)| {
        let shape = tensor.dims().to_vec();
        if !name.contains(".LoRAs.") {
            return (name, tensor);
        }
        let keep = random_keep(&name, shape[0], density);
        let tensor = pruned(&name, &shape, |i| keep[i / shape[3] / shape[2]]);
        (name, tensor)
    };
    (spec, network.params().tensors().into_iter().map(prune).collect())
}

#[test]
fn kept_shifts_are_where_kept_kernels_stand_in_the_large_ones() {
    let (spec, tensors) = pruned_network(0.3);
    let config: &kernelscope::zoo::shiftwise::ShiftWiseConfig = spec.config.downcast_ref().unwrap();
    let report = sparsity("sw", &tensors, None, None).unwrap();
    let shifts = kept_shifts(&report.groups, config).unwrap();
    assert_eq!((report.groups.len(), shifts.len()), (4, 8));
    for (map, pair) in report.groups.iter().zip(shifts.chunks(2)) {
        // With ones for every kept small kernel, a pixel of the large kernels counts those that stand on it.
        let window = config.window(map.stage.unwrap()).unwrap();
        let (n, k) = (window.small(), map.groups);
        let ones = map.kept.iter().flat_map(|&paths| vec![f32::from(u8::from(paths > 0)); n * n]);
        let weight = Tensor::from_iter(ones, &Device::Cpu).unwrap().reshape((map.channels * k, 1, n, n)).unwrap();
        let op = ShiftWise::new(map.channels, window, config.reps).unwrap();
        let [h, v, _] = op.kernels(&weight).unwrap().map(|kernel| crate::common::values(&kernel));
        for (shifts, kernel, direction) in [(&pair[0], h, Direction::Horizontal), (&pair[1], v, Direction::Vertical)] {
            assert_eq!((&shifts.path, shifts.direction, shifts.shuffles), (&map.path, direction, config.reps));
            for (at, &kept) in shifts.kept.iter().enumerate() {
                let (c, place) = (at / k, at % k);
                // The middle pixel of the small kernel at this place.
                let (long, short) = (place * n + n / 2, n / 2);
                let pixel = if direction == Direction::Horizontal { short * k * n + long } else { long * n + short };
                assert_eq!(f64::from(kept), kernel[c * k * n * n + pixel], "{} {direction:?} {c} {place}", map.path);
                assert_eq!(shifts.offsets[place], long as i32 - (window.length() / 2) as i32);
            }
            assert!(shifts.kept.contains(&0) && shifts.kept.contains(&2), "{:?}", shifts.kept);
        }
    }
    let svg = plot::svg(&ShiftMaps { title: "shifts".into(), layers: shifts.clone() }).unwrap();
    assert!(
        svg.contains(">kept by 2 shuffles<") && svg.contains("stages.0.0.large_kernel, along columns: 12 channels")
    );
    refused(plot::svg(&ShiftMaps { title: "none".into(), layers: vec![] }), "ShiftMaps.layers");
    let mut broken = shifts;
    broken[0].kept.pop();
    refused(plot::svg(&ShiftMaps { title: "short".into(), layers: broken }), "KeptShifts.kept");
    // Layers of another network.
    let other: kernelscope::zoo::shiftwise::ShiftWiseConfig =
        ModelSpec::named("sw-v2-t").unwrap().config.downcast_ref().cloned().unwrap();
    let error = kept_shifts(&report.groups, &other).unwrap_err().to_string();
    assert!(error.contains("stages.0.0.large_kernel: got 5 groups in 12 channels, allowed: 17 groups"), "{error}");
}

#[test]
fn the_shifts_of_a_known_network_are_reported() {
    let desk = Desk::new();
    let (spec, tensors) = pruned_network(0.5);
    weights::save(&desk.path("sw.safetensors"), &tensors, &BTreeMap::from([spec.metadata().unwrap()])).unwrap();
    desk.run(&["masks", "--weights", "sw.safetensors", "--output", "out"]);
    for name in ["shifts-stage-0.svg", "shifts-stage-3.png", "groups-stage-0.svg"] {
        assert!(desk.path("out").join(name).exists(), "no {name}");
    }
    let mut reader = csv::Reader::from_path(desk.path("out/sparsity-shifts.csv")).unwrap();
    let rows: Vec<BTreeMap<String, String>> = reader.deserialize().collect::<Result<_, _>>().unwrap();
    // 5, 5, 3 and 3 places, along rows and columns.
    assert_eq!(rows.len(), 2 * (5 + 5 + 3 + 3));
    let column = |name: &str| rows.iter().take(5).map(|row| row[name].clone()).collect::<Vec<_>>();
    assert_eq!(column("offset"), ["-6", "-3", "0", "3", "6"]);
    assert_eq!(column("direction"), ["horizontal"; 5]);
    assert_eq!(column("of"), ["24"; 5], "12 channels, 2 shuffles");
    let config: &kernelscope::zoo::shiftwise::ShiftWiseConfig = spec.config.downcast_ref().unwrap();
    let report = sparsity("sw", &tensors, None, None).unwrap();
    let first = &kept_shifts(&report.groups, config).unwrap()[0];
    let expected: Vec<String> = (0..5)
        .map(|s| first.kept.iter().skip(s).step_by(5).map(|&kept| u64::from(kept)).sum::<u64>().to_string())
        .collect();
    assert_eq!(column("kept"), expected);
}
