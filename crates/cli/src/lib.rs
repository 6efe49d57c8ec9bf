//! The command `kernelscope`: parses arguments, calls the library, prints.
//!
//! A crate that defines networks of its own gets the whole command for them, with a `main` of a few lines:
//!
//! ```no_run
//! use kernelscope::zoo::{Entry, Registry, convnext::{ConvNextConfig, Variant}};
//! use std::process::ExitCode;
//!
//! fn main() -> ExitCode {
//!     // In place of a configuration of this project, one of a type of your own that implements `zoo::Family`.
//!     kernelscope_cli::main(Registry::builtin().with(Entry::new("mine", || ConvNextConfig::nano(Variant::OneD))))
//! }
//! ```
//!
//! With that, `my-program train --model mine`, `my-program erf`, `my-program ablate` and all others work as they do for
//! the networks of this project.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking"))]

// All printing goes through `output::say` and `output::note`: `println!` and `eprintln!` panic when the reader of a pipe
// has left.

mod ablate;
mod bench;
mod convert;
mod erf;
mod erf_job;
mod erf_table;
mod eval;
#[cfg(test)]
mod literals;
mod masks;
mod merge;
mod models;
mod network;
mod notebook;
mod orientations;
mod output;
mod predict;
mod process;
mod quickstart;
mod reading;
mod shape_bias;
mod sparse;
mod train;
mod view;
mod words;

pub use view::Viewer;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use kernelscope::zoo::Registry;
use std::process::ExitCode;
use words::Words;

/// Train, analyze, and compare convolutional networks with oriented 1-D and very large kernels.
#[derive(Debug, Parser)]
#[command(name = "kernelscope", version, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = "Start with:  kernelscope quickstart\n\n\
    Set RUST_LOG=kernelscope=debug to see what the library decides.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Device that networks run on: cpu, cuda, or cuda:N [default: cuda if built with it, otherwise cpu]
    #[arg(long, global = true, value_name = "DEVICE")]
    device: Option<String>,
}

impl Cli {
    /// Opens the device, if the command runs networks on one.
    fn open_device(&self) -> kernelscope::Result<()> {
        let able = matches!(
            self.command,
            Command::Train(_) | Command::Eval(_) | Command::Predict(_) | Command::Erf(_) | Command::ShapeBias(_)
        );
        match (&self.device, able) {
            (Some(name), false) if name != "cpu" && !matches!(self.command, Command::Bench(_)) => {
                let allowed = "cpu; only train, eval, predict, erf, shape-bias, and bench run on a GPU";
                Err(kernelscope::Error::argument("--device", format!("{name} for this command"), allowed))
            }
            (name, true) => {
                let name = name.as_deref().unwrap_or(kernelscope::device::preferred());
                kernelscope::device::set_default(kernelscope::device::open(name)?)
            }
            _ => Ok(()),
        }
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train three small networks on built-in images, analyze them, and write a report that compares them
    Quickstart(quickstart::Args),
    /// List the networks with published and computed parameters and multiply-adds
    Models(models::Args),
    /// Train a network, or resume a run
    Train(train::TrainArgs),
    /// Measure accuracy, loss, and calibration of a trained network, per class and as a page with pictures
    Eval(eval::Args),
    /// Run a network on images or a tensor and save its logits
    Predict(predict::Args),
    /// Merge parallel kernels and their batch norms into single kernels for inference, and save the network
    Merge(merge::Args),
    /// Save a network with the names that its tensors have in another code base, or with the official ones
    Convert(convert::Args),
    /// Train every variant of a grid with several seeds and compare their accuracies (an ablation)
    Ablate(ablate::Args),
    /// Compute the effective receptive field over a folder of images
    Erf(erf::Args),
    /// Report what was pruned: densities, kept groups and taps, effective parameters and multiply-adds
    Masks(masks::Args),
    /// Measure shape bias on cue-conflict images
    ShapeBias(shape_bias::Args),
    /// Show the orientations of depthwise kernels, as built and as learned
    Orientations(orientations::Args),
    /// Open runs and checkpoints in the viewer, or export figures of them
    View(view::Args),
    /// Run Rust notebooks: install the Jupyter kernel, open JupyterLab, or run files
    Notebook(notebook::Args),
    /// Measure the speed of operators and networks, compared with the machine's limits and with PyTorch
    Bench(bench::Args),
}

/// The command with what it runs on.
pub struct App {
    registry: Registry,
    viewer: Option<Viewer>,
}

impl App {
    /// The command with the networks of a registry.
    pub fn new(registry: Registry) -> Self {
        App { registry, viewer: None }
    }

    /// Has `view` run this viewer. The program kernelscope-viewer, which it starts otherwise, knows the networks of this
    /// project alone; the function of the crate `kernelscope-viewer` knows those of this process.
    #[must_use]
    pub fn with_viewer(mut self, viewer: Viewer) -> Self {
        self.viewer = Some(viewer);
        self
    }

    /// Parses the arguments of the process and runs the command.
    ///
    /// Errors are one line on standard error and exit code 1 (2 for wrong usage, 130 when interrupted). A reader of
    /// standard output who leaves early, as `head` does, ends the command without an error; results are saved before
    /// they are printed.
    pub fn run(self) -> ExitCode {
        process::prepare();
        match self.registry.install() {
            Ok(()) => run(self.viewer),
            Err(error) => fail(&Words::default(), &error),
        }
    }
}

/// Runs the command with the networks of a registry, for a program's `main`; see [`App::run`].
pub fn main(registry: Registry) -> ExitCode {
    App::new(registry).run()
}

/// Says what went wrong, in one line.
fn fail(words: &Words, error: &kernelscope::Error) -> ExitCode {
    output::note(format_args!("kernelscope: {}", words.say(error)));
    ExitCode::from(if matches!(error, kernelscope::Error::Interrupted { .. }) { 130 } else { 1 })
}

fn run(viewer: Option<Viewer>) -> ExitCode {
    let matches = Cli::command().get_matches();
    let words = Words::typed(Cli::command(), &matches);
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into());
    // A log that nobody reads is no reason to stop, either.
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    log.log_internal_errors(false).init();
    let device = cli.device.clone();
    let result = match cli.open_device() {
        Err(error) => Err(error),
        Ok(()) => match cli.command {
            Command::Quickstart(args) => quickstart::run(&args),
            Command::Models(args) => models::run(&args),
            Command::Train(args) => train::train(&args),
            Command::Eval(args) => eval::run(&args),
            Command::Predict(args) => predict::run(&args),
            Command::Merge(args) => merge::run(&args),
            Command::Convert(args) => convert::run(&args),
            Command::Ablate(args) => ablate::run(&args),
            Command::Erf(args) => erf::run(&args),
            Command::Masks(args) => masks::run(&args),
            Command::ShapeBias(args) => shape_bias::run(&args),
            Command::Orientations(args) => orientations::run(&args),
            Command::Notebook(args) => notebook::run(&args),
            Command::View(args) => match view::run(&args, viewer) {
                Ok(code) => return code,
                Err(error) => Err(error),
            },
            Command::Bench(args) => bench::run(&args, device.as_deref()),
        },
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if output::reader_left(&error) => ExitCode::SUCCESS,
        Err(error) => fail(&words, &error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::error::ErrorKind;

    /// What comes of the arguments of `train`.
    fn train(args: &[&str]) -> Result<(), ErrorKind> {
        Cli::try_parse_from(["kernelscope", "train"].iter().chain(args)).map(drop).map_err(|e| e.kind())
    }

    #[test]
    fn options_of_a_new_run_do_not_go_with_an_existing_one() {
        let mut command = Cli::command();
        command.build();
        // Those of every command, such as `--device`, say nothing about the run.
        let of_train = command.find_subcommand("train").unwrap().get_arguments();
        let options: Vec<_> = of_train.filter(|arg| !arg.is_global_set()).collect();
        let names: Vec<&str> = options.iter().filter_map(|arg| arg.get_long()).collect();
        assert!(["epochs", "weight-decay", "sparse"].iter().all(|name| names.contains(name)), "{names:?}");
        for arg in options.iter().filter(|arg| !["help", "version"].contains(&arg.get_id().as_str())) {
            let name = arg.get_long().unwrap();
            let (option, values) = (format!("--{name}"), arg.get_possible_values());
            let value = values.first().map_or("64", |value| value.get_name());
            let given = if arg.get_action().takes_values() { vec![&option[..], value] } else { vec![&option[..]] };
            if name != "resume" {
                let both = train(&[&["--resume", "run"], &given[..]].concat());
                assert_eq!(both, Err(ErrorKind::ArgumentConflict), "--resume {option}");
            }
            if !["resume", "config", "out", "set"].contains(&name) {
                let both = train(&[&["--config", "run.toml", "--out", "run"], &given[..]].concat());
                assert_eq!(both, Err(ErrorKind::ArgumentConflict), "--config {option}");
            }
        }
        assert_eq!(train(&["--resume", "run"]), Ok(()));
        assert_eq!(train(&["--config", "run.toml", "--out", "run", "--set", "kernel=7"]), Ok(()));
        assert_eq!(train(&["--model", "nano-1d", "--out", "run", "--epochs", "3"]), Ok(()));
    }

    #[test]
    fn options_of_sparse_training_need_its_type() {
        let run = ["--model", "nano-replk", "--out", "run"];
        for option in [&["--sparsity", "0.4"][..], &["--growth", "random"], &["--only-large"], &["--moments", "reset"]]
        {
            assert_eq!(train(&[&run, option].concat()), Err(ErrorKind::MissingRequiredArgument), "{option:?}");
            assert_eq!(train(&[&run, option, &["--sparse", "fine"]].concat()), Ok(()), "{option:?}");
        }
        assert_eq!(train(&[&run[..], &["--sparse", "medium"]].concat()), Err(ErrorKind::InvalidValue));
    }

    #[test]
    fn a_seed_fits_into_the_configuration() {
        let run = ["--model", "nano-1d", "--out", "run", "--seed"];
        assert_eq!(train(&[&run[..], &["9223372036854775807"]].concat()), Ok(()));
        assert_eq!(train(&[&run[..], &["9223372036854775808"]].concat()), Err(ErrorKind::ValueValidation));
        let quick = Cli::try_parse_from(["kernelscope", "quickstart", "--seed", "18446744073709551615"]);
        assert_eq!(quick.unwrap_err().kind(), ErrorKind::ValueValidation);
    }
}
