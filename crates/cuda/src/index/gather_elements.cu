// Single elements picked by their index along one axis. The generated header names the type T of as many bytes as an element,
// and the type of the indices.
#include "indices.cuh"
#include "generated.cuh"

struct Parameters {
    i64 count;
    i64 rank;
    // Of the indices.
    i64 sizes[RANK];
    // Of the data, 0 along the axis.
    i64 strides[RANK];
    i64 axis_size;
    i64 axis_stride;
    const T* x;
    const Index* indices;
    T* y;
    u32* fault;
};

extern "C" __global__ void gather(const __grid_constant__ Parameters p) {
    follow_previous();
    each(p.count, [&](i64 at) {
        const i64 index = wrapped(i64(p.indices[at]), p.axis_size, p.fault);
        if (index < 0) return;
        p.y[at] = p.x[placed(at, int(p.rank), p.sizes, p.strides) + index * p.axis_stride];
    });
}
