// Depthwise convolutions given by tap tables: forward pass and input gradient (one kernel, since the gradient is a
// convolution of the results' gradient with the taps mirrored), weight and bias gradient, and kernels without tiles for
// geometries whose tiles would not fit into shared memory.
#include "taps.cuh"

// The chunks of U taps of an output phase.
template <int Q, int U>
__device__ __forceinline__ void chunks_of(float (&acc)[Q], Shared<float> source, int line_word, int v, int wrap,
                                          Shared<int> list, int& next, Shared<float> weights, int& weight, int count) {
    for (int i = 0; i < count; ++i) {
        const int2 entry = load_shared2(list, 2 * next++);
        int across = line_word + entry.x;
        if (across >= wrap) across -= wrap;
        multiply_chunk<Q, U>(acc, source, across + v + entry.y, weights, weight);
        weight += ROUND_UP_4<U>;
    }
}

// The Toeplitz blocks that read inside the image.
template <int Q>
__device__ __forceinline__ void toeplitz_blocks_of(float (&acc)[Q], Shared<float> source, int at, Shared<int> list,
                                                   Shared<float> weights, const StepsInside& inside, int count) {
    for (int i = 0; i < count; ++i) {
        const int2 step = load_shared2(list, 2 * i);
        if (inside.has(step)) multiply_toeplitz<Q>(acc, source, at + step.x + step.y, weights, i * TOEPLITZ_WORDS<Q>);
    }
}

// Writes the results of a tile of whole rows, VECTOR at a time, from index `to` on; `apart` is the distance between images.
template <int VECTOR, class T>
__device__ __forceinline__ void write_rows(Global<T> y, size_t to, size_t apart, Shared<float> results, int images,
                                           int first_row, const TapParams& p) {
    const int height = min(p.tile_rows * p.result_stride_rows, p.result_rows - first_row);
    const int vectors = p.by_result_vectors.divisor, count = images * height * vectors;
#pragma unroll 2
    for (int i = threadIdx.x; i < count; i += blockDim.x) {
        const int line = p.by_result_vectors.quotient(i), image = p.by_result_height.quotient(line);
        const int row = line - image * height, col = VECTOR * (i - line * vectors);
        const int word = image * p.result_image_words + row * p.result_pitch + col;
        const size_t at = to + image * apart + (row * p.result_cols + col);
        if (VECTOR == 1) {
            y[at] = from_float<T>(results[word]);
        } else {
            const bool swap = odd_first(word);
            const float one = results[word + swap], other = results[word + !swap];
            store_global2(y, at, float2{swap ? other : one, swap ? one : other});
        }
    }
}

// Writes the results of any tile.
template <class T>
__device__ __forceinline__ void write_tile(Global<T> y, size_t to, size_t apart, Shared<float> results, int images,
                                           int first_row, int first_col, const TapParams& p) {
    const int rows = p.tile_rows * p.result_stride_rows, cols = p.tile_cols * p.result_stride_cols;
    for (int i = threadIdx.x; i < images * rows * cols; i += blockDim.x) {
        const int line = p.by_result_cols.quotient(i), image = p.by_result_rows.quotient(line);
        const int row = line - image * rows, col = i - line * cols;
        if (first_row + row >= p.result_rows || first_col + col >= p.result_cols) continue;
        y[to + image * apart + size_t(row) * p.result_cols + col] =
            from_float<T>(results[image * p.result_image_words + row * p.result_pitch + col]);
    }
}

template <class T, int Q>
__device__ __forceinline__ void convolve(Global<const T> x, Global<const T> w, Global<const T> bias, Global<T> y,
                                         Global<const int> tables, const TapParams& p) {
    KS_SHARED(float, shared);
    const int tiles = p.tiles_down * p.tiles_across;
    const int tile = blockIdx.x % tiles, rest = blockIdx.x / tiles;
    const int channel = rest % p.channels, first_image = rest / p.channels * p.images_per_block;
    const int images = min(p.images_per_block, p.images - first_image);
    const int tile_row = tile / p.tiles_across * p.tile_rows, tile_col = tile % p.tiles_across * p.tile_cols;
    const GroupParams g = group_of(tables, p, channel);
    Shared<float> weights = shared + p.weights_at, source = shared + p.source_at, results = shared + p.results_at;
    Shared<int> list = reinterpret_shared<int>(shared + p.chunks_at);

    // Weights of taps that coincide are added up; the identity of a residual is one more weight at the tap (0, 0).
    for (int i = threadIdx.x; i < g.weight_words; i += blockDim.x) {
        const int first = load(tables, g.weight_lists_at + i), last = load(tables, g.weight_lists_at + i + 1);
        float sum = p.residual && i == g.center ? 1.0f : 0.0f;
        for (int k = first; k < last; ++k)
            sum += to_float(load(w, size_t(channel) * p.weights_per_channel + load(tables, k)));
        weights[i] = sum;
    }
    const int entries = 2 * (g.chunks + g.toeplitz_blocks);
    for (int i = threadIdx.x; i < entries; i += blockDim.x) list[i] = load(tables, g.chunk_list_at + i);
    const size_t plane = size_t(first_image) * p.channels + channel;
    if (p.source_vector) {
        clear(source, images * g.image_words);
        __syncthreads();
    }
    const ChannelPlanes<T> planes{x, plane, size_t(p.channels), images, p.source_rows, p.source_cols};
    stage_source(planes,
                 StagingTarget{source, g.image_words, (tile_row + g.first_row) * p.source_stride_rows,
                               (tile_col + g.first_col) * p.source_stride_cols},
                 g, p, tables);
    __syncthreads();

    const float offset = p.with_bias ? to_float(load(bias, channel)) : 0.0f;
    const int positions = positions_of(g, images), output_phases = p.result_stride_rows * p.result_stride_cols;
    const int wrap = g.direction >= DOWN_RIGHT ? g.source.lines * g.source.pitch : 0x7fffffff;
    for (int i = threadIdx.x; i < positions; i += blockDim.x) {
        const RegisterTile own = register_tile_of<Q>(g, i);
        const int image = own.image;
        const TileStart start = own.start;
        if (!start.active || image >= images) continue;
        const int line_word = g.source.line(g.direction, start.row, start.col) * g.source.pitch;
        const int v = image * g.image_words + (g.direction == ALONG_ROWS ? start.col : start.row);
        for (int phase = 0; phase < output_phases; ++phase) {
            const int counts = g.output_phases_at + 10 * phase;
            int next = load(tables, counts + 8), weight = load(tables, counts + 9);
            float acc[Q];
#pragma unroll
            for (int j = 0; j < Q; ++j) acc[j] = offset;
#define KS_CHUNKS(U) \
    chunks_of<Q, U>(acc, source, line_word, v, wrap, list, next, weights, weight, load(tables, counts + 8 - U))
            KS_CHUNKS(8);
            KS_CHUNKS(7);
            KS_CHUNKS(6);
            KS_CHUNKS(5);
            KS_CHUNKS(4);
            KS_CHUNKS(3);
            KS_CHUNKS(2);
            KS_CHUNKS(1);
#undef KS_CHUNKS
            if (g.toeplitz_blocks)
                toeplitz_blocks_of<Q>(acc, source, line_word + v, list, weights, steps_inside<Q>(g, i), g.toeplitz_blocks);
            const int down = phase / p.result_stride_cols, across = phase % p.result_stride_cols;
#pragma unroll
            for (int j = 0; j < Q; ++j) {
                const int row = start.row + (g.direction == ALONG_ROWS ? 0 : j);
                const int col = start.col + (g.direction == ALONG_ROWS || g.direction == DOWN_RIGHT ? j
                                             : g.direction == DOWN_LEFT                            ? -j
                                                                                                   : 0);
                if (row < p.tile_rows && unsigned(col) < unsigned(p.tile_cols))
                    results[image * p.result_image_words + (row * p.result_stride_rows + down) * p.result_pitch +
                            col * p.result_stride_cols + across] = acc[j];
            }
        }
    }
    __syncthreads();

    // The results go through shared memory, so that global memory is written along rows whatever the direction.
    const int first_row = tile_row * p.result_stride_rows, first_col = tile_col * p.result_stride_cols;
    const size_t apart = size_t(p.channels) * p.result_rows * p.result_cols;
    const size_t to = (plane * p.result_rows + first_row) * p.result_cols + first_col;
    if (p.result_vector == 2)
        write_rows<2>(y, to, apart, results, images, first_row, p);
    else if (p.result_vector == 1)
        write_rows<1>(y, to, apart, results, images, first_row, p);
    else
        write_tile(y, to, apart, results, images, first_row, first_col, p);
}

// The packs of B chunks of U taps each: a warp has packs of its own, or shares of their positions (split-K). An item is a
// share of a pack; `first` is the first item of this U, `entry` the first entry of `list`.
template <int Q, int U, int B>
__device__ __forceinline__ void chunk_pack_sums(Shared<float> source, Shared<float> results, Shared<int> list,
                                                Shared<int> places, Shared<float> sums, const GroupParams& g,
                                                const TapParams& p, int images, int& item, int& first, int& entry,
                                                int count) {
    const int lane = threadIdx.x % WARP, warps = blockDim.x / WARP;
    const int positions = positions_of(g, images), end_word = images * g.result_words;
    const int wrap = g.direction >= DOWN_RIGHT ? g.source.lines * g.source.pitch : 0x7fffffff;
    const int end = first + count * p.warp_splits;
    for (; item < end; item += warps) {
        const int pack = (item - first) / p.warp_splits, share = (item - first) % p.warp_splits;
        int2 entries[B];
#pragma unroll
        for (int b = 0; b < B; ++b) entries[b] = load_shared2(list, 2 * (entry + pack * B + b));
        float acc[8];
#pragma unroll
        for (int k = 0; k < 8; ++k) acc[k] = 0.0f;
        for (int i = share * WARP + lane; i < positions; i += p.warp_splits * WARP) {
            const int2 place = load_shared2(places, 2 * i);
            if (unsigned(place.x) >= unsigned(end_word)) continue;
            const int line_word = unsigned(place.y) >> 16, along = place.y & 0xffff;
            float dy[Q];
#pragma unroll
            for (int j = 0; j < Q; ++j) dy[j] = results[place.x + j];
#pragma unroll
            for (int b = 0; b < B; ++b) {
                int across = line_word + entries[b].x;
                if (across >= wrap) across -= wrap;
                const int at = across + along + entries[b].y;
                float pixels[Q + U - 1];
#pragma unroll
                for (int j = 0; j < Q + U - 1; ++j) pixels[j] = source[at + j];
#pragma unroll
                for (int u = 0; u < U; ++u)
#pragma unroll
                    for (int j = 0; j < Q; ++j) acc[b * U + u] = fmaf(dy[j], pixels[j + u], acc[b * U + u]);
            }
        }
        const float sum = warp_sum_eight(acc, lane);
        if (lane % 4 == 0) sums[item * 8 + lane / 4] += sum;
    }
    first = end;
    entry += count * B;
}

// The sums along the diagonals of Toeplitz blocks, which are divided among warps as packs of chunks are.
template <int Q>
__device__ __forceinline__ void toeplitz_sums(Shared<float> source, Shared<float> results, Shared<int> list,
                                              Shared<int> places, Shared<float> sums, const GroupParams& g,
                                              const TapParams& p, int images) {
    const int lane = threadIdx.x % WARP, warps = blockDim.x / WARP;
    const int positions = positions_of(g, images), end_word = images * g.result_words;
    for (int item = threadIdx.x / WARP; item < g.toeplitz_blocks * p.warp_splits; item += warps) {
        const int share = item % p.warp_splits;
        const int2 step = load_shared2(list, 2 * (item / p.warp_splits));
        float acc[TOEPLITZ_WORDS<Q>];
#pragma unroll
        for (int k = 0; k < TOEPLITZ_WORDS<Q>; ++k) acc[k] = 0.0f;
        for (int i = share * WARP + lane; i < positions; i += p.warp_splits * WARP) {
            if (!steps_inside<Q>(g, i).has(step)) continue;
            const int2 place = load_shared2(places, 2 * i);
            if (unsigned(place.x) >= unsigned(end_word)) continue;
            const int at = (unsigned(place.y) >> 16) + (place.y & 0xffff) + step.x + step.y;
            float dy[Q], pixels[Q];
#pragma unroll
            for (int j = 0; j < Q; ++j) dy[j] = results[place.x + j];
#pragma unroll
            for (int j = 0; j < Q; ++j) pixels[j] = source[at + j];
#pragma unroll
            for (int j = 0; j < Q; ++j)
#pragma unroll
                for (int k = 0; k < Q; ++k) acc[Q - 1 + k - j] = fmaf(dy[j], pixels[k], acc[Q - 1 + k - j]);
        }
#pragma unroll
        for (int k = 0; k < TOEPLITZ_WORDS<Q>; k += 8) {
            float eight[8];
#pragma unroll
            for (int j = 0; j < 8; ++j) eight[j] = acc[k + j];
            const float sum = warp_sum_eight(eight, lane);
            if (lane % 4 == 0) sums[item * TOEPLITZ_WORDS<Q> + k + lane / 4] += sum;
        }
    }
}

// Lists, for every register tile, the word of its gradients, or -1, and that of its pixels: in the upper 16 bits the word
// of the line, in the lower ones what the image and the place along the line add to it.
template <int Q>
__device__ __forceinline__ void list_places(Shared<int> places, const GroupParams& g, const TapParams& p) {
    for (int i = threadIdx.x; i < positions_of(g, p.images_per_block); i += blockDim.x) {
        const RegisterTile own = register_tile_of<Q>(g, i);
        const TileStart start = own.start;
        const int v = g.direction == ALONG_ROWS ? start.col : start.row;
        // A diagonal may start left of the tile; its line is that of the pixel where it enters, modulo the lines.
        const int col = start.col < 0 ? start.col + g.results.lines : start.col;
        const int line = g.source.line(g.direction, start.row, start.col) * g.source.pitch;
        const int from = own.image * g.result_words + g.results.line(g.direction, start.row, col) * g.results.pitch + v;
        places[2 * i] = start.active ? from : -1;
        places[2 * i + 1] = int(uint32_t(line) << 16 | uint32_t(own.image * g.image_words + v));
    }
}

// Partial sums of the weight gradient (split-K): a block has one channel and a share of the images and tiles. `partial`
// (block_splits, channels, partial_stride) has the gradients of the distinct taps and, last, of the bias.
template <class T, int Q>
__device__ __forceinline__ void weight_sums(Global<const T> x, Global<const T> dy, Global<float> partial,
                                            Global<const int> tables, const TapParams& p) {
    KS_SHARED(float, shared);
    const int channel = blockIdx.x % p.channels, split = blockIdx.x / p.channels;
    const GroupParams g = group_of(tables, p, channel);
    Shared<float> sums = shared + p.weights_at, source = shared + p.source_at, results = shared + p.results_at;
    Shared<int> list = reinterpret_shared<int>(shared + p.chunks_at);
    Shared<int> places = reinterpret_shared<int>(shared + p.places_at);
    const int entries = load(tables, g.pack_counts_at + 8), items = g.packs * p.warp_splits;
    for (int i = threadIdx.x; i < 2 * (entries + g.toeplitz_blocks); i += blockDim.x)
        list[i] = load(tables, g.pack_list_at + i);
    const int sum_words = 8 * items + g.toeplitz_blocks * p.warp_splits * TOEPLITZ_WORDS<Q>;
    for (int i = threadIdx.x; i < sum_words; i += blockDim.x) sums[i] = 0.0f;
    list_places<Q>(places, g, p);

    const int tiles = p.tiles_down * p.tiles_across, work = p.image_blocks * tiles;
    float bias = 0.0f;
    for (int unit = split; unit < work; unit += p.block_splits) {
        const int tile = unit % tiles, first_image = unit / tiles * p.images_per_block;
        const int images = min(p.images_per_block, p.images - first_image);
        const int tile_row = tile / p.tiles_across * p.tile_rows, tile_col = tile % p.tiles_across * p.tile_cols;
        const size_t plane = size_t(first_image) * p.channels + channel;
        // The tile before may still be in use; the first time, this waits for the lists.
        __syncthreads();
        // The halo of a whole plane stays zero from one plane to the next.
        if (p.source_vector && (unit == split || tiles > 1)) {
            clear(source, p.images_per_block * g.image_words);
            __syncthreads();
        }
        if (p.result_vector && (unit == split || tiles > 1)) {
            clear(results, p.images_per_block * g.result_words);
            __syncthreads();
        }
        const ChannelPlanes<T> inputs{x, plane, size_t(p.channels), images, p.source_rows, p.source_cols};
        const ChannelPlanes<T> gradients{dy, plane, size_t(p.channels), images, p.result_rows, p.result_cols};
        stage_source(inputs,
                     StagingTarget{source, g.image_words, (tile_row + g.first_row) * p.source_stride_rows,
                                   (tile_col + g.first_col) * p.source_stride_cols},
                     g, p, tables);
        const StagingTarget to{results, g.result_words, tile_row, tile_col};
        const int end_row = min(p.result_rows, tile_row + p.tile_rows), end_col = min(p.result_cols, tile_col + p.tile_cols);
        if (p.result_vector == 2)
            bias += stage_rows<2>(gradients, to, end_row, g.results, g.direction, p.by_result_vectors, p.by_result_height);
        else if (p.result_vector == 1)
            bias += stage_rows<1>(gradients, to, end_row, g.results, g.direction, p.by_result_vectors, p.by_result_height);
        else
            bias += stage_cells(gradients, to, end_row, end_col, g.results, g.direction, p, false, tables, g.phase_words_at);
        __syncthreads();
        int item = threadIdx.x / WARP, first = 0, entry = 0;
#define KS_PACKS(U, B) \
    chunk_pack_sums<Q, U, B>(source, results, list, places, sums, g, p, images, item, first, entry,                  \
                             load(tables, g.pack_counts_at + 8 - U))
        KS_PACKS(8, 1);
        KS_PACKS(7, 1);
        KS_PACKS(6, 1);
        KS_PACKS(5, 1);
        KS_PACKS(4, 2);
        KS_PACKS(3, 2);
        KS_PACKS(2, 4);
        KS_PACKS(1, 8);
#undef KS_PACKS
        if (g.toeplitz_blocks) toeplitz_sums<Q>(source, results, list, places, sums, g, p, images);
    }
    __syncthreads();
    const size_t to = (size_t(split) * p.channels + channel) * p.partial_stride;
    for (int i = threadIdx.x; i < g.packs * 8; i += blockDim.x) {
        const int tap = load(tables, g.pack_taps_at + i);
        if (tap < 0) continue;
        float sum = 0.0f;
        for (int share = 0; share < p.warp_splits; ++share) sum += sums[(i / 8 * p.warp_splits + share) * 8 + i % 8];
        partial[to + tap] = sum;
    }
    for (int tap = threadIdx.x; g.toeplitz_blocks && tap < g.taps; tap += blockDim.x) {
        float sum = 0.0f;
        for (int k = 0; k < 2; ++k) {
            const int place = load(tables, g.toeplitz_taps_at + 2 * tap + k);
            const int words = TOEPLITZ_WORDS<Q>, of = place / words * p.warp_splits;
            for (int share = 0; place >= 0 && share < p.warp_splits; ++share)
                sum += sums[(of + share) * words + place % words];
        }
        partial[to + tap] = sum;
    }
    __syncthreads();
    bias = block_sum(bias, sums);
    if (threadIdx.x == 0) partial[to + p.partial_stride - 1] = bias;
}

// Adds up the partial sums of the blocks in their order, and hands the gradient of a tap to every weight that reads there.
template <class T>
__device__ __forceinline__ void weight_finish(Global<const float> partial, Global<T> dw, Global<T> db,
                                              Global<const int> tables, const TapParams& p) {
    const int per_channel = p.weights_per_channel + 1;
    const size_t count = size_t(p.channels) * per_channel;
    for (size_t i = size_t(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += size_t(gridDim.x) * blockDim.x) {
        const int channel = int(i / per_channel), k = int(i % per_channel);
        const int group = load(tables, p.group_of_channel_at + channel);
        const size_t words = size_t(p.groups_at) + size_t(group) * GROUP_WORDS;
        const bool bias = k == p.weights_per_channel;
        int tap = p.partial_stride - 1;
        if (!bias) {
            const int slots = load(tables, words + offsetof(GroupParams, slots_at) / sizeof(int));
            const int weights = load(tables, words + offsetof(GroupParams, weights) / sizeof(int));
            tap = k < weights ? load(tables, slots + k) : -1;
        }
        float sum = 0.0f;
        for (int split = 0; tap >= 0 && split < p.block_splits; ++split)
            sum += load(partial, (size_t(split) * p.channels + channel) * p.partial_stride + tap);
        if (bias)
            db[channel] = from_float<T>(sum);
        else
            dw[size_t(channel) * p.weights_per_channel + k] = from_float<T>(sum);
    }
}

// Without tiles, for taps too far apart or strides too large: one thread per value, which reads every tap from global
// memory.

// The offsets of a channel's weights: where their list starts in the tables, and how many there are.
struct TapOffsets {
    int list_at, count;
};

__device__ __forceinline__ TapOffsets offsets_of(Global<const int> tables, const TapParams& p, int channel) {
    const int group = load(tables, p.group_of_channel_at + channel);
    const size_t words = size_t(p.groups_at) + size_t(group) * GROUP_WORDS;
    return {load(tables, words + offsetof(GroupParams, offsets_at) / sizeof(int)),
            load(tables, words + offsetof(GroupParams, weights) / sizeof(int))};
}

// Here and in the two kernels below, source and result are the planes of x and y, whatever is computed.
template <class T>
__device__ __forceinline__ void direct_forward(Global<const T> x, Global<const T> w, Global<const T> bias, Global<T> y,
                                               Global<const int> tables, const TapParams& p) {
    const size_t plane = size_t(p.result_rows) * p.result_cols, count = plane * p.images * p.channels;
    const size_t source = size_t(p.source_rows) * p.source_cols;
    for (size_t i = size_t(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += size_t(gridDim.x) * blockDim.x) {
        const size_t index = i / plane, at = i % plane;
        const int channel = int(index % p.channels), row = int(at / p.result_cols), col = int(at % p.result_cols);
        const TapOffsets taps = offsets_of(tables, p, channel);
        float sum = p.with_bias ? to_float(load(bias, channel)) : 0.0f;
        for (int k = 0; k < taps.count; ++k) {
            const int r = row * p.source_stride_rows + load(tables, taps.list_at + 2 * k);
            const int c = col * p.source_stride_cols + load(tables, taps.list_at + 2 * k + 1);
            if (unsigned(r) >= unsigned(p.source_rows) || unsigned(c) >= unsigned(p.source_cols)) continue;
            sum = fmaf(to_float(load(w, size_t(channel) * p.weights_per_channel + k)),
                       to_float(load(x, index * source + size_t(r) * p.source_cols + c)), sum);
        }
        if (p.residual) sum += to_float(load(x, i));
        y[i] = from_float<T>(sum);
    }
}

template <class T>
__device__ __forceinline__ void direct_input_grad(Global<const T> dy, Global<const T> w, Global<T> dx,
                                                  Global<const int> tables, const TapParams& p) {
    const size_t plane = size_t(p.source_rows) * p.source_cols, count = plane * p.images * p.channels;
    const size_t result = size_t(p.result_rows) * p.result_cols;
    for (size_t i = size_t(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += size_t(gridDim.x) * blockDim.x) {
        const size_t index = i / plane, at = i % plane;
        const int channel = int(index % p.channels), row = int(at / p.source_cols), col = int(at % p.source_cols);
        const TapOffsets taps = offsets_of(tables, p, channel);
        float sum = 0.0f;
        for (int k = 0; k < taps.count; ++k) {
            const int r = row - load(tables, taps.list_at + 2 * k), c = col - load(tables, taps.list_at + 2 * k + 1);
            if (r < 0 || c < 0 || r % p.source_stride_rows || c % p.source_stride_cols) continue;
            const int q = r / p.source_stride_rows, s = c / p.source_stride_cols;
            if (q >= p.result_rows || s >= p.result_cols) continue;
            sum = fmaf(to_float(load(w, size_t(channel) * p.weights_per_channel + k)),
                       to_float(load(dy, index * result + size_t(q) * p.result_cols + s)), sum);
        }
        if (p.residual) sum += to_float(load(dy, i));
        dx[i] = from_float<T>(sum);
    }
}

// One block per weight, and one per channel for the bias.
template <class T>
__device__ __forceinline__ void direct_weight_grad(Global<const T> x, Global<const T> dy, Global<T> dw, Global<T> db,
                                                   Global<const int> tables, const TapParams& p) {
    KS_SHARED(float, scratch);
    const int per_channel = p.weights_per_channel + 1;
    const int channel = blockIdx.x / per_channel, k = blockIdx.x % per_channel;
    const TapOffsets taps = offsets_of(tables, p, channel);
    const bool bias = k == p.weights_per_channel;
    const size_t plane = size_t(p.result_rows) * p.result_cols, source = size_t(p.source_rows) * p.source_cols;
    const int down = k < taps.count ? load(tables, taps.list_at + 2 * k) : 0;
    const int right = k < taps.count ? load(tables, taps.list_at + 2 * k + 1) : 0;
    float sum = 0.0f;
    for (size_t i = threadIdx.x; (bias || k < taps.count) && i < plane * p.images; i += blockDim.x) {
        const size_t index = i / plane * p.channels + channel, at = i % plane;
        const float gradient = to_float(load(dy, index * plane + at));
        if (bias) {
            sum += gradient;
            continue;
        }
        const int r = int(at / p.result_cols) * p.source_stride_rows + down;
        const int c = int(at % p.result_cols) * p.source_stride_cols + right;
        if (unsigned(r) >= unsigned(p.source_rows) || unsigned(c) >= unsigned(p.source_cols)) continue;
        sum = fmaf(gradient, to_float(load(x, index * source + size_t(r) * p.source_cols + c)), sum);
    }
    sum = block_sum(sum, scratch);
    if (threadIdx.x != 0) return;
    if (bias)
        db[channel] = from_float<T>(sum);
    else
        dw[size_t(channel) * p.weights_per_channel + k] = from_float<T>(sum);
}

// At least two blocks per multiprocessor: 128 registers per thread.
#define KS_TILED(T, type, Q)                                                                                         \
    extern "C" __global__ void __launch_bounds__(256, 2) taps_convolve_##type##_##Q(                                 \
        Global<const T> x, Global<const T> w, Global<const T> bias, Global<T> y, Global<const int> tables, TapParams p) { \
        convolve<T, Q>(x, w, bias, y, tables, p);                                                                    \
    }                                                                                                                \
    KS_EXPORT(taps_convolve_##type##_##Q)                                                                            \
    extern "C" __global__ void __launch_bounds__(256, 2) taps_weight_sums_##type##_##Q(                              \
        Global<const T> x, Global<const T> dy, Global<float> partial, Global<const int> tables, TapParams p) {       \
        weight_sums<T, Q>(x, dy, partial, tables, p);                                                                \
    }                                                                                                                \
    KS_EXPORT(taps_weight_sums_##type##_##Q)

#define KS_TYPE(T, type)                                                                                             \
    KS_TILED(T, type, 7)                                                                                             \
    KS_TILED(T, type, 8)                                                                                             \
    KS_TILED(T, type, 14)                                                                                            \
    KS_TILED(T, type, 16)                                                                                            \
    extern "C" __global__ void __launch_bounds__(256) taps_weight_finish_##type(                                     \
        Global<const float> partial, Global<T> dw, Global<T> db, Global<const int> tables, TapParams p) {            \
        weight_finish<T>(partial, dw, db, tables, p);                                                                \
    }                                                                                                                \
    KS_EXPORT(taps_weight_finish_##type)                                                                             \
    extern "C" __global__ void __launch_bounds__(256) taps_direct_forward_##type(                                    \
        Global<const T> x, Global<const T> w, Global<const T> bias, Global<T> y, Global<const int> tables, TapParams p) { \
        direct_forward<T>(x, w, bias, y, tables, p);                                                                 \
    }                                                                                                                \
    KS_EXPORT(taps_direct_forward_##type)                                                                            \
    extern "C" __global__ void __launch_bounds__(256) taps_direct_input_grad_##type(                                 \
        Global<const T> dy, Global<const T> w, Global<T> dx, Global<const int> tables, TapParams p) {                \
        direct_input_grad<T>(dy, w, dx, tables, p);                                                                  \
    }                                                                                                                \
    KS_EXPORT(taps_direct_input_grad_##type)                                                                         \
    extern "C" __global__ void __launch_bounds__(256) taps_direct_weight_grad_##type(                                \
        Global<const T> x, Global<const T> dy, Global<T> dw, Global<T> db, Global<const int> tables, TapParams p) {  \
        direct_weight_grad<T>(x, dy, dw, db, tables, p);                                                             \
    }                                                                                                                \
    KS_EXPORT(taps_direct_weight_grad_##type)

KS_TYPE(float, f32)
KS_TYPE(__half, f16)
KS_TYPE(__nv_bfloat16, bf16)
