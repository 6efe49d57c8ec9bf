//! The layer tree: shapes, parameters, multiply-adds and their shares.

use super::scene::{Scene, current};
use crate::command::{Command, Commands, ReadAs};
use crate::state::{Entry, State};
use crate::widgets::{self, accent, faint, percent, share_bar, short_count};
use eframe::egui::{self, RichText, Sense};
use egui_extras::{Column, TableBuilder};
use kernelscope::analysis::tree::{Address, LayerTree};
use kernelscope::zoo::registry;
use kernelscope_lab::open::Found;

pub fn ui(ui: &mut egui::Ui, scene: &mut Scene) {
    let (state, out) = (scene.state, &mut *scene.out);
    let Some(entry) = current(ui, state) else { return };
    head(ui, entry, out);
    for fault in entry.all_faults() {
        widgets::fault(ui, &format!("Cannot show {}: {}", fault.what, fault.message));
    }
    address_bar(ui, state, out);
    let Some(tree) = &entry.facts.tree else {
        without_network(ui, entry);
        return;
    };
    table(ui, state, tree, out);
}

/// What the network is.
fn head(ui: &mut egui::Ui, entry: &Entry, out: &mut Commands) {
    ui.horizontal_wrapped(|ui| {
        let name = entry.network_name().unwrap_or("unknown network");
        ui.label(RichText::new(name).heading().strong());
        if let Some(costs) = &entry.facts.costs {
            let (h, w) = costs.size;
            let params = short_count(costs.params as f64);
            ui.label(faint(format!("{params} parameters, {} MACs at {h}×{w}", short_count(costs.macs as f64))));
        }
    });
    if let Some(subject) = &entry.subject {
        let file = subject.source.file_name().unwrap_or_default().to_string_lossy();
        let hash = entry.hash.as_deref().and_then(|hash| hash.get(..12)).unwrap_or("…");
        let text = format!("{file}   sha256 {hash}");
        let full = format!("{}\nsha256 {}", subject.source.display(), entry.hash.as_deref().unwrap_or("…"));
        ui.add(egui::Label::new(faint(text).small()).truncate()).on_hover_text(full);
    }
    if matches!(entry.found, Found::Weights(_)) {
        ui.horizontal(|ui| {
            let label = ui.label("Read as");
            let text = entry.model.as_deref().unwrap_or("the file says");
            let list = egui::ComboBox::from_id_salt("model").selected_text(text).width(190.0).height(420.0);
            let chosen = list.show_ui(ui, |ui| {
                if ui.selectable_label(entry.model.is_none(), "the file says").clicked() {
                    out.push(Command::SetModel(ReadAs { entry: entry.id, model: None }));
                }
                for known in registry() {
                    if ui.selectable_label(entry.model.as_deref() == Some(known.name), known.name).clicked() {
                        let model = Some(known.name.to_string());
                        out.push(Command::SetModel(ReadAs { entry: entry.id, model }));
                    }
                }
            });
            chosen.response.labelled_by(label.id);
        });
    }
}

fn address_bar(ui: &mut egui::Ui, state: &State, out: &mut Commands) {
    ui.horizontal(|ui| {
        let address = state.look.address.as_ref().map_or("whole network".to_string(), Address::to_string);
        ui.add(egui::Label::new(RichText::new(address).monospace()).truncate());
        ui.with_layout(egui::Layout::right_to_left(egui::Align::Center), |ui| {
            for (text, command) in
                [("Copy", Command::CopyAddress), ("Whole", Command::GoToWhole), ("Go to…", Command::GoToTyped)]
            {
                let button = ui.add_enabled(command.is_enabled(state), egui::Button::new(text).small());
                if button.on_hover_text(command.name()).clicked() {
                    out.push(command);
                }
            }
        });
    });
}

fn without_network(ui: &mut egui::Ui, entry: &Entry) {
    let Some(subject) = &entry.subject else {
        widgets::nothing(ui, "No weights yet", "The run has no checkpoint yet; the training view shows its curves.");
        return;
    };
    ui.separator();
    ui.label("The file's tensors:");
    let tensors: Vec<_> = subject.tensors.iter().collect();
    egui::ScrollArea::both().auto_shrink(false).show_rows(ui, 18.0, tensors.len(), |ui, rows| {
        for (name, tensor) in tensors.get(rows).unwrap_or_default() {
            ui.label(RichText::new(format!("{name}  {:?}", tensor.dims())).monospace());
        }
    });
}

/// A row of the table: a module, its depth, and whether it is expanded.
struct Row<'a> {
    node: &'a LayerTree,
    depth: usize,
    open: bool,
}

impl Row<'_> {
    /// Expands or collapses it.
    fn turn_over(&self) -> Command {
        let path = self.node.path.clone();
        if self.open { Command::Collapse(path) } else { Command::Expand(path) }
    }
}

fn flatten<'a>(node: &'a LayerTree, depth: usize, state: &State, rows: &mut Vec<Row<'a>>) {
    for child in &node.children {
        let open = state.look.expanded.contains(&child.path);
        rows.push(Row { node: child, depth, open });
        if open {
            flatten(child, depth + 1, state, rows);
        }
    }
}

fn table(ui: &mut egui::Ui, state: &State, tree: &LayerTree, out: &mut Commands) {
    let mut rows = vec![Row { node: tree, depth: 0, open: true }];
    flatten(tree, 1, state, &mut rows);
    let selected = state.look.address.as_ref().map(|address| address.path.as_str());
    let fill = accent(ui.visuals().dark_mode).linear_multiply(0.45);
    let width = ui.available_width();
    let bar = ((width - 250.0) / 2.0).clamp(52.0, 110.0);
    egui::ScrollArea::horizontal().show(ui, |ui| {
        TableBuilder::new(ui)
            .striped(true)
            .sense(Sense::click())
            .cell_layout(egui::Layout::left_to_right(egui::Align::Center))
            .column(Column::remainder().at_least(120.0).clip(true))
            .column(Column::exact(86.0))
            .column(Column::exact(bar))
            .column(Column::exact(bar))
            .header(20.0, |mut header| {
                for text in ["Module", "Output", "Parameters", "MACs"] {
                    header.col(|ui| drop(ui.strong(text)));
                }
            })
            .body(|body| {
                body.rows(20.0, rows.len(), |mut table_row| {
                    let Some(row) = rows.get(table_row.index()) else { return };
                    table_row.set_selected(selected == Some(row.node.path.as_str()));
                    table_row.col(|ui| name_cell(ui, row, out));
                    table_row.col(|ui| {
                        if let Some(o) = row.node.output {
                            let text = format!("{}×{}×{}", o.channels, o.height, o.width);
                            ui.add(egui::Label::new(RichText::new(text).small()).selectable(false));
                        }
                    });
                    let shares = [
                        (row.node.params as f64, tree.params as f64, "parameters"),
                        (row.node.macs as f64, tree.macs as f64, "multiply-adds"),
                    ];
                    for (value, all, what) in shares {
                        table_row.col(|ui| {
                            let share = if all > 0.0 { value / all } else { 0.0 };
                            share_bar(ui, share, fill, &short_count(value), bar - 8.0)
                                .on_hover_text(format!("{value} {what}, {} of the network", percent(share)));
                        });
                    }
                    let response = table_row.response();
                    if response.clicked() {
                        let path = &row.node.path;
                        let whole = path.is_empty();
                        out.push(if whole { Command::GoToWhole } else { Command::GoTo(Address::layer(path)) });
                    }
                    if response.double_clicked() && !row.node.children.is_empty() {
                        out.push(row.turn_over());
                    }
                });
            });
    });
}

fn name_cell(ui: &mut egui::Ui, row: &Row, out: &mut Commands) {
    ui.add_space(row.depth as f32 * 12.0);
    if row.node.children.is_empty() || row.node.path.is_empty() {
        ui.add_space(if row.node.path.is_empty() { 0.0 } else { 16.0 });
    } else {
        let (rect, response) = ui.allocate_exact_size(egui::vec2(16.0, 16.0), Sense::click());
        let openness = if row.open { 1.0 } else { 0.0 };
        let icon = response.clone().with_new_rect(rect.shrink(3.0));
        egui::collapsing_header::paint_default_icon(ui, openness, &icon);
        let verb = if row.open { "Collapse" } else { "Expand" };
        response
            .widget_info(|| egui::WidgetInfo::labeled(egui::Role::Button, true, format!("{verb} {}", row.node.path)));
        if response.clicked() {
            out.push(row.turn_over());
        }
    }
    ui.add(egui::Label::new(&row.node.name).selectable(false));
    if let Some(kind) = &row.node.kind {
        ui.add(egui::Label::new(faint(kind.as_str()).small()).selectable(false).truncate());
    }
}
