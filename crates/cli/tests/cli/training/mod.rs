//! Training: the optimizer, schedule, averaging and loss against plain references; and runs that are stopped, killed
//! and resumed, repeated with other numbers of threads, or that fail.

mod failures;
mod parts;
mod runs;

use crate::common::{files, values};
use kernelscope::nn::Params;
use kernelscope::zoo::ModelSpec;
use kernelscope_lab::data::{Augment, MixConfig, Normalize, Reading, ShapesTexturesConfig};
use kernelscope_lab::run::{DataConfig, DataSource, RunConfig, RunFolder, TrainConfig};
use kernelscope_lab::train::{Observer, Silent, StepReport, Trainer};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

fn snapshot(params: &Params) -> BTreeMap<String, Vec<f64>> {
    params.iter().map(|(name, p)| (name.to_string(), values(p.var.as_tensor()))).collect()
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
            reading: Reading::default(),
            source: DataSource::Builtin(ShapesTexturesConfig { size: 32, train: 64, val: 24, seed: 5 }),
        },
        model: ModelSpec::named("nano-1d").unwrap().with_overrides(&tiny).unwrap(),
    }
}

fn train(root: &Path, config: RunConfig) {
    Trainer::create(root, config).unwrap().train(&mut Silent).unwrap();
}

/// The files of a run that must repeat exactly; of the metrics, all but the speed.
pub fn results(root: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = files(root);
    let metrics = String::from_utf8(found.remove("metrics.csv").unwrap()).unwrap();
    let kept: Vec<&str> = metrics.lines().map(|line| line.rsplit_once(',').unwrap().0).collect();
    assert!(metrics.lines().next().unwrap().ends_with(",images_per_second"), "{metrics}");
    found.insert("metrics.csv".into(), kept.join("\n").into_bytes());
    found.retain(|name, _| !name.ends_with(".part"));
    found
}

/// Checks that two runs have the same files with the same bytes.
pub fn assert_same_results(found: &Path, expected: &Path) {
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

/// Checks that a run of this configuration, killed after an epoch and resumed, ends as one that was left alone. Before it
/// is resumed, `damage` gets its folder and the number of complete epochs.
pub fn assert_survives_a_kill(mut config: RunConfig, damage: impl FnOnce(&RunFolder, usize)) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
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
    let run = RunFolder::open(&folder.path().join("killed")).unwrap();
    let epoch = run.progress().unwrap().epoch;
    assert!((1..6).contains(&epoch), "killed after {epoch} complete epochs");
    damage(&run, epoch);
    assert!(command(&["train", "--resume", &path("killed")]).status().unwrap().success());
    assert_same_results(&folder.path().join("killed"), &folder.path().join("whole"));
}

/// The command, quiet.
pub fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kernelscope"));
    command.args(args).env_remove("RUST_LOG").stdout(Stdio::null()).stderr(Stdio::null());
    command
}
