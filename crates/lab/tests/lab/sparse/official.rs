//! The evolution of masks, recorded from the official code with known random numbers.

use super::support::{move_weights, names, params};
use crate::common::{array, fill_kind, fill_u, golden, integer, integers, numbers, text};
use kernelscope::nn::Kind;
use kernelscope_lab::train::sparse::{Grow, Masks, PruneRate, SparseConfig, SparseKind};
use std::collections::{BTreeMap, HashMap};

/// The masks of a golden file, by name.
pub fn golden_masks(value: &serde_json::Value) -> BTreeMap<String, Vec<u8>> {
    let unpack = |mask: &serde_json::Value| {
        let digits: Vec<u8> = text(&mask["bits"]).chars().map(|c| c.to_digit(16).unwrap() as u8).collect();
        let bits = digits.iter().flat_map(|digit| (0..4).rev().map(move |i| (digit >> i) & 1));
        let values: Vec<u8> = bits.take(integers(&mask["shape"]).iter().product()).collect();
        assert_eq!(values.iter().filter(|v| **v == 1).count(), integer(&mask["nonzero"]));
        values
    };
    value.as_object().unwrap().iter().map(|(name, mask)| (name.clone(), unpack(mask))).collect()
}

/// The random numbers of a golden file: call number n has the fill of `rand:n`; calls follow the order of names.
fn golden_random<'a>(
    calls: &'a serde_json::Value,
    order: &[&str],
) -> impl Fn(&str, usize) -> Vec<f32> + Sync + use<'a> {
    let calls = array(calls);
    assert_eq!(calls.len(), order.len());
    let numbers: HashMap<String, (usize, usize)> = order
        .iter()
        .zip(calls)
        .map(|(name, call)| (name.to_string(), (integer(&call[0]), integers(&call[1]).iter().product())))
        .collect();
    move |name, count| {
        let (number, expected) = numbers[name];
        assert_eq!(count, expected, "{name}");
        fill_u(&format!("rand:{number}"), count)
    }
}

#[test]
fn masks_evolve_as_in_the_official_code() {
    let golden = golden("replk/sparse_masks.json");
    let mut compared = 0;
    for case in array(&golden["cases"]) {
        let params = params(array(&case["params"]).iter().map(|p| {
            let kind = match text(&p["kind"]) {
                "weight" => Kind::Weight,
                "running_mean" | "running_var" => Kind::RunningStat,
                "num_batches_tracked" => Kind::Counter,
                _ => Kind::Bias,
            };
            (text(&p["name"]), integers(&p["shape"]), kind)
        }));
        let args = &case["args"];
        let only_large = args["only_L"].as_bool().unwrap();
        let kind = if only_large { SparseKind::RepCoarse } else { SparseKind::Fine };
        let config = SparseConfig { kind, only_large, ..SparseConfig::default() };
        let mut masks = Masks::select(&config, &params).unwrap();
        let expected = golden_masks(&case["initial"]);
        let mut found: Vec<String> = names(&masks).iter().map(ToString::to_string).collect();
        found.sort();
        assert_eq!(found, expected.keys().cloned().collect::<Vec<_>>());

        let first_paths: Vec<String> = {
            let first = |name: &&&str| !name.contains("LoRAs.1");
            names(&masks).iter().filter(first).map(ToString::to_string).collect()
        };
        let first_paths: Vec<&str> = first_paths.iter().map(String::as_str).collect();
        let all: Vec<String> = names(&masks).iter().map(ToString::to_string).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let densities: Vec<f64> = numbers(&case["snip_layer_sparsities"]).iter().map(|s| 1.0 - s).collect();
        masks.draw(&densities, &golden_random(&case["rand_calls_init"], &first_paths)).unwrap();
        for mask in masks.iter() {
            assert_eq!(mask.keep(), expected[mask.name()], "initial mask of {}", mask.name());
        }
        let rate = PruneRate { base: case["prune_rate"].as_f64().unwrap(), steps: integer(&case["T_max"]) };
        let gap = integer(&args["sparse_gap"]);
        for update in array(&case["updates"]) {
            let step = integer(&update["step"]);
            assert!((rate.at(step) - update["prune_rate_used"].as_f64().unwrap()).abs() < 1e-12);
            move_weights(&params, |name, shape| fill_kind(&format!("step{step}:{name}"), shape, "weight"));
            masks.apply().unwrap();
            let aligned = step.is_multiple_of(gap);
            let order = if aligned { &first_paths } else { &all };
            let random = golden_random(&update["rand_calls"], order);
            masks.update(rate.at(step), aligned, &Grow::Random(&random)).unwrap();
            let expected = golden_masks(&update["masks"]);
            for mask in masks.iter() {
                assert_eq!(mask.keep(), expected[mask.name()], "step {step}: {}", mask.name());
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 2 * 25 + 4 * 8);
}

#[test]
fn the_prune_rate_is_the_published_cosine() {
    let golden = &golden("replk/schedules.json")["prune_rate_cosine"];
    let rate = PruneRate { base: golden["prune_rate"].as_f64().unwrap(), steps: integer(&golden["T_max"]) };
    assert_eq!(golden["eta_min"].as_f64(), Some(PruneRate::LAST));
    let listed = golden["values"].as_object().unwrap();
    assert!(listed.len() > 8);
    for (step, expected) in listed {
        let found = rate.at(step.parse().unwrap());
        assert!((found - expected.as_f64().unwrap()).abs() < 1e-12, "step {step}: {found} {expected}");
    }
}
