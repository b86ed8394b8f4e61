// Slices picked by index vectors. The generated header names the type T of as many bytes as an element, and the type of the
// indices.
#include "indices.cuh"
#include "generated.cuh"

struct Parameters {
    i64 count;
    // Elements of a slice.
    i64 inner;
    Vectors vectors;
    const T* x;
    const Index* indices;
    T* y;
    u32* fault;
};

extern "C" __global__ void gather(const __grid_constant__ Parameters p) {
    follow_previous();
    each(p.count, [&](i64 at) {
        const i64 vector = at / p.inner, place = p.vectors.place(p.indices, vector, p.fault);
        if (place >= 0) p.y[at] = p.x[place + (at - vector * p.inner)];
    });
}
