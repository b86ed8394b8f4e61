// The largest or smallest elements along an axis, with their positions. The generated header names the element type T, and
// whether the largest count and the type is unsigned.
#include "sort.cuh"
#include "lines.cuh"
#include "generated.cuh"

struct Parameters {
    Sorting sorting;
    Lines lines;
    i64 k;
    const T* x;
    T* values;
    i64* positions;
};

inline bool before(const Parameters& p, i64 line, i64 a, i64 b) {
    const i64 first = p.lines.first(line);
    const Wide<T> left = Element<T>::load(p.x[first + a * p.lines.inner]), right = Element<T>::load(p.x[first + b * p.lines.inner]);
    const bool less = is_less<UNSIGNED>(left, right), more = is_less<UNSIGNED>(right, left);
    return LARGEST ? more || (!less && a < b) : less || (!more && a < b);
}

SORT_FUNCTIONS(Parameters)

extern "C" __global__ void pick(const __grid_constant__ Parameters p) {
    follow_previous();
    each(p.sorting.lines * p.k, [&](i64 at) {
        const i64 inner = at % p.lines.inner, rank = at / p.lines.inner % p.k, outer = at / p.lines.inner / p.k;
        const i64 line = outer * p.lines.inner + inner, position = p.sorting.positions[line * p.sorting.padded + rank];
        p.values[at] = p.x[p.lines.first(line) + position * p.lines.inner];
        p.positions[at] = position;
    });
}
