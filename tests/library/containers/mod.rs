//! Weights in all containers that people have them in: what fits a network is found, and what cannot be read is named.

mod folders;
mod foreign;
mod legacy;
mod sets;
mod torch;
mod values;
mod wrappers;

use crate::common::{filled, spec};
use candle_core::{DType, Tensor};
use kernelscope::nn::{BuildOptions, Kind};
use kernelscope::weights::{self, LoadOptions, TensorMap, load_with};
use kernelscope::zoo::Network;
use std::fmt::{Debug, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// A small network with batch norms.
const NAME: &str = "nano-mbv2";

/// Weights of the network as PyTorch has them: counters are integers.
fn weights_of(network: &Network) -> TensorMap {
    let tensors = network.params().iter().map(|(name, param)| {
        let value = param.var.as_detached_tensor();
        let value = if param.kind == Kind::Counter { value.to_dtype(DType::I64).unwrap() } else { value };
        (name.to_owned(), value)
    });
    tensors.collect()
}

fn network() -> Network {
    filled(spec(NAME, &[]), DType::F32)
}

/// The weights of the network, and others of the same shapes.
fn two_sets() -> (TensorMap, TensorMap) {
    let plain = weights_of(&network());
    let other = plain.iter().map(|(name, value)| match value.dtype() {
        DType::I64 => (name.clone(), value.clone()),
        _ => (name.clone(), (value * 0.5).unwrap()),
    });
    (plain.clone(), other.collect())
}

/// A folder for files that are removed at the end.
struct Shelf(tempfile::TempDir);

impl Shelf {
    fn new() -> Self {
        Shelf(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn save(&self, name: &str, tensors: &TensorMap) -> PathBuf {
        let path = self.write(name, b"");
        weights::save(&path, tensors, &Default::default()).unwrap();
        path
    }
}

/// Loads the network from a file, with what is said meanwhile.
fn load(path: &Path, key: Option<&str>) -> (kernelscope::Result<Network>, String) {
    listen(|| {
        let checkpoint = load_with(path, &LoadOptions { key: key.map(str::to_owned) })?;
        Network::from_checkpoint::<&str>(Some(NAME), checkpoint, &[], BuildOptions::frozen())
    })
}

/// The file holds these weights, and nothing is worth a warning.
fn holds(path: &Path, key: Option<&str>, expected: &TensorMap) {
    let (loaded, said) = load(path, key);
    let loaded = loaded.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    assert!(!said.contains("WARN"), "{}: {said}", path.display());
    same(&loaded, expected);
}

fn same(network: &Network, expected: &TensorMap) {
    for (name, param) in network.params().iter().filter(|(_, param)| param.kind != Kind::Counter) {
        let bits = |tensor: &Tensor| -> Vec<u32> {
            let values: Vec<f32> = tensor.flatten_all().unwrap().to_dtype(DType::F32).unwrap().to_vec1().unwrap();
            values.into_iter().map(f32::to_bits).collect()
        };
        assert_eq!(bits(param.var.as_tensor()), bits(&expected[name]), "{name}");
    }
}

/// The file is refused in one line that has these parts.
fn fails(path: &Path, key: Option<&str>, parts: &[&str]) {
    let (loaded, said) = load(path, key);
    let message = loaded.err().unwrap_or_else(|| panic!("{} is accepted", path.display())).to_string();
    assert!(!message.contains('\n') && message.len() < 1000, "{message}");
    for part in parts {
        assert!(message.contains(part), "no {part:?} in: {message}");
    }
    assert_eq!(said, "", "{message}");
}

/// What is said with `tracing` while something runs, one line each with its level.
fn listen<T>(run: impl FnOnce() -> T) -> (T, String) {
    let said = Listener::default();
    let result = tracing::subscriber::with_default(said.clone(), run);
    let said = said.0.lock().unwrap().clone();
    (result, said)
}

#[derive(Clone, Default)]
struct Listener(Arc<Mutex<String>>);

impl tracing::Subscriber for Listener {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::INFO
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        struct Message(String);
        impl tracing::field::Visit for Message {
            fn record_debug(&mut self, _: &tracing::field::Field, value: &dyn Debug) {
                write!(self.0, "{value:?}").unwrap();
            }
        }
        let mut message = Message(String::new());
        event.record(&mut message);
        writeln!(self.0.lock().unwrap(), "{} {}", event.metadata().level(), message.0).unwrap();
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}
