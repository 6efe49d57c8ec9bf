//! Arguments, and the program without a window.

use crate::command::Command;
use crate::jobs::{InlineRunner, ThreadRunner};
use crate::options::LookArgs;
use crate::state::{Figure, Images, Settings, Source, View};
use crate::window::{self, Size};
use crate::{Viewer, app, bench, export, raster};
use clap::Parser;
use eframe::egui;
use kernelscope::analysis::tree::Address;
use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Open run folders, checkpoints, and matrices in a window.
#[derive(Debug, Clone, PartialEq, Parser)]
#[command(name = "kernelscope view", version)]
#[command(after_help = "Examples:\n  kernelscope view runs/quickstart\n  \
    kernelscope view RepLKNet-31B.pth --model replknet-31b\n  \
    kernelscope view runs/a runs/b --headless --view erf --export erf.png\n  \
    kernelscope view runs/a --headless --screenshot window.png --window 1600x1000")]
pub struct Args {
    /// Run folders, folders of runs, checkpoints (.safetensors, .pth) or matrices (.npy). A checkpoint that does not
    /// name its network can be given one, as in replknet-31b=RepLKNet-31B.pth
    #[arg(value_name = "[NAME=]PATH", value_parser = |text: &str| Ok::<_, String>(Source::parse(text)))]
    pub paths: Vec<Source>,
    /// Network for all checkpoints that do not name theirs (see `kernelscope models`)
    #[arg(long, value_name = "NAME")]
    pub model: Option<String>,
    /// View to show or export: network, erf, kernels, orientations, shape-bias, sparsity, training
    #[arg(long, value_name = "VIEW", value_parser = parse_view)]
    pub view: Option<View>,
    /// Figure to export; the first of the view if left out: costs, erf, kernels, orientations, angles-by-layer,
    /// oriented-taps, shape-bias, kept-shifts, kept-groups, group-counts, kept-taps, masks, densities, curves
    #[arg(long, value_name = "FIGURE", value_parser = parse_figure)]
    pub figure: Option<Figure>,
    /// Show only that view
    #[arg(long, requires = "view")]
    pub alone: bool,
    /// Epoch of the checkpoints to show; the newest if left out
    #[arg(long)]
    pub epoch: Option<usize>,
    /// Layer or channel, as in stages.2.5.dwconv:17
    #[arg(long, value_parser = parse_address)]
    pub address: Option<Address>,
    /// An image or a folder of images for the receptive field; the images of the run if left out
    #[arg(long, value_name = "PATH")]
    pub input: Option<PathBuf>,
    /// Cue-conflict images in the layout of Geirhos et al.; the built-in ones if left out
    #[arg(long, value_name = "DIR")]
    pub stimuli: Option<PathBuf>,
    /// How things are shown
    #[command(flatten)]
    pub look: LookArgs,
    /// Start with the default settings instead of the saved ones
    #[arg(long)]
    pub fresh: bool,
    /// Work without a window, then exit
    #[arg(long)]
    pub headless: bool,
    /// Write the view's figure (.png, .svg) or its data (.csv); needs --headless
    #[arg(long, value_name = "FILE", requires = "headless")]
    pub export: Option<PathBuf>,
    /// Write a screenshot of the whole window (.png); needs --headless
    #[arg(long, value_name = "FILE", requires = "headless")]
    pub screenshot: Option<PathBuf>,
    /// Size of the window in points
    #[arg(long, value_name = "WIDTHxHEIGHT", value_parser = parse_window, default_value = "1500x940")]
    pub window: Size,
    /// Use light colors
    #[arg(long)]
    pub light: bool,
    /// Measure the time per frame with four maps of 1024x1024, print it and exit
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

fn parse_window(text: &str) -> Result<Size, String> {
    let side = |part: &str| part.parse::<u32>().ok().filter(|side| (200..=8000).contains(side));
    let size = text.split_once('x').and_then(|(w, h)| Some(Size { width: side(w)?, height: side(h)? }));
    size.ok_or("allowed: WIDTHxHEIGHT, each from 200 to 8000".into())
}

impl Args {
    /// Applies the arguments to the program, and opens the paths.
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
            let named = |source: &Source| {
                let model = source.model.clone().or_else(|| self.model.clone());
                Source { path: source.path.clone(), model }
            };
            viewer.open_all(self.paths.iter().map(named).collect());
            viewer.settle();
        }
    }

    /// The view that was named, or the view of the figure.
    fn shown(&self) -> Option<View> {
        self.view.or(self.figure.map(Figure::view))
    }
}

/// Runs the program.
pub fn run() -> ExitCode {
    run_with(Args::parse())
}

/// The same with arguments that another program was given; the networks of its registry are known.
pub fn run_in(arguments: Vec<OsString>) -> ExitCode {
    let name = OsString::from("kernelscope view");
    match Args::try_parse_from(std::iter::once(name).chain(arguments)) {
        Ok(args) => run_with(args),
        Err(error) => {
            let _ = error.print();
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
        }
    }
}

fn run_with(args: Args) -> ExitCode {
    let result = if args.bench {
        bench::run(args.headless).map(|times| say(&times))
    } else if args.headless {
        headless(&args)
    } else {
        show(args)
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            let _ = writeln!(std::io::stderr(), "kernelscope view: {}", message.replace('\n', " "));
            ExitCode::FAILURE
        }
    }
}

/// Shows the window.
fn show(args: Args) -> Result<(), String> {
    window::open("kernelscope", window::options(args.window), move |cc| {
        // Settings of an incompatible version are replaced by the defaults.
        let stored = cc.storage.and_then(|storage| storage.get_string(app::SETTINGS)).filter(|_| !args.fresh);
        let settings: Settings = stored.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
        let mut viewer = Viewer::new(&cc.egui_ctx, settings, Box::new(ThreadRunner::default()));
        args.apply(&cc.egui_ctx, &mut viewer);
        Box::new(viewer)
    })
}

/// Opens everything, computes what the view shows, and writes the requested files.
fn headless(args: &Args) -> Result<(), String> {
    if args.paths.is_empty() {
        return Err("PATH: got nothing, allowed: at least one path, which --headless needs".into());
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

/// Prints a line. A closed pipe is not an error.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}
