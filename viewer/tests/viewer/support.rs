//! Runs and checkpoints to look at, and the program with its pixels.

use eframe::egui::{self, Color32, TexturesDelta};
use egui_kittest::{Harness, TestRenderer};
use kernelscope::nn::BuildOptions;
use kernelscope::weights;
use kernelscope::zoo::{ModelSpec, Network};
use kernelscope_lab::data::{Normalize, ShapesTexturesConfig};
use kernelscope_lab::run::{DataConfig, DataSource, RunConfig, TrainConfig};
use kernelscope_lab::train::sparse::{SparseConfig, SparseInit, SparseKind};
use kernelscope_lab::train::{Silent, Trainer};
use kernelscope_viewer::Viewer;
use kernelscope_viewer::command::Command;
use kernelscope_viewer::jobs::InlineRunner;
use kernelscope_viewer::raster::Raster;
use kernelscope_viewer::state::{ErfLook, Settings, Source};
use kernelscope_viewer::window::Size;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Side of the images of the runs here.
pub const SIDE: usize = 32;

fn config(model: &str, epochs: usize, sparse: Option<SparseConfig>) -> RunConfig {
    let set = ShapesTexturesConfig { size: SIDE, train: 64, val: 16, seed: 1 };
    RunConfig {
        train: TrainConfig {
            epochs,
            batch_size: 16,
            lr: 6e-3,
            warmup_epochs: 0.1,
            log_every: 2,
            workers: 0,
            sparse,
            ..TrainConfig::default()
        },
        data: DataConfig {
            size: SIDE,
            crop_pct: 1.0,
            normalize: Normalize::HALF,
            reading: Default::default(),
            source: DataSource::Builtin(set),
        },
        model: ModelSpec::named(model).unwrap(),
    }
}

fn train(root: &Path, config: RunConfig) {
    Trainer::create(root, config).unwrap().train(&mut Silent).unwrap();
}

/// A folder with a dense run `line`, trained for three epochs, and a sparse shift-wise run `shifts`, for two. They are
/// trained once for all tests.
pub fn runs() -> &'static Path {
    static RUNS: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = RUNS.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        train(&folder.path().join("line"), config("nano-1d", 3, None));
        let sparse = SparseConfig {
            kind: SparseKind::Coarse,
            init: SparseInit::Uniform,
            sparsity: 0.5,
            update_frequency: 2,
            ..SparseConfig::default()
        };
        train(&folder.path().join("shifts"), config("nano-sw", 2, Some(sparse)));
        folder
    });
    folder.path()
}

/// A copy of a run that a test may change.
pub fn copied(name: &str, to: &Path) -> PathBuf {
    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for item in std::fs::read_dir(from).unwrap() {
            let item = item.unwrap();
            let target = to.join(item.file_name());
            match item.file_type().unwrap().is_dir() {
                true => copy(&item.path(), &target),
                false => drop(std::fs::copy(item.path(), target).unwrap()),
            }
        }
    }
    let target = to.join(name);
    copy(&runs().join(name), &target);
    target
}

/// Weights of a fresh network in a file, with or without its name.
pub fn checkpoint(path: &Path, model: &str, named: bool) {
    let network = Network::build(ModelSpec::named(model).unwrap(), BuildOptions::frozen()).unwrap();
    let metadata = if named { BTreeMap::from([network.spec().metadata().unwrap()]) } else { BTreeMap::new() };
    weights::save(path, &network.params().tensors(), &metadata).unwrap();
}

/// Weights of a fresh network in a file, of which every third weight of the parallel large kernels is zero.
pub fn pruned(path: &Path, model: &str) {
    let network = Network::build(ModelSpec::named(model).unwrap(), BuildOptions::frozen()).unwrap();
    let mut tensors = network.params().tensors();
    for (name, tensor) in &mut tensors {
        if name.contains("large_kernel") && tensor.dims().len() == 4 {
            let mut values: Vec<f32> = tensor.flatten_all().unwrap().to_vec1().unwrap();
            values.iter_mut().step_by(3).for_each(|value| *value = 0.0);
            *tensor = candle_core::Tensor::from_vec(values, tensor.shape(), tensor.device()).unwrap();
        }
    }
    weights::save(path, &tensors, &BTreeMap::from([network.spec().metadata().unwrap()])).unwrap();
}

/// Settings with which analyses are quick.
pub fn settings() -> Settings {
    let mut settings = Settings { erf: ErfLook { size: 64, images: 2, ..ErfLook::default() }, ..Settings::default() };
    settings.bias.images = 56;
    settings
}

/// Paints for kittest what the program's own renderer paints.
#[derive(Default)]
pub struct Painter(Raster);

impl TestRenderer for Painter {
    fn handle_delta(&mut self, delta: &mut TexturesDelta) {
        self.0.update(delta);
    }

    fn render(&mut self, ctx: &egui::Context, output: &egui::FullOutput) -> Result<image::RgbaImage, String> {
        let scale = ctx.pixels_per_point();
        let size = ctx.content_rect().size() * scale;
        let primitives = ctx.tessellate(output.shapes.clone(), scale);
        let size = Size { width: size.x.round() as u32, height: size.y.round() as u32 };
        Ok(self.0.paint(&primitives, scale, size, Color32::BLACK))
    }
}

/// The program in a window of this size.
pub fn program(settings: Settings, size: (f32, f32)) -> Harness<'static, Viewer> {
    Harness::builder()
        .with_size(egui::vec2(size.0, size.1))
        .with_max_steps(40)
        .with_render_cursor(false)
        .renderer(Painter::default())
        .build_eframe(move |cc| Viewer::new(&cc.egui_ctx, settings, Box::new(InlineRunner)))
}

/// The program with these paths open.
pub fn opened(paths: &[&Path]) -> Harness<'static, Viewer> {
    let mut harness = program(settings(), (1500.0, 940.0));
    for path in paths {
        run(&mut harness, Command::Open(Source::from(*path)));
    }
    harness
}

/// Does something and lets the program settle.
pub fn run(harness: &mut Harness<'_, Viewer>, command: Command) {
    let ctx = harness.ctx.clone();
    harness.state_mut().run(&ctx, command);
    harness.run_steps(4);
}

/// Does several things after each other.
pub fn run_all<const N: usize>(harness: &mut Harness<'_, Viewer>, commands: [Command; N]) {
    for command in commands {
        run(harness, command);
    }
}

/// The texts of all messages.
pub fn messages(viewer: &Viewer) -> Vec<String> {
    viewer.state.messages.all().iter().map(|message| message.text.clone()).collect()
}
