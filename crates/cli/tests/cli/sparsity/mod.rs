//! What is pruned in a network: by zeros and by masks, weights and groups, sums of parallel kernels, the command.

mod command;
mod counts;
mod history;
mod shifts;

use crate::common::{files, fill_signed, fill_u};
use assert_cmd::Command;
use candle_core::{DType, Device, Tensor};
use kernelscope::analysis::report::{LayerSparsity, SparsityReport};
use kernelscope::weights::{self, Checkpoint, TensorMap};
use kernelscope::{Error, Result};
use std::collections::BTreeMap;
use std::path::PathBuf;
use tempfile::TempDir;

fn tensor(values: Vec<f32>, shape: &[usize]) -> Tensor {
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// Values that are 0 where `keep` says no, and never 0 elsewhere.
fn pruned(name: &str, shape: &[usize], keep: impl Fn(usize) -> bool) -> Tensor {
    let values = fill_signed(name, shape.iter().product());
    tensor(values.iter().enumerate().map(|(i, v)| if keep(i) { v + 2.0 } else { 0.0 }).collect(), shape)
}

/// Kept with this probability, from a name.
fn random_keep(name: &str, count: usize, density: f32) -> Vec<bool> {
    fill_u(&format!("keep {name}"), count).iter().map(|&u| u < density).collect()
}

fn ones(count: usize) -> Tensor {
    Tensor::ones(count, DType::F32, &Device::Cpu).unwrap()
}

/// A shift-wise layer: C channels of k groups of n x n kernels; which groups each path keeps.
struct Shiftwise {
    path: &'static str,
    channels: usize,
    groups: usize,
    side: usize,
    paths: Vec<Vec<bool>>,
}

impl Shiftwise {
    fn new(path: &'static str, (channels, groups, side): (usize, usize, usize), densities: &[f32]) -> Self {
        let keep = |i: usize, density: f32| random_keep(&format!("{path} {i}"), channels * groups, density);
        let paths = densities.iter().enumerate().map(|(i, &density)| keep(i, density)).collect();
        Shiftwise { path, channels, groups, side, paths }
    }

    fn shape(&self) -> [usize; 4] {
        [self.channels * self.groups, 1, self.side, self.side]
    }

    fn insert_into(&self, tensors: &mut TensorMap) {
        for (i, keep) in self.paths.iter().enumerate() {
            let name = format!("{}.LoRAs.{i}.weight", self.path);
            let weight = pruned(&name, &self.shape(), |at| keep[at / (self.side * self.side)]);
            tensors.insert(name, weight);
        }
        for bn in ["bn_lora1", "bn_lora2", "bn_small"] {
            tensors.insert(format!("{}.{bn}.weight", self.path), ones(self.channels));
            tensors.insert(format!("{}.{bn}.running_mean", self.path), ones(self.channels));
        }
    }
}

fn layer<'a>(report: &'a SparsityReport, name: &str) -> &'a LayerSparsity {
    report.layers.iter().find(|l| l.name == name).unwrap_or_else(|| panic!("no {name}"))
}

fn masks(entries: &[(&str, Tensor)]) -> Checkpoint {
    let tensors = entries.iter().map(|(name, mask)| (name.to_string(), mask.clone())).collect();
    Checkpoint { tensors, source: PathBuf::from("epoch.masks.safetensors"), ..Checkpoint::default() }
}

fn bits(keep: &[bool], shape: &[usize]) -> Tensor {
    Tensor::from_vec(keep.iter().map(|&keep| u8::from(keep)).collect::<Vec<u8>>(), shape, &Device::Cpu).unwrap()
}

/// A folder in which the command runs.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        Desk(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn save(&self, file: &str, tensors: &TensorMap) {
        weights::save(&self.path(file), tensors, &BTreeMap::new()).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kernelscope"));
        command.current_dir(self.0.path()).env_remove("RUST_LOG").args(args);
        command
    }

    fn run(&self, args: &[&str]) -> String {
        let output = self.command(args).assert().success().get_output().clone();
        String::from_utf8(output.stdout).unwrap()
    }

    fn fails(&self, args: &[&str], parts: &[&str]) {
        let before = files(self.0.path());
        let output = self.command(args).assert().code(1).get_output().clone();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(stderr.lines().count(), 1, "{args:?}: {stderr}");
        assert!(parts.iter().all(|part| stderr.contains(part)), "{args:?}: not all of {parts:?} in {stderr}");
        assert!(files(self.0.path()) == before, "{args:?}: a file was left, changed or removed");
    }
}

fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

fn refused(result: Result<String>, field: &str) {
    match result {
        Err(Error::Argument { name, .. }) => assert!(name.contains(field), "{name} is not {field}"),
        other => panic!("{field} was not refused: {:?}", other.map(|text| text.len())),
    }
}
