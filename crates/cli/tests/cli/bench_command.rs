//! `kernelscope bench` as a person uses it: the table, the files, the profile, and one clear line for what goes wrong.

use assert_cmd::Command;
use std::path::Path;

const TINY: [&str; 6] = ["bench", "ops", "--quick", "--channels", "8", "--images"];

/// The command in a folder of its own.
fn command(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kernelscope"));
    command.current_dir(folder).env_remove("RUST_LOG").args(args);
    command
}

/// What a command that succeeds prints.
fn run(folder: &Path, args: &[&str]) -> (String, String) {
    let output = command(folder, args).assert().success().get_output().clone();
    (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// A command must fail with one line that has every part, before anything is measured or written.
fn fails(folder: &Path, args: &[&str], parts: &[&str]) {
    let output = command(folder, args).assert().failure().get_output().clone();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(stderr.lines().count(), 1, "{args:?}: {stderr}");
    for part in parts {
        assert!(stderr.contains(part), "{args:?}: no {part:?} in: {stderr}");
    }
}

fn names(folder: &Path) -> Vec<String> {
    std::fs::read_dir(folder).unwrap().map(|item| item.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn operators_are_measured_into_a_table_and_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let rest = ["2", "--filter", "1x7 45deg 8x14x14", "--threads", "2", "--rounds", "2", "--out", "results/deep"];
    let (table, progress) = run(folder.path(), &[&TINY[..], &rest].concat());
    for part in ["case", "GMAC/s", "roofline/%", "1x7 45deg 8x14x14", "through backward()", "threads: 2", "GB/s"] {
        assert!(table.contains(part), "no {part:?} in: {table}");
    }
    assert!(!table.contains("torch"), "{table}");
    for part in ["[1/2] 1x7 45deg 8x14x14, forward\n", "[2/2] 1x7 45deg 8x14x14, through backward()\n"] {
        assert!(progress.contains(part), "no {part:?} in: {progress}");
    }

    let out = folder.path().join("results/deep");
    let files = names(&out);
    assert_eq!(files.len(), 1, "{files:?}");
    assert!(files[0].ends_with("-2-threads-f32-nchw-ops-part.csv"), "{files:?}");
    assert!(table.contains(&files[0]), "{table}");
    let text = std::fs::read_to_string(out.join(&files[0])).unwrap();
    let comments: Vec<&str> = text.lines().take_while(|line| line.starts_with("# ")).collect();
    let command = "# command: kernelscope bench ops --quick --channels 8 --images 2 --filter '1x7 45deg 8x14x14'";
    assert!(comments[0].starts_with(command), "{text}");
    for part in ["date: 2", "copy bandwidth: ", "arithmetic peak: ", env!("CARGO_PKG_VERSION")] {
        assert!(comments.iter().any(|line| line.contains(part)), "no {part:?} in: {text}");
    }
    let mut reader = csv::ReaderBuilder::new().comment(Some(b'#')).from_reader(text.as_bytes());
    let columns = reader.headers().unwrap().clone();
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    assert_eq!(rows.len(), 3, "{text}");
    let value = |row: usize, name: &str| {
        let column = columns.iter().position(|c| c == name).unwrap_or_else(|| panic!("no column {name}"));
        rows[row][column].to_string()
    };
    let passes = [0, 1, 2].map(|row| value(row, "pass"));
    assert_eq!(passes, ["forward", "forward and gradients", "through backward()"]);
    // 45 degrees truncate to offsets 2, 1 and 0 (three times) on each side: five pixels of a diagonal.
    let inside = |d: i32| u64::from(14 - d.unsigned_abs()).pow(2);
    let macs: u64 = 2 * 8 * (-2..=2).map(inside).sum::<u64>();
    assert_eq!([0, 1, 2].map(|row| value(row, "macs")), [macs, 3 * macs, 3 * macs].map(|macs| macs.to_string()));
    assert_eq!(value(0, "bytes"), (4 * (2 * 2 * 8 * 14 * 14 + 8 * 7)).to_string());
    let number = |row: usize, name: &str| value(row, name).parse::<f64>().unwrap();
    for row in 0..3 {
        assert!(number(row, "min_ms") > 0.0 && number(row, "min_ms") <= number(row, "median_ms"), "{text}");
        let share = number(row, "bound_ms") / number(row, "min_ms");
        assert!((number(row, "roofline_share") / share - 1.0).abs() < 1e-4, "{text}");
        assert_eq!(value(row, "torch_min_ms"), "");
    }
}

#[test]
fn json_has_the_machine_and_the_measurements() {
    let folder = tempfile::tempdir().unwrap();
    let rest = ["1", "--filter", "taps 31x31 25% one pattern", "--json", "--out", "."];
    let (text, _) = run(folder.path(), &[&TINY[..], &rest].concat());
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(report["machine"]["bandwidth_gb_per_s"].as_f64().unwrap() > 0.0, "{text}");
    assert!(report["machine"]["peak_gmac_per_s"].as_f64().unwrap() > 0.0, "{text}");
    let measurements = report["measurements"].as_array().unwrap();
    assert_eq!(measurements.len(), 3, "{text}");
    assert_eq!(measurements[0]["case"], "taps 31x31 25% one pattern 8x56x56");
    assert!(measurements[1]["gmac_per_s"].as_f64().unwrap() > 0.0, "{text}");
    assert!(report["torch"].is_null() && measurements[0]["torch_ratio"].is_null(), "{text}");
}

#[test]
fn cases_are_listed_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let (all, _) = run(folder.path(), &["bench", "ops", "--list"]);
    for case in ["1x31 45deg 512x56x56", "slak-t 51x5 124x56x56", "7x7 512x56x56 /2"] {
        assert!(all.lines().any(|line| line == case), "no {case:?} in: {all}");
    }
    let (some, _) = run(folder.path(), &["bench", "ops", "--list", "--filter", "replknet", "--json"]);
    let some: Vec<String> = serde_json::from_str(&some).unwrap();
    assert!(some.len() == 4 && some.iter().all(|name| name.starts_with("replknet-31b ")), "{some:?}");
    assert_eq!(names(folder.path()), [""; 0]);
}

#[test]
fn networks_are_measured_with_their_operators() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["bench", "models", "nano-1d", "--size", "32", "--batch", "2", "--quick"];
    let (table, progress) = run(folder.path(), &[&args[..], &["--train", "--profile", "--threads", "1"]].concat());
    for part in
        ["nano-1d", "inference", "training step", "images/s", "Images of 32x32 per step: 2; threads: 1", "share/%"]
    {
        assert!(table.contains(part), "no {part:?} in: {table}");
    }
    assert!(table.contains("everything else"), "{table}");
    assert!(progress.contains("[2/2] nano-1d, training step\n"), "{progress}");
    let (text, _) = run(folder.path(), &[&args[..], &["--json", "--profile"]].concat());
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    let row = &report["measurements"][0];
    assert_eq!((&row["network"], &row["task"]), (&"nano-1d".into(), &"inference".into()));
    assert!(row["ours"]["images_per_s"].as_f64().unwrap() > 0.0, "{text}");
    let shares: f64 = row["ours"]["operators"].as_array().unwrap().iter().map(|o| o["share"].as_f64().unwrap()).sum();
    assert!((shares - 1.0).abs() < 0.01, "{text}");
    assert_eq!(names(folder.path()), [""; 0], "networks leave no file");
}

#[test]
fn mistakes_are_one_line_each() {
    let folder = tempfile::tempdir().unwrap();
    let fails = |args: &[&str], parts: &[&str]| fails(folder.path(), args, parts);
    fails(&["bench", "ops", "--filter", "8x8"], &["--filter", "8x8", "--list"]);
    let python = ["--peer", "torch", "--python", "/nowhere/python3"];
    let missing = ["--python", "/nowhere/python3", "pip install torch"];
    fails(&[&["bench", "models", "nano-1d"], &python[..]].concat(), &missing);
    fails(&["bench", "models", "convnext-q"], &["convnext-q", "nano-1dpp"]);
    fails(&["bench", "models", "nano-1d", "--size", "31"], &["31x31"]);
    fails(&["bench", "models", "nano-1d", "--batch", "0"], &["batch"]);
    assert_eq!(names(folder.path()), [""; 0], "a mistake leaves no file");
    fails(&[&TINY[..], &["1", "--filter", "1x7 45deg 8x14x14"], &python].concat(), &missing);
    std::fs::write(folder.path().join("file"), "").unwrap();
    fails(&["bench", "ops", "--quick", "--out", "file/results"], &["cannot create file/results"]);
    command(folder.path(), &["bench", "ops", "--threads", "0"]).assert().code(2);
    command(folder.path(), &["bench", "ops", "--peer", "tensorflow"]).assert().code(2);
}
