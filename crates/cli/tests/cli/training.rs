//! Training: the optimizer, schedule, averaging and loss against plain references; and runs that are stopped, killed
//! and resumed, repeated with other numbers of threads, or that fail.

use crate::common::{array, files, fill_signed, golden, integer, max_abs_diff, max_rel_diff, random, values};
use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor, Var};
use kernelscope::Error;
use kernelscope::nn::{BuildOptions, Builder, Init, Kind, Params, Scope};
use kernelscope::weights;
use kernelscope::zoo::{ModelSpec, Network, Preprocessing};
use kernelscope_lab::data::{Augment, Image, MixConfig, Normalize, ShapesTexturesConfig};
use kernelscope_lab::run::metrics::read_rows;
use kernelscope_lab::run::{DataConfig, DataSource, Row, RowKind, RunConfig, RunFolder, TrainConfig};
use kernelscope_lab::train::{
    AdamW, AdamWConfig, CosineSchedule, Ema, EpochReport, Observer, Silent, StepReport, Trainer, accuracy,
    soft_cross_entropy,
};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// One parameter of every kind, with initial values that follow from the names.
fn toy_params() -> Params {
    let builder = Builder::new(BuildOptions::default());
    let add = |scope: &Scope, name: &str, shape: &[usize], kind| {
        let values = fill_signed(&scope.name(name), shape.iter().product());
        scope.param(name, shape, kind, Init::Values(values)).unwrap();
    };
    let root = builder.root();
    add(&root.child("conv"), "weight", &[2, 1, 1, 3], Kind::Weight);
    add(&root.child("conv"), "bias", &[2], Kind::Bias);
    add(&root.child("conv"), "theta", &[2], Kind::Theta);
    add(&root.child("norm"), "weight", &[4], Kind::NormWeight);
    add(&root.child("norm"), "running_mean", &[4], Kind::RunningStat);
    add(&root.child("norm"), "num_batches_tracked", &[], Kind::Counter);
    add(&root, "gamma", &[3], Kind::Gamma);
    add(&root.child("head"), "weight", &[2, 2], Kind::Weight);
    builder.finish().unwrap()
}

/// Gradients with the given values, as those of `sum(parameter * value)`.
fn gradients(params: &Params, of: impl Fn(&str, usize) -> Vec<f32>) -> GradStore {
    let terms = params.trainable().map(|(name, p)| {
        let value = Tensor::from_vec(of(name, p.var.elem_count()), p.var.shape(), &Device::Cpu).unwrap();
        (p.var.as_tensor() * value).unwrap().sum_all().unwrap()
    });
    terms.reduce(|a, b| (a + b).unwrap()).unwrap().backward().unwrap()
}

fn snapshot(params: &Params) -> BTreeMap<String, Vec<f64>> {
    params.iter().map(|(name, p)| (name.to_string(), values(p.var.as_tensor()))).collect()
}

#[test]
fn adamw_is_its_equations() {
    let params = toy_params();
    let config = AdamWConfig { beta1: 0.8, beta2: 0.95, eps: 1e-3, weight_decay: 0.3 };
    let mut optimizer = AdamW::new(&params, config);
    let start = snapshot(&params);
    let mut p = start.clone();
    let zeros = || p.iter().map(|(name, v)| (name.clone(), vec![0.0; v.len()])).collect::<BTreeMap<_, Vec<f64>>>();
    let (mut m, mut v) = (zeros(), zeros());
    for t in 1..=5 {
        let (lr, scale) = (0.05 / f64::from(t), if t == 3 { 0.25 } else { 1.0 });
        let gradient = |name: &str, count| fill_signed(&format!("gradient {t} of {name}"), count);
        optimizer.step(&gradients(&params, gradient), lr, scale).unwrap();
        for (name, _) in params.trainable() {
            let decays = name.ends_with("conv.weight") || name == "head.weight";
            let (p, m, v) = (p.get_mut(name).unwrap(), m.get_mut(name).unwrap(), v.get_mut(name).unwrap());
            for (i, g) in gradient(name, p.len()).into_iter().enumerate() {
                let g = f64::from(g) * scale;
                m[i] = 0.8 * m[i] + 0.2 * g;
                v[i] = 0.95 * v[i] + 0.05 * g * g;
                let (m_hat, v_hat) = (m[i] / (1.0 - 0.8f64.powi(t)), v[i] / (1.0 - 0.95f64.powi(t)));
                let kept = if decays { p[i] * (1.0 - lr * 0.3) } else { p[i] };
                p[i] = kept - lr * m_hat / (v_hat.sqrt() + 1e-3);
            }
        }
        for (name, now) in snapshot(&params) {
            let off = max_abs_diff(&now, &p[&name]);
            assert!(off < 2e-6, "step {t}: {name} is off by {off:e}");
        }
    }
    for (name, param) in params.iter().filter(|(_, p)| !p.kind.trainable()) {
        assert_eq!(values(param.var.as_tensor()), start[name], "{name} is not the optimizer's");
    }
}

#[test]
fn only_weights_decay() {
    let params = toy_params();
    let before = snapshot(&params);
    let mut optimizer = AdamW::new(&params, AdamWConfig { weight_decay: 0.5, ..AdamWConfig::default() });
    optimizer.step(&gradients(&params, |_, count| vec![0.0; count]), 0.1, 1.0).unwrap();
    for (name, now) in snapshot(&params) {
        let factor = if name == "conv.weight" || name == "head.weight" { 0.95 } else { 1.0 };
        let expected: Vec<f64> = before[&name].iter().map(|v| v * factor).collect();
        assert!(max_abs_diff(&now, &expected) < 1e-7, "{name}");
    }
}

#[test]
fn the_optimizer_resumes_and_refuses_missing_gradients() {
    let gradient = |t: usize| move |name: &str, count: usize| fill_signed(&format!("{t} {name}"), count);
    let whole = toy_params();
    let mut optimizer = AdamW::new(&whole, AdamWConfig::default());
    let parts = toy_params();
    let mut first = AdamW::new(&parts, AdamWConfig::default());
    for t in 0..2 {
        optimizer.step(&gradients(&whole, gradient(t)), 0.01, 1.0).unwrap();
        first.step(&gradients(&parts, gradient(t)), 0.01, 1.0).unwrap();
    }
    let (state, step) = first.state().unwrap();
    assert_eq!(step, 2);
    let mut second = AdamW::new(&parts, AdamWConfig::default());
    second.restore(&state, step).unwrap();
    optimizer.step(&gradients(&whole, gradient(2)), 0.01, 1.0).unwrap();
    second.step(&gradients(&parts, gradient(2)), 0.01, 1.0).unwrap();
    assert_eq!(snapshot(&whole), snapshot(&parts));
    let mut lost = state.clone();
    lost.shift_remove("v.gamma").unwrap();
    assert!(second.restore(&lost, 2).unwrap_err().to_string().contains("v.gamma"));
    let only_gamma = whole.get("gamma").unwrap().var.as_tensor().sum_all().unwrap().backward().unwrap();
    assert!(optimizer.step(&only_gamma, 0.01, 1.0).unwrap_err().to_string().contains("conv.weight"));
}

#[test]
fn the_gradient_norm_is_over_all_parameters() {
    let params = toy_params();
    let optimizer = AdamW::new(&params, AdamWConfig::default());
    let sum: f64 = params
        .trainable()
        .flat_map(|(name, p)| fill_signed(name, p.var.elem_count()))
        .map(|g| f64::from(g) * f64::from(g))
        .sum();
    let norm = optimizer.gradient_norm(&gradients(&params, fill_signed)).unwrap();
    assert!((norm - sum.sqrt()).abs() < 1e-6, "{norm} {}", sum.sqrt());
}

#[test]
fn the_schedule_is_the_published_one() {
    let golden = golden("replk/schedules.json");
    let mut compared = 0;
    for case in array(&golden["cosine_scheduler"]) {
        let Some(listed) = case["values"].as_object() else { continue };
        let args = &case["args"];
        let count = |name: &str| args.get(name).map_or(0, integer);
        let per_epoch = count("niter_per_ep");
        let schedule = CosineSchedule {
            base: args["base_value"].as_f64().unwrap(),
            last: args["final_value"].as_f64().unwrap(),
            warmup_steps: count("warmup_epochs") * per_epoch,
            steps: count("epochs") * per_epoch,
        };
        assert_eq!(schedule.steps, integer(&case["length"]));
        for (step, expected) in listed {
            let (found, expected) = (schedule.at(step.parse().unwrap()), expected.as_f64().unwrap());
            assert!((found - expected).abs() <= 1e-12 * expected.abs(), "step {step}: {found} {expected}");
            compared += 1;
        }
        let sum: f64 = (0..schedule.steps).map(|step| schedule.at(step)).sum();
        let expected = case["sum"].as_f64().unwrap();
        assert!((sum - expected).abs() <= 1e-12 * expected, "sum {sum} {expected}");
    }
    assert!(compared > 25, "only {compared} values were compared");
}

#[test]
fn averages_follow_the_recursion() {
    let params = toy_params();
    let mut ema = Ema::new(&params, 0.75).unwrap();
    let mut expected = snapshot(&params);
    for step in 0..4 {
        for (name, p) in params.iter() {
            p.var.set(&random(&format!("{name} {step}"), p.var.dims())).unwrap();
        }
        ema.update(&params).unwrap();
        for (name, p) in params.iter() {
            let now = values(p.var.as_tensor());
            let average = expected.get_mut(name).unwrap();
            for (e, p_now) in average.iter_mut().zip(now) {
                let copied = matches!(p.kind, Kind::Theta | Kind::Counter);
                *e = if copied { p_now } else { 0.75 * *e + 0.25 * p_now };
            }
            assert!(max_abs_diff(&values(&ema.tensors()[name]), average) < 1e-6, "step {step}: {name}");
        }
    }
}

/// Soft cross entropy in plain double precision.
fn reference_loss(logits: &[f64], targets: &[f64], classes: usize) -> f64 {
    let rows = logits.chunks(classes).zip(targets.chunks(classes));
    let sum: f64 = rows
        .map(|(l, t)| {
            let log_sum = l.iter().map(|v| v.exp()).sum::<f64>().ln();
            -l.iter().zip(t).map(|(l, t)| t * (l - log_sum)).sum::<f64>()
        })
        .sum();
    sum / (logits.len() / classes) as f64
}

#[test]
fn the_loss_and_its_gradient() {
    let (n, classes) = (4, 5);
    let logits = Var::from_tensor(&(random("logits", &[n, classes]) * 4.0).unwrap()).unwrap();
    let raw: Vec<f64> = fill_signed("targets", n * classes).iter().map(|v| f64::from(*v).abs() + 0.01).collect();
    let targets: Vec<f64> = raw.chunks(classes).flat_map(|r| r.iter().map(|v| v / r.iter().sum::<f64>())).collect();
    let narrow: Vec<f32> = targets.iter().map(|&v| v as f32).collect();
    let loss =
        soft_cross_entropy(logits.as_tensor(), &Tensor::from_vec(narrow, (n, classes), &Device::Cpu).unwrap()).unwrap();
    let x = values(logits.as_tensor());
    assert!(max_rel_diff(&values(&loss), &[reference_loss(&x, &targets, classes)]) < 1e-5);
    let found = values(loss.backward().unwrap().get(logits.as_tensor()).unwrap());
    let step = 1e-5;
    let numeric: Vec<f64> = (0..x.len())
        .map(|i| {
            let moved = |by: f64| {
                let mut x = x.clone();
                x[i] += by;
                reference_loss(&x, &targets, classes)
            };
            (moved(step) - moved(-step)) / (2.0 * step)
        })
        .collect();
    assert!(max_abs_diff(&found, &numeric) < 1e-6, "{found:?} {numeric:?}");
    // Large logits do not overflow.
    let huge = Tensor::new(&[[500f32, -500.0]], &Device::Cpu).unwrap();
    let target = Tensor::new(&[[0f32, 1.0]], &Device::Cpu).unwrap();
    assert_eq!(values(&soft_cross_entropy(&huge, &target).unwrap()), [1000.0]);
    let logits = Tensor::new(&[[0f32, 2.0, 1.0], [3.0, 2.0, 1.0], [0.0, 0.0, 1.0]], &Device::Cpu).unwrap();
    assert_eq!(accuracy(&logits, &[1, 0, 1]).unwrap(), 2);
}

/// A run of three epochs of four steps that takes a moment, with everything random switched on.
fn config() -> RunConfig {
    let tiny = ["dims=8,16,16,16", "stem_channels=8", "kernel=7", "drop_path=0.2"];
    RunConfig {
        train: TrainConfig {
            epochs: 3,
            batch_size: 16,
            warmup_epochs: 0.5,
            clip_norm: 5.0,
            ema: 0.9,
            log_every: 3,
            workers: 1,
            seed: 11,
            mix: MixConfig { mixup: 0.4, cutmix: 1.0, smoothing: 0.1, ..MixConfig::default() },
            augment: Augment::imagenet(),
            ..TrainConfig::default()
        },
        data: DataConfig {
            size: 32,
            crop_pct: 1.0,
            normalize: Normalize::HALF,
            source: DataSource::Builtin(ShapesTexturesConfig { size: 32, train: 64, val: 24, seed: 5 }),
        },
        model: ModelSpec::named("nano-1d").unwrap().with_overrides(&tiny).unwrap(),
    }
}

fn train(root: &Path, config: RunConfig) {
    Trainer::create(root, config).unwrap().train(&mut Silent).unwrap();
}

/// The files of a run that must repeat exactly; of the metrics, all but the speed.
fn results(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = files(root);
    let metrics = String::from_utf8(found.remove("metrics.csv").unwrap()).unwrap();
    let kept: Vec<&str> = metrics.lines().map(|line| line.rsplit_once(',').unwrap().0).collect();
    assert!(metrics.lines().next().unwrap().ends_with(",images_per_second"), "{metrics}");
    found.insert("metrics.csv".into(), kept.join("\n").into_bytes());
    found.retain(|name, _| !name.ends_with(".part"));
    found
}

fn assert_same_results(found: &Path, expected: &Path) {
    let (found, expected) = (results(found), results(expected));
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&found), names(&expected));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(text(&found["metrics.csv"]), text(&expected["metrics.csv"]));
    for (name, bytes) in &expected {
        assert!(&found[name] == bytes, "{name} differs");
    }
}

/// Sets the stop flag after a step.
struct StopAfter(usize, Arc<AtomicBool>);

impl Observer for StopAfter {
    fn step(&mut self, report: &StepReport) {
        assert!(report.step <= self.0, "the run went on after the flag was set");
        self.1.store(report.step == self.0, Ordering::Relaxed);
    }
}

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

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kernelscope"));
    command.args(args).env_remove("RUST_LOG").stdout(Stdio::null()).stderr(Stdio::null());
    command
}

#[test]
fn a_killed_run_ends_with_the_same_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let mut config = config();
    config.train.epochs = 6;
    if let DataSource::Builtin(set) = &mut config.data.source {
        (set.train, set.val) = (128, 256);
    }
    std::fs::write(path("run.toml"), config.to_toml().unwrap()).unwrap();
    assert!(command(&["train", "--config", &path("run.toml"), "--out", &path("whole")]).status().unwrap().success());
    let mut child = command(&["train", "--config", &path("run.toml"), "--out", &path("killed")]).spawn().unwrap();
    let (progress, started) = (folder.path().join("killed/state/progress.toml"), Instant::now());
    while !progress.exists() && started.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    assert!(!child.wait().unwrap().success(), "the run was over before it could be killed");
    let epoch = RunFolder::open(&folder.path().join("killed")).unwrap().progress().unwrap().epoch;
    assert!((1..6).contains(&epoch), "killed after {epoch} complete epochs");
    assert!(command(&["train", "--resume", &path("killed")]).status().unwrap().success());
    assert_same_results(&folder.path().join("killed"), &folder.path().join("whole"));
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

/// Fails unless the run's last complete epoch is `epoch` and can be used.
fn assert_usable(root: &Path, epoch: usize) {
    assert!(!files(root).keys().any(|name| name.ends_with(".part")), "a temporary file is left");
    let run = RunFolder::open(root).unwrap();
    assert_eq!(run.progress().unwrap().epoch, epoch);
    assert_eq!(run.history().unwrap().points.len(), epoch);
    let checkpoint = weights::load(&run.latest_checkpoint().unwrap().path).unwrap();
    let network = Network::from_checkpoint::<&str>(None, checkpoint, &[], BuildOptions::frozen()).unwrap();
    let logits = values(&network.forward(&random("images", &[2, 3, 32, 32])).unwrap());
    assert!(logits.iter().all(|v| v.is_finite()), "{logits:?}");
}

#[test]
fn a_loss_that_is_not_finite_stops_the_run() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("run");
    let mut config = config();
    config.train.epochs = 1;
    train(&root, config.clone());
    // The same run with a longer plan and an absurd learning rate.
    (config.train.epochs, config.train.lr) = (3, 1e30);
    std::fs::write(root.join("config.toml"), config.to_toml().unwrap()).unwrap();
    let error = Trainer::resume(&root).unwrap().train(&mut Silent).unwrap_err();
    // Step 5 is the first with that rate; its damage shows in the next.
    let damaged = ["step 6 ", "step 7 ", "step 8 "];
    let named = matches!(&error, Error::NonFinite { place, .. } if damaged.iter().any(|step| place.contains(step)));
    assert!(named, "{error}");
    assert_usable(&root, 1);
}

#[test]
fn an_epoch_that_ends_with_broken_weights_is_not_complete() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("run");
    let mut config = config();
    config.model = config.model.with_overrides(&["norm=layer"]).unwrap();
    // One step per epoch: the first has a learning rate of 0, the second breaks the weights after its loss was taken.
    (config.train.batch_size, config.train.warmup_epochs, config.train.lr) = (64, 3.0, 1e30);
    let error = Trainer::create(&root, config).unwrap().train(&mut Silent).unwrap_err();
    assert!(matches!(error, Error::NonFinite { .. }), "{error}");
    assert_usable(&root, 1);
}

#[test]
fn old_checkpoints_are_removed_where_asked() {
    let folder = tempfile::tempdir().unwrap();
    for (keep, expected) in [(1, &[3][..]), (2, &[2, 3]), (0, &[1, 2, 3])] {
        let root = folder.path().join(keep.to_string());
        let mut config = config();
        config.train.keep_checkpoints = keep;
        train(&root, config);
        let run = RunFolder::open(&root).unwrap();
        let found: Vec<(usize, bool)> = run.checkpoints().unwrap().iter().map(|c| (c.epoch, c.ema)).collect();
        let expected: Vec<(usize, bool)> = expected.iter().flat_map(|&e| [(e, false), (e, true)]).collect();
        assert_eq!(found, expected, "{keep}");
    }
}

#[test]
fn an_existing_run_is_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("run");
    let mut config = config();
    config.train.epochs = 1;
    train(&root, config.clone());
    let before = files(&root);
    let error = Trainer::create(&root, config.clone()).err().unwrap().to_string();
    assert!(error.contains("already holds a run") && error.contains("run"), "{error}");
    assert!(files(&root) == before, "the run was touched");
    let empty = folder.path().join("empty");
    for change in [
        |c: &mut RunConfig| c.train.epochs = 0,
        |c: &mut RunConfig| c.train.lr = f64::NAN,
        |c: &mut RunConfig| c.train.ema = 1.0,
        |c: &mut RunConfig| c.train.warmup_epochs = 9.0,
        |c: &mut RunConfig| c.train.optimizer.weight_decay = f64::NAN,
        |c: &mut RunConfig| c.train.epochs = usize::MAX,
        |c: &mut RunConfig| c.train.seed = u64::MAX,
        |c: &mut RunConfig| c.train.batch_size = 1,
        |c: &mut RunConfig| c.data.size = 16,
        |c: &mut RunConfig| c.data.size = 33,
    ] {
        let mut wrong = config.clone();
        change(&mut wrong);
        assert!(Trainer::create(&empty, wrong.clone()).is_err(), "{:?} {:?}", wrong.train, wrong.data);
        assert!(!empty.exists(), "a refused configuration left a folder");
    }
    assert!(Trainer::resume(&empty).err().unwrap().to_string().contains("is not a run folder"));
}

#[cfg(unix)]
#[test]
fn a_configuration_that_cannot_be_written_leaves_no_folder() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("run");
    let mut config = config();
    let path = std::path::PathBuf::from(<std::ffi::OsString as std::os::unix::ffi::OsStringExt>::from_vec(vec![0xff]));
    config.data.source = DataSource::Folder { path };
    let error = RunFolder::create(&root, &config).err().unwrap().to_string();
    assert!(error.contains("UTF-8") && !root.exists(), "{error}");
}

#[test]
fn one_image_per_step_is_refused_where_a_batch_norm_needs_more() {
    let folder = tempfile::tempdir().unwrap();
    let create = |name: &str, batch_size, images, overrides: &[&str]| {
        let mut config = config();
        config.train.batch_size = batch_size;
        config.model = config.model.with_overrides(overrides).unwrap();
        if let DataSource::Builtin(set) = &mut config.data.source {
            set.train = images;
        }
        Trainer::create(&folder.path().join(name), config).map(drop).map_err(|e| e.to_string())
    };
    for (batch_size, images) in [(1, 8), (16, 1)] {
        let error = create("single", batch_size, images, &[]).unwrap_err();
        assert!(error.starts_with(&format!("batch size: got 1 of {images} training images")), "{error}");
        assert!(error.contains("at least 2") && error.contains("batch norm"), "{error}");
        assert!(!folder.path().join("single").exists(), "a refused batch size left a folder");
    }
    create("two", 2, 8, &[]).unwrap();
    create("layer norm", 1, 8, &["norm=layer"]).unwrap();
}

/// Puts images of one class, numbered from `from`, into a folder of class folders.
fn add_images(images: &Path, class: &str, from: u8, count: u8) {
    let dir = images.join(class);
    std::fs::create_dir_all(&dir).unwrap();
    for i in from..from + count {
        Image::filled(32, 40, [20 * i, 90, 200]).save_png(dir.join(format!("{i}.png"))).unwrap();
    }
}

/// A run of one epoch over a folder of images.
fn train_on_folder(root: &Path, images: &Path, batch_size: usize) {
    let mut config = config();
    (config.train.epochs, config.train.batch_size) = (1, batch_size);
    config.data.source = DataSource::Folder { path: images.to_path_buf() };
    train(root, config);
}

#[test]
fn a_folder_that_changed_its_classes_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let images = folder.path().join("images");
    add_images(&images, "cat", 0, 4);
    add_images(&images, "dog", 0, 4);
    let root = folder.path().join("run");
    train_on_folder(&root, &images, 16);
    let run = RunFolder::open(&root).unwrap();
    assert_eq!(run.config().unwrap().model.config.classes(), 2, "the folder decides the number of classes");
    add_images(&images, "eel", 0, 4);
    let error = Trainer::resume(&root).err().unwrap().to_string();
    assert!(error.contains("2 in the network, 3 in the data"), "{error}");
}

#[test]
fn a_folder_that_changed_its_images_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let images = folder.path().join("images");
    add_images(&images, "cat", 0, 4);
    add_images(&images, "dog", 0, 4);
    let (one, three) = (folder.path().join("one"), folder.path().join("three"));
    // A fifth of each class is for validation; 6 images are left.
    train_on_folder(&one, &images, 16);
    train_on_folder(&three, &images, 2);
    Trainer::resume(&one).unwrap();
    add_images(&images, "cat", 4, 1);
    add_images(&images, "dog", 4, 1);
    for (root, parts) in [
        (&one, ["1 steps over 6 training images", "1 steps over 8 images"]),
        (&three, ["3 steps over 6 training images", "4 steps over 8 images"]),
    ] {
        let error = Trainer::resume(root).err().unwrap().to_string();
        assert!(parts.iter().all(|part| error.contains(part)) && error.contains("restore the images"), "{error}");
    }
    // A run that did not record its images is known by its steps.
    let progress = three.join("state/progress.toml");
    std::fs::write(&progress, "epoch = 1\nstep = 3\n").unwrap();
    let error = Trainer::resume(&three).err().unwrap().to_string();
    assert!(error.contains("took 3 steps,") && error.contains("4 steps over 8 images"), "{error}");
    std::fs::write(&progress, "epoch = 1\nstep = 4\n").unwrap();
    Trainer::resume(&three).unwrap();
}
