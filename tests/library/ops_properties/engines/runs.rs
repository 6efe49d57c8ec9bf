//! Memory, threads and views change nothing.

use super::super::support::View;
use super::{Case, Checked, follows, rectangle};
use crate::common::{Arg, Outcome, bits, differentiate, random, values};
use candle_core::DType;
use kernelscope::Result;
use kernelscope::ops::depthwise2d::{self, Depthwise2d};
use kernelscope::ops::oriented1d::tap_offsets;
use kernelscope::ops::taps::cpu::Plan;
use kernelscope::ops::taps::{Geometry, InstructionSet};
use std::sync::Arc;

/// A layer with wide margins, one with none and a larger sheet, and the first again use the same memory of one thread.
#[test]
fn margins_survive_other_layers() -> Result<()> {
    let wide = Depthwise2d::new(5, depthwise2d::Options::same(3, 31))?;
    let bare = Depthwise2d::new(5, depthwise2d::Options::same(1, 1))?;
    let sizes = [(&wide, (3, 31), (9, 20)), (&bare, (1, 1), (30, 31)), (&wide, (3, 31), (14, 5))];
    let run = || -> Checked {
        for (op, kernel, size) in sizes.into_iter().chain(sizes) {
            let case = Case::same(2, vec![(rectangle(kernel, (1, 1)), 5)], size);
            let ([x, w, b], cotangent) = (case.args(), case.cotangent());
            let expected = case.expected([&x.values, &w.values, &b.values], &cotangent.values);
            let w = Arg { shape: vec![5, 1, kernel.0, kernel.1], ..w };
            let outcome = differentiate(DType::F32, &[x, w, b], &cotangent, |args| {
                op.forward(&args[0], &args[1], Some(&args[2]))
            })?;
            follows(&outcome, &expected, InstructionSet::best())?;
        }
        Ok(())
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    pool.install(run).unwrap();
    Ok(())
}

/// Not a bit depends on the number of threads, in any precision.
#[test]
fn threads_do_not_matter_on_any_instruction_set() -> Result<()> {
    let groups: Vec<_> = [40, 1, 7].iter().zip(0..).map(|(&n, i)| (tap_offsets(0.9 * i as f32, 15), n)).collect();
    let same = Case::same(3, groups.clone(), (23, 19)).varied(true, true, View::Contiguous);
    let strided = Case::new(3, groups, Geometry { input: (23, 19), output: (12, 19), stride: (2, 1) });
    let in_parts = Case::same(3, vec![(rectangle((13, 13), (1, 1)), 33)], (28, 29));
    for (case, set) in [same, strided, in_parts]
        .iter()
        .flat_map(|case| InstructionSet::available().into_iter().map(move |set| (case, set)))
    {
        let (args, cotangent, conv) = (case.args(), case.cotangent(), case.conv(set)?);
        let run = |threads: usize| -> Result<Outcome> {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let mut outcome = differentiate(DType::F32, &args, &cotangent, |args| {
                    conv.apply(&args[0], &args[1], Some(&args[2]))
                })?;
                for (name, dtype) in [("f16", DType::F16), ("bf16", DType::BF16)] {
                    let [x, w, b] = [0, 1, 2].map(|i| args[i].tensor(dtype));
                    outcome.push((name, values(&conv.apply(&x?, &w?, Some(&b?))?)));
                }
                Ok(outcome)
            })
        };
        let one = run(1)?;
        assert!(one.iter().all(|(_, values)| values.iter().any(|&value| value != 0.0)));
        for threads in [2, 5] {
            for ((name, expected), (_, actual)) in one.iter().zip(&run(threads)?) {
                let same = expected.iter().zip(actual).all(|(a, b)| a.to_bits() == b.to_bits());
                assert!(same, "{name} on {set} with {threads} threads");
            }
        }
    }
    Ok(())
}

/// Gradients come alone as they come together.
#[test]
fn gradients_that_are_not_wanted_change_nothing() -> Result<()> {
    let groups = vec![(tap_offsets(0.3, 9), 11), (tap_offsets(1.3, 9), 1)];
    let case = Case::same(2, groups, (8, 9));
    let single = |arg: &Arg| arg.values.iter().map(|&value| value as f32).collect::<Vec<_>>();
    let ([x, w, _], dy) = (case.args().each_ref().map(single), single(&case.cotangent()));
    for set in InstructionSet::available() {
        let plan = Plan::with_instructions(Arc::new(case.table()?), case.geometry, set)?;
        let all = plan.gradients([&x, &w, &dy], false, [true; 3])?;
        for wanted in (0..7).map(|i| [i & 1 != 0, i & 2 != 0, i & 4 != 0]) {
            let some = plan.gradients([&x, &w, &dy], false, wanted)?;
            assert_eq!(some.input, all.input.clone().filter(|_| wanted[0]), "{set} {wanted:?}");
            assert_eq!(some.weight, all.weight.clone().filter(|_| wanted[1]), "{set} {wanted:?}");
            // The bias's is added up in another order where the weights' is not computed.
            let pairs = some.bias.iter().flatten().zip(all.bias.iter().flatten());
            assert!(pairs.clone().all(|(a, b)| (a - b).abs() < 1e-4), "{set} {wanted:?}");
            assert_eq!((some.bias.is_some(), pairs.count()), (wanted[2], if wanted[2] { 12 } else { 0 }));
        }
    }
    Ok(())
}

#[test]
fn narrowed_channels_are_read_where_they_lie() -> Result<()> {
    let case = Case::same(2, vec![(tap_offsets(0.8, 7), 6)], (7, 11));
    let x = random("x", &[2, 9, 7, 11]).narrow(1, 2, 6)?;
    let [_, w, b] = case.args().map(|arg| arg.tensor(DType::F32).unwrap());
    for set in InstructionSet::available() {
        let conv = case.conv(set)?;
        let expected = conv.apply(&x.contiguous()?, &w, Some(&b))?;
        assert_eq!(bits(&conv.apply(&x, &w, Some(&b))?), bits(&expected), "{set}");
    }
    Ok(())
}
