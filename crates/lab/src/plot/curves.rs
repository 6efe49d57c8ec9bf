//! Loss and accuracy over the epochs of training runs.

use plotters::prelude::DrawingBackend;

use super::axis::{Axis, Panel};
use super::colormap::{ink, series};
use super::legend::{DASH, Key, Legend};
use super::pen::{Align, Pen, Point, Stroke, Type};
use super::{Figure, check, theme};
use crate::Result;
use kernelscope::analysis::report::{HistoryPoint, RunHistory};

/// Height of the diagrams in figure pixels.
const PANEL_HEIGHT: f64 = 400.0;
/// Space between the two diagrams.
const BETWEEN: f64 = 28.0;
/// Series with at most this many points get a dot on each.
const DOTTED_UP_TO: usize = 30;
/// Color of the legend's keys for line styles, which hold for all runs.
const NEUTRAL: [u8; 3] = [90, 90, 90];

/// Training and validation loss, and validation accuracy in percent, over epochs; one color per run.
///
/// Points where a value is missing or not finite are skipped, and the line goes on to the next one.
#[derive(Debug, Clone, PartialEq)]
pub struct LossCurves {
    /// The runs, at least one with at least one finite loss.
    pub runs: Vec<RunHistory>,
}

type Getter = fn(&HistoryPoint) -> Option<f64>;

const TRAIN_LOSS: Getter = |point| Some(point.train_loss);
const VAL_LOSS: Getter = |point| point.val_loss;
const VAL_PERCENT: Getter = |point| point.val_accuracy.map(|share| share * 100.0);

/// The finite pairs of epoch and value.
fn pairs(run: &RunHistory, get: Getter) -> Vec<Point> {
    let pair = |point: &HistoryPoint| Some((point.epoch, get(point)?));
    run.points.iter().filter_map(pair).filter(|(epoch, value)| epoch.is_finite() && value.is_finite()).collect()
}

/// Smallest and largest of the values; `None` if there are none.
fn extent(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.fold(None, |range: Option<(f64, f64)>, value| {
        Some(range.map_or((value, value), |(low, high)| (low.min(value), high.max(value))))
    })
}

impl LossCurves {
    fn legend(&self) -> Legend {
        let runs = self.runs.iter().enumerate().map(|(i, run)| (Key::Patch(series(i)), run.label.clone()));
        let mut entries: Vec<_> = runs.collect();
        entries.push((Key::Line(NEUTRAL), "training".to_owned()));
        if self.runs.iter().any(|run| !pairs(run, VAL_LOSS).is_empty() || !pairs(run, VAL_PERCENT).is_empty()) {
            entries.push((Key::Dashes(NEUTRAL), "validation".to_owned()));
        }
        Legend::new(entries, theme::WIDTH - 2.0 * theme::MARGIN)
    }

    fn all(&self, get: Getter) -> impl Iterator<Item = Point> + '_ {
        self.runs.iter().flat_map(move |run| pairs(run, get))
    }

    fn check(&self) -> Result<()> {
        check::not_empty("LossCurves.runs", &self.runs)?;
        let points: Vec<Point> = self.all(TRAIN_LOSS).chain(self.all(VAL_LOSS)).chain(self.all(VAL_PERCENT)).collect();
        check::not_empty("LossCurves.runs.points (finite values)", &points)
    }

    fn epochs(&self) -> Axis {
        let points = self.all(TRAIN_LOSS).chain(self.all(VAL_LOSS)).chain(self.all(VAL_PERCENT));
        let (low, high) = extent(points.map(|point| point.0)).unwrap_or((0.0, 1.0));
        // Whole epochs, unless the run ended within the first one.
        if low >= 0.0 && high >= 1.0 {
            Axis::counts(high, 6, "epoch")
        } else {
            Axis::rounded(low.min(0.0), high, 6, "epoch")
        }
    }

    /// Draws one run's series.
    fn series<DB: DrawingBackend>(pen: &Pen<'_, DB>, points: &[Point], color: [u8; 3], dashed: bool) -> Result<()>
    where
        DB::ErrorType: 'static,
    {
        let stroke = Stroke { color: ink(color), width: 2.0 };
        if dashed {
            pen.dashed(points, stroke, DASH)?;
        } else {
            pen.polyline(points, stroke)?;
        }
        let dots = if points.len() <= DOTTED_UP_TO { points } else { &[] };
        dots.iter().try_for_each(|&at| pen.disc(at, 3.5, stroke.color))
    }
}

impl Figure for LossCurves {
    fn size(&self) -> (u32, u32) {
        theme::size(2.0 * theme::MARGIN + theme::TITLE_HEIGHT + self.legend().height + 10.0 + PANEL_HEIGHT)
    }

    fn paint<DB: DrawingBackend>(&self, pen: &Pen<'_, DB>) -> Result<()>
    where
        DB::ErrorType: 'static,
    {
        self.check()?;
        let (left, right) = (theme::MARGIN, theme::WIDTH - theme::MARGIN);
        pen.text("Training history", (left, theme::MARGIN + 10.0), Type::title())?;
        let legend = self.legend();
        let legend_top = theme::MARGIN + theme::TITLE_HEIGHT;
        legend.draw(pen, (left, legend_top))?;
        let top = legend_top + legend.height + 10.0;
        let middle = (left + right) / 2.0;

        let losses = self.all(TRAIN_LOSS).chain(self.all(VAL_LOSS)).map(|point| point.1);
        let (low, high) = extent(losses).unwrap_or((0.0, 1.0));
        let y = Axis::rounded(low, high, 6, "loss");
        let first = ((left, top), (middle - BETWEEN / 2.0, top + PANEL_HEIGHT));
        let panel = Panel::within(self.epochs(), y, first.0, first.1);
        panel.draw(pen)?;
        let placed =
            |panel: &Panel, points: Vec<Point>| points.iter().map(|p| panel.at(p.0, p.1)).collect::<Vec<Point>>();
        for (index, run) in self.runs.iter().enumerate() {
            Self::series(pen, &placed(&panel, pairs(run, TRAIN_LOSS)), series(index), false)?;
            Self::series(pen, &placed(&panel, pairs(run, VAL_LOSS)), series(index), true)?;
        }

        let (low, high) = extent(self.all(VAL_PERCENT).map(|point| point.1)).unwrap_or((0.0, 100.0));
        let mut y = Axis::rounded(low, high, 6, "validation accuracy (%)");
        if low >= 0.0 && high <= 100.0 && (y.low < 0.0 || y.high > 100.0) {
            y = Axis::linear(y.low.max(0.0), y.high.min(100.0), 6, &y.label);
        }
        let panel = Panel::within(self.epochs(), y, (middle + BETWEEN / 2.0, top), (right, top + PANEL_HEIGHT));
        panel.draw(pen)?;
        for (index, run) in self.runs.iter().enumerate() {
            Self::series(pen, &placed(&panel, pairs(run, VAL_PERCENT)), series(index), true)?;
        }
        if self.all(VAL_PERCENT).next().is_none() {
            let (a, b) = (panel.upper_left, panel.lower_right);
            let at = ((a.0 + b.0) / 2.0, (a.1 + b.1) / 2.0);
            pen.rect((at.0 - 70.0, at.1 - 16.0), (at.0 + 70.0, at.1 + 16.0), theme::PAPER)?;
            pen.text("not measured", at, Type::label(Align::Middle))?;
        }
        Ok(())
    }
}
