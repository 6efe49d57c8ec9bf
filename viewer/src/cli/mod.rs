//! Arguments, and the program without a window.

mod look;

pub use look::{LookArgs, words};

use crate::bench;
use crate::command::Command;
use crate::export;
use crate::jobs::{InlineRunner, ThreadRunner};
use crate::raster;
use crate::state::{Figure, Images, Settings, View};
use crate::{Viewer, app};
use clap::Parser;
use eframe::egui;
use kernelscope::analysis::tree::Address;
use kernelscope::zoo::registry;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// A path, and the network that was named for it.
pub type Named = (PathBuf, Option<String>);

/// Opens run folders, checkpoints and matrices in a window.
#[derive(Debug, Clone, PartialEq, Parser)]
#[command(name = "kernelscope view", version)]
#[command(after_help = "Examples:\n  kernelscope view runs/quickstart\n  \
    kernelscope view RepLKNet-31B.pth --model replknet-31b\n  \
    kernelscope view runs/a runs/b --headless --view erf --export erf.png\n  \
    kernelscope view runs/a --headless --screenshot window.png --window 1600x1000")]
pub struct Args {
    /// Run folders, folders of runs, checkpoints (.safetensors, .pth) or matrices (.npy); the network of a checkpoint
    /// that does not say is named in front of it, as replknet-31b=RepLKNet-31B.pth
    #[arg(value_name = "[NAME=]PATH", value_parser = |text: &str| Ok::<_, String>(named_path(text)))]
    pub paths: Vec<Named>,
    /// Network of all checkpoints that do not say (see `kernelscope models`)
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// View to show or export: network, erf, kernels, orientations, shape-bias, sparsity, training
    #[arg(long, value_name = "VIEW", value_parser = parse_view)]
    pub view: Option<View>,
    /// Figure to export; by default the first of the view: costs, erf, kernels, orientations, angles-by-layer,
    /// oriented-taps, shape-bias, kept-shifts, kept-groups, group-counts, kept-taps, masks, densities, curves
    #[arg(long, value_name = "FIGURE", value_parser = parse_figure)]
    pub figure: Option<Figure>,
    /// Show that view alone
    #[arg(long, requires = "view")]
    pub alone: bool,
    /// Epoch of the runs' checkpoints; the newest if left out
    #[arg(long)]
    pub epoch: Option<usize>,
    /// Layer or channel, as stages.2.5.dwconv:17
    #[arg(long, value_parser = parse_address)]
    pub address: Option<Address>,
    /// An image or folder of images for the receptive field; by default those of the run
    #[arg(long, value_name = "PATH")]
    pub input: Option<PathBuf>,
    /// Cue-conflict images in the layout of Geirhos et al.; by default the built-in ones
    #[arg(long, value_name = "DIR")]
    pub stimuli: Option<PathBuf>,
    /// How things are shown
    #[command(flatten)]
    pub look: LookArgs,
    /// Begin with the standard settings in place of the remembered ones
    #[arg(long)]
    pub fresh: bool,
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

fn parse_view(text: &str) -> Result<View, String> {
    View::named(text).ok_or_else(|| format!("allowed: {}", View::ALL.map(View::name).join(", ")))
}

fn parse_address(text: &str) -> Result<Address, String> {
    text.parse().map_err(|error: kernelscope::Error| error.to_string())
}

fn parse_figure(text: &str) -> Result<Figure, String> {
    Figure::named(text).ok_or_else(|| format!("allowed: {}", Figure::ALL.map(Figure::name).join(", ")))
}

/// A path, or the name of a registered network and a path.
pub fn named_path(text: &str) -> Named {
    let named = text.split_once('=').filter(|(model, _)| registry().iter().any(|known| known.name == *model));
    match named {
        Some((model, path)) if !Path::new(text).exists() => (path.into(), Some(model.to_string())),
        _ => (text.into(), None),
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
        self.look.apply(look);
        if let Some(path) = &self.input {
            look.erf.source = Images::Path(path.clone());
        }
        if self.stimuli.is_some() {
            look.bias.stimuli.clone_from(&self.stimuli);
        }
        look.address.clone_from(&self.address);
        viewer.state.settings.dark &= !self.light;
        if let Some(address) = &self.address {
            viewer.reveal(&address.path);
        }
        if let Some(view) = self.shown() {
            if self.alone {
                viewer.show_only(&[view]);
            }
            viewer.run(ctx, Command::Show(view));
        }
        viewer.state.first_epoch = self.epoch;
        if !self.paths.is_empty() {
            let named = |(path, own): &Named| (path.clone(), own.clone().or_else(|| self.model.clone()));
            viewer.open_all(self.paths.iter().map(named).collect());
            viewer.settle();
        }
    }

    /// The view that was named, or that of the figure.
    fn shown(&self) -> Option<View> {
        self.view.or(self.figure.map(Figure::view))
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
        let stored = stored.filter(|_| !args.fresh);
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
    let view = args.shown().unwrap_or(View::Erf);
    if args.screenshot.is_none() {
        viewer.show_only(&[view]);
    }
    args.apply(&ctx, &mut viewer);
    viewer.settle();
    if viewer.state.entries.is_empty() {
        return Err(last_message(&viewer));
    }
    if let Some(path) = &args.export {
        let found = match args.figure {
            Some(figure) => export::figure(&viewer.state, figure),
            None => export::of_view(&viewer.state, view),
        };
        let figure = found.map_err(|error| match viewer.state.messages.all() {
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
