// Elements read at the positions of a grid; grid_sample.rs of `sinter-ops` defines positions and weights. The generated header
// names the types of the image T and of the grid G, the type A of weights and sums, and the attributes.
#include "windows.cuh"

enum { NEAREST, LINEAR, CUBIC };
enum { ZEROS, BORDER, REFLECTION };
#include "generated.cuh"

struct Parameters {
    i64 images, channels, outputs;
    // Spatial axes of the image; those that are not there, in front, have size 1.
    i64 axes;
    i64 sizes[SPATIAL];
    const T* x;
    const G* grid;
    T* y;
};

constexpr int TAPS = INTERPOLATION == NEAREST ? 1 : INTERPOLATION == LINEAR ? 2 : 4;

inline double low_border() { return ALIGN_CORNERS ? 0.0 : -0.5; }
inline double high_border(i64 size) { return ALIGN_CORNERS ? double(size) - 1.0 : double(size) - 0.5; }

// Mirrors a coordinate at the borders of an axis until it lies between them.
inline double reflected(double at, i64 size) {
    const double low = low_border(), high = high_border(size), range = high - low;
    if (range <= 0.0) return low;
    if (at >= low && at <= high) return at;
    const bool from_low = at < low;
    const double beyond = from_low ? low - at : at - high, turns = trunc(beyond / range), rest = beyond - turns * range;
    return (fmod(turns, 2.0) == 0.0) == from_low ? low + rest : high - rest;
}

// An element's index on its axis, -1 for a zero.
inline i64 index_of(double at, i64 size) {
    const double last = double(size) - 1.0;
    if (PADDING == ZEROS && !(at >= 0.0 && at <= last)) return -1;
    const double inside = PADDING == REFLECTION ? trunc(reflected(at, size)) : at;
    return !(inside > 0.0) ? 0 : inside >= last ? size - 1 : i64(inside);
}

inline double cubic(double t) {
    const double a = -0.75;
    t = fabs(t);
    if (t <= 1.0) return ((a + 2.0) * t - (a + 3.0)) * t * t + 1.0;
    return t < 2.0 ? ((a * t - 5.0 * a) * t + 8.0 * a) * t - 4.0 * a : 0.0;
}

// The weighted elements of one axis.
struct Taps {
    i64 index[TAPS];
    A weight[TAPS];

    Taps() {}
    Taps(double coordinate, i64 size) {
        const double full = double(size);
        double place = ALIGN_CORNERS ? (coordinate + 1.0) / 2.0 * (full - 1.0) : ((coordinate + 1.0) * full - 1.0) / 2.0;
        place = double(Element<G>::load(of_float<G>(place)));
        if (INTERPOLATION == NEAREST) place = rint(place);
        if (PADDING == REFLECTION) place = reflected(place, size);
        if (PADDING == BORDER && INTERPOLATION != CUBIC && (place < low_border() || place > high_border(size))) {
            const double last = full - 1.0 > 0.0 ? full - 1.0 : 0.0;
            place = place < 0.0 ? 0.0 : place > last ? last : place;
        }
        const double whole = floor(place), share = place - whole;
#pragma unroll
        for (int tap = 0; tap < TAPS; ++tap) {
            const double step = double(INTERPOLATION == CUBIC ? tap - 1 : tap);
            index[tap] = index_of(INTERPOLATION == NEAREST ? trunc(place) : whole + step, size);
            weight[tap] = A(INTERPOLATION == NEAREST ? 1.0 : INTERPOLATION == CUBIC ? cubic(step - share) : tap == 0 ? 1.0 - share : share);
        }
    }
    // The only element of an axis that is not there.
    static Taps none() {
        Taps taps;
#pragma unroll
        for (int tap = 0; tap < TAPS; ++tap) {
            taps.index[tap] = tap == 0 ? 0 : -1;
            taps.weight[tap] = A(1);
        }
        return taps;
    }
};

extern "C" __global__ void sample(const __grid_constant__ Parameters p) {
    follow_previous();
    const i64 input = p.sizes[0] * p.sizes[1] * p.sizes[2];
    each(p.images * p.channels * p.outputs, [&](i64 at) {
        const i64 position = at % p.outputs, channel = at / p.outputs, image = channel / p.channels;
        A sum = 0;
        if (input > 0) {
            const G* grid = p.grid + (image * p.outputs + position) * p.axes;
            const T* x = p.x + channel * input;
            Taps taps[SPATIAL];
#pragma unroll
            for (int axis = 0; axis < SPATIAL; ++axis) {
                // Coordinates come last spatial axis first.
                const int which = SPATIAL - 1 - axis;
                taps[axis] = which < int(p.axes) ? Taps(double(Element<G>::load(grid[which])), p.sizes[axis]) : Taps::none();
            }
            for (int k = 0; k < TAPS; ++k)
                for (int j = 0; j < TAPS; ++j)
                    for (int i = 0; i < TAPS; ++i) {
                        const i64 z = taps[0].index[k], y = taps[1].index[j], column = taps[2].index[i];
                        if (z < 0 || y < 0 || column < 0) continue;
                        const A weight = taps[0].weight[k] * taps[1].weight[j] * taps[2].weight[i];
                        sum += weight * A(Element<T>::load(x[(z * p.sizes[1] + y) * p.sizes[2] + column]));
                    }
        }
        p.y[at] = of_float<T>(sum);
    });
}
