//! Training with a live curve.

use crate::interrupt;
use crate::run::Run;
use crate::show::tables::{Table, bar, duration, percent};
use crate::show::{Live, Show, Shown};
use kernelscope::analysis::report::{HistoryPoint, RunHistory};
use kernelscope::{Error, Result};
use kernelscope_lab::ablate::Settings;
use kernelscope_lab::run::{Quickstart, RunConfig, RunFolder};
use kernelscope_lab::train::{EpochReport, Observer, StepReport, Trainer};
use std::path::Path;
use std::time::{Duration, Instant};
use toml::Value;

/// A run to be: its settings, by the names that grid files have ([`Settings`]).
#[derive(Debug, Clone)]
pub struct Training {
    settings: Settings,
    seed: u64,
    anew: bool,
    quiet: bool,
}

/// A run of a network on the built-in images, 4 epochs over 2048 of them unless settings say otherwise.
///
/// ```text
/// let run = training("nano-1d").set("set.kernel", 15).set("train.epochs", 8).seed(1).run("runs/k15")?;
/// ```
pub fn training(model: &str) -> Training {
    let settings = Settings::quickstart(model, Quickstart { train_images: 2048, ..Quickstart::default() });
    Training { settings, seed: 0, anew: false, quiet: false }
}

/// Trains a network with all that [`training`] sets, in the folder `runs/MODEL`.
///
/// # Errors
/// As [`Training::run`].
pub fn train(model: &str) -> Result<Run> {
    training(model).run(&format!("runs/{model}"))
}

impl Training {
    /// Sets a value by its name: `set.FIELD` of the network, `train.FIELD` or `data.FIELD` of the run.
    pub fn set(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.settings.set(name, value.into());
        self
    }

    /// Number of passes over the training images.
    pub fn epochs(self, epochs: i64) -> Self {
        self.set("train.warmup_epochs", Quickstart::warmup_epochs(epochs as f64)).set("train.epochs", epochs)
    }

    /// Number of built-in training images.
    pub fn images(self, images: i64) -> Self {
        self.set("data.source.train", images)
    }

    /// Seed of everything random: weights, images, their order.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Trains again where the folder already contains this run, and throws the old one away.
    pub fn anew(mut self) -> Self {
        self.anew = true;
        self
    }

    /// Shows nothing while it trains.
    pub fn quiet(mut self) -> Self {
        self.quiet = true;
        self
    }

    /// The settings alone, for a grid.
    pub(crate) fn into_settings(self) -> Settings {
        self.settings
    }

    /// The whole configuration.
    ///
    /// # Errors
    /// If a name is unknown or a value does not fit; the message says what would.
    pub fn config(&self) -> Result<RunConfig> {
        self.settings.run_config(self.seed)
    }

    /// Trains in a run folder, which all commands and the viewer read, and shows the curve meanwhile. A run that is
    /// already there is gone on with, and not trained again if it is complete.
    ///
    /// Jupyter's stop button ends training after the current step; the result is then that of the last complete epoch.
    ///
    /// # Errors
    /// If a setting does not fit, the folder holds another run, or training fails. Also if it is stopped before its
    /// first epoch is complete.
    pub fn run(&self, folder: &str) -> Result<Run> {
        crate::start();
        let folder = Path::new(folder);
        let config = self.config()?;
        let mut trainer = match RunFolder::open(folder) {
            Err(_) => Trainer::create(folder, config)?,
            Ok(run) if self.anew => {
                std::fs::remove_dir_all(run.root()).map_err(Error::io("remove", run.root()))?;
                Trainer::create(folder, config)?
            }
            Ok(run) => {
                let mut wanted = config;
                wanted.data.source = wanted.data.source.absolute()?;
                if run.config()? != wanted {
                    let content = "a run with different settings; name another folder, or train anew: `.anew()`";
                    return Err(Error::occupied(folder, content));
                }
                Trainer::resume(folder)?
            }
        };
        trainer = trainer.with_stop_flag(interrupt::flag());
        let mut curve = Curve::new(&trainer, self.quiet)?;
        match trainer.train(&mut curve) {
            Ok(_) => {
                curve.finish("");
                Run::open(folder, false)
            }
            Err(Error::Interrupted { .. }) => {
                curve.finish("stopped; run the same cell again to resume after the last complete epoch");
                Run::open(folder, true)
            }
            Err(error) => Err(error),
        }
    }
}

/// How often the display changes.
const REDRAW: Duration = Duration::from_millis(200);
/// Points that a curve has at most: more cannot be told apart.
const MOST_POINTS: usize = 160;

/// The live display of a run: progress, curves, epochs.
struct Curve {
    name: String,
    epochs: usize,
    steps: usize,
    first_step: usize,
    started: Instant,
    drawn: Option<Instant>,
    /// Losses that are not in a point yet.
    recent: (f64, usize),
    /// Steps that make a point.
    per_point: usize,
    history: RunHistory,
    complete: RunHistory,
    last: Option<StepReport>,
    quiet: bool,
    progress: Live,
    picture: Live,
}

impl Curve {
    fn new(trainer: &Trainer, quiet: bool) -> Result<Self> {
        let (steps, done) = trainer.steps();
        let run = trainer.run_folder();
        let config = run.config()?;
        // Of a run that goes on, what it has done before.
        let complete =
            if done > 0 { run.history()? } else { RunHistory { label: config.model.name.clone(), points: Vec::new() } };
        Ok(Curve {
            name: format!("{} in {}", config.model.name, run.root().display()),
            epochs: config.train.epochs,
            steps,
            first_step: done,
            started: Instant::now(),
            drawn: None,
            recent: (0.0, 0),
            per_point: steps.div_ceil(MOST_POINTS).max(1),
            history: complete.clone(),
            complete,
            last: None,
            quiet,
            progress: Live::new(),
            picture: Live::new(),
        })
    }

    fn draw(&mut self, remark: &str) {
        self.drawn = Some(Instant::now());
        if self.quiet {
            return;
        }
        self.progress.set_shown(&self.progress_shown(remark));
        if self.history.points.len() > 1 {
            let curves = kernelscope_lab::plot::LossCurves { runs: vec![self.history.clone()] };
            self.picture.set(&curves);
        }
    }

    fn progress_shown(&self, remark: &str) -> Shown {
        let done = self.last.map_or(self.first_step, |report| report.step);
        let share = done as f64 / self.steps.max(1) as f64;
        let seconds = self.started.elapsed().as_secs_f64();
        let speed = (done - self.first_step) as f64 / seconds.max(1e-9);
        let left = if done < self.steps {
            format!("{} left", duration((self.steps - done) as f64 / speed))
        } else {
            duration(seconds)
        };
        let mut line = format!("{}: step {done} of {}, {left}", self.name, self.steps);
        if let Some(report) = &self.last {
            line += &format!(
                ", loss {:.3}, accuracy {}, {:.0} images/s",
                report.loss,
                percent(Some(report.accuracy)),
                report.images_per_second
            );
            line += &report.density.map_or(String::new(), |density| format!(", density {}", percent(Some(density))));
        }
        if !remark.is_empty() {
            line += &format!(" ({remark})");
        }
        let table = Table { title: String::new(), ..self.epoch_table() };
        let html = maud::html! {
            div { (bar(share)) " " (line) }
            @if !table.rows.is_empty() { (table.html()) }
        };
        let plain = if table.rows.is_empty() { line } else { format!("{line}\n{}", table.text()) };
        Shown::html(html.into_string(), plain)
    }

    /// The last epochs.
    fn epoch_table(&self) -> Table {
        const SHOWN: usize = 6;
        let points = &self.complete.points;
        let last = points[points.len().saturating_sub(SHOWN)..].to_vec();
        crate::show::history_table(&RunHistory { label: String::new(), points: last })
    }

    /// The state at the end of a run.
    fn finish(&mut self, remark: &str) {
        self.history = self.complete.clone();
        if self.history.points.len() < 2 && self.last.is_some() {
            // A single epoch has no curve of epochs.
            return self.draw(remark);
        }
        self.draw(if self.last.is_none() && remark.is_empty() { "already trained; nothing to do" } else { remark });
    }
}

impl Observer for Curve {
    fn step(&mut self, report: &StepReport) {
        self.last = Some(*report);
        self.recent = (self.recent.0 + report.loss, self.recent.1 + 1);
        if self.recent.1 >= self.per_point {
            let epoch = report.step as f64 * self.epochs as f64 / self.steps.max(1) as f64;
            let train_loss = self.recent.0 / self.recent.1 as f64;
            self.history.points.push(HistoryPoint { epoch, train_loss, val_loss: None, val_accuracy: None });
            self.recent = (0.0, 0);
        }
        if self.drawn.is_none_or(|drawn| drawn.elapsed() >= REDRAW) {
            self.draw("");
        }
    }

    fn epoch(&mut self, report: &EpochReport) {
        let point = HistoryPoint {
            epoch: report.epoch as f64,
            train_loss: report.train_loss,
            val_loss: Some(report.validation.loss),
            val_accuracy: Some(report.validation.accuracy),
        };
        self.complete.points.push(point);
        // In the curve of steps, the loss of the last steps stands at this place already.
        let loss = self.history.points.last().map_or(report.train_loss, |last| last.train_loss);
        self.history.points.push(HistoryPoint { train_loss: loss, ..point });
        if !self.quiet {
            let (epoch, epochs) = (report.epoch, self.epochs);
            self.progress.say(&format!(
                "{}: epoch {epoch} of {epochs}: {}",
                self.name,
                report.validation.shown().plain
            ));
        }
        self.draw("");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recipe_is_a_configuration() {
        let config = training("nano-1d").epochs(2).images(64).set("set.kernel", 7).seed(3).config().unwrap();
        assert_eq!((config.train.epochs, config.train.batch_size, config.train.seed), (2, 32, 3));
        assert_eq!((config.train.warmup_epochs, config.train.mix.smoothing), (0.125, 0.05));
        let error = training("nano-1d").set("train.epoch", 2).config().unwrap_err().to_string();
        assert!(error.contains("epochs"), "{error}");
    }
}
