//! Exports, by the library and by the command without a window.

use crate::support::{checkpoint, messages, opened, pruned, run, runs};
use assert_cmd::Command as Process;
use kernelscope_viewer::command::{Command, Target};
use kernelscope_viewer::state::{Arrangement, Figure, KernelSort, View};
use predicates::prelude::*;

fn viewer() -> Process {
    Process::new(assert_cmd::cargo::cargo_bin!("kernelscope-viewer"))
}

#[test]
fn every_figure_is_exported_with_its_data_and_recipe() {
    let folder = tempfile::tempdir().unwrap();
    let parallel = folder.path().join("parallel.safetensors");
    pruned(&parallel, "nano-slak");
    let mut harness = opened(&[runs(), &parallel]);
    run(&mut harness, Command::Show(View::ShapeBias));
    // The dense run has oriented layers, the sparse one masks, and the third network kernels that are added up.
    let mut written = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let hash = harness.state().state.current().unwrap().hash.clone().unwrap();
        for figure in Figure::ALL {
            for ending in ["png", "svg", "csv"] {
                let path = folder.path().join(format!("{}.{ending}", figure.name()));
                let _ = std::fs::remove_file(&path);
                run(&mut harness, Command::Export(Target { figure, path: path.clone() }));
                let Ok(bytes) = std::fs::read(&path) else {
                    let said = messages(harness.state()).pop().unwrap();
                    assert!(said.contains("there is no ") && said.contains("to export"), "{figure:?}: {said}");
                    continue;
                };
                written.insert(figure.name());
                let text = String::from_utf8_lossy(&bytes);
                let option = format!("--figure {}", figure.name());
                // Curves are those of runs, whatever is looked at.
                let own = if figure == Figure::Curves { "sha256" } else { hash.as_str() };
                for part in ["sha256", own, "date", "kernelscope view --fresh ", &option] {
                    assert!(text.contains(part), "{figure:?} {ending} does not name {part}");
                }
            }
        }
        run(&mut harness, Command::NextEntry);
    }
    let missing: Vec<&str> = Figure::ALL.map(Figure::name).into_iter().filter(|name| !written.contains(name)).collect();
    assert_eq!(missing, [""; 0]);
    let erf = std::fs::read_to_string(folder.path().join("erf.csv")).unwrap();
    for part in ["# transfer: contribution, log10", "# probe: stage 3, position 1,1 of 2x2", "# input: built-in images"]
    {
        assert!(erf.contains(part), "{part}: {}", &erf[..900]);
    }
    // One line per row of the three maps, after the recipe and the header.
    let lines = erf.lines().filter(|line| !line.starts_with("# ")).count();
    assert_eq!(lines, 1 + 3 * 64);
    run(&mut harness, Command::Export(Target { figure: Figure::Erf, path: folder.path().join("erf.pdf") }));
    assert!(messages(harness.state()).pop().unwrap().contains(".png, .svg, or .csv"));
}

#[test]
fn exports_show_what_the_view_shows() {
    let folder = tempfile::tempdir().unwrap();
    let mut harness = opened(&[runs()]);
    let read = |harness: &mut egui_kittest::Harness<'static, kernelscope_viewer::Viewer>, figure| {
        let path = folder.path().join("data.csv");
        run(harness, Command::Export(Target { figure, path: path.clone() }));
        let text = std::fs::read_to_string(&path).unwrap();
        text.lines().filter(|line| !line.starts_with("# ")).map(str::to_string).collect::<Vec<String>>()
    };
    run(&mut harness, Command::Arrange(Arrangement::Difference));
    let rows = read(&mut harness, Figure::Erf);
    assert_eq!(rows.len(), 65, "a difference is one map");
    assert!(rows.iter().skip(1).any(|row| row.contains(",-")), "a difference has both signs");
    run(&mut harness, Command::GoTo("stages.0.0.dwconv".parse().unwrap()));
    run(&mut harness, Command::SortKernels(KernelSort::Norm));
    let rows = read(&mut harness, Figure::Kernels);
    let norm = |row: &str| row.split(',').skip(2).map(|w| w.parse::<f64>().unwrap().powi(2)).sum::<f64>();
    let norms: Vec<f64> = rows.iter().skip(1).map(|row| norm(row)).collect();
    assert!(norms.len() > 4 && norms.is_sorted_by(|a, b| a >= b), "{norms:?}");
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
        (&[plain, "--headless", "--view", "kernels", "--export", "out.pdf"], ".png, .svg, or .csv"),
    ] {
        let text = predicate::str::contains(part).and(predicate::str::starts_with("kernelscope view: "));
        viewer().args(args).assert().code(1).stderr(text);
    }
    for (args, part) in [
        (&["--view", "cellar"][..], "allowed: network, erf"),
        (&["--figure", "cellar"], "allowed: costs, erf"),
        (&["--thresholds", "0.1,0.2"], "four numbers"),
        (&["--camera", "0.5,0.5,0"], "one from 1 to 64"),
        (&["--transfer", "power:9"], "exponent from 0.05 to 3"),
        (&["--export", "a.png"], "--headless"),
        (&["--window", "10x10"], "WIDTHxHEIGHT"),
    ] {
        viewer().args(args).assert().code(2).stderr(predicate::str::contains(part));
    }
}
