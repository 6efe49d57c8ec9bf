//! Colours on the screen against the values they stand for.

use crate::support::{opened, program, run, runs, settings};
use eframe::egui::{Pos2, Rect, vec2};
use egui_kittest::kittest::Queryable;
use kernelscope::plot::{Colormap, ErfScale};
use kernelscope_viewer::command::Command;
use kernelscope_viewer::state::{ErfLook, Transfer, View};

/// The largest difference of a painted colour from an expected one.
fn distance(image: &image::RgbaImage, at: Pos2, expected: [u8; 3]) -> u8 {
    let pixel = image.get_pixel(at.x as u32, at.y as u32).0;
    (0..3).map(|i| pixel[i].abs_diff(expected[i])).max().unwrap()
}

/// The point of the screen in the middle of a pixel of the map.
fn middle(area: Rect, side: usize, row: usize, column: usize) -> Pos2 {
    area.min + area.size() * vec2((column as f32 + 0.5) / side as f32, (row as f32 + 0.5) / side as f32)
}

#[test]
fn the_pixels_of_a_map_have_the_colours_of_their_values() {
    let mut harness = opened(&[&runs().join("line")]);
    harness.state_mut().show_only(&[View::Erf]);
    for (transfer, scale) in
        [(Transfer::Log, ErfScale::Log), (Transfer::Linear, ErfScale::Linear), (Transfer::Power, ErfScale::Power(0.4))]
    {
        let look = ErfLook { transfer, gamma: 0.4, squares: false, ..harness.state().state.look.erf.clone() };
        run(&mut harness, Command::SetErf(Box::new(look)));
        harness.remove_cursor();
        harness.run_steps(2);
        let area = harness.get_by_label("Receptive field of line").rect();
        let image = harness.render().unwrap();
        let erf = harness.state().state.entries[0].erf.as_ref().unwrap();
        let values = scale.apply(&erf.map.contribution, scale.peak(&erf.map.contribution));
        let mut different = std::collections::BTreeSet::new();
        // The centre carries the mark of the probed position; its neighbours do not.
        for (row, column) in [(24, 24), (20, 40), (40, 20), (2, 2), (45, 45), (31, 22)] {
            let expected = Colormap::Magma.at(values[row * 64 + column]);
            different.insert(expected);
            let found = distance(&image, middle(area, 64, row, column), expected);
            assert!(found <= 2, "{transfer:?} row {row}, column {column}: off by {found}");
        }
        assert!(different.len() > 2, "all places look the same");
    }
}

#[test]
fn the_centre_of_a_peaked_matrix_is_the_brightest_colour() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("peak.npy");
    let values: Vec<f32> = (0..33 * 33).map(|i| if i == 16 * 33 + 16 { 5.0 } else { 0.0 }).collect();
    candle_core::Tensor::from_vec(values, (33, 33), &candle_core::Device::Cpu).unwrap().write_npy(&path).unwrap();
    let mut harness = program(settings(), (800.0, 700.0));
    run(&mut harness, Command::Open(path, None));
    harness.state_mut().show_only(&[View::Erf]);
    run(&mut harness, Command::ToggleSquares);
    let area = harness.get_by_label("Receptive field of peak").rect();
    let image = harness.render().unwrap();
    assert!(distance(&image, middle(area, 33, 16, 16), Colormap::Magma.at(1.0)) <= 2);
    assert!(distance(&image, middle(area, 33, 16, 20), Colormap::Magma.at(0.0)) <= 2);
    // Zoomed in, the peak is larger and still in the middle.
    let camera = kernelscope_viewer::state::Camera { centre: (0.5, 0.5), zoom: 8.0 };
    run(&mut harness, Command::SetCamera(camera));
    let image = harness.render().unwrap();
    assert!(distance(&image, area.center() + vec2(area.width() / 33.0 * 3.0, 0.0), Colormap::Magma.at(1.0)) <= 2);
}
