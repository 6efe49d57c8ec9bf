//! `kernelscope quickstart`: the main job.

use super::output::{say, table};
use super::process::stop_on_ctrl_c;
use super::train::run_with_bar;
use kernelscope::analysis::report::RunHistory;
use kernelscope::nn::BuildOptions;
use kernelscope::zoo::Network;
use kernelscope::{Error, Result};
use kernelscope_lab::report::{Comparison, InspectOptions, inspect, write_comparison};
use kernelscope_lab::run::{Quickstart, RunConfig, RunFolder, load_network};
use kernelscope_lab::train::Trainer;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  kernelscope quickstart\n  kernelscope quickstart --epochs 40 --size 96 --out runs/longer\n\n\
    Trains nano-2d, nano-1d and nano-1dpp on built-in images of shapes and textures, computes costs, effective\n\
    receptive field, kernel orientations, and shape bias of each, and writes OUT/report.html. Ctrl-C stops it; the\n\
    same command resumes it."
)]
pub struct Args {
    /// Folder for the runs and the report
    #[arg(long, value_name = "DIR", default_value = "runs/quickstart")]
    out: PathBuf,
    /// Passes over the training images
    #[arg(long, default_value_t = Quickstart::default().epochs)]
    epochs: usize,
    /// Side of the images in pixels: a multiple of 4, at least 32
    #[arg(long, default_value_t = Quickstart::default().size)]
    size: usize,
    /// Number of training images
    #[arg(long, value_name = "N", default_value_t = Quickstart::default().train_images)]
    train_images: usize,
    /// Seed for everything random
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    seed: u64,
}

impl Args {
    fn run_config(&self, model: &str) -> Result<RunConfig> {
        let &Args { epochs, size, train_images, seed, .. } = self;
        Quickstart { epochs, size, train_images, seed }.run_config(model)
    }
}

pub fn run(args: &Args) -> Result<()> {
    let started = Instant::now();
    let stop = stop_on_ctrl_c();
    let configs = Quickstart::NETWORKS.iter().map(|model| args.run_config(model)).collect::<Result<Vec<_>>>()?;
    // All are checked before the first is trained: the oriented networks accept fewer sizes than the other.
    configs.iter().try_for_each(check)?;
    let mut networks = Vec::new();
    for config in configs {
        let done = one_network(&args.out.join(&config.model.name), config, &stop);
        networks.push(done.map_err(|error| match error {
            Error::Interrupted { .. } => Error::interrupted_in(&args.out),
            other => other,
        })?);
    }
    write_comparison(&args.out, "kernelscope quickstart: shapes and textures", &networks)?;
    say(summary(&networks))?;
    say(format_args!("{} ({:.0} s)", args.out.join("report.html").display(), started.elapsed().as_secs_f64()))
}

/// Refuses settings with which a network cannot be trained.
fn check(config: &RunConfig) -> Result<()> {
    config.check()?;
    let size = config.data.size;
    let network = Network::build(config.model.clone(), BuildOptions::shapes_only())?;
    network.trace(size, size).map(drop).map_err(|error| {
        Error::argument("--size", size, format!("a multiple of 4, at least 32 ({}: {error})", config.model.name))
    })
}

/// Trains (or resumes, or finds complete) one network and looks into it.
fn one_network(root: &Path, config: RunConfig, stop: &Arc<AtomicBool>) -> Result<Comparison> {
    let trainer = match RunFolder::open(root) {
        Err(_) => Trainer::create(root, config)?,
        Ok(run) => {
            let stored = run.config()?;
            if stored != config {
                return Err(Error::occupied(root, "a run with different settings"));
            }
            Trainer::resume(root)?
        }
    };
    let mut trainer = trainer.with_stop_flag(stop.clone());
    let run = trainer.run_folder().clone();
    let config = run.config()?;
    let resumed = trainer.steps().1 > 0;
    let outcome = run_with_bar(&mut trainer, &config.model.name, config.train.epochs)?;
    let network = load_network(&run.latest_checkpoint()?.path)?;
    let inspection = inspect(&network, &config.data, InspectOptions::default(), stop)?;
    inspection.save(&run)?;
    let history: RunHistory = run.history()?;
    Ok(Comparison {
        figures: run.figures_dir(),
        config,
        history,
        seconds: (!resumed).then_some(outcome.seconds),
        inspection,
    })
}

fn summary(networks: &[Comparison]) -> String {
    let rows = networks
        .iter()
        .map(|n| {
            let i = &n.inspection;
            let ratio = |t: f64| i.areas.iter().find(|a| a.threshold == t).and_then(|a| a.ratio);
            let percent = |v: Option<f64>| v.map_or("–".into(), |v| format!("{:.1}", 100.0 * v));
            vec![
                n.config.model.name.clone(),
                super::output::grouped(i.costs.params as u64),
                format!("{:.2}", i.costs.macs as f64 / 1e6),
                percent(n.history.points.last().and_then(|p| p.val_accuracy)),
                i.shape_bias.as_ref().and_then(|s| s.shape_bias).map_or("–".into(), |b| format!("{b:.3}")),
                percent(ratio(0.5)),
                percent(ratio(0.99)),
            ]
        })
        .collect();
    let header = ["network", "params", "M MACs", "accuracy/%", "shape bias", "ERF r(50 %)/%", "ERF r(99 %)/%"];
    table(&header, rows)
}
