//! `kernelscope erf --compare`: the receptive fields of several networks in one table.

use super::erf_job::{Job, compute};
use super::network::NetworkArgs;
use super::output::{markdown, note, print_json, say, table};
use kernelscope::analysis::erf::{Definition, Probe, THRESHOLDS, area_ratios};
use kernelscope::files::{check_writable, write_atomically};
use kernelscope::weights::in_folder;
use kernelscope::zoo::{ModelSpec, Network, entry};
use kernelscope::{Error, Result};
use kernelscope_lab::plot::{self, ErfFigure, ErfScale, erf::MOST_MAPS};
use kernelscope_lab::report::erf_table::{ErfTable, MapKey, Measured, RowSource, file_stem, save_map, saved_map};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

/// One network of the table.
pub struct Item {
    label: String,
    network: NetworkArgs,
}

/// Reads what `--compare` was given. Labels are told apart by a number where they are the same.
pub fn parse(texts: &[String], random: Option<u64>) -> Result<Vec<Item>> {
    let mut items: Vec<Item> = Vec::new();
    for text in texts {
        let mut item = parse_one(text, random)?;
        let taken = |label: &str| items.iter().any(|other| other.label == label);
        if taken(&item.label) {
            let numbered = |n: usize| format!("{} ({n})", item.label);
            let free = (2..).map(numbered).find(|label| !taken(label)).unwrap_or_default();
            item.label = free;
        }
        items.push(item);
    }
    if let Some(seed) = random
        && items.iter().all(|item| item.network.random.is_none())
    {
        let allowed = "no seed, because --compare names no network without weights";
        return Err(Error::argument("--random", seed, allowed));
    }
    Ok(items)
}

fn parse_one(text: &str, random: Option<u64>) -> Result<Item> {
    let none = NetworkArgs { model: None, overrides: Vec::new(), weights: None, key: None, run: None, random: None };
    // A folder may have weights, as the Hub lays it out; that of a run has them deeper.
    let at = |path: &Path| match path.is_dir() && in_folder(path).is_err() {
        true => NetworkArgs { run: Some(path.to_path_buf()), ..none.clone() },
        false => NetworkArgs { weights: Some(path.to_path_buf()), ..none.clone() },
    };
    let path = Path::new(text);
    if let Some((name, file)) = text.split_once('=')
        && !path.exists()
    {
        let model = Some(entry(name)?.name.to_string());
        return Ok(Item { label: name.to_string(), network: NetworkArgs { model, ..at(Path::new(file)) } });
    }
    match (entry(text), random) {
        (Ok(found), Some(seed)) => {
            let network = NetworkArgs { model: Some(found.name.to_string()), random: Some(seed), ..none };
            Ok(Item { label: format!("{text} (random)"), network })
        }
        _ if path.exists() => {
            let name = if path.is_dir() { path.canonicalize().ok() } else { path.file_stem().map(PathBuf::from) };
            let name = name.as_deref().and_then(Path::file_name).unwrap_or(path.as_os_str());
            Ok(Item { label: name.to_string_lossy().into_owned(), network: at(path) })
        }
        _ => {
            let allowed = "NAME=FILE, a run folder, a checkpoint, or, with --random SEED, the name of a network";
            Err(Error::argument("--compare", text, allowed))
        }
    }
}

/// The name under which figures are published, if they are about this network: with trained weights, as registered, and
/// probed where the paper probes.
fn published_name(network: &Network, random: bool, probe: Probe) -> Option<String> {
    let spec = network.spec();
    let registered = ModelSpec::named(&spec.name).ok()?.config;
    let same = spec.config == registered || spec.config == registered.for_inference();
    (same && !random && probe == Probe::default()).then(|| spec.name.clone())
}

/// Computes what is not there yet, and writes the table.
pub fn run(job: &Job, items: &[Item], images: &[PathBuf], stop: &AtomicBool) -> Result<()> {
    // A network that cannot be loaded, or a file that must not be overwritten, is found before hours are spent.
    let mut states = Vec::new();
    for item in items {
        let loaded = item.network.load()?;
        let key = MapKey::new(&loaded.network, job.probe, &loaded.transform, job.size, images)?;
        let key = if job.reading.exif { key.turned() } else { key };
        let path = job.output.join(format!("erf-{}.safetensors", file_stem(&item.label)));
        let saved = saved_map(&path, key)?;
        let model = published_name(&loaded.network, item.network.random.is_some(), job.probe);
        states.push((item, key, path, saved, model));
    }
    std::fs::create_dir_all(&job.output).map_err(Error::io("create", &job.output))?;
    check_writable(&job.output.join("erf-table.csv"))?;
    let (count, mut measured) = (states.len(), Vec::new());
    for (done, (item, key, path, saved, model)) in states.into_iter().enumerate() {
        let mut map = match saved {
            Some(map) => {
                note(format_args!("{}: already in {}", item.label, path.display()));
                map
            }
            None => {
                let loaded = item.network.load()?;
                let map = compute(job, &loaded, images, &item.label, stop).map_err(|e| match e {
                    Error::Interrupted { .. } => {
                        note(format_args!("{done} of {count} networks are done"));
                        Error::interrupted_in(&job.output)
                    }
                    other => other,
                })?;
                save_map(&path, &map, key)?;
                map
            }
        };
        map.model.clone_from(&item.label);
        measured.push(Measured { model, map });
    }
    let result = ErfTable::new(&measured, job.definition);
    save(job, &result, &measured)?;
    if job.json {
        return print_json(&result);
    }
    say(table(&header(), rows(&result)))?;
    say(footnote(job))?;
    say(job.output.display())
}

/// Columns of the table: one per threshold at the end.
fn header() -> Vec<String> {
    let mut header: Vec<String> = ["network", "source", "size/px", "images"].map(String::from).to_vec();
    let percent = THRESHOLDS.map(|threshold| format!("{:.0} %", 100.0 * threshold));
    header.extend(percent.into_iter().enumerate().map(|(i, text)| if i == 0 { format!("r at {text}") } else { text }));
    header
}

fn rows(result: &ErfTable) -> Vec<Vec<String>> {
    let row = |row: &kernelscope_lab::report::erf_table::ErfRow| {
        let source = match row.source {
            RowSource::Measured => "measured",
            RowSource::Published => "published",
        };
        let digits = if row.source == RowSource::Published { 1 } else { 2 };
        let mut cells = vec![row.network.clone(), source.into(), row.size.to_string(), row.images.to_string()];
        let ratio = |r: Option<f64>| r.map_or("–".to_string(), |r| format!("{:.digits$} %", 100.0 * r));
        cells.extend(row.areas.iter().map(|area| ratio(area.ratio)));
        cells
    };
    result.rows.iter().map(row).collect()
}

fn footnote(job: &Job) -> String {
    let definition = match job.definition {
        Definition::Script => "A is the mean over the images, as in the official script.",
        Definition::Paper => {
            "A is the sum over the images, as in the paper's text; the published figures use the mean."
        }
    };
    format!(
        "{definition} –: not reached inside the image. Published: Ding et al., CVPR 2022, Table 10, trained networks \
         and 50 images of ImageNet's validation set at 1024x1024 (of these numbers, only 22.4% and 98.6% are confirmed \
         by a second source). Ratios at different image sizes cannot be compared."
    )
}

fn save(job: &Job, result: &ErfTable, measured: &[Measured]) -> Result<()> {
    let place = |name: &str| job.output.join(name);
    result.save_csv(&place("erf-table.csv"))?;
    let json = serde_json::to_string_pretty(result)
        .map_err(|e| Error::argument("table", e, "values that JSON can represent"))?;
    write_atomically(&place("erf-table.json"), |file| file.write_all(json.as_bytes()))?;
    let text = format!("{}\n{}\n", markdown(&header(), &rows(result)), footnote(job));
    write_atomically(&place("erf-table.md"), |file| file.write_all(text.as_bytes()))?;
    for (page, part) in measured.chunks(MOST_MAPS).enumerate() {
        let of = |m: &Measured| {
            let map = job.definition.of(m.map.clone());
            let areas = area_ratios(&map, &THRESHOLDS);
            (map, areas)
        };
        let figure = ErfFigure::new(part.iter().map(of).collect(), ErfScale::Log);
        let name = if page == 0 { "erf-table".to_string() } else { format!("erf-table-{}", page + 1) };
        plot::save(&figure, &place(&name))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernelscope::nn::BuildOptions;

    #[test]
    fn published_figures_are_about_trained_networks_as_they_are_registered() {
        let network = |name: &str, overrides: &[&str]| {
            let spec = ModelSpec::named(name).unwrap().with_overrides(overrides).unwrap();
            Network::build(spec, BuildOptions::shapes_only()).unwrap()
        };
        let of = |network: &Network| published_name(network, false, Probe::default());
        let plain = network("resnet-101", &[]);
        assert_eq!(of(&plain).as_deref(), Some("resnet-101"));
        assert_eq!(of(&network("replknet-13", &["merged=true"])).as_deref(), Some("replknet-13"));
        assert_eq!(published_name(&plain, true, Probe::default()), None, "random weights");
        let probe = Probe { stage: Some(2), position: None };
        assert_eq!(published_name(&plain, false, probe), None, "another stage");
        assert_eq!(of(&network("resnet-101", &["classes=10"])), None, "trained on something else");
    }
}
