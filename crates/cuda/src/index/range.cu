// Evenly spaced numbers: start + k delta. The generated header names the element type T.
#include "math.cuh"
#include "generated.cuh"

struct Parameters {
    i64 count;
    const T* start;
    const T* delta;
    T* y;
};

// In float64, rounded once.
template <class V> inline T number(V start, V delta, i64 k) {
    if constexpr (same<V, i64>) return Element<T>::store(integer_add(start, integer_mul(k, delta)));
    else return of_float<T>(double(start) + double(k) * double(delta));
}

extern "C" __global__ void range(const __grid_constant__ Parameters p) {
    follow_previous();
    const Wide<T> start = Element<T>::load(*p.start), delta = Element<T>::load(*p.delta);
    each(p.count, [&](i64 k) { p.y[k] = number(start, delta, k); });
}
