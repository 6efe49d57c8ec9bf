//! Curves of runs, and the checkpoint that all views show.

use super::scene::Scene;
use crate::command::{Command, Commands};
use crate::state::{Entry, State, XAxis};
use crate::widgets::{self, faint, series_color};
use eframe::egui::{self, Color32, RichText};
use egui_plot::{AxisHints, Corner, Legend, Line, LineStyle, Plot, PlotPoints, Points, VLine};
use kernelscope_lab::run::{Row, RowKind};

pub fn ui(ui: &mut egui::Ui, scene: &mut Scene) {
    let (state, out) = (scene.state, &mut *scene.out);
    let shown: Vec<&Entry> = state.shown().into_iter().filter(|entry| entry.overview.is_some()).collect();
    if shown.is_empty() {
        widgets::nothing(ui, "No run is open", "Curves need a run folder; a single checkpoint has none.");
        return;
    }
    steps(ui, state, out);
    ui.horizontal(|ui| {
        ui.label("Over");
        let choose = |axis: &mut XAxis| {
            ui.selectable_value(axis, XAxis::Epoch, "epochs");
            ui.selectable_value(axis, XAxis::Step, "steps");
        };
        out.edit(&state.look.x_axis, choose, Command::SetXAxis);
        ui.label(faint("solid: training, dashed: validation"));
    });
    if shown.iter().all(|entry| entry.overview.as_ref().is_none_or(|overview| overview.rows.is_empty())) {
        widgets::nothing(ui, "No curves yet", "The run has not logged anything yet.");
        return;
    }
    let size = egui::vec2((ui.available_width() - 8.0) / 2.0, ui.available_height().max(120.0));
    ui.horizontal(|ui| {
        for (name, label, accuracy) in [("loss", "loss", false), ("accuracy", "accuracy (%)", true)] {
            ui.allocate_ui(size, |ui| diagram(ui, state, &shown, name, label, accuracy));
        }
    });
}

/// The step slider: which checkpoint the views show.
fn steps(ui: &mut egui::Ui, state: &State, out: &mut Commands) {
    let Some(current) = state.current() else { return };
    let Some(overview) = &current.overview else {
        ui.label(faint(format!("{} is not a run; its weights do not change.", current.label)));
        return;
    };
    let epochs = current.epochs();
    let (Some(first), Some(last)) = (epochs.first().copied(), epochs.last().copied()) else {
        ui.label(faint("There is no checkpoint yet."));
        return;
    };
    let chosen = state.look.epochs.get(&current.id).copied();
    let mut epoch = chosen.unwrap_or(last);
    ui.horizontal_wrapped(|ui| {
        let label = ui.label(RichText::new("Checkpoint").strong());
        ui.spacing_mut().slider_width = (ui.available_width() - 320.0).clamp(80.0, 360.0);
        let slider = egui::Slider::new(&mut epoch, first..=last).prefix("epoch ");
        let response = ui.add_enabled(epochs.len() > 1, slider).labelled_by(label.id);
        if response.changed() {
            // Not every epoch has a checkpoint.
            let nearest = epochs.iter().copied().min_by_key(|known| known.abs_diff(epoch));
            nearest.into_iter().for_each(|epoch| out.push(Command::SetEpoch(epoch)));
        }
        if ui.add_enabled(chosen.is_some(), egui::Button::new("Newest")).clicked() {
            out.push(Command::ShowNewest);
        }
        let state = match overview.is_complete() {
            Some(true) => "complete".to_string(),
            Some(false) => format!("training, {} epochs done", overview.progress.epoch),
            None => format!("{} epochs done", overview.progress.epoch),
        };
        ui.label(faint(state));
    });
}

/// Smallest distance between grid lines in points, and the distance at which they have their full color.
const GRID: egui::Rangef = egui::Rangef { min: 16.0, max: 1200.0 };

type Getter = fn(&Row) -> Option<f64>;

fn points(rows: &[Row], kind: Option<RowKind>, axis: XAxis, steps_per_epoch: f64, get: Getter) -> Vec<[f64; 2]> {
    let x = |row: &Row| match axis {
        XAxis::Step => row.step as f64,
        XAxis::Epoch => row.step as f64 / steps_per_epoch,
    };
    let rows = rows.iter().filter(|row| kind.is_none_or(|kind| row.kind == kind));
    rows.filter_map(|row| Some([x(row), get(row)?])).filter(|p| p.iter().all(|v| v.is_finite())).collect()
}

fn diagram(ui: &mut egui::Ui, state: &State, shown: &[&Entry], name: &str, label: &str, accuracy: bool) {
    let dark = ui.visuals().dark_mode;
    let x_label = if state.look.x_axis == XAxis::Epoch { "epoch" } else { "optimizer step" };
    // Losses fall and accuracies rise, so the opposite corner is free.
    let corner = if accuracy { Corner::RightBottom } else { Corner::RightTop };
    let mut plot = Plot::new(name)
        .legend(Legend::default().background_alpha(0.6).position(corner))
        .custom_x_axes(vec![AxisHints::new_x().label(x_label).label_spacing(egui::Rangef::new(28.0, 48.0))])
        .y_axis_label(label)
        .allow_scroll(false)
        .grid_spacing(GRID)
        .height(ui.available_height())
        .include_x(0.0);
    if accuracy {
        plot = plot.include_y(0.0).include_y(100.0);
    }
    plot.show(ui, |plot| {
        for entry in shown {
            let Some(overview) = &entry.overview else { continue };
            let ink = series_color(state.index_of(entry.id), dark);
            let last = overview.rows.iter().rfind(|row| row.kind == RowKind::Epoch);
            let steps = last.map_or(1.0, |row| row.step as f64 / row.epoch.max(1) as f64).max(1.0);
            let of = |kind, get: Getter| points(&overview.rows, kind, state.look.x_axis, steps, get);
            let (training, validation): (Getter, Getter) = if accuracy {
                (|row| Some(100.0 * row.train_accuracy), |row| row.val_accuracy.map(|a| 100.0 * a))
            } else {
                (|row| Some(row.train_loss), |row| row.val_loss)
            };
            // Steps give a finer curve; runs that log none have epochs.
            let fine = of(Some(RowKind::Step), training);
            let fine = if fine.is_empty() { of(Some(RowKind::Epoch), training) } else { fine };
            plot.line(Line::new(entry.label.clone(), PlotPoints::from(fine)).color(ink).width(1.5));
            let validated = of(Some(RowKind::Epoch), validation);
            curve(plot, &entry.label, validated, ink);
            if let Some(epoch) = state.look.epochs.get(&entry.id) {
                let at = *epoch as f64 * if state.look.x_axis == XAxis::Epoch { 1.0 } else { steps };
                // Lines without a name are not in the legend.
                let line = VLine::new("", at).color(ink).width(1.0);
                plot.vline(line.style(LineStyle::dotted_loose()));
            }
        }
    });
}

fn curve(plot: &mut egui_plot::PlotUi, name: &str, points: Vec<[f64; 2]>, ink: Color32) {
    if points.is_empty() {
        return;
    }
    plot.points(Points::new(name, PlotPoints::from(points.clone())).color(ink).radius(2.5));
    let style = LineStyle::dashed_dense();
    plot.line(Line::new(name, PlotPoints::from(points)).color(ink).width(1.5).style(style));
}
