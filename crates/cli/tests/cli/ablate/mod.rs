//! Ablations as a person runs them: grids, their runs and tables, stops and crashes, shards, mistakes; and the grids of
//! `ablations/`.

mod mistakes;
mod runs;
mod shipped;
mod stops;

use crate::common::files;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Output};

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
