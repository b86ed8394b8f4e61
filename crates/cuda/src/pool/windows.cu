// One value from each window. The generated header names the element type T, the type W that carries values, the MODE, and for
// integers the least number.
#include "windows.cuh"

enum { MAX, AVERAGE, NORM };
#include "generated.cuh"

struct Parameters {
    Windows windows;
    i64 planes;
    i64 count_padding;
    double order;
    const T* x;
    T* y;
};

template <class V> inline V least() {
    if constexpr (same<V, i64>) return LOW;
    else return V(of_bits(0xFF800000u));
}

template <class V> inline V add(V sum, V v, V order) {
    if constexpr (same<V, i64>) {
        return integer_largest(sum, v);
    } else {
        if (MODE == MAX) return real_max(sum, v);
        if (MODE == AVERAGE) return sum + v;
        return sum + (order == V(2) ? v * v : order == V(1) ? real_abs(v) : real_pow(real_abs(v), order));
    }
}

template <class V> inline V finish(V sum, V count, V order) {
    if constexpr (same<V, i64>) {
        return sum;
    } else {
        if (MODE == MAX) return sum;
        if (MODE == AVERAGE) return sum / count;
        return order == V(2) ? real_sqrt(sum) : order == V(1) ? sum : real_pow(sum, V(1) / order);
    }
}

extern "C" __global__ void pool(const __grid_constant__ Parameters p) {
    follow_previous();
    const i64 plane = p.windows.outputs(), input = p.windows.inputs(), count = p.planes * plane;
    const W order = W(p.order);
    for (i64 at = i64(blockIdx.x) * blockDim.x + threadIdx.x; at < count; at += i64(gridDim.x) * blockDim.x) {
        const T* x = p.x + at / plane * input;
        W sum = MODE == MAX ? least<W>() : W(0);
        i64 elements = 0;
        p.windows.each(at % plane, [&](i64 place, i64) {
            sum = add(sum, as<W, T>(x[place]), order);
            ++elements;
        });
        if (MODE == AVERAGE && p.count_padding) elements = p.windows.padded(at % plane);
        p.y[at] = stored<T>(finish(sum, W(elements), order));
    }
}
