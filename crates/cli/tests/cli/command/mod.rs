//! The command as a person uses it: every subcommand on small data, and one clear line for everything that goes wrong.

mod containers;
mod mistakes;
mod sources;
mod subcommands;

use crate::common::{files, random};
use assert_cmd::Command;
use kernelscope::nn::BuildOptions;
use kernelscope::weights::{self, TensorMap};
use kernelscope::zoo::{ModelSpec, Network};
use kernelscope_lab::data::{Cue, Dataset, ShapesTextures};
use std::collections::BTreeMap;
use std::path::PathBuf;

const SUBCOMMANDS: [&str; 12] = [
    "quickstart",
    "models",
    "train",
    "eval",
    "predict",
    "merge",
    "erf",
    "masks",
    "shape-bias",
    "orientations",
    "notebook",
    "bench",
];

/// A network that needs little time, as options of `train`.
const TINY: [&str; 8] =
    ["--model", "nano-1d", "--set", "dims=8,16,16,16", "--set", "stem_channels=8", "--set", "kernel=7"];

/// A folder in which the command runs, and which is removed afterwards.
struct Desk {
    folder: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        Desk { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kernelscope"));
        command.current_dir(self.folder.path()).env_remove("RUST_LOG").args(args);
        command
    }

    /// Runs a command that must succeed; what it printed.
    fn run(&self, args: &[&str]) -> String {
        let output = self.command(args).assert().success().get_output().clone();
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command that must fail with one line on standard error, apart from progress, that contains every part.
    fn fails(&self, args: &[&str], parts: &[&str]) {
        let output = self.command(args).assert().failure().get_output().clone();
        let stderr = String::from_utf8(output.stderr).unwrap();
        let lines: Vec<&str> = stderr.lines().filter(|line| !line.contains("  epoch ")).collect();
        assert_eq!(lines.len(), 1, "{args:?}: {stderr}");
        assert!(lines[0].starts_with("kernelscope: "), "{args:?}: {stderr}");
        for part in parts {
            assert!(lines[0].contains(part), "{args:?}: no {part:?} in: {stderr}");
        }
        let temporary = |name: &&String| name.ends_with(".part");
        assert_eq!(files(self.folder.path()).keys().find(temporary), None, "{args:?}: a temporary file is left");
    }

    /// As [`Desk::fails`], and nothing may be created, changed or removed.
    fn fails_without_trace(&self, args: &[&str], parts: &[&str]) {
        let before = files(self.folder.path());
        self.fails(args, parts);
        let after = files(self.folder.path());
        let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&after), names(&before), "{args:?}: files were left or removed");
        assert!(after == before, "{args:?}: a file was changed");
    }

    fn write(&self, name: &str, content: &[u8]) {
        std::fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        std::fs::write(self.path(name), content).unwrap();
    }

    /// Pictures of the built-in set, as `FOLDER/0.png`, `FOLDER/1.png`, ...
    fn pictures(&self, folder: &str, count: usize) {
        let set = ShapesTextures::generate(40, count, 1, Cue::Both, 0).unwrap();
        std::fs::create_dir_all(self.path(folder)).unwrap();
        for i in 0..count {
            set.get(i).unwrap().image.save_png(self.path(&format!("{folder}/{i}.png"))).unwrap();
        }
    }

    /// Saves a fresh network of this kind, with or without saying which it is.
    fn network(&self, name: &str, file: &str, described: bool) -> Network {
        let network = Network::build(ModelSpec::named(name).unwrap(), BuildOptions::frozen()).unwrap();
        let metadata: BTreeMap<_, _> = described.then(|| network.spec().metadata().unwrap()).into_iter().collect();
        weights::save(&self.path(file), &network.params().tensors(), &metadata).unwrap();
        network
    }

    /// A normalized input of two images.
    fn input(&self, file: &str) {
        let tensors = TensorMap::from_iter([("input".to_string(), random("input", &[3, 3, 32, 32]))]);
        weights::save(&self.path(file), &tensors, &BTreeMap::new()).unwrap();
    }

    fn tensors(&self, file: &str) -> TensorMap {
        weights::load(&self.path(file)).unwrap().tensors
    }

    fn assert_files(&self, names: &[&str]) {
        for name in names {
            let size = std::fs::metadata(self.path(name)).unwrap_or_else(|e| panic!("{name}: {e}")).len();
            assert!(size > 0, "{name} is empty");
        }
    }
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

fn train_tiny(desk: &Desk, out: &str, more: &[&str]) -> String {
    let size = ["--size", "32", "--train-images", "64", "--batch", "16", "--epochs", "1", "--out", out];
    desk.run(&[&["train"], &TINY[..], &size, more].concat())
}
