// A scalar program on every element of its broadcast operands. The generated header names the types and the function
// `compute` of one element.
#include "math.cuh"
#include "generated.cuh"

struct Operand {
    View view;
    i64 strides[RANK];
};

struct Parameters {
    i64 count;
    i64 rank;
    i64 sizes[RANK];
    Operand operands[OPERANDS];
    View results[RESULTS];
};

// V elements along the innermost axis, which are consecutive or one element repeated.
template <class T, int V, class I> inline Vector<T, V> fetch(const Operand& operand, I at, i64 stride) {
    if (V == 1 || stride != 0) return Vector<T, V>::load(operand.view.template at<T>(at));
    Vector<T, V> repeated;
    T element = *operand.view.template at<T>(at);
#pragma unroll
    for (int j = 0; j < V; ++j) repeated.lane[j] = element;
    return repeated;
}

// Elements from `first` on, in vectors of V.
template <int V, class I> inline void run(const Parameters& p, I first, I vectors) {
    const int inner = int(p.rank) - 1;
    for (I vector = I(blockIdx.x) * blockDim.x + threadIdx.x; vector < vectors; vector += I(gridDim.x) * blockDim.x) {
        const I element = first + vector * V;
#define PLACE(i, T) I at##i = 0;
        FOR_OPERANDS(PLACE)
        I rest = element;
        for (int axis = inner; axis > 0; --axis) {
            const I size = I(p.sizes[axis]);
            const I outer = rest / size, index = rest - outer * size;
#define ADVANCE(i, T) at##i += index * I(p.operands[i].strides[axis]);
            FOR_OPERANDS(ADVANCE)
            rest = outer;
        }
#define LOAD(i, T)                                     \
    at##i += rest * I(p.operands[i].strides[0]);       \
    const Vector<T, V> x##i = fetch<T, V, I>(p.operands[i], at##i, p.operands[i].strides[inner]);
        FOR_OPERANDS(LOAD)
#define RESULT(i, T) Vector<T, V> y##i;
        FOR_RESULTS(RESULT)
#pragma unroll
        for (int j = 0; j < V; ++j) COMPUTE(j);
#define STORE(i, T) y##i.store(p.results[i].template at<T>(element));
        FOR_RESULTS(STORE)
    }
}

extern "C" __global__ void vectors(const __grid_constant__ Parameters p) {
    follow_previous();
    const u32 count = u32(p.count), whole = count / WIDTH;
    run<WIDTH, u32>(p, 0, whole);
    run<1, u32>(p, whole * WIDTH, count % WIDTH);
}

extern "C" __global__ void elements(const __grid_constant__ Parameters p) { follow_previous(); run<1, u32>(p, 0, u32(p.count)); }

extern "C" __global__ void large(const __grid_constant__ Parameters p) { follow_previous(); run<1, u64>(p, 0, u64(p.count)); }
