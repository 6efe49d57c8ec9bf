//! Sparse runs: what they write, killed and resumed ones, damaged files, settings that cannot work, the command.

use crate::common::{files, values};
use crate::training::{assert_same_results, assert_survives_a_kill, command};
use candle_core::{DType, Device, Tensor};
use kernelscope::nn::Kind;
use kernelscope::weights::{self, TensorMap};
use kernelscope::zoo::ModelSpec;
use kernelscope_lab::data::{Augment, MixConfig, Normalize, Reading, ShapesTexturesConfig};
use kernelscope_lab::run::{DataConfig, DataSource, MaskRow, RunConfig, RunFolder, TrainConfig, read_mask_rows};
use kernelscope_lab::train::sparse::{Growth, Moments, SparseConfig, SparseInit, SparseKind};
use kernelscope_lab::train::{EpochReport, Observer, Silent, StepReport, Trainer};
use std::collections::BTreeMap;
use std::process::Command;

/// A sparse run of three epochs of four steps that takes a moment, with an update every three steps.
fn run_config() -> RunConfig {
    let tiny = ["dims=8,16,16,16", "stem_channels=8", "kernel=7", "drop_path=0.2"];
    RunConfig {
        train: TrainConfig {
            epochs: 3,
            batch_size: 16,
            warmup_epochs: 0.5,
            ema: 0.9,
            workers: 1,
            seed: 11,
            mix: MixConfig { mixup: 0.4, cutmix: 1.0, smoothing: 0.1, ..MixConfig::default() },
            augment: Augment::imagenet(),
            sparse: Some(SparseConfig { update_frequency: 3, sparsity: 0.5, ..SparseConfig::default() }),
            ..TrainConfig::default()
        },
        data: DataConfig {
            size: 32,
            crop_pct: 1.0,
            normalize: Normalize::HALF,
            reading: Reading::default(),
            source: DataSource::Builtin(ShapesTexturesConfig { size: 32, train: 64, val: 24, seed: 5 }),
        },
        model: ModelSpec::named("nano-2d").unwrap().with_overrides(&tiny).unwrap(),
    }
}

/// The same with other settings of sparse training.
fn with_sparse(change: impl Fn(&mut SparseConfig)) -> RunConfig {
    let mut config = run_config();
    config.train.sparse.iter_mut().for_each(change);
    config
}

/// Fails unless every pruned weight of a checkpoint is zero; the number of pruned weights.
fn assert_masked(run: &RunFolder, epoch: usize, ema: bool) -> usize {
    let masks = weights::load(&run.masks_path(epoch)).unwrap();
    assert_eq!(masks.metadata["kernelscope.sparse"], "fine");
    let weights = weights::load(&run.checkpoint_path(epoch, ema)).unwrap().tensors;
    let mut pruned = 0;
    for (name, mask) in &masks.tensors {
        assert_eq!(mask.dtype(), DType::U8);
        assert_eq!(mask.dims(), weights[name].dims());
        for (keep, weight) in values(mask).iter().zip(values(&weights[name])) {
            assert!(*keep == 1.0 || weight == 0.0, "{name}");
            pruned += usize::from(*keep == 0.0);
        }
    }
    pruned
}

/// Remembers the densities that a run reports.
#[derive(Default)]
struct Densities(Vec<Option<f64>>, Vec<Option<f64>>);

impl Observer for Densities {
    fn step(&mut self, report: &StepReport) {
        self.0.push(report.density);
    }
    fn epoch(&mut self, report: &EpochReport) {
        self.1.push(report.density);
    }
}

#[test]
fn a_sparse_run_saves_and_records_its_masks() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("run");
    let mut trainer = Trainer::create(&root, run_config()).unwrap();
    let sparse = trainer.sparse().unwrap();
    let start = sparse.density();
    assert!((start - 0.5).abs() < 0.05, "{start}");
    let densities: Vec<f64> = sparse.masks().rows(0).iter().map(|row| row.density).collect();
    assert!(densities.iter().any(|d| *d > 0.6) && densities.iter().any(|d| *d < 0.4), "SNIP: {densities:?}");
    let statistics = |trainer: &Trainer| -> Vec<f64> {
        let params = trainer.network().params().iter();
        params.filter(|(_, p)| p.kind == Kind::Counter).flat_map(|(_, p)| values(p.var.as_tensor())).collect()
    };
    let counters = statistics(&trainer);
    assert!(!counters.is_empty() && counters.iter().all(|n| *n == 0.0), "SNIP's batch is no training step");
    let mut seen = Densities::default();
    trainer.train(&mut seen).unwrap();
    assert!(statistics(&trainer).iter().all(|n| *n == 12.0));
    assert!(seen.0.len() == 12 && seen.0[1] == Some(start) && seen.0[2] != Some(start), "{:?}", seen.0);
    assert_eq!(seen.1, [seen.0[3], seen.0[7], seen.0[11]]);

    let run = RunFolder::open(&root).unwrap();
    assert_eq!(run.config().unwrap(), run_config());
    for epoch in 1..=3 {
        let (plain, averaged) = (assert_masked(&run, epoch, false), assert_masked(&run, epoch, true));
        assert!(plain == averaged && plain > 500, "{plain}");
    }
    let text = std::fs::read_to_string(root.join("masks.csv")).unwrap();
    assert_eq!(text.lines().next(), Some("step,layer,density,merged_density,explored"));
    let rows = read_mask_rows(&run.mask_rows_path()).unwrap();
    let layers: Vec<&str> = trainer.sparse().unwrap().masks().iter().map(|mask| mask.name()).collect();
    let expected: Vec<(usize, &str)> =
        [0, 3, 6, 9, 12].iter().flat_map(|step| layers.iter().map(|layer| (*step, *layer))).collect();
    assert_eq!(rows.iter().map(|row| (row.step, row.layer.as_str())).collect::<Vec<_>>(), expected);
    let last: Vec<MaskRow> = trainer.sparse().unwrap().masks().rows(12);
    assert_eq!(rows[rows.len() - layers.len()..], last);
    assert!(rows.iter().all(|row| row.explored >= row.density), "{rows:?}");
    assert!(last.iter().map(|row| row.explored - row.density).sum::<f64>() > 0.5, "masks move: {last:?}");
    let names: Vec<String> = files(&root).into_keys().filter(|name| name.starts_with("state")).collect();
    let state = ["state/explored-0003.safetensors", "state/moments-0003.safetensors", "state/progress.toml"];
    assert_eq!(names, state);
    assert_eq!(run.checkpoints().unwrap().len(), 6, "masks are no checkpoints");
    assert_eq!(run.latest_checkpoint().unwrap().path, run.checkpoint_path(3, true));
}

#[test]
fn every_way_to_start_and_to_grow_trains() {
    let folder = tempfile::tempdir().unwrap();
    for (i, (init, growth, moments)) in [
        (SparseInit::Uniform, Growth::Gradient, Moments::Keep),
        (SparseInit::Erk, Growth::Random, Moments::Reset),
        (SparseInit::Snip, Growth::Gradient, Moments::Reset),
    ]
    .into_iter()
    .enumerate()
    {
        let root = folder.path().join(i.to_string());
        let mut config = with_sparse(|s| (s.init, s.growth, s.moments) = (init, growth, moments));
        config.train.epochs = 1;
        let mut trainer = Trainer::create(&root, config).unwrap();
        let start: Vec<f64> = trainer.sparse().unwrap().masks().rows(0).iter().map(|row| row.density).collect();
        trainer.train(&mut Silent).unwrap();
        let end: Vec<f64> = trainer.sparse().unwrap().masks().rows(4).iter().map(|row| row.density).collect();
        assert_eq!(start == end, growth == Growth::Gradient, "{growth:?}: {start:?} {end:?}");
        let moments_file = RunFolder::open(&root).unwrap().moments_path(1);
        let state = weights::load(&moments_file).unwrap().tensors;
        let mask = trainer.sparse().unwrap().masks().iter().next().unwrap().clone();
        let m = values(&state[&format!("m.{}", mask.name())]);
        let reset = m.iter().zip(mask.keep()).filter(|(_, keep)| **keep == 0).all(|(m, _)| *m == 0.0);
        assert_eq!(reset, moments == Moments::Reset);
    }
}

#[test]
fn a_run_can_start_from_the_zeros_of_another() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (folder.path().join("first"), folder.path().join("second"));
    let mut config = run_config();
    config.train.epochs = 1;
    let mut trainer = Trainer::create(&first, config.clone()).unwrap();
    trainer.train(&mut Silent).unwrap();
    let weights = RunFolder::open(&first).unwrap().checkpoint_path(1, false);
    config.train.sparse.iter_mut().for_each(|sparse| sparse.init = SparseInit::Resume);
    let message = Trainer::create(&second, config.clone()).err().unwrap().to_string();
    assert!(message.contains("99%") && message.contains("init = resume") && !second.exists(), "{message}");
    config.train.weights = Some(weights);
    let next = Trainer::create(&second, config).unwrap();
    let (old, new) = (trainer.sparse().unwrap(), next.sparse().unwrap());
    assert!((old.density() - new.density()).abs() < 0.01 && new.density() < 0.6);
    let zeros = values(next.network().params().get("head.weight").unwrap().var.as_tensor());
    assert_eq!(zeros, values(trainer.network().params().get("head.weight").unwrap().var.as_tensor()));
}

#[test]
fn a_killed_run_ends_with_the_same_masks() {
    assert_survives_a_kill(run_config(), |run, epoch| {
        // What a crash may leave of an update that was never part of a complete epoch.
        let mut rows = std::fs::read(run.mask_rows_path()).unwrap();
        rows.extend_from_slice(b"999,head.weight,0.5,0.5,0.5\n1000,head.we");
        std::fs::write(run.mask_rows_path(), rows).unwrap();
        std::fs::write(run.masks_path(epoch + 1), b"no masks").unwrap();
    });
}

#[test]
fn threads_do_not_change_sparse_runs() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let mut config = run_config();
    config.train.epochs = 1;
    std::fs::write(path("run.toml"), config.to_toml().unwrap()).unwrap();
    for threads in ["1", "3"] {
        let mut command = command(&["train", "--config", &path("run.toml"), "--out", &path(threads)]);
        assert!(command.env("RAYON_NUM_THREADS", threads).status().unwrap().success());
    }
    assert_same_results(&folder.path().join("1"), &folder.path().join("3"));
}

#[test]
fn old_masks_are_removed_with_their_checkpoints() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("run");
    let mut config = run_config();
    config.train.keep_checkpoints = 2;
    Trainer::create(&root, config).unwrap().train(&mut Silent).unwrap();
    let masks = files(&root).into_keys().filter(|name| name.contains("masks.safetensors"));
    let expected = ["checkpoints/epoch-0002.masks.safetensors", "checkpoints/epoch-0003.masks.safetensors"];
    assert_eq!(masks.collect::<Vec<_>>(), expected);
}

#[test]
fn damaged_or_foreign_masks_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("run");
    let mut config = run_config();
    config.train.epochs = 2;
    let mut trainer = Trainer::create(&root, config).unwrap();
    trainer.train(&mut Silent).unwrap();
    let run = RunFolder::open(&root).unwrap();
    let path = run.masks_path(2);
    let whole = std::fs::read(&path).unwrap();
    let masks = weights::load(&path).unwrap().tensors;
    let refused = |parts: &[&str]| {
        let message = Trainer::resume(&root).err().expect("the masks are refused").to_string();
        assert!(parts.iter().all(|part| message.contains(part)), "{parts:?}: {message}");
    };
    let write = |change: &dyn Fn(&mut TensorMap)| {
        let mut changed = masks.clone();
        change(&mut changed);
        weights::save(&path, &changed, &BTreeMap::new()).unwrap();
    };
    let ones = |shape: &[usize]| Tensor::ones(shape, DType::U8, &Device::Cpu).unwrap();
    let name = "epoch-0002.masks.safetensors";
    std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    refused(&[name, "truncated"]);
    std::fs::remove_file(&path).unwrap();
    refused(&[name, "cannot"]);
    write(&|masks| masks.clear());
    refused(&[name, "no masks"]);
    write(&|masks| drop(masks.insert("tail.weight".into(), ones(&[2, 2]))));
    refused(&[name, "tail.weight"]);
    write(&|masks| drop(masks.insert("head.weight".into(), ones(&[2, 2]))));
    refused(&[name, "head.weight", "[2, 2]", "needs U8 of shape [8, 16]"]);
    write(&|masks| drop(masks.insert("head.weight".into(), ones(&[8, 16]).to_dtype(DType::F32).unwrap())));
    refused(&[name, "head.weight", "F32"]);
    write(&|masks| drop(masks.insert("head.weight".into(), (ones(&[8, 16]) * 7.0).unwrap())));
    refused(&[name, "head.weight", "holds 7"]);
    write(&|masks| drop(masks.insert("head.weight".into(), ones(&[8, 16]).zeros_like().unwrap())));
    refused(&[name, "head.weight", "not zero", "other weights"]);
    write(&|masks| drop(masks.insert("head.weight".into(), ones(&[8, 16]))));
    refused(&["explored-0002", "head.weight"]);
    write(&|masks| drop(masks.shift_remove("head.weight")));
    refused(&["explored-0002", "masks, but"]);
    std::fs::copy(run.masks_path(1), &path).unwrap();
    refused(&[name, "other weights"]);
    std::fs::write(&path, &whole).unwrap();
    Trainer::resume(&root).unwrap();
    // Averaged weights are looked at too, before an epoch is trained that could not be evaluated.
    let path = run.checkpoint_path(2, true);
    let averaged = weights::load(&path).unwrap();
    let mut less = averaged.tensors.clone();
    less.shift_remove("head.weight").unwrap();
    weights::save(&path, &less, &averaged.metadata).unwrap();
    refused(&["epoch-0002-ema.safetensors", "1 missing (head.weight)"]);
}

#[test]
fn settings_that_cannot_work_leave_no_folder() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("run");
    for (config, parts) in [
        (with_sparse(|s| s.sparsity = 1.0), ["sparsity: got 1", "greater than 0 and less than 1"]),
        (with_sparse(|s| s.sparsity = 0.999_99), ["sparsity: got 0.99999 of", "keeps at least one"]),
        (with_sparse(|s| (s.sparsity, s.init) = (1e-6, SparseInit::Uniform)), ["99%", "larger sparsity"]),
        (with_sparse(|s| s.update_frequency = 0), ["update frequency: got 0", "1 to"]),
        (with_sparse(|s| s.prune_rate = f64::NAN), ["prune rate: got NaN", "greater than 0"]),
        (with_sparse(|s| s.sparse_gap = 3), ["sparse gap: got 3", "rep-coarse"]),
        (
            with_sparse(|s| s.kind = SparseKind::RepCoarse),
            ["rep-coarse, but this network has no such weights", "LoRAs.N.weight"],
        ),
        (with_sparse(|s| s.only_large = true), ["fine, but this network has no such weights", "large_kernel.LoRA"]),
    ] {
        let message = Trainer::create(&root, config).err().unwrap().to_string();
        assert!(parts.iter().all(|part| message.contains(part)), "{parts:?}: {message}");
        assert!(!root.exists(), "a refused configuration left a folder");
    }
}

#[test]
fn the_command_trains_sparse_networks() {
    let folder = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kernelscope"));
        let output = command.current_dir(folder.path()).env_remove("RUST_LOG").args(args).output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap(), String::from_utf8(output.stdout).unwrap())
    };
    let tiny = ["--set", "dims=8,16,16,16", "--set", "stem_channels=8", "--set", "kernel=7", "--size", "32"];
    let short = ["--train-images", "64", "--batch", "16", "--epochs", "1", "--warmup", "0"];
    let train = |more: &[&str]| run(&[&["train", "--model", "nano-2d"], &tiny[..], &short, more].concat());
    let sparse = ["--sparse", "fine", "--sparsity", "0.6", "-u", "2", "--sparse-init", "erk", "--prune-rate", "0.5"];
    let (done, progress, _) =
        train(&[&sparse[..], &["--growth", "gradient", "--moments", "reset", "--out", "run"]].concat());
    assert!(done && ["density 39.", "density 40."].iter().any(|part| progress.contains(part)), "{progress}");
    let written = RunFolder::open(&folder.path().join("run")).unwrap().config().unwrap().train.sparse.unwrap();
    let expected = SparseConfig {
        init: SparseInit::Erk,
        sparsity: 0.6,
        prune_rate: 0.5,
        update_frequency: 2,
        growth: Growth::Gradient,
        moments: Moments::Reset,
        ..SparseConfig::default()
    };
    assert_eq!(written, expected);
    assert!(folder.path().join("run/masks.csv").is_file());
    let weights = ["--weights", "run/checkpoints/epoch-0001.safetensors"];
    let resume = ["--sparse", "fine", "--sparse-init", "resume", "--out", "tuned"];
    let (done, message, _) = train(&[&weights[..], &resume].concat());
    assert!(done, "{message}");
    // Four steps, and an update after a hundred: a mistake, or masks that are meant to stay.
    assert!(message.contains("the masks never change") && !progress.contains("never change"), "{message}");
    for (more, parts) in [
        (&["--sparse", "fine", "--sparsity", "1.5"][..], ["sparsity", "1.5"]),
        (&["--sparse", "fine", "--update-frequency", "0"], ["update frequency", "got 0"]),
        (&["--sparse", "coarse"], ["coarse", "this network has no such weights"]),
        (&["--sparse", "fine", "--sparse-gap", "5"], ["sparse gap", "rep-coarse"]),
        (&["--sparsity", "0.5"], ["--sparse", "required"]),
        (&["--weights", "absent.safetensors"], ["absent.safetensors", "cannot"]),
    ] {
        let (done, message, _) = train(&[more, &["--out", "refused"]].concat());
        assert!(!done && parts.iter().all(|part| message.contains(part)), "{parts:?}: {message}");
        assert!(!folder.path().join("refused").exists(), "{more:?}");
    }
    let (_, _, help) = run(&["train", "--help"]);
    assert!(help.contains("--sparse fine --sparsity") && help.contains("Sparse training:"), "{help}");
}
