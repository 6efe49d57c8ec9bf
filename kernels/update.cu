// What changes parameters in place, in f32: the step of AdamW, averaged weights and masks; and sums of squares of
// gradients. Every product and every sum is rounded by itself, as on the CPU: updates have the same bits there and here.
#include "common.cuh"

// A step t with learning rate a: `rest` is 1 - beta, `scale` multiplies the gradients, `rate` is a / (1 - beta1^t), `root`
// sqrt(1 - beta2^t), and `keep` 1 - a * weight_decay.
struct AdamWParams {
    int count;
    float beta1, rest1, beta2, rest2, eps, scale, rate, root, keep;
};
KS_STRUCT(AdamWParams, 40)
KS_FIELD(AdamWParams, count, 0)
KS_FIELD(AdamWParams, beta1, 4)
KS_FIELD(AdamWParams, rest1, 8)
KS_FIELD(AdamWParams, beta2, 12)
KS_FIELD(AdamWParams, rest2, 16)
KS_FIELD(AdamWParams, eps, 20)
KS_FIELD(AdamWParams, scale, 24)
KS_FIELD(AdamWParams, rate, 28)
KS_FIELD(AdamWParams, root, 32)
KS_FIELD(AdamWParams, keep, 36)

__device__ __forceinline__ void adamw_step(Global<float> p, Global<const float> g, Global<float> m, Global<float> v,
                                           const AdamWParams& f) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < f.count; i += gridDim.x * blockDim.x) {
        const float gradient = multiply_rn(load(g, i), f.scale);
        const float first = add_rn(multiply_rn(f.beta1, m[i]), multiply_rn(f.rest1, gradient));
        const float second = add_rn(multiply_rn(f.beta2, v[i]), multiply_rn(multiply_rn(f.rest2, gradient), gradient));
        m[i] = first;
        v[i] = second;
        const float change = multiply_rn(f.rate, first) / add_rn(sqrtf(second) / f.root, f.eps);
        p[i] = add_rn(multiply_rn(p[i], f.keep), -change);
    }
}

// A mask has a bit for every group of adjacent values.
struct MaskParams {
    // Values, and how many of them are a group.
    int count;
    FastDivisor by_group;

    __device__ __forceinline__ bool kept(Global<const int> bits, int i) const {
        const uint32_t group = by_group.quotient(i);
        return uint32_t(load(bits, group / 32)) >> group % 32 & 1;
    }
};
KS_STRUCT(MaskParams, 16)
KS_FIELD(MaskParams, count, 0)
KS_FIELD(MaskParams, by_group, 4)

// Values of groups that are not kept become zero.
__device__ __forceinline__ void erase(Global<float> values, Global<const int> bits, const MaskParams& mask) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < mask.count; i += gridDim.x * blockDim.x)
        if (!mask.kept(bits, i)) values[i] = 0.0f;
}

struct AverageParams {
    MaskParams mask;
    float keep, take;
    // Whether there is a mask: then averages that are zero start with the value itself.
    int masked;
};
KS_STRUCT(AverageParams, 28)
KS_FIELD(AverageParams, mask, 0)
KS_FIELD(AverageParams, keep, 16)
KS_FIELD(AverageParams, take, 20)
KS_FIELD(AverageParams, masked, 24)

__device__ __forceinline__ void average(Global<float> averages, Global<const float> values, Global<const int> bits,
                                        const AverageParams& a) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < a.mask.count; i += gridDim.x * blockDim.x) {
        const float before = averages[i], value = load(values, i);
        float after = add_rn(multiply_rn(a.keep, before), multiply_rn(a.take, value));
        if (a.masked && before == 0.0f) after = value;
        if (a.masked && !a.mask.kept(bits, i)) after = 0.0f;
        averages[i] = after;
    }
}

constexpr int CHUNK = 1 << 14;

struct SquareSumsParams {
    // Values, and the index of the first chunk's sum.
    int count, first;
};
KS_STRUCT(SquareSumsParams, 8)
KS_FIELD(SquareSumsParams, count, 0)
KS_FIELD(SquareSumsParams, first, 4)

// The sum of squares of every chunk of values, a block each.
__device__ __forceinline__ void square_sums(Global<const float> values, Global<float> sums, const SquareSumsParams& p) {
    KS_SHARED(float, scratch);
    const int begin = blockIdx.x * CHUNK, end = begin + min(CHUNK, p.count - begin);
    float sum = 0.0f;
    for (int i = begin + threadIdx.x; i < end; i += blockDim.x) sum = fmaf(load(values, i), load(values, i), sum);
    sum = block_sum(sum, scratch);
    if (threadIdx.x == 0) sums[p.first + blockIdx.x] = sum;
}

extern "C" __global__ void __launch_bounds__(256) update_adamw(Global<float> p, Global<const float> g, Global<float> m,
                                                               Global<float> v, AdamWParams f) {
    adamw_step(p, g, m, v, f);
}
KS_EXPORT(update_adamw)
extern "C" __global__ void __launch_bounds__(256) update_erase(Global<float> values, Global<const int> bits,
                                                               MaskParams mask) {
    erase(values, bits, mask);
}
KS_EXPORT(update_erase)
extern "C" __global__ void __launch_bounds__(256) update_average(Global<float> averages, Global<const float> values,
                                                                 Global<const int> bits, AverageParams a) {
    average(averages, values, bits, a);
}
KS_EXPORT(update_average)
extern "C" __global__ void __launch_bounds__(256) update_square_sums(Global<const float> values, Global<float> sums,
                                                                     SquareSumsParams p) {
    square_sums(values, sums, p);
}
KS_EXPORT(update_square_sums)
