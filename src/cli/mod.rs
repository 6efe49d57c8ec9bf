//! The command line: parses arguments, calls the library, prints.

// Printing is what this room is for; the rest of the library never does.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod erf;
mod models;
mod network;
mod orientations;
mod output;
mod predict;
mod quickstart;
mod shape_bias;
mod train;

use clap::{Parser, Subcommand};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Convolutional networks with oriented-1D and very large kernels: train them, look inside, compare.
#[derive(Debug, Parser)]
#[command(name = "kernelscope", version, propagate_version = true, arg_required_else_help = true)]
#[command(after_help = "Start with:  kernelscope quickstart\n\n\
    Set RUST_LOG=kernelscope=debug to see what the library decides.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train the small networks on built-in images, look inside each, and write a report that compares them
    Quickstart(quickstart::Args),
    /// List the networks with published and computed parameters and multiply-adds
    Models(models::Args),
    /// Train a network, or resume a run
    Train(train::TrainArgs),
    /// Measure loss and accuracy of a trained network
    Eval(train::EvalArgs),
    /// Run a network on images or a tensor and save its logits
    Predict(predict::Args),
    /// Compute the effective receptive field over a folder of images
    Erf(erf::Args),
    /// Measure shape bias on cue-conflict images
    ShapeBias(shape_bias::Args),
    /// Show the orientations of depthwise kernels, as built and as learned
    Orientations(orientations::Args),
}

/// Parses the arguments and runs the command. Errors are one line on standard error and exit code 1 (2 for wrong
/// usage, 130 when interrupted).
pub fn run() -> ExitCode {
    let cli = Cli::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "warn".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let result = match cli.command {
        Command::Quickstart(args) => quickstart::run(&args),
        Command::Models(args) => models::run(&args),
        Command::Train(args) => train::train(&args),
        Command::Eval(args) => train::eval(&args),
        Command::Predict(args) => predict::run(&args),
        Command::Erf(args) => erf::run(&args),
        Command::ShapeBias(args) => shape_bias::run(&args),
        Command::Orientations(args) => orientations::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("kernelscope: {}", error.to_string().replace('\n', " "));
            ExitCode::from(if matches!(error, crate::Error::Interrupted(_)) { 130 } else { 1 })
        }
    }
}

/// A flag that the first Ctrl-C sets; the second ends the process at once.
fn stop_on_ctrl_c() -> Arc<AtomicBool> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    // Without a handler Ctrl-C still ends the process, and the last epoch stays resumable.
    let _ = ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    });
    stop
}
