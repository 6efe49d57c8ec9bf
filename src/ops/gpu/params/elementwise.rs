//! Structs of `kernels/elementwise.cu`.

use super::device_structs;

device_structs! {
    /// A map over all values.
    struct MapParams, 8 bytes {
        /// Number of values.
        0 => count: u64,
    }

    /// The sum over images.
    struct ImageSumParams, 16 bytes {
        /// Values of an image.
        0 => count: u64,
        /// Number of images.
        8 => images: u64,
    }

    /// Max pooling.
    struct MaxPoolParams, 32 bytes {
        /// Images times channels.
        0 => planes: i32,
        /// Rows of the input.
        4 => rows: i32,
        /// Its columns.
        8 => cols: i32,
        /// Rows of the output.
        12 => result_rows: i32,
        /// Its columns.
        16 => result_cols: i32,
        /// Side of the window.
        20 => kernel: i32,
        /// Pixels from one window to the next.
        24 => stride: i32,
        /// Pixels around the input.
        28 => padding: i32,
    }
}
