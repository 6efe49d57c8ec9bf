//! Ablations from a cell: a grid in three lines, trained in the background while other cells run.

use crate::interrupt;
use crate::run::{Run, open_run};
use crate::show::tables::{bar, duration, summary_table};
use crate::show::{Live, Show, Shown, beside};
use crate::training::training;
use kernelscope::{Error, Result};
use kernelscope_lab::ablate::{Ablation, Axis, Entry, Failure, Grid, Job, Record, Settings, Shard, Summary, Watch};
use kernelscope_lab::plot::AblationRows;
use kernelscope_lab::train::{Observer, StepReport};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use toml::Value;

/// A grid to be.
#[derive(Debug, Clone)]
pub struct GridBuilder {
    grid: Grid,
}

/// A comparison of variants of a network, with the recipe of [`training`].
///
/// ```text
/// let table = grid("nano-1d").axis("set.kernel", &[7, 15, 31]).seeds(3).set("train.epochs", 4).start("runs/kernels")?;
/// table.wait()?                     // in this or a later cell; the table is live meanwhile
/// ```
pub fn grid(model: &str) -> GridBuilder {
    let grid = Grid {
        name: model.to_string(),
        title: String::new(),
        paper: String::new(),
        notes: String::new(),
        published: String::new(),
        seeds: vec![0, 1, 2],
        baseline: None,
        check: None,
        base: training(model).into_settings(),
        axes: Vec::new(),
        entries: Vec::new(),
        comparisons: Vec::new(),
    };
    GridBuilder { grid }
}

impl GridBuilder {
    /// Title of table and figure.
    pub fn title(mut self, title: &str) -> Self {
        self.grid.title = title.to_string();
        self
    }

    /// Sets a value for all variants, by its name: `set.FIELD`, `train.FIELD` or `data.FIELD`.
    pub fn set(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.grid.base.set(name, value.into());
        self
    }

    /// Every combination of the values of all axes is a variant.
    pub fn axis<T: Clone + Into<Value>>(mut self, key: &str, values: &[T]) -> Self {
        let values = values.iter().cloned().map(Into::into).collect();
        let name = key.rsplit('.').next().map(str::to_string);
        self.grid.axes.push(Axis { key: key.to_string(), name, values, labels: None });
        self
    }

    /// A variant of its own, with settings by name.
    pub fn variant(mut self, label: &str, settings: &[(&str, Value)]) -> Self {
        let mut all = Settings::default();
        for (name, value) in settings {
            all.set(name, value.clone());
        }
        self.grid.entries.push(Entry { label: label.to_string(), published: None, settings: all });
        self
    }

    /// Number of seeds: 0, 1, 2 and so on.
    pub fn seeds(mut self, seeds: u64) -> Self {
        self.grid.seeds = (0..seeds).collect();
        self
    }

    /// Trains all runs in the background. Finished ones are not trained again, so the same cell goes on after a stop.
    /// The folder is one that `kernelscope ablate` writes: runs, tables, figures, a page.
    ///
    /// # Errors
    /// If a variant does not fit its network, or the folder holds other runs; nothing is trained then.
    pub fn start(self, folder: &str) -> Result<Background> {
        start(self.grid, folder.as_ref())
    }
}

/// An ablation that is being trained, or was.
pub struct Background {
    ablation: Arc<Ablation>,
    state: Arc<State>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<Vec<Failure>>>>,
}

/// What the threads of the runs and the display share.
struct State {
    started: Instant,
    /// What is finished; read again when a run ends.
    records: Mutex<Vec<Record>>,
    runs: Mutex<BTreeMap<String, RunState>>,
    live: Mutex<(Live, Option<Instant>)>,
    ablation: Arc<Ablation>,
}

#[derive(Clone)]
enum RunState {
    Training { step: usize, steps: usize },
    Ended(Option<String>),
}

const REDRAW: Duration = Duration::from_millis(500);

/// What stands behind the signs in the table.
const SPREADS: &str = "Accuracy: mean ± standard deviation over seeds. Difference to the first variant, paired by \
                       seed: mean ± half of the 95% confidence interval.";

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn start(grid: Grid, folder: &Path) -> Result<Background> {
    crate::start();
    grid.check()?;
    let ablation = Arc::new(Ablation::new(grid, folder)?);
    // Before anything is written.
    ablation.jobs.iter().try_for_each(|job| ablation.state(job).map(drop))?;
    let state = Arc::new(State {
        started: Instant::now(),
        records: Mutex::default(),
        runs: Mutex::default(),
        live: Mutex::new((Live::new(), None)),
        ablation: ablation.clone(),
    });
    let stop = Arc::new(AtomicBool::new(false));
    state.draw(true);
    let (of_thread, flag, work) = (state.clone(), stop.clone(), ablation.clone());
    let run = move || {
        let jobs = work.shard(Shard::ALL);
        let failures = work.run(&jobs, None, &flag, &Watcher(of_thread.clone()));
        // What is finished is worth its table.
        let written = work.write_results();
        of_thread.draw(true);
        let failures = failures?;
        if failures.is_empty() {
            written?;
        }
        Ok(failures)
    };
    let thread = std::thread::Builder::new().name("ablation".into()).spawn(run);
    let thread = thread.map_err(Error::io("start", Path::new("a thread")))?;
    Ok(Background { ablation, state, stop, thread: Some(thread) })
}

impl State {
    /// Shows the table; not too often, unless something has ended.
    fn draw(&self, now: bool) {
        let mut live = locked(&self.live);
        if !now && live.1.is_some_and(|drawn| drawn.elapsed() < REDRAW) {
            return;
        }
        live.1 = Some(Instant::now());
        if now {
            *locked(&self.records) = self.ablation.records().unwrap_or_default();
        }
        let shown = self.shown();
        live.0.set_shown(&shown);
    }

    fn shown(&self) -> Shown {
        let runs = locked(&self.runs).clone();
        let all = self.ablation.jobs.len();
        let records = locked(&self.records).clone();
        let finished = records.len();
        let failed: Vec<(&String, &String)> = runs
            .iter()
            .filter_map(|(name, run)| if let RunState::Ended(Some(error)) = run { Some((name, error)) } else { None })
            .collect();
        let training = runs.values().filter_map(|run| match run {
            RunState::Training { step, steps } => Some((*step, *steps)),
            RunState::Ended(_) => None,
        });
        let training: Vec<_> = training.collect();
        let part: f64 = training.iter().map(|(step, steps)| *step as f64 / (*steps).max(1) as f64).sum();
        let share = (finished as f64 + part) / all.max(1) as f64;
        // What was there before this start took no time.
        let before = finished - runs.values().filter(|run| matches!(run, RunState::Ended(None))).count().min(finished);
        let own = share - before as f64 / all.max(1) as f64;
        let left = self.started.elapsed().as_secs_f64() * (1.0 - share) / own.max(1e-9);
        let mut line = format!("{finished} of {all} runs");
        if !training.is_empty() && own > 0.0 {
            line += &format!(", {} in training, {} left", training.len(), duration(left));
        }
        let table = summary_table(self.ablation.grid.title(), &self.ablation.summaries(&records));
        let html = maud::html! {
            div { (bar(share)) " " (line) }
            (table.html())
            div style="font-size:85%;opacity:.75" { (SPREADS) }
            @for (name, error) in &failed { div style="color:#d55e00" { (name) ": " (error) } }
        };
        let mut plain = format!("{line}\n{}\n{SPREADS}", table.text());
        for (name, error) in failed {
            plain += &format!("\n{name}: {error}");
        }
        Shown::html(html.into_string(), plain)
    }
}

/// Follows the runs.
struct Watcher(Arc<State>);

impl Watch for Watcher {
    fn started(&self, job: &Job, (steps, done): (usize, usize)) -> Box<dyn Observer> {
        locked(&self.0.runs).insert(job.name.clone(), RunState::Training { step: done, steps });
        Box::new(Follower { name: job.name.clone(), state: self.0.clone() })
    }

    fn ended(&self, job: &Job, result: &Result<()>) {
        let error = result.as_ref().err().map(ToString::to_string);
        locked(&self.0.runs).insert(job.name.clone(), RunState::Ended(error));
        self.0.draw(true);
    }
}

/// Follows one run.
struct Follower {
    name: String,
    state: Arc<State>,
}

impl Observer for Follower {
    fn step(&mut self, report: &StepReport) {
        if let Some(RunState::Training { step, .. }) = locked(&self.state.runs).get_mut(&self.name) {
            *step = report.step;
        }
        self.state.draw(false);
    }
}

impl Background {
    /// Whether runs are still being trained.
    pub fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Stops after the current steps; the same grid goes on from there.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Waits for all runs; the table goes on changing. Jupyter's stop button stops the ablation as well.
    ///
    /// # Errors
    /// If it is stopped, or a run fails; the message names it.
    pub fn wait(&mut self) -> Result<Vec<Summary>> {
        while self.is_running() {
            if interrupt::interrupted() {
                self.stop();
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        if let Some(thread) = self.thread.take() {
            let result = thread.join();
            let failures =
                result.map_err(|_| Error::argument("the ablation", "a panic", "no panic; this is a bug"))??;
            if !failures.is_empty() {
                let all: Vec<String> = failures.iter().map(|f| format!("{}: {}", f.job, f.error)).collect();
                return Err(Error::file(&self.ablation.dir, all.join("; ")));
            }
        }
        self.summaries()
    }

    /// A row per variant, of what is finished.
    ///
    /// # Errors
    /// If a run folder is damaged.
    pub fn summaries(&self) -> Result<Vec<Summary>> {
        Ok(self.ablation.summaries(&self.ablation.records()?))
    }

    /// Every run as a dot, with mean and spread of each variant.
    ///
    /// # Errors
    /// If a run folder is damaged.
    pub fn figure(&self) -> Result<AblationRows> {
        let records = self.ablation.records()?;
        Ok(self.ablation.rows(&records, &self.ablation.summaries(&records)))
    }

    /// A finished run of the variant with this label.
    ///
    /// # Errors
    /// If there is no such variant (the message lists them), or its run is not finished.
    pub fn run(&self, label: &str, seed: u64) -> Result<Run> {
        let variants = &self.ablation.variants;
        let index = variants.iter().position(|variant| variant.label == label).ok_or_else(|| {
            let known: Vec<&str> = variants.iter().map(|variant| variant.label.as_str()).collect();
            Error::argument("label", format!("\"{label}\""), known.join(", "))
        })?;
        let job = self.ablation.jobs.iter().find(|job| job.variant == index && job.seed == seed);
        let job = job.ok_or_else(|| Error::argument("seed", seed, "one of the grid's"))?;
        open_run(&self.ablation.run_path(job).to_string_lossy())
    }
}

impl std::fmt::Debug for Background {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.state.shown().plain)
    }
}

impl Show for Background {
    fn shown(&self) -> Shown {
        let table = self.state.shown();
        match self.figure() {
            Ok(figure) if !figure.rows.is_empty() => beside(&[&table, &figure]),
            _ => table,
        }
    }
}
