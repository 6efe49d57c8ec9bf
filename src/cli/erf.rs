//! `kernelscope erf`.

use super::network::NetworkArgs;
use super::output::{Progress, print_json, say, table};
use crate::analysis::erf::{Erf, Probe, THRESHOLDS, area_ratios};
use crate::analysis::save;
use crate::data::{Image, check_side, list_images};
use crate::plot::{self, ErfFigure, ErfScale};
use crate::{Error, Result};
use candle_core::{Device, Tensor};
use std::path::PathBuf;
use std::sync::atomic::Ordering;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  \
    kernelscope erf --model convnext-t-1d --weights convnext_tiny_1d_best.pth --images photos/ --size 1024 --output erf/\n  \
    kernelscope erf --run runs/first --images photos/ --size 256 --output erf/ --stage 2 --position 3,4\n\n\
    Every image is resized to exactly SIZE x SIZE (bicubic, no crop). The output folder gets erf.safetensors (tensor\n\
    `contribution`), erf.csv (area ratios), erf.svg and erf.png.")]
pub struct Args {
    #[command(flatten)]
    network: NetworkArgs,
    /// A folder of images, or one image
    #[arg(long, value_name = "FOLDER")]
    images: PathBuf,
    /// Side to which the images are resized, in pixels
    #[arg(long, default_value_t = 1024)]
    size: usize,
    /// Largest number of images
    #[arg(long, default_value_t = 50)]
    limit: usize,
    /// Stage, counted from 0; the last if left out
    #[arg(long)]
    stage: Option<usize>,
    /// Row and column in the stage's feature map; its centre if left out
    #[arg(long, value_name = "ROW,COL", value_parser = parse_position)]
    position: Option<(usize, usize)>,
    /// Folder for the results
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// Print the area ratios as JSON
    #[arg(long)]
    json: bool,
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
    let stop = super::stop_on_ctrl_c();
    let loaded = args.network.load()?;
    let mut paths = list_images(&args.images)?;
    paths.truncate(args.limit);
    std::fs::create_dir_all(&args.output).map_err(Error::io("create", &args.output))?;
    let probe = Probe { stage: args.stage, position: args.position };
    let mut erf = Erf::new(&loaded.network, probe);
    let mut progress = Progress::new(paths.len(), "erf");
    for path in &paths {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted(" before all images were done; nothing was written".into()));
        }
        let image = Image::open(path)?.resized(args.size, args.size, loaded.transform.filter);
        let values = loaded.transform.normalize.apply(&image);
        erf.add(&Tensor::from_vec(values, (1, 3, args.size, args.size), &Device::Cpu)?)?;
        progress.inc(1);
    }
    progress.finish();
    let map = erf.map()?;
    let ratios = area_ratios(&map, &THRESHOLDS);
    let stem = args.output.join("erf");
    save::erf(&stem, &map, &ratios)?;
    let figure = ErfFigure { maps: vec![(map.clone(), ratios.clone())], scale: ErfScale::Log };
    plot::save(&figure, &stem)?;
    if args.json {
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
    say(args.output.display())
}
