//! Runs, tables and figures of grids, at once and in shards.

use super::{AXES, Bench, QUESTIONS, Row, number};
use crate::common::files;
use kernelscope_lab::ablate::{Ablation, Grid, Shard};
use kernelscope_lab::run::{DataSource, RunFolder};
use std::process::Command;

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
