//! `kernelscope orientations`.

use super::network::NetworkArgs;
use super::output::{print_json, say, table};
use kernelscope::analysis::kernels::kernel_layers;
use kernelscope::analysis::orientation::orientations;
use kernelscope::analysis::report::LayerOrientation;
use kernelscope::{Error, Result};
use kernelscope_lab::plot::{self, OrientationHistogram, PolarOrientation};
use kernelscope_lab::report::{kernel_grid, oriented_taps};
use kernelscope_lab::save;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  kernelscope orientations --run runs/first --output orientations/\n  \
    kernelscope orientations --model convnext-t-1d --weights convnext_tiny_1d_best.pth --json\n\n\
    The output folder gets orientations.csv and figures: a histogram per layer, a polar histogram, the oriented taps\n\
    on the pixel grid, and the learned kernels of every layer.")]
pub struct Args {
    #[command(flatten)]
    network: NetworkArgs,
    /// Folder for a table of every channel and the figures
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub fn run(args: &Args) -> Result<()> {
    let loaded = args.network.load()?;
    let kernels = kernel_layers(&loaded.network.params().tensors())?;
    let layers: Vec<LayerOrientation> = kernels.iter().map(orientations).collect();
    if layers.is_empty() {
        return Err(Error::argument("network", &loaded.network.spec().name, "a network with depthwise convolutions"));
    }
    if let Some(dir) = &args.output {
        std::fs::create_dir_all(dir).map_err(Error::io("create", dir))?;
        save::orientations(&dir.join("orientations.csv"), &layers)?;
        plot::save(&OrientationHistogram { layers: layers.clone(), bins: 16 }, &dir.join("orientations"))?;
        let title = format!("{}, all layers", loaded.network.spec().name);
        let channels = layers.iter().flat_map(|l| l.channels.clone()).collect();
        plot::save(&PolarOrientation { title, channels, bins: 16 }, &dir.join("orientations-polar"))?;
        if let Some(taps) = oriented_taps(&kernels) {
            plot::save(&taps, &dir.join("oriented-taps"))?;
        }
        for layer in &kernels {
            plot::save(&kernel_grid(layer), &dir.join(format!("kernels-{}", layer.path.replace('.', "-"))))?;
        }
    }
    if args.json {
        return print_json(&layers);
    }
    let rows = layers
        .iter()
        .zip(&kernels)
        .map(|(layer, kernel)| {
            let count = layer.channels.len() as f64;
            let mut built: Vec<i64> =
                layer.channels.iter().filter_map(|c| c.built.map(|b| (b * 10.0).round() as i64)).collect();
            built.sort_unstable();
            built.dedup();
            let turn = mean(layer.channels.iter().filter_map(|c| Some(turn_between(c.built?, c.dominant?))));
            vec![
                layer.path.clone(),
                kernel.taps().to_string(),
                layer.channels.len().to_string(),
                if built.is_empty() { "–".into() } else { built.len().to_string() },
                format!("{:.3}", layer.channels.iter().map(|c| c.anisotropy).sum::<f64>() / count),
                turn.map_or("–".into(), |t| format!("{t:.1}")),
            ]
        })
        .collect();
    say(table(&["layer", "taps", "channels", "directions", "anisotropy", "turn/deg"], rows))?;
    say("turn: mean angle between the built and the learned orientation.")
}

/// Angle between two orientations in degrees, at most 90.
fn turn_between(a: f64, b: f64) -> f64 {
    let turn = (a - b).abs() % 180.0;
    turn.min(180.0 - turn)
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0usize), |(sum, count), v| (sum + v, count + 1));
    (count > 0).then(|| sum / count as f64)
}
