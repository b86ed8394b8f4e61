// A border around a tensor. The generated header names the type T of as many bytes as an element.
#include "types.cuh"
#include "generated.cuh"

enum Mode { CONSTANT, EDGE, WRAP, REFLECT };

struct Parameters {
    i64 count;
    i64 rank;
    i64 mode;
    const T* x;
    T* y;
    // One element for constant borders, or null for zero.
    const T* value;
    i64 sizes[RANK];
    i64 x_sizes[RANK];
    i64 x_strides[RANK];
    i64 begins[RANK];
    // The part of an axis that negative pads leave.
    i64 firsts[RANK];
    i64 counts[RANK];
};

inline i64 modulo(i64 a, i64 b) {
    const i64 rest = a % b;
    return rest < 0 ? rest + b : rest;
}

extern "C" __global__ void pad(const __grid_constant__ Parameters p) {
    follow_previous();
    for (i64 element = i64(blockIdx.x) * blockDim.x + threadIdx.x; element < p.count; element += i64(gridDim.x) * blockDim.x) {
        i64 rest = element, from = 0;
        bool inside = true;
        for (int axis = int(p.rank) - 1; axis >= 0; --axis) {
            const i64 outer = rest / p.sizes[axis];
            i64 at = rest - outer * p.sizes[axis] - p.begins[axis];
            rest = outer;
            const i64 first = p.firsts[axis], count = p.counts[axis];
            if (p.mode == CONSTANT) {
                inside = inside && at >= 0 && at < p.x_sizes[axis];
            } else if (p.mode == EDGE) {
                at = at < first ? first : at > first + count - 1 ? first + count - 1 : at;
            } else if (p.mode == WRAP) {
                at = first + modulo(at - first, count);
            } else {
                const i64 phase = count == 1 ? 0 : modulo(at - first, 2 * count - 2);
                at = first + (phase < count ? phase : 2 * count - 2 - phase);
            }
            from += at * p.x_strides[axis];
        }
        T value = 0;
        if (inside) value = p.x[from];
        else if (p.value != nullptr) value = *p.value;
        p.y[element] = value;
    }
}
