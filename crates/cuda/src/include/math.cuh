// The scalar operations of pointwise programs: `real_` on float and double, `integer_` on i64, `unsigned_` on u64 in the
// bits of i64. Formulas and special values are those of `sinter-ops`, pointwise/scalar.rs.
#pragma once
#include "types.cuh"

template <class T> inline T real_neg(T x) { return -x; }
inline float real_abs(float x) { return fabsf(x); }
inline double real_abs(double x) { return fabs(x); }
template <class T> inline T real_sign(T x) { return x > T(0) ? T(1) : x < T(0) ? T(-1) : x; }
template <class T> inline T real_reciprocal(T x) { return T(1) / x; }
template <class T> inline T real_add(T x, T y) { return x + y; }
template <class T> inline T real_sub(T x, T y) { return x - y; }
template <class T> inline T real_mul(T x, T y) { return x * y; }
template <class T> inline T real_div(T x, T y) { return x / y; }
template <class T> inline T real_min(T x, T y) { return is_nan(x) ? x : x < y ? x : y; }
template <class T> inline T real_max(T x, T y) { return is_nan(x) ? x : x > y ? x : y; }
template <class T> inline i64 real_equal(T x, T y) { return x == y; }
template <class T> inline i64 real_less(T x, T y) { return x < y; }
template <class T> inline i64 real_less_or_equal(T x, T y) { return x <= y; }
template <class T> inline i64 real_is_nan(T x) { return x != x; }
template <class T> inline i64 real_is_positive_infinity(T x) { return isinf(x) && x > T(0); }
template <class T> inline i64 real_is_negative_infinity(T x) { return isinf(x) && x < T(0); }

#define REAL(name, single, twice)                       \
    inline float real_##name(float x) { return single(x); } \
    inline double real_##name(double x) { return twice(x); }
REAL(floor, floorf, floor)
REAL(ceil, ceilf, ceil)
REAL(round, rintf, rint)
REAL(sqrt, sqrtf, sqrt)
REAL(exp, expf, exp)
REAL(log, logf, log)
REAL(log1p, log1pf, log1p)
REAL(erf, erff, erf)
REAL(sin, sinf, sin)
REAL(cos, cosf, cos)
REAL(tan, tanf, tan)
REAL(asin, asinf, asin)
REAL(acos, acosf, acos)
REAL(atan, atanf, atan)
REAL(sinh, sinhf, sinh)
REAL(cosh, coshf, cosh)
REAL(tanh, tanhf, tanh)
REAL(asinh, asinhf, asinh)
REAL(acosh, acoshf, acosh)
REAL(atanh, atanhf, atanh)
#undef REAL

// 1 / x within one unit in the last place, subnormal numbers included (PTX ISA 9.7.3, rcp.approx).
inline float approximate_reciprocal(float x) {
    float y;
    asm("rcp.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
inline double approximate_reciprocal(double x) { return 1.0 / x; }

// The normal distribution Phi, whose far left is free of cancellation: erfc(z) / 2 = t / 2 exp(-z^2 + p(t)) with z = |x| / sqrt(2) and
// t = 1 / (1 + z / 2), the form of Press et al., Numerical Recipes, section 6.2. The coefficients are a minimax fit; a result
// is relatively off by 2.5e-7 and what the rounding of x^2 / 2 adds, 1e-6 for |x| < 4. It has no branch.
inline float real_normal(float x) {
    const float z = fabsf(x) * 0.70710678f, t = approximate_reciprocal(__fmaf_rn(0.5f, z, 1.0f));
    float p = 0.06913834f;
    p = __fmaf_rn(p, t, -0.51062870f);
    p = __fmaf_rn(p, t, 1.38675392f);
    p = __fmaf_rn(p, t, -1.68556094f);
    p = __fmaf_rn(p, t, 0.78947288f);
    p = __fmaf_rn(p, t, -0.21096621f);
    p = __fmaf_rn(p, t, 0.43327424f);
    p = __fmaf_rn(p, t, 0.99374968f);
    p = __fmaf_rn(p, t, -1.26523352f);
    float power;
    asm("ex2.approx.f32 %0, %1;" : "=f"(power) : "f"(__fmaf_rn(-0.5f * x, x, p) * 1.44269504f));
    const float left = 0.5f * t * power;
    return x < 0.0f ? left : 1.0f - left;
}
inline double real_normal(double x) { return normcdf(x); }

inline float real_fmod(float x, float y) { return fmodf(x, y); }
inline double real_fmod(double x, double y) { return fmod(x, y); }
inline float real_pow(float x, float y) { return powf(x, y); }
inline double real_pow(double x, double y) { return pow(x, y); }
template <class T> inline T real_mod(T x, T y) {
    T rest = real_fmod(x, y);
    return rest != T(0) && (rest < T(0)) != (y < T(0)) ? rest + y : rest;
}
// For large x the 1 vanishes beside e^x.
template <class T> inline T real_softplus(T x) {
    return (x > T(0) ? x : is_nan(x) ? x : T(0)) + real_log1p(real_exp(-real_abs(x)));
}
template <class T> inline T real_sigmoid(T x) { return approximate_reciprocal(T(1) + real_exp(-x)); }
template <class T> inline T real_swish(T x) { return x * real_sigmoid(x); }
template <class T> inline T real_gelu(T x) { return x * real_normal(x); }
// (1 + tanh t) / 2 = 1 / (1 + e^-2t), without cancellation for negative t; the first factor is sqrt(2 / pi).
template <class T> inline T real_gelu_tanh(T x) {
    T inner = T(0.79788456080286535588) * (x + T(0.044715) * x * x * x);
    return x * real_sigmoid(T(2) * inner);
}
template <class T> inline T real_hard_sigmoid(T x) {
    T line = x / T(6) + T(0.5);
    return line < T(0) ? T(0) : line > T(1) ? T(1) : line;
}
template <class T> inline T real_hard_swish(T x) { return x * real_hard_sigmoid(x); }
template <class T> inline T real_mish(T x) { return x * real_tanh(real_softplus(x)); }

inline i64 integer_neg(i64 x) { return i64(0 - u64(x)); }
inline i64 integer_abs(i64 x) { return x < 0 ? integer_neg(x) : x; }
inline i64 integer_sign(i64 x) { return (x > 0) - (x < 0); }
inline i64 integer_add(i64 x, i64 y) { return i64(u64(x) + u64(y)); }
inline i64 integer_sub(i64 x, i64 y) { return i64(u64(x) - u64(y)); }
inline i64 integer_mul(i64 x, i64 y) { return i64(u64(x) * u64(y)); }
// The quotient of the smallest number and -1 does not exist in the type, and wraps.
inline i64 integer_div(i64 x, i64 y) { return y == 0 ? 0 : y == -1 ? integer_neg(x) : x / y; }
inline i64 integer_fmod(i64 x, i64 y) { return y == 0 || y == -1 ? 0 : x % y; }
inline i64 integer_mod(i64 x, i64 y) {
    i64 rest = integer_fmod(x, y);
    return rest != 0 && (rest < 0) != (y < 0) ? rest + y : rest;
}
inline i64 unsigned_pow(i64 x, i64 y) {
    u64 base = u64(x), power = u64(y) > 0xFFFFFFFFull ? 0xFFFFFFFFull : u64(y), result = 1;
    for (; power != 0; power >>= 1, base *= base)
        if (power & 1) result *= base;
    return i64(result);
}
// A negative power is that of the float, towards zero: 0 gives infinity, which saturates in 128 bits.
inline i64 integer_pow(i64 x, i64 y) {
    if (y >= 0) return unsigned_pow(x, y);
    return x == 1 ? 1 : x == -1 ? (y & 1 ? -1 : 1) : x == 0 ? -1 : 0;
}
inline i64 integer_min(i64 x, i64 y) { return x < y ? x : y; }
inline i64 integer_max(i64 x, i64 y) { return x > y ? x : y; }
inline i64 integer_bit_and(i64 x, i64 y) { return x & y; }
inline i64 integer_bit_or(i64 x, i64 y) { return x | y; }
inline i64 integer_bit_xor(i64 x, i64 y) { return x ^ y; }
inline i64 integer_and(i64 x, i64 y) { return x & y; }
inline i64 integer_or(i64 x, i64 y) { return x | y; }
inline i64 integer_xor(i64 x, i64 y) { return x ^ y; }
inline i64 integer_shift_left(i64 x, i64 y) { return u64(y) < 64 ? i64(u64(x) << y) : 0; }
inline i64 integer_shift_right(i64 x, i64 y) { return x >> (y < 0 ? 0 : y > 63 ? 63 : y); }
inline i64 integer_equal(i64 x, i64 y) { return x == y; }
inline i64 integer_less(i64 x, i64 y) { return x < y; }
inline i64 integer_less_or_equal(i64 x, i64 y) { return x <= y; }

// Operations on u64 that differ from those on i64.
inline i64 unsigned_abs(i64 x) { return x; }
inline i64 unsigned_sign(i64 x) { return x != 0; }
inline i64 unsigned_div(i64 x, i64 y) { return y == 0 ? 0 : i64(u64(x) / u64(y)); }
inline i64 unsigned_fmod(i64 x, i64 y) { return y == 0 ? 0 : i64(u64(x) % u64(y)); }
inline i64 unsigned_mod(i64 x, i64 y) { return unsigned_fmod(x, y); }
inline i64 unsigned_min(i64 x, i64 y) { return u64(x) < u64(y) ? x : y; }
inline i64 unsigned_max(i64 x, i64 y) { return u64(x) > u64(y) ? x : y; }
inline i64 unsigned_shift_right(i64 x, i64 y) { return u64(y) < 64 ? i64(u64(x) >> y) : 0; }
inline i64 unsigned_less(i64 x, i64 y) { return u64(x) < u64(y); }
inline i64 unsigned_less_or_equal(i64 x, i64 y) { return u64(x) <= u64(y); }
