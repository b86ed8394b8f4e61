// Resizing of any axes, each one independently of the others; resize_axis.rs of `sinter-ops` defines positions and weights. The
// generated header names the element type T, the type A of weights and sums, the INTERPOLATION and the map of COORDINATES.
#include "math.cuh"

enum { NEAREST, LINEAR, CUBIC };
enum { HALF_PIXEL, HALF_PIXEL_SYMMETRIC, HALF_PIXEL_OR_ZERO, HALF_PIXEL_UNSHIFTED, ASYMMETRIC, ALIGN_CORNERS, CROP };
enum { PREFER_FLOOR, PREFER_CEIL, FLOOR, CEIL };
#include "generated.cuh"

struct Axis {
    i64 input;
    i64 output;
    // Distance of neighbours in the operand.
    i64 stride;
    // Elements on the way to the next element of the axis in the result.
    i64 inner;
    double scale;
    // Elements around a position that count, and the factor that stretches the kernel.
    double reach;
    double squeeze;
    // The region of a crop.
    double first;
    double last;
};

struct Parameters {
    i64 count;
    // All axes of the result, and distances in the operand, 0 along those that are resized.
    i64 rank;
    i64 sizes[RANK];
    i64 strides[RANK];
    i64 axes;
    Axis axis[RANK];
    i64 rounding;
    i64 exclude_outside;
    i64 antialias;
    double cubic;
    double extrapolation;
    const T* x;
    T* y;
};

// The position in the operand of an element of the result, in float32 and one operation after the other.
inline bool located(const Axis& axis, i64 at, double& position) {
    if (axis.scale == 1.0 && COORDINATES != CROP) {
        position = double(at);
        return true;
    }
    const float o = float(at), last = float(axis.input) - 1.0f, scale = float(axis.scale);
    const float width = float(axis.scale * double(axis.input));
    const float half_pixel = (o + 0.5f) / scale - 0.5f;
    float found = half_pixel;
    if (COORDINATES == HALF_PIXEL_OR_ZERO && axis.output <= 1) found = 0.0f;
    if (COORDINATES == HALF_PIXEL_SYMMETRIC) found = float(axis.input) / 2.0f * (1.0f - float(axis.output) / width) + half_pixel;
    if (COORDINATES == HALF_PIXEL_UNSHIFTED) found = (o + 0.5f) / scale;
    if (COORDINATES == ASYMMETRIC) found = o / scale;
    if (COORDINATES == ALIGN_CORNERS) found = width == 1.0f ? 0.0f : o * last / (width - 1.0f);
    if (COORDINATES == CROP) {
        const float a = float(axis.first), b = float(axis.last);
        const float inside = width == 1.0f ? (b - a) * last / 2.0f : o * (b - a) * last / (width - 1.0f);
        found = a * last + inside;
        if (!(found >= 0.0f && found <= last)) return false;
    }
    position = double(found);
    return true;
}

inline i64 clamped(double at, i64 input) {
    if (!(at > 0.0)) return 0;
    return at >= double(input - 1) ? input - 1 : i64(at);
}

inline i64 nearest(const Parameters& p, const Axis& axis, double x) {
    const double at = p.rounding == PREFER_FLOOR  ? ceil(x - 0.5)
                      : p.rounding == PREFER_CEIL ? floor(x + 0.5)
                      : p.rounding == FLOOR || p.rounding != CEIL && !(axis.scale < 1.0) ? floor(x) : ceil(x);
    return clamped(at, axis.input);
}

// The weighted elements along an axis around a position.
struct Taps {
    // Number of the first element, and the way from it to the position.
    i64 first;
    A offset;
    i64 steps;
    A sum;

    static A kernel(const Parameters& p, A t) {
        t = real_abs(t);
        if (INTERPOLATION == LINEAR) return t < A(1) ? A(1) - t : A(0);
        const A a = A(p.cubic);
        if (t <= A(1)) return ((a + A(2)) * t - (a + A(3))) * t * t + A(1);
        return t < A(2) ? ((a * t - A(5) * a) * t + A(8) * a) * t - A(4) * a : A(0);
    }

    // The weight of an element, 0 for one that does not count.
    A weight(const Parameters& p, const Axis& axis, i64 step) const {
        if (p.exclude_outside && (first + step < 0 || first + step >= axis.input)) return A(0);
        return kernel(p, (A(step) - offset) * A(axis.squeeze));
    }

    Taps() {}
    Taps(const Parameters& p, const Axis& axis, double x) : sum(A(1)) {
        const double from = floor(x - axis.reach), to = ceil(x + axis.reach);
        first = i64(from);
        offset = A(x - from);
        steps = to > from ? i64(to - from) : 0;
        if (!p.antialias && !p.exclude_outside) return;
        A all = 0;
        for (i64 step = 0; step <= steps; ++step) all += weight(p, axis, step);
        sum = all;
    }
};

// The sum over the axes from LEVEL on, of elements that the outer axes have chosen.
template <int LEVEL, int AXES> struct Nest {
    static A sum(const Parameters& p, const Taps* taps, i64 place) {
        const Axis& axis = p.axis[LEVEL];
        A total = 0;
        for (i64 step = 0; step <= taps[LEVEL].steps; ++step) {
            const A weight = taps[LEVEL].weight(p, axis, step);
            if (weight == A(0)) continue;
            const i64 k = taps[LEVEL].first + step, inside = k < 0 ? 0 : k >= axis.input ? axis.input - 1 : k;
            total += weight / taps[LEVEL].sum * Nest<LEVEL + 1, AXES>::sum(p, taps, place + inside * axis.stride);
        }
        return total;
    }
};
template <int AXES> struct Nest<AXES, AXES> {
    static A sum(const Parameters& p, const Taps*, i64 place) { return A(Element<T>::load(p.x[place])); }
};

// Integers round to the nearest one, ties to even.
inline T rounded(A v) { return of_float<T>(is_integer<T> ? rint(v) : v); }

template <int AXES> inline void run(const Parameters& p) {
    each(p.count, [&](i64 at) {
        const i64 place = placed(at, int(p.rank), p.sizes, p.strides);
        if constexpr (INTERPOLATION == NEAREST) {
            i64 from = place;
            for (int axis = 0; axis < int(p.axes); ++axis) {
                double x;
                const Axis& own = p.axis[axis];
                if (!located(own, at / own.inner % own.output, x)) {
                    p.y[at] = of_float<T>(p.extrapolation);
                    return;
                }
                from += nearest(p, own, x) * own.stride;
            }
            p.y[at] = p.x[from];
        } else {
            Taps taps[AXES];
#pragma unroll
            for (int axis = 0; axis < AXES; ++axis) {
                double x;
                const Axis& own = p.axis[axis];
                if (!located(own, at / own.inner % own.output, x)) {
                    p.y[at] = of_float<T>(p.extrapolation);
                    return;
                }
                taps[axis] = Taps(p, own, x);
            }
            p.y[at] = rounded(Nest<0, AXES>::sum(p, taps, place));
        }
    });
}

extern "C" __global__ void one(const __grid_constant__ Parameters p) { follow_previous(); run<1>(p); }
extern "C" __global__ void two(const __grid_constant__ Parameters p) { follow_previous(); run<2>(p); }
extern "C" __global__ void three(const __grid_constant__ Parameters p) { follow_previous(); run<3>(p); }
extern "C" __global__ void many(const __grid_constant__ Parameters p) { follow_previous(); run<RANK>(p); }
