// The discrete Fourier transform along one axis by its sum, a thread for each bin. The generated header names the element type T
// and the type A of sums.
#include "groups.cuh"
#include "generated.cuh"

struct Parameters {
    i64 count;
    // Elements given along the axis, length of the transform, bins of the result, elements behind the axis.
    i64 size, length, bins, inner;
    // Numbers of an element: real and imaginary parts.
    i64 parts, result_parts;
    i64 inverse;
    const T* x;
    T* y;
};

// Sine and cosine of a turn of many; in float64 as the reference rounds them.
inline void turned(i64 turn, i64 turns, float& sine, float& cosine) { sincospif(2.0f * float(turn) / float(turns), &sine, &cosine); }
inline void turned(i64 turn, i64 turns, double& sine, double& cosine) {
    sincos(6.283185307179586476925 * double(turn) / double(turns), &sine, &cosine);
}

struct Complex {
    A real, imaginary;
};

inline Complex load(const Parameters& p, i64 line, i64 k) {
    const i64 at = ((line / p.inner * p.size + k) * p.inner + line % p.inner) * p.parts;
    return {A(Element<T>::load(p.x[at])), p.parts == 2 ? A(Element<T>::load(p.x[at + 1])) : A(0)};
}

// An element of the whole spectrum of a real signal, from its first half: the others are conjugates.
inline Complex unfolded(const Parameters& p, i64 line, i64 k) {
    const i64 mirror = k == 0 ? 0 : p.length - k, from = k <= p.length / 2 ? k : mirror;
    Complex value = {A(0), A(0)};
    if (from < p.size) value = load(p, line, from);
    if (k == mirror) value.imaginary = A(0);
    if (k > mirror) value.imaginary = -value.imaginary;
    return value;
}

extern "C" __global__ void transform(const __grid_constant__ Parameters p) {
    follow_previous();
    const bool is_real = p.result_parts == 1;
    const i64 terms = is_real ? p.length : p.size < p.length ? p.size : p.length;
    each(p.count, [&](i64 at) {
        const i64 line = at / (p.bins * p.inner) * p.inner + at % p.inner, bin = at / p.inner % p.bins;
        Sum<A> real, imaginary;
        // (term * bin) mod length, which grows by the bin.
        i64 turn = 0;
        for (i64 term = 0; term < terms; ++term) {
            const Complex v = is_real ? unfolded(p, line, term) : load(p, line, term);
            A sine, cosine;
            turned(turn, p.length, sine, cosine);
            if (!p.inverse) sine = -sine;
            real.add(v.real * cosine - v.imaginary * sine);
            imaginary.add(v.real * sine + v.imaginary * cosine);
            turn += bin;
            if (turn >= p.length) turn -= p.length;
        }
        const A scale = p.inverse ? A(1) / A(p.length) : A(1);
        T* y = p.y + at * p.result_parts;
        y[0] = of_float<T>(real.value() * scale);
        if (!is_real) y[1] = of_float<T>(imaginary.value() * scale);
    });
}
