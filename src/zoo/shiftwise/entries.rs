//! The registered shift-wise networks.

use super::ShiftWiseConfig;
use crate::zoo::registry::{NO_WEIGHTS, UNPUBLISHED, nano};
use crate::zoo::{Entry, ModelConfig, Preprocessing, Published};

const FIRST: &str = "Li et al., Shift-ConvNets: Small Convolutional Kernel with Large Kernel Effects, 2024";
const SECOND: &str = "Li et al., ShiftwiseConv: Small Convolutional Kernel with Large Kernel Effect, CVPR 2025";
const WEIGHTS: &str = "link in the readme of the shift-wiseConv repository";

/// All shift-wise networks.
pub(in crate::zoo) fn entries() -> Vec<Entry> {
    use ModelConfig::ShiftWise;
    let entry = |name, paper, config, published, weights| {
        let preprocessing = Preprocessing::default();
        Entry { name, paper, config, published, preprocessing, weights }
    };
    let tiny = Published {
        params_m: Some(48.0),
        gmacs: Some(7.7),
        top1: None,
        remark: "published counts are those of merged paths (merged = paths); with these the repository prints 48.01M, and \
                 its section 4.1 a kernel of 47 in the third stage, where all counts are those of 45",
    };
    let checkpoint = Published { top1: Some(83.39), ..UNPUBLISHED };
    vec![
        entry("sw-v1-t", FIRST, || ShiftWise(ShiftWiseConfig::tiny_v1()), tiny, NO_WEIGHTS),
        entry("sw-v1-s", FIRST, || ShiftWise(ShiftWiseConfig::small_v1()), UNPUBLISHED, NO_WEIGHTS),
        entry("sw-v1-b", FIRST, || ShiftWise(ShiftWiseConfig::base_v1()), UNPUBLISHED, NO_WEIGHTS),
        entry("sw-v2-t", SECOND, || ShiftWise(ShiftWiseConfig::tiny_v2()), checkpoint, WEIGHTS),
        entry("sw-v2-s", SECOND, || ShiftWise(ShiftWiseConfig::small_v2()), UNPUBLISHED, NO_WEIGHTS),
        entry("sw-v2-b", SECOND, || ShiftWise(ShiftWiseConfig::base_v2()), UNPUBLISHED, NO_WEIGHTS),
        nano("nano-sw", || ShiftWise(ShiftWiseConfig::nano())),
    ]
}
