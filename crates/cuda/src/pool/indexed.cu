// The largest element of each window and where it was found. The generated header names the element type T, and for integers
// the least number and the comparison.
#include "windows.cuh"
#include "generated.cuh"

struct Parameters {
    Windows windows;
    i64 planes;
    i64 column_major;
    const T* x;
    T* y;
    i64* indices;
};

typedef Wide<T> W;

// Does an element take the place of the best one so far? The first of equal ones stays, and NaN is larger than all.
template <class V> inline bool exceeds(V v, V best) {
    if constexpr (same<V, i64>) return v != best && integer_largest(v, best) == v;
    else return !is_nan(best) && (v > best || is_nan(v));
}

template <class V> inline V nothing() {
    if constexpr (same<V, i64>) return LOW;
    else return V(of_bits(0xFF800000u));
}

extern "C" __global__ void pool(const __grid_constant__ Parameters p) {
    follow_previous();
    const i64 plane = p.windows.outputs(), input = p.windows.inputs();
    each(p.planes * plane, [&](i64 at) {
        const i64 channel = at / plane * input;
        W best = nothing<W>();
        i64 found = -1;
        p.windows.each(at % plane, [&](i64 place, i64) {
            const W v = Element<T>::load(p.x[channel + place]);
            if (found < 0 || exceeds(v, best)) {
                best = v;
                found = place;
            }
        });
        if (found >= 0 && p.column_major) {
            const i64 x = found % p.windows.input[2], y = found / p.windows.input[2] % p.windows.input[1];
            const i64 z = found / p.windows.input[2] / p.windows.input[1];
            found = (x * p.windows.input[1] + y) * p.windows.input[0] + z;
        }
        p.y[at] = narrowed<T>(best);
        p.indices[at] = found < 0 ? -1 : channel + found;
    });
}
