// A sum of products over labelled axes. The generated header names the element type T and the number of OPERANDS.
#include "groups.cuh"
#include "generated.cuh"

struct Operand {
    const T* x;
    // Distances of neighbours along the axes of the result, and along those that are summed.
    i64 outer[RANK];
    i64 inner[RANK];
};

struct Parameters {
    i64 count;
    i64 terms;
    i64 rank;
    i64 summed;
    i64 sizes[RANK];
    i64 summed_sizes[RANK];
    Operand operands[OPERANDS];
    T* y;
};

typedef Wide<T> W;

inline W times(W a, W b) {
    if constexpr (is_integer<T>) return integer_mul(a, b);
    else return a * b;
}

extern "C" __global__ void einsum(const __grid_constant__ Parameters p) {
    follow_previous();
    each(p.count, [&](i64 at) {
        i64 places[OPERANDS];
#pragma unroll
        for (int i = 0; i < OPERANDS; ++i) places[i] = placed(at, int(p.rank), p.sizes, p.operands[i].outer);
        Sum<W> sum;
        for (i64 term = 0; term < p.terms; ++term) {
            W product = 1;
#pragma unroll
            for (int i = 0; i < OPERANDS; ++i) {
                const Operand& operand = p.operands[i];
                const i64 place = places[i] + placed(term, int(p.summed), p.summed_sizes, operand.inner);
                product = times(product, Element<T>::load(operand.x[place]));
            }
            sum.add(product);
        }
        p.y[at] = narrowed<T>(sum.value());
    });
}
