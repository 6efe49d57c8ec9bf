// GELU, ReLU6 and max pooling, with their gradients; sums over images.
#include "common.cuh"

struct MapParams {
    uint64_t count;
};
KS_STRUCT(MapParams, 8)
KS_FIELD(MapParams, count, 0)

// x Phi(x) and its slope Phi(x) + x phi(x), exact to rounding.
struct Gelu {
    static __device__ __forceinline__ float value(float x) { return x * normcdff(x); }
    static __device__ __forceinline__ float slope(float x) {
        return fmaf(x * 0.3989422804f, expf(-0.5f * x * x), normcdff(x));
    }
};

// NaN stays NaN.
struct Relu6 {
    static __device__ __forceinline__ float value(float x) { return x < 0.0f ? 0.0f : x > 6.0f ? 6.0f : x; }
    static __device__ __forceinline__ float slope(float x) { return x > 0.0f && x < 6.0f ? 1.0f : 0.0f; }
};

// Values that a thread has in flight.
constexpr int IN_FLIGHT = 4;

template <class F, class T> __device__ __forceinline__ void map(Global<const T> x, Global<T> y, const MapParams& p) {
    const size_t count = p.count, step = size_t(gridDim.x) * blockDim.x;
    for (size_t start = size_t(blockIdx.x) * blockDim.x + threadIdx.x; start < count; start += IN_FLIGHT * step) {
        float values[IN_FLIGHT];
#pragma unroll
        for (int k = 0; k < IN_FLIGHT; ++k)
            if (start + k * step < count) values[k] = to_float(load(x, start + k * step));
#pragma unroll
        for (int k = 0; k < IN_FLIGHT; ++k)
            if (start + k * step < count) y[start + k * step] = from_float<T>(F::value(values[k]));
    }
}

template <class F, class T>
__device__ __forceinline__ void map_grad(Global<const T> x, Global<const T> dy, Global<T> dx, const MapParams& p) {
    const size_t count = p.count, step = size_t(gridDim.x) * blockDim.x;
    for (size_t start = size_t(blockIdx.x) * blockDim.x + threadIdx.x; start < count; start += IN_FLIGHT * step) {
        float values[IN_FLIGHT], gradients[IN_FLIGHT];
#pragma unroll
        for (int k = 0; k < IN_FLIGHT; ++k) {
            if (start + k * step >= count) continue;
            values[k] = to_float(load(x, start + k * step));
            gradients[k] = to_float(load(dy, start + k * step));
        }
#pragma unroll
        for (int k = 0; k < IN_FLIGHT; ++k)
            if (start + k * step < count) dx[start + k * step] = from_float<T>(gradients[k] * F::slope(values[k]));
    }
}

struct ImageSumParams {
    // Values of an image, and images.
    uint64_t count, images;
};
KS_STRUCT(ImageSumParams, 16)
KS_FIELD(ImageSumParams, count, 0)
KS_FIELD(ImageSumParams, images, 8)

// The sum over images, in their order.
template <class T>
__device__ __forceinline__ void sum_images(Global<const T> x, Global<T> y, const ImageSumParams& p) {
    const size_t count = p.count, step = size_t(gridDim.x) * blockDim.x;
    for (size_t i = size_t(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step) {
        float sum = 0.0f;
#pragma unroll 4
        for (size_t image = 0; image < p.images; ++image) sum += to_float(load(x, image * count + i));
        y[i] = from_float<T>(sum);
    }
}

struct MaxPoolParams {
    int planes, rows, cols, result_rows, result_cols;
    int kernel, stride, padding;
};
KS_STRUCT(MaxPoolParams, 32)
KS_FIELD(MaxPoolParams, planes, 0)
KS_FIELD(MaxPoolParams, rows, 4)
KS_FIELD(MaxPoolParams, cols, 8)
KS_FIELD(MaxPoolParams, result_rows, 12)
KS_FIELD(MaxPoolParams, result_cols, 16)
KS_FIELD(MaxPoolParams, kernel, 20)
KS_FIELD(MaxPoolParams, stride, 24)
KS_FIELD(MaxPoolParams, padding, 28)

// Where in its plane the window of a result has its maximum: the first of equal ones, or the first NaN.
template <class T> __device__ __forceinline__ int winner(Global<const T> x, size_t plane, int row, int col, const MaxPoolParams& p) {
    const int top = max(row * p.stride - p.padding, 0), bottom = min(row * p.stride - p.padding + p.kernel, p.rows);
    const int left = max(col * p.stride - p.padding, 0), right = min(col * p.stride - p.padding + p.kernel, p.cols);
    int best = top * p.cols + left;
    float most = to_float(load(x, plane + best));
    for (int r = top; r < bottom; ++r)
        for (int c = left; c < right; ++c) {
            const float value = to_float(load(x, plane + r * p.cols + c));
            if (value > most || (value != value && most == most)) {
                most = value;
                best = r * p.cols + c;
            }
        }
    return best;
}

template <class T> __device__ __forceinline__ void max_pool(Global<const T> x, Global<T> y, const MaxPoolParams& p) {
    const size_t results = size_t(p.result_rows) * p.result_cols, count = results * p.planes;
    for (size_t i = size_t(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += size_t(gridDim.x) * blockDim.x) {
        const size_t plane = i / results * (size_t(p.rows) * p.cols);
        const int at = int(i % results);
        y[i] = load(x, plane + winner(x, plane, at / p.result_cols, at % p.result_cols, p));
    }
}

// Every pixel asks the windows that it is in who their winner is.
template <class T>
__device__ __forceinline__ void max_pool_grad(Global<const T> x, Global<const T> dy, Global<T> dx, const MaxPoolParams& p) {
    const size_t pixels = size_t(p.rows) * p.cols, results = size_t(p.result_rows) * p.result_cols;
    for (size_t i = size_t(blockIdx.x) * blockDim.x + threadIdx.x; i < pixels * p.planes; i += size_t(gridDim.x) * blockDim.x) {
        const size_t index = i / pixels;
        const int at = int(i % pixels), row = at / p.cols + p.padding, col = at % p.cols + p.padding;
        const int top = row < p.kernel ? 0 : (row - p.kernel) / p.stride + 1;
        const int left = col < p.kernel ? 0 : (col - p.kernel) / p.stride + 1;
        float sum = 0.0f;
        for (int r = top; r <= min(row / p.stride, p.result_rows - 1); ++r)
            for (int c = left; c <= min(col / p.stride, p.result_cols - 1); ++c)
                if (winner(x, index * pixels, r, c, p) == at) sum += to_float(load(dy, index * results + r * p.result_cols + c));
        dx[i] = from_float<T>(sum);
    }
}

#define KS_MAP(T, type, name, F)                                                                                     \
    extern "C" __global__ void __launch_bounds__(256) name##_##type(Global<const T> x, Global<T> y, MapParams p) {   \
        map<F, T>(x, y, p);                                                                                          \
    }                                                                                                                \
    KS_EXPORT(name##_##type)                                                                                         \
    extern "C" __global__ void __launch_bounds__(256) name##_grad_##type(                                            \
        Global<const T> x, Global<const T> dy, Global<T> dx, MapParams p) {                                          \
        map_grad<F, T>(x, dy, dx, p);                                                                                \
    }                                                                                                                \
    KS_EXPORT(name##_grad_##type)

#define KS_ELEMENTWISE(T, type)                                                                                      \
    KS_MAP(T, type, gelu, Gelu)                                                                                      \
    KS_MAP(T, type, relu6, Relu6)                                                                                    \
    extern "C" __global__ void __launch_bounds__(256) sum_images_##type(                                             \
        Global<const T> x, Global<T> y, ImageSumParams p) {                                                          \
        sum_images<T>(x, y, p);                                                                                      \
    }                                                                                                                \
    KS_EXPORT(sum_images_##type)                                                                                     \
    extern "C" __global__ void __launch_bounds__(256, 4) max_pool_##type(Global<const T> x, Global<T> y, MaxPoolParams p) { \
        max_pool<T>(x, y, p);                                                                                        \
    }                                                                                                                \
    KS_EXPORT(max_pool_##type)                                                                                       \
    extern "C" __global__ void __launch_bounds__(256, 4) max_pool_grad_##type(                                       \
        Global<const T> x, Global<const T> dy, Global<T> dx, MaxPoolParams p) {                                      \
        max_pool_grad<T>(x, dy, dx, p);                                                                              \
    }                                                                                                                \
    KS_EXPORT(max_pool_grad_##type)

KS_ELEMENTWISE(float, f32)
KS_ELEMENTWISE(__half, f16)
KS_ELEMENTWISE(__nv_bfloat16, bf16)
