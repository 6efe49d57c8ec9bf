//! The operators whose own tests do not go through the shared cases, with kernels against the CPU in double precision.

use super::support::{View, compare, config, dtype, tolerance};
use crate::common::{Arg, by_kernels, differentiate, differentiate_exactly, on_device};
use candle_core::{DType, Tensor};
use kernelscope::Result;
use kernelscope::ops::batch_norm::{batch_norm, statistics};
use kernelscope::ops::grn::grn;
use kernelscope::ops::max_pool::MaxPool;
use kernelscope::ops::relu6::relu6;
use kernelscope::ops::scale_residual::residual;
use proptest::prelude::*;

/// Maps of a size.
#[derive(Debug, Clone)]
struct Case {
    shape: [usize; 4],
    view: View,
    dtype: DType,
}

impl Arbitrary for Case {
    type Parameters = ();
    type Strategy = BoxedStrategy<Self>;

    fn arbitrary_with((): ()) -> Self::Strategy {
        (1..=4usize, 1..=40usize, 1..=20usize, 1..=20usize, View::any(), dtype())
            .prop_map(|(n, c, h, w, view, dtype)| Case { shape: [n, c, h, w], view, dtype })
            .boxed()
    }
}

impl Case {
    fn x(&self) -> Arg {
        Arg::fill("x", &self.shape, "input")
    }

    /// Compares `op` with kernels and on the CPU.
    fn check(&self, args: &[Arg], op: impl Fn(&[Tensor]) -> Result<Tensor>) -> std::result::Result<(), TestCaseError> {
        prop_assert!(by_kernels());
        let shape = op(&args.iter().map(|arg| arg.tensor(DType::F64)).collect::<candle_core::Result<Vec<_>>>()?)?;
        let cotangent = Arg::fill("cotangent", shape.dims(), "input");
        let expected = differentiate_exactly(args, &cotangent, &op)?;
        let actual = differentiate(self.dtype, args, &cotangent, |args| {
            let mut args = args.to_vec();
            args[0] = self.view.of(&args[0])?;
            op(&args)
        })?;
        compare(&actual, &expected, |_| 4.0 * tolerance(self.dtype))
    }

    /// Two vectors of a value per channel.
    fn with_vectors(&self) -> [Arg; 3] {
        let vector = |name, kind| Arg::fill(name, &[self.shape[1]], kind);
        [self.x(), vector("weight", "norm_weight"), vector("bias", "bias")]
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn batch_norm_is_the_same(case: Case) {
        // Statistics of few values may be near zero, where rounding counts.
        let [n, _, h, w] = case.shape;
        prop_assume!(n * h * w >= 16);
        case.check(&case.with_vectors(), |args| {
            batch_norm(&args[0], &args[1], &args[2], &statistics(&args[0])?, 1e-5)
        })?;
    }

    #[test]
    fn response_norm_is_the_same(case: Case) {
        case.check(&case.with_vectors(), |args| grn(&args[0], &args[1], &args[2]))?;
    }

    #[test]
    fn max_pooling_is_the_same(case: Case, kernel in 1..=5usize, stride in 1..=4usize, padding in 0..=2usize) {
        let pool = MaxPool::new(kernel, stride, padding.min(kernel / 2)).unwrap();
        prop_assume!(pool.output_size(case.shape[2], case.shape[3]).is_ok());
        // Values that half precision rounds could be equal, and then another one wins.
        let case = Case { dtype: DType::F32, ..case };
        case.check(&[case.x()], |args| pool.forward(&args[0]))?;
    }

    #[test]
    fn saturating_rectifier_is_the_same(case: Case) {
        let mut x = case.x();
        x.values.iter_mut().for_each(|x| *x *= 8.0);
        // At the ends slopes jump, and half precision rounds across them.
        let case = Case { dtype: DType::F32, ..case };
        case.check(&[x], |args| relu6(&args[0]))?;
    }

    #[test]
    fn residual_without_scale_is_the_same(case: Case, dropped: bool) {
        let keep: Vec<f64> = (0..case.shape[0]).map(|n| if dropped && n == 0 { 0.0 } else { 1.25 }).collect();
        let branch = Arg::fill("branch", &case.shape, "input");
        case.check(&[case.x(), branch], |args| residual(&args[0], &args[1], &keep))?;
    }
}

#[test]
fn statistics_are_exact_where_the_mean_is_large() -> Result<()> {
    let shape = [3, 5, 9, 11];
    let mut x = Arg::fill("x", &shape, "input");
    x.values.iter_mut().for_each(|x| *x = f64::from((*x + 100.0) as f32));
    let exact = statistics(&x.tensor(DType::F64)?)?;
    let x = x.tensor(DType::F32)?.to_device(&crate::common::device())?;
    let found = on_device(&shape, || statistics(&x))?;
    for (found, exact) in found.mean.iter().zip(&exact.mean).chain(found.variance.iter().zip(&exact.variance)) {
        assert!((found - exact).abs() < 1e-5 * exact, "{found} {exact}");
    }
    Ok(())
}

#[test]
fn double_precision_is_refused() {
    let x = Arg::fill("x", &[1, 2, 3, 3], "input").tensor(DType::F64).unwrap();
    let x = x.to_device(&crate::common::device()).unwrap();
    let message = on_device(&[1], || relu6(&x)).unwrap_err().to_string();
    assert!(message.contains("F64") && message.contains("f32, f16 or bf16"), "{message}");
}
