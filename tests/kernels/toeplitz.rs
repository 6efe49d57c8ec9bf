//! Kernels about as large as the image, on batches whose images share warps.

use super::support::{View, compare, config, dtype, tolerance};
use crate::common::{Arg, differentiate, differentiate_exactly};
use candle_core::DType;
use kernelscope::ops::depthwise2d::{Depthwise2d, Options};
use kernelscope::ops::taps::{Geometry, Tap, TapConv, TapTable};
use proptest::prelude::*;
use proptest::test_runner::Config;
use std::sync::Arc;

/// Images of a size, and the sides of a kernel.
#[derive(Debug, Clone)]
struct Case {
    images: usize,
    channels: usize,
    size: (usize, usize),
    kernel: (usize, usize),
    view: View,
    dtype: DType,
}

impl Arbitrary for Case {
    type Parameters = ();
    type Strategy = BoxedStrategy<Self>;

    fn arbitrary_with((): ()) -> Self::Strategy {
        let side = || prop_oneof![Just(7usize), Just(14usize), 1..=30usize];
        // Batches of less than 8, 16 and 32 images have plans of their own.
        let images = prop_oneof![Just(8usize), Just(32usize), 6..=40usize];
        (images, 1..=2usize, side(), side(), 0..=15usize, 0..=15usize, View::any(), dtype())
            .prop_map(|(images, channels, rows, cols, down, across, view, dtype)| {
                let kernel = (2 * down + 1, 2 * across + 1);
                Case { images, channels, size: (rows, cols), kernel, view, dtype }
            })
            .boxed()
    }
}

impl Case {
    fn args(&self, weights: &[usize]) -> [Arg; 3] {
        let x = Arg::fill("x", &[self.images, self.channels, self.size.0, self.size.1], "input");
        [x, Arg::fill("weight", weights, "weight"), Arg::fill("bias", &[self.channels], "bias")]
    }

    fn check(
        &self,
        args: &[Arg],
        op: impl Fn(&[candle_core::Tensor]) -> kernelscope::Result<candle_core::Tensor>,
    ) -> Result<(), TestCaseError> {
        let cotangent = Arg::fill("cotangent", &args[0].shape, "input");
        let expected = differentiate_exactly(args, &cotangent, &op)?;
        let actual = differentiate(self.dtype, args, &cotangent, |args| {
            let mut args = args.to_vec();
            args[0] = self.view.of(&args[0])?;
            op(&args)
        })?;
        compare(&actual, &expected, |_| tolerance(self.dtype))
    }
}

proptest! {
    #![proptest_config(Config { cases: 40, ..config() })]

    #[test]
    fn dense_kernels_are_the_same(case: Case) {
        let conv = Depthwise2d::new(case.channels, Options::same(case.kernel.0, case.kernel.1)).unwrap();
        let args = case.args(&[case.channels, 1, case.kernel.0, case.kernel.1]);
        case.check(&args, |args| conv.forward(&args[0], &args[1], Some(&args[2])))?;
    }

    /// Any taps, some of them twice and some never inside, with the residual.
    #[test]
    fn lists_of_taps_are_the_same(case: Case, taps in prop::collection::vec((-16..=16i32, -16..=16i32), 1..60)) {
        let taps: Vec<Tap> = taps.into_iter().map(|(dh, dw)| Tap { dh, dw }).chain([Tap { dh: 0, dw: 0 }]).collect();
        let table = Arc::new(TapTable::shared(case.channels, &taps).unwrap());
        let geometry = Geometry { input: case.size, output: case.size, stride: (1, 1) };
        let conv = TapConv::new(table, geometry, true).unwrap();
        case.check(&case.args(&[case.channels, taps.len()]), |args| conv.apply(&args[0], &args[1], Some(&args[2])))?;
    }
}
