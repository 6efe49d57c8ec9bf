//! How things are shown, as options of the command. They are read and written here, so that a copied command shows the
//! same thing.

use crate::state::{Arrangement, BiasLook, Camera, ErfLook, KernelLook, KernelSort, Look, Transfer, XAxis};

/// How receptive fields, kernels, shape bias and curves are shown.
#[derive(Debug, Clone, PartialEq, Default, clap::Args)]
pub struct LookArgs {
    /// Stage of the receptive field, counted from 0; the last if left out
    #[arg(long)]
    pub stage: Option<usize>,
    /// Row and column in the stage's feature map; its center if left out
    #[arg(long, value_name = "ROW,COL", value_parser = parse_position)]
    pub position: Option<(usize, usize)>,
    /// Side of the images of the receptive field, in pixels
    #[arg(long)]
    pub size: Option<usize>,
    /// Number of images of the receptive field
    #[arg(long)]
    pub images: Option<usize>,
    /// Colors of the receptive field: log, linear, or power:EXPONENT
    #[arg(long, value_parser = parse_transfer)]
    pub transfer: Option<TransferChoice>,
    /// Four shares of the contribution for which squares and contours are shown
    #[arg(long, value_name = "T,T,T,T", value_parser = parse_thresholds)]
    pub thresholds: Option<[f64; 4]>,
    /// Draw contours at the thresholds
    #[arg(long)]
    pub contours: bool,
    /// Do not draw squares
    #[arg(long)]
    pub no_squares: bool,
    /// Show the input image instead of the field
    #[arg(long)]
    pub show_input: bool,
    /// Use one color range for all receptive fields
    #[arg(long)]
    pub shared_range: bool,
    /// How several receptive fields are shown: side, swipe, or difference
    #[arg(long, value_name = "HOW", value_parser = parse_arrangement)]
    pub arrange: Option<Arrangement>,
    /// Position of the swipe divider, from 0 to 1
    #[arg(long, value_name = "SHARE", value_parser = parse_share)]
    pub swipe: Option<f32>,
    /// Part of the image to show: its center as shares of the width and height, and the magnification
    #[arg(long, value_name = "X,Y,ZOOM", value_parser = parse_camera)]
    pub camera: Option<Camera>,
    /// Order of the kernels: channel, norm, anisotropy, or orientation
    #[arg(long, value_name = "ORDER", value_parser = parse_sort)]
    pub sort: Option<KernelSort>,
    /// Show the kernels of the form for inference
    #[arg(long)]
    pub merged: bool,
    /// Use a separate color range for each kernel
    #[arg(long)]
    pub own_ranges: bool,
    /// Number of built-in cue-conflict images
    #[arg(long, value_name = "COUNT")]
    pub conflicts: Option<usize>,
    /// Category of the cue-conflict images to show, counted from 0
    #[arg(long)]
    pub category: Option<usize>,
    /// Cue-conflict image to show enlarged, counted from 0
    #[arg(long)]
    pub conflict: Option<usize>,
    /// Draw training curves over epoch or step
    #[arg(long, value_name = "AXIS", value_parser = ["epoch", "step"])]
    pub x_axis: Option<String>,
}

/// Colors of receptive fields.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TransferChoice {
    /// How contributions become colors.
    pub transfer: Transfer,
    /// Exponent of the power law.
    pub exponent: Option<f64>,
}

fn parse_position(text: &str) -> Result<(usize, usize), String> {
    let number = |part: &str| part.trim().parse().ok();
    text.split_once(',')
        .and_then(|(row, column)| Some((number(row)?, number(column)?)))
        .ok_or("allowed: ROW,COL".into())
}

fn parse_transfer(text: &str) -> Result<TransferChoice, String> {
    let exponent = |text: &str| text.parse::<f64>().ok().filter(|e| (0.05..=3.0).contains(e));
    match (text, text.strip_prefix("power:").and_then(exponent)) {
        ("log", _) => Ok(TransferChoice { transfer: Transfer::Log, exponent: None }),
        ("linear", _) => Ok(TransferChoice { transfer: Transfer::Linear, exponent: None }),
        (_, Some(exponent)) => Ok(TransferChoice { transfer: Transfer::Power, exponent: Some(exponent) }),
        _ => Err("allowed: log, linear, or power: and an exponent from 0.05 to 3".into()),
    }
}

/// Numbers with commas between them.
fn numbers<const N: usize>(text: &str) -> Option<[f64; N]> {
    let all: Vec<f64> = text.split(',').map(|part| part.trim().parse().ok()).collect::<Option<_>>()?;
    all.try_into().ok()
}

fn parse_thresholds(text: &str) -> Result<[f64; 4], String> {
    let found = numbers(text).filter(|all: &[f64; 4]| all.iter().all(|share| (0.01..=0.999).contains(share)));
    found.ok_or("allowed: four numbers from 0.01 to 0.999".into())
}

fn parse_camera(text: &str) -> Result<Camera, String> {
    let found = numbers(text)
        .filter(|[x, y, zoom]| [x, y].iter().all(|share| (0.0..=1.0).contains(*share)) && (1.0..=64.0).contains(zoom));
    let camera = found.map(|[x, y, zoom]| Camera { center: (x as f32, y as f32), zoom: zoom as f32 });
    camera.ok_or("allowed: two numbers from 0 to 1 and one from 1 to 64".into())
}

fn parse_share(text: &str) -> Result<f32, String> {
    text.parse().ok().filter(|share| (0.0..=1.0).contains(share)).ok_or("allowed: 0 to 1".into())
}

const ARRANGEMENTS: [(Arrangement, &str); 3] =
    [(Arrangement::Side, "side"), (Arrangement::Swipe, "swipe"), (Arrangement::Difference, "difference")];

fn parse_arrangement(text: &str) -> Result<Arrangement, String> {
    let found = ARRANGEMENTS.iter().find(|(_, name)| *name == text);
    found.map(|(arrangement, _)| *arrangement).ok_or("allowed: side, swipe, difference".into())
}

fn parse_sort(text: &str) -> Result<KernelSort, String> {
    let found = KernelSort::ALL.into_iter().find(|sort| sort.name() == text);
    found.ok_or(format!("allowed: {}", KernelSort::ALL.map(KernelSort::name).join(", ")))
}

impl LookArgs {
    /// Applies the options that were given to a look.
    pub fn apply(&self, look: &mut Look) {
        let erf = &mut look.erf;
        erf.stage = self.stage.or(erf.stage);
        erf.position = self.position.or(erf.position);
        erf.size = self.size.unwrap_or(erf.size).clamp(1, kernelscope_lab::data::MAX_SIDE);
        erf.images = self.images.unwrap_or(erf.images).max(1);
        if let Some(TransferChoice { transfer, exponent }) = self.transfer {
            erf.transfer = transfer;
            erf.gamma = exponent.unwrap_or(erf.gamma);
        }
        erf.thresholds = self.thresholds.unwrap_or(erf.thresholds);
        erf.contours |= self.contours;
        erf.squares &= !self.no_squares;
        erf.input |= self.show_input;
        erf.shared_range |= self.shared_range;
        erf.arrangement = self.arrange.unwrap_or(erf.arrangement);
        erf.swipe = self.swipe.unwrap_or(erf.swipe);
        erf.camera = self.camera.unwrap_or(erf.camera);
        look.kernels.sort = self.sort.unwrap_or(look.kernels.sort);
        look.kernels.merged |= self.merged;
        look.kernels.own_range |= self.own_ranges;
        look.bias.images = self.conflicts.unwrap_or(look.bias.images).max(1);
        look.bias.category = self.category.or(look.bias.category);
        look.bias.image = self.conflict.or(look.bias.image);
        match self.x_axis.as_deref() {
            Some("step") => look.x_axis = XAxis::Step,
            Some(_) => look.x_axis = XAxis::Epoch,
            None => {}
        }
    }
}

/// An option of the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Word {
    /// Its name, without the dashes.
    pub name: &'static str,
    /// Its value; flags have none.
    pub value: Option<String>,
}

/// The options that turn a default look into this one.
pub fn words(look: &Look) -> Vec<Word> {
    let (erf, kernels, bias) = (&look.erf, &look.kernels, &look.bias);
    let (no_erf, no_kernels, no_bias) = (ErfLook::default(), KernelLook::default(), BiasLook::default());
    let mut words = Vec::new();
    let mut value = |name: &'static str, differs: bool, value: Option<String>| {
        if let Some(value) = value.filter(|_| differs) {
            words.push(Word { name, value: Some(value) });
        }
    };
    value("stage", true, erf.stage.map(|stage| stage.to_string()));
    value("position", true, erf.position.map(|(row, column)| format!("{row},{column}")));
    value("size", erf.size != no_erf.size, Some(erf.size.to_string()));
    value("images", erf.images != no_erf.images, Some(erf.images.to_string()));
    let transfer = match erf.transfer {
        Transfer::Log => None,
        Transfer::Linear => Some("linear".into()),
        Transfer::Power => Some(format!("power:{}", erf.gamma)),
    };
    value("transfer", true, transfer);
    let thresholds = erf.thresholds.map(|share| share.to_string()).join(",");
    value("thresholds", erf.thresholds != no_erf.thresholds, Some(thresholds));
    let arrangement = ARRANGEMENTS.iter().find(|(known, _)| *known == erf.arrangement);
    value("arrange", erf.arrangement != no_erf.arrangement, arrangement.map(|(_, name)| name.to_string()));
    value("swipe", erf.arrangement == Arrangement::Swipe && erf.swipe != no_erf.swipe, Some(erf.swipe.to_string()));
    let Camera { center: (x, y), zoom } = erf.camera;
    value("camera", erf.camera != no_erf.camera, Some(format!("{x},{y},{zoom}")));
    value("sort", kernels.sort != no_kernels.sort, Some(kernels.sort.name().to_string()));
    value("conflicts", bias.images != no_bias.images, Some(bias.images.to_string()));
    value("category", true, bias.category.map(|index| index.to_string()));
    value("conflict", true, bias.image.map(|index| index.to_string()));
    value("x-axis", look.x_axis == XAxis::Step, Some("step".into()));
    let flags = [
        ("contours", erf.contours),
        ("no-squares", !erf.squares),
        ("show-input", erf.input),
        ("shared-range", erf.shared_range),
        ("merged", kernels.merged),
        ("own-ranges", kernels.own_range),
    ];
    words.extend(flags.into_iter().filter(|(_, on)| *on).map(|(name, _)| Word { name, value: None }));
    words
}
