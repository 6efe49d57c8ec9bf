//! What is computed, and how it is shown.

use crate::command::{Command, Commands};
use crate::state::{Arrangement, Entry, ErfLook, Images, State, Transfer};
use crate::widgets::faint;
use eframe::egui::{self, DragValue, Slider};
use std::path::PathBuf;

pub fn ui(ui: &mut egui::Ui, state: &State, shown: &[&Entry], out: &mut Commands) {
    let mut look = state.look.erf.clone();
    ui.horizontal_wrapped(|ui| {
        compute(ui, &mut look, shown, out);
        if ui.button("Compute").on_hover_text(Command::Recompute.name()).clicked() {
            out.push(Command::Recompute);
        }
        ui.checkbox(&mut look.live, "Live").on_hover_text("Compute as soon as something changes");
    });
    ui.horizontal_wrapped(|ui| colours(ui, &mut look, shown.len()));
    ui.horizontal_wrapped(|ui| thresholds(ui, &mut look));
    if look != state.look.erf {
        out.push(Command::SetErf(Box::new(look)));
    }
}

fn compute(ui: &mut egui::Ui, look: &mut ErfLook, shown: &[&Entry], out: &mut Commands) {
    let label = ui.label("Stage");
    let text = look.stage.map_or("last".to_string(), |stage| stage.to_string());
    let list = egui::ComboBox::from_id_salt("stage").selected_text(text).width(56.0);
    let response = list.show_ui(ui, |ui| {
        ui.selectable_value(&mut look.stage, None, "last");
        for stage in 0..4 {
            ui.selectable_value(&mut look.stage, Some(stage), stage.to_string());
        }
    });
    if response.response.labelled_by(label.id).changed() {
        look.position = None;
    }
    let label = ui.label("Images");
    ui.add(DragValue::new(&mut look.images).range(1..=1000)).labelled_by(label.id);
    let label = ui.label("of side");
    ui.add(DragValue::new(&mut look.size).range(32..=2048).speed(8.0).suffix(" px")).labelled_by(label.id);
    let text = match &look.source {
        Images::Own => "own images".to_string(),
        Images::Path(path) => path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned(),
    };
    let menu = ui.menu_button(text, |ui| source(ui, look));
    menu.response.on_hover_text("Images of the run (built-in ones for weights without a run), or a file or folder");
    if let Some((row, column)) = look.position {
        ui.label(faint(format!("at {row},{column}")));
        if ui.small_button("Centre").clicked() {
            look.position = None;
        }
    } else {
        ui.label(faint("click a map to probe there"));
    }
    let _ = (shown, out);
}

/// Which images: those of the run, or a path to type.
fn source(ui: &mut egui::Ui, look: &mut ErfLook) {
    if ui.button("Own images").clicked() {
        look.source = Images::Own;
        ui.close();
    }
    let id = ui.scope_id().with("path");
    let mut text: String = ui.data_mut(|data| data.get_temp(id).unwrap_or_default());
    let label = ui.label("An image or a folder of images:");
    let field = egui::TextEdit::singleline(&mut text).desired_width(260.0).hint_text("path");
    let response = ui.add(field).labelled_by(label.id);
    if response.lost_focus() && ui.input(|i| i.key_pressed(egui::Key::Enter)) && !text.is_empty() {
        look.source = Images::Path(PathBuf::from(&text));
        ui.close();
    }
    ui.data_mut(|data| data.insert_temp(id, text));
}

fn colours(ui: &mut egui::Ui, look: &mut ErfLook, count: usize) {
    ui.label("Colours");
    ui.selectable_value(&mut look.transfer, Transfer::Log, "log");
    ui.selectable_value(&mut look.transfer, Transfer::Linear, "linear");
    ui.selectable_value(&mut look.transfer, Transfer::Power, "power");
    if look.transfer == Transfer::Power {
        let drag = DragValue::new(&mut look.gamma).range(0.05..=3.0).speed(0.01).max_decimals(2);
        ui.add(drag).on_hover_text("Exponent");
    }
    ui.checkbox(&mut look.squares, "Squares");
    ui.checkbox(&mut look.contours, "Contours");
    ui.checkbox(&mut look.input, "Input image");
    if count > 1 {
        ui.separator();
        ui.selectable_value(&mut look.arrangement, Arrangement::Side, "side by side");
        ui.selectable_value(&mut look.arrangement, Arrangement::Swipe, "swipe");
        ui.selectable_value(&mut look.arrangement, Arrangement::Difference, "difference");
        ui.checkbox(&mut look.shared_range, "Shared range");
    }
}

fn thresholds(ui: &mut egui::Ui, look: &mut ErfLook) {
    ui.label("Thresholds");
    ui.spacing_mut().slider_width = ((ui.available_width() - 90.0) / 4.0 - 66.0).clamp(28.0, 110.0);
    for (index, threshold) in look.thresholds.iter_mut().enumerate() {
        let (rect, _) = ui.allocate_exact_size(egui::vec2(8.0, 8.0), egui::Sense::hover());
        super::erf_paint::swatch(ui, rect, super::erf_paint::square_colour(index));
        let percent = |value: f64, _| format!("{:.0} %", 100.0 * value);
        let parse = |text: &str| text.trim_end_matches(['%', ' ']).parse::<f64>().ok().map(|value| value / 100.0);
        let slider = Slider::new(threshold, 0.01..=0.999).custom_formatter(percent).custom_parser(parse);
        ui.add(slider).on_hover_text(format!("Threshold {}", index + 1));
    }
}
