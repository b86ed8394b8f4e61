// The grid of positions of an affine transformation. The generated header names the element type T.
#include "windows.cuh"
#include "generated.cuh"

struct Parameters {
    i64 count;
    i64 axes;
    // The last `axes` count.
    i64 sizes[SPATIAL];
    i64 align_corners;
    const T* theta;
    T* y;
};

typedef Wide<T> W;

inline W coordinate(const Parameters& p, i64 index, i64 size) {
    if (!p.align_corners) return (W(2) * W(index) + W(1)) / W(size) - W(1);
    return size <= 1 ? W(-1) : W(2) * W(index) / W(size - 1) - W(1);
}

extern "C" __global__ void grid(const __grid_constant__ Parameters p) {
    follow_previous();
    each(p.count, [&](i64 at) {
        const i64 row = at % p.axes;
        i64 position = at / p.axes;
        // Column 0 multiplies the coordinate of the last axis.
        W along[SPATIAL];
#pragma unroll
        for (int column = 0; column < SPATIAL; ++column) {
            const i64 size = p.sizes[SPATIAL - 1 - column];
            if (column < int(p.axes)) {
                along[column] = coordinate(p, position % size, size);
                position /= size;
            }
        }
        const T* theta = p.theta + (position * p.axes + row) * (p.axes + 1);
        W sum = Element<T>::load(theta[p.axes]);
#pragma unroll
        for (int column = 0; column < SPATIAL; ++column)
            if (column < int(p.axes)) sum += Element<T>::load(theta[column]) * along[column];
        p.y[at] = narrowed<T>(sum);
    });
}
