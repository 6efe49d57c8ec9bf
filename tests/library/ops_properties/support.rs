//! What the cases share: the fixed seed, ways to present a tensor in memory, and the comparison.

use crate::common::{Outcome, by_kernels, computed, max_abs_diff};
use candle_core::{D, DType, Tensor};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, RngSeed};

/// 64 cases, the same in every run; nothing is written to disk.
pub fn config() -> Config {
    Config {
        cases: 64,
        failure_persistence: None,
        rng_algorithm: RngAlgorithm::ChaCha,
        rng_seed: RngSeed::Fixed(0x6b65_726e),
        ..Config::default()
    }
}

/// How a tensor lies in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// Row-major.
    Contiguous,
    /// The last two axes swapped in memory.
    Transposed,
    /// Row-major in the second half of a larger storage.
    Offset,
}

impl View {
    pub fn any() -> impl Strategy<Value = View> {
        prop_oneof![Just(View::Contiguous), Just(View::Transposed), Just(View::Offset)]
    }

    /// The same values, laid out this way; differentiable.
    pub fn of(self, tensor: &Tensor) -> candle_core::Result<Tensor> {
        match self {
            View::Contiguous => tensor.contiguous(),
            View::Transposed => tensor.transpose(D::Minus2, D::Minus1)?.contiguous()?.transpose(D::Minus2, D::Minus1),
            View::Offset => {
                let first = tensor.dim(0)?;
                Tensor::cat(&[&tensor.ones_like()?, tensor], 0)?.narrow(0, first, first)
            }
        }
    }
}

pub fn dtype() -> BoxedStrategy<DType> {
    if by_kernels() {
        return prop_oneof![2 => Just(DType::F32), 1 => Just(DType::F16), 1 => Just(DType::BF16)].boxed();
    }
    prop_oneof![Just(DType::F32), Just(DType::F64)].boxed()
}

/// Allowed error, relative to the largest value of a result (or 1). In half precision, inputs and results are rounded;
/// sums are not.
pub fn tolerance(dtype: DType) -> f64 {
    match computed(dtype) {
        DType::F32 => 2e-5,
        DType::F16 => 4e-3,
        DType::BF16 => 3e-2,
        _ => 1e-10,
    }
}

/// Compares every named list of the expected outcome with the actual one.
pub fn compare(
    actual: &Outcome,
    expected: &Outcome,
    tolerance: impl Fn(&'static str) -> f64,
) -> Result<(), TestCaseError> {
    let names = |outcome: &Outcome| outcome.iter().map(|(name, _)| *name).collect::<Vec<_>>();
    prop_assert_eq!(names(actual), names(expected));
    for ((name, actual), (_, expected)) in actual.iter().zip(expected) {
        let scale = expected.iter().fold(1.0, |max: f64, e| max.max(e.abs()));
        let (error, allowed) = (max_abs_diff(actual, expected), tolerance(name) * scale);
        prop_assert!(error <= allowed, "{} is off by {:e}, allowed {:e}", name, error, allowed);
    }
    Ok(())
}
