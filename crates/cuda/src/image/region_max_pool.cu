// Regions of feature maps pooled to a fixed size by their largest elements. The generated header names the element type T.
#include "math.cuh"
#include "generated.cuh"

struct Parameters {
    i64 count;
    i64 samples, channels, height, width;
    i64 rows, columns;
    double scale;
    const T* x;
    const T* regions;
    T* y;
    u32* fault;
};

typedef Wide<T> W;

// The element of a corner: the product with the scale is rounded to the type of the corners, then half away from zero.
inline i64 corner(const Parameters& p, T number) {
    constexpr double FAR = 1e9;
    const double scaled = round(double(Element<T>::load(of_float<T>(double(Element<T>::load(number)) * p.scale))));
    if (is_nan(scaled)) return 0;
    return i64(scaled < -FAR ? -FAR : scaled > FAR ? FAR : scaled);
}

// The elements of a cell along one axis.
inline void cell_of(i64 low, i64 high, i64 cell, i64 cells, i64 size, i64& begin, i64& end) {
    const i64 count = high - low + 1 > 1 ? high - low + 1 : 1;
    const i64 first = low + count * cell / cells, last = low + (count * (cell + 1) + cells - 1) / cells;
    begin = first < 0 ? 0 : first > size ? size : first;
    end = last < 0 ? 0 : last > size ? size : last;
}

extern "C" __global__ void pool(const __grid_constant__ Parameters p) {
    follow_previous();
    each(p.count, [&](i64 at) {
        const i64 column = at % p.columns, row = at / p.columns % p.rows, channel = at / p.columns / p.rows % p.channels;
        const T* region = p.regions + at / p.columns / p.rows / p.channels * 5;
        const double sample = double(Element<T>::load(region[0]));
        if (!(sample >= 0.0 && sample < double(p.samples)) || floor(sample) != sample) {
            report(p.fault, FAULT_INDEX);
            return;
        }
        i64 left, right, top, bottom;
        cell_of(corner(p, region[1]), corner(p, region[3]), column, p.columns, p.width, left, right);
        cell_of(corner(p, region[2]), corner(p, region[4]), row, p.rows, p.height, top, bottom);
        const T* x = p.x + (i64(sample) * p.channels + channel) * p.height * p.width;
        // NaN is no largest element but of elements that all are.
        W largest = top < bottom && left < right ? Element<T>::load(x[top * p.width + left]) : W(0);
        for (i64 j = top; j < bottom; ++j)
            for (i64 i = left; i < right; ++i) {
                const W v = Element<T>::load(x[j * p.width + i]);
                if (v > largest || is_nan(largest)) largest = v;
            }
        p.y[at] = narrowed<T>(largest);
    });
}
