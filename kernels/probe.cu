// What a GPU can do: copies through memory and multiply-adds in registers, for rooflines.
#include "common.cuh"

struct Probe {
    uint32_t low, high, rounds;
};

// Sixteen bytes per thread and step, four on the way at a time.
extern "C" __global__ void __launch_bounds__(256) probe_copy(Global<const float> from, Global<float> to, Probe p) {
    const size_t count = (size_t(p.high) << 32 | p.low) / 4, step = size_t(gridDim.x) * blockDim.x;
    for (size_t start = size_t(blockIdx.x) * blockDim.x + threadIdx.x; start < count; start += 4 * step) {
        float4 values[4];
#pragma unroll
        for (int k = 0; k < 4; ++k)
            if (start + k * step < count) values[k] = load_four(from, 4 * (start + k * step));
#pragma unroll
        for (int k = 0; k < 4; ++k)
            if (start + k * step < count) store_four(to, 4 * (start + k * step), values[k]);
    }
}
KS_EXPORT(probe_copy)

// 16 independent chains of `rounds` multiply-adds per thread; the values converge, and are written so that none is left
// out.
extern "C" __global__ void __launch_bounds__(256) probe_fma(Global<float> to, Probe p) {
    float chains[16];
#pragma unroll
    for (int i = 0; i < 16; ++i) chains[i] = float(threadIdx.x + i);
    const float factor = 0.5f, term = float(p.high) + 1.0f;
    for (uint32_t round = 0; round < p.rounds; ++round)
#pragma unroll
        for (int i = 0; i < 16; ++i) chains[i] = fmaf(chains[i], factor, term);
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < 16; ++i) sum += chains[i];
    to[size_t(blockIdx.x) * blockDim.x + threadIdx.x] = sum;
}
KS_EXPORT(probe_fma)
