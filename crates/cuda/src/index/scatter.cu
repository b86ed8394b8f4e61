// Updates written into a tensor, or combined with it, in the order of the updates.
//
// Updates form groups that never meet: the lines along an axis, or the elements of slices at one place. All updates of a
// group that name one position belong to one thread, which goes through the group in order; a group has `parts` threads, and
// the lowest bits of a position say which one owns it. So every result has the same bits in every run.
//
// The generated header names the element type T, the type S of the running results, the type of the indices, and the
// REDUCTION.
#include "indices.cuh"

enum { REPLACE, ADD, MULTIPLY, MAX, MIN };
#include "generated.cuh"

struct Parameters {
    // Elements of the tensor.
    i64 count;
    i64 groups;
    // Updates of a group, and threads for it: a power of two.
    i64 steps;
    i64 parts;
    // Elements of a slice. For updates of single elements: those behind the axis.
    i64 inner;
    Vectors vectors;
    // For updates of single elements: sizes of the indices, 1 along the axis, and distances in the tensor.
    i64 rank;
    i64 sizes[RANK];
    i64 strides[RANK];
    i64 axis_size;
    i64 axis_stride;
    const T* x;
    const Index* indices;
    const T* updates;
    T* y;
    // The running results: the tensor itself, or scratch memory.
    S* sums;
    u32* fault;
};

template <class V> inline V combined(V a, V b) {
    if constexpr (same<V, i64>) {
        if (REDUCTION == ADD) return integer_add(a, b);
        if (REDUCTION == MULTIPLY) return integer_mul(a, b);
        return REDUCTION == MAX ? integer_largest(a, b) : integer_least(a, b);
    } else {
        if (REDUCTION == ADD) return a + b;
        if (REDUCTION == MULTIPLY) return a * b;
        if (is_nan(a) || is_nan(b)) return V(not_a_number());
        return REDUCTION == MAX ? real_max(a, b) : real_min(a, b);
    }
}

// Templates, so that only the branch of the types at hand is compiled.
template <class A, class B> inline void update(A& sum, B v) {
    if constexpr (REDUCTION == REPLACE) sum = v;
    else sum = Element<A>::store(combined(Element<A>::load(sum), Element<B>::load(v)));
}

template <class A, class B> inline A started(B v) {
    if constexpr (same<A, B>) return v;
    else return Element<B>::load(v);
}

template <class A, class B> inline A finished(B v) {
    if constexpr (same<A, B>) return v;
    else return narrowed<A>(v);
}

extern "C" __global__ void begin(const __grid_constant__ Parameters p) {
    follow_previous();
    each(p.count, [&](i64 at) { p.sums[at] = started<S, T>(p.x[at]); });
}

// The first element of a group's line in the tensor.
inline i64 line(const Parameters& p, i64 group) { return placed(group, int(p.rank), p.sizes, p.strides); }

extern "C" __global__ void elements(const __grid_constant__ Parameters p) {
    follow_previous();
    each(p.groups * p.parts, [&](i64 at) {
        const i64 part = at / p.groups, group = at - part * p.groups;
        const i64 first = line(p, group), outer = group / p.inner, own = outer * p.steps * p.inner + (group - outer * p.inner);
        for (i64 step = 0; step < p.steps; ++step) {
            const i64 source = own + step * p.inner;
            const i64 index = wrapped(i64(p.indices[source]), p.axis_size, p.fault);
            if (index >= 0 && (index & (p.parts - 1)) == part) update(p.sums[first + index * p.axis_stride], p.updates[source]);
        }
    });
}

extern "C" __global__ void slices(const __grid_constant__ Parameters p) {
    follow_previous();
    each(p.groups * p.parts, [&](i64 at) {
        const i64 part = at / p.groups, group = at - part * p.groups;
        for (i64 step = 0; step < p.steps; ++step) {
            const i64 place = p.vectors.place(p.indices, step, p.fault);
            if (place < 0 || (p.parts > 1 && (place / p.inner & (p.parts - 1)) != part)) continue;
            update(p.sums[place + group], p.updates[step * p.inner + group]);
        }
    });
}

extern "C" __global__ void finish(const __grid_constant__ Parameters p) {
    follow_previous();
    each(p.count, [&](i64 at) { p.y[at] = finished<T, S>(p.sums[at]); });
}
