//! `kernelscope shape-bias`.

use super::network::{Loaded, NetworkArgs};
use super::output::{Progress, note, print_json, say, table};
use super::reading::{ReadingArgs, say_broken};
use kernelscope::analysis::report::ShapeBiasReport;
use kernelscope::analysis::shape_bias::HUMAN;
use kernelscope::{Error, Result};
use kernelscope_lab::data::Reading;
use kernelscope_lab::plot::{self, ShapeBiasFigure};
use kernelscope_lab::report::{InspectOptions, Stimuli, builtin_shape_bias};
use kernelscope_lab::run::{DataConfig, DataSource};
use kernelscope_lab::save;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  kernelscope shape-bias --run runs/first\n  \
    kernelscope shape-bias --model convnext-t-1d --weights convnext_tiny_1d_best.pth --stimuli cue-conflict/ --output bias/\n\n\
    A stimulus folder has one folder per shape category (airplane, bear, ... truck) with images named like\n\
    cat7-elephant1.png, the texture last. It needs a network with the 1000 ImageNet classes. Without --stimuli, the\n\
    built-in cue-conflict images are used.\n\
    Shape bias = decisions for the shape / (decisions for the shape + decisions for the texture).")]
pub struct Args {
    #[command(flatten)]
    network: NetworkArgs,
    /// Folder of cue-conflict images in the layout of Geirhos et al.
    #[arg(long, value_name = "DIR")]
    stimuli: Option<PathBuf>,
    /// Number of built-in cue-conflict images
    #[arg(long, default_value_t = InspectOptions::default().conflict_images)]
    count: usize,
    /// Folder for a table and a figure
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reading: ReadingArgs,
}

pub fn run(args: &Args) -> Result<()> {
    let loaded = args.network.load()?;
    if let Some(dir) = &args.output {
        std::fs::create_dir_all(dir).map_err(Error::io("create", dir))?;
    }
    let report = match &args.stimuli {
        Some(dir) => on_stimuli(dir, &loaded, args.reading)?,
        None => {
            let data = match &loaded.data {
                Some(data) => data.clone(),
                None => builtin(&loaded)?,
            };
            if loaded.network.spec().config.classes() != kernelscope_lab::data::shapes_textures::CLASSES {
                return Err(Error::argument(
                    "--stimuli",
                    format!("nothing, for a network with {} classes", loaded.network.spec().config.classes()),
                    "a stimulus folder, or a network trained on the built-in set",
                ));
            }
            builtin_shape_bias(&loaded.network, &data, args.count)?.ok_or_else(|| {
                Error::argument(
                    "--stimuli",
                    "nothing",
                    "a stimulus folder, because this run used other data than the built-in set",
                )
            })?
        }
    };
    if let Some(dir) = &args.output {
        save::shape_bias(&dir.join("shape_bias.csv"), &report)?;
        if report.shape_bias.is_some() {
            let figure = ShapeBiasFigure { reports: vec![report.clone()], human: Some(HUMAN) };
            plot::save(&figure, &dir.join("shape_bias"))?;
        } else {
            note("No image was classified by its shape or its texture; there is no figure to draw.");
        }
    }
    if args.json {
        return print_json(&report);
    }
    let bias = |b: Option<f64>| b.map_or("–".to_string(), |b| format!("{b:.3}"));
    let rows = report
        .categories
        .iter()
        .map(|c| {
            vec![
                c.category.clone(),
                c.conflicts.to_string(),
                c.shape_decisions.to_string(),
                c.texture_decisions.to_string(),
                bias(c.shape_bias),
            ]
        })
        .collect();
    say(table(&["shape", "images", "shape", "texture", "shape bias"], rows))?;
    say(format_args!(
        "{}: shape bias {} ({} conflicts of {} images; fraction shape {:.3}, texture {:.3})",
        report.model,
        bias(report.shape_bias),
        report.conflicts,
        report.images,
        report.fraction_shape,
        report.fraction_texture
    ))
}

/// The built-in images, prepared as the weights expect.
fn builtin(loaded: &Loaded) -> Result<DataConfig> {
    let t = &loaded.transform;
    let source = DataSource::parse("builtin", t.size, 0)?;
    Ok(DataConfig { size: t.size, crop_pct: t.crop_pct, normalize: t.normalize, reading: Reading::default(), source })
}

fn on_stimuli(dir: &Path, loaded: &Loaded, reading: ReadingArgs) -> Result<ShapeBiasReport> {
    let reading = reading.over(loaded.data.as_ref().map(|data| data.reading));
    let (stimuli, broken) = Stimuli::folder(dir, loaded.transform.clone())?.with_reading(reading).sifted()?;
    say_broken(&broken);
    let mut progress = Progress::new(stimuli.len(), "shape bias");
    let mut answered = Vec::with_capacity(stimuli.len());
    for index in 0..stimuli.len() {
        answered.push(stimuli.answer(&loaded.network, index)?);
        progress.inc(1);
    }
    progress.finish();
    Ok(stimuli.report(&loaded.network.spec().name, &answered))
}
