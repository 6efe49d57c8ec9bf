//! Pictures of every view in dark and light, with data that are the same everywhere.
//!
//! `UPDATE_SNAPSHOTS=1 cargo test` writes them again; look at them before they are committed.

use crate::support::{SIDE, program, run, settings};
use egui_kittest::{Harness, SnapshotResults};
use kernelscope::analysis::report::ErfMap;
use kernelscope::analysis::shape_bias::Answer;
use kernelscope::nn::BuildOptions;
use kernelscope::weights::{self, TensorMap};
use kernelscope::zoo::{ModelSpec, Network};
use kernelscope_lab::data::{Image, Normalize, ShapesTexturesConfig};
use kernelscope_lab::report::{Answered, Stimuli};
use kernelscope_lab::run::{
    DataConfig, DataSource, MaskRow, MaskWriter, MetricsWriter, Progress, Row, RowKind, RunConfig, RunFolder,
    TrainConfig,
};
use kernelscope_viewer::Viewer;
use kernelscope_viewer::command::Command;
use kernelscope_viewer::state::{Arrangement, BiasLook, BiasResult, ErfResult, KernelSort, State, View};
use std::path::Path;
use std::sync::Arc;

const EPOCHS: usize = 4;
const STEPS: usize = 20;

/// A run folder that looks trained: weights from a seed, curves and masks from formulas.
fn fixed_run(root: &Path, model: &str, sparse: bool) {
    let set = ShapesTexturesConfig { size: SIDE, train: 64, val: 16, seed: 1 };
    let data = DataConfig {
        size: SIDE,
        crop_pct: 1.0,
        normalize: Normalize::HALF,
        reading: Default::default(),
        source: DataSource::Builtin(set),
    };
    let train = TrainConfig { epochs: EPOCHS, ..TrainConfig::default() };
    let config = RunConfig { train, data, model: ModelSpec::named(model).unwrap() };
    let folder = RunFolder::create(root, &config).unwrap();
    let network = Network::build(config.model.clone(), BuildOptions::frozen()).unwrap();
    let metadata = [network.spec().metadata().unwrap(), config.data.preprocessing().metadata().unwrap()].into();
    let mut metrics = MetricsWriter::open(&folder.metrics_path(), |_| true).unwrap();
    let mut masks = sparse.then(|| MaskWriter::open(&folder.mask_rows_path(), |_| true).unwrap());
    let groups: Vec<(String, usize)> = network
        .params()
        .tensors()
        .iter()
        .filter(|(name, _)| name.contains(".LoRAs."))
        .map(|(name, tensor)| (name.clone(), tensor.dims()[0]))
        .collect();
    for epoch in 1..=EPOCHS {
        weights::save(&folder.checkpoint_path(epoch, false), &network.params().tensors(), &metadata).unwrap();
        for part in 1..=STEPS {
            let step = (epoch - 1) * STEPS + part;
            let last = part == STEPS;
            let loss = if sparse { 2.25 } else { 2.1 } / (1.0 + 0.03 * step as f64);
            let row = Row {
                kind: if last { RowKind::Epoch } else { RowKind::Step },
                epoch,
                step,
                lr: 1e-3,
                train_loss: loss,
                train_accuracy: 1.0 - loss / 2.3,
                gradient_norm: 1.0,
                val_loss: last.then_some(1.1 * loss),
                val_accuracy: last.then_some(0.95 - loss / 2.3),
                ema_accuracy: None,
                images_per_second: 100.0,
            };
            metrics.append(&row).unwrap();
        }
        if let Some(masks) = &mut masks {
            let mut kept = TensorMap::new();
            for (layer, (name, count)) in groups.iter().enumerate() {
                let density = 0.9 - 0.1 * epoch as f64 + 0.01 * layer as f64;
                let (merged_density, explored) = (density.sqrt(), 0.9 + 0.02 * epoch as f64);
                let row = MaskRow { step: epoch * STEPS, layer: name.clone(), density, merged_density, explored };
                masks.append(&row).unwrap();
                let keeps = |i: usize| kernelscope::rng::mix((i * 61 + layer * 977) as u64) % 100 < 35;
                let bits: Vec<u8> = (0..*count).map(|i| u8::from(keeps(i))).collect();
                let mask = candle_core::Tensor::from_vec(bits, (*count, 1, 1, 1), &candle_core::Device::Cpu).unwrap();
                kept.insert(name.clone(), mask);
            }
            weights::save(&folder.masks_path(epoch), &kept, &Default::default()).unwrap();
        }
    }
    folder.set_progress(Progress { epoch: EPOCHS, step: EPOCHS * STEPS, images: 64 }).unwrap();
}

/// A receptive field from a formula, one row or column of which stands out.
fn fixed_erf(state: &mut State) {
    for index in 0..state.entries.len() {
        let key = state.look.erf.key(state.entries[index].generation);
        let label = state.entries[index].label.clone();
        let side = 96;
        let value = |i: usize| {
            let (x, y) = ((i % side) as f32 - 48.0, (i / side) as f32 - 48.0);
            let width = 11.0 + 8.0 * index as f32;
            let line = if index == 0 { x.abs().min(y.abs()) } else { (x - y).abs() };
            20.0 * (-(x * x + y * y) / (2.0 * width * width)).exp() + 2.0 * (-line / 3.0).exp()
        };
        let map = ErfMap {
            model: label,
            stage: 3,
            position: (12, 12),
            height: side,
            width: side,
            images: 8,
            contribution: (0..side * side).map(value).collect(),
        };
        let image = Arc::new(Image::filled(side, side, [90, 120, 150]));
        let entry = &mut state.entries[index];
        entry.erf = Some(ErfResult::new(key.clone(), map, 8, image, (24, 24), 1000 + index as u64));
        entry.erf_wanted = Some(key);
        entry.hash = Some("0123456789abcdef".repeat(4));
    }
}

/// Answers from a formula.
fn fixed_bias(state: &mut State) {
    for index in 0..state.entries.len() {
        let entry = &mut state.entries[index];
        let data = entry.subject.as_ref().unwrap().data.clone().unwrap();
        let stimuli = Arc::new(Stimuli::builtin(&data, 56).unwrap().unwrap());
        let answered: Vec<Answered> = (0..stimuli.len())
            .map(|image| {
                let (shape, texture) = stimuli.cues(image).unwrap();
                let decision = match (image * 7 + index * 5 + image / 8) % 10 {
                    0..4 => shape,
                    4..8 => texture,
                    _ => (shape + 3) % 8,
                };
                let share = |c: usize| if c == decision { 0.58 } else { 0.06 };
                Answered { answer: Answer { shape, texture, decision }, probabilities: (0..8).map(share).collect() }
            })
            .collect();
        let report = stimuli.report(&entry.label, &answered);
        entry.bias = Some(BiasResult { stimuli, answered, report, version: 1 });
        entry.bias_wanted = Some(state.look.bias.key(entry.generation));
    }
}

fn fixed(folder: &Path, light: bool) -> Harness<'static, Viewer> {
    fixed_run(&folder.join("oriented"), "nano-1d", false);
    fixed_run(&folder.join("shift-wise"), "nano-sw", true);
    let mut harness = program(settings(), (980.0, 660.0));
    harness.state_mut().state.look.erf.live = false;
    harness.state_mut().state.settings.dark = !light;
    harness.state_mut().show_only(&[View::Messages]);
    run(&mut harness, Command::Open(folder.into()));
    fixed_erf(&mut harness.state_mut().state);
    fixed_bias(&mut harness.state_mut().state);
    harness
}

#[test]
fn every_view_looks_as_before() {
    let folder = tempfile::tempdir().unwrap();
    let mut results = SnapshotResults::new();
    for light in [false, true] {
        let place = folder.path().join(if light { "light" } else { "dark" });
        let mut harness = fixed(&place, light);
        let theme = if light { "light" } else { "dark" };
        for view in View::ALL {
            prepare(&mut harness, view);
            harness.state_mut().show_only(&[view]);
            harness.run_steps(3);
            results.add(harness.try_snapshot(format!("{}-{theme}", view.name())));
        }
    }
    results.unwrap();
}

/// Something worth a look in each view.
fn prepare(harness: &mut Harness<'static, Viewer>, view: View) {
    let state = &mut harness.state_mut().state;
    state.look.address = Some("stages.0.0.dwconv:3".parse().unwrap());
    state.look.current = state.entries.first().map(|entry| entry.id);
    match view {
        View::Network => state.look.expanded.extend(["stages".into(), "stages.0".into(), "stages.0.0".into()]),
        View::Kernels => state.look.kernels.sort = KernelSort::Norm,
        View::Sparsity => {
            state.look.current = state.entries.last().map(|entry| entry.id);
            state.look.address = Some("stages.0.0.large_kernel".parse().unwrap());
        }
        View::ShapeBias => {
            state.look.bias = BiasLook { category: Some(3), image: Some(3), images: 56, stimuli: None };
        }
        View::Messages => state.messages.push(kernelscope_viewer::state::Level::Error, "weights.pth: is empty"),
        _ => {}
    }
}

#[test]
fn comparisons_and_dialogs_look_as_before() {
    let folder = tempfile::tempdir().unwrap();
    let mut results = SnapshotResults::new();
    let mut harness = fixed(folder.path(), false);
    harness.state_mut().show_only(&[View::Erf]);
    for (arrangement, name) in [(Arrangement::Swipe, "swipe"), (Arrangement::Difference, "difference")] {
        run(&mut harness, Command::Arrange(arrangement));
        results.add(harness.try_snapshot(format!("erf-{name}")));
    }
    run(&mut harness, Command::Arrange(Arrangement::Side));
    run(&mut harness, Command::ToggleContours);
    results.add(harness.try_snapshot("erf-contours"));
    for (command, name) in
        [(Command::Palette, "palette"), (Command::Shortcuts, "shortcuts"), (Command::OpenTyped, "open")]
    {
        run(&mut harness, command);
        results.add(harness.try_snapshot(name));
        run(&mut harness, Command::CloseDialog);
    }
    run(&mut harness, Command::CloseAll);
    harness.state_mut().state.settings.recent.clear();
    harness.state_mut().state.messages.clear();
    harness.run_steps(3);
    results.add(harness.try_snapshot("start"));
    results.unwrap();
}
