//! Controls for what is computed and how it is shown.

use super::legend::{square_color, swatch};
use crate::command::{Command, Commands, Threshold};
use crate::state::{Arrangement, Entry, ErfLook, Images, Transfer};
use crate::widgets::{faint, toggle};
use eframe::egui::{self, DragValue, Slider};
use std::path::PathBuf;

/// Number of stages to offer while the network's own number is unknown.
const STAGES: usize = 4;

pub fn ui(ui: &mut egui::Ui, look: &ErfLook, shown: &[&Entry], out: &mut Commands) {
    ui.horizontal_wrapped(|ui| {
        let stages = shown.iter().filter_map(|entry| entry.stages).max().unwrap_or(STAGES);
        compute(ui, look, stages, out);
        if ui.button("Compute").on_hover_text(Command::Recompute.name()).clicked() {
            out.push(Command::Recompute);
        }
        let hint = "Recompute as soon as something changes";
        toggle(ui, look.live, "Live", Command::ToggleLive, out).on_hover_text(hint);
    });
    ui.horizontal_wrapped(|ui| colors(ui, look, shown.len(), out));
    ui.horizontal_wrapped(|ui| thresholds(ui, look, out));
}

fn compute(ui: &mut egui::Ui, look: &ErfLook, stages: usize, out: &mut Commands) {
    let label = ui.label("Stage");
    let text = look.stage.map_or("last".to_string(), |stage| stage.to_string());
    let list = egui::ComboBox::from_id_salt("stage").selected_text(text).width(56.0);
    let choose = |chosen: &mut Option<usize>| {
        let response = list.show_ui(ui, |ui| {
            ui.selectable_value(chosen, None, "last");
            for stage in 0..stages {
                ui.selectable_value(chosen, Some(stage), stage.to_string());
            }
        });
        response.response.labelled_by(label.id);
    };
    out.edit(&look.stage, choose, Command::SetStage);
    let label = ui.label("Images");
    let drag = |images: &mut usize| drop(ui.add(DragValue::new(images).range(1..=1000)).labelled_by(label.id));
    out.edit(&look.images, drag, Command::SetImages);
    let label = ui.label("of side");
    let drag = |size: &mut usize| {
        ui.add(DragValue::new(size).range(32..=2048).speed(8.0).suffix(" px")).labelled_by(label.id);
    };
    out.edit(&look.size, drag, Command::SetSize);
    let text = match &look.source {
        Images::Own => "own images".to_string(),
        Images::Path(path) => path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned(),
    };
    let menu = ui.menu_button(text, |ui| source(ui, out));
    menu.response.on_hover_text(
        "The images of the run (built-in ones for weights without a run), or a file or folder of your own",
    );
    if let Some((row, column)) = look.position {
        ui.label(faint(format!("at {row},{column}")));
        if ui.small_button("Center").clicked() {
            out.push(Command::SetPosition(None));
        }
    } else {
        ui.label(faint("click a map to probe there"));
    }
}

/// Asks for images: those of the run, or a path.
fn source(ui: &mut egui::Ui, out: &mut Commands) {
    if ui.button("Own images").clicked() {
        out.push(Command::SetSource(Images::Own));
        ui.close();
    }
    let id = ui.scope_id().with("path");
    let mut text: String = ui.data_mut(|data| data.get_temp(id).unwrap_or_default());
    let label = ui.label("An image or a folder of images:");
    let field = egui::TextEdit::singleline(&mut text).desired_width(260.0).hint_text("path");
    let response = ui.add(field).labelled_by(label.id);
    if response.lost_focus() && ui.input(|i| i.key_pressed(egui::Key::Enter)) && !text.is_empty() {
        out.push(Command::SetSource(Images::Path(PathBuf::from(&text))));
        ui.close();
    }
    ui.data_mut(|data| data.insert_temp(id, text));
}

fn colors(ui: &mut egui::Ui, look: &ErfLook, count: usize, out: &mut Commands) {
    ui.label("Colors");
    let choose = |transfer: &mut Transfer| {
        ui.selectable_value(transfer, Transfer::Log, "log");
        ui.selectable_value(transfer, Transfer::Linear, "linear");
        ui.selectable_value(transfer, Transfer::Power, "power");
    };
    out.edit(&look.transfer, choose, Command::SetTransfer);
    if look.transfer == Transfer::Power {
        let drag = |gamma: &mut f64| {
            ui.add(DragValue::new(gamma).range(0.05..=3.0).speed(0.01).max_decimals(2)).on_hover_text("Exponent");
        };
        out.edit(&look.gamma, drag, Command::SetGamma);
    }
    toggle(ui, look.squares, "Squares", Command::ToggleSquares, out);
    toggle(ui, look.contours, "Contours", Command::ToggleContours, out);
    toggle(ui, look.input, "Input image", Command::ToggleInput, out);
    if count > 1 {
        ui.separator();
        let choose = |arrangement: &mut Arrangement| {
            ui.selectable_value(arrangement, Arrangement::Side, "side by side");
            ui.selectable_value(arrangement, Arrangement::Swipe, "swipe");
            ui.selectable_value(arrangement, Arrangement::Difference, "difference");
        };
        out.edit(&look.arrangement, choose, Command::Arrange);
        toggle(ui, look.shared_range, "Shared range", Command::ToggleSharedRange, out);
    }
}

fn thresholds(ui: &mut egui::Ui, look: &ErfLook, out: &mut Commands) {
    ui.label("Thresholds");
    ui.spacing_mut().slider_width = ((ui.available_width() - 90.0) / 4.0 - 66.0).clamp(28.0, 110.0);
    for (index, threshold) in look.thresholds.iter().enumerate() {
        let (rect, _) = ui.allocate_exact_size(egui::vec2(8.0, 8.0), egui::Sense::hover());
        swatch(ui, rect, square_color(index));
        let percent = |value: f64, _| format!("{:.0} %", 100.0 * value);
        let parse = |text: &str| text.trim_end_matches(['%', ' ']).parse::<f64>().ok().map(|value| value / 100.0);
        let slide = |share: &mut f64| {
            let slider = Slider::new(share, 0.01..=0.999).custom_formatter(percent).custom_parser(parse);
            ui.add(slider).on_hover_text(format!("Threshold {}", index + 1));
        };
        out.edit(threshold, slide, |share| Command::SetThreshold(Threshold { index, share }));
    }
}
