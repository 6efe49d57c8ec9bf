//! Arguments, and the program without a window.

use crate::bench;
use crate::command::Command;
use crate::export;
use crate::jobs::{InlineRunner, ThreadRunner};
use crate::raster;
use crate::state::{Images, Settings, Transfer, View, XAxis};
use crate::{Viewer, app};
use clap::Parser;
use eframe::egui;
use kernelscope::analysis::tree::Address;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Opens run folders, checkpoints and matrices in a window.
#[derive(Debug, Clone, PartialEq, Parser)]
#[command(name = "kernelscope view", version)]
#[command(after_help = "Examples:\n  kernelscope view runs/quickstart\n  \
    kernelscope view RepLKNet-31B.pth --model replknet-31b\n  \
    kernelscope view runs/a runs/b --headless --view erf --export erf.png\n  \
    kernelscope view runs/a --headless --screenshot window.png --window 1600x1000")]
pub struct Args {
    /// Run folders, folders of runs, checkpoints (.safetensors, .pth) or matrices (.npy)
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Network of checkpoints that do not say (see `kernelscope models`)
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// View to show or export: network, erf, kernels, orientations, shape-bias, sparsity, training
    #[arg(long, value_name = "VIEW", value_parser = parse_view)]
    pub view: Option<View>,
    /// Epoch of the runs' checkpoints; the newest if left out
    #[arg(long)]
    pub epoch: Option<usize>,
    /// Layer or channel, as stages.2.5.dwconv:17
    #[arg(long, value_parser = parse_address)]
    pub address: Option<Address>,
    /// Stage of the receptive field, counted from 0; the last if left out
    #[arg(long)]
    pub stage: Option<usize>,
    /// Row and column in the stage's feature map; its centre if left out
    #[arg(long, value_name = "ROW,COL", value_parser = parse_position)]
    pub position: Option<(usize, usize)>,
    /// Side of the receptive field's images in pixels
    #[arg(long)]
    pub size: Option<usize>,
    /// Number of the receptive field's images
    #[arg(long)]
    pub images: Option<usize>,
    /// An image or folder of images for the receptive field; by default those of the run
    #[arg(long, value_name = "PATH")]
    pub input: Option<PathBuf>,
    /// Colours of the receptive field: log, linear, or power:EXPONENT
    #[arg(long, value_parser = parse_transfer)]
    pub transfer: Option<Transferred>,
    /// Cue-conflict images in the layout of Geirhos et al.; by default the built-in ones
    #[arg(long, value_name = "DIR")]
    pub stimuli: Option<PathBuf>,
    /// Training curves over epoch or step
    #[arg(long, value_name = "AXIS", value_parser = ["epoch", "step"])]
    pub x_axis: Option<String>,
    /// Do the work without a window and end
    #[arg(long)]
    pub headless: bool,
    /// Write the view's figure (.png, .svg) or its data (.csv); needs --headless
    #[arg(long, value_name = "FILE", requires = "headless")]
    pub export: Option<PathBuf>,
    /// Write a picture of the whole window (.png); needs --headless
    #[arg(long, value_name = "FILE", requires = "headless")]
    pub screenshot: Option<PathBuf>,
    /// Size of the window in points
    #[arg(long, value_name = "WIDTHxHEIGHT", value_parser = parse_window, default_value = "1500x940")]
    pub window: (u32, u32),
    /// Light colours
    #[arg(long)]
    pub light: bool,
    /// Measure the time per frame with four maps of 1024x1024, print it and end
    #[arg(long)]
    pub bench: bool,
}

/// Colours and the exponent of the power law.
pub type Transferred = (Transfer, Option<f64>);

fn parse_view(text: &str) -> Result<View, String> {
    View::named(text).ok_or_else(|| format!("allowed: {}", View::ALL.map(View::name).join(", ")))
}

fn parse_address(text: &str) -> Result<Address, String> {
    text.parse().map_err(|error: kernelscope::Error| error.to_string())
}

fn parse_position(text: &str) -> Result<(usize, usize), String> {
    let number = |part: &str| part.trim().parse().ok();
    text.split_once(',')
        .and_then(|(row, column)| Some((number(row)?, number(column)?)))
        .ok_or("allowed: ROW,COL".into())
}

fn parse_transfer(text: &str) -> Result<Transferred, String> {
    let exponent = |text: &str| text.parse::<f64>().ok().filter(|e| (0.05..=3.0).contains(e));
    match (text, text.strip_prefix("power:").and_then(exponent)) {
        ("log", _) => Ok((Transfer::Log, None)),
        ("linear", _) => Ok((Transfer::Linear, None)),
        (_, Some(exponent)) => Ok((Transfer::Power, Some(exponent))),
        _ => Err("allowed: log, linear, or power: and an exponent from 0.05 to 3".into()),
    }
}

fn parse_window(text: &str) -> Result<(u32, u32), String> {
    let side = |part: &str| part.parse::<u32>().ok().filter(|side| (200..=8000).contains(side));
    let sides = text.split_once('x').and_then(|(w, h)| Some((side(w)?, side(h)?)));
    sides.ok_or("allowed: WIDTHxHEIGHT, each 200 to 8000".into())
}

impl Args {
    /// Puts what the arguments choose into the program; paths are opened.
    pub fn apply(&self, ctx: &egui::Context, viewer: &mut Viewer) {
        let look = &mut viewer.state.look;
        look.erf.stage = self.stage.or(look.erf.stage);
        look.erf.position = self.position.or(look.erf.position);
        look.erf.size = self.size.unwrap_or(look.erf.size).clamp(1, kernelscope::data::MAX_SIDE);
        look.erf.images = self.images.unwrap_or(look.erf.images).max(1);
        if let Some(path) = &self.input {
            look.erf.source = Images::Path(path.clone());
        }
        if let Some((transfer, exponent)) = self.transfer {
            look.erf.transfer = transfer;
            look.erf.gamma = exponent.unwrap_or(look.erf.gamma);
        }
        if self.stimuli.is_some() {
            look.bias.stimuli.clone_from(&self.stimuli);
        }
        match self.x_axis.as_deref() {
            Some("step") => look.x_axis = XAxis::Step,
            Some(_) => look.x_axis = XAxis::Epoch,
            None => {}
        }
        look.address.clone_from(&self.address);
        viewer.state.settings.dark &= !self.light;
        if let Some(view) = self.view {
            viewer.run(ctx, Command::Show(view));
        }
        viewer.state.first_epoch = self.epoch;
        if !self.paths.is_empty() {
            viewer.open_all(self.paths.clone(), self.model.clone());
            viewer.settle();
        }
    }
}

/// Runs the program.
pub fn run() -> ExitCode {
    let args = Args::parse();
    let result = if args.bench {
        bench::run(args.headless)
    } else if args.headless {
        headless(&args)
    } else {
        window(args)
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            let _ = writeln!(std::io::stderr(), "kernelscope view: {}", message.replace('\n', " "));
            ExitCode::FAILURE
        }
    }
}

/// Options of the window.
pub fn options((width, height): (u32, u32)) -> eframe::NativeOptions {
    let viewport = egui::ViewportBuilder::default()
        .with_title("kernelscope")
        .with_app_id("kernelscope")
        .with_inner_size([width as f32, height as f32])
        .with_min_inner_size([640.0, 420.0])
        .with_drag_and_drop(true);
    eframe::NativeOptions { viewport, renderer: eframe::Renderer::Glow, ..Default::default() }
}

fn window(args: Args) -> Result<(), String> {
    let size = args.window;
    let start = move |cc: &eframe::CreationContext<'_>| {
        let stored = cc.storage.and_then(|storage| storage.get_string(app::SETTINGS));
        // Settings of another version are begun anew.
        let settings: Settings = stored.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        let mut viewer = Viewer::new(&cc.egui_ctx, settings, Box::new(ThreadRunner::default()));
        args.apply(&cc.egui_ctx, &mut viewer);
        Ok(Box::new(viewer) as Box<dyn eframe::App>)
    };
    let no_window = |error: eframe::Error| {
        format!("cannot open a window: {error}; without a display, use --headless with --export or --screenshot")
    };
    eframe::run_native("kernelscope", options(size), Box::new(start)).map_err(no_window)
}

/// Opens everything, computes what the view shows, and writes what was asked for.
fn headless(args: &Args) -> Result<(), String> {
    if args.paths.is_empty() {
        return Err("PATH: got nothing, allowed: at least one path, with --headless".into());
    }
    if args.export.is_none() && args.screenshot.is_none() {
        return Err("--headless: got nothing to write, allowed: --export FILE or --screenshot FILE".into());
    }
    let ctx = egui::Context::default();
    let mut viewer = Viewer::new(&ctx, Settings::default(), Box::new(InlineRunner));
    let view = args.view.unwrap_or(View::Erf);
    if args.screenshot.is_none() {
        viewer.show_only(&[view]);
    }
    args.apply(&ctx, &mut viewer);
    viewer.settle();
    if viewer.state.entries.is_empty() {
        return Err(last_message(&viewer));
    }
    if let Some(path) = &args.export {
        let figure = export::figure(&viewer.state, view).map_err(|error| match viewer.state.messages.all() {
            [] => error,
            _ => format!("{error}: {}", last_message(&viewer)),
        })?;
        figure.write(path).map_err(|error| error.to_string())?;
        say(&path.display().to_string());
    }
    if let Some(path) = &args.screenshot {
        raster::screenshot(&ctx, &mut viewer, args.window, path)?;
        say(&path.display().to_string());
    }
    Ok(())
}

fn last_message(viewer: &Viewer) -> String {
    viewer.state.messages.last().map_or("nothing was opened".to_string(), |message| message.text.clone())
}

/// Prints a line; a reader who has left is no error.
pub(crate) fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}
