// A sequence written into a cache, at a position of its own per batch entry. The generated header names the type T of as many
// bytes as an element, and the type of the positions.
#include "lines.cuh"
#include "generated.cuh"

struct Parameters {
    Lines update;
    // Lines of a batch entry.
    i64 lines;
    i64 capacity;
    i64 circular;
    // Elements of the cache.
    i64 count;
    const T* cache;
    const T* x;
    // Null for zeros.
    const Index* positions;
    T* y;
    u32* fault;
};

extern "C" __global__ void copy(const __grid_constant__ Parameters p) {
    follow_previous();
    each(p.count, [&](i64 at) { p.y[at] = p.cache[at]; });
}

extern "C" __global__ void write(const __grid_constant__ Parameters p) {
    follow_previous();
    constexpr i64 LARGEST = 0x7FFFFFFFFFFFFFFFll;
    each(p.update.count(), [&](i64 place) {
        const i64 step = p.update.along(place), line = place / p.update.inner / p.update.length;
        const i64 first = p.positions == nullptr ? 0 : i64(p.positions[line / p.lines]);
        i64 at = first > LARGEST - step ? LARGEST : first + step;
        if (p.circular) at = integer_mod(at, p.capacity);
        if (at < 0 || at >= p.capacity) report(p.fault, FAULT_INDEX);
        else p.y[(line * p.capacity + at) * p.update.inner + place % p.update.inner] = p.x[place];
    });
}
