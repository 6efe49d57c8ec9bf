//! The pointwise convolution against plain loops.

use super::support::{View, compare, config, dtype, tolerance};
use crate::common::{Arg, Outcome, differentiate};
use candle_core::DType;
use kernelscope::ops::pointwise::pointwise;
use proptest::prelude::*;

#[derive(Debug, Clone)]
struct Case {
    images: usize,
    channels: usize,
    outputs: usize,
    size: (usize, usize),
    bias: bool,
    view: View,
    dtype: DType,
}

impl Arbitrary for Case {
    type Parameters = ();
    type Strategy = BoxedStrategy<Self>;

    fn arbitrary_with((): ()) -> Self::Strategy {
        (1..=3usize, 1..=70usize, 1..=70usize, (1..=20usize, 1..=20usize), any::<bool>(), View::any(), dtype())
            .prop_map(|(images, channels, outputs, size, bias, view, dtype)| Case {
                images,
                channels,
                outputs,
                size,
                bias,
                view,
                dtype,
            })
            .boxed()
    }
}

impl Case {
    /// x, the weights, and the bias if there is one.
    fn args(&self) -> Vec<Arg> {
        let mut args = vec![
            Arg::fill("x", &[self.images, self.channels, self.size.0, self.size.1], "input"),
            Arg::fill("weight", &[self.outputs, self.channels], "weight"),
        ];
        args.extend(self.bias.then(|| Arg::fill("bias", &[self.outputs], "bias")));
        args
    }

    fn cotangent(&self) -> Arg {
        Arg::fill("cotangent", &[self.images, self.outputs, self.size.0, self.size.1], "input")
    }

    fn reference(&self) -> Outcome {
        let (args, dy) = (self.args(), self.cotangent().values);
        let (x, weight) = (&args[0].values, &args[1].values);
        let positions = self.size.0 * self.size.1;
        let (mut y, mut dx) = (vec![0.0; dy.len()], vec![0.0; x.len()]);
        let (mut dw, mut db) = (vec![0.0; weight.len()], vec![0.0; self.outputs]);
        dy.iter().enumerate().for_each(|(i, dy)| db[i / positions % self.outputs] += dy);
        for n in 0..self.images {
            for o in 0..self.outputs {
                for s in 0..positions {
                    let out = (n * self.outputs + o) * positions + s;
                    y[out] = args.get(2).map_or(0.0, |bias| bias.values[o]);
                    for c in 0..self.channels {
                        let (w, from) = (o * self.channels + c, (n * self.channels + c) * positions + s);
                        y[out] += weight[w] * x[from];
                        dx[from] += weight[w] * dy[out];
                        dw[w] += dy[out] * x[from];
                    }
                }
            }
        }
        let mut outcome = vec![("y", y), ("x", dx), ("weight", dw)];
        outcome.extend(self.bias.then_some(("bias", db)));
        outcome
    }

    fn run(&self) -> kernelscope::Result<Outcome> {
        differentiate(self.dtype, &self.args(), &self.cotangent(), |args| {
            pointwise(&self.view.of(&args[0])?, &self.view.of(&args[1])?, args.get(2))
        })
    }

    fn check(&self) -> Result<(), TestCaseError> {
        compare(&self.run()?, &self.reference(), |_| tolerance(self.dtype))
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn follows_plain_loops(case: Case) {
        case.check()?;
    }
}

#[test]
fn one_of_everything() -> Result<(), TestCaseError> {
    let (bias, view, dtype) = (true, View::Contiguous, DType::F64);
    Case { images: 1, channels: 1, outputs: 1, size: (1, 1), bias, view, dtype }.check()
}
