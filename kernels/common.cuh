// What every kernel file needs: storage types, memory spaces, parameter structs, division by invariant integers, and
// reductions over warps and blocks.
//
// The same files are compiled by nvcc and, with KS_EMULATOR, by a C++ compiler (see emulator/emulator.h). Memory is
// therefore reached only through Global, Shared and the functions below: the emulator checks every access.
#pragma once

#ifdef KS_EMULATOR
#include "emulator/emulator.h"
#else
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <stddef.h>
#include <stdint.h>

template <class T> using Global = T*;
template <class T> using Shared = T*;

// The dynamic shared memory of the block.
#define KS_SHARED(T, name)                                                \
    extern __shared__ __align__(16) unsigned char ks_shared_memory[];     \
    T* name = reinterpret_cast<T*>(ks_shared_memory)
// Makes a kernel, a parameter struct or one of its fields known to the emulator.
#define KS_EXPORT(name)
#define KS_REGISTER_STRUCT(Type)
#define KS_REGISTER_FIELD(Type, field)

// A load that may use the read-only path: memory that nothing writes during the launch.
template <class T> __device__ __forceinline__ T load(const T* from, size_t at) { return __ldg(from + at); }
// The same, or zero without reading.
template <class T> __device__ __forceinline__ T load_or_zero(bool inside, const T* from, size_t at) {
    return inside ? __ldg(from + at) : T{};
}
// Two adjacent values of global memory, at an even index.
__device__ __forceinline__ float2 load_global2(const float* from, size_t at) {
    return __ldg(reinterpret_cast<const float2*>(from + at));
}
__device__ __forceinline__ float2 load_global2(const __half* from, size_t at) {
    return __half22float2(__ldg(reinterpret_cast<const __half2*>(from + at)));
}
__device__ __forceinline__ float2 load_global2(const __nv_bfloat16* from, size_t at) {
    return __bfloat1622float2(__ldg(reinterpret_cast<const __nv_bfloat162*>(from + at)));
}
__device__ __forceinline__ void store_global2(float* to, size_t at, float2 value) {
    *reinterpret_cast<float2*>(to + at) = value;
}
__device__ __forceinline__ void store_global2(__half* to, size_t at, float2 value) {
    *reinterpret_cast<__half2*>(to + at) = __float22half2_rn(value);
}
__device__ __forceinline__ void store_global2(__nv_bfloat16* to, size_t at, float2 value) {
    *reinterpret_cast<__nv_bfloat162*>(to + at) = __float22bfloat162_rn(value);
}
// Sixteen bytes of global memory, aligned to sixteen.
__device__ __forceinline__ float4 load_global4(const float* from, size_t at) {
    return __ldg(reinterpret_cast<const float4*>(from + at));
}
__device__ __forceinline__ void store_global4(float* to, size_t at, float4 value) {
    *reinterpret_cast<float4*>(to + at) = value;
}
// Four or two adjacent words of shared memory, aligned to as many.
__device__ __forceinline__ float4 load_shared4(const float* from, int at) {
    return *reinterpret_cast<const float4*>(from + at);
}
__device__ __forceinline__ void store_shared4(float* to, int at, float4 value) { *reinterpret_cast<float4*>(to + at) = value; }
__device__ __forceinline__ int2 load_shared2(const int* from, int at) { return *reinterpret_cast<const int2*>(from + at); }
// Products and sums that the compiler must not contract to fused multiply-adds.
__device__ __forceinline__ float multiply_rn(float a, float b) { return __fmul_rn(a, b); }
__device__ __forceinline__ float add_rn(float a, float b) { return __fadd_rn(a, b); }
// The same shared memory as words of another type.
template <class To, class From> __device__ __forceinline__ To* reinterpret_shared(From* from) {
    return reinterpret_cast<To*>(from);
}
#endif

// Values are stored as f32, f16 or bf16 and computed with in f32.
__device__ __forceinline__ float to_float(float x) { return x; }
__device__ __forceinline__ float to_float(__half x) { return __half2float(x); }
__device__ __forceinline__ float to_float(__nv_bfloat16 x) { return __bfloat162float(x); }
template <class T> __device__ __forceinline__ T from_float(float x);
template <> __device__ __forceinline__ float from_float<float>(float x) { return x; }
template <> __device__ __forceinline__ __half from_float<__half>(float x) { return __float2half_rn(x); }
template <> __device__ __forceinline__ __nv_bfloat16 from_float<__nv_bfloat16>(float x) { return __float2bfloat16_rn(x); }

// A struct that the host fills in: its size, and the offset of every field. src/ops/gpu/params/ declares the same struct
// with the same numbers, and tests/kernels/params.rs reads every field that the host has filled in by its name here. So
// two fields that change places on one side only do not get past the compiler or that test.
#define KS_STRUCT(Type, bytes)                                                        \
    static_assert(sizeof(Type) == bytes, "the host's " #Type " has another size");    \
    KS_REGISTER_STRUCT(Type)
#define KS_FIELD(Type, field, offset)                                                                      \
    static_assert(offsetof(Type, field) == offset, "the host has " #Type "::" #field " at another offset"); \
    KS_REGISTER_FIELD(Type, field)

// Division of a number below 2^31 by an invariant integer: floor(n / divisor) = (mulhi(n, magic) + n) >> shift.
struct FastDivisor {
    uint32_t divisor, magic, shift;
    __device__ __forceinline__ uint32_t quotient(uint32_t n) const { return (__umulhi(n, magic) + n) >> shift; }
};
KS_STRUCT(FastDivisor, 12)
KS_FIELD(FastDivisor, divisor, 0)
KS_FIELD(FastDivisor, magic, 4)
KS_FIELD(FastDivisor, shift, 8)

constexpr int WARP = 32;
constexpr uint32_t ALL_LANES = 0xffffffffu;

// The sum over the lanes of a warp, in a fixed order, in every lane.
__device__ __forceinline__ float warp_sum(float value) {
#pragma unroll
    for (int offset = WARP / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(ALL_LANES, value, offset);
    return value;
}

// The sums of two values at once, with half the shuffles of two sums: lanes below 16 end with that of `a`, the others
// with that of `b`.
__device__ __forceinline__ float warp_sum_pair(float a, float b, int lane) {
    const bool high = lane >= WARP / 2;
    const float sent = __shfl_xor_sync(ALL_LANES, high ? a : b, WARP / 2);
    float value = (high ? b : a) + sent;
#pragma unroll
    for (int offset = WARP / 4; offset > 0; offset /= 2) value += __shfl_xor_sync(ALL_LANES, value, offset);
    return value;
}

// The sums of eight values: lane l ends with that of value (l >> 2).
__device__ __forceinline__ float warp_sum_eight(float (&values)[8], int lane) {
#pragma unroll
    for (int half = 4; half > 0; half /= 2) {
        const bool high = lane & (4 * half);
#pragma unroll
        for (int i = 0; i < half; ++i) {
            const float sent = __shfl_xor_sync(ALL_LANES, high ? values[i] : values[i + half], 4 * half);
            values[i] = (high ? values[i + half] : values[i]) + sent;
        }
    }
    float value = values[0];
    value += __shfl_xor_sync(ALL_LANES, value, 2);
    value += __shfl_xor_sync(ALL_LANES, value, 1);
    return value;
}

// The sum over a block of whole warps, at most 1024 threads, in thread 0; `scratch` has a word per warp.
__device__ __forceinline__ float block_sum(float value, Shared<float> scratch) {
    const int lane = threadIdx.x % WARP, warp = threadIdx.x / WARP, warps = blockDim.x / WARP;
    value = warp_sum(value);
    if (lane == 0) scratch[warp] = value;
    __syncthreads();
    float total = 0.0f;
    if (warp == 0) total = warp_sum(lane < warps ? float(scratch[lane]) : 0.0f);
    __syncthreads();
    return total;
}
