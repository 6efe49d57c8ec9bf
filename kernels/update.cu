// What changes parameters in place, in f32: the step of AdamW, averaged weights and masks; and sums of squares of
// gradients. Every product and every sum is rounded by itself, as on the CPU: updates have the same bits there and here.
#include "common.cuh"

// The numbers of a step; src/train/optimizer.rs explains them.
struct AdamW {
    int count;
    float beta1, rest1, beta2, rest2, eps, scale, rate, root, keep;
};

__device__ __forceinline__ void adamw_step(Global<float> p, Global<const float> g, Global<float> m, Global<float> v,
                                           const AdamW& f) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < f.count; i += gridDim.x * blockDim.x) {
        const float gradient = times(load(g, i), f.scale);
        const float first = plus(times(f.beta1, m[i]), times(f.rest1, gradient));
        const float second = plus(times(f.beta2, v[i]), times(times(f.rest2, gradient), gradient));
        m[i] = first;
        v[i] = second;
        const float change = times(f.rate, first) / plus(sqrtf(second) / f.root, f.eps);
        p[i] = plus(times(p[i], f.keep), -change);
    }
}

// A mask has a bit for every group of weights that follow each other.
struct Groups {
    int count;
    Division by_group;

    __device__ __forceinline__ bool kept(Global<const int> bits, int i) const {
        const uint32_t group = by_group.of(i);
        return uint32_t(load(bits, group / 32)) >> group % 32 & 1;
    }
};

// Values of groups that are not kept become zero.
__device__ __forceinline__ void erase(Global<float> values, Global<const int> bits, const Groups& groups) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < groups.count; i += gridDim.x * blockDim.x)
        if (!groups.kept(bits, i)) values[i] = 0.0f;
}

struct Average {
    float keep, take;
    // Whether there is a mask, and values that are zero start anew.
    int masked;
};

__device__ __forceinline__ void average(Global<float> averages, Global<const float> values, Global<const int> bits,
                                        const Average& a, const Groups& groups) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < groups.count; i += gridDim.x * blockDim.x) {
        const float before = averages[i], value = load(values, i);
        float after = plus(times(a.keep, before), times(a.take, value));
        if (a.masked && before == 0.0f) after = value;
        if (a.masked && !groups.kept(bits, i)) after = 0.0f;
        averages[i] = after;
    }
}

constexpr int CHUNK = 1 << 14;

struct Part {
    // Values, and the place of the first chunk's sum.
    int count, first;
};

// The sum of squares of every chunk of values, a block each.
__device__ __forceinline__ void square_sums(Global<const float> values, Global<float> sums, const Part& part) {
    KS_SHARED(float, scratch);
    const int begin = blockIdx.x * CHUNK, end = begin + min(CHUNK, part.count - begin);
    float sum = 0.0f;
    for (int i = begin + threadIdx.x; i < end; i += blockDim.x) sum = fmaf(load(values, i), load(values, i), sum);
    sum = block_sum(sum, scratch);
    if (threadIdx.x == 0) sums[part.first + blockIdx.x] = sum;
}

extern "C" __global__ void __launch_bounds__(256) update_adamw(Global<float> p, Global<const float> g, Global<float> m,
                                                               Global<float> v, AdamW f) {
    adamw_step(p, g, m, v, f);
}
KS_EXPORT(update_adamw)
extern "C" __global__ void __launch_bounds__(256) update_erase(Global<float> values, Global<const int> bits, Groups groups) {
    erase(values, bits, groups);
}
KS_EXPORT(update_erase)
extern "C" __global__ void __launch_bounds__(256) update_average(Global<float> averages, Global<const float> values,
                                                                 Global<const int> bits, Average a, Groups groups) {
    average(averages, values, bits, a, groups);
}
KS_EXPORT(update_average)
extern "C" __global__ void __launch_bounds__(256) update_square_sums(Global<const float> values, Global<float> sums,
                                                                     Part part) {
    square_sums(values, sums, part);
}
KS_EXPORT(update_square_sums)
