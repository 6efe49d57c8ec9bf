//! Kernels and their orientations in real networks.

use super::frozen;
use kernelscope::analysis::kernels::kernel_layers;
use kernelscope::analysis::orientation::orientations;
use kernelscope::analysis::report::{KernelLayer, KernelShape};
use kernelscope::ops::oriented1d::{channel_angles, tap_offsets};
use kernelscope_lab::report::{kernel_grid, oriented_taps};
use std::f32::consts::FRAC_PI_4;

pub(super) fn layers_of(name: &str, overrides: &[&str]) -> Vec<KernelLayer> {
    kernel_layers(&frozen(name, overrides).params().tensors()).unwrap()
}

fn paths(layers: &[KernelLayer]) -> Vec<&str> {
    layers.iter().map(|l| l.path.as_str()).collect()
}

#[test]
fn depthwise_layers_are_found() {
    let blocks =
        ["stages.0.0.dwconv", "stages.1.0.dwconv", "stages.2.0.dwconv", "stages.2.1.dwconv", "stages.3.0.dwconv"];
    let stem = ["downsample_layers.0.dw1", "downsample_layers.0.dw2"];
    let oriented = layers_of("nano-1d", &[]);
    assert_eq!(paths(&oriented), [&stem[..], &blocks].concat());
    for layer in &oriented {
        let KernelShape::Oriented { taps, theta } = &layer.shape else { panic!("{} is dense", layer.path) };
        assert_eq!((theta.len(), layer.weights.len()), (layer.channels, layer.channels * taps), "{}", layer.path);
    }
    let dense = layers_of("nano-2d", &[]);
    assert_eq!(paths(&dense), [&stem[..], &blocks].concat());
    assert_eq!(paths(&layers_of("nano-2d", &["stem=patch"])), blocks, "the patch stem is not depthwise");
    assert!(dense.iter().all(|l| l.shape == KernelShape::Dense { height: 7, width: 7 }));
    assert_eq!(paths(&layers_of("nano-2d", &["stem=oriented-1d"])), blocks, "nor is the dense oriented stem");
    let both = layers_of("nano-1dpp", &[]);
    assert_eq!(both.len(), 2 + 2 * 5);
    let second = both.iter().find(|l| l.path == "stages.0.0.dwconv2").unwrap();
    assert_eq!((second.channels, second.taps()), (128, 15));
    let mixer = layers_of("convmixer-768-32", &["dim=8", "depth=2"]);
    assert_eq!(paths(&mixer), ["blocks.0.0.fn.0", "blocks.1.0.fn.0"]);
}

#[test]
fn orientations_of_a_network() {
    for layer in layers_of("nano-1d", &[]) {
        let found = orientations(&layer);
        assert_eq!((found.path.as_str(), found.channels.len()), (layer.path.as_str(), layer.channels));
        for (index, channel) in found.channels.iter().enumerate() {
            let built = channel.built.unwrap();
            assert!((built / 22.5 - (built / 22.5).round()).abs() < 1e-5, "{}: {built}", layer.path);
            let energy: f64 = layer.channel(index).iter().map(|w| f64::from(*w).powi(2)).sum();
            assert!((channel.energy - energy).abs() < 1e-9 * energy.max(1e-9));
            // Whatever the weights, all taps lie near one line, so the kernel points along it.
            let turn = (built - channel.dominant.unwrap()).abs();
            assert!(turn.min(180.0 - turn) < 30.0, "{} channel {index}: {built} {:?}", layer.path, channel.dominant);
            assert!((0.0..=1.0 + 1e-9).contains(&channel.anisotropy), "{}", channel.anisotropy);
        }
    }
    for layer in layers_of("nano-2d", &[]) {
        assert!(orientations(&layer).channels.iter().all(|c| c.built.is_none() && c.dominant.is_some()));
    }
}

#[test]
fn pixels_add_up_taps_that_meet() {
    let weights: Vec<f32> = vec![1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0];
    let shape = KernelShape::Oriented { taps: 7, theta: vec![FRAC_PI_4, 0.0] };
    let layer = KernelLayer { path: "x".into(), channels: 2, shape, weights };
    let kernel = layer.pixels(0);
    assert_eq!((kernel.height, kernel.width), (7, 7));
    // At 45 degrees, taps 2, 3 and 4 are all truncated to the center.
    let at = |row: usize, col: usize| kernel.values[row * 7 + col];
    assert_eq!([at(5, 1), at(4, 2), at(3, 3), at(2, 4), at(1, 5)], [1.0, 2.0, 28.0, 32.0, 64.0]);
    assert_eq!(kernel.tapped.iter().filter(|t| **t).count(), 5);
    let row = layer.pixels(1);
    assert!((0..7).all(|col| row.values[3 * 7 + col] == 1.0), "theta = 0 is a row");
    for layer in layers_of("nano-1d", &[]) {
        let KernelShape::Oriented { theta, .. } = &layer.shape else { panic!() };
        for channel in [0, layer.channels / 2, layer.channels - 1] {
            let kernel = layer.pixels(channel);
            let sum: f32 = kernel.values.iter().sum();
            let direct: f32 = layer.channel(channel).iter().sum();
            assert!((sum - direct).abs() < 1e-5, "{} channel {channel}: {sum} {direct}", layer.path);
            for (i, tapped) in kernel.tapped.iter().enumerate() {
                let (dh, dw) = ((i / kernel.width) as i32, (i % kernel.width) as i32);
                let (dh, dw) = (dh - (kernel.height / 2) as i32, dw - (kernel.width / 2) as i32);
                let hit = tap_offsets(theta[channel], layer.taps()).iter().any(|t| (t.dh, t.dw) == (dh, dw));
                assert_eq!(*tapped, hit, "{} channel {channel} at ({dh}, {dw})", layer.path);
            }
        }
    }
}

#[test]
fn figures_of_kernels_show_every_direction() {
    let oriented = |channels: usize, theta: Vec<f32>| {
        let shape = KernelShape::Oriented { taps: 3, theta };
        KernelLayer { path: "x".into(), channels, shape, weights: vec![1.0; 3 * channels] }
    };
    // Neighboring channels share their angle: the first 64 of 512 have one of the eight.
    let theta = channel_angles(512, 8, 0.0).unwrap();
    let grid = kernel_grid(&oriented(512, theta.clone()));
    let mut shown: Vec<f32> = grid.kernels.iter().map(|(channel, _)| theta[*channel]).collect();
    shown.dedup();
    assert_eq!((grid.kernels.len(), shown.len()), (64, 8));
    assert!(grid.kernels.iter().all(|(_, kernel)| kernel.values.iter().sum::<f32>() == 3.0));
    assert_eq!(kernel_grid(&oriented(3, vec![0.0; 3])).kernels.len(), 3);
    // Layers whose angles are too few, too many or no numbers.
    assert_eq!(oriented_taps(&[oriented(4, vec![0.0, 1.0])]).unwrap().layers[0].1.len(), 2);
    assert_eq!(oriented_taps(&[oriented(1, vec![0.0, 1.0, f32::NAN])]).unwrap().layers[0].1.len(), 2);
    assert_eq!(oriented_taps(&[oriented(1, vec![f32::NAN])]), None);
    assert_eq!(kernel_grid(&oriented(4, vec![0.0])).kernels.len(), 4);
}
