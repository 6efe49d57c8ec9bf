//! Ablations as a person runs them: grids, their runs and tables, stops and crashes, shards, mistakes; and the grids of
//! `ablations/`.

use crate::common::{files, root};
use kernelscope_lab::ablate::{Ablation, Grid, Job, Shard, State, Watch};
use kernelscope_lab::run::{DataSource, RunFolder};
use kernelscope_lab::train::{Observer, Silent, Trainer};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// A base that trains in well under a second.
const BASE: &str = r#"
[base]
model = "nano-1d"
set = { dims = [8, 8, 8, 8], stem_channels = 4, kernel = 7 }
data = { size = 32, source = { kind = "builtin", train = 48, val = 24 } }
train = { epochs = 2, batch_size = 16, lr = 4e-3, warmup_epochs = 0 }
"#;

/// Kernels of two lengths and two numbers of directions.
const AXES: &str = r#"
[[axis]]
key = "set.directions"
name = "D"
values = [2, "channels"]
[[axis]]
key = "set.kernel"
name = "K"
values = [3, 7]
"#;

/// A question about an axis and one about two variants.
const QUESTIONS: &str = r#"
[[compare]]
axis = "K"
with = "7"
[[compare]]
variant = "D channels, K 3"
with = "D 2, K 3"
"#;

/// A folder with a grid, in which the command runs, and which is removed afterwards.
struct Bench {
    folder: tempfile::TempDir,
}

/// A row of a table: column to cell.
type Row = BTreeMap<String, String>;

impl Bench {
    fn new(head: &str, rest: &str) -> Self {
        let bench = Bench { folder: tempfile::tempdir().unwrap() };
        bench.grid(&format!("name = \"test\"\n{head}\n{BASE}\n{rest}"));
        bench
    }

    fn grid(&self, text: &str) {
        std::fs::write(self.path("grid.toml"), text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kernelscope"));
        command.current_dir(self.folder.path()).env_remove("RUST_LOG").args(["ablate", "grid.toml"]).args(args);
        command
    }

    fn output(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs a command that must succeed; what it printed.
    fn run(&self, args: &[&str]) -> String {
        let output = self.output(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command that must fail with a last line on standard error that contains every part.
    fn fails(&self, args: &[&str], parts: &[&str]) {
        let output = self.output(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {output:?}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        let line = stderr.lines().last().unwrap_or_default().to_string();
        assert!(line.starts_with("kernelscope: "), "{args:?}: {stderr}");
        for part in parts {
            assert!(line.contains(part), "{args:?}: no {part:?} in: {line}");
        }
    }

    /// As [`Bench::fails`], and nothing may be created, changed or removed.
    fn fails_without_trace(&self, args: &[&str], parts: &[&str]) {
        let before = files(self.folder.path());
        self.fails(args, parts);
        assert!(files(self.folder.path()) == before, "{args:?}: a file was changed");
    }

    /// A table with one map from column to cell per row.
    fn csv(&self, name: &str) -> Vec<Row> {
        let mut reader = csv::Reader::from_path(self.path(name)).unwrap();
        reader.deserialize().collect::<Result<_, _>>().unwrap()
    }

    /// Everything that does not depend on time: the table of runs without seconds, and all weights.
    fn results(&self, out: &str) -> (Vec<Row>, BTreeMap<String, Vec<u8>>) {
        let mut rows = self.csv(&format!("{out}/ablation.csv"));
        rows.iter_mut().for_each(|row| assert!(row.remove("seconds").is_some()));
        let mut weights = files(&self.path(out));
        weights.retain(|name, _| name.ends_with(".safetensors"));
        assert!(!weights.is_empty());
        (rows, weights)
    }
}

fn number(row: &BTreeMap<String, String>, column: &str) -> f64 {
    row[column].parse().unwrap_or_else(|_| panic!("{column} is {:?} in {row:?}", row[column]))
}

#[test]
fn help_has_examples() {
    let help = Command::new(env!("CARGO_BIN_EXE_kernelscope")).args(["ablate", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    for part in ["Examples", "kernelscope ablate ablations/", "--shard", "--table-only", "--jobs", "--list"] {
        assert!(help.contains(part), "{part}: {help}");
    }
}

#[test]
fn a_grid_becomes_runs_tables_and_figures() {
    let head = "title = \"A title\"\npaper = \"A paper\"\nseeds = [0, 4]\nbaseline = \"D 2, K 7\"";
    let bench = Bench::new(head, &format!("{AXES}{QUESTIONS}"));
    let printed = bench.run(&["--out", "out"]);
    assert!(printed.contains("D channels, K 3") && printed.contains("summary.html"), "{printed}");
    assert!(printed.contains("K 3 against 7") && printed.contains("D channels, K 3 against D 2, K 3"), "{printed}");

    let rows = bench.csv("out/ablation.csv");
    assert_eq!(rows.len(), 8);
    let first = &rows[0];
    assert_eq!((first["run"].as_str(), first["variant"].as_str()), ("d-2-k-3-seed0", "D 2, K 3"));
    assert_eq!((first["set.directions"].as_str(), first["set.kernel"].as_str()), ("2", "3"));
    assert_eq!((first["seed"].as_str(), first["epochs"].as_str()), ("0", "2"));
    assert!(number(first, "parameters") > 0.0 && number(first, "macs") > 0.0 && number(first, "seconds") > 0.0);
    assert!(number(&rows[2], "macs") > number(first, "macs"), "7 taps cost more than 3");

    // Every row is what its run folder says, and what `eval` measures again.
    for row in &rows {
        let run = RunFolder::open(&bench.path("out/runs").join(&row["run"])).unwrap();
        let history = run.history().unwrap().points;
        let accuracies: Vec<f64> = history.iter().map(|point| point.val_accuracy.unwrap()).collect();
        assert_eq!(number(row, "accuracy"), *accuracies.last().unwrap());
        assert_eq!(number(row, "best_accuracy"), accuracies.iter().copied().fold(0.0, f64::max));
        assert_eq!(number(row, "loss"), history.last().unwrap().val_loss.unwrap());
        assert_eq!(row["seed"], run.config().unwrap().train.seed.to_string());
        let DataSource::Builtin(images) = run.config().unwrap().data.source else { panic!("other images") };
        assert_eq!(row["seed"], images.seed.to_string(), "the seed is that of the images too");
    }
    let mut eval = Command::new(env!("CARGO_BIN_EXE_kernelscope"));
    let eval = eval.args(["eval", "--json", "--run"]).arg(bench.path("out/runs/d-2-k-3-seed4")).output().unwrap();
    let eval: serde_json::Value = serde_json::from_slice(&eval.stdout).unwrap();
    assert_eq!(eval["accuracy"].as_f64().unwrap(), number(&rows[1], "accuracy"));

    let losses: std::collections::BTreeSet<&str> = rows.iter().map(|row| row["loss"].as_str()).collect();
    assert_eq!(losses.len(), 8, "every variant and seed is another run");

    // The summary follows from the rows.
    let summary = bench.csv("out/summary.csv");
    assert_eq!(summary.len(), 4);
    assert!(summary.iter().any(|row| row["difference_margin_95"].parse().is_ok_and(|margin: f64| margin > 0.0)));
    let accuracy = |variant: &str| -> Vec<f64> {
        rows.iter().filter(|row| row["variant"] == variant).map(|row| number(row, "accuracy")).collect()
    };
    let baseline = accuracy("D 2, K 7");
    for row in &summary {
        let own = accuracy(&row["variant"]);
        let mean = (own[0] + own[1]) / 2.0;
        let close = |column: &str, value: f64| {
            assert!((number(row, column) - value).abs() < 1e-12, "{column} is not {value} in {row:?}");
        };
        close("accuracy_mean", mean);
        close("accuracy_std", (own[0] - own[1]).abs() / 2f64.sqrt());
        close("accuracy_min", own[0].min(own[1]));
        close("accuracy_max", own[0].max(own[1]));
        assert_eq!((row["n"].as_str(), row["missing"].as_str()), ("2", "0"));
        if row["variant"] == "D 2, K 7" {
            assert_eq!((row["baseline"].as_str(), row["difference"].as_str()), ("true", ""));
            continue;
        }
        let (a, b) = (own[0] - baseline[0], own[1] - baseline[1]);
        close("difference", (a + b) / 2.0);
        close("difference_standard_error", (a - b).abs() / 2.0);
        close("difference_margin_95", 12.706 * (a - b).abs() / 2.0);
    }

    // An axis is compared over all other settings, seed by seed.
    let comparisons = bench.csv("out/comparisons.csv");
    assert_eq!(comparisons.len(), 2);
    let [long, short] = ["K 7", "K 3"].map(|k| [format!("D 2, {k}"), format!("D channels, {k}")].map(|v| accuracy(&v)));
    let of_seed = |seed: usize| (short[0][seed] + short[1][seed] - long[0][seed] - long[1][seed]) / 2.0;
    for (row, (name, pairs, [a, b])) in comparisons.iter().zip([
        ("K 3 against 7", "2", [of_seed(0), of_seed(1)]),
        ("D channels, K 3 against D 2, K 3", "1", [short[1][0] - short[0][0], short[1][1] - short[0][1]]),
    ]) {
        let of = |column: &str| row[column].as_str();
        assert_eq!((of("comparison"), of("variant_pairs"), of("seeds")), (name, pairs, "2"));
        assert!((number(row, "difference") - (a + b) / 2.0).abs() < 1e-12, "{row:?}");
        assert!((number(row, "difference_margin_95") - 12.706 * (a - b).abs() / 2.0).abs() < 1e-12, "{row:?}");
    }

    let markdown = std::fs::read_to_string(bench.path("out/summary.md")).unwrap();
    let (markdown, questions) = markdown.split_once("\n\n| comparison |").unwrap();
    assert!(questions.contains("\n| K 3 against 7 | 2 | "), "{questions}");
    let table: Vec<&str> = markdown.lines().filter(|line| line.starts_with('|')).collect();
    assert_eq!(table.len(), 6, "{markdown}");
    let columns = |line: &str| line.matches(" | ").count();
    assert!(table.iter().skip(2).all(|line| columns(line) == columns(table[0])), "{markdown}");
    assert!(markdown.starts_with("# A title\n\nA paper\n") && markdown.contains("baseline"), "{markdown}");
    let page = std::fs::read_to_string(bench.path("out/summary.html")).unwrap();
    assert!(page.contains("A title") && page.contains("A paper") && page.contains("D channels, K 7"));
    assert!(page.contains("D channels, K 3 against D 2, K 3"));
    assert_eq!(page.matches("data:image/svg+xml;base64,").count(), 2, "rows, and lines over K");
    assert!(!page.contains("src=\"http") && !page.contains("href="), "the page needs nothing else");
    for name in ["accuracy.svg", "accuracy.png", "accuracy-lines.svg", "accuracy-lines.png"] {
        assert!(std::fs::metadata(bench.path("out/figures").join(name)).unwrap().len() > 1000, "{name}");
    }
    let lines = std::fs::read_to_string(bench.path("out/figures/accuracy-lines.svg")).unwrap();
    assert!(lines.contains(">D channels</text>") && lines.contains(">K</text>"));
}

#[test]
fn results_depend_neither_on_runs_at_once_nor_on_shards() {
    let bench = Bench::new("seeds = [0, 1]", AXES);
    bench.run(&["--out", "one", "--jobs", "1"]);
    bench.run(&["--out", "many", "--jobs", "4"]);
    bench.run(&["--out", "shards", "--shard", "2/3", "--jobs", "2"]);
    let part = bench.csv("shards/ablation.csv").len();
    assert!((1..8).contains(&part), "{part} of 8 runs in one of three shards");
    let missing: f64 = bench.csv("shards/summary.csv").iter().map(|row| number(row, "missing")).sum();
    assert_eq!(missing, 8.0 - part as f64);
    let page = std::fs::read_to_string(bench.path("shards/summary.md")).unwrap();
    assert!(page.contains(&format!("{part} of 8 runs are finished")), "{page}");
    bench.run(&["--out", "shards", "--shard", "1/3"]);
    bench.run(&["--out", "shards", "--shard", "3/3"]);
    let expected = bench.results("one");
    assert!(bench.results("many") == expected, "runs at once");
    assert!(bench.results("shards") == expected, "shards");
}

#[test]
fn shards_are_a_balanced_partition() {
    let bench = Bench::new("seeds = [0, 1, 2]", AXES);
    let ablation = Ablation::new(Grid::read(&bench.path("grid.toml")).unwrap(), &bench.path("out")).unwrap();
    let total: u64 = ablation.jobs.iter().map(|job| job.macs).sum();
    for count in [1, 2, 5, 12, 20] {
        let mut names = Vec::new();
        for index in 1..=count {
            let jobs = ablation.shard(Shard::parse(&format!("{index}/{count}")).unwrap());
            let load: u64 = jobs.iter().map(|job| job.macs).sum();
            let largest = ablation.jobs.iter().map(|job| job.macs).max().unwrap();
            assert!(load <= total / count + largest, "{index}/{count}: {load} of {total}");
            assert!(jobs.windows(2).all(|pair| pair[0].seed <= pair[1].seed), "the first seed comes first");
            names.extend(jobs.into_iter().map(|job| job.name.clone()));
        }
        names.sort();
        let mut all: Vec<String> = ablation.jobs.iter().map(|job| job.name.clone()).collect();
        all.sort();
        assert_eq!(names, all, "{count} shards");
    }
    // A run that takes as long as all others together has a shard to itself.
    let variants = "[[variant]]\nlabel = \"long\"\ntrain.epochs = 20\n[[variant]]\nlabel = \"a\"\n\
                    [[variant]]\nlabel = \"b\"\n[[variant]]\nlabel = \"c\"\n";
    let bench = Bench::new("seeds = [0]", variants);
    let ablation = Ablation::new(Grid::read(&bench.path("grid.toml")).unwrap(), &bench.path("out")).unwrap();
    let names = |shard| ablation.shard(Shard::parse(shard).unwrap()).iter().map(|j| j.name.clone()).collect::<Vec<_>>();
    assert_eq!(names("1/2"), ["long-seed0"]);
    assert_eq!(names("2/2"), ["a-seed0", "b-seed0", "c-seed0"]);
    for text in ["", "1", "0/2", "3/2", "a/b", "1/0", "0/0", "1/2/3", "-1/2"] {
        let message = Shard::parse(text).unwrap_err().to_string();
        assert!(message.contains("shard: ") && message.contains("I/N"), "{text}: {message}");
    }
}

/// Waits until a run is complete and another is not.
fn wait_for_half(bench: &Bench, out: &str, child: &mut std::process::Child) {
    let started = Instant::now();
    let epochs =
        |name: &str| RunFolder::open(&bench.path(out).join("runs").join(name)).ok()?.progress().ok().map(|p| p.epoch);
    while started.elapsed() < Duration::from_secs(120) {
        assert!(child.try_wait().unwrap().is_none(), "all runs were over before they could be stopped");
        if epochs("kernel-3-seed0") == Some(6) && epochs("kernel-7-seed0") >= Some(1) {
            return;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    panic!("no run has finished within two minutes");
}

#[test]
fn a_killed_or_interrupted_ablation_goes_on_with_the_same_numbers() {
    let bench = Bench::new("seeds = [0]", "[[axis]]\nkey = \"set.kernel\"\nvalues = [3, 7]\n");
    let longer = ["--base", "train.epochs=6", "--base", "data.source.train=96"];
    let run = |out: &str, more: &[&str]| bench.run(&[&["--out", out], &longer[..], more].concat());
    run("whole", &[]);
    let spawn = |out: &str| {
        let mut command = bench.command(&[&["--out", out, "--jobs", "1"], &longer[..]].concat());
        command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
    };

    let mut child = spawn("killed");
    wait_for_half(&bench, "killed", &mut child);
    child.kill().unwrap();
    child.wait().unwrap();
    let kept = bench.path("killed/runs/kernel-3-seed0/checkpoints/epoch-0006.safetensors");
    let written = std::fs::metadata(&kept).unwrap().modified().unwrap();
    let listed = run("killed", &["--list"]);
    assert!(listed.contains("finished") && listed.contains("of 6"), "{listed}");
    run("killed", &["--jobs", "2"]);
    assert!(bench.results("killed") == bench.results("whole"), "after a kill");
    assert_eq!(std::fs::metadata(&kept).unwrap().modified().unwrap(), written, "a finished run was trained again");

    let mut child = spawn("stopped");
    wait_for_half(&bench, "stopped", &mut child);
    let interrupt = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(interrupt.success());
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.lines().last().unwrap().contains("the same command goes on where it stopped"), "{stderr}");
    assert_eq!(bench.csv("stopped/ablation.csv").len(), 1, "a table of what was finished");
    run("stopped", &[]);
    assert!(bench.results("stopped") == bench.results("whole"), "after an interruption");
}

#[test]
fn a_grid_that_no_longer_fits_its_runs_is_refused() {
    let bench = Bench::new("seeds = [0, 1]", AXES);
    bench.run(&["--out", "out", "--shard", "1/4"]);
    let text = std::fs::read_to_string(bench.path("grid.toml")).unwrap();
    bench.grid(&text.replace("lr = 4e-3", "lr = 5e-3"));
    let different = "train.lr: 0.004 in the run, 0.005 in the grid";
    for args in [&["--out", "out"][..], &["--out", "out", "--table-only"], &["--out", "out", "--list"]] {
        bench.fails_without_trace(args, &["out/runs/d-", "-seed", "holds a run with other settings", different]);
    }
    bench.fails_without_trace(&["--out", "out", "--shard", "4/4"], &[different]);
    bench.grid(&text.replace("name = \"test\"", "name = \"other\""));
    bench.fails_without_trace(&["--out", "out"], &["holds the ablation \"test\", not \"other\""]);
    // More seeds and more values fit: what is there stays.
    bench.grid(&text.replace("seeds = [0, 1]", "seeds = [1, 0, 2]").replace("values = [3, 7]", "values = [3, 5, 7]"));
    let listed = bench.run(&["--out", "out", "--list", "--json"]);
    let listed: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let states: Vec<&str> = listed.as_array().unwrap().iter().map(|row| row["state"].as_str().unwrap()).collect();
    assert_eq!((states.len(), states.iter().filter(|state| **state == "finished").count()), (18, 2));
}

#[test]
fn one_failing_run_does_not_lose_the_others() {
    let variants = "[[variant]]\nlabel = \"good\"\n[[variant]]\nlabel = \"bad\"\ntrain.lr = 1e38\n\
                    [[variant]]\nlabel = \"also good\"\ntrain.lr = 1e-3\n";
    let bench = Bench::new("seeds = [0, 1]", variants);
    let parts = ["2 of 6 runs failed", "bad-seed0: ", "bad-seed1: ", "is not finite", "the tables hold the others"];
    bench.fails(&["--out", "out", "--jobs", "1"], &parts);
    let rows = bench.csv("out/ablation.csv");
    assert_eq!(
        rows.iter().map(|row| row["variant"].as_str()).collect::<Vec<_>>(),
        ["good", "good", "also good", "also good"]
    );
    let bad = &bench.csv("out/summary.csv")[1];
    assert_eq!((bad["variant"].as_str(), bad["n"].as_str(), bad["missing"].as_str()), ("bad", "0", "2"));
    let before = bench.results("out");
    bench.fails(&["--out", "out"], &["2 of 6 runs failed"]);
    assert!(bench.results("out") == before);
    bench.run(&["--out", "out", "--table-only"]);
}

#[test]
fn a_run_that_another_process_trains_is_left_alone() {
    let bench = Bench::new("seeds = [0]", "[[axis]]\nkey = \"set.kernel\"\nvalues = [3, 7]\n");
    let ablation = Ablation::new(Grid::read(&bench.path("grid.toml")).unwrap(), &bench.path("out")).unwrap();
    let job = &ablation.jobs[0];
    let mut trainer = Trainer::create(&ablation.run_path(job), job.config.clone()).unwrap();
    let run = trainer.run_folder().clone();
    let Some(lock) = run.lock().unwrap() else { return };
    let error = trainer.train(&mut Silent).unwrap_err().to_string();
    assert!(error.contains("kernel-3-seed0") && error.contains("by another process"), "{error}");
    let parts = ["1 of 2 runs failed", "kernel-3-seed0", "by another process", "the tables hold the others"];
    bench.fails(&["--out", "out"], &parts);
    assert_eq!(run.progress().unwrap().epoch, 0, "the run was trained all the same");
    drop(lock);
    bench.run(&["--out", "out"]);
    assert_eq!(bench.csv("out/ablation.csv").len(), 2);
}

/// A watch that panics when a run of this name starts.
struct Panics(&'static str);

impl Watch for Panics {
    fn started(&self, job: &Job, _steps: (usize, usize)) -> Box<dyn Observer> {
        assert_ne!(job.name, self.0, "no such run");
        Box::new(Silent)
    }
}

#[test]
fn a_panic_does_not_lose_the_other_runs() {
    let bench = Bench::new("seeds = [0]", "[[axis]]\nkey = \"set.kernel\"\nvalues = [3, 7]\n");
    let ablation = Ablation::new(Grid::read(&bench.path("grid.toml")).unwrap(), &bench.path("out")).unwrap();
    let jobs = ablation.shard(Shard::ALL);
    let first = jobs[0].name == "kernel-3-seed0";
    let panics = Panics(if first { "kernel-3-seed0" } else { "kernel-7-seed0" });
    let failures = ablation.run(&jobs, Some(1), &Default::default(), &panics).unwrap();
    assert_eq!(failures.iter().map(|failure| failure.job.as_str()).collect::<Vec<_>>(), [panics.0]);
    let error = failures[0].error.to_string();
    assert!(error.contains(panics.0) && error.contains("no such run") && !error.contains('\n'), "{error}");
    assert_eq!(ablation.records().unwrap().len(), 1);
}

#[test]
fn mistakes_in_a_grid_are_named() {
    let bench = Bench::new("seeds = [0]", "");
    let whole = std::fs::read_to_string(bench.path("grid.toml")).unwrap();
    let axis = |key: &str, values: &str| format!("{whole}\n[[axis]]\nkey = \"{key}\"\nvalues = {values}\n");
    for (text, parts) in [
        (
            axis("set.kernels", "[7]"),
            &["variant \"kernels 7\"", "setting: got set.kernels", "stem_kernel", "directions"][..],
        ),
        (axis("set.kernel", "[7, 8]"), &["variant \"kernel 8\"", "kernel: got 8", "odd"]),
        (axis("train.epoch", "[7]"), &["setting: got train.epoch", "epochs", "batch_size"]),
        (axis("train.optimizer.momentum", "[0.9]"), &["train.optimizer.momentum", "beta1", "weight_decay"]),
        (axis("train.epochs", "[0]"), &["variant \"epochs 0\"", "epochs: got 0"]),
        (axis("train.epochs", "[\"many\"]"), &["train.epochs: got \"many\"", "usize"]),
        (axis("train.seed", "[1]"), &["train.seed", "seeds"]),
        (axis("train.augment", "[\"heavy\"]"), &["train.augment: got \"heavy\"", "light"]),
        (axis("data.source.trains", "[7]"), &["setting: got data.source.trains", " train,"]),
        (axis("data.source", "[\"photos\"]"), &["data.source: got \"photos\"", "builtin"]),
        (axis("data.size", "[30]"), &["variant \"size 30\"", "size"]),
        (axis("kernel", "[7]"), &["setting: got \"kernel\"", "set.FIELD"]),
        (axis("model", "[\"nano-3d\"]"), &["model: got nano-3d", "nano-1d"]),
        (axis("set.classes", "[3]"), &["set.classes", "the data decides"]),
        (whole.replace("seeds", "seed"), &["grid.toml", "line 2", "unknown field `seed`", "`seeds`"]),
        (whole.replace("model = \"nano-1d\"", ""), &["variant \"test\": model: got nothing"]),
        (whole.replace("[base]", "[bass]"), &["grid.toml", "bass"]),
        (format!("{whole}\n[[axis]]\nkey = \"model\"\nvalues = []\n"), &["grid.toml", "axis model: values"]),
    ] {
        bench.grid(&text);
        bench.fails_without_trace(&["--out", "out"], parts);
    }
    bench.grid(&whole);
    bench.fails_without_trace(&["--out", "out", "--base", "train.epoch=3"], &["setting: got train.epoch", "epochs"]);
    bench.fails_without_trace(&["--out", "out", "--base", "epochs"], &["--base", "key=value"]);
    bench.fails_without_trace(&["--out", "out", "--shard", "5/4"], &["--shard", "5/4"]);
    bench.fails_without_trace(&["--out", "out", "--table-only"], &["out", "no run of this grid is finished"]);
    assert_eq!(bench.output(&[]).status.code(), Some(2), "--out is required");
}

#[test]
fn a_list_trains_nothing_and_options_change_the_base() {
    let bench = Bench::new("seeds = [0, 1]", AXES);
    let before = files(bench.folder.path());
    let listed = bench.run(&["--list"]);
    assert!(listed.contains("d-channels-k-7-seed1") && listed.contains("8 of 8 runs"), "{listed}");
    let args = ["--dry-run", "--json", "--base", "train.epochs=7", "--seeds", "5", "--shard", "1/2"];
    let rows: serde_json::Value = serde_json::from_str(&bench.run(&args)).unwrap();
    let rows = rows.as_array().unwrap();
    assert_eq!(rows.len(), 2);
    for row in rows {
        assert_eq!(
            (row["epochs"].as_u64(), row["seed"].as_u64(), row["state"].as_str()),
            (Some(7), Some(5), Some("new"))
        );
        assert!(row["parameters"].as_u64() > Some(0) && row["macs"].as_u64() > Some(0));
    }
    assert!(files(bench.folder.path()) == before);
}

#[test]
fn merged_networks_are_compared_with_the_trained_ones() {
    let variants = "[[variant]]\nlabel = \"both\"\nset.kernel = [7, 7, 5, 5]\n\
                    [[variant]]\nlabel = \"large alone\"\nset.small_kernel = \"none\"\n\
                    [[variant]]\nlabel = \"dense\"\nmodel = \"nano-2d\"\n";
    let bench = Bench::new("seeds = [3]\ncheck = \"merge\"", variants);
    let text = std::fs::read_to_string(bench.path("grid.toml")).unwrap();
    let base = "model = \"nano-replk\"\nset = { dims = [8, 8, 8, 8], kernel = 7 }\n";
    let start = text.find("model").unwrap();
    let end = text.find("data =").unwrap();
    let text = format!("{}{base}{}", &text[..start], &text[end..]);
    bench.grid(&text.replace("label = \"large alone\"\n", "label = \"large alone\"\nset.kernel = 9\n"));
    let printed = bench.run(&["--out", "out"]);
    assert!(printed.contains("merged: logits"), "{printed}");
    let rows = bench.csv("out/ablation.csv");
    for row in &rows[..2] {
        let (difference, largest) = (number(row, "merge_max_logit_difference"), number(row, "merge_max_logit"));
        assert!(difference > 0.0 && difference < 1e-4 * largest.max(1.0), "{row:?}");
        assert!((number(row, "merged_accuracy") - number(row, "accuracy")).abs() <= 1.0 / 24.0 + 1e-12, "{row:?}");
        assert!(number(row, "merged_parameters") < number(row, "parameters"));
        assert!(number(row, "merged_macs") <= number(row, "macs"));
    }
    assert_eq!(rows[2]["merge_max_logit_difference"], "", "nano-2d has no merged form");
    let markdown = std::fs::read_to_string(bench.path("out/summary.md")).unwrap();
    assert!(markdown.contains("merged: max logit difference"), "{markdown}");
    // A check that is missing is made up for, without training.
    let check = bench.path("out/runs/both-seed3/analysis/merge.toml");
    let content = std::fs::read(&check).unwrap();
    std::fs::remove_file(&check).unwrap();
    assert!(bench.run(&["--out", "out", "--list"]).contains("epoch 2 of 2"));
    bench.run(&["--out", "out"]);
    assert_eq!(std::fs::read(&check).unwrap(), content);
}

#[test]
fn an_axis_of_tables_has_its_labels_in_the_table_of_runs() {
    let axis = "[[axis]]\nkey = \"train.sparse\"\nname = \"masks\"\nlabels = [\"half\", \"most\"]\n\
                values = [{ sparsity = 0.5, update_frequency = 2 }, { sparsity = 0.7, update_frequency = 2 }]\n";
    let bench = Bench::new("seeds = [0]", axis);
    bench.run(&["--out", "out", "--base", "train.epochs=1"]);
    let rows = bench.csv("out/ablation.csv");
    assert_eq!(rows.iter().map(|row| row["train.sparse"].as_str()).collect::<Vec<_>>(), ["half", "most"]);
    let density = |row: &Row| {
        let run = RunFolder::open(&bench.path("out/runs").join(&row["run"])).unwrap();
        let rows = kernelscope_lab::run::read_mask_rows(&run.mask_rows_path()).unwrap();
        rows.iter().map(|row| row.density).sum::<f64>() / rows.len() as f64
    };
    assert!(density(&rows[0]) > density(&rows[1]) + 0.05, "each run has its own sparsity");
}

/// The grids of `ablations/`.
const SHIPPED: [&str; 12] = [
    "oriented1d-table6-blocks",
    "oriented1d-table6-stems",
    "oriented1d-table7",
    "oriented1d-table8",
    "oriented1d-table9",
    "replknet-table2",
    "replknet-table3",
    "replknet-table4",
    "replknet-table5",
    "shiftwise-table1",
    "shiftwise-table2",
    "shiftwise-table3",
];

fn shipped(name: &str) -> PathBuf {
    root().join("ablations").join(name)
}

#[test]
fn every_shipped_grid_describes_networks_that_can_be_built() {
    for name in SHIPPED {
        let grid = Grid::read(&shipped(&format!("{name}.toml"))).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(grid.name, name);
        let seeds = grid.seeds.len();
        assert!(!grid.title.is_empty() && grid.paper.contains("Table") && seeds >= 3, "{name}");
        let ablation = Ablation::new(grid, "nowhere".as_ref()).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(ablation.jobs.len(), ablation.variants.len() * seeds, "{name}");
        assert!(ablation.jobs.iter().all(|job| ablation.state(job).unwrap() == State::New), "{name}");
    }
}

#[test]
fn every_shipped_grid_can_be_read() {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(shipped("")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let grid = Grid::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            assert_eq!(path.file_stem().unwrap().to_str(), Some(grid.name.as_str()));
            names.push(grid.name);
        }
    }
    assert_eq!(names.len(), 12, "{names:?}");
    assert!(SHIPPED.iter().all(|name| names.iter().any(|n| n == name)));
}

#[test]
fn the_slurm_script_submits_trains_and_makes_tables() {
    let script = shipped("slurm.sh");
    let Ok(syntax) = Command::new("bash").arg("-n").arg(&script).output() else {
        // Only elsewhere is it no part of the system.
        return if cfg!(unix) {
            panic!("bash is missing")
        };
    };
    assert!(syntax.status.success(), "{}", String::from_utf8_lossy(&syntax.stderr));
    let bench = Bench::new("seeds = [0]", "[[axis]]\nkey = \"set.kernel\"\nvalues = [3, 7]\n");
    // A stand-in that notes how it was called, and runs the job at once as Slurm would.
    let sbatch = "#!/usr/bin/env bash\necho \"$*\" >> \"$LOG\"\n\
                  for word in \"$@\"; do case $word in\n\
                  --export=ALL,*) export \"${word#--export=ALL,}\";;\n\
                  --array=1-*) last=${word#--array=1-};;\nesac; done\n\
                  while [[ $1 == --* ]]; do shift; done\n\
                  for ((i = 1; i <= ${last:-1}; i++)); do SLURM_ARRAY_TASK_ID=$i bash \"$@\" >> \"$LOG.out\" 2>&1; done\n\
                  echo 17\n";
    std::fs::create_dir(bench.path("bin")).unwrap();
    std::fs::write(bench.path("bin/sbatch"), sbatch).unwrap();
    assert!(Command::new("chmod").arg("+x").arg(bench.path("bin/sbatch")).status().unwrap().success());
    let run = |args: &[&str]| {
        let path = format!("{}:{}", bench.path("bin").display(), std::env::var("PATH").unwrap());
        let mut command = Command::new("bash");
        command.current_dir(bench.folder.path()).env("PATH", path).env("LOG", bench.path("log"));
        command.env("KERNELSCOPE", env!("CARGO_BIN_EXE_kernelscope")).arg(&script).args(args).output().unwrap()
    };
    let output = run(&["grid.toml", "out", "2", "--base", "train.epochs=1", "--jobs", "1"]);
    let told = std::fs::read_to_string(bench.path("log.out")).unwrap_or_default();
    assert!(output.status.success(), "{output:?}\n{told}");
    assert_eq!(bench.csv("out/ablation.csv").len(), 2, "{told}");
    let calls = std::fs::read_to_string(bench.path("log")).unwrap();
    let calls: Vec<&str> = calls.lines().collect();
    assert_eq!(calls.len(), 2, "{calls:?}");
    assert!(
        calls[0].contains("--array=1-2") && calls[0].ends_with("grid.toml out 2 --base train.epochs=1 --jobs 1"),
        "{calls:?}"
    );
    assert!(calls[1].contains("--dependency=afterany:17") && calls[1].contains("ABLATE_STEP=table"), "{calls:?}");
    assert_eq!(run(&["grid.toml"]).status.code(), Some(2));
    assert_eq!(run(&["grid.toml", "out", "--base"]).status.code(), Some(2));
    assert!(!run(&["missing.toml", "out"]).status.success(), "a grid that cannot run is not submitted");
    assert_eq!(std::fs::read_to_string(bench.path("log")).unwrap().lines().count(), 2);
}
