// The scheduler of the emulator, and all kernels.

#include "../common.cuh"

#include <algorithm>
#include <csetjmp>
#include <cstdarg>
#include <cstdio>
#include <memory>
#include <ucontext.h>
#include <vector>

namespace emu {

thread_local Index thread_index, block_index, block_size, grid_size;
thread_local unsigned char* shared_begin;
thread_local size_t shared_bytes;
thread_local bool counting;
thread_local uint64_t multiply_adds;

namespace {

constexpr size_t STACK_BYTES = 64 << 10;
constexpr uint32_t LANES = 32;

enum class Status { Ready, AtBarrier, AtShuffle, Done };

struct Fiber {
    std::unique_ptr<char[]> stack;
    ucontext_t entry;
    jmp_buf state;
    bool started;
    Status status;
    int line;
    uint32_t shuffles;
};

// Who used a word of shared memory since the last barrier.
struct Use {
    uint32_t write_epoch, read_epoch;
    uint16_t writer, reader;
};
constexpr uint16_t SEVERAL = 0xffff;

// What a lane did since the warp's last barrier of the block.
struct Noted {
    uint64_t site;
    uint64_t address;
    uint32_t bytes;
};
struct Lane {
    std::vector<Noted> noted;
    uint64_t multiply_adds = 0;
    uint32_t together = 0;
};

// What the warps of a launch did. A cycle of shared memory serves one word of every bank.
struct Counts {
    uint64_t multiply_adds, lane_multiply_adds;
    uint64_t global_reads, sectors_read, global_writes, sectors_written;
    uint64_t shared_reads, shared_read_cycles, shared_writes, shared_write_cycles;
    uint64_t table_reads, barriers, shuffles;
    // Cycles that the accesses would take if their words were spread over all banks.
    uint64_t shared_least_cycles;
};

struct State {
    std::vector<Fiber> fibers;
    std::vector<unsigned char> shared;
    std::vector<Use> uses;
    std::vector<uint64_t> left;
    ucontext_t scheduler_entry;
    jmp_buf scheduler;
    uint32_t current = 0, epoch = 1;
    const Kernel* kernel = nullptr;
    void** arguments = nullptr;
    char message[512];
    bool failed = false;
    std::vector<Lane> lanes;
    Counts counts;
    // Multiply-adds before this fiber was resumed.
    uint64_t before = 0;
};
thread_local State state;

Kernel* kernels = nullptr;
Field* fields = nullptr;

void yield() {
    Fiber& fiber = state.fibers[state.current];
    if (!_setjmp(fiber.state)) _longjmp(state.scheduler, 1);
}

void start() {
    state.kernel->run(state.arguments);
    state.fibers[state.current].status = Status::Done;
    _longjmp(state.scheduler, 1);
}

// Runs a fiber until it waits or ends.
void resume(uint32_t thread) {
    Fiber& fiber = state.fibers[thread];
    state.current = thread;
    thread_index.x = thread;
    state.before = multiply_adds;
    if (_setjmp(state.scheduler)) {
        if (counting) state.lanes[state.current].multiply_adds += multiply_adds - state.before;
        return;
    }
    if (fiber.started) _longjmp(fiber.state, 1);
    fiber.started = true;
    getcontext(&fiber.entry);
    fiber.entry.uc_stack.ss_sp = fiber.stack.get();
    fiber.entry.uc_stack.ss_size = STACK_BYTES;
    fiber.entry.uc_link = nullptr;
    makecontext(&fiber.entry, start, 0);
    swapcontext(&state.scheduler_entry, &fiber.entry);
}

void complain(const char* format, ...) {
    va_list list;
    va_start(list, format);
    vsnprintf(state.message, sizeof state.message, format, list);
    va_end(list);
    state.failed = true;
}

// Runs the threads of a warp until all of them have reached a barrier of the block, or the end.
void run_warp(uint32_t first, const std::vector<uint32_t>& order) {
    while (!state.failed) {
        for (uint32_t lane : order) {
            if (state.fibers[first + lane].status == Status::Ready) resume(first + lane);
            if (state.failed) return;
        }
        uint32_t shuffling = 0;
        int line = 0;
        for (uint32_t lane = 0; lane < LANES; ++lane) {
            const Fiber& fiber = state.fibers[first + lane];
            if (fiber.status != Status::AtShuffle) continue;
            if (shuffling++ && fiber.line != line)
                return complain("threads of a warp are in the shuffles at lines %d and %d", line, fiber.line);
            line = fiber.line;
        }
        if (shuffling == 0) return;
        if (shuffling < LANES) return complain("%u of 32 threads of a warp are in the shuffle at line %d", shuffling, line);
        ++state.counts.shuffles;
        for (uint32_t lane = 0; lane < LANES; ++lane) {
            state.fibers[first + lane].status = Status::Ready;
            if (counting) ++state.lanes[first + lane].together;
        }
    }
}

// Cycles that the accesses of one site take: the most words of one bank. Adds those that as many words take at least.
uint64_t bank_cycles(const Noted* from, const Noted* to, uint64_t& least) {
    std::vector<uint64_t> words;
    for (; from != to; ++from)
        for (uint32_t at = 0; at < from->bytes; at += 4) words.push_back((from->address + at) / 4);
    std::sort(words.begin(), words.end());
    words.erase(std::unique(words.begin(), words.end()), words.end());
    least += (words.size() + 31) / 32;
    uint64_t banks[32] = {}, most = 0;
    for (uint64_t word : words) most = std::max(most, ++banks[word % 32]);
    return most;
}

// Sectors of 32 bytes that they touch.
uint64_t sectors(const Noted* from, const Noted* to) {
    std::vector<uint64_t> touched;
    for (; from != to; ++from)
        for (uint64_t at = from->address / 32; at <= (from->address + from->bytes - 1) / 32; ++at) touched.push_back(at);
    std::sort(touched.begin(), touched.end());
    return uint64_t(std::unique(touched.begin(), touched.end()) - touched.begin());
}

// Adds what the lanes of a warp did since the last barrier to the counts.
void count_warp(uint32_t first) {
    Counts& counts = state.counts;
    std::vector<Noted> all;
    uint64_t most = 0;
    for (uint32_t lane = first; lane < first + LANES; ++lane) {
        Lane& done = state.lanes[lane];
        most = std::max(most, done.multiply_adds);
        counts.lane_multiply_adds += done.multiply_adds;
        // Number the accesses of each site; sites have room for 2^20 of them.
        std::stable_sort(done.noted.begin(), done.noted.end(), [](auto& a, auto& b) { return a.site < b.site; });
        for (size_t i = 1, n = 0; i < done.noted.size(); ++i) {
            n = done.noted[i].site == done.noted[i - 1 - n].site ? n + 1 : 0;
            if (n) all.push_back(done.noted[i]), all.back().site += n;
            else all.push_back(done.noted[i]);
        }
        if (!done.noted.empty()) all.push_back(done.noted[0]);
        done.noted.clear();
        done.multiply_adds = 0;
        done.together = 0;
    }
    counts.multiply_adds += most;
    std::sort(all.begin(), all.end(), [](auto& a, auto& b) { return a.site < b.site; });
    for (size_t begin = 0; begin < all.size();) {
        size_t end = begin;
        while (end < all.size() && all[end].site == all[begin].site) ++end;
        std::vector<Noted> active;
        for (size_t i = begin; i < end; ++i)
            if (all[i].bytes) active.push_back(all[i]);
        const Noted *from = active.data(), *to = from + active.size();
        if (from != to) switch (Access(all[begin].site >> 20 & 7)) {
            case Access::TableRead: ++counts.table_reads; break;
            case Access::GlobalRead: ++counts.global_reads, counts.sectors_read += sectors(from, to); break;
            case Access::GlobalWrite: ++counts.global_writes, counts.sectors_written += sectors(from, to); break;
            case Access::SharedRead:
                ++counts.shared_reads;
                counts.shared_read_cycles += bank_cycles(from, to, counts.shared_least_cycles);
                break;
            case Access::SharedWrite:
                ++counts.shared_writes;
                counts.shared_write_cycles += bank_cycles(from, to, counts.shared_least_cycles);
                break;
        }
        begin = end;
    }
}

// Orders of n things: as they are, from the last, or mixed by a seed.
std::vector<uint32_t> arrangement(uint32_t n, uint32_t order) {
    std::vector<uint32_t> result(n);
    for (uint32_t i = 0; i < n; ++i) result[i] = order == 1 ? n - 1 - i : i;
    uint64_t random = 0x9e3779b97f4a7c15ull * (order + 1);
    for (uint32_t i = n; order > 1 && i > 1; --i) {
        random = random * 6364136223846793005ull + 1442695040888963407ull;
        std::swap(result[i - 1], result[(random >> 33) % i]);
    }
    return result;
}

void run_block(uint32_t threads, const std::vector<uint32_t>& warps, const std::vector<uint32_t>& lanes) {
    memset(state.shared.data(), 0xff, state.shared.size());
    ++state.epoch;
    for (uint32_t i = 0; i < threads; ++i) {
        Fiber& fiber = state.fibers[i];
        fiber.started = false;
        fiber.status = Status::Ready;
        fiber.shuffles = 0;
    }
    while (!state.failed) {
        for (uint32_t warp : warps) {
            run_warp(warp * LANES, lanes);
            if (state.failed) return;
            if (counting) count_warp(warp * LANES);
        }
        uint32_t waiting = 0;
        int line = 0;
        for (uint32_t i = 0; i < threads; ++i) {
            const Fiber& fiber = state.fibers[i];
            if (fiber.status != Status::AtBarrier) continue;
            if (waiting++ && fiber.line != line)
                return complain("threads are at the barriers at lines %d and %d", line, fiber.line);
            line = fiber.line;
        }
        if (waiting == 0) return;
        if (waiting < threads) return complain("%u of %u threads are at the barrier at line %d", waiting, threads, line);
        ++state.epoch;
        ++state.counts.barriers;
        for (uint32_t i = 0; i < threads; ++i) state.fibers[i].status = Status::Ready;
    }
}

}  // namespace

Kernel::Kernel(const char* name, std::vector<const char*> types, void (*run)(void**))
    : name(name), types(std::move(types)), run(run), next(kernels) {
    kernels = this;
}

Field::Field(const char* structure, const char* name, const char* type, size_t structure_bytes, size_t bytes,
             void (*read)(const void*, void*))
    : structure(structure), name(name), type(type), structure_bytes(structure_bytes), bytes(bytes), read(read), next(fields) {
    fields = this;
}

void fail(const char* format, ...) {
    va_list list;
    va_start(list, format);
    vsnprintf(state.message, sizeof state.message, format, list);
    va_end(list);
    state.failed = true;
    _longjmp(state.scheduler, 1);
}

void block_barrier(int line) {
    Fiber& fiber = state.fibers[state.current];
    fiber.status = Status::AtBarrier;
    fiber.line = line;
    yield();
}

void warp_barrier() {
    if (counting) ++state.lanes[state.current].together;
}

// A site: how often the warp was together before, the line, the kind of access, and room for its number.
void note(Access access, size_t at, size_t bytes, int line) {
    Lane& lane = state.lanes[state.current];
    const uint64_t site = uint64_t(lane.together) << 37 | uint64_t(uint32_t(line) & 0x3fff) << 23 | uint64_t(access) << 20;
    lane.noted.push_back({site, at, uint32_t(bytes)});
}

uint64_t exchange(uint64_t value, uint32_t from, int line) {
    const uint32_t thread = state.current;
    Fiber& fiber = state.fibers[thread];
    // Two places in turn: a lane may be one shuffle ahead of the others.
    const size_t place = fiber.shuffles++ % 2 * state.fibers.size();
    state.left[place + thread] = value;
    fiber.status = Status::AtShuffle;
    fiber.line = line;
    yield();
    return state.left[place + thread / LANES * LANES + from];
}

static Use& use_of(const void* word) {
    return state.uses[(static_cast<const unsigned char*>(word) - shared_begin) / 4];
}

void shared_read(const void* word) {
    Use& use = use_of(word);
    const uint16_t thread = uint16_t(state.current);
    if (use.write_epoch == state.epoch && use.writer != thread)
        fail("thread %u reads word %td of shared memory that thread %u wrote, with no barrier between", thread,
             (static_cast<const unsigned char*>(word) - shared_begin) / 4, use.writer);
    use.reader = use.read_epoch == state.epoch && use.reader != thread ? SEVERAL : thread;
    use.read_epoch = state.epoch;
}

void shared_write(const void* word) {
    Use& use = use_of(word);
    const uint16_t thread = uint16_t(state.current);
    const bool written = use.write_epoch == state.epoch && use.writer != thread;
    if (written || (use.read_epoch == state.epoch && use.reader != thread))
        fail("thread %u writes word %td of shared memory that another thread %s, with no barrier between", thread,
             (static_cast<const unsigned char*>(word) - shared_begin) / 4, written ? "wrote" : "read");
    use.writer = thread;
    use.write_epoch = state.epoch;
}

uint16_t to_bfloat(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    if (value != value) return uint16_t(bits >> 16 | 0x40);
    return uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

uint16_t to_half(float value) {
    uint32_t bits;
    memcpy(&bits, &value, 4);
    const uint16_t sign = uint16_t(bits >> 16 & 0x8000);
    const float size = fabsf(value);
    if (value != value) return sign | 0x7e00;
    if (size >= 65520.0f) return sign | 0x7c00;
    // Below 2^-14 steps are 2^-24; above, 10 bits of the mantissa are left. rint rounds ties to even.
    if (size < 6.103515625e-5f) return sign | uint16_t(rintf(size * 16777216.0f));
    memcpy(&bits, &size, 4);
    bits += 0xfff + (bits >> 13 & 1);
    return sign | uint16_t((bits >> 13) - (112 << 10));
}

float from_half(uint16_t bits) {
    const int exponent = bits >> 10 & 31, mantissa = bits & 1023;
    float size = exponent == 31 ? (mantissa ? NAN : INFINITY)
                 : exponent == 0 ? ldexpf(float(mantissa), -24)
                                 : ldexpf(float(mantissa + 1024), exponent - 25);
    return bits & 0x8000 ? -size : size;
}

}  // namespace emu

// Whether launches of this thread are counted.
extern "C" void ks_count(int wanted) { emu::counting = wanted; }

// What the last launch of this thread did: numbers in the order of Counts.
extern "C" void ks_counts(uint64_t* numbers) { memcpy(numbers, &emu::state.counts, sizeof(emu::Counts)); }

// A field of a parameter struct, as the host reads it.
struct FieldView {
    const char *structure, *name, *type;
    size_t structure_bytes, bytes;
};

// Describes the field of an index and returns 1, or 0 behind the last one.
extern "C" int ks_field(size_t index, FieldView* to) {
    const emu::Field* field = emu::fields;
    while (field && index--) field = field->next;
    if (field) *to = {field->structure, field->name, field->type, field->structure_bytes, field->bytes};
    return field != nullptr;
}

// Copies the field of an index out of a struct: as many bytes as the struct and the field have.
extern "C" void ks_read_field(size_t index, const void* structure, void* to) {
    const emu::Field* field = emu::fields;
    while (field && index--) field = field->next;
    if (field) field->read(structure, to);
}

// Complains unless arguments of these types are what a kernel declares; memory may be absent.
static void check_types(const emu::Kernel& kernel, const char* const* types, size_t count) {
    if (count != kernel.types.size())
        return emu::complain("%zu arguments for %zu parameters", count, kernel.types.size());
    for (size_t i = 0; i < count; ++i) {
        const char* expected = kernel.types[i];
        if (!strcmp(types[i], expected) || (!strcmp(types[i], "absent") && strchr(expected, '*'))) continue;
        return emu::complain("argument %zu is %s in place of %s", i, types[i], expected);
    }
}

// Runs a kernel with `count` arguments of these types. Returns 0, or 1 with a message.
extern "C" int ks_emulate(const char* name, uint32_t grid, uint32_t threads, size_t shared, void** arguments,
                          const char* const* types, size_t count, uint32_t order, char* message, size_t room) {
    using namespace emu;
    State& s = state;
    s.failed = false;
    s.kernel = nullptr;
    for (const Kernel* k = kernels; k; k = k->next)
        if (!strcmp(k->name, name)) s.kernel = k;
    if (!s.kernel) complain("no such kernel");
    if (s.kernel) check_types(*s.kernel, types, count);
    if (threads == 0 || threads > 1024 || threads % LANES) complain("%u threads, which are no whole warps", threads);
    if (!s.failed) {
        while (s.fibers.size() < threads) s.fibers.push_back({std::make_unique<char[]>(STACK_BYTES), {}, {}, false, {}, 0, 0});
        s.left.resize(2 * s.fibers.size());
        s.lanes.assign(counting ? threads : 0, Lane{});
        s.counts = Counts{};
        s.shared.assign((shared + 3) / 4 * 4, 0xff);
        s.uses.assign(s.shared.size() / 4 + 1, Use{0, 0, 0, 0});
        s.epoch = 1;
        s.arguments = arguments;
        // One more element keeps the address valid where there is no shared memory.
        s.shared.reserve(s.shared.size() + 16);
        shared_begin = s.shared.data();
        shared_bytes = s.shared.size();
        block_size.x = threads;
        grid_size.x = grid;
        const auto warps = arrangement(threads / LANES, order), lanes = arrangement(LANES, order);
        for (uint32_t block = 0; block < grid && !s.failed; ++block) {
            block_index.x = block;
            run_block(threads, warps, lanes);
        }
    }
    if (!s.failed) return 0;
    snprintf(message, room, "kernel %s, block %u, thread %u: %s", name, block_index.x, thread_index.x, s.message);
    return 1;
}

// Every file as if it were a unit of its own.
namespace elementwise {
#include "../elementwise.cu"
}
namespace faults {
#include "faults.cu"
}
namespace layer_norm {
#include "../layer_norm.cu"
}
namespace planes {
#include "../planes.cu"
}
namespace probe {
#include "../probe.cu"
}
namespace taps {
#include "../taps.cu"
}
namespace update {
#include "../update.cu"
}
