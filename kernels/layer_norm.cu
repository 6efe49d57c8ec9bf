// Layer norm over channels at every position: x is (outer, channels, inner); with channels last, inner is 1.
//
//     h = (x - mean) / sqrt(var + eps)        y = w h + b
//     dx = rstd (w dy - mean(w dy) - h mean(w dy h))        dw = sum dy h        db = sum dy
//
// Statistics take two passes over the values (mean, then squared deviations), which are staged in shared memory if they fit.
#include "common.cuh"

struct LayerNormParams {
    // The axes of x. Adjacent positions of a block, a power of two up to 32 (with channels first); whether they are staged.
    int outer, channels, inner, positions, staged;
    float eps;
    // Blocks that share the sums for the gradients of weight and bias (split-K).
    int splits;
};
KS_STRUCT(LayerNormParams, 28)
KS_FIELD(LayerNormParams, outer, 0)
KS_FIELD(LayerNormParams, channels, 4)
KS_FIELD(LayerNormParams, inner, 8)
KS_FIELD(LayerNormParams, positions, 12)
KS_FIELD(LayerNormParams, staged, 16)
KS_FIELD(LayerNormParams, eps, 20)
KS_FIELD(LayerNormParams, splits, 24)

// The sum over the threads that have the same position: a block is `positions` wide, and every thread gets the sum.
__device__ __forceinline__ float over_rows(float value, Shared<float> scratch, int positions) {
    const int lane = threadIdx.x % positions, rows = blockDim.x / positions;
    scratch[threadIdx.x] = value;
    __syncthreads();
    float sum = 0.0f;
    for (int row = 0; row < rows; ++row) sum += scratch[row * positions + lane];
    __syncthreads();
    return sum;
}

// What a thread computes: every `rows`-th channel, from `row` on, of one position.
struct Column {
    bool valid;
    size_t first;
    int lane, row, rows;
};

__device__ __forceinline__ Column column_of(const LayerNormParams& p, size_t tile) {
    const int lane = threadIdx.x % p.positions, row = threadIdx.x / p.positions;
    const size_t position = tile * p.positions + lane;
    const bool valid = position < size_t(p.outer) * p.inner;
    const size_t outer = valid ? position / p.inner : 0;
    return {valid, outer * p.channels * p.inner + (valid ? position % p.inner : 0), lane, row, int(blockDim.x) / p.positions};
}

template <class T>
__device__ __forceinline__ float value_at(Global<const T> x, Shared<float> tile, const LayerNormParams& p, const Column& at, int c) {
    if (p.staged) return tile[c * p.positions + at.lane];
    return at.valid ? to_float(load(x, at.first + size_t(c) * p.inner)) : 0.0f;
}

// Mean and 1 / sqrt(var + eps) of the thread's position; stages the tile.
template <class T>
__device__ __forceinline__ float2 statistics(Global<const T> x, Shared<float> tile, Shared<float> scratch, const LayerNormParams& p,
                                             const Column& at) {
    float sum = 0.0f;
#pragma unroll 4
    for (int c = at.row; c < p.channels; c += at.rows) {
        const float value = at.valid ? to_float(load(x, at.first + size_t(c) * p.inner)) : 0.0f;
        if (p.staged) tile[c * p.positions + at.lane] = value;
        sum += value;
    }
    const float mean = over_rows(sum, scratch, p.positions) / float(p.channels);
    float squares = 0.0f;
    for (int c = at.row; c < p.channels; c += at.rows) {
        const float centered = value_at(x, tile, p, at, c) - mean;
        squares = fmaf(centered, centered, squares);
    }
    const float variance = over_rows(squares, scratch, p.positions) / float(p.channels);
    return {mean, 1.0f / sqrtf(variance + p.eps)};
}

template <class T>
__device__ __forceinline__ void forward(Global<const T> x, Global<const T> w, Global<const T> b, Global<T> y, const LayerNormParams& p) {
    KS_SHARED(float, shared);
    Shared<float> scratch = shared, tile = shared + int(blockDim.x);
    const Column at = column_of(p, blockIdx.x);
    const float2 s = statistics(x, tile, scratch, p, at);
    for (int c = at.row; at.valid && c < p.channels; c += at.rows) {
        const float h = (value_at(x, tile, p, at, c) - s.x) * s.y;
        y[at.first + size_t(c) * p.inner] = from_float<T>(fmaf(to_float(load(w, c)), h, to_float(load(b, c))));
    }
}

// Blocks go through the tiles in steps of the grid; `partial` (splits, 2, channels) has the partial sums of each block.
template <class T>
__device__ __forceinline__ void backward(Global<const T> x, Global<const T> w, Global<const T> dy, Global<T> dx,
                                         Global<float> partial, const LayerNormParams& p) {
    KS_SHARED(float, shared);
    Shared<float> scratch = shared, sums = shared + int(blockDim.x), tile = sums + 2 * p.channels;
    Shared<float> gradients = tile + p.channels * p.positions;
    for (int i = threadIdx.x; i < 2 * p.channels; i += blockDim.x) sums[i] = 0.0f;
    __syncthreads();
    const size_t tiles = (size_t(p.outer) * p.inner + p.positions - 1) / p.positions;
    for (size_t index = blockIdx.x; index < tiles; index += p.splits) {
        const Column at = column_of(p, index);
        const float2 s = statistics(x, tile, scratch, p, at);
        float sum = 0.0f, product = 0.0f;
        for (int c = at.row; c < p.channels; c += at.rows) {
            const float g = at.valid ? to_float(load(dy, at.first + size_t(c) * p.inner)) : 0.0f;
            if (p.staged) gradients[c * p.positions + at.lane] = g;
            const float h = (value_at(x, tile, p, at, c) - s.x) * s.y, weighted = to_float(load(w, c)) * g;
            sum += weighted;
            product = fmaf(weighted, h, product);
        }
        sum = over_rows(sum, scratch, p.positions) / float(p.channels);
        product = over_rows(product, scratch, p.positions) / float(p.channels);
        // All lanes of a warp take part in the sums, so all go through the same number of channels.
        for (int first = 0; first < p.channels; first += at.rows) {
            const int c = first + at.row;
            float scale = 0.0f, shift = 0.0f;
            if (c < p.channels && at.valid) {
                const float g = p.staged ? float(gradients[c * p.positions + at.lane])
                                         : to_float(load(dy, at.first + size_t(c) * p.inner));
                const float h = (value_at(x, tile, p, at, c) - s.x) * s.y;
                const float gradient = s.y * (to_float(load(w, c)) * g - sum - h * product);
                dx[at.first + size_t(c) * p.inner] = from_float<T>(gradient);
                scale = g * h;
                shift = g;
            }
            for (int offset = p.positions / 2; offset > 0; offset /= 2) {
                scale += __shfl_xor_sync(ALL_LANES, scale, offset);
                shift += __shfl_xor_sync(ALL_LANES, shift, offset);
            }
            if (c < p.channels && at.lane == 0) {
                sums[c] += scale;
                sums[p.channels + c] += shift;
            }
        }
        __syncthreads();
    }
    for (int i = threadIdx.x; i < 2 * p.channels; i += blockDim.x)
        partial[size_t(blockIdx.x) * 2 * p.channels + i] = sums[i];
}

// Channels last: a warp per position, lanes along the channels.
template <class T>
__device__ __forceinline__ float2 row_statistics(Global<const T> x, size_t first, const LayerNormParams& p, int lane) {
    float sum = 0.0f, squares = 0.0f;
    for (int c = lane; c < p.channels; c += WARP) sum += to_float(load(x, first + c));
    const float mean = warp_sum(sum) / float(p.channels);
    for (int c = lane; c < p.channels; c += WARP) {
        const float centered = to_float(load(x, first + c)) - mean;
        squares = fmaf(centered, centered, squares);
    }
    return {mean, 1.0f / sqrtf(warp_sum(squares) / float(p.channels) + p.eps)};
}

template <class T>
__device__ __forceinline__ void forward_rows(Global<const T> x, Global<const T> w, Global<const T> b, Global<T> y,
                                             const LayerNormParams& p) {
    const int lane = threadIdx.x % WARP, warps = blockDim.x / WARP;
    for (size_t row = size_t(blockIdx.x) * warps + threadIdx.x / WARP; row < size_t(p.outer); row += size_t(gridDim.x) * warps) {
        const size_t first = row * p.channels;
        const float2 s = row_statistics(x, first, p, lane);
        for (int c = lane; c < p.channels; c += WARP) {
            const float h = (to_float(load(x, first + c)) - s.x) * s.y;
            y[first + c] = from_float<T>(fmaf(to_float(load(w, c)), h, to_float(load(b, c))));
        }
    }
}

// Every block has a share of the rows; the sums of its warps are added up in their order.
template <class T>
__device__ __forceinline__ void backward_rows(Global<const T> x, Global<const T> w, Global<const T> dy, Global<T> dx,
                                              Global<float> partial, const LayerNormParams& p) {
    KS_SHARED(float, shared);
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
    Shared<float> sums = shared + warp * 2 * p.channels;
    // Each lane clears the sums that it adds to.
    for (int c = lane; c < p.channels; c += WARP) sums[c] = sums[p.channels + c] = 0.0f;
    for (size_t row = size_t(blockIdx.x) * warps + warp; row < size_t(p.outer); row += size_t(p.splits) * warps) {
        const size_t first = row * p.channels;
        const float2 s = row_statistics(x, first, p, lane);
        float sum = 0.0f, product = 0.0f;
        for (int c = lane; c < p.channels; c += WARP) {
            const float g = to_float(load(dy, first + c)) * to_float(load(w, c));
            sum += g;
            product = fmaf(g, (to_float(load(x, first + c)) - s.x) * s.y, product);
        }
        sum = warp_sum(sum) / float(p.channels);
        product = warp_sum(product) / float(p.channels);
        for (int c = lane; c < p.channels; c += WARP) {
            const float g = to_float(load(dy, first + c)), h = (to_float(load(x, first + c)) - s.x) * s.y;
            dx[first + c] = from_float<T>(s.y * (to_float(load(w, c)) * g - sum - h * product));
            // Lanes have channels of their own.
            sums[c] += g * h;
            sums[p.channels + c] += g;
        }
    }
    __syncthreads();
    for (int i = threadIdx.x; i < 2 * p.channels; i += blockDim.x) {
        float sum = 0.0f;
        for (int k = 0; k < warps; ++k) sum += shared[k * 2 * p.channels + i];
        partial[size_t(blockIdx.x) * 2 * p.channels + i] = sum;
    }
}

// Adds up the partial sums in their order.
template <class T>
__device__ __forceinline__ void finish(Global<const float> partial, Global<T> dw, Global<T> db, const LayerNormParams& p) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < 2 * p.channels; i += gridDim.x * blockDim.x) {
        float sum = 0.0f;
        for (int split = 0; split < p.splits; ++split) sum += load(partial, size_t(split) * 2 * p.channels + i);
        if (i < p.channels)
            dw[i] = from_float<T>(sum);
        else
            db[i - p.channels] = from_float<T>(sum);
    }
}

#define KS_NORM(T, type, suffix, rows)                                                                               \
    extern "C" __global__ void __launch_bounds__(256) layer_norm##suffix##_##type(                                   \
        Global<const T> x, Global<const T> w, Global<const T> b, Global<T> y, LayerNormParams p) {                   \
        forward##rows<T>(x, w, b, y, p);                                                                             \
    }                                                                                                                \
    KS_EXPORT(layer_norm##suffix##_##type)                                                                           \
    extern "C" __global__ void __launch_bounds__(256) layer_norm##suffix##_grad_##type(                              \
        Global<const T> x, Global<const T> w, Global<const T> dy, Global<T> dx, Global<float> partial, LayerNormParams p) { \
        backward##rows<T>(x, w, dy, dx, partial, p);                                                                 \
    }                                                                                                                \
    KS_EXPORT(layer_norm##suffix##_grad_##type)

#define KS_NORMS(T, type)                                                                                            \
    KS_NORM(T, type, , )                                                                                             \
    KS_NORM(T, type, _last, _rows)                                                                                   \
    extern "C" __global__ void __launch_bounds__(256) layer_norm_finish_##type(                                      \
        Global<const float> partial, Global<T> dw, Global<T> db, LayerNormParams p) {                                \
        finish<T>(partial, dw, db, p);                                                                               \
    }                                                                                                                \
    KS_EXPORT(layer_norm_finish_##type)

KS_NORMS(float, f32)
KS_NORMS(__half, f16)
KS_NORMS(__nv_bfloat16, bf16)
