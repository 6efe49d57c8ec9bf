//! Figures as files with the recipe that made them, and the command line that shows the same thing.

mod recipe;

pub use recipe::command_line;

use crate::state::{Arrangement, Entry, ErfLook, ErfResult, Figure, KernelSort, State, View};
use kernelscope::analysis::report::{AreaRatio, KeptTaps, KernelLayer, RunHistory, ShapeBiasReport, SparsityReport};
use kernelscope::analysis::shape_bias::HUMAN;
use kernelscope::analysis::sparsity::stage_means;
use kernelscope_lab::open::BINS;
use kernelscope_lab::plot::{
    CostBars, DensityBars, ErfDifference, ErfFigure, GroupMaps, KeptGroupHistograms, KernelGrid, LossCurves,
    MaskCurves, OrientationHistogram, OrientedTaps, PolarOrientation, Recipe, ShapeBiasFigure, ShiftMaps, TapShares,
    export,
};
use kernelscope_lab::run::metrics::history;
use std::path::Path;

/// Maximum number of maps of layers in one figure.
const MOST_MAPS: usize = 64;
/// Maximum number of kernels in one figure.
const MOST_KERNELS: usize = 64;

/// Draws a figure into a file with its recipe.
type Write = Box<dyn Fn(&Path, &Recipe) -> kernelscope::Result<()> + Send>;

/// A figure that is ready to be written.
pub struct Export {
    write: Write,
    recipe: Recipe,
}

impl Export {
    /// Writes the figure or its data, depending on the file extension.
    ///
    /// # Errors
    /// If the extension is unknown, the figure cannot be drawn or the file cannot be written.
    pub fn write(&self, path: &Path) -> kernelscope::Result<()> {
        (self.write)(path, &self.recipe)
    }

    /// What made the figure.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }
}

/// The figure for a view: the first of its figures that is available.
///
/// # Errors
/// Says what is missing for it.
pub fn of_view(state: &State, view: View) -> Result<Export, String> {
    let mut missing = "export: got the messages, allowed: a figure (messages can be copied instead)".to_string();
    for candidate in Figure::of(view) {
        match figure(state, candidate) {
            Ok(found) => return Ok(found),
            Err(message) => missing = message,
        }
    }
    Err(missing)
}

fn written<F: kernelscope_lab::plot::Figure + kernelscope_lab::plot::Tabular + Send + 'static>(figure: F) -> Write {
    Box::new(move |path, recipe| export(&figure, path, recipe))
}

/// A figure as its view shows it.
///
/// # Errors
/// Says what is missing for it.
pub fn figure(state: &State, figure: Figure) -> Result<Export, String> {
    let current = state.current().ok_or("export: got no network, allowed: an open network")?;
    let missing = |what: &str| format!("{}: there is no {what} to export", current.label);
    let mut entries = vec![current];
    let write = match figure {
        Figure::Costs => written(costs(current).ok_or_else(|| missing("layer tree"))?),
        Figure::Erf => {
            entries = state.shown().into_iter().filter(|entry| entry.erf.is_some()).collect();
            fields(state, &mut entries).ok_or_else(|| missing("receptive field"))?
        }
        Figure::Kernels => {
            let (index, layer) = state.kernel_layer(current).ok_or_else(|| missing("kernel"))?;
            written(kernels(state, current, index, layer))
        }
        Figure::Orientations => written(orientations(state, current).ok_or_else(|| missing("orientation"))?),
        Figure::AnglesByLayer => {
            let layers = current.facts.orientations.clone();
            let found = (!layers.is_empty()).then_some(OrientationHistogram { layers, bins: BINS });
            written(found.ok_or_else(|| missing("orientation"))?)
        }
        Figure::OrientedTaps => {
            let layers = current.facts.taps.clone();
            written((!layers.is_empty()).then_some(OrientedTaps { layers }).ok_or_else(|| missing("oriented layer"))?)
        }
        Figure::ShapeBias => {
            entries = state.shown().into_iter().filter(|entry| entry.bias.is_some()).collect();
            let bias = entries.iter().filter_map(|entry| entry.bias.as_ref());
            let reports: Vec<ShapeBiasReport> = bias.map(|bias| bias.report.clone()).collect();
            if reports.is_empty() {
                return Err(missing("shape bias"));
            }
            written(ShapeBiasFigure { reports, human: Some(HUMAN) })
        }
        Figure::Curves => {
            entries = state.shown().into_iter().filter(|entry| entry.overview.is_some()).collect();
            let overviews = entries.iter().filter_map(|entry| entry.overview.as_ref());
            let runs: Vec<RunHistory> = overviews.map(|run| history(&run.label, &run.rows)).collect();
            if runs.iter().all(|run| run.points.is_empty()) {
                return Err(missing("curve"));
            }
            written(LossCurves { runs })
        }
        Figure::Masks => {
            let masks = current.overview.as_ref().and_then(|overview| overview.masks.as_ref());
            let curves = stage_means(masks.ok_or_else(|| missing("record of masks"))?);
            written(MaskCurves { curves })
        }
        Figure::KeptShifts | Figure::KeptGroups | Figure::GroupCounts | Figure::KeptTaps | Figure::Densities => {
            let report = match &current.sparsity {
                Some(Ok(report)) => report,
                Some(Err(message)) => return Err(message.clone()),
                None => return Err(missing("density")),
            };
            pruned(figure, &current.label, report).ok_or_else(|| missing(&figure.title()))?
        }
    };
    Ok(Export { write, recipe: recipe::recipe(state, figure, &entries) })
}

/// A figure of what is pruned; `None` if the network has no such part.
fn pruned(figure: Figure, label: &str, report: &SparsityReport) -> Option<Write> {
    fn first<T: Clone>(all: &[T]) -> Option<Vec<T>> {
        (!all.is_empty()).then(|| all.iter().take(MOST_MAPS).cloned().collect())
    }
    Some(match figure {
        Figure::KeptShifts => {
            let title = format!("Kept shifts of {label}: channels across, shifts in pixels down");
            written(ShiftMaps { title, layers: first(&report.shifts)? })
        }
        Figure::KeptGroups => {
            let title = format!("Kept groups of {label}: channels across, groups down");
            written(GroupMaps { title, layers: first(&report.groups)? })
        }
        Figure::GroupCounts => {
            let histograms: Vec<_> = first(&report.histograms)?.into_iter().take(8).collect();
            written(KeptGroupHistograms { histograms })
        }
        Figure::KeptTaps => {
            // Kernels with all their taps would be plain rectangles.
            let some = |map: &&KeptTaps| map.share.iter().flatten().any(|&share| share < 1.0);
            let layers: Vec<KeptTaps> = report.taps.iter().filter(some).cloned().collect();
            written(TapShares { title: format!("Kept taps of {label}"), layers: first(&layers)? })
        }
        _ => written(DensityBars { report: report.clone() }),
    })
}

/// Multiply-adds of the modules inside the chosen one.
fn costs(entry: &Entry) -> Option<CostBars> {
    let tree = entry.facts.tree.as_ref()?;
    let rows = tree
        .children
        .iter()
        .flat_map(|child| if child.children.is_empty() { vec![child] } else { child.children.iter().collect() });
    let rows = rows.filter(|node| node.macs > 0).map(|node| (node.path.clone(), node.macs as f64 / 1e6)).collect();
    let (h, w) = entry.facts.costs.as_ref()?.size;
    let title = format!("{}: multiply-adds at {h}x{w}", tree.name);
    Some(CostBars { rows, unit: "million".into(), title })
}

/// The squares of the chosen thresholds.
fn areas(look: &ErfLook, erf: &ErfResult) -> Vec<AreaRatio> {
    let thresholds = look.thresholds.iter().filter(|_| look.squares);
    thresholds.map(|threshold| erf.squares[0].area(*threshold)).collect()
}

/// The difference of the first two fields, or all of them side by side. A swipe is written as two fields.
fn fields(state: &State, entries: &mut Vec<&Entry>) -> Option<Write> {
    let look = &state.look.erf;
    if look.arrangement != Arrangement::Side && entries.len() > 1 {
        entries.truncate(2);
    }
    let found: Vec<&ErfResult> = entries.iter().filter_map(|entry| entry.erf.as_ref()).collect();
    if let (Arrangement::Difference, [a, b]) = (look.arrangement, found.as_slice()) {
        let maps = [(*a.map).clone(), (*b.map).clone()];
        return Some(written(ErfDifference { maps, scale: look.scale() }));
    }
    let maps: Vec<_> = found.iter().map(|erf| ((*erf.map).clone(), areas(look, erf))).collect();
    let contours = look.thresholds.iter().copied().filter(|_| look.contours).collect();
    let figure = ErfFigure { shared_range: look.shared_range, contours, ..ErfFigure::new(maps, look.scale()) };
    (!figure.maps.is_empty()).then(|| written(figure))
}

/// The kernels of a layer in the chosen order. In the stored order, a selection that covers all directions.
fn kernels(state: &State, entry: &Entry, index: usize, layer: &KernelLayer) -> KernelGrid {
    let look = &state.look.kernels;
    if look.sort == KernelSort::Channel {
        return kernelscope_lab::report::kernel_grid(layer);
    }
    let channels = entry.orientations(look.merged).get(index).map_or(&[][..], |layer| &layer.channels);
    let order = look.sort.order(layer.channels, channels);
    let kernels = order.into_iter().take(MOST_KERNELS).map(|channel| (channel, layer.pixels(channel))).collect();
    KernelGrid { layer: layer.clone(), kernels }
}

fn orientations(state: &State, entry: &Entry) -> Option<PolarOrientation> {
    let layers = &entry.facts.orientations;
    let chosen = state.look.address.as_ref().and_then(|_| state.kernel_layer(entry));
    let chosen = chosen.and_then(|(_, layer)| layers.iter().find(|known| known.path == layer.path));
    let (title, channels) = match chosen {
        Some(layer) => (layer.path.clone(), layer.channels.clone()),
        None => (format!("{}, all layers", entry.label), layers.iter().flat_map(|l| l.channels.clone()).collect()),
    };
    let figure = PolarOrientation { title, channels, bins: BINS };
    (!figure.channels.is_empty()).then_some(figure)
}
