//! Structs of `kernels/taps.cuh`, which explains tiles, chunks, packs and Toeplitz blocks.

use super::device_structs;
use crate::ops::gpu::FastDivisor;

device_structs! {
    /// The cells of a tile, and where they are in shared memory.
    struct TileLayout, 60 bytes {
        /// Rows of one phase.
        0 => rows: i32,
        /// Columns of one phase.
        4 => cols: i32,
        /// Words from one line to the next.
        8 => pitch: i32,
        /// Lines, after which diagonals wrap around.
        12 => lines: i32,
        /// A multiple of the lines that makes column minus row positive.
        16 => wrap_bias: i32,
        /// Words of one phase.
        20 => words: i32,
        /// Columns of all phases.
        24 => by_cols: FastDivisor,
        /// Rows of all phases.
        36 => by_rows: FastDivisor,
        /// Lines.
        48 => by_lines: FastDivisor,
    }

    /// The channels of one tap group, in the tables. What ends in `_at` is the index of a list in the tables.
    struct GroupParams, 296 bytes {
        /// Direction of register tiles and chunks.
        0 => direction: i32,
        /// Row of the first staged cell, relative to the tile's first result.
        4 => first_row: i32,
        /// Its column.
        8 => first_col: i32,
        /// The staged source.
        12 => source: TileLayout,
        /// Rows of the plane that are staged, where the tile is the whole plane.
        72 => by_height: FastDivisor,
        /// Words of all phases of one image.
        84 => image_words: i32,
        /// Where each phase starts within an image, or -1.
        88 => phase_words_at: i32,
        /// The staged gradients of the results, in the weight gradient.
        92 => results: TileLayout,
        /// Words of one image's.
        152 => result_words: i32,
        /// Register tiles along a line.
        156 => strips: i32,
        /// Lines of register tiles.
        160 => lines: i32,
        /// Lines that are no padding.
        164 => active_lines: i32,
        /// Lines of register tiles.
        168 => by_lines: FastDivisor,
        /// Register tiles of an image.
        180 => by_positions: FastDivisor,
        /// Logarithm of the lines of a warp with Toeplitz blocks, or -1.
        192 => warp_lines_log2: i32,
        /// Blocks of so many lines, or 0.
        196 => line_blocks: i32,
        /// Blocks of lines.
        200 => by_line_blocks: FastDivisor,
        /// Warps of a block of images: blocks of lines times strips.
        212 => by_warps: FastDivisor,
        /// First staged line that is inside the image.
        224 => first_line: i32,
        /// One past the last.
        228 => end_line: i32,
        /// Words of weights.
        232 => weight_words: i32,
        /// For every word, where the list of its weights starts; and the end of the last list.
        236 => weight_lists_at: i32,
        /// The word of the tap (0, 0), or -1.
        240 => center: i32,
        /// Number of chunks.
        244 => chunks: i32,
        /// Two words per chunk or Toeplitz block: how far it is across the lines, and along them.
        248 => chunk_list_at: i32,
        /// Per output phase: chunks of 8, 7, .. 1 taps, the first chunk, and its first word of weights.
        252 => output_phases_at: i32,
        /// Packs of chunks, in the weight gradient.
        256 => packs: i32,
        /// Packs of chunks of 8, 7, .. 1 taps, and the number of entries in all.
        260 => pack_counts_at: i32,
        /// Entries as of chunks.
        264 => pack_list_at: i32,
        /// The taps of the eight sums of every pack, or -1.
        268 => pack_taps_at: i32,
        /// Number of Toeplitz blocks.
        272 => toeplitz_blocks: i32,
        /// For every tap, up to two places among the sums of the blocks, or -1.
        276 => toeplitz_taps_at: i32,
        /// Distinct taps.
        280 => taps: i32,
        /// For every weight its tap, or -1.
        284 => slots_at: i32,
        /// For every weight its offset, as row and column.
        288 => offsets_at: i32,
        /// Weights of a channel.
        292 => weights: i32,
    }

    /// The numbers of a launch.
    struct TapParams, 216 bytes {
        /// Images N.
        0 => images: i32,
        /// Channels C.
        4 => channels: i32,
        /// Stored weights of a channel.
        8 => weights_per_channel: i32,
        /// Rows of the source.
        12 => source_rows: i32,
        /// Its columns.
        16 => source_cols: i32,
        /// Rows of the result.
        20 => result_rows: i32,
        /// Its columns.
        24 => result_cols: i32,
        /// Rows from one cell of a phase of the source to the next.
        28 => source_stride_rows: i32,
        /// The same of columns.
        32 => source_stride_cols: i32,
        /// The same of the result.
        36 => result_stride_rows: i32,
        /// The same of columns.
        40 => result_stride_cols: i32,
        /// The source's stride of rows.
        44 => by_stride_rows: FastDivisor,
        /// The source's stride of columns.
        56 => by_stride_cols: FastDivisor,
        /// Rows of a tile, in cells of a phase of the result.
        68 => tile_rows: i32,
        /// Its columns.
        72 => tile_cols: i32,
        /// Tiles of a plane downwards.
        76 => tiles_down: i32,
        /// Tiles of a plane across.
        80 => tiles_across: i32,
        /// Images of a block.
        84 => images_per_block: i32,
        /// Blocks of images.
        88 => image_blocks: i32,
        /// Whether the source is added to the result.
        92 => residual: i32,
        /// Whether there is a bias.
        96 => with_bias: i32,
        /// Word of shared memory where the weights start, or the sums of the weight gradient.
        100 => weights_at: i32,
        /// The same of the list of chunks.
        104 => chunks_at: i32,
        /// The same of the places of register tiles, in the weight gradient.
        108 => places_at: i32,
        /// The same of the source.
        112 => source_at: i32,
        /// The same of the results, or their gradients.
        116 => results_at: i32,
        /// Words from one row of results to the next.
        120 => result_pitch: i32,
        /// Words of one image's results.
        124 => result_image_words: i32,
        /// Columns of a tile of results.
        128 => by_result_cols: FastDivisor,
        /// Its rows.
        140 => by_result_rows: FastDivisor,
        /// Pixels of the source that a thread reads together, or 0 where tiles have no whole rows.
        152 => source_vector: i32,
        /// The same of the results.
        156 => result_vector: i32,
        /// Such vectors of a row of the source.
        160 => by_source_vectors: FastDivisor,
        /// Such vectors of a row of results.
        172 => by_result_vectors: FastDivisor,
        /// Rows of results, where the tile is the whole plane.
        184 => by_result_height: FastDivisor,
        /// Where the groups start in the tables.
        196 => groups_at: i32,
        /// Where the group of every channel is.
        200 => group_of_channel_at: i32,
        /// Warps that share a pack of chunks (split-K).
        204 => warp_splits: i32,
        /// Blocks that share the images of a channel (split-K).
        208 => block_splits: i32,
        /// Partial sums of a channel and block.
        212 => partial_stride: i32,
    }
}
