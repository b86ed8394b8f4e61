// Slices picked by their index along one axis: y[o, i, r] = x[o, indices[i], r]. The generated header names the type T of as
// many bytes as an element, and the type of the indices.
#include "types.cuh"
#include "generated.cuh"

struct Parameters {
    // In vectors: elements of the result, and those behind the axis.
    i64 count;
    i64 inner;
    i64 indices_count;
    i64 axis_size;
    const T* x;
    const Index* indices;
    T* y;
    u32* fault;
};

template <int V> inline void run(const Parameters& p) {
    for (i64 vector = i64(blockIdx.x) * blockDim.x + threadIdx.x; vector < p.count; vector += i64(gridDim.x) * blockDim.x) {
        const i64 slice = vector / p.inner, rest = vector - slice * p.inner;
        const i64 outer = slice / p.indices_count;
        i64 index = i64(p.indices[slice - outer * p.indices_count]);
        if (index < 0) index += p.axis_size;
        if (index < 0 || index >= p.axis_size) {
            report(p.fault, FAULT_INDEX);
            continue;
        }
        Vector<T, V>::load(p.x + ((outer * p.axis_size + index) * p.inner + rest) * V).store(p.y + vector * V);
    }
}

extern "C" __global__ void vectors(const __grid_constant__ Parameters p) { follow_previous(); run<WIDTH>(p); }
extern "C" __global__ void elements(const __grid_constant__ Parameters p) { follow_previous(); run<1>(p); }
