// Elements put back where a max pool found them. Of several for one place the last one stays, which each place remembers.
// The generated header names the type T of as many bytes as an element.
#include "types.cuh"
#include "generated.cuh"

struct Parameters {
    i64 count;
    i64 elements;
    // Elements of a tensor of natural sizes, which the indices count; its axes, and their distances in the result.
    i64 limit;
    i64 rank;
    i64 sizes[RANK];
    i64 strides[RANK];
    const T* x;
    const i64* indices;
    T* y;
    // By place of the result: one more than the number of its element, 0 for none.
    u64* sources;
    u32* fault;
};

extern "C" __global__ void clear(const __grid_constant__ Parameters p) {
    follow_previous();
    each(p.count, [&](i64 at) { p.sources[at] = 0; });
}

extern "C" __global__ void mark(const __grid_constant__ Parameters p) {
    follow_previous();
    each(p.elements, [&](i64 at) {
        const i64 index = p.indices[at];
        if (index < 0 || index >= p.limit) report(p.fault, FAULT_INDEX);
        else atomicMax(&p.sources[placed(index, int(p.rank), p.sizes, p.strides)], u64(at) + 1);
    });
}

extern "C" __global__ void place(const __grid_constant__ Parameters p) {
    follow_previous();
    each(p.count, [&](i64 at) {
        const u64 source = p.sources[at];
        T value = 0;
        if (source != 0) value = p.x[source - 1];
        p.y[at] = value;
    });
}
