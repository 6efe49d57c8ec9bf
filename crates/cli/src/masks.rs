//! `kernelscope masks`.

use super::network::NetworkArgs;
use super::output::{grouped, markdown, note, print_json, say, table};
use kernelscope::analysis::report::{Granularity, GroupHistogram, MaskHistory, SparsityReport};
use kernelscope::analysis::sparsity::{kept_shifts, sparsity, stage_means};
use kernelscope::files::write_atomically;
use kernelscope::nn::{BuildOptions, Trace};
use kernelscope::weights::{Checkpoint, TensorMap};
use kernelscope::zoo::shiftwise::ShiftWiseConfig;
use kernelscope::zoo::{ModelConfig, ModelSpec, Network, Preprocessing};
use kernelscope::{Error, Result};
use kernelscope_lab::data::check_side;
use kernelscope_lab::open::{masks_beside, read_masks, transform_of};
use kernelscope_lab::plot::{self, DensityBars, GroupMaps, KeptGroupHistograms, MaskCurves, ShiftMaps, TapShares};
use kernelscope_lab::run::{RunFolder, read_mask_history};
use kernelscope_lab::save;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    kernelscope masks --model slak-t --weights SLaK_tiny_checkpoint.pth --output masks/\n  \
    kernelscope masks --run runs/sparse --output masks/\n  \
    kernelscope masks --weights pruned.safetensors --json\n\n\
    Weights of a checkpoint that are 0 count as pruned, as in the official SLaK files. If a run saved its masks\n\
    beside the checkpoint (NAME.masks.safetensors), they are used instead, because a weight that was just grown is\n\
    still 0.\n\n\
    Shift-wise layers (large_kernel.LoRAs.{i}.weight) are counted in groups, the n x n kernels of their output\n\
    channels; all other layers in single weights. The network adds up parallel kernels, so the sum has a group or tap\n\
    wherever one of them has it. A file that does not say which network it is for is reported without multiply-adds,\n\
    unless --model names the network.\n\n\
    The output folder gets sparsity.csv (layers), sparsity-totals.csv, sparsity-merged.csv (parallel kernels),\n\
    sparsity-groups.csv (histogram of kept groups per channel), sparsity-shifts.csv (what is left at every shift of a\n\
    shift-wise network), sparsity.md, and figures: densities and, where they apply, the histogram, the maps of kept\n\
    groups, shifts, and taps, and the masks over training.")]
pub struct Args {
    #[command(flatten)]
    network: NetworkArgs,
    /// Masks of the weights (safetensors, unsigned bytes 0 and 1); by default those saved beside the checkpoint
    #[arg(long, value_name = "FILE", conflicts_with = "random")]
    masks: Option<PathBuf>,
    /// Side of the image for which multiply-adds are counted, in pixels; by default the network's own
    #[arg(long)]
    size: Option<usize>,
    /// Folder for tables and figures
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<()> {
    if let Some(size) = args.size {
        check_side("--size", size)?;
    }
    let subject = Subject::load(args)?;
    let history = history(args)?;
    let masks = subject.masks.as_ref().map(|masks| &masks.tensors);
    let trace = subject.trace.as_ref().map(|(_, trace)| trace);
    let mut report = sparsity(&subject.name, &subject.tensors, masks, trace)?;
    if let Some(config) = subject.config.as_ref().and_then(ModelConfig::downcast_ref::<ShiftWiseConfig>) {
        report.shifts = kept_shifts(&report.groups, config)?;
    }
    let tables = tables(&report);
    let remarks = remarks(&subject, &report);
    if let Some(dir) = &args.output {
        std::fs::create_dir_all(dir).map_err(Error::io("create", dir))?;
        save::sparsity(dir, &report)?;
        let mut text = format!("# What is left of {}\n", report.model);
        for (title, header, rows) in &tables {
            text.push_str(&format!("\n## {title}\n\n{}", markdown(header, rows)));
        }
        text.push_str(&format!("\n{}\n", remarks.join("\n")));
        write_atomically(&dir.join("sparsity.md"), |file| file.write_all(text.as_bytes()))?;
        figures(dir, &report, history.as_ref())?;
    }
    let outside: usize = report.layers.iter().map(|layer| layer.outside).sum();
    if outside > 0 {
        note(format_args!("{outside} weights are not 0 although the masks prune them; the masks were used"));
    }
    if args.json {
        return print_json(&report);
    }
    for (_, header, rows) in tables {
        say(table(&header, rows))?;
    }
    remarks.iter().try_for_each(say)
}

/// What is reported on.
struct Subject {
    name: String,
    tensors: TensorMap,
    masks: Option<Checkpoint>,
    /// The network's configuration, if it is known.
    config: Option<ModelConfig>,
    /// Size of the image and the network's trace, if the network is known.
    trace: Option<(usize, Trace)>,
}

impl Subject {
    fn load(args: &Args) -> Result<Self> {
        if args.network.random.is_some() {
            let loaded = args.network.load()?;
            return Subject::of_network(&loaded.network, args.size.unwrap_or(loaded.transform.size));
        }
        let (checkpoint, data) = args.network.checkpoint()?;
        let source = checkpoint.source.clone();
        let mut subject = if args.network.model.is_some() || ModelSpec::is_stored_in(&checkpoint) {
            let stored = Preprocessing::of_checkpoint(&checkpoint)?;
            let (model, options) = (args.network.model.as_deref(), BuildOptions::frozen());
            let network = Network::from_checkpoint(model, checkpoint, &args.network.overrides, options)?;
            let own = || transform_of(data.as_ref(), stored, Some(&network)).size;
            let size = args.size.unwrap_or_else(own);
            Subject::of_network(&network, size)?
        } else {
            checkpoint.check_only()?;
            let stem = source.file_stem().unwrap_or(source.as_os_str());
            let name = stem.to_string_lossy().into_owned();
            Subject { name, tensors: checkpoint.tensors, masks: None, config: None, trace: None }
        };
        subject.masks = match args.masks.clone().or_else(|| masks_beside(&source)) {
            Some(path) => Some(read_masks(&path, &subject.tensors)?),
            None => None,
        };
        Ok(subject)
    }

    fn of_network(network: &Network, size: usize) -> Result<Self> {
        // Of the dense network: one that leaves pruned taps out does not count them, and they would be taken off twice.
        let dense = Network::build(network.spec().clone(), BuildOptions::shapes_only())?;
        let trace = Some((size, dense.trace(size, size)?));
        let ModelSpec { name, config } = network.spec().clone();
        Ok(Subject { name, tensors: network.params().tensors(), masks: None, config: Some(config), trace })
    }
}

/// The masks over training, if a run recorded them.
fn history(args: &Args) -> Result<Option<MaskHistory>> {
    let Some(root) = &args.network.run else { return Ok(None) };
    let path = RunFolder::open(root)?.root().join("masks.csv");
    if !path.exists() {
        return Ok(None);
    }
    let label = root.file_name().unwrap_or(root.as_os_str());
    read_mask_history(&label.to_string_lossy(), &path).map(Some)
}

fn remarks(subject: &Subject, report: &SparsityReport) -> Vec<String> {
    let mut lines = Vec::new();
    if report.layers.iter().all(|layer| layer.kept == layer.units) {
        lines.push(format!("No weight is pruned; {} is dense (density 1).", report.model));
    }
    lines.push(match &subject.masks {
        Some(masks) => format!("Masks: {}; layers without a mask are counted by their zeros.", masks.source.display()),
        None => "Weights that are 0 count as pruned.".to_string(),
    });
    lines.push(match &subject.trace {
        Some((size, _)) => format!("Multiply-adds at {size}x{size}."),
        None => "Multiply-adds need the network: name it with --model.".to_string(),
    });
    lines
}

type TextTable = (&'static str, Vec<String>, Vec<Vec<String>>);

fn share(share: f64) -> String {
    format!("{share:.4}")
}

fn count(value: Option<u64>) -> String {
    value.map_or("–".to_string(), grouped)
}

fn tables(report: &SparsityReport) -> Vec<TextTable> {
    let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
    let mut tables = vec![(
        "Layers",
        names(&["layer", "shape", "unit", "kept", "of", "density", "sum of paths", "MACs", "effective"]),
        layer_rows(report),
    )];
    if !report.histograms.is_empty() {
        let most = report.histograms.iter().map(|h| h.groups).max().unwrap_or(0);
        let mut header = names(&["kept groups per channel", "groups", "layers", "channels"]);
        header.extend((0..=most).map(|kept| format!("{kept} kept")));
        tables.push((
            "Kept groups per channel",
            header,
            report.histograms.iter().map(|h| histogram_row(h, most)).collect(),
        ));
    }
    let header = names(&["part", "density", "parameters", "effective", "MACs", "effective"]);
    let rows = report.totals.iter().map(|t| {
        let (parameters, effective) = (grouped(t.parameters), grouped(t.effective_parameters));
        vec![t.name.clone(), share(t.density), parameters, effective, count(t.macs), count(t.effective_macs)]
    });
    tables.push(("Totals", header, rows.collect()));
    tables
}

fn layer_rows(report: &SparsityReport) -> Vec<Vec<String>> {
    let sum = |name: &String| report.merged.iter().find(|m| m.paths.len() > 1 && m.paths.contains(name));
    let row = |layer: &kernelscope::analysis::report::LayerSparsity| {
        vec![
            layer.name.clone(),
            layer.shape.iter().map(usize::to_string).collect::<Vec<_>>().join("x"),
            match layer.granularity {
                Granularity::Entries => "weight".to_string(),
                Granularity::Groups => "group".to_string(),
            },
            grouped(layer.kept as u64),
            grouped(layer.units as u64),
            share(layer.density),
            sum(&layer.name).map_or("–".to_string(), |m| share(m.density)),
            count(layer.macs),
            count(layer.effective_macs),
        ]
    };
    report.layers.iter().map(row).collect()
}

fn histogram_row(histogram: &GroupHistogram, most: usize) -> Vec<String> {
    let all: u64 = histogram.channels.iter().sum();
    let stage = histogram.stage.map_or("outside the stages".to_string(), |stage| format!("stage {stage}"));
    let mut row = vec![stage, histogram.groups.to_string(), histogram.layers.to_string(), grouped(all)];
    let percent = |kept: usize| match histogram.channels.get(kept) {
        Some(&channels) => format!("{:.1} %", 100.0 * channels as f64 / all.max(1) as f64),
        None => String::new(),
    };
    row.extend((0..=most).map(percent));
    row
}

/// Most layers in one figure.
const PAGE: usize = 36;

fn figures(dir: &Path, report: &SparsityReport, history: Option<&MaskHistory>) -> Result<()> {
    plot::save(&DensityBars { report: report.clone() }, &dir.join("density"))?;
    if !report.histograms.is_empty() {
        let histograms = report.histograms.clone();
        plot::save(&KeptGroupHistograms { histograms }, &dir.join("kept-groups"))?;
    }
    by_stage(
        &report.groups,
        |map| map.stage,
        |part, all| {
            let title = format!("Kept groups, {}: channels across, groups down", part.replace('-', " "));
            pages(&all, &format!("groups-{part}"), |layers, name| {
                plot::save(&GroupMaps { title: title.clone(), layers }, &dir.join(name))
            })
        },
    )?;
    by_stage(
        &report.shifts,
        |map| map.stage,
        |part, all| {
            let title = format!("Kept shifts, {}: channels across, shifts in pixels down", part.replace('-', " "));
            pages(&all, &format!("shifts-{part}"), |layers, name| {
                plot::save(&ShiftMaps { title: title.clone(), layers }, &dir.join(name))
            })
        },
    )?;
    // Kernels of which every tap is kept would be plain rectangles.
    let pruned = report.taps.iter().filter(|map| map.share.iter().flatten().any(|&share| share < 1.0));
    let pruned: Vec<_> = pruned.cloned().collect();
    pages(&pruned, "kept-taps", |layers, name| {
        let title = "Kept taps of large kernels, averaged over the channels".to_string();
        plot::save(&TapShares { title, layers }, &dir.join(name))
    })?;
    match history {
        Some(history) => plot::save(&MaskCurves { curves: stage_means(history) }, &dir.join("masks-over-training")),
        None => Ok(()),
    }
}

/// Draws the layers of each stage, given a name of the stage for files.
fn by_stage<T: Clone>(
    layers: &[T],
    stage: impl Fn(&T) -> Option<usize>,
    mut draw: impl FnMut(&str, Vec<T>) -> Result<()>,
) -> Result<()> {
    let mut stages: Vec<Option<usize>> = layers.iter().map(&stage).collect();
    stages.dedup();
    for found in stages {
        let part = found.map_or("other".to_string(), |stage| format!("stage-{stage}"));
        draw(&part, layers.iter().filter(|layer| stage(layer) == found).cloned().collect())?;
    }
    Ok(())
}

/// Draws layers in figures of at most [`PAGE`], the second called `NAME-2` and so on.
fn pages<T: Clone>(layers: &[T], name: &str, mut draw: impl FnMut(Vec<T>, &str) -> Result<()>) -> Result<()> {
    for (page, part) in layers.chunks(PAGE).enumerate() {
        let name = if page == 0 { name.to_string() } else { format!("{name}-{}", page + 1) };
        draw(part.to_vec(), &name)?;
    }
    Ok(())
}
