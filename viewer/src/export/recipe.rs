//! What made a figure, and the command line that shows the same thing.

use crate::options::{Word, words};
use crate::state::{Entry, Figure, Images, State, View};
use kernelscope_lab::plot::Recipe;

/// What made a figure: networks, checkpoints and their hashes, what was probed, colors, the date and the command.
pub fn recipe(state: &State, figure: Figure, entries: &[&Entry]) -> Recipe {
    let mut recipe = Recipe::default();
    let view = figure.view();
    for entry in entries {
        recipe.push("network", format_args!("{} ({})", entry.label, entry.network_name().unwrap_or("not known")));
        if let Some(subject) = &entry.subject {
            recipe.push("checkpoint", subject.source.display());
        } else {
            recipe.push("file", entry.path().display());
        }
        recipe.push("sha256", entry.hash.as_deref().unwrap_or("not computed yet"));
        match (view, &entry.erf, &entry.bias) {
            (View::Erf, Some(erf), _) if erf.stage_size == (0, 0) => {
                recipe.push("map", format_args!("imported, {}x{} pixels", erf.map.height, erf.map.width));
            }
            (View::Erf, Some(erf), _) => {
                let (map, (row, column)) = (&erf.map, erf.map.position);
                let (rows, columns) = erf.stage_size;
                let place = format!("stage {}, position {row},{column} of {rows}x{columns}", map.stage);
                recipe.push("probe", place);
                let size = format!("{}x{} pixels", map.height, map.width);
                recipe.push("input", format_args!("{}: {} of {size}", erf.input, map.images));
            }
            (View::ShapeBias, _, Some(bias)) => {
                recipe.push("answers", format_args!("{} of {} images", bias.answered.len(), bias.stimuli.len()));
            }
            _ => {}
        }
    }
    let look = &state.look;
    match figure {
        Figure::Erf => recipe.push("transfer", look.erf.scale().label()),
        Figure::Kernels => {
            recipe.push("layer", chosen(state));
            recipe.push("order", look.kernels.sort.name());
            recipe.push("form", if look.kernels.merged { "merged for inference" } else { "as trained" });
        }
        Figure::Orientations => recipe.push("layer", chosen(state)),
        Figure::ShapeBias => {
            let stimuli = look.bias.stimuli.as_ref().map_or("built-in set".into(), |path| path.display().to_string());
            recipe.push("stimuli", stimuli);
        }
        _ => {}
    }
    recipe.push("date", kernelscope_lab::bench::clock::now());
    recipe.push("program", format_args!("kernelscope {}", env!("CARGO_PKG_VERSION")));
    recipe.push("command", line(state, Some(figure)));
    recipe
}

fn chosen(state: &State) -> String {
    state.look.address.as_ref().map_or("whole network".to_string(), ToString::to_string)
}

/// Quotes an argument for a shell.
fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:,=+@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_string()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// The command line that opens the same networks and shows the same thing.
pub fn command_line(state: &State) -> String {
    line(state, None)
}

/// The command line for the view that was used last, or for a figure.
fn line(state: &State, figure: Option<Figure>) -> String {
    let look = &state.look;
    // Settings saved on another machine must not matter.
    let mut line: Vec<String> = vec!["kernelscope".into(), "view".into(), "--fresh".into()];
    let mut shown: Vec<&Entry> = state.shown();
    // The first path becomes the current entry.
    shown.sort_by_key(|entry| Some(entry.id) != look.current);
    for entry in shown {
        let path = absolute(entry.path());
        let named = entry.model.as_ref().map_or(path.clone(), |model| format!("{model}={path}"));
        line.push(quoted(&named));
    }
    let view = figure.map(Figure::view).or(state.focus);
    let mut options = vec![("view", view.map(|view| view.name().to_string()))];
    if let Some(figure) = figure {
        options.push(("figure", Some(figure.name().to_string())));
    }
    options.push(("epoch", look.current.and_then(|id| look.epochs.get(&id)).map(usize::to_string)));
    options.push(("address", look.address.as_ref().map(ToString::to_string)));
    if let Images::Path(path) = &look.erf.source {
        options.push(("input", Some(absolute(path))));
    }
    options.push(("stimuli", look.bias.stimuli.as_ref().map(|path| absolute(path))));
    for (name, value) in options {
        if let Some(value) = value {
            line.extend([format!("--{name}"), quoted(&value)]);
        }
    }
    for Word { name, value } in words(look) {
        line.push(format!("--{name}"));
        line.extend(value.map(|value| quoted(&value)));
    }
    if !state.settings.dark {
        line.push("--light".into());
    }
    line.join(" ")
}

fn absolute(path: &std::path::Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf()).display().to_string()
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
