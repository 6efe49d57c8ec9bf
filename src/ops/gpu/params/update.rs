//! Structs of `kernels/update.cu`.

use super::device_structs;
use crate::ops::gpu::FastDivisor;

device_structs! {
    /// A step of AdamW.
    struct AdamWParams, 40 bytes {
        /// Number of values.
        0 => count: i32,
        /// Decay rate of the first moment.
        4 => beta1: f32,
        /// 1 minus that.
        8 => rest1: f32,
        /// Decay rate of the second moment.
        12 => beta2: f32,
        /// 1 minus that.
        16 => rest2: f32,
        /// Added to the root of the second moment.
        20 => eps: f32,
        /// What gradients are multiplied by.
        24 => scale: f32,
        /// The learning rate, corrected for the first moment's start.
        28 => rate: f32,
        /// The correction for the second moment's start.
        32 => root: f32,
        /// What weight decay leaves.
        36 => keep: f32,
    }

    /// A mask with a bit per group of adjacent values.
    struct MaskParams, 16 bytes {
        /// Number of values.
        0 => count: i32,
        /// Values of a group.
        4 => by_group: FastDivisor,
    }

    /// Averaged weights.
    struct AverageParams, 28 bytes {
        /// The mask, or a mask of single values if there is none.
        0 => mask: MaskParams,
        /// Share of the average that is kept.
        16 => keep: f32,
        /// Share of the value that is added.
        20 => take: f32,
        /// Whether there is a mask.
        24 => masked: i32,
    }

    /// Sums of squares.
    struct SquareSumsParams, 8 bytes {
        /// Number of values.
        0 => count: i32,
        /// Index of the first chunk's sum.
        4 => first: i32,
    }
}
