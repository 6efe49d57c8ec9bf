//! Layers and images of every shape, generated and at the edges.

use super::super::support::{View, config};
use super::{Case, Checked, rectangle};
use crate::common::{Arg, differentiate};
use candle_core::DType;
use kernelscope::Result;
use kernelscope::ops::oriented1d::{self, Oriented1d, SizeMode, tap_offsets};
use kernelscope::ops::taps::cpu::Plan;
use kernelscope::ops::taps::{Geometry, Tap};
use proptest::prelude::*;
use proptest::test_runner::Config;
use std::sync::Arc;

proptest! {
    #![proptest_config(Config { cases: 256, ..config() })]

    #[test]
    fn every_instruction_set_follows_the_definition(case: Case) {
        case.check()?;
    }
}

proptest! {
    #![proptest_config(Config { cases: 96, ..config() })]

    #[test]
    fn half_precision_is_rounded_once(case: Case) {
        case.check_half()?;
    }
}

/// Every number of columns up to three of the widest tiles: all tiles, alone and overlapping.
#[test]
fn rows_of_every_length() -> Checked {
    for width in 1..=46 {
        for stride in 1..=3 {
            let geometry = Geometry { input: (3, width), output: (3, width.div_ceil(stride)), stride: (1, stride) };
            Case::new(1, vec![(rectangle((3, 5), (1, 1)), 5)], geometry).check()?;
        }
    }
    Ok(())
}

/// Runs of neighbouring taps of every length, and more taps in a row than one pass of the weight gradient takes.
#[test]
fn kernels_of_every_width() -> Checked {
    (1..=31).try_for_each(|taps| Case::same(2, vec![(rectangle((1, taps), (1, 1)), 4)], (2, 19)).check())
}

#[test]
fn largest_kernels_on_a_small_plane() -> Checked {
    for kernel in [(63, 63), (63, 1), (1, 63)] {
        Case::same(1, vec![(rectangle(kernel, (1, 1)), 5)], (7, 9)).check()?;
    }
    Ok(())
}

/// Large kernels on large images, whose sums are computed in parts, on images with sides of either parity; lines and small
/// kernels beside them in one layer.
#[test]
fn sums_in_parts() -> Checked {
    let sizes =
        [((13, 13), (28, 28)), ((15, 17), (31, 33)), ((51, 5), (56, 30)), ((5, 51), (30, 57)), ((31, 31), (57, 56))];
    for (kernel, size) in sizes {
        let groups = vec![(rectangle(kernel, (1, 1)), 17), (tap_offsets(0.9, kernel.0 * kernel.1), 2)];
        let case = Case::same(1, groups, size).varied(kernel.0 == 13, kernel.1 > 5, View::Transposed);
        let channels = Plan::new(Arc::new(case.table()?), case.geometry)?.channels_in_parts(1);
        prop_assert!(channels >= 16, "{channels} channels of {kernel:?} at {size:?}");
        case.check()?;
    }
    Case::same(2, vec![(rectangle((13, 13), (1, 1)), 16)], (29, 30)).check_half()
}

#[test]
fn one_pixel() -> Checked {
    let groups = vec![(rectangle((5, 5), (1, 2)), 17), (tap_offsets(0.4, 25), 1)];
    Case::same(2, groups, (1, 1)).varied(true, true, View::Contiguous).check()
}

#[test]
fn one_weight_per_channel() -> Checked {
    Case::same(2, vec![(vec![Tap { dh: 0, dw: 0 }], 17)], (5, 6)).varied(false, true, View::Offset).check()
}

#[test]
fn one_channel() -> Checked {
    Case::same(3, vec![(tap_offsets(1.1, 31), 1)], (13, 11)).varied(false, true, View::Transposed).check()
}

#[test]
fn more_than_a_thousand_channels() -> Checked {
    let groups = (0..4).map(|i| (tap_offsets(0.7 * i as f32, 7), 251 + i)).collect();
    Case::same(1, groups, (3, 4)).varied(true, true, View::Contiguous).check()
}

/// Channels in full and in partly filled blocks, and channels with taps of their own.
#[test]
fn both_engines_in_one_layer() -> Checked {
    let groups: Vec<_> = [33, 1, 16, 5, 1].iter().zip(0..).map(|(&n, i)| (tap_offsets(0.6 * i as f32, 9), n)).collect();
    Case::same(2, groups.clone(), (9, 10)).varied(true, true, View::Transposed).check()?;
    Case::new(2, groups, Geometry { input: (9, 10), output: (3, 5), stride: (3, 2) }).check()
}

/// Channels with nothing in common, in one image or in several that share vectors, on planes that are cut into strips of
/// one row or more, the last one partly, and on ones of which outputs are fewer or more than pixels.
#[test]
fn patterns_of_their_own() -> Checked {
    // Sparse and far apart: few taps of a channel are another's too.
    let pattern = |channel: i32, taps: i32, reach: i32| -> Vec<Tap> {
        let side = 2 * reach + 1;
        let place = |i: i32| (channel * 7919 + i * 104_729) % (side * side);
        (0..taps).map(|i| Tap { dh: place(i) / side - reach, dw: place(i) % side - reach }).collect()
    };
    let sizes = [(56, 40), (16, 33), (33, 17), (40, 3), (20, 14)];
    let mut mostly_alone = [0; 3];
    for ((size, reach), beyond) in sizes.into_iter().zip([25, 15, 30, 12, 20]).flat_map(|s| [0, 5, -5].map(|b| (s, b)))
    {
        let groups: Vec<_> = (0..9).map(|channel| (pattern(channel, 12, reach), 1)).collect();
        let output = (size.0 as isize + beyond, (size.1 as isize + beyond).max(1));
        let geometry = Geometry { input: size, output: (output.0 as usize, output.1 as usize), stride: (1, 1) };
        // Vectors of 4, 8 or 16 lanes: some are full, and some lack images.
        for (images, alone) in [2, 5, 17].into_iter().zip(&mut mostly_alone) {
            let case = Case::new(images, groups.clone(), geometry);
            *alone += usize::from(Plan::new(Arc::new(case.table()?), geometry)?.channels_alone(images) > 4);
            case.check()?;
        }
        Case::same(1, groups, size).varied(false, true, View::Transposed).check()?;
    }
    prop_assert!(mostly_alone.iter().all(|&alone| alone >= 8), "only {mostly_alone:?} cases are about strips");
    Ok(())
}

#[test]
fn several_weights_of_one_pixel() -> Checked {
    let taps = vec![Tap { dh: 0, dw: 0 }, Tap { dh: 1, dw: 1 }, Tap { dh: 0, dw: 0 }, Tap { dh: 1, dw: 1 }];
    Case::same(2, vec![(taps, 6)], (4, 20)).varied(false, true, View::Contiguous).check()
}

/// Nothing is read: the result is the bias, and there is no gradient but the bias's.
#[test]
fn taps_beside_the_image() -> Checked {
    let taps = [(9, 0), (-9, 0), (0, 8), (0, -8), (100_000, -100_000), (4096 * 62, 4096 * 62)];
    let taps: Vec<Tap> = taps.iter().map(|&(dh, dw)| Tap { dh, dw }).collect();
    let case = Case::same(2, vec![(taps, 5)], (9, 8));
    case.check()?;
    let (args, dy) = (case.args(), case.cotangent());
    let [y, dx, dw, _] = case.expected([0, 1, 2].map(|i| &args[i].values[..]), &dy.values);
    assert_eq!((&y.terms, &dx.terms, &dw.terms), (&vec![1; 720], &vec![0; 720], &vec![0; 30]));
    Ok(())
}

/// Source pixels of outputs lie far beyond the image, and offsets of more than 32 bits lead back into it.
#[test]
fn outputs_far_beyond_the_image() -> Checked {
    let geometry = Geometry { input: (1, 80_000), output: (3, 5), stride: (4096, 4096) };
    let far = (0..4).map(|i| Tap { dh: -4096 * (i / 2), dw: i % 2 - 4096 }).collect();
    Case::new(1, vec![(far, 4)], geometry).check()
}

/// Work and memory must not follow a stride that is never stepped.
#[test]
fn strides_beyond_the_image() -> Result<()> {
    for stride in [1 << 20, 1 << 32, 1 << 40] {
        let options = oriented1d::Options { stride, sizes: SizeMode::Arbitrary, ..Default::default() };
        let op = Oriented1d::new(&[0.0; 5], 3, options)?;
        for dtype in [DType::F32, DType::F64] {
            let args = [Arg::fill("x", &[1, 5, 2, 3], "input"), Arg::fill("weight", &[5, 1, 1, 3], "input")];
            let cotangent = Arg::new("cotangent", &[1, 5, 1, 1], vec![1.0; 5]);
            let outcome = differentiate(dtype, &args, &cotangent, |args| op.forward(&args[0], &args[1], None))?;
            for channel in 0..5 {
                let (x, w) = (&args[0].values[6 * channel..][..6], &args[1].values[3 * channel..][..3]);
                assert!((outcome[0].1[channel] - (w[1] * x[0] + w[2] * x[1])).abs() < 1e-6);
                assert_eq!(outcome[1].1[6 * channel..][..6], [w[1], w[2], 0.0, 0.0, 0.0, 0.0]);
                assert_eq!(outcome[2].1[3 * channel..][..3], [0.0, x[0], x[1]]);
            }
        }
    }
    Ok(())
}
