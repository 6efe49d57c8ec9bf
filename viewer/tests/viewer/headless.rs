//! Exports, by the library and by the command without a window.

use crate::support::{checkpoint, messages, opened, run, runs};
use assert_cmd::Command as Process;
use kernelscope_viewer::command::Command;
use kernelscope_viewer::state::View;
use predicates::prelude::*;

fn viewer() -> Process {
    Process::new(assert_cmd::cargo::cargo_bin!("kernelscope-viewer"))
}

#[test]
fn every_view_exports_a_figure_and_its_data_with_the_recipe() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = opened(&[runs()]);
    run(&mut harness, Command::Show(View::ShapeBias));
    run(&mut harness, Command::Show(View::Sparsity));
    let hash = harness.state().state.current().unwrap().hash.clone().unwrap();
    for view in View::ALL.into_iter().filter(|view| *view != View::Messages) {
        for ending in ["png", "svg", "csv"] {
            let path = folder.path().join(format!("{}.{ending}", view.name()));
            run(&mut harness, Command::Export(view, path.clone()));
            let bytes =
                std::fs::read(&path).unwrap_or_else(|_| panic!("{view:?} {ending}: {:?}", messages(harness.state())));
            let text = String::from_utf8_lossy(&bytes);
            for part in ["sha256", &hash, "date", "kernelscope view "] {
                assert!(text.contains(part), "{view:?} {ending} does not name {part}");
            }
        }
    }
    let erf = std::fs::read_to_string(folder.path().join("erf.csv")).unwrap();
    assert!(erf.contains("# transfer: ") && erf.contains("# probe: stage "), "{}", &erf[..400]);
    // One line per row of both maps, after the recipe and the header.
    let lines = erf.lines().filter(|line| !line.starts_with("# ")).count();
    assert_eq!(lines, 1 + 2 * 64);
    run(&mut harness, Command::Export(View::Erf, folder.path().join("erf.pdf")));
    assert!(messages(harness.state()).pop().unwrap().contains(".png, .svg or .csv"));
    run(&mut harness, Command::Export(View::Messages, folder.path().join("m.png")));
    assert!(messages(harness.state()).pop().unwrap().contains("allowed: a figure"));
}

#[test]
fn a_script_exports_without_a_window() {
    let folder = tempfile::tempdir().unwrap();
    let png = folder.path().join("erf.png");
    let line = runs().join("line");
    let mut command = viewer();
    command.arg(&line).args(["--headless", "--view", "erf", "--size", "64", "--images", "1", "--export"]).arg(&png);
    command.env_remove("DISPLAY").env_remove("WAYLAND_DISPLAY").assert().success();
    let image = image::open(&png).unwrap();
    assert_eq!(image.width(), 960);
    let shot = folder.path().join("window.png");
    let mut command = viewer();
    command.arg(&line).args(["--headless", "--size", "64", "--images", "1", "--window", "900x600", "--screenshot"]);
    command.arg(&shot).assert().success();
    let image = image::open(&shot).unwrap();
    assert_eq!((image.width(), image.height()), (900, 600));
}

#[test]
fn mistakes_of_a_script_are_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("plain.safetensors");
    checkpoint(&plain, "nano-1d", false);
    let plain = plain.to_str().unwrap();
    let out = folder.path().join("out.png");
    let out = out.to_str().unwrap();
    for (args, part) in [
        (&["--headless", "--export", out][..], "PATH: got nothing"),
        (&["absent", "--headless", "--export", out], "cannot open absent"),
        (&[plain, "--headless", "--export", out], "no receptive field to export: plain: cannot show network"),
        (&[plain, "--headless"], "nothing to write"),
        (&[plain, "--headless", "--view", "kernels", "--export", "out.pdf"], ".png, .svg or .csv"),
    ] {
        let text = predicate::str::contains(part).and(predicate::str::starts_with("kernelscope view: "));
        viewer().args(args).assert().code(1).stderr(text);
    }
    for (args, part) in [
        (&["--view", "cellar"][..], "allowed: network, erf"),
        (&["--transfer", "power:9"], "exponent from 0.05 to 3"),
        (&["--export", "a.png"], "--headless"),
        (&["--window", "10x10"], "WIDTHxHEIGHT"),
    ] {
        viewer().args(args).assert().code(2).stderr(predicate::str::contains(part));
    }
}
