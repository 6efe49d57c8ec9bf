//! Receptive fields of several networks in one table: definitions, published figures, continuing, the command.

use crate::common::{files, values};
use assert_cmd::Command;
use kernelscope::analysis::erf::{Definition, THRESHOLDS, area_ratios};
use kernelscope::analysis::report::ErfMap;
use kernelscope::nn::BuildOptions;
use kernelscope::weights;
use kernelscope::zoo::{ModelSpec, Network};
use kernelscope_lab::data::{Cue, Dataset, ShapesTextures};
use kernelscope_lab::report::erf_table::{ErfTable, Measured, PUBLISHED, RowSource, file_stem};
use predicates::prelude::*;
use std::collections::BTreeMap;
use std::path::PathBuf;
use tempfile::TempDir;

/// A map whose contribution falls off from its center.
fn map(model: &str, side: usize, images: usize) -> ErfMap {
    let middle = side as f64 / 2.0;
    let away = |i: usize| (i as f64 - middle).abs();
    let value = |i: usize| 40.0 * (-0.15 * (away(i / side) + away(i % side))).exp();
    let contribution = (0..side * side).map(|i| value(i) as f32).collect();
    ErfMap { model: model.into(), stage: 3, position: (1, 1), height: side, width: side, images, contribution }
}

#[test]
fn published_figures_stand_beside_their_networks() {
    let measured =
        |model: Option<&str>, label: &str| Measured { model: model.map(String::from), map: map(label, 64, 50) };
    let table = ErfTable::new(
        &[measured(Some("replknet-31b"), "mine"), measured(None, "replknet-13"), measured(Some("nano-2d"), "small")],
        Definition::Script,
    );
    let rows: Vec<(&str, bool)> =
        table.rows.iter().map(|r| (r.network.as_str(), r.source == RowSource::Published)).collect();
    let expected = [
        ("mine", false),
        ("RepLKNet-31", true),
        ("replknet-13", false),
        ("small", false),
        ("ResNet-101", true),
        ("ResNet-152", true),
        ("RepLKNet-13", true),
    ];
    assert_eq!(rows, expected, "what is not known to be the published network has no published row of its own");
    let published: Vec<f64> = table.rows[1].areas.iter().map(|a| (1000.0 * a.ratio.unwrap()).round()).collect();
    assert_eq!(published, [163.0, 247.0, 432.0, 986.0]);
    assert_eq!((table.rows[1].size, table.rows[1].images), (1024, 50));
    assert_eq!(table.rows[0].areas, area_ratios(&map("mine", 64, 50), &THRESHOLDS));
    for p in PUBLISHED {
        assert!(p.percent.is_sorted(), "{}", p.printed);
    }
}

#[test]
fn the_two_definitions_give_different_areas() {
    let map = map("m", 64, 50);
    let area = |definition: Definition| area_ratios(&definition.of(map.clone()), &[0.5])[0].ratio.unwrap();
    // The logarithm of a larger number is flatter: the sum spreads the contribution.
    assert!(
        area(Definition::Paper) > area(Definition::Script),
        "{} {}",
        area(Definition::Paper),
        area(Definition::Script)
    );
    // By hand: one pixel with A = 9 and one with A = 99 have D = 0.5 and 1; ten times as much has other shares.
    let two = ErfMap { contribution: vec![9.0, 99.0], height: 1, width: 2, images: 10, ..map };
    assert_eq!(kernelscope::analysis::erf::log_scaled(&two), [0.5, 1.0]);
    let sum = kernelscope::analysis::erf::log_scaled(&Definition::Paper.of(two));
    assert!((sum[0] - 91f64.log10() / 991f64.log10()).abs() < 1e-9, "{sum:?}");
}

#[test]
fn names_become_different_files() {
    assert_eq!(file_stem("replknet-31b"), "replknet-31b");
    let odd = ["a b", "a/b", "a-b", "../a-b", "", "é"].map(file_stem);
    let different: std::collections::HashSet<&String> = odd.iter().collect();
    assert_eq!(different.len(), odd.len(), "{odd:?}");
    assert!(odd.iter().all(|stem| !stem.contains('/') && !stem.is_empty()), "{odd:?}");
}

/// A folder in which the command runs.
struct Desk(TempDir);

impl Desk {
    /// With three pictures, and two networks in files that say what they are.
    fn new() -> Self {
        let desk = Desk(tempfile::tempdir().unwrap());
        let set = ShapesTextures::generate(40, 3, 1, Cue::Both, 0).unwrap();
        std::fs::create_dir(desk.path("photos")).unwrap();
        for i in 0..3 {
            set.get(i).unwrap().image.save_png(desk.path(&format!("photos/{i}.png"))).unwrap();
        }
        desk.network("nano-1d", "one.safetensors", 1, true);
        desk.network("nano-2d", "two.safetensors", 2, false);
        desk
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn network(&self, name: &str, file: &str, seed: u64, described: bool) {
        let options = BuildOptions { seed, ..BuildOptions::frozen() };
        let network = Network::build(ModelSpec::named(name).unwrap(), options).unwrap();
        let metadata: BTreeMap<_, _> = described.then(|| network.spec().metadata().unwrap()).into_iter().collect();
        weights::save(&self.path(file), &network.params().tensors(), &metadata).unwrap();
    }

    /// `erf` on the pictures at 64x64, as everywhere here.
    fn erf(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kernelscope"));
        command.current_dir(self.0.path()).env_remove("RUST_LOG");
        command.args(["erf", "--images", "photos", "--size", "64"]).args(args);
        command
    }

    /// Standard output and standard error of a command that must succeed.
    fn run(&self, args: &[&str]) -> (String, String) {
        let output = self.erf(args).assert().success().get_output().clone();
        (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    }

    /// Fails with one line that has every part, and leaves no trace.
    fn fails(&self, args: &[&str], parts: &[&str]) {
        let before = files(self.0.path());
        let output = self.erf(args).assert().code(1).get_output().clone();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(stderr.lines().count(), 1, "{args:?}: {stderr}");
        assert!(parts.iter().all(|part| stderr.contains(part)), "{args:?}: not all of {parts:?} in {stderr}");
        assert!(files(self.0.path()) == before, "{args:?}: a file was left, changed or removed");
    }
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

const COMPARE: [&str; 4] = ["--compare", "one.safetensors", "nano-2d=two.safetensors", "nano-replk"];

#[test]
fn several_networks_become_one_table() {
    let desk = Desk::new();
    let args = [&COMPARE[..], &["--random", "7", "--output", "out"]].concat();
    let (printed, _) = desk.run(&args);
    for part in ["one ", "nano-2d ", "nano-replk (random)", "published", "RepLKNet-31", "98.6 %", "Table 10", "script"]
    {
        assert!(printed.contains(part), "no {part:?} in {printed}");
    }
    let made: Vec<String> = files(&desk.path("out")).into_keys().collect();
    let maps: Vec<&String> = made.iter().filter(|name| name.ends_with(".safetensors")).collect();
    assert_eq!(maps.len(), 3, "{made:?}");
    for ending in ["csv", "json", "md", "png", "svg"] {
        assert!(made.contains(&format!("erf-table.{ending}")), "{made:?}");
    }
    let table = json(&std::fs::read_to_string(desk.path("out/erf-table.json")).unwrap());
    let rows = table["rows"].as_array().unwrap();
    let labels: Vec<&str> = rows.iter().map(|row| row["network"].as_str().unwrap()).collect();
    assert_eq!(labels[..3], ["one", "nano-2d", "nano-replk (random)"]);
    assert_eq!((rows.len(), rows[0]["images"].as_u64(), rows[0]["size"].as_u64()), (7, Some(3), Some(64)));
    // The same numbers as each network has by itself.
    for (row, network) in rows.iter().zip([
        &["--weights", "one.safetensors"][..],
        &["--model", "nano-2d", "--weights", "two.safetensors"],
        &["--model", "nano-replk", "--random", "7"],
    ]) {
        let alone = json(&desk.run(&[network, &["--output", "alone", "--json"]].concat()).0);
        assert_eq!(row["areas"], alone, "{network:?}");
        let (a, b) = (weights::load(&desk.path("alone/erf.safetensors")), &row["network"]);
        let stem = file_stem(b.as_str().unwrap());
        let kept = weights::load(&desk.path(&format!("out/erf-{stem}.safetensors"))).unwrap();
        assert_eq!(values(&kept.tensors["contribution"]), values(&a.unwrap().tensors["contribution"]));
    }
    let csv = std::fs::read_to_string(desk.path("out/erf-table.csv")).unwrap();
    assert_eq!(csv.lines().count(), 1 + 7 * 4, "{csv}");
    assert!(csv.contains("ResNet-101,published,script,,1024,50,0.99,,0.22"), "{csv}");
    let markdown = std::fs::read_to_string(desk.path("out/erf-table.md")).unwrap();
    assert!(
        markdown.starts_with("| network | source |") && markdown.contains("| RepLKNet-13 | published |"),
        "{markdown}"
    );
    let svg = std::fs::read_to_string(desk.path("out/erf-table.svg")).unwrap();
    assert!(labels[..3].iter().all(|label| svg.contains(label)) && svg.matches("<image ").count() == 4);
}

#[test]
fn finished_networks_are_not_computed_again() {
    let desk = Desk::new();
    let first = ["--compare", "one.safetensors", "--output", "out"];
    let both = ["--compare", "one.safetensors", "nano-2d=two.safetensors", "--output", "out"];
    desk.run(&first);
    let (printed, notes) = desk.run(&both);
    assert!(notes.contains("one: already in") && !notes.contains("nano-2d: already"), "{notes}");
    let before = files(&desk.path("out"));
    let (again, notes) = desk.run(&both);
    assert!(notes.contains("one: already in") && notes.contains("nano-2d: already in"), "{notes}");
    assert_eq!(again, printed);
    assert!(files(&desk.path("out")) == before, "the same command makes the same files");
    // Another definition needs no other maps.
    let (paper, notes) = desk.run(&[&both[..], &["--definition", "paper", "--json"]].concat());
    assert!(notes.contains("one: already in") && notes.contains("nano-2d: already in"), "{notes}");
    let paper = json(&paper);
    assert_eq!(paper["definition"], "paper");
    let script = json(std::str::from_utf8(&before["erf-table.json"]).unwrap());
    assert_ne!(paper["rows"][0]["areas"], script["rows"][0]["areas"]);
    assert_eq!(paper["rows"].as_array().unwrap().last(), script["rows"].as_array().unwrap().last());
    let csv = std::fs::read_to_string(desk.path("out/erf-table.csv")).unwrap();
    assert!(csv.contains("one,measured,paper,") && csv.contains("ResNet-101,published,script,"), "{csv}");
    // What a map follows from has changed: other weights, size, images.
    desk.network("nano-2d", "two.safetensors", 3, false);
    let (_, notes) = desk.run(&both);
    assert!(notes.contains("one: already in") && !notes.contains("nano-2d: already"), "{notes}");
    let after = files(&desk.path("out"));
    assert!(after["erf-nano-2d.safetensors"] != before["erf-nano-2d.safetensors"]);
    assert!(after["erf-one.safetensors"] == before["erf-one.safetensors"]);
    for changed in [&["--limit", "2"][..], &["--stage", "2"], &["--position", "0,1"]] {
        assert!(!desk.run(&[&both[..], changed].concat()).1.contains("already in"), "{changed:?}");
    }
    std::fs::copy(desk.path("photos/0.png"), desk.path("photos/2.png")).unwrap();
    assert!(!desk.run(&both).1.contains("already in"), "another image");
}

#[test]
fn equal_names_are_told_apart_and_seeds_matter() {
    let desk = Desk::new();
    let compare = ["--compare", "nano-2d", "nano-2d", "nano-2d=two.safetensors", "--json", "--output", "out"];
    let table = json(&desk.run(&[&compare[..], &["--random", "5"]].concat()).0);
    let labels: Vec<&str> = (0..3).map(|i| table["rows"][i]["network"].as_str().unwrap()).collect();
    assert_eq!(labels, ["nano-2d (random)", "nano-2d (random) (2)", "nano-2d"]);
    let map = |seed: &str, out: &str| {
        desk.run(&["--compare", "nano-2d", "--random", seed, "--output", out]);
        let stem = file_stem("nano-2d (random)");
        values(&weights::load(&desk.path(&format!("{out}/erf-{stem}.safetensors"))).unwrap().tensors["contribution"])
    };
    assert_eq!(map("5", "a"), map("5", "b"));
    assert_ne!(map("5", "a"), map("6", "b"));
}

#[test]
fn mistakes_in_a_comparison() {
    let desk = Desk::new();
    std::fs::write(desk.path("cut.safetensors"), &std::fs::read(desk.path("one.safetensors")).unwrap()[..5000])
        .unwrap();
    let out = |args: &[&'static str]| [args, &["--output", "out"]].concat();
    for (args, parts) in [
        (vec!["--compare", "nano-3d=two.safetensors"], &["nano-3d", "nano-2d"][..]),
        (vec!["--compare", "nano-2d=absent.pth"], &["absent.pth"]),
        (vec!["--compare", "nano-2d"], &["--compare", "nano-2d", "--random SEED"]),
        (vec!["--compare", "nothing"], &["--compare", "nothing", "NAME=FILE"]),
        (vec!["--compare", "two.safetensors"], &["two.safetensors", "--model"]),
        (vec!["--compare", "nano-1d=two.safetensors"], &["two.safetensors", "missing"]),
        (vec!["--compare", "photos"], &["photos", "run folder"]),
        (vec!["--compare", "one.safetensors", "--random", "3"], &["--random", "3"]),
        // The second network is refused before the first is computed.
        (vec!["--compare", "one.safetensors", "nano-1d=cut.safetensors"], &["cut.safetensors", "truncated"]),
    ] {
        desk.fails(&out(&args), parts);
    }
    for conflict in [["--model", "nano-2d"], ["--weights", "one.safetensors"], ["--set", "kernel=7"], ["--run", "r"]] {
        let args = out(&[&["--compare", "one.safetensors"][..], &conflict].concat());
        desk.erf(&args).assert().code(2).stderr(predicate::str::contains("--compare"));
    }
    // A file of somebody else at the place of a map is not replaced.
    std::fs::create_dir(desk.path("out")).unwrap();
    std::fs::copy(desk.path("two.safetensors"), desk.path("out/erf-one.safetensors")).unwrap();
    desk.fails(
        &out(&["--compare", "one.safetensors"]),
        &["erf-one.safetensors", "already contains", "another --output"],
    );
    std::fs::copy(desk.path("cut.safetensors"), desk.path("out/erf-one.safetensors")).unwrap();
    desk.fails(&out(&["--compare", "one.safetensors"]), &["erf-one.safetensors", "truncated"]);
}

#[test]
fn the_help_says_why_sizes_and_definitions_matter() {
    let desk = Desk::new();
    let help = desk.run(&["--help"]).0;
    for part in ["--compare", "--definition", "At 224", "1024", "official script", "paper's"] {
        assert!(help.contains(part), "no {part:?} in {help}");
    }
}
