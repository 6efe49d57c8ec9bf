//! What is pruned: densities, groups of shift-wise layers, taps of parallel kernels, and their course over training.

mod maps;

use super::scene::{Scene, current};
use crate::command::{Command, Commands};
use crate::state::{Entry, State};
use crate::widgets::{self, Textures, accent, color, faint, heading, percent, series_color, share_bar, short_count};
use eframe::egui::{self, Align2, Color32, ColorImage, FontId, Rect, RichText, Sense, TextureOptions, pos2, vec2};
use egui_plot::{Bar, BarChart, Legend, Line, LineStyle, Plot, PlotPoints};
use kernelscope::analysis::report::{Granularity, GroupHistogram, KeptTaps, SparsityReport};
use kernelscope::analysis::sparsity::stage_means;
use kernelscope::analysis::tree::Address;
use kernelscope_lab::plot::Colormap;

pub fn ui(ui: &mut egui::Ui, scene: &mut Scene) {
    let state = scene.state;
    let Some(entry) = current(ui, state) else { return };
    let report = match &entry.sparsity {
        Some(Ok(report)) => report.clone(),
        Some(Err(message)) => {
            widgets::fault(ui, message);
            return;
        }
        None => {
            let text = if entry.subject.is_some() { "Counting…" } else { "There are no weights." };
            widgets::nothing(ui, "No densities", text);
            return;
        }
    };
    head(ui, entry, &report);
    egui::ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
        maps::shifts(ui, scene, entry, &report);
        maps::groups(ui, scene, entry, &report);
        if !report.histograms.is_empty() {
            histograms(ui, &report.histograms);
        }
        let pruned: Vec<&KeptTaps> =
            report.taps.iter().filter(|map| map.share.iter().flatten().any(|&share| share < 1.0)).collect();
        if !pruned.is_empty() {
            taps(ui, scene, entry, &pruned);
        }
        over_training(ui, state, entry, scene.textures);
        densities(ui, state, &report, scene.out);
    });
}

fn head(ui: &mut egui::Ui, entry: &Entry, report: &SparsityReport) {
    if let Some(total) = report.totals.last() {
        ui.horizontal_wrapped(|ui| {
            ui.label(RichText::new(format!("{} kept", percent(total.density))).strong());
            let params = [total.effective_parameters, total.parameters].map(|n| short_count(n as f64));
            ui.label(faint(format!("{} of {} parameters", params[0], params[1])));
            if let (Some(effective), Some(all)) = (total.effective_macs, total.macs) {
                let macs = [effective, all].map(|n| short_count(n as f64));
                ui.label(faint(format!("{} of {} MACs", macs[0], macs[1])));
            }
        });
    }
    let masked = entry.subject.as_ref().is_some_and(|subject| subject.masks.is_some());
    let source = if masked { "Masks from the file beside the weights." } else { "Weights that are 0 count as pruned." };
    ui.label(faint(source).small());
}

fn histograms(ui: &mut egui::Ui, histograms: &[GroupHistogram]) {
    heading(ui, "Kept groups per channel");
    let width = ((ui.available_width() - 20.0) / histograms.len().clamp(1, 4) as f32 - 8.0).max(110.0);
    let fill = accent(ui.visuals().dark_mode);
    ui.horizontal_wrapped(|ui| {
        for (index, histogram) in histograms.iter().enumerate() {
            let all = histogram.channels.iter().sum::<u64>().max(1) as f64;
            let bars: Vec<Bar> = histogram
                .channels
                .iter()
                .enumerate()
                .map(|(kept, count)| Bar::new(kept as f64, 100.0 * *count as f64 / all).width(0.8).fill(fill))
                .collect();
            ui.vertical(|ui| {
                ui.set_width(width);
                let stage = histogram.stage.map_or("outside".to_string(), |stage| format!("stage {stage}"));
                ui.label(RichText::new(format!("{stage}: {all} channels")).small());
                Plot::new(("histogram", index))
                    .height(110.0)
                    .width(width)
                    .allow_scroll(false)
                    .allow_drag(false)
                    .allow_zoom(false)
                    .include_x(-0.5)
                    .include_x(histogram.groups as f64 + 0.5)
                    .include_y(0.0)
                    .x_axis_label("kept groups")
                    .y_axis_label("channels (%)")
                    .show(ui, |plot| plot.bar_chart(BarChart::new("channels", bars)));
            });
        }
    });
}

/// Which taps of large kernels are kept, averaged over the channels.
fn taps(ui: &mut egui::Ui, scene: &mut Scene, entry: &Entry, pruned: &[&KeptTaps]) {
    heading(ui, "Taps of the sum of parallel kernels: share of the channels that keep each");
    let side = 132.0;
    ui.horizontal_wrapped(|ui| {
        for map in pruned {
            ui.vertical(|ui| {
                ui.set_width(side);
                let short = map.path.trim_end_matches(".large_kernel");
                ui.add(
                    egui::Label::new(RichText::new(format!("{short}  {}×{}", map.height, map.width)).small())
                        .truncate(),
                );
                let key = ("taps", entry.id.0, entry.generation, &map.path);
                let texture = scene.textures.get(ui.ctx(), key, TextureOptions::NEAREST, || {
                    let color_of = |share: &Option<f32>| match share {
                        Some(share) => color(Colormap::Viridis.at(f64::from(*share))),
                        None => Color32::from_gray(96),
                    };
                    ColorImage::new([map.width, map.height], map.share.iter().map(color_of).collect())
                });
                let longest = map.height.max(map.width).max(1) as f32;
                let size = vec2(side * map.width as f32 / longest, side * map.height as f32 / longest);
                let (rect, response) = ui.allocate_exact_size(size, Sense::click());
                let uv = Rect::from_min_max(pos2(0.0, 0.0), pos2(1.0, 1.0));
                ui.painter().image(texture.id(), rect, uv, Color32::WHITE);
                if response.clicked() {
                    scene.out.push(Command::GoTo(Address::layer(map.path.clone())));
                }
                if let Some(point) = response.hover_pos() {
                    let offset = (point - rect.min) / rect.size();
                    let (row, column) =
                        ((offset.y * map.height as f32) as usize, (offset.x * map.width as f32) as usize);
                    let share = map.share.get(row * map.width + column).copied().flatten();
                    let text = share.map_or("no tap".to_string(), |share| percent(f64::from(share)));
                    response.on_hover_text_at_pointer(format!("row {row}, column {column}: {text}"));
                }
            });
        }
    });
}

/// Density per stage over training, from the run's record.
fn over_training(ui: &mut egui::Ui, state: &State, entry: &Entry, textures: &mut Textures) {
    let Some(history) = entry.overview.as_ref().and_then(|overview| overview.masks.as_ref()) else { return };
    let curves = textures.memo(("mask curves", entry.id.0, history.points.len()), || stage_means(history));
    heading(ui, "Masks over training");
    let dark = ui.visuals().dark_mode;
    let width = (ui.available_width() - 20.0) / 2.0;
    ui.horizontal(|ui| {
        for (name, label, explored) in [("density", "kept (%)", false), ("explored", "kept at least once (%)", true)] {
            let plot = Plot::new(name)
                .legend(Legend::default())
                .width(width)
                .height(170.0)
                .allow_scroll(false)
                .x_axis_label("optimizer steps")
                .y_axis_label(label);
            plot.show(ui, |plot| {
                for (index, curve) in curves.iter().enumerate() {
                    let ink = series_color(index, dark);
                    let of = |get: &dyn Fn(&kernelscope::analysis::report::MaskPoint) -> Option<f64>| {
                        let points = curve.points.iter();
                        points.filter_map(|p| Some([p.step as f64, 100.0 * get(p)?])).collect::<Vec<[f64; 2]>>()
                    };
                    if explored {
                        let points = PlotPoints::from(of(&|p| p.explored));
                        plot.line(Line::new(curve.label.clone(), points).color(ink).width(1.5));
                    } else {
                        let points = PlotPoints::from(of(&|p| Some(p.density)));
                        plot.line(Line::new(curve.label.clone(), points).color(ink).width(1.5));
                        let sums = PlotPoints::from(of(&|p| p.merged_density));
                        let style = LineStyle::dashed_dense();
                        plot.line(Line::new(curve.label.clone(), sums).color(ink).width(1.2).style(style));
                    }
                }
                if let Some(epoch) = state.look.epochs.get(&entry.id) {
                    let mut rows = entry.overview.iter().flat_map(|overview| &overview.rows);
                    if let Some(row) = rows.rfind(|row| row.epoch == *epoch) {
                        plot.vline(egui_plot::VLine::new("checkpoint", row.step as f64).color(Color32::GRAY));
                    }
                }
            });
        }
    });
    ui.label(faint("Dashed: the sum of the parallel paths.").small());
}

/// The density of every layer.
fn densities(ui: &mut egui::Ui, state: &State, report: &SparsityReport, out: &mut Commands) {
    heading(ui, "Density per layer");
    let fill = accent(ui.visuals().dark_mode).linear_multiply(0.5);
    let names = (ui.available_width() * 0.5).min(330.0);
    for layer in &report.layers {
        let module = layer.name.strip_suffix(".weight").unwrap_or(&layer.name);
        let chosen = state.look.address.as_ref().is_some_and(|address| address.holds(module));
        let merged = report.merged.iter().find(|sum| sum.paths.len() > 1 && sum.paths.contains(&layer.name));
        ui.horizontal(|ui| {
            let (area, response) = ui.allocate_exact_size(vec2(names, 15.0), Sense::click());
            let ink = if chosen { ui.visuals().strong_text_color() } else { ui.visuals().text_color() };
            let painter = ui.painter_at(area);
            painter.text(area.left_center(), Align2::LEFT_CENTER, module, FontId::proportional(11.5), ink);
            if response.on_hover_text(&layer.name).clicked() {
                out.push(Command::GoTo(Address::layer(module)));
            }
            let width = (ui.available_width() - 10.0).clamp(60.0, 260.0);
            let text = match merged {
                Some(sum) => format!("{} (sum {})", percent(layer.density), percent(sum.density)),
                None => percent(layer.density),
            };
            let unit = if layer.granularity == Granularity::Groups { "groups" } else { "weights" };
            share_bar(ui, layer.density, fill, &text, width)
                .on_hover_text(format!("{} of {} {unit}", layer.kept, layer.units));
        });
    }
}
