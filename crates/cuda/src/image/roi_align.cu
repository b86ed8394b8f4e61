// Regions of feature maps pooled to a fixed size, read between elements. The generated header names the types of elements T, of
// samples I and of sums A, and whether cells take the MAXIMUM.
#include "math.cuh"
#include "generated.cuh"

struct Parameters {
    i64 count;
    i64 samples, channels, height, width;
    i64 rows, columns;
    i64 sampling;
    double scale;
    double offset;
    i64 at_least_one;
    const T* x;
    const T* regions;
    const I* numbers;
    T* y;
    u32* fault;
};

typedef A W;

// Points of a cell along one axis: positions and their number in float64, as rounding decides that.
struct Span {
    double start;
    double extent;
    i64 points;

    Span(const Parameters& p, W low, W high, i64 cell, i64 cells) {
        constexpr double MOST = 65536.0;
        const double first = double(low) * p.scale - p.offset, last = double(high) * p.scale - p.offset;
        const double whole = p.at_least_one && !(last - first > 1.0) ? 1.0 : last - first;
        extent = whole / double(cells);
        const double number = p.sampling == 0 ? ceil(extent) : double(p.sampling);
        points = !(number <= MOST) ? -1 : number > 0.0 ? i64(number) : 0;
        start = first + double(cell) * extent;
    }
    // Neighbours of a point and the share of the upper one; false for a point that is zero.
    bool neighbours(i64 point, i64 size, i64& low, i64& high, W& share) const {
        const double at = start + (double(point) + 0.5) * extent / double(points);
        if (!(at >= -1.0 && at <= double(size)) || size == 0) return false;
        const double inside = at > 0.0 ? at : 0.0;
        low = i64(inside);
        share = W(inside - double(low));
        high = low + 1;
        if (high >= size) {
            low = high = size - 1;
            share = 0;
        }
        return true;
    }
};

extern "C" __global__ void pool(const __grid_constant__ Parameters p) {
    follow_previous();
    each(p.count, [&](i64 at) {
        const i64 column = at % p.columns, row = at / p.columns % p.rows, channel = at / p.columns / p.rows % p.channels;
        const i64 number = at / p.columns / p.rows / p.channels, sample = i64(Element<I>::load(p.numbers[number]));
        const T* region = p.regions + number * 4;
        const Span across(p, W(Element<T>::load(region[0])), W(Element<T>::load(region[2])), column, p.columns);
        const Span down(p, W(Element<T>::load(region[1])), W(Element<T>::load(region[3])), row, p.rows);
        if (sample < 0 || sample >= p.samples || across.points < 0 || down.points < 0) {
            report(p.fault, FAULT_INDEX);
            return;
        }
        const T* x = p.x + (sample * p.channels + channel) * p.height * p.width;
        W sum = 0, largest = W(of_bits(0xFF800000u));
        for (i64 j = 0; j < down.points; ++j) {
            i64 y0, y1;
            W v;
            const bool is_row = down.neighbours(j, p.height, y0, y1, v);
            for (i64 i = 0; i < across.points; ++i) {
                i64 x0, x1;
                W u;
                W weighted[4] = {};
                if (is_row && across.neighbours(i, p.width, x0, x1, u)) {
                    weighted[0] = (W(1) - v) * (W(1) - u) * W(Element<T>::load(x[y0 * p.width + x0]));
                    weighted[1] = (W(1) - v) * u * W(Element<T>::load(x[y0 * p.width + x1]));
                    weighted[2] = v * (W(1) - u) * W(Element<T>::load(x[y1 * p.width + x0]));
                    weighted[3] = v * u * W(Element<T>::load(x[y1 * p.width + x1]));
                }
                sum += weighted[0] + weighted[1] + weighted[2] + weighted[3];
#pragma unroll
                for (int k = 0; k < 4; ++k) largest = weighted[k] > largest ? weighted[k] : largest;
            }
        }
        const i64 points = across.points * down.points;
        if (MAXIMUM) p.y[at] = of_float<T>(points == 0 ? W(0) : largest);
        else p.y[at] = of_float<T>(sum / W(points > 0 ? points : 1));
    });
}
