//! Tap lists against their definition: shared and per channel, of different lengths, in all engines and types.

use super::support::{compare, config, dtype, tolerance};
use crate::common::{Arg, Outcome, differentiate};
use candle_core::DType;
use kernelscope::ops::taplist::{TapList, reference};
use kernelscope::ops::taps::Tap;
use proptest::prelude::*;

#[derive(Debug, Clone)]
struct Case {
    images: usize,
    taps: Vec<Vec<Tap>>,
    size: (usize, usize),
    output: (usize, usize),
    bias: bool,
    dtype: DType,
}

/// Lists for channels: all the same, or each its own, some empty.
fn lists() -> impl Strategy<Value = Vec<Vec<Tap>>> {
    let tap = (-9..=9i32, -20..=20i32).prop_map(|(dh, dw)| Tap { dh, dw });
    let list = |least: usize| prop::collection::vec(tap.clone(), least..=12);
    prop_oneof![
        (list(1), 1..=20usize).prop_map(|(list, channels)| vec![list; channels]),
        (list(1), prop::collection::vec(list(0), 0..=7)).prop_map(|(first, mut others)| {
            others.insert(others.len() / 2, first);
            others
        }),
        // Some share, some do not.
        (list(1), list(1), 1..=6usize).prop_map(|(a, b, n)| [vec![a; 3 * n], vec![b], vec![vec![]]].concat()),
    ]
}

impl Arbitrary for Case {
    type Parameters = ();
    type Strategy = BoxedStrategy<Self>;

    fn arbitrary_with((): ()) -> Self::Strategy {
        let size = || (1..=12usize, 1..=30usize);
        (1..=2usize, lists(), size(), prop::option::of(size()), any::<bool>(), dtype())
            .prop_map(|(images, taps, size, output, bias, dtype)| {
                let output = output.unwrap_or(size);
                Case { images, taps, size, output, bias, dtype }
            })
            .boxed()
    }
}

impl Case {
    fn args(&self) -> Vec<Arg> {
        let longest = self.taps.iter().map(Vec::len).max().unwrap();
        let mut args = vec![
            Arg::fill("x", &[self.images, self.taps.len(), self.size.0, self.size.1], "input"),
            Arg::fill("weight", &[self.taps.len(), longest], "input"),
        ];
        args.extend(self.bias.then(|| Arg::fill("bias", &[self.taps.len()], "input")));
        args
    }

    fn expected(&self, args: &[Arg], dy: &[f64]) -> Outcome {
        let ((h, w), (p, q)) = (self.size, self.output);
        let shape = reference::Shape { n: self.images, c: self.taps.len(), h, w, p, q };
        let (x, weight) = (&args[0].values, &args[1].values);
        let bias = args.get(2).map_or(vec![0.0; shape.c], |bias| bias.values.clone());
        let mut outcome = vec![
            ("y", reference::forward(&shape, &self.taps, x, weight, &bias)),
            ("x", reference::input_grad(&shape, &self.taps, dy, weight)),
            ("weight", reference::weight_grad(&shape, &self.taps, x, dy)),
        ];
        if self.bias {
            let mut db = vec![0.0; shape.c];
            dy.iter().enumerate().for_each(|(i, dy)| db[i / (p * q) % shape.c] += dy);
            outcome.push(("bias", db));
        }
        outcome
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let args = self.args();
        let (rows, cols) = self.output;
        let cotangent = Arg::fill("cotangent", &[self.images, self.taps.len(), rows, cols], "input");
        let expected = self.expected(&args, &cotangent.values);
        let op = TapList::new(&self.taps).unwrap();
        let outcome = differentiate(self.dtype, &args, &cotangent, |args| {
            op.forward_sized(&args[0], &args[1], args.get(2), self.output)
        });
        compare(&outcome?, &expected, |_| tolerance(self.dtype))
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_list_of_taps_follows_the_definition(case: Case) {
        case.check()?;
    }
}

#[test]
fn many_channels_without_taps_ignore_their_weights() -> Result<(), TestCaseError> {
    // Enough for a block of channels of their own, with as many weights as they have stand-in taps.
    let taps = [vec![vec![]; 40], vec![vec![Tap { dh: 0, dw: 1 }]; 3]].concat();
    for dtype in [DType::F32, DType::F64] {
        Case { images: 2, taps: taps.clone(), size: (5, 6), output: (5, 6), bias: true, dtype }.check()?;
    }
    Ok(())
}
