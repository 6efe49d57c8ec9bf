//! What is pruned: by zeros and by masks, weights and groups, sums of parallel kernels.

use super::{Shiftwise, bits, layer, masks, pruned, random_keep, tensor};
use candle_core::{DType, Device, Tensor};
use kernelscope::Error;
use kernelscope::analysis::cost::costs;
use kernelscope::analysis::report::Granularity;
use kernelscope::analysis::sparsity::{check_masks, sparsity, stage_of};
use kernelscope::nn::BuildOptions;
use kernelscope::weights::TensorMap;
use kernelscope::zoo::{ModelSpec, Network, registry};
use std::collections::BTreeMap;

#[test]
fn groups_of_shift_wise_layers_are_counted_per_channel_and_over_the_paths() {
    let layers = [
        Shiftwise::new("stages.0.0.large_kernel", (24, 11, 5), &[0.7, 0.6]),
        Shiftwise::new("stages.0.1.large_kernel", (24, 11, 5), &[0.5, 0.5]),
        Shiftwise::new("stages.3.0.large_kernel", (40, 3, 5), &[0.3, 0.4, 0.2]),
    ];
    let mut tensors = TensorMap::new();
    layers.iter().for_each(|layer| layer.insert_into(&mut tensors));
    tensors.insert("head.weight".into(), pruned("head.weight", &[10, 40], |_| true));
    let report = sparsity("sw", &tensors, None, None).unwrap();
    let mut histograms = BTreeMap::new();
    for sw in &layers {
        let kept = |c: usize, j: usize| sw.paths.iter().filter(|p| p[c * sw.groups + j]).count();
        let mut union = 0;
        for c in 0..sw.channels {
            let groups = (0..sw.groups).filter(|&j| kept(c, j) > 0).count();
            union += groups;
            let stage = stage_of(sw.path).unwrap();
            histograms.entry(stage).or_insert_with(|| vec![0; sw.groups + 1])[groups] += 1;
        }
        let units = sw.channels * sw.groups;
        let merged = report.merged.iter().find(|m| m.path == sw.path).unwrap();
        assert_eq!((merged.kept, merged.units, merged.paths.len()), (union, units, sw.paths.len()), "{}", sw.path);
        assert_eq!(merged.density, union as f64 / units as f64);
        for (i, path) in sw.paths.iter().enumerate() {
            let found = layer(&report, &format!("{}.LoRAs.{i}.weight", sw.path));
            let groups = path.iter().filter(|keep| **keep).count();
            assert_eq!((found.granularity, found.units, found.kept), (Granularity::Groups, units, groups));
            let taps = sw.side * sw.side;
            assert_eq!((found.weights, found.kept_weights), (units * taps, groups * taps));
            assert!(found.density < merged.density, "{}: a sum keeps more than a path", found.name);
        }
        let map = report.groups.iter().find(|m| m.path == sw.path).unwrap();
        assert_eq!((map.channels, map.groups, map.paths), (sw.channels, sw.groups, sw.paths.len()));
        for (i, &count) in map.kept.iter().enumerate() {
            assert_eq!(usize::from(count), kept(i / sw.groups, i % sw.groups), "{} at {i}", sw.path);
        }
    }
    let found: BTreeMap<usize, Vec<u64>> =
        report.histograms.iter().map(|h| (h.stage.unwrap(), h.channels.clone())).collect();
    assert_eq!(found, histograms);
    assert_eq!((report.histograms[0].layers, report.histograms[1].layers), (2, 1));
    let names: Vec<&str> = report.totals.iter().map(|t| t.name.as_str()).collect();
    assert_eq!(names, ["stage 0", "stage 3", "outside the stages", "network"]);
    let (head, all) = (&report.totals[2], &report.totals[3]);
    assert_eq!((head.weights, head.kept_weights, head.parameters), (400, 400, 400));
    let gone: usize = report.layers.iter().map(|l| l.weights - l.kept_weights).sum();
    // Three norms' weights in each of three layers count as parameters, their statistics do not.
    let parameters = report.layers.iter().map(|l| l.weights).sum::<usize>() + 3 * (24 + 24 + 40);
    assert_eq!(all.parameters, parameters as u64);
    assert_eq!(all.effective_parameters, (parameters - gone) as u64);
    let sum =
        |f: fn(&kernelscope::analysis::report::SparsityTotal) -> u64| report.totals[..3].iter().map(f).sum::<u64>();
    assert_eq!((sum(|t| t.parameters), sum(|t| t.kept_weights)), (all.parameters, all.kept_weights));
}

#[test]
fn merged_shift_wise_layers_are_counted_in_groups_too() {
    let sw = Shiftwise::new("stages.1.0.large_kernel", (12, 4, 3), &[0.5]);
    let mut tensors = TensorMap::new();
    sw.insert_into(&mut tensors);
    let weight = tensors.shift_remove("stages.1.0.large_kernel.LoRAs.0.weight").unwrap();
    tensors.insert("stages.1.0.large_kernel.LoRA.weight".into(), weight);
    let report = sparsity("merged", &tensors, None, None).unwrap();
    assert_eq!((report.layers[0].granularity, report.layers[0].units), (Granularity::Groups, 48));
    assert_eq!(report.histograms[0].channels.iter().sum::<u64>(), 12);
    // Without the norms nothing tells how many groups belong to a channel.
    tensors.retain(|name, _| !name.contains("bn_"));
    let report = sparsity("merged", &tensors, None, None).unwrap();
    assert_eq!((report.layers[0].kept, report.histograms.len(), report.groups.len()), (report.merged[0].kept, 0, 0));
}

#[test]
fn sums_of_rectangles_have_a_tap_wherever_one_of_them_has() {
    let (channels, long, short) = (6, 13, 5);
    let path = "stages.2.0.large_kernel";
    let shapes = [
        ("LoRA1", [channels, 1, long, short]),
        ("LoRA2", [channels, 1, short, long]),
        ("small_conv", [channels, 1, short, short]),
    ];
    let mut tensors = TensorMap::new();
    let mut union = vec![false; channels * long * long];
    let mut covered = vec![false; long * long];
    for (branch, shape) in shapes {
        let name = format!("{path}.{branch}.conv.weight");
        let keep = random_keep(&name, shape.iter().product(), 0.4);
        for (i, &keep) in keep.iter().enumerate() {
            let (c, row, col) = (i / (shape[2] * shape[3]), i / shape[3] % shape[2], i % shape[3]);
            let (row, col) = (row + (long - shape[2]) / 2, col + (long - shape[3]) / 2);
            covered[row * long + col] = true;
            union[(c * long + row) * long + col] |= keep;
        }
        tensors.insert(name.clone(), pruned(&name, &shape, |i| keep[i]));
    }
    let report = sparsity("slak", &tensors, None, None).unwrap();
    let merged = &report.merged[0];
    let pixels = covered.iter().filter(|c| **c).count();
    assert_eq!(pixels, 2 * long * short - short * short, "a cross");
    assert_eq!((merged.path.as_str(), merged.units, merged.paths.len()), (path, channels * pixels, 3));
    assert_eq!(merged.kept, union.iter().filter(|u| **u).count());
    let map = &report.taps[0];
    assert_eq!((map.height, map.width), (long, long));
    for (pixel, share) in map.share.iter().enumerate() {
        let kept = (0..channels).filter(|c| union[c * long * long + pixel]).count();
        let expected = covered[pixel].then(|| (kept as f64 / channels as f64) as f32);
        assert_eq!(*share, expected, "pixel {pixel}");
    }
    assert!(report.layers.iter().all(|l| l.granularity == Granularity::Entries && (l.density - 0.4).abs() < 0.15));
    tensors.insert(format!("{path}.small_conv.conv.weight"), pruned("x", &[channels + 1, 1, 5, 5], |_| true));
    let error = sparsity("slak", &tensors, None, None).unwrap_err().to_string();
    assert!(error.contains("small_conv") && error.contains("[7, 1, 5, 5]"), "{error}");
}

#[test]
fn masks_decide_and_not_the_zeros() {
    let name = "stages.0.0.large_kernel.LoRAs.0.weight";
    // Groups 0 and 1 have weights, 2 was just grown, 3 is pruned.
    let weight = pruned(name, &[4, 1, 3, 3], |i| i < 18);
    let linear = pruned("head.weight", &[2, 3], |i| i != 4);
    let tensors = TensorMap::from_iter([(name.to_string(), weight), ("head.weight".to_string(), linear)]);
    let by_zeros = sparsity("n", &tensors, None, None).unwrap();
    assert_eq!((by_zeros.layers[0].kept, by_zeros.layers[0].masked), (2, false));
    let coarse = masks(&[(name, bits(&[true, true, true, false], &[4, 1, 1, 1]))]);
    let fine: Vec<bool> = (0..36).map(|i| i < 27).collect();
    for given in [coarse, masks(&[(name, bits(&fine, &[4, 1, 3, 3]))])] {
        check_masks(&given, &tensors).unwrap();
        let report = sparsity("n", &tensors, Some(&given.tensors), None).unwrap();
        let found = &report.layers[0];
        assert_eq!((found.kept, found.kept_weights, found.masked, found.outside), (3, 27, true, 0));
        assert_eq!(
            (report.layers[1].kept, report.layers[1].masked),
            (5, false),
            "a layer without a mask has its zeros"
        );
        assert_eq!(report.merged[0].kept, 3);
    }
    let wrong = masks(&[(name, bits(&[true, false, true, false], &[4, 1, 1, 1]))]);
    assert_eq!(sparsity("n", &tensors, Some(&wrong.tensors), None).unwrap().layers[0].outside, 9);
    for (mask, parts) in [
        (masks(&[("other.weight", bits(&[true], &[1]))]), &["other.weight", "no convolution"][..]),
        (masks(&[(name, bits(&[true; 3], &[3, 1, 1, 1]))]), &[name, "[3, 1, 1, 1]", "[4, 1, 3, 3]"]),
        (masks(&[(name, bits(&[true; 36], &[36]))]), &[name, "[36]"]),
        (masks(&[(name, tensor(vec![1.0; 4], &[4, 1, 1, 1]))]), &[name, "F32", "U8"]),
        (
            masks(&[(name, Tensor::new(&[1u8, 2, 0, 1], &Device::Cpu).unwrap().reshape((4, 1, 1, 1)).unwrap())]),
            &[name, "2"],
        ),
        (masks(&[]), &["no mask"]),
    ] {
        let error = check_masks(&mask, &tensors).unwrap_err().to_string();
        assert!(parts.iter().all(|part| error.contains(part)) && error.contains("epoch.masks"), "{error}");
    }
}

#[test]
fn weights_that_are_not_numbers_or_no_weights_are_refused() {
    for bad in [f32::NAN, f32::INFINITY] {
        let tensors = TensorMap::from_iter([("a.weight".to_string(), tensor(vec![1.0, bad], &[1, 2]))]);
        let outcome = sparsity("n", &tensors, None, None);
        assert!(matches!(&outcome, Err(Error::NonFinite { what, .. }) if what.contains("a.weight")), "{outcome:?}");
    }
    let shapes: [&[usize]; 3] = [&[4], &[1, 2, 2], &[0, 3]];
    for shape in shapes {
        let tensors =
            TensorMap::from_iter([("a.weight".to_string(), Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap())]);
        assert!(
            sparsity("file", &tensors, None, None).unwrap_err().to_string().contains("without weights"),
            "{shape:?}"
        );
    }
}

#[test]
fn dense_networks_have_density_one() {
    for entry in registry().into_iter().filter(|e| e.name.starts_with("nano") || e.name.starts_with("mobilenet")) {
        let network = Network::build(ModelSpec::named(entry.name).unwrap(), BuildOptions::frozen()).unwrap();
        let trace = network.trace(64, 64).unwrap();
        let report = sparsity(entry.name, &network.params().tensors(), None, Some(&trace)).unwrap();
        for layer in &report.layers {
            assert_eq!((layer.density, layer.effective_macs), (1.0, layer.macs), "{}: {}", entry.name, layer.name);
        }
        assert!(report.merged.iter().all(|m| m.density == 1.0), "{}", entry.name);
        let total = report.totals.last().unwrap();
        assert_eq!((total.density, total.effective_parameters), (1.0, total.parameters), "{}", entry.name);
        assert_eq!(total.effective_macs, total.macs, "{}", entry.name);
    }
}

#[test]
fn parameters_and_multiply_adds_of_every_network_are_found() {
    for entry in registry() {
        let network = Network::build(ModelSpec::named(entry.name).unwrap(), BuildOptions::shapes_only()).unwrap();
        // Larger ones differ in sizes alone.
        if network.params().count() > 60_000_000 {
            continue;
        }
        let trace = network.trace(64, 64).unwrap();
        let report = sparsity(entry.name, &network.params().tensors(), None, Some(&trace)).unwrap();
        let expected = costs(&network, 64, 64).unwrap();
        let total = report.totals.last().unwrap();
        assert_eq!((total.parameters, total.macs), (expected.params as u64, Some(expected.macs)), "{}", entry.name);
        let without: Vec<&String> = report.layers.iter().filter(|l| l.macs.is_none()).map(|l| &l.name).collect();
        assert!(without.is_empty(), "{}: no multiply-adds for {without:?}", entry.name);
        // All weights are zero: what remains are layers without weights.
        assert_eq!((total.density, total.kept_weights), (0.0, 0), "{}", entry.name);
        let layers: u64 = report.layers.iter().filter_map(|l| l.macs).sum();
        assert_eq!(total.effective_macs, Some(expected.macs - layers), "{}", entry.name);
    }
}

#[test]
fn stages_are_read_from_names() {
    for (name, stage) in [
        ("stages.2.5.large_kernel.LoRAs.0.weight", Some(2)),
        ("backbone.stages.0.blocks.1.pw1.conv.weight", Some(0)),
        ("layer4.2.conv1.weight", Some(3)),
        ("layer0.conv", None),
        ("downsample_layers.0.0.weight", None),
        ("stages", None),
        ("stages.x.1", None),
    ] {
        assert_eq!(stage_of(name), stage, "{name}");
    }
}
