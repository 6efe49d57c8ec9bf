// Runs CUDA kernels on the CPU, for tests: a host C++ compiler compiles the unchanged kernel files with this header.
//
// Every thread of a block is a fibre; they run one after the other, from barrier to barrier, in one of several orders.
// What would be undefined on a device is an error here: access outside of a buffer or of the block's shared memory, two
// threads that use a word of shared memory without a barrier between them (unless both read), a barrier or a shuffle
// that a part of the threads does not reach. Shared memory and fresh buffers start as NaN.
//
// It covers one-dimensional grids and blocks of whole warps, f32, f16, bf16 and integers. It says nothing about speed,
// and does not see races between blocks.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __restrict__

struct float2 { float x, y; };
struct float4 { float x, y, z, w; };
struct int2 { int x, y; };

namespace emu {

// Ends the launch with a message. Does not return.
[[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));

struct Index { uint32_t x; };
extern thread_local Index thread_index, block_index, block_size, grid_size;

void block_barrier(int line);
// Leaves a value for the other lanes of the warp; returns what lane `from` left.
uint64_t exchange(uint64_t value, uint32_t from, int line);

// Notes the use of a word of shared memory by this thread.
void shared_read(const void* word);
void shared_write(const void* word);
extern thread_local unsigned char* shared_begin;
extern thread_local size_t shared_bytes;

// A pointer into a buffer that knows the buffer's ends; on a device, a plain pointer.
template <class T> struct Global {
    T* begin;
    size_t bytes;
    T& operator[](size_t at) const {
        if (at >= bytes / sizeof(T)) fail("index %zu of a buffer of %zu values", at, bytes / sizeof(T));
        return begin[at];
    }
    explicit operator bool() const { return begin != nullptr; }
};

// A word of shared memory that notes who reads and writes it.
template <class T> struct SharedWord {
    T* word;
    operator T() const {
        shared_read(word);
        return *word;
    }
    T operator=(T value) const {
        shared_write(word);
        return *word = value;
    }
    T operator=(const SharedWord& other) const { return *this = T(other); }
    T operator+=(T value) const { return *this = T(*this) + value; }
};

template <class T> struct Shared {
    static_assert(sizeof(T) == 4, "shared memory is used as words of four bytes");
    T* at0;
    T* check(ptrdiff_t at, int count = 1) const {
        const char* address = reinterpret_cast<const char*>(at0 + at);
        const char* begin = reinterpret_cast<const char*>(shared_begin);
        if (address < begin || address + count * sizeof(T) > begin + shared_bytes)
            fail("byte %td of %zu bytes of shared memory", address - begin, shared_bytes);
        return at0 + at;
    }
    SharedWord<T> operator[](ptrdiff_t at) const { return SharedWord<T>{check(at)}; }
    Shared operator+(ptrdiff_t by) const { return Shared{at0 + by}; }
};

// IEEE half precision and bfloat16, rounded to nearest, ties to even.
uint16_t to_half(float value);
float from_half(uint16_t bits);
uint16_t to_bfloat(float value);

template <class... A, size_t... I> void call(void (*kernel)(A...), void** arguments, std::index_sequence<I...>) {
    kernel(*static_cast<A*>(arguments[I])...);
}
template <class... A> void call(void (*kernel)(A...), void** arguments) {
    call(kernel, arguments, std::index_sequence_for<A...>());
}
struct Kernel {
    const char* name;
    void (*run)(void** arguments);
    Kernel* next;
    Kernel(const char* name, void (*run)(void**));
};

}  // namespace emu

using emu::Global;
using emu::Shared;

#define KS_SHARED(T, name) \
    Shared<T> name { reinterpret_cast<T*>(emu::shared_begin) }
#define KS_EXPORT(name) \
    static emu::Kernel kernel_##name(#name, [](void** arguments) { emu::call(name, arguments); });

#define threadIdx (emu::thread_index)
#define blockIdx (emu::block_index)
#define blockDim (emu::block_size)
#define gridDim (emu::grid_size)
#define __syncthreads() emu::block_barrier(__LINE__)
#define __shfl_xor_sync(mask, value, offset) emu::shuffle_xor(mask, value, offset, __LINE__)

namespace emu {
inline float shuffle_xor(uint32_t mask, float value, uint32_t offset, int line) {
    if (mask != 0xffffffffu) fail("a shuffle of some lanes at line %d", line);
    uint32_t bits;
    memcpy(&bits, &value, 4);
    const uint32_t other = uint32_t(exchange(bits, (thread_index.x % 32) ^ offset, line));
    memcpy(&value, &other, 4);
    return value;
}
}  // namespace emu

template <class T> inline T load(Global<const T> from, size_t at) { return from[at]; }
inline float4 load_four(Global<const float> from, size_t at) {
    return {from[at], from[at + 1], from[at + 2], from[at + 3]};
}
inline void store_four(Global<float> to, size_t at, float4 value) {
    to[at] = value.x;
    to[at + 1] = value.y;
    to[at + 2] = value.z;
    to[at + 3] = value.w;
}
inline float4 load4(Shared<float> from, int at) {
    const float* p = from.check(at, 4);
    if (reinterpret_cast<uintptr_t>(p) % 16) emu::fail("four words of shared memory at an address that is not aligned");
    for (int i = 0; i < 4; ++i) emu::shared_read(p + i);
    return {p[0], p[1], p[2], p[3]};
}
inline int2 load2(Shared<int> from, int at) {
    const int* p = from.check(at, 2);
    if (reinterpret_cast<uintptr_t>(p) % 8) emu::fail("two words of shared memory at an address that is not aligned");
    emu::shared_read(p);
    emu::shared_read(p + 1);
    return {p[0], p[1]};
}
template <class To, class From> inline Shared<To> reinterpret_shared(Shared<From> from) {
    return {reinterpret_cast<To*>(from.at0)};
}

struct __half { uint16_t bits; };
struct __nv_bfloat16 { uint16_t bits; };
inline float __half2float(__half x) { return emu::from_half(x.bits); }
inline __half __float2half_rn(float x) { return {emu::to_half(x)}; }
inline float __bfloat162float(__nv_bfloat16 x) {
    const uint32_t bits = uint32_t(x.bits) << 16;
    float value;
    memcpy(&value, &bits, 4);
    return value;
}
inline __nv_bfloat16 __float2bfloat16_rn(float x) { return {emu::to_bfloat(x)}; }

inline uint32_t __umulhi(uint32_t a, uint32_t b) { return uint32_t((uint64_t(a) * b) >> 32); }
inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }
inline float normcdff(float x) { return 0.5f * erfcf(-x * 0.70710678f); }
