//! Whether a network is right as often as it is sure.

use plotters::prelude::DrawingBackend;

use super::axis::{Axis, Panel};
use super::colormap::{OKABE_ITO, ink};
use super::legend::{Key, Legend};
use super::pen::{Pen, Stroke, Type};
use super::{Figure, check, theme};
use crate::Result;
use kernelscope::analysis::calibration::Calibration;

/// Height of the diagram of accuracy in figure pixels.
const HEIGHT: f64 = 420.0;
/// Height of the diagram of the images' shares in figure pixels.
const SHARES: f64 = 150.0;

/// A reliability diagram: the accuracy in every range of confidence as a bar, with the diagonal on which a calibrated
/// network is; below it, the share of the images in each range.
#[derive(Debug, Clone, PartialEq)]
pub struct ReliabilityFigure {
    /// The values.
    pub calibration: Calibration,
}

impl Figure for ReliabilityFigure {
    fn size(&self) -> (u32, u32) {
        theme::size(2.0 * theme::MARGIN + theme::TITLE_HEIGHT + theme::LINE + HEIGHT + SHARES)
    }

    fn paint<DB: DrawingBackend>(&self, pen: &Pen<'_, DB>) -> Result<()>
    where
        DB::ErrorType: 'static,
    {
        let bins = &self.calibration.bins;
        check::not_empty("Calibration.bins", bins)?;
        for bin in bins {
            for value in [Some(bin.low), Some(bin.high), bin.accuracy, bin.confidence].into_iter().flatten() {
                check::range("Calibration.bins", value, 0.0, 1.0)?;
            }
        }
        let ece = self.calibration.ece.map_or(String::new(), |ece| format!(", expected calibration error {ece:.4}"));
        pen.text(&format!("Reliability{ece}"), (theme::MARGIN, theme::MARGIN + 10.0), Type::title())?;
        let [accuracy, confidence, ..] = OKABE_ITO;
        let room = theme::WIDTH - 2.0 * theme::MARGIN;
        let entries =
            [(Key::Patch(accuracy), "accuracy"), (Key::Dashes(confidence), "mean confidence equals accuracy")];
        let legend = Legend::new(entries.map(|(key, name)| (key, name.to_string())), room);
        let top = theme::MARGIN + theme::TITLE_HEIGHT;
        legend.draw(pen, (theme::MARGIN, top))?;
        let (left, right) = (theme::MARGIN, theme::WIDTH - theme::MARGIN);
        let middle = top + theme::LINE + HEIGHT;
        let unit = |label: &str| Axis::linear(0.0, 1.0, 5, label);
        let upper = Panel::within(unit("confidence"), unit("accuracy"), (left, top + theme::LINE), (right, middle));
        upper.draw(pen)?;
        for bin in bins {
            if let Some(value) = bin.accuracy {
                pen.rect(upper.at(bin.low, 0.0), upper.at(bin.high, value), ink(accuracy))?;
                // A white edge tells neighbors apart.
                pen.frame(
                    upper.at(bin.low, value),
                    upper.at(bin.high, 0.0),
                    Stroke { color: theme::PAPER, width: 1.0 },
                )?;
            }
        }
        pen.dashed(
            &[upper.at(0.0, 0.0), upper.at(1.0, 1.0)],
            Stroke { color: ink(confidence), width: 2.0 },
            (7.0, 4.0),
        )?;
        upper.draw_axes(pen)?;
        let images: usize = bins.iter().map(|bin| bin.images).sum();
        let lower =
            Panel::within(unit("confidence"), unit("share of images"), (left, middle), (right, middle + SHARES));
        lower.draw(pen)?;
        for bin in bins.iter().filter(|bin| bin.images > 0) {
            let share = bin.images as f64 / images.max(1) as f64;
            pen.rect(lower.at(bin.low, 0.0), lower.at(bin.high, share), theme::AXIS)?;
        }
        lower.draw_axes(pen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::{png, svg};

    #[test]
    fn accuracy_is_drawn_over_confidence() {
        let answers = (0..40).map(|i| (0.025 * f64::from(i), i % 3 == 0));
        let figure = ReliabilityFigure { calibration: Calibration::of(answers, 15).unwrap() };
        let drawn = svg(&figure).unwrap();
        let ece = format!("{:.4}", figure.calibration.ece.unwrap());
        for part in ["Reliability", &ece, "confidence", "accuracy", "share of images"] {
            assert!(drawn.contains(part), "no {part}");
        }
        assert!(!png(&figure).unwrap().is_empty());
        let empty = ReliabilityFigure { calibration: Calibration::of([], 15).unwrap() };
        assert!(svg(&empty).unwrap().contains("Reliability"));
    }

    #[test]
    fn values_that_make_no_sense_are_refused() {
        let mut calibration = Calibration::of([(0.5, true)], 2).unwrap();
        calibration.bins[0].accuracy = Some(1.5);
        let message = svg(&ReliabilityFigure { calibration: calibration.clone() }).unwrap_err().to_string();
        assert!(message.contains("Calibration.bins") && message.contains("1.5"), "{message}");
        calibration.bins.clear();
        assert!(svg(&ReliabilityFigure { calibration }).unwrap_err().to_string().contains("empty"));
    }
}
