//! Benchmarks: how long operators and networks take on this machine, how near that is to what the machine can do, and
//! how long PyTorch takes for the same.
//!
//! | module | holds |
//! |---|---|
//! | [`timing`] | repeated measurement |
//! | [`machine`] | the machine's copy bandwidth and arithmetic peak, measured in the same run |
//! | [`roofline`] | the least time a machine needs for an operator's data and arithmetic |
//! | [`cases`] | the operators and shapes that are measured |
//! | [`ops`], [`models`] | the measurements |
//! | [`peer`] | the same in PyTorch, in a Python process of its own |
//! | [`results`] | the operators' measurements as a CSV file |
//!
//! Where kernels are compiled in, the module `gpu` measures the operators on a GPU.

mod case;
pub mod cases;
pub mod clock;
pub mod gpu;
mod gpu_pass;
pub mod machine;
pub mod models;
pub mod ops;
pub mod peer;
pub mod results;
pub mod roofline;
mod step;
pub mod timing;

pub use crate::threads::on_threads;

use rand::RngExt;
use serde::Serializer;

/// Seed of all inputs, weights and pruned patterns.
const SEED: u64 = 0;

/// How far a benchmark is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress<'a> {
    /// Number of cases done.
    pub done: usize,
    /// Number of cases in all.
    pub count: usize,
    /// What is measured next.
    pub next: &'a str,
}

/// Somebody who is told about progress.
pub type Watcher<'a> = &'a mut (dyn FnMut(Progress<'_>) + Send);

/// `count` values in [-1, 1) that follow from `name` alone.
fn values(name: &str, count: usize) -> Vec<f32> {
    let mut rng = kernelscope::rng::stream(SEED, &[kernelscope::rng::hash_name(name)]);
    (0..count).map(|_| 2.0 * rng.random::<f32>() - 1.0).collect()
}

/// Writes a measured number with six significant digits: more would be noise.
fn six_digits<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    // Printing and reading back rounds to decimal digits, which no multiplication does exactly.
    serializer.serialize_f64(format!("{value:.5e}").parse().unwrap_or(*value))
}

/// [`six_digits`] where there is a value.
fn six_digits_if_any<S: Serializer>(value: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => six_digits(value, serializer),
        None => serializer.serialize_none(),
    }
}
