//! Structs of `kernels/layer_norm.cu`.

use super::device_structs;

device_structs! {
    /// Layer norm of (outer, channels, inner).
    struct LayerNormParams, 28 bytes {
        /// First axis.
        0 => outer: i32,
        /// Second axis, which is normalized over.
        4 => channels: i32,
        /// Last axis.
        8 => inner: i32,
        /// Adjacent positions of a block, a power of two.
        12 => positions: i32,
        /// Whether they are staged in shared memory.
        16 => staged: i32,
        /// Added to the variance.
        20 => eps: f32,
        /// Blocks that share the sums for the gradients of weight and bias.
        24 => splits: i32,
    }
}
