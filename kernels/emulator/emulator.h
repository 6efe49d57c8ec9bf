// Runs CUDA kernels on the CPU, for tests: a host C++ compiler compiles the unchanged kernel files with this header.
//
// Every thread of a block is a fiber; they run one after the other, from barrier to barrier, in one of several orders.
// What would be undefined on a device is an error here: access outside of a buffer or of the block's shared memory, two
// threads that use a word of shared memory without a barrier between them (unless both read), a barrier or a shuffle
// that a part of the threads does not reach, an argument that is not what the kernel declares. Shared memory and fresh
// buffers start as NaN.
//
// On request it counts what warps do: multiply-adds, sectors of global memory, cycles of shared memory. An access of a warp
// is what its lanes do at one line of the source for the n-th time since they were last together (a barrier, a shuffle or
// __syncwarp); lanes that are left out by a condition must say so (load_or_zero) or be the last ones.
//
// It covers one-dimensional grids and blocks of whole warps, f32, f16, bf16 and integers. It says nothing about time, and
// does not see races between blocks.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>
#include <vector>

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
void warp_barrier();
// Leaves a value for the other lanes of the warp; returns what lane `from` left.
uint64_t exchange(uint64_t value, uint32_t from, int line);

// Notes the use of a word of shared memory by this thread.
void shared_read(const void* word);
void shared_write(const void* word);
extern thread_local unsigned char* shared_begin;
extern thread_local size_t shared_bytes;

enum class Access : uint8_t { GlobalRead, GlobalWrite, SharedRead, SharedWrite, TableRead };
// Whether accesses are counted; notes one at a byte of its buffer, or with no bytes that this lane leaves it out.
extern thread_local bool counting;
extern thread_local uint64_t multiply_adds;
void note(Access access, size_t at, size_t bytes, int line);
inline size_t in_shared(const void* word) { return size_t(static_cast<const unsigned char*>(word) - shared_begin); }

// An index and the line of the source that it stands in.
struct At {
    ptrdiff_t value;
    int line;
    template <class I> At(I value, int line = __builtin_LINE()) : value(ptrdiff_t(value)), line(line) {}
};

// A pointer into a buffer that knows the buffer's ends; on a device, a plain pointer.
template <class T> struct Global {
    T* begin;
    size_t bytes;
    T& check(size_t at) const {
        if (at >= bytes / sizeof(T)) fail("index %zu of a buffer of %zu values", at, bytes / sizeof(T));
        return begin[at];
    }
    // Kernels read by the functions below and write by assignment.
    T& operator[](At at) const {
        T& value = check(size_t(at.value));
        if (counting) note(Access::GlobalWrite, size_t(at.value) * sizeof(T), sizeof(T), at.line);
        return value;
    }
    explicit operator bool() const { return begin != nullptr; }
};

// A word of shared memory that notes who reads and writes it.
template <class T> struct SharedWord {
    T* word;
    int line;
    operator T() const {
        shared_read(word);
        if (counting) note(Access::SharedRead, in_shared(word), sizeof(T), line);
        return *word;
    }
    T operator=(T value) const {
        shared_write(word);
        if (counting) note(Access::SharedWrite, in_shared(word), sizeof(T), line);
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
    SharedWord<T> operator[](At at) const { return SharedWord<T>{check(at.value), at.line}; }
    Shared operator+(ptrdiff_t by) const { return Shared{at0 + by}; }
};

// IEEE half precision and bfloat16, rounded to nearest, ties to even.
uint16_t to_half(float value);
float from_half(uint16_t bits);
uint16_t to_bfloat(float value);

// What the host calls a type: a number, memory of numbers that is only read, the same if it is written, or the name of a
// parameter struct.
template <class T> struct TypeName {
    static const char* get() { return ks_type_name(static_cast<const T*>(nullptr)); }
};
#define KS_TYPE_NAME(T, name)                                                                            \
    template <> struct emu::TypeName<T> { static const char* get() { return name; } };                   \
    template <> struct emu::TypeName<Global<const T>> { static const char* get() { return name " const*"; } }; \
    template <> struct emu::TypeName<Global<T>> { static const char* get() { return name "*"; } };

template <class... A, size_t... I> void call(void (*kernel)(A...), void** arguments, std::index_sequence<I...>) {
    kernel(*static_cast<A*>(arguments[I])...);
}
template <class... A> void call(void (*kernel)(A...), void** arguments) {
    call(kernel, arguments, std::index_sequence_for<A...>());
}
template <class... A> std::vector<const char*> types_of(void (*)(A...)) { return {TypeName<A>::get()...}; }

// A kernel, with the types of its parameters.
struct Kernel {
    const char* name;
    std::vector<const char*> types;
    void (*run)(void** arguments);
    Kernel* next;
    Kernel(const char* name, std::vector<const char*> types, void (*run)(void**));
};

// A field of a parameter struct; `read` copies the field of that name, whatever its offset.
struct Field {
    const char *structure, *name, *type;
    size_t structure_bytes, bytes;
    void (*read)(const void* structure, void* to);
    Field* next;
    Field(const char* structure, const char* name, const char* type, size_t structure_bytes, size_t bytes,
          void (*read)(const void*, void*));
};

}  // namespace emu

using emu::Global;
using emu::Shared;

#define KS_SHARED(T, name) \
    Shared<T> name { reinterpret_cast<T*>(emu::shared_begin) }
#define KS_EXPORT(name)                                              \
    static emu::Kernel kernel_##name(#name, emu::types_of(name),     \
                                     [](void** arguments) { emu::call(name, arguments); });
#define KS_REGISTER_STRUCT(Type) \
    inline const char* ks_type_name(const Type*) { return #Type; }
#define KS_REGISTER_FIELD(Type, field)                                                                       \
    static emu::Field field_##Type##_##field(#Type, #field, emu::TypeName<decltype(Type::field)>::get(),     \
                                             sizeof(Type), sizeof(Type::field), [](const void* from, void* to) { \
                                                 Type value;                                                 \
                                                 memcpy(&value, from, sizeof value);                         \
                                                 memcpy(to, &value.field, sizeof value.field);               \
                                             });

#define threadIdx (emu::thread_index)
#define blockIdx (emu::block_index)
#define blockDim (emu::block_size)
#define gridDim (emu::grid_size)
#define __syncthreads() emu::block_barrier(__LINE__)
#define __syncwarp() emu::warp_barrier()
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

template <class T> inline T load(Global<const T> from, size_t at, int line = __builtin_LINE()) {
    const T& value = from.check(at);
    // Integers are tables, which all blocks read: they come from the caches.
    constexpr auto access = std::is_integral_v<T> ? emu::Access::TableRead : emu::Access::GlobalRead;
    if (emu::counting) emu::note(access, at * sizeof(T), sizeof(T), line);
    return value;
}
template <class T> inline T load_or_zero(bool inside, Global<const T> from, size_t at, int line = __builtin_LINE()) {
    if (inside) return load(from, at, line);
    if (emu::counting) emu::note(emu::Access::GlobalRead, 0, 0, line);
    return T{};
}
inline float4 load_global4(Global<const float> from, size_t at, int line = __builtin_LINE()) {
    const float* p = &from.check(at);
    from.check(at + 3);
    if (reinterpret_cast<uintptr_t>(p) % 4 || at % 4) emu::fail("four values at index %zu, which is not aligned", at);
    if (emu::counting) emu::note(emu::Access::GlobalRead, at * 4, 16, line);
    return {p[0], p[1], p[2], p[3]};
}
inline void store_global4(Global<float> to, size_t at, float4 value, int line = __builtin_LINE()) {
    float* p = &to.check(at);
    to.check(at + 3);
    if (at % 4) emu::fail("four values at index %zu, which is not aligned", at);
    if (emu::counting) emu::note(emu::Access::GlobalWrite, at * 4, 16, line);
    p[0] = value.x, p[1] = value.y, p[2] = value.z, p[3] = value.w;
}
inline float4 load_shared4(Shared<float> from, int at, int line = __builtin_LINE()) {
    const float* p = from.check(at, 4);
    if (reinterpret_cast<uintptr_t>(p) % 16) emu::fail("four words of shared memory at an address that is not aligned");
    for (int i = 0; i < 4; ++i) emu::shared_read(p + i);
    if (emu::counting) emu::note(emu::Access::SharedRead, emu::in_shared(p), 16, line);
    return {p[0], p[1], p[2], p[3]};
}
inline void store_shared4(Shared<float> to, int at, float4 value, int line = __builtin_LINE()) {
    float* p = to.check(at, 4);
    if (reinterpret_cast<uintptr_t>(p) % 16) emu::fail("four words of shared memory at an address that is not aligned");
    for (int i = 0; i < 4; ++i) emu::shared_write(p + i);
    if (emu::counting) emu::note(emu::Access::SharedWrite, emu::in_shared(p), 16, line);
    p[0] = value.x, p[1] = value.y, p[2] = value.z, p[3] = value.w;
}
inline int2 load_shared2(Shared<int> from, int at, int line = __builtin_LINE()) {
    const int* p = from.check(at, 2);
    if (reinterpret_cast<uintptr_t>(p) % 8) emu::fail("two words of shared memory at an address that is not aligned");
    emu::shared_read(p);
    emu::shared_read(p + 1);
    if (emu::counting) emu::note(emu::Access::SharedRead, emu::in_shared(p), 8, line);
    return {p[0], p[1]};
}
template <class To, class From> inline Shared<To> reinterpret_shared(Shared<From> from) {
    return {reinterpret_cast<To*>(from.at0)};
}

struct __half { uint16_t bits; };
struct __nv_bfloat16 { uint16_t bits; };
KS_TYPE_NAME(int, "i32")
KS_TYPE_NAME(uint32_t, "u32")
KS_TYPE_NAME(uint64_t, "u64")
KS_TYPE_NAME(float, "f32")
KS_TYPE_NAME(__half, "f16")
KS_TYPE_NAME(__nv_bfloat16, "bf16")
inline float __half2float(__half x) { return emu::from_half(x.bits); }
inline __half __float2half_rn(float x) { return {emu::to_half(x)}; }
inline float __bfloat162float(__nv_bfloat16 x) {
    const uint32_t bits = uint32_t(x.bits) << 16;
    float value;
    memcpy(&value, &bits, 4);
    return value;
}
inline __nv_bfloat16 __float2bfloat16_rn(float x) { return {emu::to_bfloat(x)}; }

inline float counted_fmaf(float a, float b, float c) {
    ++emu::multiply_adds;
    return std::fmaf(a, b, c);
}
#define fmaf counted_fmaf
inline float multiply_rn(float a, float b) { return a * b; }
inline float add_rn(float a, float b) { return a + b; }
inline uint32_t __umulhi(uint32_t a, uint32_t b) { return uint32_t((uint64_t(a) * b) >> 32); }
inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }
inline float normcdff(float x) { return 0.5f * erfcf(-x * 0.70710678f); }

// Defined in common.cuh.
float to_float(float x);
float to_float(__half x);
float to_float(__nv_bfloat16 x);
template <class T> T from_float(float x);

// Two values at once, as the functions of common.cuh.
template <class T> inline T* aligned_pair(T* p, size_t at) {
    if (reinterpret_cast<uintptr_t>(p) % (2 * sizeof(T))) emu::fail("two values at index %zu, which is not aligned", at);
    return p;
}
template <class T> inline float2 load_global2(Global<const T> from, size_t at, int line = __builtin_LINE()) {
    const T* p = aligned_pair(&from.check(at), at);
    from.check(at + 1);
    if (emu::counting) emu::note(emu::Access::GlobalRead, at * sizeof(T), 2 * sizeof(T), line);
    return {to_float(p[0]), to_float(p[1])};
}
template <class T> inline void store_global2(Global<T> to, size_t at, float2 value, int line = __builtin_LINE()) {
    T* p = aligned_pair(&to.check(at), at);
    to.check(at + 1);
    if (emu::counting) emu::note(emu::Access::GlobalWrite, at * sizeof(T), 2 * sizeof(T), line);
    p[0] = from_float<T>(value.x), p[1] = from_float<T>(value.y);
}
