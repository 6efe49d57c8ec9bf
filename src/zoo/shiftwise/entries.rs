//! The registered shift-wise networks.

use super::ShiftWiseConfig;
use crate::zoo::entry::{NO_WEIGHTS, UNPUBLISHED, nano};
use crate::zoo::{Entry, ModelConfig, Preprocessing, Published};
use std::sync::Arc;

const FIRST: &str = "Li et al., Shift-ConvNets: Small Convolutional Kernel with Large Kernel Effects, 2024";
const SECOND: &str = "Li et al., ShiftwiseConv: Small Convolutional Kernel with Large Kernel Effect, CVPR 2025";
const WEIGHTS: &str = "link in the README of the shift-wiseConv repository";

/// All shift-wise networks.
pub(in crate::zoo) fn entries() -> Vec<Entry> {
    let entry = |name, paper, config: fn() -> ModelConfig, published, weights| {
        let preprocessing = Preprocessing::default();
        Entry { name, paper, config: Arc::new(config), published, preprocessing, weights }
    };
    let tiny = Published {
        params_m: Some(48.0),
        gmacs: Some(7.7),
        top1: None,
        remark: "published counts are those of merged paths (merged = paths); for these, the repository prints 48.01M. \
                 Its section 4.1 names a kernel of 47 in the third stage, but all counts are those of 45",
    };
    let checkpoint = Published { top1: Some(83.39), ..UNPUBLISHED };
    vec![
        entry("sw-v1-t", FIRST, || ShiftWiseConfig::tiny_v1().into(), tiny, NO_WEIGHTS),
        entry("sw-v1-s", FIRST, || ShiftWiseConfig::small_v1().into(), UNPUBLISHED, NO_WEIGHTS),
        entry("sw-v1-b", FIRST, || ShiftWiseConfig::base_v1().into(), UNPUBLISHED, NO_WEIGHTS),
        entry("sw-v2-t", SECOND, || ShiftWiseConfig::tiny_v2().into(), checkpoint, WEIGHTS),
        entry("sw-v2-s", SECOND, || ShiftWiseConfig::small_v2().into(), UNPUBLISHED, NO_WEIGHTS),
        entry("sw-v2-b", SECOND, || ShiftWiseConfig::base_v2().into(), UNPUBLISHED, NO_WEIGHTS),
        nano("nano-sw", || ShiftWiseConfig::nano().into()),
    ]
}
