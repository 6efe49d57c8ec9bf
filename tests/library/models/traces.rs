//! Shapes that networks predict, and images that they refuse.

use super::{build, check_trace, outline, refused, small};
use crate::common::random;
use candle_core::{DType, Device, Tensor};
use kernelscope::nn::{BuildOptions, Mode, Pass};
use kernelscope::zoo::registry;

#[test]
fn traces_predict_the_shapes_of_every_network() {
    for entry in registry() {
        // These of full size differ from the small ones in sizes alone, and would take a minute.
        let network = match entry.config().family() {
            "replknet" | "slak" | "shiftwise" | "resnet" => build(small(entry.name), BuildOptions::shapes_only()),
            _ => outline(entry.name, &[]),
        };
        let stages = match network.spec().config.family() {
            "mobilenetv3" => 6,
            // One per resolution.
            "mobilenetv2" => {
                if entry.name.starts_with("nano") {
                    3
                } else {
                    5
                }
            }
            _ => 4,
        };
        let trace = check_trace(&network, 64, 32);
        assert_eq!(trace.macs(), trace.layers.iter().map(|l| l.macs).sum::<u64>());
        let x = Tensor::zeros((1, 3, 64, 32), DType::F32, &Device::Cpu).unwrap();
        let features = network.forward_features(&x, &mut Pass::new(Mode::Eval)).unwrap();
        assert_eq!(features.stages.len(), stages, "{}", entry.name);
    }
}

#[test]
fn traces_know_where_zeros_and_strides_are() {
    for (name, settings) in [
        ("mobilenetv2-k3", &["padding=same", "kernel=7", "classes=10"][..]),
        ("mobilenetv3-small", &["padding=same", "classes=10"]),
        ("resnet-50", &["stride_in=1x1", "depths=1,2,1,1", "width=8", "classes=10"]),
    ] {
        let network = outline(name, settings);
        for (height, width) in [(64, 32), (65, 33), (66, 71)] {
            check_trace(&network, height, width);
        }
    }
}

#[test]
fn images_below_one_patch_are_refused_by_forward_and_trace() {
    for name in ["nano-2d", "nano-1d", "convmixer-768-32"] {
        let network = outline(name, &[]);
        let side = if name.starts_with("nano") { 16 } else { 6 };
        let error = network.forward(&random("images", &[1, 3, side, side])).unwrap_err().to_string();
        assert!(error.contains("input size"), "{name}: {error}");
        assert!(network.trace(side, side).is_err(), "{name}: the trace accepts {side}x{side}, the network does not");
    }
    let network = outline("nano-2d", &[]);
    for wrong in [&[1, 1, 64, 64][..], &[0, 3, 64, 64], &[3, 64, 64]] {
        let x = Tensor::zeros(wrong, DType::F32, &Device::Cpu).unwrap();
        assert!(network.forward(&x).unwrap_err().to_string().contains("(N, 3, H, W)"), "{wrong:?}");
    }
}

#[test]
fn networks_and_images_too_large_to_count_are_refused() {
    // Every field is allowed here; what they come to together is not.
    let error = refused("convnext-t", "dims=60000");
    for part in ["downsample_layers.1.1.weight", "[60000, 60000, 2, 2]", "1073741824 values"] {
        assert!(error.contains(part), "{error}");
    }
    let network = outline("nano-2d", &[]);
    for (height, width) in [(0, 64), (64, 65_537), (1 << 33, 1 << 33), (usize::MAX, usize::MAX)] {
        let error = network.trace(height, width).unwrap_err().to_string();
        assert!(error.contains(&format!("image size: got {height}x{width}")) && error.contains("65536"), "{error}");
    }
    // At the largest size all counts are as many times those of a small one as there are more pixels.
    for name in ["nano-2d", "nano-1dpp", "mobilenetv3-small"] {
        let macs = |side| {
            let trace = outline(name, &[]).trace(side, side).unwrap();
            trace.layers.iter().filter(|l| l.output.height > 1).map(|l| u128::from(l.macs)).sum::<u128>()
        };
        assert_eq!(macs(65_536), macs(256) << 16, "{name}");
    }
}
