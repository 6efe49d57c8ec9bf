//! Time per frame with four receptive fields of 1024x1024 on screen.

use crate::Viewer;
use crate::jobs::InlineRunner;
use crate::state::{Camera, Entry, ErfLook, ErfResult, Images, OpenKey, Settings, View};
use crate::window::{self, Size};
use eframe::egui;
use kernelscope::analysis::report::ErfMap;
use kernelscope_lab::data::Image;
use kernelscope_lab::open::Found;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// Side of the maps.
pub const SIDE: usize = 1024;
/// Number of the maps.
pub const MAPS: usize = 4;
/// Number of frames that are measured.
const FRAMES: usize = 240;
/// Number of frames before that, in which textures are made and fonts are drawn.
const WARM_UP: usize = 20;

/// Opens four maps: peaks of different widths with some noise.
pub fn fill(viewer: &mut Viewer) {
    for index in 0..MAPS {
        let path = PathBuf::from(format!("map-{index}.npy"));
        let id = viewer.state.new_id();
        let mut entry = Entry::new(id, Found::Matrix(path.clone()), None);
        let width = 40.0 + 70.0 * index as f32;
        let contribution = (0..SIDE * SIDE).map(|i| value(i, width)).collect();
        let model = entry.label.clone();
        let map = ErfMap { model, stage: 3, position: (0, 0), height: SIDE, width: SIDE, images: 1, contribution };
        let look = ErfLook { size: SIDE, source: Images::Path(path), ..ErfLook::default() };
        let image = Arc::new(Image::filled(1, 1, [128; 3]));
        entry.erf = Some(ErfResult::new(look.key(0), map, 1, image, (0, 0), index as u64));
        entry.opened = Some(OpenKey { epoch: None, model: None, reloads: 0 });
        viewer.state.entries.push(entry);
        viewer.state.look.compared.insert(id);
        viewer.state.look.current.get_or_insert(id);
    }
    viewer.show_only(&[View::Erf]);
}

fn value(index: usize, width: f32) -> f32 {
    let (x, y) = ((index % SIDE) as f32 - 512.0, (index / SIDE) as f32 - 512.0);
    let noise = kernelscope::rng::mix(index as u64) as f32 / u64::MAX as f32;
    40.0 * (-(x * x + y * y) / (2.0 * width * width)).exp() + noise
}

/// Milliseconds per frame: the program's own work, and the whole time between frames.
#[derive(Debug, Default, Clone)]
pub struct Times {
    own: Vec<f64>,
    whole: Vec<f64>,
}

fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = ((sorted.len().saturating_sub(1)) as f64 * share).round() as usize;
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

impl Times {
    /// The times in three lines.
    fn report(&self, what: &str) -> String {
        let line = |name: &str, values: &[f64]| {
            let [median, late, most] = [0.5, 0.95, 1.0].map(|share| quantile(values, share));
            format!("{name}: median {median:.2} ms, 95 % below {late:.2} ms, at most {most:.2} ms")
        };
        let frames = self.whole.len();
        let (own, whole) = (line("layout and tessellation", &self.own), line("whole frame", &self.whole));
        format!("{what}, {MAPS} maps of {SIDE}x{SIDE}, {frames} frames\n{own}\n{whole}")
    }
}

/// Every frame shows a different part of the maps, so that nothing can be reused from the previous one.
fn camera(frame: usize) -> Camera {
    Camera { center: (0.5, 0.5), zoom: 1.0 + 0.5 * (frame as f32 * 0.05).sin().abs() }
}

struct Bench {
    viewer: Viewer,
    frame: usize,
    last: Option<Instant>,
    times: Times,
    done: Sender<Times>,
}

impl eframe::App for Bench {
    fn ui(&mut self, ui: &mut egui::Ui, _frame: &mut eframe::Frame) {
        let start = Instant::now();
        self.viewer.state.look.erf.camera = camera(self.frame);
        self.viewer.frame(ui);
        if self.frame >= WARM_UP {
            self.times.own.push(start.elapsed().as_secs_f64() * 1e3);
            if let Some(last) = self.last {
                self.times.whole.push(last.elapsed().as_secs_f64() * 1e3);
            }
        }
        self.last = Some(Instant::now());
        self.frame += 1;
        if self.frame >= FRAMES + WARM_UP {
            let _ = self.done.send(std::mem::take(&mut self.times));
            ui.ctx().send_viewport_cmd(egui::ViewportCommand::Close);
        }
        ui.ctx().request_repaint();
    }
}

/// The size of the window.
const WINDOW: Size = Size { width: 1500, height: 940 };

/// Measures in a window, or without one the layout and tessellation alone, and returns the times as text.
///
/// # Errors
/// If no window can be opened.
pub fn run(headless: bool) -> Result<String, String> {
    if headless {
        return Ok(without_window().report("Without a window"));
    }
    let (done, times): (Sender<Times>, Receiver<Times>) = channel();
    // Waiting for the screen would hide what a frame takes.
    let mut options = window::options(WINDOW);
    options.glow_options.vsync = false;
    options.persist_window = false;
    window::open("kernelscope bench", options, |cc| {
        let mut viewer = Viewer::new(&cc.egui_ctx, Settings::default(), Box::new(InlineRunner));
        fill(&mut viewer);
        Box::new(Bench { viewer, frame: 0, last: None, times: Times::default(), done })
    })?;
    let times = times
        .recv_timeout(Duration::from_secs(1))
        .map_err(|_| "the window was closed before the measurement was complete".to_string())?;
    Ok(times.report("In a window"))
}

/// The program's own work per frame, without painting.
pub fn without_window() -> Times {
    let ctx = egui::Context::default();
    let mut viewer = Viewer::new(&ctx, Settings::default(), Box::new(InlineRunner));
    fill(&mut viewer);
    let mut times = Times::default();
    let screen = egui::Rect::from_min_size(egui::Pos2::ZERO, WINDOW.points());
    for frame in 0..FRAMES + WARM_UP {
        let start = Instant::now();
        viewer.state.look.erf.camera = camera(frame);
        let input = egui::RawInput { screen_rect: Some(screen), time: Some(frame as f64 / 60.0), ..Default::default() };
        let mut output = ctx.run_ui(input, |ui| viewer.frame(ui));
        output.textures_delta.set.clear();
        output.textures_delta.free.clear();
        let _ = ctx.tessellate(output.shapes, output.pixels_per_point);
        if frame >= WARM_UP {
            let milliseconds = start.elapsed().as_secs_f64() * 1e3;
            times.own.push(milliseconds);
            times.whole.push(milliseconds);
        }
    }
    times
}
