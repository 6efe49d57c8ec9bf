//! The runs of an ablation: what is planned, and what a folder holds of it.

use super::check::merge_path;
use super::grid::{Check, Grid};
use super::variants::Variant;
use crate::config::{DataSource, RunConfig};
use crate::data::{Dataset, ImageFolder, shapes_textures};
use crate::run::RunFolder;
use crate::{Error, Result};
use kernelscope::nn::BuildOptions;
use kernelscope::zoo::{ModelConfig, Network};
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// One run of an ablation.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Index of its variant.
    pub variant: usize,
    /// Its seed.
    pub seed: u64,
    /// Name of its run folder.
    pub name: String,
    /// Its configuration, as its run folder will hold it.
    pub config: RunConfig,
    /// Parameters of the network, angles included.
    pub parameters: usize,
    /// Multiply-adds for one image.
    pub macs: u64,
}

/// How far a run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// There is no folder yet.
    New,
    /// Training or a check is missing.
    Begun {
        /// Complete epochs.
        epoch: usize,
    },
    /// All is done.
    Finished,
}

/// A grid in a folder: `DIR/runs/LABEL-seedN` for every run, and tables and figures beside them.
#[derive(Debug, Clone, PartialEq)]
pub struct Ablation {
    /// What is compared.
    pub grid: Grid,
    /// The folder.
    pub dir: PathBuf,
    /// All variants.
    pub variants: Vec<Variant>,
    /// All runs, variant by variant.
    pub jobs: Vec<Job>,
}

impl Ablation {
    /// Plans all runs: every network is built once for its shapes, so that none of them fails after others have been
    /// trained for hours. Nothing is written.
    ///
    /// # Errors
    /// If a variant cannot be configured or built; the message names it.
    pub fn new(grid: Grid, dir: &Path) -> Result<Self> {
        let variants = grid.variants()?;
        let mut jobs = Vec::new();
        for (index, variant) in variants.iter().enumerate() {
            jobs.extend(plan(&grid, index, variant).map_err(|e| within(&format!("variant \"{}\"", variant.label), e))?);
        }
        Ok(Ablation { grid, dir: dir.to_path_buf(), variants, jobs })
    }

    /// Folder of a run.
    pub fn run_path(&self, job: &Job) -> PathBuf {
        self.dir.join("runs").join(&job.name)
    }

    /// Index of the variant that the others are compared with.
    pub fn baseline(&self) -> usize {
        let named = |label: &String| self.variants.iter().position(|variant| variant.label == *label);
        self.grid.baseline.as_ref().and_then(named).unwrap_or(0)
    }

    /// Whether the merged form of a run's network is to be checked.
    pub(super) fn checks_merging(&self, job: &Job) -> bool {
        self.grid.check == Some(Check::Merge) && has_merged_form(&job.config.model.config)
    }

    /// How far a run has come.
    ///
    /// # Errors
    /// If its folder is damaged, or holds a run with different settings: the message names them.
    pub fn state(&self, job: &Job) -> Result<State> {
        let Ok(run) = RunFolder::open(&self.run_path(job)) else { return Ok(State::New) };
        let different = differences(&run.config()?, &job.config)?;
        if !different.is_empty() {
            let content = format!("a run with different settings ({})", different.join("; "));
            return Err(Error::occupied(run.root(), content));
        }
        let epoch = run.progress()?.epoch;
        let checked = !self.checks_merging(job) || merge_path(&run).is_file();
        Ok(if epoch >= job.config.train.epochs && checked { State::Finished } else { State::Begun { epoch } })
    }

    /// The runs of one shard, in the order in which they are trained: all variants with the first seed come first, so
    /// that a comparison is there early. The split depends on the grid alone, and shares out the multiply-adds.
    pub fn shard(&self, shard: Shard) -> Vec<&Job> {
        let mut order: Vec<usize> = (0..self.jobs.len()).collect();
        order.sort_by_key(|&job| (std::cmp::Reverse(self.jobs[job].cost()), job));
        let mut loads = vec![(0u64, 0usize); shard.count];
        let mut chosen = Vec::new();
        for job in order {
            // The least load; of equal ones that with the fewest runs, then the first.
            let lightest = (0..loads.len()).min_by_key(|&s| (loads[s], s)).unwrap_or(0);
            loads[lightest].0 = loads[lightest].0.saturating_add(self.jobs[job].cost());
            loads[lightest].1 += 1;
            if lightest == shard.index {
                chosen.push(job);
            }
        }
        let turn = |seed: u64| self.grid.seeds.iter().position(|&s| s == seed);
        chosen.sort_by_key(|&job| (turn(self.jobs[job].seed), job));
        chosen.into_iter().map(|job| &self.jobs[job]).collect()
    }
}

impl Job {
    /// Multiply-adds of the whole training, up to a factor that all runs share.
    fn cost(&self) -> u64 {
        let images = match &self.config.data.source {
            DataSource::Builtin(set) => set.train,
            DataSource::Cifar10 { .. } | DataSource::Folder { .. } => 1,
        };
        self.macs.saturating_mul(self.config.train.epochs as u64).saturating_mul(images as u64).max(1)
    }
}

/// A part of the runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// Which part, from 0.
    index: usize,
    /// Number of parts.
    count: usize,
}

impl Shard {
    /// All runs.
    pub const ALL: Shard = Shard { index: 0, count: 1 };

    /// Reads the command's form `I/N`, with I from 1 to N.
    ///
    /// # Errors
    /// If it has another form.
    pub fn parse(text: &str) -> Result<Self> {
        let parts = text
            .split_once('/')
            .and_then(|(index, count)| Some((index.parse::<usize>().ok()?, count.parse::<usize>().ok()?)));
        match parts {
            Some((index, count)) if 1 <= index && index <= count && count <= MOST_SHARDS => {
                Ok(Shard { index: index - 1, count })
            }
            _ => Err(Error::argument("shard", format!("\"{text}\""), "I/N with I from 1 to N, for example 2/8")),
        }
    }
}

/// More shards are refused.
const MOST_SHARDS: usize = 100_000;

/// The runs of one variant. They have the same network, so it is built once.
fn plan(grid: &Grid, index: usize, variant: &Variant) -> Result<Vec<Job>> {
    let mut jobs: Vec<Job> = Vec::new();
    for &seed in &grid.seeds {
        let mut config = variant.settings.run_config(seed)?;
        config.data.source = config.data.source.absolute()?;
        let classes = match jobs.first() {
            Some(first) => first.config.model.config.classes(),
            None => classes(&config.data.source)?,
        };
        config.model.config.set_classes(classes);
        let (parameters, macs) = match jobs.first() {
            Some(first) => (first.parameters, first.macs),
            None => {
                let network = Network::build(config.model.clone(), BuildOptions::shapes_only())?;
                (network.params().count(), network.trace(config.data.size, config.data.size)?.macs())
            }
        };
        let name = format!("{}-seed{seed}", variant.slug);
        jobs.push(Job { variant: index, seed, name, config, parameters, macs });
    }
    Ok(jobs)
}

/// Number of classes of a data set, without rendering it.
fn classes(source: &DataSource) -> Result<usize> {
    Ok(match source {
        DataSource::Builtin(_) => shapes_textures::CLASSES,
        DataSource::Cifar10 { .. } => CIFAR10_CLASSES,
        DataSource::Folder { path } => ImageFolder::open_split(path)?.0.classes().len(),
    })
}

/// Number of classes of CIFAR-10.
const CIFAR10_CLASSES: usize = 10;

/// Whether a configuration is one that can be merged.
fn has_merged_form(config: &ModelConfig) -> bool {
    !config.is_merged() && config.for_inference() != *config
}

/// The settings in which a run in a folder differs from the planned one.
fn differences(stored: &RunConfig, planned: &RunConfig) -> Result<Vec<String>> {
    let table = |config: &RunConfig| {
        Table::try_from(config).map_err(|e| Error::argument("config", e, "values that TOML can represent"))
    };
    let mut found = Vec::new();
    compare("", &Value::Table(table(stored)?), &Value::Table(table(planned)?), &mut found);
    Ok(found)
}

fn compare(name: &str, stored: &Value, planned: &Value, found: &mut Vec<String>) {
    let inner = |part: &str| if name.is_empty() { part.to_string() } else { format!("{name}.{part}") };
    match (stored, planned) {
        (Value::Table(a), Value::Table(b)) => {
            for (part, value) in a {
                match b.get(part) {
                    Some(other) => compare(&inner(part), value, other, found),
                    None => found.push(format!("{}: {value} in the run, none in the grid", inner(part))),
                }
            }
            for (part, value) in b.iter().filter(|(part, _)| !a.contains_key(*part)) {
                found.push(format!("{}: none in the run, {value} in the grid", inner(part)));
            }
        }
        // A run keeps paths in full.
        (Value::String(a), Value::String(b)) if std::path::absolute(b).is_ok_and(|b| b == Path::new(a)) => {}
        (a, b) if a != b => found.push(format!("{name}: {a} in the run, {b} in the grid")),
        _ => {}
    }
}

/// The same error with the place where it arose.
pub(super) fn within(place: &str, error: Error) -> Error {
    match error {
        Error::Argument { name, given, allowed } => {
            Error::Argument { name: format!("{place}: {name}"), given, allowed }
        }
        Error::Unknown { what, name, known } => Error::Unknown { what: format!("{place}: {what}"), name, known },
        Error::Shape { argument, given, expected, .. } => {
            Error::shape(format!("{place}: {argument}"), &given, expected)
        }
        other => other,
    }
}
