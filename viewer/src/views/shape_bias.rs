//! Shape bias per category, and the images behind every point.

use super::scene::{Scene, current};
use crate::command::{Command, Commands};
use crate::state::{BiasLook, BiasResult, Entry, State};
use crate::widgets::{self, Textures, faint, heading, percent, series_color, share_bar};
use eframe::egui::{
    self, Align2, Color32, ColorImage, FontId, Pos2, Rect, RichText, Sense, Stroke, StrokeKind, TextureOptions, pos2,
    vec2,
};
use kernelscope::analysis::shape_bias::{Answer, HUMAN};
use std::path::PathBuf;

/// An entry with its answers.
#[derive(Clone, Copy)]
struct Answers<'a> {
    entry: &'a Entry,
    result: &'a BiasResult,
}

impl<'a> Answers<'a> {
    /// `None` while there are no answers.
    fn of(entry: &'a Entry) -> Option<Self> {
        Some(Answers { entry, result: entry.bias.as_ref()? })
    }
}

pub fn ui(ui: &mut egui::Ui, scene: &mut Scene) {
    let state = scene.state;
    let Some(current) = current(ui, state) else { return };
    controls(ui, &state.look.bias, scene.out);
    let shown: Vec<Answers> = state.shown().into_iter().filter_map(Answers::of).collect();
    for entry in state.shown() {
        if let Some(fault) = &entry.bias_fault {
            widgets::fault(ui, &format!("{}: {fault}", entry.label));
        }
    }
    let Some(first) = shown.first().copied() else {
        let why = if current.network_name().is_some() && current.bias_fault.is_none() {
            "Asking the network…"
        } else {
            "Shape bias needs a network with a classifier, and cue-conflict images."
        };
        widgets::nothing(ui, "No answers", why);
        return;
    };
    egui::ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
        plot(ui, state, &shown, first.result.stimuli.categories(), scene.out);
        ui.label(
            faint("shape bias = decisions for the shape / (decisions for the shape + decisions for the texture)")
                .small(),
        );
        let of_current = shown.iter().find(|answers| answers.entry.id == current.id).copied();
        images(ui, scene, of_current.unwrap_or(first));
    });
}

fn controls(ui: &mut egui::Ui, look: &BiasLook, out: &mut Commands) {
    ui.horizontal_wrapped(|ui| {
        let label = ui.label("Images");
        let drag = |images: &mut usize| {
            ui.add(egui::DragValue::new(images).range(8..=10_000)).labelled_by(label.id);
        };
        out.edit(&look.images, drag, Command::SetConflicts);
        let text = look.stimuli.as_ref().map_or("built-in set".to_string(), |path| path.display().to_string());
        ui.menu_button(text, |ui| {
            if ui.button("Built-in set").clicked() {
                out.push(Command::SetStimuli(None));
                ui.close();
            }
            let id = ui.scope_id().with("stimuli");
            let mut text: String = ui.data_mut(|data| data.get_temp(id).unwrap_or_default());
            let label = ui.label("A folder in the layout of Geirhos et al.:");
            let field = egui::TextEdit::singleline(&mut text).desired_width(260.0).hint_text("path");
            let response = ui.add(field).labelled_by(label.id);
            if response.lost_focus() && ui.input(|i| i.key_pressed(egui::Key::Enter)) && !text.is_empty() {
                out.push(Command::SetStimuli(Some(PathBuf::from(&text))));
                ui.close();
            }
            ui.data_mut(|data| data.insert_temp(id, text));
        });
    });
}

/// Height of a category's row.
const ROW: f32 = 24.0;
/// Height of the axis above and below.
const AXIS: f32 = 32.0;

/// The shape bias of a network in a category.
struct Marker {
    at: Pos2,
    color: Color32,
    text: String,
}

/// Categories down, shape bias from right to left; a marker per network, its pooled bias as a line.
fn plot(ui: &mut egui::Ui, state: &State, shown: &[Answers], categories: &[String], out: &mut Commands) {
    let dark = ui.visuals().dark_mode;
    ui.horizontal_wrapped(|ui| {
        for Answers { entry, result } in shown {
            let ink = series_color(state.index_of(entry.id), dark);
            let bias = result.report.shape_bias.map_or("no decision".into(), |bias| format!("{bias:.2}"));
            let done = match result.answered.len() == result.stimuli.len() {
                true => String::new(),
                false => format!(", {} of {}", result.answered.len(), result.stimuli.len()),
            };
            let (dot, _) = ui.allocate_exact_size(vec2(9.0, 9.0), Sense::hover());
            ui.painter().circle_filled(dot.center(), 4.5, ink);
            ui.colored_label(ink, format!("{} ({bias}{done})", entry.label));
        }
        ui.label(faint(format!("dashed: humans ({HUMAN:.2})")));
    });
    let names = 86.0;
    let height = ROW * categories.len() as f32 + 2.0 * AXIS;
    let (rect, response) = ui.allocate_exact_size(vec2(ui.available_width() - 4.0, height), Sense::click());
    let painter = ui.painter_at(rect);
    let plot = Rect::from_min_max(
        pos2(rect.left() + names, rect.top() + AXIS),
        pos2(rect.right() - 14.0, rect.bottom() - AXIS),
    );
    let x = |bias: f64| plot.right() - (bias as f32) * plot.width();
    let (ink, weak) = (ui.visuals().text_color(), ui.visuals().weak_text_color());
    let grid = Stroke::new(1.0, ui.visuals().faint_bg_color.lerp_to_gamma(weak, 0.25));
    painter.rect_filled(plot, 0.0, ui.visuals().extreme_bg_color);
    // Shape is on the left, as is usual for cue-conflict experiments.
    let font = FontId::proportional(10.5);
    for step in 0..=5 {
        let bias = f64::from(step) / 5.0;
        painter.vline(x(bias), plot.y_range(), grid);
        let texts =
            [(plot.top() - 2.0, Align2::CENTER_BOTTOM, 1.0 - bias), (plot.bottom() + 2.0, Align2::CENTER_TOP, bias)];
        for (y, align, value) in texts {
            painter.text(pos2(x(bias), y), align, format!("{value:.1}"), font.clone(), weak);
        }
    }
    let center = plot.center().x;
    painter.text(pos2(center, rect.top()), Align2::CENTER_TOP, "fraction of texture decisions", font.clone(), ink);
    painter.text(pos2(center, rect.bottom()), Align2::CENTER_BOTTOM, "fraction of shape decisions", font.clone(), ink);
    for (index, name) in categories.iter().enumerate() {
        let y = plot.top() + (index as f32 + 0.5) * ROW;
        let chosen = state.look.bias.category == Some(index);
        if chosen {
            let row = Rect::from_min_max(pos2(rect.left(), y - ROW / 2.0), pos2(rect.right(), y + ROW / 2.0));
            painter.rect_filled(row, 3.0, ui.visuals().selection.bg_fill);
        }
        painter.text(pos2(plot.left() - 8.0, y), Align2::RIGHT_CENTER, name, FontId::proportional(12.0), ink);
        painter.hline(plot.x_range(), y + ROW / 2.0, grid);
    }
    let dashes = egui::Shape::dashed_line(
        &[pos2(x(HUMAN), plot.top()), pos2(x(HUMAN), plot.bottom())],
        Stroke::new(1.5, weak),
        4.0,
        4.0,
    );
    painter.extend(dashes);
    let mut markers = Vec::new();
    for (place, Answers { entry, result }) in shown.iter().enumerate() {
        let color = series_color(state.index_of(entry.id), dark);
        if let Some(bias) = result.report.shape_bias {
            painter.vline(x(bias), plot.y_range(), Stroke::new(1.5, color));
        }
        let shift = ((place as f32 + 0.5) / shown.len() as f32 - 0.5) * (ROW - 9.0);
        for (index, category) in result.report.categories.iter().enumerate() {
            let Some(bias) = category.shape_bias else { continue };
            let at = pos2(x(bias), plot.top() + (index as f32 + 0.5) * ROW + shift);
            let (shape, texture) = (category.shape_decisions, category.texture_decisions);
            let text = format!(
                "{}, {}\nshape bias {bias:.3}: {shape} for the shape, {texture} for the texture, of {} images",
                entry.label, category.category, category.conflicts
            );
            markers.push(Marker { at, color, text });
        }
    }
    for marker in &markers {
        painter.circle(marker.at, 4.5, marker.color, Stroke::new(1.0, ui.visuals().extreme_bg_color));
    }
    let Some(point) = response.hover_pos() else { return };
    let distance = |marker: &Marker| marker.at.distance(point);
    let nearest = markers.iter().min_by(|a, b| distance(a).total_cmp(&distance(b)));
    let row = ((point.y - plot.top()) / ROW).floor();
    if response.clicked() && row >= 0.0 && (row as usize) < categories.len() {
        let category = Some(row as usize).filter(|row| state.look.bias.category != Some(*row));
        out.push(Command::SetCategory(category));
    }
    if let Some(marker) = nearest.filter(|marker| distance(marker) < 8.0) {
        response.on_hover_text_at_pointer(&marker.text);
    }
}

/// Maximum number of images that are shown at once.
const MOST_IMAGES: usize = 96;

fn images(ui: &mut egui::Ui, scene: &mut Scene, answers: Answers) {
    let Answers { entry, result } = answers;
    let look = &scene.state.look.bias;
    let names = result.stimuli.categories();
    let of = |index: Option<usize>| index.and_then(|index| names.get(index)).map_or("all shapes", String::as_str);
    heading(ui, format!("{}: images of {}", entry.label, of(look.category)));
    ui.label(
        faint("Frame: blue if the network chose the shape, orange if it chose the texture, gray otherwise.").small(),
    );
    if let Some(index) = look.image {
        large(ui, scene, answers, index);
    }
    let found: Vec<usize> = (0..result.answered.len())
        .filter(|&index| {
            let answer = result.answered[index].answer;
            answer.shape != answer.texture && look.category.is_none_or(|category| answer.shape == category)
        })
        .collect();
    let side = 56.0;
    ui.horizontal_wrapped(|ui| {
        ui.spacing_mut().item_spacing = vec2(5.0, 5.0);
        for &index in found.iter().take(MOST_IMAGES) {
            let answered = &result.answered[index];
            let (rect, response) = ui.allocate_exact_size(vec2(side, side), Sense::click());
            picture(ui, scene.textures, answers, index, rect.shrink(2.0));
            let color = frame(answered.answer, answered.answer.decision);
            let width = if look.image == Some(index) { 4.0 } else { 2.0 };
            ui.painter().rect_stroke(rect.shrink(1.0), 2.0, Stroke::new(width, color), StrokeKind::Middle);
            response.widget_info(|| egui::WidgetInfo::labeled(egui::Role::Button, true, format!("Image {index}")));
            if response.on_hover_text(sentence(names, answered.answer)).clicked() {
                let image = Some(index).filter(|index| look.image != Some(*index));
                scene.out.push(Command::SetConflict(image));
            }
        }
    });
    if found.len() > MOST_IMAGES {
        ui.label(faint(format!("{} more; choose a category above.", found.len() - MOST_IMAGES)));
    }
}

/// The color of a category: that of the shape, that of the texture, or neither.
fn frame(answer: Answer, category: usize) -> Color32 {
    match category {
        c if c == answer.shape => Color32::from_rgb(60, 140, 220),
        c if c == answer.texture => Color32::from_rgb(230, 120, 40),
        _ => Color32::from_gray(120),
    }
}

fn sentence(names: &[String], answer: Answer) -> String {
    let name = |index: usize| names.get(index).map_or("?", String::as_str);
    let cue = match answer.decision {
        d if d == answer.shape => "the shape",
        d if d == answer.texture => "the texture",
        _ => "neither",
    };
    let (shape, texture, decision) = (name(answer.shape), name(answer.texture), name(answer.decision));
    format!("shape of {shape}, texture of {texture}; decision: {decision} ({cue})")
}

fn picture(ui: &egui::Ui, textures: &mut Textures, Answers { entry, result }: Answers, index: usize, rect: Rect) {
    let images = result.stimuli.len();
    let texture = textures.get(
        ui.ctx(),
        ("stimulus", entry.id.0, images, index, result.stimuli.categories()),
        TextureOptions::LINEAR,
        || {
            match result.stimuli.image(index) {
                Ok(image) => {
                    let pixels = image.pixels.chunks_exact(3).map(|p| Color32::from_rgb(p[0], p[1], p[2])).collect();
                    ColorImage::new([image.width, image.height], pixels)
                }
                // The file could be read when the network was asked, but no longer.
                Err(_) => ColorImage::filled([1, 1], Color32::from_rgb(160, 0, 160)),
            }
        },
    );
    let uv = Rect::from_min_max(pos2(0.0, 0.0), pos2(1.0, 1.0));
    ui.painter().image(texture.id(), rect, uv, Color32::WHITE);
}

/// One image with its labels and the probabilities of all categories.
fn large(ui: &mut egui::Ui, scene: &mut Scene, answers: Answers, index: usize) {
    let result = answers.result;
    let Some(answered) = result.answered.get(index) else { return };
    let names = result.stimuli.categories();
    let answer = answered.answer;
    ui.horizontal_top(|ui| {
        let (rect, _) = ui.allocate_exact_size(vec2(150.0, 150.0), Sense::hover());
        picture(ui, scene.textures, answers, index, rect);
        ui.vertical(|ui| {
            ui.horizontal(|ui| {
                ui.label(RichText::new(format!("Image {index}")).strong());
                if ui.small_button("Close image").clicked() {
                    scene.out.push(Command::SetConflict(None));
                }
            });
            ui.label(sentence(names, answer));
            for (category, probability) in answered.probabilities.iter().enumerate() {
                ui.horizontal(|ui| {
                    let name = names.get(category).map_or("?", String::as_str);
                    let cue = if category == answer.shape {
                        " (shape)"
                    } else if category == answer.texture {
                        " (texture)"
                    } else {
                        ""
                    };
                    let (area, _) = ui.allocate_exact_size(vec2(120.0, 15.0), Sense::hover());
                    let ink = ui.visuals().text_color();
                    let font = FontId::proportional(11.5);
                    ui.painter().text(area.right_center(), Align2::RIGHT_CENTER, format!("{name}{cue}"), font, ink);
                    let fill = frame(answer, category);
                    let share = f64::from(*probability);
                    share_bar(ui, share, fill.linear_multiply(0.7), &percent(share), 150.0);
                });
            }
        });
    });
}
