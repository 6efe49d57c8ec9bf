//! `kernelscope erf`.

use super::erf_job::{Job, compute};
use super::erf_table;
use super::network::{Loaded, NetworkArgs};
use super::output::{print_json, say, table};
use super::process::stop_on_ctrl_c;
use super::reading::{ReadingArgs, readable};
use clap::ValueEnum;
use kernelscope::analysis::erf::{Definition, PUBLISHED_SIZE, Probe, THRESHOLDS, area_ratios};
use kernelscope::{Error, Result};
use kernelscope_lab::data::{Reading, check_side, list_images};
use kernelscope_lab::plot::{self, ErfFigure, ErfScale};
use kernelscope_lab::report::erf_table::PUBLISHED_IMAGES;
use kernelscope_lab::save;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    kernelscope erf --model convnext-t-1d --weights convnext_tiny_1d_best.pth --images photos/ --size 1024 --output erf/\n  \
    kernelscope erf --run runs/first --images photos/ --size 256 --output erf/ --stage 2 --position 3,4\n  \
    kernelscope erf --compare replknet-31b=RepLKNet-31B.pth replknet-13=RepLKNet-13.pth --images val/ --output table/\n  \
    kernelscope erf --compare runs/a runs/b nano-replk --random 0 --images photos/ --size 256 --output table/\n\n\
    Every image is resized to exactly SIZE x SIZE (bicubic, no crop). All are read once before anything is computed, so\n\
    that a broken one is known at once. The output folder gets erf.safetensors (tensor\n\
    `contribution`, the mean over the images), erf.csv (area ratios), erf.svg, and erf.png; with --compare, for every\n\
    network erf-NETWORK.safetensors, and erf-table.csv, .json, .md, .svg, and .png for all. A map that already exists\n\
    for the same weights, images, and settings is not computed again, so running the same command resumes an\n\
    interrupted table.\n\n\
    The area ratio r at t% is the share of the image that is covered by the smallest centered square with more than\n\
    t% of the sum of D = log10(A + 1). In the official script, A is the mean of the images' contributions; in the\n\
    paper's text, it is their sum. The two give different r. The script produced the published figures, so it is the\n\
    default.\n\n\
    Compare only ratios at the same image size. At 1024, the published size, most fields end inside the image. At 224\n\
    they are cut off at its border: r then says how evenly the contribution is spread, and a network with a smaller\n\
    field may come out ahead.")]
pub struct Args {
    #[command(flatten)]
    network: NetworkArgs,
    /// Put several networks into one table: NAME=FILE (a registered network and its weights), a run folder or a
    /// checkpoint of kernelscope, or, with --random SEED, the NAME of a network
    #[arg(long, value_name = "NETWORK", num_args = 1..)]
    #[arg(conflicts_with_all = ["model", "overrides", "weights", "key", "run"])]
    compare: Vec<String>,
    /// A folder of images, or one image
    #[arg(long, value_name = "FOLDER")]
    images: PathBuf,
    /// Side to which the images are resized, in pixels
    #[arg(long, default_value_t = PUBLISHED_SIZE)]
    size: usize,
    /// Maximum number of images
    #[arg(long, default_value_t = PUBLISHED_IMAGES)]
    limit: usize,
    /// Stage, counted from 0; the last if left out
    #[arg(long)]
    stage: Option<usize>,
    /// Row and column in the stage's feature map; its center if left out
    #[arg(long, value_name = "ROW,COL", value_parser = parse_position)]
    position: Option<(usize, usize)>,
    /// How A is computed: as the mean over the images (script) or their sum (paper)
    #[arg(long, value_enum, default_value_t = DefinitionArg::Script)]
    definition: DefinitionArg,
    /// Folder for the results
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// Print the area ratios as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reading: ReadingArgs,
}

/// The definitions, as the command takes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum DefinitionArg {
    /// The official script's
    Script,
    /// The paper's text
    Paper,
}

impl From<DefinitionArg> for Definition {
    fn from(arg: DefinitionArg) -> Self {
        match arg {
            DefinitionArg::Script => Definition::Script,
            DefinitionArg::Paper => Definition::Paper,
        }
    }
}

fn parse_position(text: &str) -> std::result::Result<(usize, usize), String> {
    let parse = |part: &str| part.trim().parse().ok();
    text.split_once(',').and_then(|(row, col)| Some((parse(row)?, parse(col)?))).ok_or("allowed: ROW,COL".to_string())
}

pub fn run(args: &Args) -> Result<()> {
    check_side("--size", args.size)?;
    if args.limit == 0 {
        return Err(Error::argument("--limit", 0, "at least 1"));
    }
    let stop = stop_on_ctrl_c();
    let mut job = Job {
        probe: Probe { stage: args.stage, position: args.position },
        size: args.size,
        definition: args.definition.into(),
        output: args.output.clone(),
        json: args.json,
        reading: args.reading.over(None),
    };
    if args.compare.is_empty() {
        let loaded = args.network.load()?;
        job.reading = args.reading.over(loaded.data.as_ref().map(|data| data.reading));
        let images = images(args, job.reading)?;
        return single(&job, &loaded, &images, &stop);
    }
    let items = erf_table::parse(&args.compare, args.network.random)?;
    erf_table::run(&job, &items, &images(args, job.reading)?, &stop)
}

fn images(args: &Args, reading: Reading) -> Result<Vec<PathBuf>> {
    readable(reading, list_images(&args.images)?, args.limit)
}

fn single(job: &Job, loaded: &Loaded, images: &[PathBuf], stop: &AtomicBool) -> Result<()> {
    std::fs::create_dir_all(&job.output).map_err(Error::io("create", &job.output))?;
    let map = compute(job, loaded, images, "erf", stop)?;
    let by_definition = job.definition.of(map.clone());
    let ratios = area_ratios(&by_definition, &THRESHOLDS);
    let stem = job.output.join("erf");
    save::erf(&stem, &map, &ratios)?;
    let figure = ErfFigure::new(vec![(by_definition, ratios.clone())], ErfScale::Log);
    plot::save(&figure, &stem)?;
    if job.json {
        return print_json(&ratios);
    }
    let rows = ratios
        .iter()
        .map(|r| {
            vec![
                format!("{:.0} %", 100.0 * r.threshold),
                r.side.map_or("not reached".into(), |s| s.to_string()),
                r.ratio.map_or("–".into(), |r| format!("{:.2} %", 100.0 * r)),
            ]
        })
        .collect();
    say(format_args!("{}, stage {}, position {:?}, {} images:", map.model, map.stage, map.position, map.images))?;
    say(table(&["contribution", "side/px", "area ratio r"], rows))?;
    say(job.output.display())
}
