//! The grids of `ablations/`.

use super::Bench;
use crate::common::root;
use kernelscope_lab::ablate::{Ablation, Grid, State};
use std::path::PathBuf;
use std::process::Command;

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
