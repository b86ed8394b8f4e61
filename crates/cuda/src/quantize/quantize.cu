// Real values to stored ones. The generated header names the types of the operand X, of the scales S, of the result Y and of
// the division P.
#include "parameters.cuh"
#include "generated.cuh"

struct Parameters {
    i64 count;
    Granularity granularity;
    const X* x;
    const S* scales;
    // Null for zeros.
    const Y* zeros;
    Y* y;
};

inline Wide<P> divided(Wide<P> v, Wide<P> scale) {
    if constexpr (is_double<P>) return v / scale;
    else return Narrow<P>::round(v / scale);
}

// The sum of quotient and zero point is exact in float64, or rounds to the side where it lies.
template <class T> inline T quantized(double quotient, Wide<T> zero) {
    if constexpr (is_integer<T>) {
        return saturated<T>(is_nan(quotient) ? double(zero) : rint(quotient) + double(zero));
    } else {
        return Element<T>::store(cast<T, double>(quotient + double(zero), SATURATE, 0));
    }
}

extern "C" __global__ void quantize(const __grid_constant__ Parameters p) {
    follow_previous();
    each(p.count, [&](i64 at) {
        const i64 own = p.granularity.place(at);
        const Wide<P> v = cast<P, X>(Element<X>::load(p.x[at]), true, 0), scale = cast<P, S>(Element<S>::load(p.scales[own]), true, 0);
        Wide<Y> zero = 0;
        if (p.zeros != nullptr) zero = Element<Y>::load(p.zeros[own]);
        p.y[at] = quantized<Y>(double(divided(v, scale)), zero);
    });
}
