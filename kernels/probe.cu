// What a GPU can do at most, for rooflines: copies through memory, and multiply-adds in registers.
#include "common.cuh"

struct CopyProbeParams {
    uint64_t count;
};
KS_STRUCT(CopyProbeParams, 8)
KS_FIELD(CopyProbeParams, count, 0)

// Sixteen bytes per thread and step, of which a thread has four in flight.
extern "C" __global__ void __launch_bounds__(256) probe_copy(Global<const float> from, Global<float> to, CopyProbeParams p) {
    const size_t count = p.count / 4, step = size_t(gridDim.x) * blockDim.x;
    for (size_t start = size_t(blockIdx.x) * blockDim.x + threadIdx.x; start < count; start += 4 * step) {
        float4 values[4];
#pragma unroll
        for (int k = 0; k < 4; ++k)
            if (start + k * step < count) values[k] = load_global4(from, 4 * (start + k * step));
#pragma unroll
        for (int k = 0; k < 4; ++k)
            if (start + k * step < count) store_global4(to, 4 * (start + k * step), values[k]);
    }
}
KS_EXPORT(probe_copy)

struct FmaProbeParams {
    uint32_t rounds;
    float term;
};
KS_STRUCT(FmaProbeParams, 8)
KS_FIELD(FmaProbeParams, rounds, 0)
KS_FIELD(FmaProbeParams, term, 4)

// 16 independent chains of `rounds` multiply-adds per thread, whose sum is written so that the compiler keeps them all.
extern "C" __global__ void __launch_bounds__(256) probe_fma(Global<float> to, FmaProbeParams p) {
    float chains[16];
#pragma unroll
    for (int i = 0; i < 16; ++i) chains[i] = float(threadIdx.x + i);
    const float factor = 0.5f, term = p.term;
    for (uint32_t round = 0; round < p.rounds; ++round)
#pragma unroll
        for (int i = 0; i < 16; ++i) chains[i] = fmaf(chains[i], factor, term);
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < 16; ++i) sum += chains[i];
    to[size_t(blockIdx.x) * blockDim.x + threadIdx.x] = sum;
}
KS_EXPORT(probe_fma)
