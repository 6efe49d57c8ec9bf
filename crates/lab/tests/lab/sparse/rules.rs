//! Which weights have masks, and how masks are drawn, pruned, grown and followed.

use super::official::golden_masks;
use super::support::{config, drawn, gradients, keeps, move_weights, names, noise, params, shift_wise};
use crate::common::{array, fill_kind, fill_signed, fill_u, golden, max_abs_diff, numbers, text, values};
use candle_core::{Device, Tensor};
use kernelscope::nn::{Kind, Params};
use kernelscope::weights::TensorMap;
use kernelscope_lab::run::MaskRow;
use kernelscope_lab::train::sparse::{
    Grow, Masks, SparseConfig, SparseInit, SparseKind, erk_densities, snip_sparsities,
};
use kernelscope_lab::train::{AdamW, AdamWConfig, Ema};
use std::collections::{BTreeMap, HashMap};

#[test]
fn snip_prunes_what_is_not_above_the_threshold() {
    let scores: Vec<Vec<f32>> = vec![vec![5.0, 1.0, 4.0, 3.0], vec![2.0, 6.0], vec![0.5; 4]];
    // int(10 * 0.6) = 6: the sixth largest is 1.0, and it is pruned itself.
    assert_eq!(snip_sparsities(&scores, 0.4).unwrap(), [0.25, 0.0, 1.0]);
    assert_eq!(snip_sparsities(&scores, 0.75).unwrap(), [1.0, 0.5, 1.0]);
    let message = snip_sparsities(&scores, 0.95).unwrap_err().to_string();
    assert!(message.contains("sparsity: got 0.95 of 10 groups"), "{message}");
    // The recorded densities of the official code have the same total.
    let case = &golden("replk/sparse_masks.json")["cases"][0];
    let (sparsities, initial) = (numbers(&case["snip_layer_sparsities"]), golden_masks(&case["initial"]));
    let order = array(&case["params"]).iter().filter_map(|p| initial.get(text(&p["name"])).map(Vec::len));
    let sizes: Vec<usize> = order.collect();
    let (total, pruned) = sizes.iter().zip(&sparsities).fold((0, 0.0), |(t, p), (n, s)| (t + n, p + *n as f64 * s));
    assert_eq!(pruned.round() as usize, total - (total as f64 * (1.0 - 0.4)) as usize + 1);
}

#[test]
fn scores_are_products_or_their_means_over_kernels() {
    let params = shift_wise();
    let mut first = HashMap::new();
    let grads = gradients(&params, |name, count| fill_signed(&format!("gradient of {name}"), count));
    for kind in [SparseKind::Fine, SparseKind::Coarse, SparseKind::RepCoarse] {
        let masks = Masks::select(&config(kind), &params).unwrap();
        let scores = masks.scores(|name| grads.get(params.get(name).unwrap().var.as_tensor()).cloned()).unwrap();
        assert_eq!(scores.len(), masks.units());
        first.insert(kind.name(), scores.iter().map(Vec::len).collect::<Vec<_>>());
        let product = |name: &str, i: usize| {
            let of = |name: &str| f64::from(fill_signed(name, i + 1)[i]);
            (of(name) * of(&format!("gradient of {name}"))).abs()
        };
        let name = "stages.0.0.large_kernel.LoRAs.1.weight";
        let (unit, at, group) = match kind {
            SparseKind::Fine => (2, 7, 1),
            SparseKind::Coarse => (1, 7, 9),
            SparseKind::RepCoarse => (0, 40 + 7, 9),
        };
        let expected = (7 * group..8 * group).map(|i| product(name, i)).sum::<f64>() / group as f64;
        let found = f64::from(scores[unit][at]);
        assert!((found - expected).abs() < 1e-6 && expected > 0.0, "{}: {found} {expected}", kind.name());
    }
    assert_eq!(first["fine"], [384, 360, 360, 256, 450, 450, 32]);
    assert_eq!(first["coarse"], [40, 40, 256, 50, 50]);
    assert_eq!(first["rep-coarse"], [80, 256, 100]);
}

#[test]
fn linear_maps_beside_coarse_masks_have_a_threshold_of_their_own() {
    let params = shift_wise();
    let masks = Masks::select(&config(SparseKind::Coarse), &params).unwrap();
    // Linear maps with far smaller scores would lose everything if they competed with kernels.
    let scores: Vec<Vec<f32>> = masks
        .iter()
        .map(|mask| {
            let scale = if mask.name().contains("pwconv") { 1e-6 } else { 1.0 };
            fill_u(mask.name(), mask.keep().len()).iter().map(|u| u * scale).collect()
        })
        .collect();
    let densities = masks.densities(SparseInit::Snip, 0.5, &scores).unwrap();
    assert!(densities.iter().all(|d| (0.2..0.8).contains(d)), "{densities:?}");
}

#[test]
fn erdos_renyi_densities_fill_small_layers_and_keep_the_total() {
    let shapes = vec![vec![64, 64, 3, 3], vec![16, 3], vec![128, 64, 1, 1], vec![10, 64]];
    for density in [0.1, 0.4, 0.9] {
        let found = erk_densities(&shapes, density);
        let (mut kept, mut all) = (0.0, 0.0);
        for (shape, d) in shapes.iter().zip(&found) {
            assert!(*d > 0.0 && *d <= 1.0, "{found:?}");
            let size = shape.iter().product::<usize>() as f64;
            (kept, all) = (kept + d * size, all + size);
        }
        assert!((kept / all - density).abs() < 1e-12, "{found:?}");
        let raw = |i: usize| shapes[i].iter().sum::<usize>() as f64 / shapes[i].iter().product::<usize>() as f64;
        let free: Vec<usize> = (0..shapes.len()).filter(|&i| found[i] < 1.0).collect();
        assert!(!free.is_empty());
        for pair in free.windows(2) {
            let (a, b) = (pair[0], pair[1]);
            assert!((found[a] / found[b] - raw(a) / raw(b)).abs() < 1e-9, "{found:?}");
        }
    }
    assert_eq!(erk_densities(&shapes, 0.4)[1], 1.0, "the smallest layer is dense");
}

#[test]
fn names_decide_which_weights_have_masks() {
    let params = shift_wise();
    let selected = |kind, only_large| {
        let config = SparseConfig { only_large, ..config(kind) };
        let masks = Masks::select(&config, &params).unwrap();
        (masks.units(), masks.iter().map(|m| (m.name().to_string(), m.shape())).collect::<Vec<_>>())
    };
    let (units, fine) = selected(SparseKind::Fine, false);
    assert_eq!((units, fine.len()), (7, 7));
    assert!(fine.iter().all(|(name, _)| !name.contains("gamma") && !name.contains("bn")), "{fine:?}");
    let (_, large) = selected(SparseKind::Fine, true);
    assert!(large.len() == 4 && large.iter().all(|(_, shape)| shape[1..] == [1, 3, 3]), "{large:?}");
    let (units, coarse) = selected(SparseKind::Coarse, false);
    assert_eq!((units, coarse.len()), (5, 5));
    let pointwise = coarse.iter().find(|(name, _)| name.contains("pwconv")).unwrap();
    assert_eq!(pointwise.1, [32, 8]);
    let (units, shared) = selected(SparseKind::RepCoarse, true);
    assert_eq!((units, shared.len()), (2, 4));
    assert!(shared.iter().all(|(_, shape)| shape[1..] == [1, 1, 1]), "{shared:?}");
    // A network without such names.
    let plain = common_weights();
    for (config, parts) in [
        (config(SparseKind::Coarse), ["coarse", "LoRAs.N.weight"]),
        (config(SparseKind::RepCoarse), ["rep-coarse", "LoRAs.N.weight"]),
        (SparseConfig { only_large: true, ..SparseConfig::default() }, ["fine", "large_kernel.LoRA"]),
    ] {
        let message = Masks::select(&config, &plain).unwrap_err().to_string();
        assert!(message.contains("this network has no such weights"), "{message}");
        assert!(parts.iter().all(|part| message.contains(part)), "{message}");
    }
}

/// Parameters without large kernels, one of them with too few axes for a mask.
fn common_weights() -> Params {
    params([
        ("conv.weight", vec![16, 4, 3, 3], Kind::Weight),
        ("conv.bias", vec![16], Kind::Bias),
        ("head.weight", vec![10, 16], Kind::Weight),
    ])
}

#[test]
fn paths_of_different_shapes_are_refused() {
    let params = params([
        ("a.large_kernel.LoRAs.0.weight", vec![4, 1, 3, 3], Kind::Weight),
        ("a.large_kernel.LoRAs.1.weight", vec![5, 1, 3, 3], Kind::Weight),
    ]);
    let message = Masks::select(&config(SparseKind::RepCoarse), &params).unwrap_err().to_string();
    assert!(message.contains("LoRAs.1.weight: got shape [5, 1, 3, 3]") && message.contains("LoRAs.0"), "{message}");
}

#[test]
fn layers_that_stay_nearly_full_lose_their_mask() {
    let params = common_weights();
    let mut masks = Masks::select(&SparseConfig::default(), &params).unwrap();
    masks.draw(&[0.5, 1.0], &noise(0)).unwrap();
    assert_eq!(names(&masks), ["conv.weight"]);
    let mut none = Masks::select(&SparseConfig::default(), &params).unwrap();
    let message = none.draw(&[1.0, 1.0], &noise(0)).unwrap_err().to_string();
    assert!(message.contains("99%") && message.contains("all 2 layers"), "{message}");
    assert!(masks.draw(&[0.5, 0.5], &noise(0)).unwrap_err().to_string().contains("one per unit, 1"));
}

#[test]
fn updates_prune_the_smallest_and_grow_the_largest_gradients() {
    let params = common_weights();
    let mut masks = drawn(SparseKind::Fine, &params, 0.5);
    let before = keeps(&masks);
    let weights: Vec<Vec<f64>> = masks.iter().map(|m| values(params.get(m.name()).unwrap().var.as_tensor())).collect();
    let grads = gradients(&params, |name, count| fill_signed(&format!("gradient of {name}"), count));
    masks.update(0.3, true, &Grow::Gradient(&grads)).unwrap();
    for (i, mask) in masks.iter().enumerate() {
        let gradient: Vec<f64> = values(grads.get(params.get(mask.name()).unwrap().var.as_tensor()).unwrap());
        let kept: Vec<usize> = (0..before[i].len()).filter(|&j| before[i][j] == 1).collect();
        let removed = (0.3 * kept.len() as f64).ceil() as usize;
        assert_eq!(mask.kept(), kept.len(), "growth by gradient keeps the number");
        let order = |items: &mut Vec<usize>, by: &[f64]| items.sort_by(|&a, &b| by[a].abs().total_cmp(&by[b].abs()));
        let mut smallest = kept.clone();
        order(&mut smallest, &weights[i]);
        let pruned = &smallest[..removed];
        let mut candidates: Vec<usize> =
            (0..before[i].len()).filter(|j| !kept.contains(j) || pruned.contains(j)).collect();
        order(&mut candidates, &gradient);
        let grown = &candidates[candidates.len() - removed..];
        for j in 0..before[i].len() {
            let expected = grown.contains(&j) || (kept.contains(&j) && !pruned.contains(&j));
            assert_eq!(mask.keep()[j] == 1, expected, "{} [{j}]", mask.name());
        }
        let now = values(params.get(mask.name()).unwrap().var.as_tensor());
        for j in 0..now.len() {
            let stays = before[i][j] == 1 && mask.keep()[j] == 1;
            assert_eq!(now[j], if stays { weights[i][j] } else { 0.0 }, "grown weights start at zero");
        }
    }
    let no_gradients = Tensor::new(1f32, &Device::Cpu).unwrap().backward().unwrap();
    let message = masks.update(0.3, true, &Grow::Gradient(&no_gradients)).unwrap_err().to_string();
    assert!(message.contains("none for conv.weight"), "{message}");
}

#[test]
fn random_growth_keeps_the_density_on_average() {
    let params = params([("conv.weight", vec![64, 16, 5, 5], Kind::Weight)]);
    let mut masks = drawn(SparseKind::Fine, &params, 0.4);
    let start = masks.density();
    for update in 1..=20 {
        move_weights(&params, |name, shape| fill_kind(&format!("weights {update} {name}"), shape, "weight"));
        masks.apply().unwrap();
        masks.update(0.3, true, &Grow::Random(&noise(update))).unwrap();
    }
    // 25600 weights; every update moves the density by about 0.002.
    assert!((masks.density() - start).abs() < 0.03, "{start} {}", masks.density());
    let row = &masks.rows(7)[0];
    assert_eq!((row.step, row.layer.as_str()), (7, "conv.weight"));
    assert!(row.explored > 0.9 && row.explored <= 1.0 && row.merged_density == row.density, "{row:?}");
    let initial = &drawn(SparseKind::Fine, &params, 0.4).rows(0)[0];
    assert_eq!(initial.explored, initial.density);
}

#[test]
fn paths_share_masks_after_aligned_updates_alone() {
    let params = shift_wise();
    let mut masks = Masks::select(&config(SparseKind::RepCoarse), &params).unwrap();
    masks.draw(&vec![0.5; masks.units()], &noise(0)).unwrap();
    masks.apply_first().unwrap();
    let path = |p: usize| format!("stages.0.0.large_kernel.LoRAs.{p}.weight");
    let zeros = |p: usize| values(params.get(&path(p)).unwrap().var.as_tensor()).iter().filter(|v| **v == 0.0).count();
    assert!(zeros(0) > 100, "{}", zeros(0));
    assert_eq!(zeros(1), 0, "the other paths follow after the first step");
    masks.apply().unwrap();
    let same = |masks: &Masks| masks.get(&path(0)).unwrap().keep() == masks.get(&path(1)).unwrap().keep();
    assert!(same(&masks) && zeros(0) == zeros(1));
    masks.update(0.3, false, &Grow::Random(&noise(1))).unwrap();
    assert!(!same(&masks));
    let rows: BTreeMap<String, MaskRow> = masks.rows(5).into_iter().map(|row| (row.layer.clone(), row)).collect();
    let (first, second) = (&rows[&path(0)], &rows[&path(1)]);
    assert_eq!(first.merged_density, second.merged_density);
    assert!(first.merged_density > first.density.max(second.density), "{first:?} {second:?}");
    let pointwise = &rows["stages.0.0.pwconv1.1.weight"];
    assert_eq!(pointwise.merged_density, pointwise.density);
    masks.update(0.3, true, &Grow::Random(&noise(2))).unwrap();
    assert!(same(&masks));
    for (name, keep) in masks.iter().map(|mask| (mask.name(), mask.keep())).filter(|(name, _)| name.contains("LoRAs")) {
        let weights = values(params.get(name).unwrap().var.as_tensor());
        let kernels = weights.chunks(9).zip(keep).filter(|(_, keep)| **keep == 0);
        assert!(kernels.clone().count() > 10 && kernels.clone().all(|(kernel, _)| kernel.iter().all(|v| *v == 0.0)));
    }
}

#[test]
fn updates_do_not_depend_on_threads() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let params = shift_wise();
            let mut masks = drawn(SparseKind::RepCoarse, &params, 0.6);
            for update in 1..6 {
                move_weights(&params, |name, shape| fill_kind(&format!("weights {update} {name}"), shape, "weight"));
                masks.apply().unwrap();
                masks.update(0.3, update % 2 == 0, &Grow::Random(&noise(update))).unwrap();
            }
            keeps(&masks)
        })
    };
    let one = run(1);
    assert!(one == run(2) && one == run(5));
}

#[test]
fn averages_follow_the_masks() {
    let params = shift_wise();
    let mut masks = drawn(SparseKind::Coarse, &params, 0.5);
    let mut ema = Ema::new(&params, 0.75).unwrap();
    let names: Vec<&str> = params.iter().map(|(name, _)| name).collect();
    let of = |map: &TensorMap| names.iter().map(|n| values(&map[*n])).collect::<Vec<_>>();
    let mut expected = of(ema.tensors());
    let mut grown = 0;
    for step in 1..5 {
        move_weights(&params, |name, shape| fill_kind(&format!("{step} {name}"), shape, "weight"));
        masks.apply().unwrap();
        if step == 2 {
            masks.update(0.5, true, &Grow::Random(&noise(step))).unwrap();
        }
        ema.update_masked(&params, &masks).unwrap();
        for (name, e) in names.iter().zip(&mut expected) {
            let now = values(params.get(name).unwrap().var.as_tensor());
            for (j, e) in e.iter_mut().enumerate() {
                let keep = masks.get(name).map(|mask| f64::from(mask.keep()[j / mask.group()]));
                let fresh = keep == Some(1.0) && *e == 0.0;
                grown += usize::from(fresh && now[j] != 0.0);
                *e = (0.75 * *e + 0.25 * now[j]) * keep.unwrap_or(1.0) + if fresh { 0.75 * now[j] } else { 0.0 };
            }
        }
        for ((name, found), expected) in names.iter().zip(of(ema.tensors())).zip(&expected) {
            assert!(max_abs_diff(&found, expected) < 1e-6, "step {step}: {name}");
        }
    }
    assert!(grown > 50, "only {grown} weights were grown");
}

#[test]
fn moments_of_pruned_weights_are_reset_where_asked() {
    let params = common_weights();
    let masks = drawn(SparseKind::Fine, &params, 0.5);
    let mut optimizer = AdamW::new(&params, AdamWConfig::default());
    optimizer.step(&gradients(&params, fill_signed), 0.01, 1.0).unwrap();
    let zeros = |optimizer: &AdamW| {
        let (state, _) = optimizer.state().unwrap();
        ["m", "v"].map(|prefix| values(&state[&format!("{prefix}.conv.weight")]).iter().filter(|v| **v == 0.0).count())
    };
    assert_eq!(zeros(&optimizer), [0, 0]);
    optimizer.reset_pruned(&masks).unwrap();
    let pruned = 576 - masks.get("conv.weight").unwrap().kept();
    assert!(zeros(&optimizer) == [pruned; 2] && pruned > 200);
    let (state, _) = optimizer.state().unwrap();
    assert!(values(&state["m.conv.bias"]).iter().all(|v| *v != 0.0), "parameters without a mask stay");
}
