// Kernels with one fault each: the emulator must name it.
#include "../common.cuh"

// Reads a word that another thread writes.
extern "C" __global__ void fault_race(Global<float> y) {
    KS_SHARED(float, words);
    words[threadIdx.x] = float(threadIdx.x);
    y[threadIdx.x] = words[(threadIdx.x + 1) % blockDim.x];
}
KS_EXPORT(fault_race)

extern "C" __global__ void fault_divergent_barrier(Global<float> y) {
    if (threadIdx.x < 40) __syncthreads();
    y[threadIdx.x] = 1.0f;
}
KS_EXPORT(fault_divergent_barrier)

extern "C" __global__ void fault_two_barriers(Global<float> y) {
    if (threadIdx.x % 2)
        __syncthreads();
    else
        __syncthreads();
    y[threadIdx.x] = 1.0f;
}
KS_EXPORT(fault_two_barriers)

extern "C" __global__ void fault_partial_shuffle(Global<float> y) {
    float value = 1.0f;
    if (threadIdx.x % WARP < 31) value = warp_sum(value);
    y[threadIdx.x] = value;
}
KS_EXPORT(fault_partial_shuffle)

extern "C" __global__ void fault_beyond_buffer(Global<float> y) { y[threadIdx.x + 1] = 1.0f; }
KS_EXPORT(fault_beyond_buffer)

extern "C" __global__ void fault_beyond_shared(Global<float> y) {
    KS_SHARED(float, words);
    words[threadIdx.x + 1] = 1.0f;
    y[threadIdx.x] = 1.0f;
}
KS_EXPORT(fault_beyond_shared)

// Shared memory that was never written: not detected as such, but not a number.
extern "C" __global__ void fault_unwritten(Global<float> y) {
    KS_SHARED(float, words);
    y[threadIdx.x] = words[threadIdx.x];
}
KS_EXPORT(fault_unwritten)

// None: sums over warps and the block, for comparison.
extern "C" __global__ void no_fault(Global<float> y) {
    KS_SHARED(float, words);
    const int lane = threadIdx.x % WARP;
    const float value = float(threadIdx.x) + 0.25f;
    y[threadIdx.x] = warp_sum(value);
    float eight[8];
    for (int i = 0; i < 8; ++i) eight[i] = value * float(i + 1);
    y[blockDim.x + threadIdx.x] = warp_sum_eight(eight, lane);
    y[2 * blockDim.x + threadIdx.x] = warp_sum_pair(value, 2.0f * value, lane);
    const float all = block_sum(value, words);
    if (threadIdx.x == 0) y[3 * blockDim.x] = all;
}
KS_EXPORT(no_fault)

// None either: what two warps do here is counted.
extern "C" __global__ void no_fault_counted(Global<float> y) {
    KS_SHARED(float, words);
    const int at = 32 * (threadIdx.x % WARP) + (threadIdx.x / WARP);
    words[at] = 1.0f;
    __syncthreads();
    float value = words[at] + words[0];
    value = fmaf(value, 2.0f, fmaf(value, value, 1.0f));
    // One lane of a warp does more: the others wait.
    if (threadIdx.x % WARP == 0) value = fmaf(value, value, value);
    y[threadIdx.x] = value;
    y[1024 + 8 * threadIdx.x] = value;
}
KS_EXPORT(no_fault_counted)
