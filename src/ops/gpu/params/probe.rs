//! Structs of `kernels/probe.cu`.

use super::device_structs;

device_structs! {
    /// A copy.
    struct CopyProbeParams, 8 bytes {
        /// Number of values, a multiple of four.
        0 => count: u64,
    }

    /// Multiply-adds in registers.
    struct FmaProbeParams, 8 bytes {
        /// Multiply-adds of every chain.
        0 => rounds: u32,
        /// What is added.
        4 => term: f32,
    }
}
