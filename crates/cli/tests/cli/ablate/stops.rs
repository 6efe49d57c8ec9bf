//! Stops, crashes and failing runs.

use super::{AXES, Bench};
use kernelscope_lab::ablate::{Ablation, Grid, Job, Shard, Watch};
use kernelscope_lab::run::RunFolder;
use kernelscope_lab::train::{Observer, Silent, Trainer};
use std::process::Stdio;
use std::time::{Duration, Instant};

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
    crate::interrupt(&child);
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.lines().last().unwrap().contains("run the same command again to resume"), "{stderr}");
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
        bench.fails_without_trace(args, &["out/runs/d-", "-seed", "contains a run with different settings", different]);
    }
    bench.fails_without_trace(&["--out", "out", "--shard", "4/4"], &[different]);
    bench.grid(&text.replace("name = \"test\"", "name = \"other\""));
    bench.fails_without_trace(&["--out", "out"], &["contains the ablation \"test\", not \"other\""]);
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
    let parts = ["2 of 6 runs failed", "bad-seed0: ", "bad-seed1: ", "is not finite", "the tables contain the others"];
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
    let parts = ["1 of 2 runs failed", "kernel-3-seed0", "by another process", "the tables contain the others"];
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
