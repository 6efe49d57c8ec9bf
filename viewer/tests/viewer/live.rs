//! Work on threads, as in the window: maps that grow image by image, cancellation, and what is remembered.

use crate::support::{messages, program, run, run_all, runs, settings};
use eframe::egui;
use kernelscope_viewer::Viewer;
use kernelscope_viewer::command::Command;
use kernelscope_viewer::jobs::ThreadRunner;
use kernelscope_viewer::state::{Arrangement, ErfLook, KernelSort, Settings, View, XAxis};
use std::time::{Duration, Instant};

/// Lets the program settle until something holds.
fn until(viewer: &mut Viewer, what: &str, holds: impl Fn(&Viewer) -> bool) {
    let start = Instant::now();
    while !holds(viewer) {
        assert!(start.elapsed() < Duration::from_secs(300), "{what}: {:?}", messages(viewer));
        std::thread::sleep(Duration::from_millis(5));
        viewer.settle();
    }
}

#[test]
fn a_field_grows_image_by_image_and_its_work_can_be_canceled() {
    let ctx = egui::Context::default();
    let look = ErfLook { size: 64, images: 100_000, ..ErfLook::default() };
    let settings = Settings { erf: look, ..settings() };
    let mut viewer = Viewer::new(&ctx, settings, Box::new(ThreadRunner::default()));
    viewer.show_only(&[View::Erf]);
    viewer.run(&ctx, Command::Open(runs().join("line").into()));
    // A thousand images are enough to see it at work; the built-in ones are drawn in advance.
    viewer.run(&ctx, Command::SetImages(1000));
    let images =
        |viewer: &Viewer| viewer.state.entries.first().and_then(|e| e.erf.as_ref()).map_or(0, |erf| erf.map.images);
    until(&mut viewer, "the first image", |viewer| images(viewer) > 0);
    let early = images(&viewer);
    until(&mut viewer, "further images", |viewer| images(viewer) > early);
    let running = viewer.state.running.clone();
    assert!(
        running.iter().any(|job| job.label.contains("line") && job.progress.done > 0 && job.progress.all == 1000),
        "{running:?}"
    );
    viewer.run(&ctx, Command::Cancel);
    assert!(viewer.is_idle() && viewer.state.running.is_empty());
    let left = images(&viewer);
    assert!(left < 1000, "nothing was left to cancel");
    std::thread::sleep(Duration::from_millis(300));
    viewer.settle();
    assert_eq!(images(&viewer), left, "canceled work still reports");
    // What was there stays, and the same can be asked for again.
    viewer.run(&ctx, Command::Recompute);
    until(&mut viewer, "work anew", |viewer| viewer.state.running.iter().any(|job| job.progress.done > 0));
    viewer.run(&ctx, Command::Cancel);
}

#[test]
fn settings_and_layout_are_remembered() {
    let mut harness = program(settings(), (1200.0, 800.0));
    run(&mut harness, Command::Open(runs().join("line").into()));
    harness.state_mut().show_only(&[View::Kernels, View::Training]);
    run_all(
        &mut harness,
        [
            Command::ToggleTheme,
            Command::SortKernels(KernelSort::Anisotropy),
            Command::Arrange(Arrangement::Swipe),
            Command::SetXAxis(XAxis::Step),
            Command::SetConflicts(72),
            Command::SetCategory(Some(1)),
            Command::SetPosition(Some((0, 0))),
            Command::SetImages(3),
        ],
    );
    let text = serde_json::to_string(&harness.state().settings()).unwrap();
    let harness = program(serde_json::from_str(&text).unwrap(), (1200.0, 800.0));
    let state = &harness.state().state;
    assert_eq!(harness.state().visible(), [View::Kernels, View::Training]);
    assert!(!state.settings.dark);
    assert_eq!((state.look.kernels.sort, state.look.x_axis), (KernelSort::Anisotropy, XAxis::Step));
    assert_eq!((state.look.erf.arrangement, state.look.erf.images), (Arrangement::Swipe, 3));
    assert!(state.settings.recent.iter().any(|source| source.path == runs().join("line")));
    // What belongs to one network is not.
    assert_eq!((state.look.erf.position, state.look.bias.category), (None, None));
    assert_eq!(state.look.bias.images, 72);
    assert!(state.entries.is_empty());
}
