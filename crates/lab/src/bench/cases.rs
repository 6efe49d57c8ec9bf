//! What is measured: depthwise convolutions at the shapes of the papers.

pub use super::case::{ANGLES, Case, Kernel, Prepared};

use kernelscope::zoo::PerStage;
use kernelscope::zoo::convnext::{ConvNextConfig, Variant};
use kernelscope::zoo::replknet::RepLkNetConfig;
use kernelscope::zoo::shiftwise::ShiftWiseConfig;
use kernelscope::zoo::slak::SlakConfig;

/// Images and channels to take in place of the papers'.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Override {
    /// Images N; 4 otherwise.
    pub images: Option<usize>,
    /// Channels C.
    pub channels: Option<usize>,
}

const IMAGES: usize = 4;
const CHANNELS: usize = 512;
const SIDES: [usize; 3] = [14, 28, 56];
const DENSE: [(usize, usize); 5] = [(3, 3), (7, 7), (31, 31), (51, 5), (5, 51)];
const LINES: [usize; 2] = [7, 31];

/// Side of the image and length of the kernels of the stages of SW-T (n = 5) but the last.
fn shiftwise() -> Vec<(usize, usize)> {
    STAGES.into_iter().zip(ShiftWiseConfig::tiny_v1().kernel.0).take(3).collect()
}

/// Shares of the small kernels that are left, in percent.
const KEPT: [usize; 3] = [100, 30, 10];

/// Sides of the feature maps of a network's four stages, at 224x224.
const STAGES: [usize; 4] = [56, 28, 14, 7];

/// Kernel and channels of a stage.
type Stage = ((usize, usize), usize);

/// The large kernels of the papers' networks, stage by stage, with the kernels of the networks' configurations.
fn networks() -> [(&'static str, [Vec<Stage>; 4]); 3] {
    let (convnext, replknet, slak) =
        (ConvNextConfig::tiny(Variant::TwoD), RepLkNetConfig::base_31(), SlakConfig::tiny());
    let square = |kernel: PerStage, channels: PerStage| {
        std::array::from_fn(|stage| vec![((kernel.stage(stage), kernel.stage(stage)), channels.stage(stage))])
    };
    let rectangles = |stage| {
        let (long, short) = (slak.kernel.stage(stage), slak.small_kernel.unwrap_or(slak.kernel.stage(stage)));
        // The network has 249, 499 and 998 channels after the first stage; all results so far are of 248, 496 and 992.
        [(long, short), (short, long)].map(|shape| (shape, 124 << stage)).to_vec()
    };
    [
        ("convnext-t", square(convnext.kernel, convnext.dims)),
        ("replknet-31b", square(replknet.kernel, replknet.dims)),
        ("slak-t", std::array::from_fn(rectangles)),
    ]
}

/// All cases, in the order in which they are measured:
///
/// - oriented kernels (each of eight angles, and all of them at once) and dense ones, on 512 channels of 14x14, 28x28
///   and 56x56, as in the benchmarks of the paper on oriented kernels;
/// - the same at stride 2 on 56x56;
/// - the stages of ConvNeXt-T, RepLKNet-31B and SLaK-T;
/// - tap lists: a 31x31 square, and a quarter of it;
/// - merged shift-wise kernels at the sizes of SW-T, whole and pruned.
pub fn cases(given: Override) -> Vec<Case> {
    let plain = |kernel, side, stride| Case { network: None, kernel, images: IMAGES, channels: CHANNELS, side, stride };
    let dense = |(height, width)| Kernel::Dense { height, width };
    let mut cases = Vec::new();
    for side in SIDES {
        for taps in LINES {
            cases.extend((0..ANGLES).map(|angle| plain(Kernel::Line { taps, angle }, side, 1)));
            cases.push(plain(Kernel::Lines { taps }, side, 1));
        }
        cases.extend(DENSE.map(|shape| plain(dense(shape), side, 1)));
    }
    cases.extend(LINES.map(|taps| plain(Kernel::Lines { taps }, 56, 2)));
    cases.extend(DENSE.map(|shape| plain(dense(shape), 56, 2)));
    for (network, stages) in networks() {
        for (side, kernels) in STAGES.into_iter().zip(stages) {
            cases.extend(kernels.into_iter().map(|(shape, channels)| Case {
                network: Some(network),
                channels,
                ..plain(dense(shape), side, 1)
            }));
        }
    }
    for (percent, per_channel) in [(100, false), (25, false), (25, true)] {
        cases.push(Case { channels: 64, ..plain(Kernel::Pruned { side: 31, percent, per_channel }, 56, 1) });
    }
    for (side, length) in shiftwise() {
        cases.extend(KEPT.map(|percent| plain(Kernel::ShiftWise { length, small: 5, percent }, side, 1)));
    }
    for case in &mut cases {
        case.images = given.images.unwrap_or(case.images);
        case.channels = given.channels.unwrap_or(case.channels);
    }
    cases
}

/// Kernels K x K and sides of RepLKNet's comparison of implementations (its Table 1): 24 layers of 384 channels.
const REPLK_KERNELS: [usize; 10] = [3, 5, 7, 9, 13, 17, 21, 27, 29, 31];
const REPLK_SIDES: [usize; 3] = [16, 32, 64];

/// The cases for GPUs: those of [`cases`], the layers of RepLKNet's Table 1, and merged shift-wise kernels of which a
/// quarter is left (Table 5 of Shift-wise).
pub fn gpu_cases(given: Override) -> Vec<Case> {
    let images = given.images.unwrap_or(IMAGES);
    let case = |kernel, side, channels| Case {
        network: None,
        kernel,
        images,
        channels: given.channels.unwrap_or(channels),
        side,
        stride: 1,
    };
    let dense = |side: usize| REPLK_KERNELS.map(|k| case(Kernel::Dense { height: k, width: k }, side, 384));
    let quarter = |(side, length)| case(Kernel::ShiftWise { length, small: 5, percent: 25 }, side, CHANNELS);
    let more = REPLK_SIDES.into_iter().flat_map(dense).chain(shiftwise().into_iter().map(quarter));
    cases(given).into_iter().chain(more).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_of_cases_are_unique() {
        for given in [Override::default(), Override { images: Some(1), channels: Some(8) }] {
            let names: Vec<String> = cases(given).iter().map(Case::to_string).collect();
            let distinct: HashSet<&String> = names.iter().collect();
            assert_eq!(distinct.len(), names.len(), "{names:?}");
        }
    }

    #[test]
    fn names_say_what_is_measured() {
        let names: Vec<String> = cases(Override::default()).iter().map(Case::to_string).collect();
        for name in [
            "1x31 45deg 512x56x56",
            "1x7 22.5deg 512x14x14",
            "1x31 eight angles 512x56x56 /2",
            "5x51 512x28x28",
            "convnext-t 7x7 768x7x7",
            "replknet-31b 29x29 256x28x28",
            "slak-t 51x5 124x56x56",
            "taps 31x31 all 64x56x56",
            "taps 31x31 25% pattern per channel 64x56x56",
            "shiftwise 49x5 all 512x28x28",
            "shiftwise 45x5 30% 512x14x14",
        ] {
            assert!(names.iter().any(|n| n == name), "no {name} in {names:#?}");
        }
    }

    #[test]
    fn shapes_are_those_of_the_papers() {
        let of = |network: &str| -> Vec<String> {
            let cases = cases(Override::default()).into_iter().filter(|case| case.network == Some(network));
            cases.map(|case| case.to_string().replace(&format!("{network} "), "")).collect()
        };
        assert_eq!(of("convnext-t"), ["7x7 96x56x56", "7x7 192x28x28", "7x7 384x14x14", "7x7 768x7x7"]);
        assert_eq!(of("replknet-31b"), ["31x31 128x56x56", "29x29 256x28x28", "27x27 512x14x14", "13x13 1024x7x7"]);
        let slak = [
            "51x5 124x56x56",
            "5x51 124x56x56",
            "49x5 248x28x28",
            "5x49 248x28x28",
            "47x5 496x14x14",
            "5x47 496x14x14",
            "13x5 992x7x7",
            "5x13 992x7x7",
        ];
        assert_eq!(of("slak-t"), slak);
        assert_eq!(shiftwise(), [(56, 51), (28, 49), (14, 45)]);
    }
}
