//! `kernelscope eval`.

use super::network::{Loaded, NetworkArgs};
use super::output::{Progress, print_json, say};
use super::reading::{ReadingArgs, say_broken};
use kernelscope::files::check_writable;
use kernelscope::{Error, Result};
use kernelscope_lab::data::{
    ClassNames, Dataset, EvalTransform, ImageFolder, Loader, LoaderConfig, Reading, Transform,
};
use kernelscope_lab::report::evaluation::{About, EvaluationReport, LabelMap, MatchedBy, answers, save};
use kernelscope_lab::run::{DataConfig, DataSource};
use std::path::PathBuf;
use std::sync::Arc;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  kernelscope eval --run runs/first\n  \
    kernelscope eval --run runs/first --output eval/      # a page with pictures, tables, and figures\n  \
    kernelscope eval --model convnext-t-1d --weights convnext_tiny_1d_best.pth --data folder:imagenet/val --size 224\n  \
    kernelscope eval --model convnext-t-1d --weights convnext_tiny_1d_best.pth --data folder:imagenet-a --restrict\n\n\
    Class folders may be a part of the network's classes, named as these are: by name, by WordNet id (n01440764), or by\n\
    number, from 0. All classes of the network compete then, unless --restrict compares only those of the folders.\n\
    Checkpoints of kernelscope store the names of their classes; other networks of 1000 classes are taken for ones of\n\
    ImageNet.\n\n\
    --output DIR gets evaluation.html, evaluation.json, classes.csv (recall and precision), confusion.csv, images.csv,\n\
    calibration.csv, and figures. If an image cannot be read, the results until then are kept, marked as such;\n\
    --skip-broken leaves such images out.")]
pub struct Args {
    #[command(flatten)]
    network: NetworkArgs,
    /// Images: builtin, cifar10:DIR, or folder:DIR (its val or test folder, otherwise all class folders); the run's own
    /// validation images if left out
    #[arg(long, value_name = "DATA")]
    data: Option<String>,
    /// Side of the network's input in pixels
    #[arg(long)]
    size: Option<usize>,
    /// Images per step
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// Compare only the logits of the classes that the images have
    #[arg(long)]
    restrict: bool,
    /// Folder for a page, tables, and figures
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    reading: ReadingArgs,
}

/// Images, how they are prepared, and how their classes are found among the network's.
struct Images {
    set: Arc<dyn Dataset>,
    transform: EvalTransform,
    reading: Reading,
    labels: LabelMap,
    names: Option<ClassNames>,
    /// Whether they are those of the run that the network comes from.
    own: bool,
}

pub fn run(args: &Args) -> Result<()> {
    let loaded = args.network.load()?;
    let images = images(args, &loaded)?;
    if let Some(dir) = &args.output {
        std::fs::create_dir_all(dir).map_err(Error::io("create", dir))?;
        check_writable(&dir.join("evaluation.html"))?;
    }
    let about = About {
        model: &loaded.network.spec().name,
        set: images.set.as_ref(),
        labels: &images.labels,
        names: images.names.as_ref(),
        restrict: args.restrict,
    };
    let (transform, skip_broken) = (images.transform.clone(), images.reading.skip_broken);
    let config = LoaderConfig { batch_size: args.batch, skip_broken, ..LoaderConfig::default() };
    let loader = Loader::new(images.set.clone(), Transform::Eval(transform), None, config)?;
    let mut progress = Progress::new(images.set.len(), "eval");
    let found = answers(&loaded.network, &loader, &about, &mut |count| progress.inc(count))?;
    progress.finish();
    say_broken(&found.broken);
    let report = EvaluationReport::new(&about, &found)?;
    if let Some(dir) = &args.output {
        save(dir, &about, &found, &report, &images.transform)?;
    }
    match args.json {
        true => print_json(&report)?,
        false => say_report(args, &report, images.own)?,
    }
    match report.stopped {
        Some(reason) => {
            let kept = args.output.as_ref().map_or(String::new(), |dir| format!(" are kept in {}", dir.display()));
            let given = format!("{reason}; the results of the {} images before it{kept}", report.images);
            Err(Error::argument("images", given, "images that can be read"))
        }
        None => Ok(()),
    }
}

fn say_report(args: &Args, report: &EvaluationReport, own: bool) -> Result<()> {
    let top5 = report.top5.map_or(String::new(), |top5| format!(", top-5 {:.2} %", 100.0 * top5));
    let ece = report.calibration.ece.map_or(String::new(), |ece| format!(", calibration error {ece:.4}"));
    say(format_args!(
        "{}: {:.2} % of {} images, loss {:.4}{top5}{ece}",
        report.model,
        100.0 * report.accuracy,
        report.images,
        report.loss
    ))?;
    if report.classes < report.outputs || (report.matched_by == MatchedBy::Order && !own) {
        say(report.scope())?;
    }
    match &args.output {
        Some(dir) => say(dir.join("evaluation.html").display()),
        None => Ok(()),
    }
}

/// The images that a network is measured on. A run's own have its classes; those of others are found by their names.
fn images(args: &Args, loaded: &Loaded) -> Result<Images> {
    let mut transform = loaded.transform.clone();
    transform.size = args.size.unwrap_or(transform.size);
    transform.check()?;
    let reading = args.reading.over(loaded.data.as_ref().map(|data| data.reading));
    let outputs = loaded.network.spec().config.classes();
    let run = loaded.data.clone().map(|data| DataConfig { reading, ..data });
    let source = args.data.as_deref().map(|text| DataSource::parse(text, transform.size, 0)).transpose()?;
    let (set, own) = match (source, run) {
        (None, None) => return Err(Error::argument("--data", "nothing", "builtin, cifar10:DIR, or folder:DIR")),
        (None, Some(run)) => (own_images(&run)?, true),
        // Where the run divided this folder itself, only its own validation images are new to the network.
        (Some(source), Some(run)) if run.source.clone().absolute()? == source.clone().absolute()? => {
            (own_images(&run)?, true)
        }
        (Some(source), _) => (source.open_val(reading)?, false),
    };
    let labels = match own {
        true => LabelMap::identity(set.classes(), outputs)?,
        false => LabelMap::find(set.classes(), loaded.classes.as_ref(), outputs)?,
    };
    let names = if own { Some(ClassNames::new(set.classes().to_vec())) } else { loaded.classes.clone() };
    Ok(Images { set, transform, reading, labels, names, own })
}

/// A run's validation images. Those that cannot be read are found when they are used.
fn own_images(run: &DataConfig) -> Result<Arc<dyn Dataset>> {
    match &run.source {
        DataSource::Folder { path } => Ok(Arc::new(ImageFolder::open_split(path)?.1.with_reading(run.reading))),
        DataSource::Builtin(_) | DataSource::Cifar10 { .. } => run.source.open_val(run.reading),
    }
}
