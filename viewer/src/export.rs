//! Figures as files with the recipe that made them, and the command that shows the same.

use crate::state::{Entry, ErfLook, ErfResult, Images, State, Transfer, View, XAxis};
use kernelscope::analysis::report::{AreaRatio, RunHistory, ShapeBiasReport, SparsityReport};
use kernelscope::analysis::shape_bias::HUMAN;
use kernelscope::analysis::sparsity::stage_means;
use kernelscope::plot::{
    CostBars, DensityBars, ErfFigure, GroupMaps, KernelGrid, LossCurves, MaskCurves, PolarOrientation, Recipe,
    ShapeBiasFigure, TapShares, export,
};
use kernelscope::run::metrics::history;
use std::path::Path;
use std::sync::Arc;

enum Kind {
    Costs(CostBars),
    Erf(ErfFigure),
    Kernels(Box<KernelGrid>),
    Orientations(PolarOrientation),
    ShapeBias(ShapeBiasFigure),
    Groups(GroupMaps),
    Taps(TapShares),
    Masks(MaskCurves),
    Densities(DensityBars),
    Curves(LossCurves),
}

/// A figure that is ready to be written.
pub struct Export {
    kind: Kind,
    recipe: Recipe,
}

impl Export {
    /// Writes the figure or its data, by the ending of the name.
    ///
    /// # Errors
    /// If the ending is unknown, the figure cannot be drawn or the file cannot be written.
    pub fn write(&self, path: &Path) -> kernelscope::Result<()> {
        match &self.kind {
            Kind::Costs(figure) => export(figure, path, &self.recipe),
            Kind::Erf(figure) => export(figure, path, &self.recipe),
            Kind::Kernels(figure) => export(&**figure, path, &self.recipe),
            Kind::Orientations(figure) => export(figure, path, &self.recipe),
            Kind::ShapeBias(figure) => export(figure, path, &self.recipe),
            Kind::Groups(figure) => export(figure, path, &self.recipe),
            Kind::Taps(figure) => export(figure, path, &self.recipe),
            Kind::Masks(figure) => export(figure, path, &self.recipe),
            Kind::Densities(figure) => export(figure, path, &self.recipe),
            Kind::Curves(figure) => export(figure, path, &self.recipe),
        }
    }

    /// What made the figure.
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }
}

/// The figure of a view as it is shown.
///
/// # Errors
/// What is missing for it.
pub fn figure(state: &State, view: View) -> Result<Export, String> {
    let current = state.current().ok_or("export: got no network, allowed: an open network")?;
    let missing = |what: &str| format!("{}: there is no {what} to export", current.label);
    let shown = state.shown();
    let (kind, entries) = match view {
        View::Network => (Kind::Costs(costs(current).ok_or_else(|| missing("layer tree"))?), vec![current]),
        View::Erf => {
            let found: Vec<(&Entry, &ErfResult)> =
                shown.iter().filter_map(|entry| Some((*entry, entry.erf.as_ref()?))).collect();
            if found.is_empty() {
                return Err(missing("receptive field"));
            }
            let maps = found.iter().map(|(_, erf)| ((*erf.map).clone(), areas(&state.look.erf, erf))).collect();
            let figure = ErfFigure { maps, scale: state.look.erf.scale() };
            (Kind::Erf(figure), found.into_iter().map(|(entry, _)| entry).collect())
        }
        View::Kernels => {
            let (_, layer) = state.kernel_layer(current).ok_or_else(|| missing("kernel"))?;
            (Kind::Kernels(Box::new(kernelscope::report::kernel_grid(layer))), vec![current])
        }
        View::Orientations => {
            let figure = orientations(state, current).ok_or_else(|| missing("orientation"))?;
            (Kind::Orientations(figure), vec![current])
        }
        View::ShapeBias => {
            let found: Vec<&Entry> = shown.into_iter().filter(|entry| entry.bias.is_some()).collect();
            let reports: Vec<ShapeBiasReport> =
                found.iter().filter_map(|entry| entry.bias.as_ref()).map(|bias| bias.report.clone()).collect();
            if reports.is_empty() {
                return Err(missing("shape bias"));
            }
            (Kind::ShapeBias(ShapeBiasFigure { reports, human: Some(HUMAN) }), found)
        }
        View::Sparsity => match &current.sparsity {
            Some(Ok(report)) => (sparsity(current, report), vec![current]),
            Some(Err(message)) => return Err(message.clone()),
            None => return Err(missing("density")),
        },
        View::Training => {
            let found: Vec<&Entry> = shown.into_iter().filter(|entry| entry.overview.is_some()).collect();
            let runs: Vec<RunHistory> = found
                .iter()
                .filter_map(|entry| entry.overview.as_ref())
                .map(|overview| history(&overview.label, &overview.rows))
                .collect();
            if runs.iter().all(|run| run.points.is_empty()) {
                return Err(missing("curve"));
            }
            (Kind::Curves(LossCurves { runs }), found)
        }
        View::Messages => return Err("export: got the messages, allowed: a figure; copy the messages instead".into()),
    };
    Ok(Export { kind, recipe: recipe(state, view, &entries) })
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

fn areas(look: &ErfLook, erf: &ErfResult) -> Vec<AreaRatio> {
    look.thresholds.iter().map(|threshold| erf.squares[0].area(*threshold)).collect()
}

fn orientations(state: &State, entry: &Entry) -> Option<PolarOrientation> {
    let layers = &entry.facts.orientations;
    let chosen = state.look.address.as_ref().and_then(|_| state.kernel_layer(entry));
    let chosen = chosen.and_then(|(_, layer)| layers.iter().find(|known| known.path == layer.path));
    let (title, channels) = match chosen {
        Some(layer) => (layer.path.clone(), layer.channels.clone()),
        None => (format!("{}, all layers", entry.label), layers.iter().flat_map(|l| l.channels.clone()).collect()),
    };
    let figure = PolarOrientation { title, channels, bins: kernelscope::open::BINS };
    (!figure.channels.is_empty()).then_some(figure)
}

/// Groups where there are any, else taps, else the run's record, else densities.
fn sparsity(entry: &Entry, report: &Arc<SparsityReport>) -> Kind {
    if !report.groups.is_empty() {
        let title = format!("Kept groups of {}: channels across, groups down", entry.label);
        return Kind::Groups(GroupMaps { title, layers: report.groups.iter().take(64).cloned().collect() });
    }
    let pruned = report.taps.iter().filter(|map| map.share.iter().flatten().any(|&share| share < 1.0));
    let layers: Vec<_> = pruned.take(64).cloned().collect();
    if !layers.is_empty() {
        return Kind::Taps(TapShares { title: format!("Kept taps of {}", entry.label), layers });
    }
    match entry.overview.as_ref().and_then(|overview| overview.masks.as_ref()) {
        Some(history) => Kind::Masks(MaskCurves { curves: stage_means(history) }),
        None => Kind::Densities(DensityBars { report: (**report).clone() }),
    }
}

/// What made a figure: networks, checkpoints and their hashes, what was probed, colours, the date and the command.
fn recipe(state: &State, view: View, entries: &[&Entry]) -> Recipe {
    let mut recipe = Recipe::default();
    for entry in entries {
        recipe.push("network", format_args!("{} ({})", entry.label, entry.network_name().unwrap_or("not known")));
        if let Some(subject) = &entry.subject {
            recipe.push("checkpoint", subject.source.display());
        }
        recipe.push("sha256", entry.hash.as_deref().unwrap_or("not computed yet"));
        if let (View::Erf, Some(erf)) = (view, &entry.erf) {
            let (map, (row, column)) = (&erf.map, erf.map.position);
            let probe = format!("stage {}, position {row},{column}, {} images", map.stage, map.images);
            recipe.push("probe", format_args!("{probe} of {}x{} pixels", map.height, map.width));
        }
    }
    let look = &state.look;
    match view {
        View::Erf => {
            let input = match &look.erf.source {
                Images::Own => "images of the run, or built-in ones".to_string(),
                Images::Path(path) => path.display().to_string(),
            };
            recipe.push("input", input);
            recipe.push("transfer", look.erf.scale().label());
        }
        View::Kernels | View::Orientations => {
            let address = look.address.as_ref().map_or("whole network".to_string(), ToString::to_string);
            recipe.push("layer", address);
        }
        View::ShapeBias => {
            let stimuli = look.bias.stimuli.as_ref().map_or("built-in set".into(), |path| path.display().to_string());
            recipe.push("stimuli", stimuli);
        }
        _ => {}
    }
    recipe.push("date", kernelscope::bench::results::now());
    recipe.push("program", format_args!("kernelscope {}", env!("CARGO_PKG_VERSION")));
    recipe.push("command", command_line(state));
    recipe
}

/// An argument that a shell reads as it is.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:,=+@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_string()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// The command that opens the same networks and shows the same of them.
pub fn command_line(state: &State) -> String {
    let look = &state.look;
    let mut words: Vec<String> = vec!["kernelscope".into(), "view".into()];
    let mut shown: Vec<&Entry> = state.shown();
    // The first path is what is looked at.
    shown.sort_by_key(|entry| Some(entry.id) != look.current);
    for entry in shown {
        let path = std::path::absolute(entry.path()).unwrap_or_else(|_| entry.path().to_path_buf());
        words.push(quoted(&path.display().to_string()));
    }
    let mut option = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            words.push(format!("--{name}"));
            words.push(quoted(&value));
        }
    };
    let standard = ErfLook::default();
    let erf = &look.erf;
    option("model", state.current().and_then(|entry| entry.model.clone()));
    option("view", state.focus.map(|view| view.name().to_string()));
    option("epoch", look.current.and_then(|id| look.epochs.get(&id)).map(usize::to_string));
    option("address", look.address.as_ref().map(ToString::to_string));
    option("stage", erf.stage.map(|stage| stage.to_string()));
    option("position", erf.position.map(|(row, column)| format!("{row},{column}")));
    option("size", (erf.size != standard.size).then(|| erf.size.to_string()));
    option("images", (erf.images != standard.images).then(|| erf.images.to_string()));
    let input = if let Images::Path(path) = &erf.source { Some(path.display().to_string()) } else { None };
    option("input", input);
    option(
        "transfer",
        match erf.transfer {
            Transfer::Log => None,
            Transfer::Linear => Some("linear".into()),
            Transfer::Power => Some(format!("power:{}", erf.gamma)),
        },
    );
    option("stimuli", look.bias.stimuli.as_ref().map(|path| path.display().to_string()));
    option("x-axis", (look.x_axis == XAxis::Step).then(|| "step".to_string()));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn words_survive_a_shell() {
        assert_eq!(quoted("runs/a-1.5"), "runs/a-1.5");
        assert_eq!(quoted("my runs/it's"), r"'my runs/it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
