//! Colors on the screen against the values they stand for.

use crate::support::{opened, program, run, run_all, runs, settings};
use eframe::egui::{Pos2, Rect, vec2};
use egui_kittest::kittest::Queryable;
use kernelscope_lab::plot::Colormap;
use kernelscope_viewer::command::Command;
use kernelscope_viewer::state::{Arrangement, Transfer, View};

/// What a contribution becomes before it is divided by the largest.
type Of = fn(f64) -> f64;

/// The largest difference of a painted color from an expected one.
fn distance(image: &image::RgbaImage, at: Pos2, expected: [u8; 3]) -> u8 {
    let pixel = image.get_pixel(at.x as u32, at.y as u32).0;
    (0..3).map(|i| pixel[i].abs_diff(expected[i])).max().unwrap()
}

/// The point of the screen in the middle of a pixel of the map.
fn middle(area: Rect, side: usize, row: usize, column: usize) -> Pos2 {
    area.min + area.size() * vec2((column as f32 + 0.5) / side as f32, (row as f32 + 0.5) / side as f32)
}

#[test]
fn the_pixels_of_a_map_have_the_colors_of_their_values() {
    let mut harness = opened(&[&runs().join("line")]);
    harness.state_mut().show_only(&[View::Erf]);
    run(&mut harness, Command::ToggleSquares);
    let transfers: [(Transfer, Of); 3] =
        [(Transfer::Log, |a| (a + 1.0).log10()), (Transfer::Linear, |a| a), (Transfer::Power, |a| a.powf(0.4))];
    for (transfer, of) in transfers {
        run_all(&mut harness, [Command::SetTransfer(transfer), Command::SetGamma(0.4)]);
        harness.remove_cursor();
        harness.run_steps(2);
        let area = harness.get_by_label("Receptive field of line").rect();
        let image = harness.render().unwrap();
        let erf = harness.state().state.entries[0].erf.as_ref().unwrap();
        let values: Vec<f64> = erf.map.contribution.iter().map(|&a| of(f64::from(a))).collect();
        let peak = values.iter().copied().fold(0.0, f64::max);
        let mut different = std::collections::BTreeSet::new();
        // The center carries the mark of the probed position; its neighbors do not.
        for (row, column) in [(24, 24), (20, 40), (40, 20), (2, 2), (45, 45), (31, 22)] {
            let expected = Colormap::Magma.at(values[row * 64 + column] / peak);
            different.insert(expected);
            let found = distance(&image, middle(area, 64, row, column), expected);
            assert!(found <= 2, "{transfer:?} row {row}, column {column}: off by {found}");
        }
        assert!(different.len() > 2, "all places look the same");
    }
}

#[test]
fn the_center_of_a_peaked_matrix_is_the_brightest_color() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("peak.npy");
    let values: Vec<f32> = (0..33 * 33).map(|i| if i == 16 * 33 + 16 { 5.0 } else { 0.0 }).collect();
    candle_core::Tensor::from_vec(values, (33, 33), &candle_core::Device::Cpu).unwrap().write_npy(&path).unwrap();
    let mut harness = program(settings(), (800.0, 700.0));
    run(&mut harness, Command::Open(path.into()));
    harness.state_mut().show_only(&[View::Erf]);
    run(&mut harness, Command::ToggleSquares);
    let area = harness.get_by_label("Receptive field of peak").rect();
    let image = harness.render().unwrap();
    assert!(distance(&image, middle(area, 33, 16, 16), Colormap::Magma.at(1.0)) <= 2);
    assert!(distance(&image, middle(area, 33, 16, 20), Colormap::Magma.at(0.0)) <= 2);
    // Zoomed in, the peak is larger and still in the middle.
    let camera = kernelscope_viewer::state::Camera { center: (0.5, 0.5), zoom: 8.0 };
    run(&mut harness, Command::SetCamera(camera));
    let image = harness.render().unwrap();
    assert!(distance(&image, area.center() + vec2(area.width() / 33.0 * 3.0, 0.0), Colormap::Magma.at(1.0)) <= 2);
}

/// A matrix with one value in its middle, on disk.
fn peaked(folder: &std::path::Path, name: &str, peak: f32) -> std::path::PathBuf {
    let path = folder.join(name);
    let values: Vec<f32> = (0..33 * 33).map(|i| if i == 16 * 33 + 16 { peak } else { 0.0 }).collect();
    candle_core::Tensor::from_vec(values, (33, 33), &candle_core::Device::Cpu).unwrap().write_npy(&path).unwrap();
    path
}

#[test]
fn a_shared_range_a_swipe_and_a_difference_have_the_colors_of_both_maps() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = program(settings(), (1000.0, 700.0));
    for (name, peak) in [("weak.npy", 2.0), ("strong.npy", 4.0)] {
        run(&mut harness, Command::Open(peaked(folder.path(), name, peak).into()));
    }
    harness.state_mut().show_only(&[View::Erf]);
    let linear = Command::SetTransfer(Transfer::Linear);
    run_all(&mut harness, [linear, Command::ToggleSquares, Command::ToggleSharedRange]);
    harness.remove_cursor();
    harness.run_steps(2);
    let image = harness.render().unwrap();
    for (label, value) in [("weak", 0.5), ("strong", 1.0)] {
        let area = harness.get_by_label(&format!("Receptive field of {label}")).rect();
        let at = middle(area, 33, 16, 16);
        assert!(distance(&image, at, Colormap::Magma.at(value)) <= 2, "{label}");
    }
    // The border of the swipe is left, then right of the peak: the second map is seen, then the first.
    for (swipe, value) in [(0.25, 1.0), (0.75, 0.5)] {
        run_all(&mut harness, [Command::Arrange(Arrangement::Swipe), Command::SetSwipe(swipe)]);
        let area = harness.get_by_label("Receptive fields, swiped").rect();
        let image = harness.render().unwrap();
        assert!(distance(&image, middle(area, 33, 16, 16), Colormap::Magma.at(value)) <= 2, "swipe at {swipe}");
    }
    run(&mut harness, Command::Arrange(Arrangement::Difference));
    let area = harness.get_by_label("Difference of receptive fields").rect();
    let image = harness.render().unwrap();
    // (2 - 4) / 4 is the largest difference there is, and negative.
    assert!(distance(&image, middle(area, 33, 16, 16), Colormap::Diverging.at(0.0)) <= 2);
    assert!(distance(&image, middle(area, 33, 3, 3), Colormap::Diverging.at(0.5)) <= 2);
}

#[test]
fn taps_have_the_colors_of_their_weights_in_a_symmetric_range() {
    let mut harness = opened(&[&runs().join("line")]);
    harness.state_mut().show_only(&[View::Kernels]);
    run(&mut harness, Command::GoTo("stages.0.0.dwconv:5".parse().unwrap()));
    harness.remove_cursor();
    harness.run_steps(2);
    let area = harness.get_by_label("Kernel stages.0.0.dwconv:5").rect();
    let image = harness.render().unwrap();
    let entry = &harness.state().state.entries[0];
    let (_, layer) = harness.state().state.kernel_layer(entry).unwrap();
    let largest = layer.weights.iter().fold(0.0f32, |largest, weight| largest.max(weight.abs()));
    let kernel = layer.pixels(5);
    let (mut signs, mut empty) = (std::collections::BTreeSet::new(), 0);
    for row in 0..kernel.height {
        for column in 0..kernel.width {
            let index = row * kernel.width + column;
            let at = middle(area, kernel.width, row, column);
            if !kernel.tapped[index] {
                empty += usize::from(distance(&image, at, [48; 3]) <= 2);
                continue;
            }
            let value = kernel.values[index];
            signs.insert(value > 0.0);
            let expected = Colormap::Diverging.at(0.5 + 0.5 * f64::from(value / largest));
            assert!(distance(&image, at, expected) <= 2, "row {row}, column {column}: {value}");
        }
    }
    let tapped = kernel.tapped.iter().filter(|&&tapped| tapped).count();
    assert!(tapped > 10);
    assert_eq!((signs.len(), empty), (2, kernel.tapped.len() - tapped), "both signs, and gray where there is no tap");
}
