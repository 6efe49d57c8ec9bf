//! Images of any size: the stages have the sizes that PyTorch's convolutions give, or an error says what does not fit.

use super::{build, check_trace, small, spec};
use crate::common::random;
use kernelscope::nn::{BuildOptions, Mode, Pass};
use kernelscope::zoo::convnext::{ConvNextConfig, Stem};
use kernelscope::zoo::shiftwise::{Body, ShiftWiseConfig};
use kernelscope::zoo::{ModelConfig, Network, registry};

/// What one layer does to a side of the image, by PyTorch's formula `(side + 2 padding - kernel) div stride + 1`.
#[derive(Clone, Copy)]
struct Step {
    kernel: usize,
    stride: usize,
    padding: usize,
}

/// Patches that do not overlap.
const fn patch(side: usize) -> Step {
    Step { kernel: side, stride: side, padding: 0 }
}

/// A convolution with an odd kernel, padded by half of it.
const fn same(kernel: usize, stride: usize) -> Step {
    Step { kernel, stride, padding: kernel / 2 }
}

impl Step {
    fn of(self, side: usize) -> usize {
        (side + 2 * self.padding - self.kernel) / self.stride + 1
    }
}

/// The layers of the published code that change the size, before each stage.
fn steps(config: &ModelConfig) -> Vec<Vec<Step>> {
    let (patches, halves) =
        ([vec![patch(2)], vec![patch(2)], vec![patch(2)]], [vec![same(3, 2)], vec![same(3, 2)], vec![same(3, 2)]]);
    let stages = |stem: Vec<Step>, others: [Vec<Step>; 3]| [vec![stem], others.to_vec()].concat();
    match config.family() {
        "convnext" => {
            let config: &ConvNextConfig = config.downcast_ref().unwrap();
            let stem = match config.stem {
                Stem::Patch => vec![patch(4)],
                Stem::Oriented1d => vec![same(5, 4)],
                Stem::Depthwise1d | Stem::Depthwise2d => vec![same(config.stem_kernel | 1, 2); 2],
            };
            stages(stem, patches)
        }
        "slak" => stages(vec![patch(4)], patches),
        "shiftwise" => match config.downcast_ref::<ShiftWiseConfig>().unwrap().body {
            Body::V1 => stages(vec![patch(4)], patches),
            Body::V2 => stages(vec![same(3, 2); 2], halves),
        },
        "replknet" => stages(vec![same(3, 2); 2], halves),
        "resnet" => stages(vec![same(7, 2), same(3, 2)], halves),
        "convmixer" => vec![vec![patch(7)], vec![], vec![], vec![]],
        "mobilenetv3" => {
            vec![vec![same(3, 2); 2], vec![same(3, 2)], vec![same(5, 2)], vec![], vec![same(5, 2)], vec![]]
        }
        // One stage per resolution.
        "mobilenetv2" => vec![vec![same(3, 2)]; 5],
        other => panic!("{other}"),
    }
}

fn any_size(name: &str) -> Network {
    let mut spec = small(name);
    if spec.config.family() == "convnext" {
        spec = spec.with_overrides(&["arbitrary_size=true"]).unwrap();
    }
    build(spec, BuildOptions::frozen())
}

#[test]
fn every_network_takes_images_of_any_size() {
    for entry in registry() {
        let network = any_size(entry.name);
        for (height, width) in [(47, 65), (64, 33), (50, 96)] {
            check_trace(&network, height, width);
            let x = random("images", &[1, 3, height, width]);
            let stages = network.forward_features(&x, &mut Pass::new(Mode::Eval)).unwrap().stages;
            let (mut rows, mut columns) = (height, width);
            let steps = steps(&network.spec().config);
            assert!(steps.len() >= stages.len(), "{}", entry.name);
            for (stage, (map, steps)) in stages.iter().zip(steps).enumerate() {
                (rows, columns) = steps.iter().fold((rows, columns), |(h, w), step| (step.of(h), step.of(w)));
                let dims = &map.dims()[2..];
                assert_eq!(dims, [rows, columns], "{}: stage {stage} of an image of {height}x{width}", entry.name);
            }
        }
    }
}

#[test]
fn the_smallest_images_are_those_of_one_position() {
    for (name, least) in [("nano-2d", 29), ("nano-slak", 32), ("nano-replk", 1), ("nano-mbv2", 1), ("resnet-50", 1)] {
        let network = any_size(name);
        check_trace(&network, least, least);
        if least > 1 {
            let error = network.trace(least, least - 1).unwrap_err().to_string();
            let images = format!("for images of {least}x{}", least - 1);
            assert!(error.contains("input size of downsample_layers.3") && error.contains(&images), "{name}: {error}");
            assert!(error.contains("at least 2x2"), "{name}: {error}");
        }
    }
}

#[test]
fn a_refused_size_names_the_side_the_layer_and_what_helps() {
    for (stem, layer, stride) in [("depthwise-1d", "dw1", 2), ("oriented-1d", "0", 4)] {
        let network = build(spec("nano-1d", &[&format!("stem={stem}")]), BuildOptions::frozen());
        for ((height, width), side) in
            [((65, 64), "a height"), ((64, 98), "a width"), ((65, 97), "a height and a width")]
        {
            // 98 is a multiple of the first stride of 2, but not of the second.
            let layer = if width == 98 && stride == 2 { "dw2" } else { layer };
            let x = random("images", &[1, 3, height, width]);
            let (ran, traced) = (network.forward(&x).unwrap_err(), network.trace(height, width).unwrap_err());
            assert_eq!(ran.to_string(), traced.to_string());
            let error = ran.to_string();
            for part in
                [&format!("downsample_layers.0.{layer}"), side, &format!("stride {stride}"), "arbitrary_size=true"]
            {
                assert!(error.contains(part), "{stem}, {height}x{width}: no {part:?} in {error}");
            }
        }
    }
}
