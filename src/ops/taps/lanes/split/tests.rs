use super::choice::{COMBINED, COMBINED_FOR_WEIGHTS, SplitChoice};
use super::{SplitBuffers, SplitCorrelateTask, SplitCorrelations, SplitSums, SplitTask};
use crate::ops::taps::lanes::kernels::{Prefetcher, TargetPlanes};
use crate::ops::taps::lanes::plan::IndexedTap;
use crate::ops::taps::lanes::scratch::with_scratch;
use crate::ops::taps::lanes::vector::{MAX_LANES, dispatch};
use crate::ops::taps::lanes::{AlignedVec, StartVector, Supported};
use crate::ops::taps::{Geometry, Tap};

const AXES: [(bool, bool); 3] = [(true, true), (true, false), (false, true)];

fn value(i: usize) -> f32 {
    (i * 7919 % 1009) as f32 / 1009.0 - 0.5
}

/// What the sums and the gradients of their weights should be, in lane 0 of planes `x` and `dy`.
fn expected(taps: &[Tap], geometry: &Geometry, [x, dy, w]: [&[f32]; 3]) -> [Vec<f64>; 2] {
    let (height, width) = geometry.input;
    let mut y = vec![0.0; dy.len()];
    let mut dw = vec![0.0; taps.len()];
    for (out, (y, &dy)) in y.iter_mut().zip(dy).enumerate() {
        let (p, q) = (out / geometry.output.1, out % geometry.output.1);
        for (k, tap) in taps.iter().enumerate() {
            let (row, col) = (p as i64 + i64::from(tap.dh), q as i64 + i64::from(tap.dw));
            if (0..height as i64).contains(&row) && (0..width as i64).contains(&col) {
                let x = f64::from(x[row as usize * width + col as usize]);
                *y += f64::from(w[k]) * x;
                dw[k] += f64::from(dy) * x;
            }
        }
    }
    [y, dw]
}

/// Every way to split follows the definition, on sides that are even or odd or smaller than the kernel, with more or
/// fewer outputs than pixels, and with taps of any pattern.
#[test]
fn parts_follow_the_definition() {
    let rectangle = |height: i32, width: i32| -> Vec<Tap> {
        let tap = |i: i32| Tap { dh: i / width - height / 2, dw: i % width - width / 2 };
        (0..height * width).map(tap).collect()
    };
    let scattered = [(0, 0), (3, -4), (-2, 1), (5, 5), (-7, 0), (40, 1)].map(|(dh, dw)| Tap { dh, dw }).to_vec();
    let patterns = [rectangle(1, 1), rectangle(3, 3), rectangle(5, 4), rectangle(9, 7), scattered];
    let sizes = [((1, 1), (1, 1)), ((2, 3), (2, 3)), ((5, 8), (5, 8)), ((9, 7), (8, 9)), ((16, 15), (17, 14))];
    for (taps, ((input, output), axes)) in
        patterns.iter().flat_map(|taps| sizes.iter().flat_map(move |size| AXES.map(|axes| (taps, (*size, axes)))))
    {
        let geometry = Geometry { input, output, stride: (1, 1) };
        let pixels = |seed: usize, (rows, cols): (usize, usize)| -> Vec<f32> {
            (0..rows * cols).map(|i| value(i + seed)).collect()
        };
        let (x, dy) = (pixels(1, input), pixels(500, output));
        let w: Vec<f32> = (0..taps.len()).map(|i| value(i + 77)).collect();
        let [y, dw] = expected(taps, &geometry, [&x, &dy, &w]);
        for set in Supported::all() {
            let what = format!("{taps:?} on {geometry:?}, split {axes:?}, {set}");
            let numbered: Vec<IndexedTap> = taps.iter().copied().zip(0..).collect();
            let choice = || SplitChoice::new(&numbered, &geometry, axes);
            let actual = sums(set, &SplitSums::of(set, choice(), &geometry), [&x, &w], output.0 * output.1);
            for (actual, expected) in actual.iter().zip(&y) {
                assert!((f64::from(*actual) - expected).abs() < 1e-5, "{actual}, not {expected}: {what}");
            }
            let actual = gradients(set, &SplitCorrelations::of(set, choice(), &geometry), [&x, &dy], taps.len());
            for (actual, expected) in actual.iter().zip(dw.iter().chain([&dy.iter().map(|&v| f64::from(v)).sum()])) {
                assert!((f64::from(*actual) - expected).abs() < 1e-5, "{actual}, not {expected}: {what}");
            }
        }
    }
}

/// Starts are a quarter, which is taken off again.
fn sums(set: Supported, split: &SplitSums, [x, w]: [&[f32]; 2], outputs: usize) -> Vec<f32> {
    let lanes = set.lanes();
    let mut weights = AlignedVec::zeros(w.len() * lanes);
    weights.as_mut().chunks_exact_mut(lanes).zip(w).for_each(|(to, &w)| to.fill(w));
    let weights = split.merge(lanes, weights.as_ref());
    let starts = [StartVector([0.25; MAX_LANES]), StartVector([0.0; MAX_LANES])];
    let mut results = vec![vec![f32::NAN; outputs]; MAX_LANES];
    let mut planes = results.iter_mut().map(|plane| plane.as_mut_ptr()).collect::<Vec<_>>().into_iter();
    let targets = TargetPlanes {
        planes: std::array::from_fn(|_| planes.next().unwrap_or(std::ptr::null_mut())),
        count: lanes,
        stream: false,
    };
    with_scratch(split.floats(lanes), |places| {
        let starts = starts.each_ref().map(|start| start.0.as_ptr());
        let places = SplitBuffers { places, weights: weights.as_ptr(), starts };
        let maps = ([x.as_ptr(); MAX_LANES], targets);
        // SAFETY: planes and places have the sizes of the plan, and the weights are merged for it.
        unsafe { dispatch(set, SplitTask::<f32> { split, maps, places, ahead: Prefetcher::nothing() }) };
    });
    for lane in &results[1..lanes] {
        assert_eq!(lane, &results[0]);
    }
    results.swap_remove(0).into_iter().map(|y| y - 0.25).collect()
}

fn gradients(set: Supported, split: &SplitCorrelations, [x, dy]: [&[f32]; 2], taps: usize) -> Vec<f32> {
    let lanes = set.lanes();
    let mut sums = AlignedVec::zeros((taps + 1) * lanes);
    with_scratch(split.floats(lanes), |places| {
        let maps = [x, dy].map(|map| [map.as_ptr(); MAX_LANES]);
        // SAFETY: planes and places have the sizes of the plan, and there is a vector of sums for each tap and one more.
        unsafe { dispatch(set, SplitCorrelateTask { split, maps, places, sums: sums.as_mut() }) };
    });
    sums.as_ref().iter().step_by(lanes).copied().collect()
}

/// Large kernels on large images are worth it; small ones, and small images, are not.
#[test]
fn what_is_split() {
    let split = |height: i32, width: i32, side: usize| {
        let tap = |i: i32| Tap { dh: i / width - height / 2, dw: i % width - width / 2 };
        let taps: Vec<IndexedTap> = (0..height * width).map(tap).zip(0..).collect();
        let geometry = Geometry { input: (side, side), output: (side, side), stride: (1, 1) };
        [COMBINED, COMBINED_FOR_WEIGHTS].map(|combined| SplitChoice::best(&taps, &geometry, combined).is_some())
    };
    assert_eq!(split(31, 31, 56), [true, true]);
    for (height, width, side) in [(31, 31, 28), (13, 13, 28), (13, 13, 56), (51, 5, 56), (51, 5, 28)] {
        assert_eq!(split(height, width, side), [true, false], "{height}x{width} at {side}");
    }
    for (height, width, side) in [(7, 7, 56), (9, 9, 56), (1, 31, 56), (31, 1, 56), (13, 13, 14), (31, 31, 7)] {
        assert_eq!(split(height, width, side), [false, false], "{height}x{width} at {side}");
    }
}
