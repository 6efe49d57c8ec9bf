//! Structs of `kernels/planes.cu`.

use super::device_structs;

device_structs! {
    /// Planes: images times channels.
    struct PlaneParams, 12 bytes {
        /// Images N.
        0 => images: i32,
        /// Channels C.
        4 => channels: i32,
        /// Positions of a plane.
        8 => positions: i32,
    }

    /// Sums over planes.
    struct PlaneSumsParams, 20 bytes {
        /// The planes.
        0 => planes: PlaneParams,
        /// Whether the first sum is that of squares.
        12 => squares: i32,
        /// Whether a shift is subtracted.
        16 => shifted: i32,
    }

    /// Affine combinations of two maps.
    struct PlaneAffineParams, 20 bytes {
        /// The planes.
        0 => planes: PlaneParams,
        /// Whether there is a second map.
        12 => has_b: i32,
        /// Whether factors are those of channels, not of planes.
        16 => per_channel: i32,
    }

    /// Sums of planes, added up over the images.
    struct ChannelSumsParams, 20 bytes {
        /// The planes.
        0 => planes: PlaneParams,
        /// Which of the two sums of a plane.
        12 => which: i32,
        /// Whether there is a factor per image.
        16 => has_keep: i32,
    }

    /// The factors of a residual.
    struct ResidualFactorsParams, 20 bytes {
        /// The planes.
        0 => planes: PlaneParams,
        /// Whether there is a factor per channel.
        12 => has_gamma: i32,
        /// Whether they are those of the branch's gradient.
        16 => gradient: i32,
    }
}
