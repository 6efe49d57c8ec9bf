//! Runs that are stopped, killed and resumed, or repeated with other numbers of threads.

use super::{StopAfter, assert_same_results, assert_survives_a_kill, command, config, results, train};
use crate::common::{files, max_abs_diff, values};
use kernelscope::zoo::Preprocessing;
use kernelscope::{Error, weights};
use kernelscope_lab::run::metrics::read_rows;
use kernelscope_lab::run::{Row, RowKind, RunFolder};
use kernelscope_lab::train::{CosineSchedule, EpochReport, Observer, Silent, StepReport, Trainer};
use std::collections::BTreeMap;
use std::path::Path;

/// Counts what it is told.
#[derive(Default)]
struct Count(usize, Vec<EpochReport>);

impl Observer for Count {
    fn step(&mut self, _: &StepReport) {
        self.0 += 1;
    }
    fn epoch(&mut self, report: &EpochReport) {
        self.1.push(*report);
    }
}

#[test]
fn a_run_writes_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("run");
    let mut trainer = Trainer::create(&root, config()).unwrap();
    assert_eq!(trainer.steps(), (12, 0));
    let mut count = Count::default();
    let outcome = trainer.train(&mut count).unwrap();
    assert_eq!((count.0, count.1.len()), (12, 3));
    assert_eq!(outcome.last, count.1.last().copied());
    let names: Vec<String> = files(&root).into_keys().collect();
    let checkpoints = (1..=3).flat_map(|e| ["-ema", ""].map(|s| format!("checkpoints/epoch-000{e}{s}.safetensors")));
    let expected: Vec<String> = checkpoints
        .chain(["config.toml", "metrics.csv", "state/moments-0003.safetensors", "state/progress.toml"].map(Into::into))
        .collect();
    assert_eq!(names, expected);
    let run = RunFolder::open(&root).unwrap();
    assert_eq!(run.config().unwrap(), config());
    let rows = read_rows(&run.metrics_path()).unwrap();
    let kinds: Vec<(RowKind, usize, usize)> = rows.iter().map(|r| (r.kind, r.epoch, r.step)).collect();
    let (step, epoch) = (RowKind::Step, RowKind::Epoch);
    let expected =
        [(step, 1, 3), (epoch, 1, 4), (step, 2, 6), (epoch, 2, 8), (step, 3, 9), (step, 3, 12), (epoch, 3, 12)];
    assert_eq!(kinds, expected);
    let schedule = CosineSchedule { base: 2e-3, last: 1e-6, warmup_steps: 2, steps: 12 };
    for row in &rows {
        assert_eq!(row.lr, schedule.at(row.step - 1), "{row:?}");
        assert!(row.train_loss > 0.0 && row.gradient_norm > 0.0, "{row:?}");
    }
    let history = run.history().unwrap();
    let losses: Vec<Option<f64>> = count.1.iter().map(|r| Some(r.validation.loss)).collect();
    assert_eq!(history.points.iter().map(|p| p.val_loss).collect::<Vec<_>>(), losses);
    let latest = run.latest_checkpoint().unwrap();
    assert_eq!((latest.epoch, latest.ema), (3, true));
    for ema in [false, true] {
        let checkpoint = weights::load(&run.checkpoint_path(3, ema)).unwrap();
        let stored = Preprocessing::of_checkpoint(&checkpoint).unwrap();
        assert_eq!(stored, Some(config().data.preprocessing()), "averaged: {ema}");
    }
    let mut again = Trainer::resume(&root).unwrap();
    assert_eq!(again.train(&mut Silent).unwrap().last, None, "the run is complete");
    assert_eq!(results(&root).len(), names.len());
}

#[test]
fn a_stopped_run_ends_with_the_same_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, stopped) = (folder.path().join("whole"), folder.path().join("stopped"));
    train(&whole, config());
    let stop = |mut trainer: Trainer, step| {
        let flag = trainer.stop_flag();
        let error = trainer.train(&mut StopAfter(step, flag)).unwrap_err();
        assert!(matches!(&error, Error::Interrupted { resumable: Some(run), .. } if *run == stopped), "{error}");
    };
    // Before the first epoch is complete, and in the middle of the second.
    stop(Trainer::create(&stopped, config()).unwrap(), 2);
    stop(Trainer::resume(&stopped).unwrap(), 6);
    let run = RunFolder::open(&stopped).unwrap();
    assert_eq!(run.progress().unwrap().epoch, 1);
    assert_eq!(read_rows(&run.metrics_path()).unwrap().last().unwrap().step, 6, "step rows are written at once");
    // What a crash may leave: a temporary file, weights and moments of an epoch that was never declared complete, and
    // half a line of metrics.
    std::fs::write(run.checkpoints_dir().join(".kernelscope-x1y2.part"), b"half").unwrap();
    std::fs::write(run.checkpoint_path(2, false), b"not the weights of epoch 2").unwrap();
    std::fs::write(run.moments_path(2), b"nor its moments").unwrap();
    let mut metrics = std::fs::read(run.metrics_path()).unwrap();
    metrics.extend_from_slice(b"step,2,9,0.0012,1.9");
    std::fs::write(run.metrics_path(), metrics).unwrap();
    let mut trainer = Trainer::resume(&stopped).unwrap();
    assert_eq!(trainer.steps(), (12, 4));
    trainer.train(&mut Silent).unwrap();
    assert_same_results(&stopped, &whole);
}

#[test]
fn an_unfinished_epoch_is_not_the_latest_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("run");
    let mut config = config();
    config.train.epochs = 1;
    train(&root, config);
    let run = RunFolder::open(&root).unwrap();
    std::fs::copy(run.checkpoint_path(1, false), run.checkpoint_path(2, false)).unwrap();
    assert_eq!(run.latest_checkpoint().unwrap().epoch, 1, "progress.toml names epoch 1 as the last complete one");
}

#[test]
fn a_killed_run_ends_with_the_same_numbers() {
    assert_survives_a_kill(config(), |_, _| ());
}

#[test]
fn threads_do_not_change_the_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let mut expected = None;
    for (workers, threads) in [(0, "1"), (2, "2"), (3, "3")] {
        let mut config = config();
        (config.train.epochs, config.train.workers) = (1, workers);
        std::fs::write(path("run.toml"), config.to_toml().unwrap()).unwrap();
        let run = path(threads);
        let mut command = command(&["train", "--config", &path("run.toml"), "--out", &run]);
        assert!(command.env("RAYON_NUM_THREADS", threads).status().unwrap().success());
        let mut found = results(Path::new(&run));
        found.remove("config.toml");
        match &expected {
            None => expected = Some(found),
            Some(first) => assert!(&found == first, "{workers} workers, {threads} threads: other numbers"),
        }
    }
}

#[test]
fn a_seed_decides_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let losses = |name: &str, seed| {
        let mut config = config();
        (config.train.epochs, config.train.seed) = (1, seed);
        let root = folder.path().join(name);
        train(&root, config);
        let rows: Vec<Row> = read_rows(&root.join("metrics.csv")).unwrap();
        rows.iter().map(|r| r.train_loss.to_bits()).collect::<Vec<_>>()
    };
    let first = losses("a", 1);
    assert_eq!(first, losses("b", 1));
    assert_ne!(first, losses("c", 2));
}

#[test]
fn clipping_limits_the_step() {
    let folder = tempfile::tempdir().unwrap();
    let moved = |name: &str, clip_norm| {
        let mut config = config();
        config.train.epochs = 1;
        (config.train.warmup_epochs, config.train.clip_norm, config.train.optimizer.weight_decay) =
            (0.0, clip_norm, 0.0);
        let mut trainer = Trainer::create(&folder.path().join(name), config).unwrap();
        let learned = |trainer: &Trainer| -> BTreeMap<String, Vec<f64>> {
            let params = trainer.network().params().trainable();
            params.map(|(name, p)| (name.to_string(), values(p.var.as_tensor()))).collect()
        };
        let before = learned(&trainer);
        trainer.train(&mut Silent).unwrap();
        let after = learned(&trainer);
        before.iter().map(|(name, v)| max_abs_diff(v, &after[name])).fold(0.0, f64::max)
    };
    // With a norm far below AdamW's eps, updates vanish instead of having the size of the learning rate.
    let (free, wide, tight) = (moved("free", 0.0), moved("wide", 1e6), moved("tight", 1e-13));
    assert_eq!(free, wide, "a limit that is never reached changes nothing");
    assert!(free > 1e-3 && tight < 1e-6 && tight > 0.0, "{free:e} {tight:e}");
}
