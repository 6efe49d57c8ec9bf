// Planes (one image, one channel) as a whole: sums over them, and affine combinations of two maps with factors per plane.
// Batch norm, response norm, the scaled residual and biases are put together from these and from a few kernels that
// compute the factors.
#include "common.cuh"

struct PlaneParams {
    int images, channels, positions;
};
KS_STRUCT(PlaneParams, 12)
KS_FIELD(PlaneParams, images, 0)
KS_FIELD(PlaneParams, channels, 4)
KS_FIELD(PlaneParams, positions, 8)

struct PlaneSumsParams {
    PlaneParams planes;
    // Whether the first sum is that of squares, and whether `shift` is subtracted.
    int squares, shifted;
};
KS_STRUCT(PlaneSumsParams, 20)
KS_FIELD(PlaneSumsParams, planes, 0)
KS_FIELD(PlaneSumsParams, squares, 12)
KS_FIELD(PlaneSumsParams, shifted, 16)

// A warp per plane: out[2 i] = sum a (b - shift[c]), out[2 i + 1] = sum a. Without b, a is b and the first is the sum of
// (a - shift)^2.
template <class T>
__device__ __forceinline__ void plane_sums(Global<const T> a, Global<const T> b, Global<const float> shift,
                                           Global<float> out, const PlaneSumsParams& params) {
    const PlaneParams& p = params.planes;
    const int lane = threadIdx.x % WARP, warps = blockDim.x / WARP, squares = params.squares;
    const size_t planes = size_t(p.images) * p.channels;
    for (size_t plane = size_t(blockIdx.x) * warps + threadIdx.x / WARP; plane < planes; plane += size_t(gridDim.x) * warps) {
        const size_t first = plane * p.positions;
        const float by = params.shifted ? load(shift, plane % p.channels) : 0.0f;
        float product = 0.0f, sum = 0.0f;
#pragma unroll 4
        for (int i = lane; i < p.positions; i += WARP) {
            const float va = to_float(load(a, first + i));
            const float vb = (squares ? va : to_float(load(b, first + i))) - by;
            product = fmaf(squares ? vb : va, vb, product);
            sum += va;
        }
        const float both = warp_sum_pair(product, sum, lane);
        if (lane == 0) out[2 * plane] = both;
        if (lane == WARP / 2) out[2 * plane + 1] = both;
    }
}

struct PlaneAffineParams {
    PlaneParams planes;
    // Whether there is b, and whether factors are those of channels.
    int has_b, per_channel;
};
KS_STRUCT(PlaneAffineParams, 20)
KS_FIELD(PlaneAffineParams, planes, 0)
KS_FIELD(PlaneAffineParams, has_b, 12)
KS_FIELD(PlaneAffineParams, per_channel, 16)

// y = factors[3 i] a + factors[3 i + 1] b + factors[3 i + 2], where i is the channel or the plane.
template <class T>
__device__ __forceinline__ void plane_affine(Global<const T> a, Global<const T> b, Global<const float> factors,
                                             Global<T> y, const PlaneAffineParams& params) {
    const PlaneParams& p = params.planes;
    const int lane = threadIdx.x % WARP, warps = blockDim.x / WARP;
    const size_t planes = size_t(p.images) * p.channels;
    for (size_t plane = size_t(blockIdx.x) * warps + threadIdx.x / WARP; plane < planes; plane += size_t(gridDim.x) * warps) {
        const size_t first = plane * p.positions, i = params.per_channel ? plane % p.channels : plane;
        const float fa = load(factors, 3 * i), fb = load(factors, 3 * i + 1), fc = load(factors, 3 * i + 2);
#pragma unroll 4
        for (int at = lane; at < p.positions; at += WARP) {
            float value = fmaf(fa, to_float(load(a, first + at)), fc);
            if (params.has_b) value = fmaf(fb, to_float(load(b, first + at)), value);
            y[first + at] = from_float<T>(value);
        }
    }
}

// y += bias[c], in place.
template <class T>
__device__ __forceinline__ void plane_bias(Global<T> y, Global<const T> bias, const PlaneParams& p) {
    const int lane = threadIdx.x % WARP, warps = blockDim.x / WARP;
    const size_t planes = size_t(p.images) * p.channels;
    for (size_t plane = size_t(blockIdx.x) * warps + threadIdx.x / WARP; plane < planes; plane += size_t(gridDim.x) * warps) {
        const float by = to_float(load(bias, plane % p.channels));
#pragma unroll 4
        for (int at = lane; at < p.positions; at += WARP) {
            const size_t i = plane * p.positions + at;
            y[i] = from_float<T>(to_float(y[i]) + by);
        }
    }
}

struct ChannelSumsParams {
    PlaneParams planes;
    // Which of the two sums of a plane: 0 or 1. Whether there is `keep`.
    int which, has_keep;
};
KS_STRUCT(ChannelSumsParams, 20)
KS_FIELD(ChannelSumsParams, planes, 0)
KS_FIELD(ChannelSumsParams, which, 12)
KS_FIELD(ChannelSumsParams, has_keep, 16)

// out[c] = sum over the images, in their order, of keep[n] * sums[2 (n, c) + which].
template <class T>
__device__ __forceinline__ void channel_sums(Global<const float> sums, Global<const float> keep, Global<T> out,
                                             const ChannelSumsParams& params) {
    const PlaneParams& p = params.planes;
    for (int c = blockIdx.x * blockDim.x + threadIdx.x; c < p.channels; c += gridDim.x * blockDim.x) {
        double sum = 0.0;
        for (int n = 0; n < p.images; ++n)
            sum += double((params.has_keep ? load(keep, n) : 1.0f) *
                          load(sums, 2 * (size_t(n) * p.channels + c) + params.which));
        out[c] = from_float<T>(float(sum));
    }
}

struct ResidualFactorsParams {
    PlaneParams planes;
    // Whether there is gamma, and whether the factors are those of the gradient.
    int has_gamma, gradient;
};
KS_STRUCT(ResidualFactorsParams, 20)
KS_FIELD(ResidualFactorsParams, planes, 0)
KS_FIELD(ResidualFactorsParams, has_gamma, 12)
KS_FIELD(ResidualFactorsParams, gradient, 16)

// The factors of y = x + keep[n] gamma[c] f, or of the gradient of f: keep[n] gamma[c] dy.
template <class T>
__device__ __forceinline__ void residual_factors(Global<const T> gamma, Global<const float> keep, Global<float> factors,
                                                 const ResidualFactorsParams& params) {
    const PlaneParams& p = params.planes;
    const int planes = p.images * p.channels;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < planes; i += gridDim.x * blockDim.x) {
        const float factor = load(keep, i / p.channels) * (params.has_gamma ? to_float(load(gamma, i % p.channels)) : 1.0f);
        factors[3 * i] = params.gradient ? factor : 1.0f;
        factors[3 * i + 1] = factor;
        factors[3 * i + 2] = 0.0f;
    }
}

// Factors of the normalized map, from mean[c] and rstd[c]: w (x - mean) rstd + b.
template <class T>
__device__ __forceinline__ void batch_norm_factors(Global<const T> w, Global<const T> b, Global<const float> mean,
                                                   Global<const float> rstd, Global<float> factors, const PlaneParams& p) {
    for (int c = blockIdx.x * blockDim.x + threadIdx.x; c < p.channels; c += gridDim.x * blockDim.x) {
        const float scale = to_float(load(w, c)) * load(rstd, c);
        factors[3 * c] = scale;
        factors[3 * c + 1] = 0.0f;
        factors[3 * c + 2] = to_float(load(b, c)) - scale * load(mean, c);
    }
}

// From the sums of dy (x - mean) and dy of every plane: the gradients of weight and bias, and the factors of
// dx = w rstd (dy - db / M - (x - mean) rstd dw / M), M being the number of values of a channel.
template <class T>
__device__ __forceinline__ void batch_norm_grad(Global<const float> sums, Global<const T> w, Global<const float> mean,
                                                Global<const float> rstd, Global<T> dw, Global<T> db,
                                                Global<float> factors, const PlaneParams& p) {
    const double count = double(p.images) * p.positions;
    for (int c = blockIdx.x * blockDim.x + threadIdx.x; c < p.channels; c += gridDim.x * blockDim.x) {
        double product = 0.0, sum = 0.0;
        for (int n = 0; n < p.images; ++n) {
            const size_t i = 2 * (size_t(n) * p.channels + c);
            product += double(load(sums, i));
            sum += double(load(sums, i + 1));
        }
        const double r = load(rstd, c), scale = double(to_float(load(w, c))) * r, slope = r * r * product / count;
        dw[c] = from_float<T>(float(product * r));
        db[c] = from_float<T>(float(sum));
        factors[3 * c] = float(scale);
        factors[3 * c + 1] = float(-scale * slope);
        factors[3 * c + 2] = float(scale * (slope * load(mean, c) - sum / count));
    }
}

// The response norm y = (gamma[c] R + 1) x + beta[c] with R = G / m, G = sqrt(sum x^2) of a plane and m the mean of an
// image's G plus 1e-6. A block per image.
template <class T>
__device__ __forceinline__ void grn_factors(Global<const float> squares, Global<const T> gamma, Global<const T> beta,
                                            Global<float> factors, const PlaneParams& p) {
    KS_SHARED(float, shared);
    const size_t first = size_t(blockIdx.x) * p.channels;
    float sum = 0.0f;
    for (int c = threadIdx.x; c < p.channels; c += blockDim.x) sum += sqrtf(load(squares, 2 * (first + c)));
    sum = block_sum(sum, shared);
    if (threadIdx.x == 0) shared[32] = sum / float(p.channels) + 1e-6f;
    __syncthreads();
    const float mean = shared[32];
    for (int c = threadIdx.x; c < p.channels; c += blockDim.x) {
        const size_t i = first + c;
        factors[3 * i] = fmaf(to_float(load(gamma, c)), sqrtf(load(squares, 2 * i)) / mean, 1.0f);
        factors[3 * i + 1] = 0.0f;
        factors[3 * i + 2] = to_float(load(beta, c));
    }
}

// From the sums of dy x and dy of every plane: the factors of dx = (gamma R + 1) dy + ((gamma S / m - t) / G) x with
// S = sum dy x and t = sum_c gamma S G / (m^2 C); and `shares`, what a plane adds to the gradients of gamma and beta.
template <class T>
__device__ __forceinline__ void grn_grad(Global<const float> squares, Global<const float> sums, Global<const T> gamma,
                                         Global<float> factors, Global<float> shares, const PlaneParams& p) {
    KS_SHARED(float, shared);
    const size_t first = size_t(blockIdx.x) * p.channels;
    float sum = 0.0f, through = 0.0f;
    for (int c = threadIdx.x; c < p.channels; c += blockDim.x) {
        const float response = sqrtf(load(squares, 2 * (first + c)));
        sum += response;
        through = fmaf(to_float(load(gamma, c)) * load(sums, 2 * (first + c)), response, through);
    }
    sum = block_sum(sum, shared);
    through = block_sum(through, shared);
    if (threadIdx.x == 0) {
        const float mean = sum / float(p.channels) + 1e-6f;
        shared[32] = mean;
        shared[33] = through / (mean * mean * float(p.channels));
    }
    __syncthreads();
    const float mean = shared[32], t = shared[33];
    for (int c = threadIdx.x; c < p.channels; c += blockDim.x) {
        const size_t i = first + c;
        const float g = to_float(load(gamma, c)), response = sqrtf(load(squares, 2 * i)), product = load(sums, 2 * i);
        factors[3 * i] = fmaf(g, response / mean, 1.0f);
        factors[3 * i + 1] = response > 0.0f ? (g * product / mean - t) / response : 0.0f;
        factors[3 * i + 2] = 0.0f;
        shares[2 * i] = product * response / mean;
        shares[2 * i + 1] = load(sums, 2 * i + 1);
    }
}

#define KS_PLANES(T, type)                                                                                           \
    extern "C" __global__ void __launch_bounds__(256) plane_sums_##type(                                             \
        Global<const T> a, Global<const T> b, Global<const float> shift, Global<float> out, PlaneSumsParams p) {     \
        plane_sums<T>(a, b, shift, out, p);                                                       \
    }                                                                                                                \
    KS_EXPORT(plane_sums_##type)                                                                                     \
    extern "C" __global__ void __launch_bounds__(256) plane_affine_##type(                                           \
        Global<const T> a, Global<const T> b, Global<const float> factors, Global<T> y, PlaneAffineParams p) {       \
        plane_affine<T>(a, b, factors, y, p);                                                     \
    }                                                                                                                \
    KS_EXPORT(plane_affine_##type)                                                                                   \
    extern "C" __global__ void __launch_bounds__(256) plane_bias_##type(Global<T> y, Global<const T> bias, PlaneParams p) { \
        plane_bias<T>(y, bias, p);                                                                                   \
    }                                                                                                                \
    KS_EXPORT(plane_bias_##type)                                                                                     \
    extern "C" __global__ void __launch_bounds__(256) channel_sums_##type(                                           \
        Global<const float> sums, Global<const float> keep, Global<T> out, ChannelSumsParams p) {                    \
        channel_sums<T>(sums, keep, out, p);                                                      \
    }                                                                                                                \
    KS_EXPORT(channel_sums_##type)                                                                                   \
    extern "C" __global__ void __launch_bounds__(256) residual_factors_##type(                                       \
        Global<const T> gamma, Global<const float> keep, Global<float> factors, ResidualFactorsParams p) {           \
        residual_factors<T>(gamma, keep, factors, p);                                             \
    }                                                                                                                \
    KS_EXPORT(residual_factors_##type)                                                                               \
    extern "C" __global__ void __launch_bounds__(256) batch_norm_factors_##type(                                     \
        Global<const T> w, Global<const T> b, Global<const float> mean, Global<const float> rstd,                    \
        Global<float> factors, PlaneParams p) {                                                                      \
        batch_norm_factors<T>(w, b, mean, rstd, factors, p);                                                         \
    }                                                                                                                \
    KS_EXPORT(batch_norm_factors_##type)                                                                             \
    extern "C" __global__ void __launch_bounds__(256, 4) batch_norm_grad_##type(                                     \
        Global<const float> sums, Global<const T> w, Global<const float> mean, Global<const float> rstd,             \
        Global<T> dw, Global<T> db, Global<float> factors, PlaneParams p) {                                          \
        batch_norm_grad<T>(sums, w, mean, rstd, dw, db, factors, p);                                                 \
    }                                                                                                                \
    KS_EXPORT(batch_norm_grad_##type)                                                                                \
    extern "C" __global__ void __launch_bounds__(256) grn_factors_##type(                                            \
        Global<const float> squares, Global<const T> gamma, Global<const T> beta, Global<float> factors, PlaneParams p) { \
        grn_factors<T>(squares, gamma, beta, factors, p);                                                            \
    }                                                                                                                \
    KS_EXPORT(grn_factors_##type)                                                                                    \
    extern "C" __global__ void __launch_bounds__(256) grn_grad_##type(                                               \
        Global<const float> squares, Global<const float> sums, Global<const T> gamma, Global<float> factors,         \
        Global<float> shares, PlaneParams p) {                                                                       \
        grn_grad<T>(squares, sums, gamma, factors, shares, p);                                                       \
    }                                                                                                                \
    KS_EXPORT(grn_grad_##type)

KS_PLANES(float, f32)
KS_PLANES(__half, f16)
KS_PLANES(__nv_bfloat16, bf16)
