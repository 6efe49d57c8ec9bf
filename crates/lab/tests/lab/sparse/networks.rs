//! SNIP on the networks that it was made for, against the official code; and a shift-wise network in training.

use crate::common::{array, fill_kind, fill_signed, golden, integers, numbers, text};
use candle_core::{Device, Tensor};
use kernelscope::nn::BuildOptions;
use kernelscope::zoo::{ModelSpec, Network};
use kernelscope_lab::data::{Batch, Normalize, Reading, ShapesTexturesConfig};
use kernelscope_lab::run::{DataConfig, DataSource, RunConfig, RunFolder, TrainConfig, read_mask_rows};
use kernelscope_lab::train::sparse::{Masks, SparseConfig, SparseInit, SparseKind, snip_scores};
use kernelscope_lab::train::{Silent, Trainer};

/// The batch of the golden file: 2 images of 64 x 64 pixels, labels 1 and 3 of 10.
fn batch() -> Batch {
    let mut targets = vec![0.0; 20];
    (targets[1], targets[13]) = (1.0, 1.0);
    let images = fill_signed("snip_batch", 2 * 3 * 64 * 64);
    Batch { images, n: 2, size: 64, labels: vec![1, 3], targets, indices: vec![0, 1], broken: Vec::new() }
}

#[test]
fn snip_finds_the_densities_of_the_official_code() {
    let golden = golden("replk/sparse_masks.json");
    let common = ["depths=1,1,1,1", "dims=8,12,16,20", "width=1", "classes=10", "drop_path=0"];
    for (case, name, overrides, config) in [
        (
            &golden["cases"][0],
            "slak-t",
            &["kernel=13,11,9,7", "small_kernel=5"][..],
            SparseConfig { sparsity: 0.4, ..SparseConfig::default() },
        ),
        (
            &golden["cases"][1],
            "sw-v1-t",
            &["kernel=13,11,9,7", "small_kernel=3", "ghost_ratio=0.23", "paths=2", "reps=2"],
            SparseConfig { kind: SparseKind::RepCoarse, sparsity: 0.3, only_large: true, ..SparseConfig::default() },
        ),
    ] {
        let spec = ModelSpec::named(name).unwrap().with_overrides(&[&common[..], overrides].concat()).unwrap();
        let network = Network::build(spec, BuildOptions::default()).unwrap();
        for p in array(&case["params"]) {
            let (name, shape) = (text(&p["name"]), integers(&p["shape"]));
            let var = &network.params().get(name).unwrap_or_else(|| panic!("no {name}")).var;
            let values = fill_kind(name, &shape, text(&p["kind"]));
            var.set(&Tensor::from_vec(values, &shape[..], &Device::Cpu).unwrap()).unwrap();
        }
        let masks = Masks::select(&config, network.params()).unwrap();
        let scores = snip_scores(&masks, &network, &batch(), 0).unwrap();
        let densities = masks.densities(SparseInit::Snip, config.sparsity, &scores).unwrap();
        let expected = numbers(&case["snip_layer_sparsities"]);
        assert_eq!(densities.len(), expected.len());
        for (density, expected) in densities.iter().zip(&expected) {
            assert!((1.0 - density - expected).abs() < 1e-12, "{name}: {density} instead of {}", 1.0 - expected);
        }
    }
}

#[test]
fn a_shift_wise_network_trains_with_shared_masks() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("run");
    let sparse = SparseConfig {
        kind: SparseKind::RepCoarse,
        sparsity: 0.5,
        update_frequency: 2,
        sparse_gap: 2,
        only_large: true,
        ..SparseConfig::default()
    };
    let config = RunConfig {
        train: TrainConfig {
            epochs: 3,
            batch_size: 16,
            ema: 0.9,
            workers: 1,
            sparse: Some(sparse),
            ..TrainConfig::default()
        },
        data: DataConfig {
            size: 32,
            crop_pct: 1.0,
            normalize: Normalize::HALF,
            reading: Reading::default(),
            source: DataSource::Builtin(ShapesTexturesConfig { size: 32, train: 32, val: 16, seed: 5 }),
        },
        model: ModelSpec::named("nano-sw").unwrap(),
    };
    Trainer::create(&root, config).unwrap().train(&mut Silent).unwrap();
    let rows = read_mask_rows(&RunFolder::open(&root).unwrap().mask_rows_path()).unwrap();
    let at = |step: usize| rows.iter().filter(move |row| row.step == step);
    // Updates at steps 2, 4 and 6; the second is aligned.
    assert!(at(2).any(|row| row.merged_density > row.density) && at(6).any(|row| row.merged_density > row.density));
    assert!(at(0).chain(at(4)).all(|row| row.merged_density == row.density));
    Trainer::resume(&root).unwrap();
}
