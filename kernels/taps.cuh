// Depthwise convolutions given by tap tables: what the kernels share. docs/cuda.md explains the design; the host side is
// src/ops/taps/gpu/.
//
// A block works on tiles of planes (one image, one channel) that it stages into shared memory between zeros. A thread
// computes Q results along a *direction* d: (0,1), (1,0), (1,1) or (1,-1). Taps that follow each other along d form
// chunks of U, and a thread reads the Q+U-1 pixels of a chunk once for its Q*U multiply-adds. Tiles are staged so that d
// runs along memory (coordinate v) and lanes are an odd number of words apart (coordinate u): reads have immediate
// offsets and no bank conflicts, whatever the angle.
//
// Strides are taken apart into phases. Read with strides S (forward, weight gradient), pixel (S*r + a, S*c + b) is cell
// (r, c) of phase (a, b), a plane of its own. Written with strides (input gradient), every phase of the result is a
// convolution of its own, a *program*, of the same source.
#pragma once
#include "common.cuh"

enum Direction { ALONG_ROWS = 0, ALONG_COLUMNS = 1, DOWN_RIGHT = 2, DOWN_LEFT = 3 };

// Cells of a tile, and where they are in shared memory: word(row, col) = u * pitch + v with
//   ALONG_ROWS    u = row                    v = col
//   ALONG_COLUMNS u = col                    v = row
//   DOWN_RIGHT    u = (col - row) mod lines  v = row
//   DOWN_LEFT     u = (col + row) mod lines  v = row
struct Area {
    int rows, cols;
    int pitch;
    int lines;
    // A multiple of `lines` that makes col - row positive.
    int bias;
    // Words of one phase plane.
    int words;
    Division by_cols, by_rows, by_lines;

    __device__ __forceinline__ int line(int direction, int row, int col) const {
        if (direction == ALONG_ROWS) return row;
        if (direction == ALONG_COLUMNS) return col;
        const uint32_t n = uint32_t(direction == DOWN_RIGHT ? col - row + bias : col + row);
        return int(n - by_lines.of(n) * uint32_t(lines));
    }
    __device__ __forceinline__ int word(int direction, int row, int col) const {
        return line(direction, row, col) * pitch + (direction == ALONG_ROWS ? col : row);
    }
};

// One geometry of a tap table. All offsets are in words.
struct Group {
    int direction;
    // Row and column, in cells, of the first staged cell relative to the tile's first result.
    int first_row, first_col;
    // Staged cells; `rows` and `cols` of one phase, the divisions over all phases.
    Area source;
    // Rows of the plane that are staged, where the tile is the whole plane.
    Division by_height;
    // Words of all phases of one image.
    int image_words;
    // Where every phase of the source starts within an image, or -1.
    int phase_words;
    // Results' gradients as the weight gradient stages them, and the words of one image's.
    Area results;
    int result_words;
    // Threads' positions: `strips` of Q results along the direction times `lines` across it, of which those from `live`
    // on have nothing to do.
    int strips, lines, live;
    Division by_lines, by_positions;
    // Where this is not negative, the lanes of a warp have 2^band lines, at one strip, of 32 / 2^band images; there are
    // `bands` of these lines, and a warp for every band and strip. Staged lines from `first_line` to before `end_line` are
    // inside the image.
    int band, bands;
    Division by_bands, by_warps;
    int first_line, end_line;
    // Distinct taps in the order of the chunks, every chunk filled up to a multiple of four words.
    int weight_words, weight_lists, centre;
    // Chunks: {step across lines, word}, from the longest to the shortest.
    int chunks, chunk_list;
    // Per program: eight numbers of chunks, of 8, 7, .. 1 taps; the first chunk; the first weight.
    int programs;
    // The weight gradient's bundles of chunks with up to eight taps together: eight numbers; entries as for chunks;
    // eight taps per bundle, -1 where there is none.
    int bundles, bundle_counts, bundle_list, bundle_taps;
    // With bands, in place of chunks, squares of Q results and Q pixels and the weights of all distances between them:
    // steps as of chunks, and for the weight gradient, the places of every tap in up to two squares, or -1.
    int squares, square_taps;
    // For every weight of a channel, its place among the weight words, or -1; offsets for the kernels without tiles.
    int taps, slots, offsets, weights;
};

struct Params {
    int images, channels, weights_per_channel;
    // Planes of the source and of the results, and their phases.
    int source_rows, source_cols, result_rows, result_cols;
    int source_stride_rows, source_stride_cols, result_stride_rows, result_stride_cols;
    Division by_stride_rows, by_stride_cols;
    // Results of a tile, in cells of a phase; tiles of a plane; images of a block.
    int tile_rows, tile_cols, tiles_down, tiles_across, images_per_block, image_blocks;
    int residual, with_bias;
    // Places in shared memory.
    int weights_at, chunks_at, places_at, source_at, results_at;
    int result_pitch, result_image;
    Division by_result_cols, by_result_rows;
    // Pixels that are read or written together where a tile has whole rows, 1 or 2, or 0 where it has not; and how many
    // times that is a row. Rows of results that a tile of a whole plane has.
    int source_together, result_together;
    Division by_source_steps, by_result_steps, by_result_height;
    // Places in the tables.
    int groups_at, group_of_channel_at;
    // The weight gradient's parts per bundle, and blocks that share the images of a channel.
    int parts, splits, partial_stride;
};

// The words of a group, read once per block.
__device__ __forceinline__ Group group_of(Global<const int> tables, const Params& p, int channel) {
    const int index = load(tables, p.group_of_channel_at + channel);
    Group group;
    int* words = reinterpret_cast<int*>(&group);
#pragma unroll
    for (int i = 0; i < int(sizeof(Group) / sizeof(int)); ++i)
        words[i] = load(tables, size_t(p.groups_at) + size_t(index) * (sizeof(Group) / sizeof(int)) + i);
    return group;
}

// Planes of one channel in the images of a block.
template <class T> struct PlanesOf {
    Global<const T> values;
    // Index of the first plane; planes from one image to the next.
    size_t first, apart;
    int images, rows, cols;
};

// Where a tile goes in shared memory, and the pixel of its first cell.
struct Target {
    Shared<float> words;
    int image_words, first_row, first_col;
};

// Of two words next to each other, whether the second is the first to be used. All lanes at once would meet in banks:
// half of them use even words first, the others odd ones.
__device__ __forceinline__ bool odd_first(int word) { return (word ^ (threadIdx.x / (WARP / 2))) & 1; }

// Zeros in the tiles; rounded up to four words, of which what follows has as many.
__device__ __forceinline__ void clear(Shared<float> words, int count) {
    for (int i = 4 * threadIdx.x; i < count; i += 4 * blockDim.x) store4(words, i, float4{0.0f, 0.0f, 0.0f, 0.0f});
}

// Reads the tile of whole rows, from the top of the tile to row `end_row`, TOGETHER pixels at a time, between zeros that
// are there already. Returns this thread's sum of all values, for the gradient of the bias.
template <int TOGETHER, class T>
__device__ __forceinline__ float stage_rows(const PlanesOf<T>& planes, const Target& to, int end_row, const Area& area,
                                            int direction, Division by_steps, Division by_height) {
    constexpr int AT_ONCE = 4;
    const int top = max(0, to.first_row), height = end_row - top, steps = by_steps.divisor;
    const int count = planes.images * height * steps, plane = planes.rows * planes.cols;
    const bool diagonal = direction >= DOWN_RIGHT;
    // The word of a cell: a sum of multiples, or for diagonals by Area::word.
    const int by_row = direction == ALONG_ROWS ? area.pitch : 1, by_col = direction == ALONG_ROWS ? 1 : area.pitch;
    const int wrap = diagonal ? area.lines * area.pitch : 0x7fffffff;
    float sum = 0.0f;
    for (int start = threadIdx.x; start < count; start += AT_ONCE * blockDim.x) {
        float2 values[AT_ONCE];
        // All reads first, so that they are under way together.
#pragma unroll
        for (int k = 0; k < AT_ONCE; ++k) {
            const int i = start + k * blockDim.x;
            values[k] = {0.0f, 0.0f};
            if (i >= count) continue;
            const int line = by_steps.of(i), image = by_height.of(line);
            const size_t at = (planes.first + image * planes.apart) * plane +
                              ((top + line - image * height) * planes.cols + TOGETHER * (i - line * steps));
            if (TOGETHER == 2)
                values[k] = load_pair(planes.values, at);
            else
                values[k].x = to_float(load(planes.values, at));
        }
#pragma unroll
        for (int k = 0; k < AT_ONCE; ++k) {
            const int i = start + k * blockDim.x;
            if (i >= count) continue;
            sum += values[k].x + values[k].y;
            const int line = by_steps.of(i), image = by_height.of(line);
            const int row = top + line - image * height - to.first_row;
            int col = TOGETHER * (i - line * steps) - to.first_col;
            int word = diagonal ? area.word(direction, row, col) : row * by_row + col * by_col;
            if (TOGETHER == 1) {
                if (unsigned(col) < unsigned(area.cols)) to.words[image * to.image_words + word] = values[k].x;
                continue;
            }
            int next = word + by_col;
            if (next >= wrap) next -= wrap;
            const bool swap = odd_first(image * to.image_words + word);
            const int words[2] = {swap ? next : word, swap ? word : next};
            if (unsigned(col + swap) < unsigned(area.cols))
                to.words[image * to.image_words + words[0]] = swap ? values[k].y : values[k].x;
            if (unsigned(col + !swap) < unsigned(area.cols))
                to.words[image * to.image_words + words[1]] = swap ? values[k].x : values[k].y;
        }
    }
    __syncwarp();
    return sum;
}

// Reads any tile of planes with strides: a pixel outside of the plane, or from `end_row` and `end_col` on, is a zero.
// Returns this thread's sum of all values.
template <class T>
__device__ __forceinline__ float stage(const PlanesOf<T>& planes, const Target& to, int end_row, int end_col,
                                       const Area& area, int direction, const Params& p, bool strided,
                                       Global<const int> tables, int phase_words) {
    constexpr int AT_ONCE = 4;
    const int stride_rows = strided ? p.source_stride_rows : 1, stride_cols = strided ? p.source_stride_cols : 1;
    const int count = planes.images * area.rows * stride_rows * area.cols * stride_cols;
    float sum = 0.0f;
    for (int start = threadIdx.x; start < count; start += AT_ONCE * blockDim.x) {
        float values[AT_ONCE];
        int words[AT_ONCE];
        // All reads first, so that they are under way together.
#pragma unroll
        for (int k = 0; k < AT_ONCE; ++k) {
            const int i = start + k * blockDim.x;
            const int line = area.by_cols.of(i), image = area.by_rows.of(line);
            const int x = i - line * (area.cols * stride_cols), y = line - image * (area.rows * stride_rows);
            int row = y, col = x, word = 0;
            if (i < count && (stride_rows > 1 || stride_cols > 1)) {
                row = p.by_stride_rows.of(y);
                col = p.by_stride_cols.of(x);
                word = load(tables, phase_words + (y - row * stride_rows) * stride_cols + x - col * stride_cols);
            }
            const bool wanted = i < count && word >= 0;
            words[k] = wanted ? image * to.image_words + word + area.word(direction, row, col) : -1;
            const int pixel_row = to.first_row + y, pixel_col = to.first_col + x;
            const bool inside = wanted && unsigned(pixel_row) < unsigned(end_row) && unsigned(pixel_col) < unsigned(end_col);
            const size_t plane = (planes.first + image * planes.apart) * (size_t(planes.rows) * planes.cols);
            values[k] = to_float(load_or_zero(inside, planes.values, plane + size_t(pixel_row) * planes.cols + pixel_col));
        }
#pragma unroll
        for (int k = 0; k < AT_ONCE; ++k) {
            if (words[k] >= 0) to.words[words[k]] = values[k];
            sum += values[k];
        }
    }
    __syncwarp();
    return sum;
}

// The source's tile.
template <class T>
__device__ __forceinline__ void stage_source(const PlanesOf<T>& planes, const Target& to, const Group& g, const Params& p,
                                             Global<const int> tables) {
    const int end = min(planes.rows, to.first_row + g.source.rows);
    if (p.source_together == 2)
        stage_rows<2>(planes, to, end, g.source, g.direction, p.by_source_steps, g.by_height);
    else if (p.source_together == 1)
        stage_rows<1>(planes, to, end, g.source, g.direction, p.by_source_steps, g.by_height);
    else
        stage(planes, to, planes.rows, planes.cols, g.source, g.direction, p, true, tables, g.phase_words);
}

// Where a thread's Q results start in the tile; whether it has any.
struct Start {
    int row, col;
    bool live;
};

template <int Q> __device__ __forceinline__ Start start_of(const Group& g, int position) {
    const int strip = g.by_lines.of(position), line = position - strip * g.lines;
    switch (g.direction) {
        case ALONG_ROWS: return {line, strip * Q, line < g.live};
        case DOWN_RIGHT: return {strip * Q, line - (Q - 1), line < g.live};
        default: return {strip * Q, line, line < g.live};
    }
}

// The number of positions of a block, in whole warps where lanes have different images.
__device__ __forceinline__ int positions_of(const Group& g, int images) {
    if (g.band < 0) return images * g.strips * g.lines;
    const int apart = 5 - g.band;
    return ((images + (1 << apart) - 1) >> apart) * int(g.by_warps.divisor) * WARP;
}

// A thread's image and where its results start.
struct Place {
    int image;
    Start start;
};

template <int Q> __device__ __forceinline__ Place place_of(const Group& g, int i) {
    if (g.band < 0) {
        const int image = g.by_positions.of(i);
        return {image, start_of<Q>(g, i - image * g.strips * g.lines)};
    }
    const int warp = i / WARP, lane = i % WARP, group = g.by_warps.of(warp), rest = warp - group * int(g.by_warps.divisor);
    const int strip = g.by_bands.of(rest), line = ((rest - strip * g.bands) << g.band) + (lane & ((1 << g.band) - 1));
    const int image = (group << (5 - g.band)) + (lane >> g.band);
    if (g.direction == ALONG_ROWS) return {image, {line, strip * Q, line < g.live}};
    return {image, {strip * Q, line, line < g.live}};
}

// The steps, across the lines and along them, with which any lane of a warp reads inside the image: the first, and how
// far the last is from it.
struct Reach {
    int across, along;
    uint32_t across_span, along_span;

    __device__ __forceinline__ bool has(int2 step) const {
        return uint32_t(step.x - across) <= across_span && uint32_t(step.y - along) <= along_span;
    }
};

// Of position i's warp, with bands.
template <int Q> __device__ __forceinline__ Reach reach_of(const Group& g, int i) {
    const int warp = i / WARP, rest = warp - int(g.by_warps.of(warp)) * int(g.by_warps.divisor), strip = g.by_bands.of(rest);
    const int line = (rest - strip * g.bands) << g.band, last = min(line + (1 << g.band), g.live) - 1;
    const int across = (g.first_line - last) * g.source.pitch;
    return {across, -strip * Q, uint32_t((g.end_line - 1 - line) * g.source.pitch - across), uint32_t((g.strips - 1) * Q)};
}

// The least multiple of four that has room for N words.
template <int N> constexpr int FOURS = (N + 3) / 4 * 4;

// Reads consecutive words four at a time.
template <int N> __device__ __forceinline__ void load_fours(float (&words)[N], Shared<float> from, int at) {
    static_assert(N % 4 == 0, "words are read in fours");
#pragma unroll
    for (int i = 0; i < N; i += 4) {
        const float4 four = load4(from, at + i);
        words[i] = four.x;
        words[i + 1] = four.y;
        words[i + 2] = four.z;
        words[i + 3] = four.w;
    }
}

// Words of the weights of a square: those of 2 Q - 1 distances, filled up.
template <int Q> constexpr int SQUARE_WORDS = (2 * Q - 1 + 7) / 8 * 8;

// Q pixels next to each other: acc[j] += w[Q - 1 + i - j] * x[i], whether or not they are around the results.
template <int Q>
__device__ __forceinline__ void square(float (&acc)[Q], Shared<float> x, int at, Shared<float> weights, int weight) {
    float pixels[Q], w[FOURS<2 * Q - 1>];
#pragma unroll
    for (int i = 0; i < Q; ++i) pixels[i] = x[at + i];
    load_fours(w, weights, weight);
#pragma unroll
    for (int d = 0; d < 2 * Q - 1; ++d)
#pragma unroll
        for (int j = 0; j < Q; ++j)
            if (unsigned(d - (Q - 1) + j) < unsigned(Q)) acc[j] = fmaf(w[d], pixels[d - (Q - 1) + j], acc[j]);
}

// U consecutive taps: acc[j] += w[u] * x[j + u].
template <int Q, int U>
__device__ __forceinline__ void chunk(float (&acc)[Q], Shared<float> x, int at, Shared<float> weights, int weight) {
    float pixels[Q + U - 1], w[FOURS<U>];
    load_fours(w, weights, weight);
#pragma unroll
    for (int i = 0; i < Q + U - 1; ++i) pixels[i] = x[at + i];
#pragma unroll
    for (int u = 0; u < U; ++u)
#pragma unroll
        for (int j = 0; j < Q; ++j) acc[j] = fmaf(w[u], pixels[j + u], acc[j]);
}
