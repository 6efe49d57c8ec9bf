// Depthwise convolutions given by tap tables: what their kernels share. docs/cuda.md explains the design; the host side is
// src/ops/taps/gpu/.
//
// A block stages tiles of one channel, with a halo of zeros where they leave the image, from the *source* plane to shared
// memory, and computes the *result* plane from them. (In the input gradient, the source is the gradient of y and the
// result that of x.) A thread keeps a register tile of Q results that follow each other along a *direction*: (0,1), (1,0),
// (1,1) or (1,-1). Taps that follow each other along the same direction form a *chunk* of U <= 8, for whose Q*U
// multiply-adds a thread reads Q+U-1 pixels. Across the direction, a tile has *lines*; along it, a line is cut into
// *strips* of Q results.
//
// The layout of a tile follows the direction: it runs along memory (coordinate v), and lines (coordinate u) are an odd
// number of words apart. So the reads of a chunk have immediate offsets and no bank conflicts, whatever the angle.
//
// Strides are taken apart into phases (a polyphase decomposition). A source that is read with strides S (forward pass,
// weight gradient) is staged as one plane per phase: pixel (S*r + a, S*c + b) is cell (r, c) of phase (a, b). A result that
// is written with strides (input gradient) is one convolution of the same source per output phase.
//
// Kernels about as large as the image use *Toeplitz blocks* in place of chunks: what Q pixels of a line add to Q results is
// their product with a Q x Q Toeplitz matrix, whose 2 Q - 1 diagonals are the weights of the distances between them.
#pragma once
#include "common.cuh"

enum Direction { ALONG_ROWS = 0, ALONG_COLUMNS = 1, DOWN_RIGHT = 2, DOWN_LEFT = 3 };

// The cells of a tile, and where they are in shared memory: word(row, col) = u * pitch + v with
//   ALONG_ROWS    u = row                    v = col
//   ALONG_COLUMNS u = col                    v = row
//   DOWN_RIGHT    u = (col - row) mod lines  v = row
//   DOWN_LEFT     u = (col + row) mod lines  v = row
struct TileLayout {
    int rows, cols;
    int pitch, lines;
    // A multiple of `lines` that makes col - row positive.
    int wrap_bias;
    // Words of the tile of one phase.
    int words;
    FastDivisor by_cols, by_rows, by_lines;

    __device__ __forceinline__ int line(int direction, int row, int col) const {
        if (direction == ALONG_ROWS) return row;
        if (direction == ALONG_COLUMNS) return col;
        const uint32_t n = uint32_t(direction == DOWN_RIGHT ? col - row + wrap_bias : col + row);
        return int(n - by_lines.quotient(n) * uint32_t(lines));
    }
    __device__ __forceinline__ int word(int direction, int row, int col) const {
        return line(direction, row, col) * pitch + (direction == ALONG_ROWS ? col : row);
    }
};
KS_STRUCT(TileLayout, 60)
KS_FIELD(TileLayout, rows, 0)
KS_FIELD(TileLayout, cols, 4)
KS_FIELD(TileLayout, pitch, 8)
KS_FIELD(TileLayout, lines, 12)
KS_FIELD(TileLayout, wrap_bias, 16)
KS_FIELD(TileLayout, words, 20)
KS_FIELD(TileLayout, by_cols, 24)
KS_FIELD(TileLayout, by_rows, 36)
KS_FIELD(TileLayout, by_lines, 48)

// The channels of one tap group, as the tables hold them. What ends in `_at` is the index of a list in the tables.
struct GroupParams {
    int direction;
    // Row and column, in cells, of the first staged cell relative to the tile's first result.
    int first_row, first_col;
    // The staged source: rows and columns of one phase, but divisors over all phases.
    TileLayout source;
    // Rows of the plane that are staged, where the tile is the whole plane.
    FastDivisor by_height;
    // Words of all phases of one image, and where each phase starts within an image, or -1.
    int image_words, phase_words_at;
    // The gradients of the results, as the weight gradient stages them, and the words of one image's.
    TileLayout results;
    int result_words;
    // The register tiles of an image: `strips` of Q results along the direction times `lines` across it. Lines from
    // `active_lines` on are padding, whose threads have nothing to do.
    int strips, lines, active_lines;
    FastDivisor by_lines, by_positions;
    // With Toeplitz blocks, the lanes of a warp are 2^warp_lines_log2 lines, at one strip, of 32 / 2^warp_lines_log2
    // images: there are `line_blocks` such blocks of lines, and a warp for each of them and each strip. Else -1 and 0.
    int warp_lines_log2, line_blocks;
    FastDivisor by_line_blocks, by_warps;
    // Staged lines that are inside the image: from the first to before the end.
    int first_line, end_line;
    // Words of the weights, chunk after chunk, each padded to a multiple of four words (or block after block); for every
    // word the list of the weights that it is the sum of; the word of the tap (0, 0), or -1.
    int weight_words, weight_lists_at, center;
    // Chunks, from the longest to the shortest: {words across the lines, words along them}.
    int chunks, chunk_list_at;
    // Per output phase: how many chunks have 8, 7, .. 1 taps, the first chunk, and the first word of the weights.
    int output_phases_at;
    // The weight gradient packs chunks of one length so that a warp has up to eight sums in registers: how many packs have
    // chunks of 8, 7, .. 1 taps; entries as for chunks; the taps of the eight sums of every pack, or -1.
    int packs, pack_counts_at, pack_list_at, pack_taps_at;
    // Toeplitz blocks, with entries as for chunks; for the weight gradient, up to two places of every tap, or -1.
    int toeplitz_blocks, toeplitz_taps_at;
    // Distinct taps; for every weight of a channel, its tap, or -1 where it never reads inside the image; its offset as row
    // and column, for the kernels without tiles; and how many weights there are.
    int taps, slots_at, offsets_at, weights;
};
KS_STRUCT(GroupParams, 296)
KS_FIELD(GroupParams, direction, 0)
KS_FIELD(GroupParams, first_row, 4)
KS_FIELD(GroupParams, first_col, 8)
KS_FIELD(GroupParams, source, 12)
KS_FIELD(GroupParams, by_height, 72)
KS_FIELD(GroupParams, image_words, 84)
KS_FIELD(GroupParams, phase_words_at, 88)
KS_FIELD(GroupParams, results, 92)
KS_FIELD(GroupParams, result_words, 152)
KS_FIELD(GroupParams, strips, 156)
KS_FIELD(GroupParams, lines, 160)
KS_FIELD(GroupParams, active_lines, 164)
KS_FIELD(GroupParams, by_lines, 168)
KS_FIELD(GroupParams, by_positions, 180)
KS_FIELD(GroupParams, warp_lines_log2, 192)
KS_FIELD(GroupParams, line_blocks, 196)
KS_FIELD(GroupParams, by_line_blocks, 200)
KS_FIELD(GroupParams, by_warps, 212)
KS_FIELD(GroupParams, first_line, 224)
KS_FIELD(GroupParams, end_line, 228)
KS_FIELD(GroupParams, weight_words, 232)
KS_FIELD(GroupParams, weight_lists_at, 236)
KS_FIELD(GroupParams, center, 240)
KS_FIELD(GroupParams, chunks, 244)
KS_FIELD(GroupParams, chunk_list_at, 248)
KS_FIELD(GroupParams, output_phases_at, 252)
KS_FIELD(GroupParams, packs, 256)
KS_FIELD(GroupParams, pack_counts_at, 260)
KS_FIELD(GroupParams, pack_list_at, 264)
KS_FIELD(GroupParams, pack_taps_at, 268)
KS_FIELD(GroupParams, toeplitz_blocks, 272)
KS_FIELD(GroupParams, toeplitz_taps_at, 276)
KS_FIELD(GroupParams, taps, 280)
KS_FIELD(GroupParams, slots_at, 284)
KS_FIELD(GroupParams, offsets_at, 288)
KS_FIELD(GroupParams, weights, 292)

constexpr int GROUP_WORDS = sizeof(GroupParams) / sizeof(int);

// The numbers of a launch. Sizes are in words of four bytes, unless they are rows, columns or pixels.
struct TapParams {
    int images, channels, weights_per_channel;
    // The planes of source and result, and their strides, of which one is 1.
    int source_rows, source_cols, result_rows, result_cols;
    int source_stride_rows, source_stride_cols, result_stride_rows, result_stride_cols;
    FastDivisor by_stride_rows, by_stride_cols;
    // Results of a tile, in cells of a phase; tiles of a plane; images of a block, and blocks of images.
    int tile_rows, tile_cols, tiles_down, tiles_across, images_per_block, image_blocks;
    int residual, with_bias;
    // Where the regions of shared memory start.
    int weights_at, chunks_at, places_at, source_at, results_at;
    // The results, on their way from registers to memory.
    int result_pitch, result_image_words;
    FastDivisor by_result_cols, by_result_rows;
    // Pixels that a thread reads or writes together where a tile has whole rows: 1 or 2, or 0 where it has not. How many
    // times that is a row, and the rows of a result tile that is the whole plane.
    int source_vector, result_vector;
    FastDivisor by_source_vectors, by_result_vectors, by_result_height;
    // Where the groups start in the tables, and the group of every channel.
    int groups_at, group_of_channel_at;
    // Split-K of the weight gradient, whose K axis is images and positions: warps that share a pack of chunks, and blocks
    // that share the images of a channel. Words from one block's partial sums to the next's.
    int warp_splits, block_splits, partial_stride;
};
KS_STRUCT(TapParams, 216)
KS_FIELD(TapParams, images, 0)
KS_FIELD(TapParams, channels, 4)
KS_FIELD(TapParams, weights_per_channel, 8)
KS_FIELD(TapParams, source_rows, 12)
KS_FIELD(TapParams, source_cols, 16)
KS_FIELD(TapParams, result_rows, 20)
KS_FIELD(TapParams, result_cols, 24)
KS_FIELD(TapParams, source_stride_rows, 28)
KS_FIELD(TapParams, source_stride_cols, 32)
KS_FIELD(TapParams, result_stride_rows, 36)
KS_FIELD(TapParams, result_stride_cols, 40)
KS_FIELD(TapParams, by_stride_rows, 44)
KS_FIELD(TapParams, by_stride_cols, 56)
KS_FIELD(TapParams, tile_rows, 68)
KS_FIELD(TapParams, tile_cols, 72)
KS_FIELD(TapParams, tiles_down, 76)
KS_FIELD(TapParams, tiles_across, 80)
KS_FIELD(TapParams, images_per_block, 84)
KS_FIELD(TapParams, image_blocks, 88)
KS_FIELD(TapParams, residual, 92)
KS_FIELD(TapParams, with_bias, 96)
KS_FIELD(TapParams, weights_at, 100)
KS_FIELD(TapParams, chunks_at, 104)
KS_FIELD(TapParams, places_at, 108)
KS_FIELD(TapParams, source_at, 112)
KS_FIELD(TapParams, results_at, 116)
KS_FIELD(TapParams, result_pitch, 120)
KS_FIELD(TapParams, result_image_words, 124)
KS_FIELD(TapParams, by_result_cols, 128)
KS_FIELD(TapParams, by_result_rows, 140)
KS_FIELD(TapParams, source_vector, 152)
KS_FIELD(TapParams, result_vector, 156)
KS_FIELD(TapParams, by_source_vectors, 160)
KS_FIELD(TapParams, by_result_vectors, 172)
KS_FIELD(TapParams, by_result_height, 184)
KS_FIELD(TapParams, groups_at, 196)
KS_FIELD(TapParams, group_of_channel_at, 200)
KS_FIELD(TapParams, warp_splits, 204)
KS_FIELD(TapParams, block_splits, 208)
KS_FIELD(TapParams, partial_stride, 212)

// The group of a channel, read once per block.
__device__ __forceinline__ GroupParams group_of(Global<const int> tables, const TapParams& p, int channel) {
    const int index = load(tables, p.group_of_channel_at + channel);
    GroupParams group;
    int* words = reinterpret_cast<int*>(&group);
#pragma unroll
    for (int i = 0; i < GROUP_WORDS; ++i)
        words[i] = load(tables, size_t(p.groups_at) + size_t(index) * GROUP_WORDS + i);
    return group;
}

// The planes of one channel in the images of a block.
template <class T> struct ChannelPlanes {
    Global<const T> values;
    // Index of the first plane, and planes from one image to the next.
    size_t first, apart;
    int images, rows, cols;
};

// Where a tile goes in shared memory, and the pixel of its first cell.
struct StagingTarget {
    Shared<float> words;
    int image_words, first_row, first_col;
};

// Of two adjacent words, whether the second is the first to be accessed. If all lanes began with the first, only even banks
// would be in use: half of the lanes begin with the other one.
__device__ __forceinline__ bool odd_first(int word) { return (word ^ (threadIdx.x / (WARP / 2))) & 1; }

// Zeros in a region of shared memory, four words at a time: regions are padded to a multiple of four.
__device__ __forceinline__ void clear(Shared<float> words, int count) {
    for (int i = 4 * threadIdx.x; i < count; i += 4 * blockDim.x) store_shared4(words, i, float4{0.0f, 0.0f, 0.0f, 0.0f});
}

// Stages whole rows, from the top of the tile to before row `end_row`, VECTOR pixels at a time, into a tile that is zero
// already. Returns the sum of the values that this thread has read, for the gradient of the bias.
template <int VECTOR, class T>
__device__ __forceinline__ float stage_rows(const ChannelPlanes<T>& planes, const StagingTarget& to, int end_row,
                                            const TileLayout& layout, int direction, FastDivisor by_vectors,
                                            FastDivisor by_height) {
    constexpr int IN_FLIGHT = 4;
    const int top = max(0, to.first_row), height = end_row - top, vectors = by_vectors.divisor;
    const int count = planes.images * height * vectors, plane = planes.rows * planes.cols;
    const bool diagonal = direction >= DOWN_RIGHT;
    // The word of a cell: a sum of multiples, or for diagonals by TileLayout::word.
    const int by_row = direction == ALONG_ROWS ? layout.pitch : 1, by_col = direction == ALONG_ROWS ? 1 : layout.pitch;
    const int wrap = diagonal ? layout.lines * layout.pitch : 0x7fffffff;
    float sum = 0.0f;
    for (int start = threadIdx.x; start < count; start += IN_FLIGHT * blockDim.x) {
        float2 values[IN_FLIGHT];
        // All loads are issued before the first store, so that their latencies overlap.
#pragma unroll
        for (int k = 0; k < IN_FLIGHT; ++k) {
            const int i = start + k * blockDim.x;
            values[k] = {0.0f, 0.0f};
            if (i >= count) continue;
            const int line = by_vectors.quotient(i), image = by_height.quotient(line);
            const size_t at = (planes.first + image * planes.apart) * plane +
                              ((top + line - image * height) * planes.cols + VECTOR * (i - line * vectors));
            if (VECTOR == 2)
                values[k] = load_global2(planes.values, at);
            else
                values[k].x = to_float(load(planes.values, at));
        }
#pragma unroll
        for (int k = 0; k < IN_FLIGHT; ++k) {
            const int i = start + k * blockDim.x;
            if (i >= count) continue;
            sum += values[k].x + values[k].y;
            const int line = by_vectors.quotient(i), image = by_height.quotient(line);
            const int row = top + line - image * height - to.first_row;
            int col = VECTOR * (i - line * vectors) - to.first_col;
            int word = diagonal ? layout.word(direction, row, col) : row * by_row + col * by_col;
            if (VECTOR == 1) {
                if (unsigned(col) < unsigned(layout.cols)) to.words[image * to.image_words + word] = values[k].x;
                continue;
            }
            int next = word + by_col;
            if (next >= wrap) next -= wrap;
            const bool swap = odd_first(image * to.image_words + word);
            const int words[2] = {swap ? next : word, swap ? word : next};
            if (unsigned(col + swap) < unsigned(layout.cols))
                to.words[image * to.image_words + words[0]] = swap ? values[k].y : values[k].x;
            if (unsigned(col + !swap) < unsigned(layout.cols))
                to.words[image * to.image_words + words[1]] = swap ? values[k].x : values[k].y;
        }
    }
    __syncwarp();
    return sum;
}

// Stages any tile, of planes with strides too, cell by cell: what is outside of the plane, or from `end_row` and `end_col`
// on, is zero. Returns the sum of the values that this thread has read.
template <class T>
__device__ __forceinline__ float stage_cells(const ChannelPlanes<T>& planes, const StagingTarget& to, int end_row,
                                             int end_col, const TileLayout& layout, int direction, const TapParams& p,
                                             bool strided, Global<const int> tables, int phase_words_at) {
    constexpr int IN_FLIGHT = 4;
    const int stride_rows = strided ? p.source_stride_rows : 1, stride_cols = strided ? p.source_stride_cols : 1;
    const int count = planes.images * layout.rows * stride_rows * layout.cols * stride_cols;
    float sum = 0.0f;
    for (int start = threadIdx.x; start < count; start += IN_FLIGHT * blockDim.x) {
        float values[IN_FLIGHT];
        int words[IN_FLIGHT];
        // All loads are issued before the first store, so that their latencies overlap.
#pragma unroll
        for (int k = 0; k < IN_FLIGHT; ++k) {
            const int i = start + k * blockDim.x;
            const int line = layout.by_cols.quotient(i), image = layout.by_rows.quotient(line);
            const int x = i - line * (layout.cols * stride_cols), y = line - image * (layout.rows * stride_rows);
            int row = y, col = x, word = 0;
            if (i < count && (stride_rows > 1 || stride_cols > 1)) {
                row = p.by_stride_rows.quotient(y);
                col = p.by_stride_cols.quotient(x);
                word = load(tables, phase_words_at + (y - row * stride_rows) * stride_cols + x - col * stride_cols);
            }
            const bool wanted = i < count && word >= 0;
            words[k] = wanted ? image * to.image_words + word + layout.word(direction, row, col) : -1;
            const int pixel_row = to.first_row + y, pixel_col = to.first_col + x;
            const bool inside = wanted && unsigned(pixel_row) < unsigned(end_row) && unsigned(pixel_col) < unsigned(end_col);
            const size_t plane = (planes.first + image * planes.apart) * (size_t(planes.rows) * planes.cols);
            values[k] = to_float(load_or_zero(inside, planes.values, plane + size_t(pixel_row) * planes.cols + pixel_col));
        }
#pragma unroll
        for (int k = 0; k < IN_FLIGHT; ++k) {
            if (words[k] >= 0) to.words[words[k]] = values[k];
            sum += values[k];
        }
    }
    __syncwarp();
    return sum;
}

// Stages the tile of the source.
template <class T>
__device__ __forceinline__ void stage_source(const ChannelPlanes<T>& planes, const StagingTarget& to, const GroupParams& g,
                                             const TapParams& p, Global<const int> tables) {
    const int end = min(planes.rows, to.first_row + g.source.rows);
    if (p.source_vector == 2)
        stage_rows<2>(planes, to, end, g.source, g.direction, p.by_source_vectors, g.by_height);
    else if (p.source_vector == 1)
        stage_rows<1>(planes, to, end, g.source, g.direction, p.by_source_vectors, g.by_height);
    else
        stage_cells(planes, to, planes.rows, planes.cols, g.source, g.direction, p, true, tables, g.phase_words_at);
}

// Where a thread's Q results start in the tile of their image, and whether it has any.
struct TileStart {
    int row, col;
    bool active;
};

template <int Q> __device__ __forceinline__ TileStart start_of(const GroupParams& g, int position) {
    const int strip = g.by_lines.quotient(position), line = position - strip * g.lines;
    switch (g.direction) {
        case ALONG_ROWS: return {line, strip * Q, line < g.active_lines};
        case DOWN_RIGHT: return {strip * Q, line - (Q - 1), line < g.active_lines};
        default: return {strip * Q, line, line < g.active_lines};
    }
}

// The number of register tiles of a block: whole warps of them where lanes have different images.
__device__ __forceinline__ int positions_of(const GroupParams& g, int images) {
    if (g.warp_lines_log2 < 0) return images * g.strips * g.lines;
    const int warp_images_log2 = 5 - g.warp_lines_log2;
    return ((images + (1 << warp_images_log2) - 1) >> warp_images_log2) * int(g.by_warps.divisor) * WARP;
}

// The register tile of a thread: its image, and where its results start.
struct RegisterTile {
    int image;
    TileStart start;
};

template <int Q> __device__ __forceinline__ RegisterTile register_tile_of(const GroupParams& g, int i) {
    if (g.warp_lines_log2 < 0) {
        const int image = g.by_positions.quotient(i);
        return {image, start_of<Q>(g, i - image * g.strips * g.lines)};
    }
    const int warp = i / WARP, lane = i % WARP, image_block = g.by_warps.quotient(warp);
    const int rest = warp - image_block * int(g.by_warps.divisor), strip = g.by_line_blocks.quotient(rest);
    const int warp_lines = 1 << g.warp_lines_log2, warp_images_log2 = 5 - g.warp_lines_log2;
    const int line = ((rest - strip * g.line_blocks) << g.warp_lines_log2) + (lane & (warp_lines - 1));
    const int image = (image_block << warp_images_log2) + (lane >> g.warp_lines_log2);
    if (g.direction == ALONG_ROWS) return {image, {line, strip * Q, line < g.active_lines}};
    return {image, {strip * Q, line, line < g.active_lines}};
}

// The steps from results to pixels, across the lines and along them, that keep at least one lane of a warp inside the
// image: the first, and how far the last is from it.
struct StepsInside {
    int across, along;
    uint32_t across_span, along_span;

    __device__ __forceinline__ bool has(int2 step) const {
        return uint32_t(step.x - across) <= across_span && uint32_t(step.y - along) <= along_span;
    }
};

// Of the warp of position i, with Toeplitz blocks.
template <int Q> __device__ __forceinline__ StepsInside steps_inside(const GroupParams& g, int i) {
    const int warp = i / WARP, rest = warp - int(g.by_warps.quotient(warp)) * int(g.by_warps.divisor);
    const int strip = g.by_line_blocks.quotient(rest), line = (rest - strip * g.line_blocks) << g.warp_lines_log2;
    const int last = min(line + (1 << g.warp_lines_log2), g.active_lines) - 1;
    const int across = (g.first_line - last) * g.source.pitch;
    return {across, -strip * Q, uint32_t((g.end_line - 1 - line) * g.source.pitch - across), uint32_t((g.strips - 1) * Q)};
}

// N rounded up to a multiple of four.
template <int N> constexpr int ROUND_UP_4 = (N + 3) / 4 * 4;

// Reads adjacent words of shared memory, four at a time.
template <int N> __device__ __forceinline__ void load_vector4(float (&words)[N], Shared<float> from, int at) {
    static_assert(N % 4 == 0, "words are read in fours");
#pragma unroll
    for (int i = 0; i < N; i += 4) {
        const float4 four = load_shared4(from, at + i);
        words[i] = four.x;
        words[i + 1] = four.y;
        words[i + 2] = four.z;
        words[i + 3] = four.w;
    }
}

// Words of the weights of a Toeplitz block, 2 Q - 1 diagonals, padded to a multiple of eight.
template <int Q> constexpr int TOEPLITZ_WORDS = (2 * Q - 1 + 7) / 8 * 8;

// A Toeplitz block: acc[j] += w[Q - 1 + i - j] * x[i] for Q adjacent pixels.
template <int Q>
__device__ __forceinline__ void multiply_toeplitz(float (&acc)[Q], Shared<float> x, int at, Shared<float> weights,
                                                  int weight) {
    float pixels[Q], w[ROUND_UP_4<2 * Q - 1>];
#pragma unroll
    for (int i = 0; i < Q; ++i) pixels[i] = x[at + i];
    load_vector4(w, weights, weight);
#pragma unroll
    for (int d = 0; d < 2 * Q - 1; ++d)
#pragma unroll
        for (int j = 0; j < Q; ++j)
            if (unsigned(d - (Q - 1) + j) < unsigned(Q)) acc[j] = fmaf(w[d], pixels[d - (Q - 1) + j], acc[j]);
}

// A chunk of U adjacent taps: acc[j] += w[u] * x[j + u].
template <int Q, int U>
__device__ __forceinline__ void multiply_chunk(float (&acc)[Q], Shared<float> x, int at, Shared<float> weights, int weight) {
    float pixels[Q + U - 1], w[ROUND_UP_4<U>];
    load_vector4(w, weights, weight);
#pragma unroll
    for (int i = 0; i < Q + U - 1; ++i) pixels[i] = x[at + i];
#pragma unroll
    for (int u = 0; u < U; ++u)
#pragma unroll
        for (int j = 0; j < Q; ++j) acc[j] = fmaf(w[u], pixels[j + u], acc[j]);
}
