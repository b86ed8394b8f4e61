// Stored values to real ones. The generated header names the types of the operand X, of the scales S and of the result Y.
#include "parameters.cuh"
#include "generated.cuh"

struct Parameters {
    i64 count;
    Granularity granularity;
    const X* x;
    const S* scales;
    // Null for zeros.
    const X* zeros;
    Y* y;
};

// Differences of integers are exact, those of small floats in float32 as good as exact.
inline Wide<X> difference(Wide<X> v, Wide<X> zero) {
    if constexpr (is_integer<X>) return integer_sub(v, zero);
    else return v - zero;
}

// In float32, or in float64 where the result or the scale is.
template <class D, class Z> inline Y real(D difference, Z scale) {
    if constexpr (is_double<Y> || is_double<S>) return of_float<Y>(double(difference) * double(scale));
    else return narrowed<Y>(float(difference) * scale);
}

extern "C" __global__ void dequantize(const __grid_constant__ Parameters p) {
    follow_previous();
    each(p.count, [&](i64 at) {
        const i64 own = p.granularity.place(at);
        Wide<X> zero = 0;
        if (p.zeros != nullptr) zero = Element<X>::load(p.zeros[own]);
        p.y[at] = real(difference(Element<X>::load(p.x[at]), zero), Element<S>::load(p.scales[own]));
    });
}
