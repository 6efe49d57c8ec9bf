//! `kernelscope ablate`.

use super::output::{bar, grouped, note, print_json, say, table};
use super::process::stop_on_ctrl_c;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget};
use kernelscope::files::write_atomically;
use kernelscope::zoo::parse_value;
use kernelscope::{Error, Result};
use kernelscope_lab::ablate::{Ablation, Failure, Grid, Job, Shard, State, Summary, Watch};
use kernelscope_lab::train::{EpochReport, Observer, StepReport};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    kernelscope ablate ablations/oriented1d-table7.toml --list\n  \
    kernelscope ablate ablations/oriented1d-table7.toml --out runs/table7\n  \
    kernelscope ablate ablations/oriented1d-table7.toml --out runs/table7 --shard 2/8\n  \
    kernelscope ablate ablations/oriented1d-table7.toml --out runs/table7 --table-only\n  \
    kernelscope ablate ablations/oriented1d-table7.toml --out runs/longer --base train.epochs=40 --seeds 0,1,2,3,4\n\n\
    Trains every variant of the grid with every seed, each as a run in OUT/runs, and writes OUT/ablation.csv,\n\
    OUT/summary.csv, .md, and .html, and OUT/figures. Ctrl-C stops it; the same command resumes it.")]
pub struct Args {
    /// Grid file (see `ablations/`)
    #[arg(value_name = "GRID.toml")]
    grid: PathBuf,
    /// Folder for the runs, tables, and figures
    #[arg(long, value_name = "DIR", required_unless_present = "list")]
    out: Option<PathBuf>,
    /// Number of runs to train at once, each with its share of the threads; by default one per thread, up to 8
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    jobs: Option<u16>,
    /// Train only part I of N of the runs, with I from 1 to N
    #[arg(long, value_name = "I/N")]
    shard: Option<String>,
    /// List the runs with their parameters, multiply-adds, and progress; train nothing
    #[arg(long, visible_alias = "dry-run")]
    list: bool,
    /// Make tables and figures from the finished runs; train nothing (--jobs has no effect)
    #[arg(long, conflicts_with_all = ["list", "shard"])]
    table_only: bool,
    /// Change a setting of the grid's base, for example train.epochs=40
    #[arg(long = "base", value_name = "KEY=VALUE")]
    base: Vec<String>,
    /// Use these seeds instead of the grid's
    #[arg(long, value_name = "SEEDS", value_delimiter = ',', value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    seeds: Option<Vec<u64>>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    fn read(&self) -> Result<Grid> {
        let mut grid = Grid::read(&self.grid)?;
        for text in &self.base {
            let Some((key, value)) = text.split_once('=') else {
                return Err(Error::argument("--base", format!("\"{text}\""), "key=value"));
            };
            grid.base.set(key.trim(), parse_value(value.trim()));
        }
        if let Some(seeds) = &self.seeds {
            grid.seeds.clone_from(seeds);
        }
        grid.check()?;
        Ok(grid)
    }
}

pub fn run(args: &Args) -> Result<()> {
    let shard = args.shard.as_deref().map_or(Ok(Shard::ALL), Shard::parse)?;
    let out = args.out.clone().unwrap_or_default();
    let ablation = Ablation::new(args.read()?, &out)?;
    let jobs = ablation.shard(shard);
    if args.list {
        return list(&ablation, &jobs, args);
    }
    if !args.table_only {
        train(&ablation, &jobs, args)?;
    }
    let summaries = ablation.write_results()?;
    show(&ablation, &summaries, args.json)
}

fn train(ablation: &Ablation, jobs: &[&Job], args: &Args) -> Result<()> {
    // All are looked at before anything is written: also those of other shards, which the tables need.
    ablation.jobs.iter().try_for_each(|job| ablation.state(job).map(drop))?;
    keep_grid(&args.grid, ablation)?;
    let stop = stop_on_ctrl_c();
    let mut done = 0;
    for job in jobs {
        done += usize::from(ablation.state(job)? == State::Finished);
    }
    let bars = Bars::new(jobs.len(), done);
    let result = ablation.run(jobs, args.jobs.map(usize::from), &stop, &bars);
    bars.overall.finish_and_clear();
    let failures = match result {
        Ok(failures) => failures,
        Err(error) => {
            // What is finished is worth its table; that nothing is finished yet is no second error.
            let _ = ablation.write_results();
            return Err(error);
        }
    };
    if failures.is_empty() {
        return Ok(());
    }
    let written = ablation.write_results().map(drop);
    Err(failed(ablation, &failures, jobs.len(), written))
}

/// Keeps the grid file beside its runs, and refuses the folder of another.
fn keep_grid(file: &Path, ablation: &Ablation) -> Result<()> {
    let kept = ablation.dir.join("grid.toml");
    if kept.is_file() {
        let before = Grid::read(&kept)?.name;
        if before != ablation.grid.name {
            let content = format!("the ablation \"{before}\", not \"{}\"", ablation.grid.name);
            return Err(Error::occupied(&ablation.dir, content));
        }
    }
    let text = std::fs::read(file).map_err(Error::io("read", file))?;
    std::fs::create_dir_all(&ablation.dir).map_err(Error::io("create", &ablation.dir))?;
    write_atomically(&kept, |file| file.write_all(&text))
}

fn failed(ablation: &Ablation, failures: &[Failure], of: usize, written: Result<()>) -> Error {
    let each: Vec<String> = failures.iter().map(|failure| format!("{}: {}", failure.job, failure.error)).collect();
    let tables = match written {
        Ok(()) => "the tables contain the others",
        Err(_) => "there is no table yet",
    };
    let message = format!("{} of {of} runs failed ({}); {tables}", failures.len(), each.join("; "));
    Error::file(&ablation.dir, message)
}

#[derive(Serialize)]
struct Listed<'a> {
    run: &'a str,
    variant: &'a str,
    seed: u64,
    parameters: usize,
    macs: u64,
    epochs: usize,
    state: String,
}

fn list(ablation: &Ablation, jobs: &[&Job], args: &Args) -> Result<()> {
    let mut rows = Vec::new();
    for job in jobs {
        let epochs = job.config.train.epochs;
        let state = if args.out.is_none() { State::New } else { ablation.state(job)? };
        let state = match state {
            State::New => "new".to_string(),
            State::Begun { epoch } => format!("epoch {epoch} of {epochs}"),
            State::Finished => "finished".to_string(),
        };
        let variant = ablation.variants.get(job.variant).map_or("", |variant| &variant.label);
        let (run, seed) = (job.name.as_str(), job.seed);
        rows.push(Listed { run, variant, seed, parameters: job.parameters, macs: job.macs, epochs, state });
    }
    if args.json {
        return print_json(&rows);
    }
    let cells = rows.into_iter().map(|row| {
        let (parameters, macs) = (grouped(row.parameters as u64), format!("{:.2}", row.macs as f64 / 1e6));
        vec![row.run.to_string(), parameters, macs, row.epochs.to_string(), row.state]
    });
    say(table(&["run", "params", "M MACs", "epochs", "state"], cells.collect()))?;
    say(format_args!("{} of {} runs", jobs.len(), ablation.jobs.len()))
}

fn show(ablation: &Ablation, summaries: &[Summary], json: bool) -> Result<()> {
    if json {
        return print_json(&summaries);
    }
    let percent = |share: f64| format!("{:.2}", 100.0 * share);
    let spread = |mean: String, std: Option<f64>| std.map_or(mean.clone(), |s| format!("{mean} ± {}", percent(s)));
    let rows = summaries.iter().map(|s| {
        let n = s.accuracy.map_or(0, |a| a.n);
        let mut row = vec![
            s.variant.clone(),
            if s.missing == 0 { n.to_string() } else { format!("{n} of {}", n + s.missing) },
            s.accuracy.map_or("–".into(), |a| spread(percent(a.mean), a.std)),
            s.difference.map_or("–".into(), |d| spread(format!("{:+.2}", 100.0 * d.mean), d.margin)),
            grouped(s.parameters as u64),
            format!("{:.2}", s.macs as f64 / 1e6),
        ];
        if ablation.grid.check.is_some() {
            row.push(s.merge_difference.map_or("–".into(), |d| format!("{d:.1e}")));
        }
        row
    });
    let mut header = vec!["variant", "runs", "accuracy/%", "difference", "params", "M MACs"];
    header.extend(ablation.grid.check.map(|_| "merged: logits"));
    say(table(&header, rows.collect()))?;
    let comparisons = ablation.comparisons(&ablation.records()?)?;
    if !comparisons.is_empty() {
        let rows = comparisons.into_iter().map(|c| {
            let difference = c.difference.map_or("–".into(), |d| spread(format!("{:+.2}", 100.0 * d.mean), d.margin));
            vec![c.comparison, c.difference.map_or(0, |d| d.pairs).to_string(), difference]
        });
        say(table(&["comparison", "seeds", "difference"], rows.collect()))?;
    }
    say(ablation.dir.join("summary.html").display())
}

/// One bar for all runs and one for each in training; without a terminal, a line for each that ends.
struct Bars {
    all: MultiProgress,
    overall: ProgressBar,
    runs: usize,
    ended: AtomicUsize,
}

impl Bars {
    fn new(runs: usize, done: usize) -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(5));
        let overall = all.add(bar(runs as u64, "runs"));
        overall.set_position(done as u64);
        Bars { all, overall, runs, ended: AtomicUsize::new(done) }
    }
}

impl Watch for Bars {
    fn started(&self, job: &Job, (steps, done): (usize, usize)) -> Box<dyn Observer> {
        let bar = self.all.insert_before(&self.overall, bar(steps as u64, &job.name));
        bar.set_position(done as u64);
        bar.reset_eta();
        Box::new(RunBar { bar })
    }

    fn ended(&self, job: &Job, result: &Result<()>) {
        let ended = self.ended.fetch_add(1, Ordering::Relaxed) + 1;
        self.overall.inc(1);
        let line = match result {
            Ok(()) => format!("{}: finished, {ended} of {}", job.name, self.runs),
            Err(Error::Interrupted { .. }) => return,
            Err(error) => format!("{}: failed: {error}", job.name),
        };
        if self.overall.is_hidden() {
            note(line);
        } else {
            self.overall.println(line);
        }
    }
}

/// The bar of a run in training.
struct RunBar {
    bar: ProgressBar,
}

impl Observer for RunBar {
    fn step(&mut self, report: &StepReport) {
        self.bar.set_position(report.step as u64);
        self.bar.set_message(format!("loss {:.3}  acc {:.1} %", report.loss, 100.0 * report.accuracy));
    }

    fn epoch(&mut self, _report: &EpochReport) {}
}

impl Drop for RunBar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
