// Element types: how they lie in memory, how registers carry them, and conversions as `sinter-ops` defines them.
//
// Registers carry floats of at most 32 bits as float, f64 as double, integers and bools as i64 (u64 as its bits). While a
// network runs, types below eight bits take one byte per element.
#pragma once
#include "previous.cuh"

typedef long long i64;
typedef int i32;
typedef short i16;
typedef signed char i8;
typedef unsigned long long u64;
typedef unsigned int u32;
typedef unsigned short u16;
typedef unsigned char u8;

struct f16 { u16 bits; };
struct bf16 { u16 bits; };
struct boolean { u8 code; };
// Integers of fewer than eight bits.
template <int BITS, bool SIGNED> struct small { u8 code; };
typedef small<4, true> i4;
typedef small<2, true> i2;
typedef small<4, false> u4;
typedef small<2, false> u2;

// The meaning of the codes with the largest exponent; see `sinter-base`, minifloat.rs.
enum Top { IEEE, ONE_NAN, NEGATIVE_ZERO_IS_NAN, FINITE };
template <int EXPONENT, int MANTISSA, int BIAS, bool SIGNED, Top TOP> struct mini { u8 code; };
typedef mini<4, 3, 7, true, ONE_NAN> f8e4m3fn;
typedef mini<4, 3, 8, true, NEGATIVE_ZERO_IS_NAN> f8e4m3fnuz;
typedef mini<5, 2, 15, true, IEEE> f8e5m2;
typedef mini<5, 2, 16, true, NEGATIVE_ZERO_IS_NAN> f8e5m2fnuz;
typedef mini<8, 0, 127, false, ONE_NAN> f8e8m0;
typedef mini<2, 1, 1, true, FINITE> f4e2m1;

template <class A, class B> struct Same { static constexpr bool value = false; };
template <class A> struct Same<A, A> { static constexpr bool value = true; };
template <class A, class B> constexpr bool same = Same<A, B>::value;

// The numbers of faults are those of `Fault` in kernel.rs.
#define FAULT_INDEX 1u

// Sets the fault word, which the host reads when the work has ended.
inline void report(u32* fault, u32 number) { atomicExch_system(fault, number); }

// The threads of a grid take the numbers below `count` in turns.
template <class F> inline void each(i64 count, F visit) {
    for (i64 at = i64(blockIdx.x) * blockDim.x + threadIdx.x; at < count; at += i64(gridDim.x) * blockDim.x) visit(at);
}

inline u32 bits_of(float v) { return __float_as_uint(v); }
inline float of_bits(u32 bits) { return __uint_as_float(bits); }
inline float not_a_number() { return of_bits(0x7FC00000u); }
inline bool is_nan(float v) { return v != v; }
inline bool is_nan(double v) { return v != v; }

// Formats of at most eight bits: exponent and mantissa as `minifloat.rs` defines them.
template <int EXPONENT, int MANTISSA, int BIAS, bool SIGNED, Top TOP> struct Format {
    static constexpr int MAGNITUDE_BITS = EXPONENT + MANTISSA;
    static constexpr u32 ALL = (1u << MAGNITUDE_BITS) - 1;
    static constexpr u32 SIGN = SIGNED ? 1u << MAGNITUDE_BITS : 0;
    static constexpr u32 SPECIAL = ((1u << EXPONENT) - 1) << MANTISSA;
    static constexpr u32 LARGEST = TOP == IEEE ? SPECIAL - 1 : TOP == ONE_NAN ? ALL - 1 : ALL;
    static constexpr u32 NAN_CODE = TOP == IEEE      ? SPECIAL | (1u << (MANTISSA > 0 ? MANTISSA - 1 : 0))
                                    : TOP == ONE_NAN ? ALL
                                                     : 1u << MAGNITUDE_BITS;

    static float decode(u32 code) {
        u32 magnitude = code & ALL;
        bool negative = SIGNED && (code >> MAGNITUDE_BITS) & 1;
        if (magnitude > LARGEST) {
            if (TOP != IEEE || magnitude != LARGEST + 1) return not_a_number();
            return of_bits(negative ? 0xFF800000u : 0x7F800000u);
        }
        if (negative && magnitude == 0 && TOP == NEGATIVE_ZERO_IS_NAN) return not_a_number();
        int exponent = int(magnitude >> MANTISSA);
        int mantissa = int(magnitude & ((1u << MANTISSA) - 1));
        float value = exponent == 0 && SIGNED ? ldexpf(float(mantissa), 1 - BIAS - MANTISSA)
                                              : ldexpf(float(mantissa + (1 << MANTISSA)), exponent - BIAS - MANTISSA);
        return negative ? -value : value;
    }

    // The code of the nearest magnitude, ties to the even code; one above the largest for what rounds beyond it.
    static u32 nearest(float a) {
        if (a == 0) return 0;
        if (a > 3.4028234e38f) return LARGEST + 1;
        int exponent = ilogbf(a);
        constexpr int LEAST = SIGNED ? 1 - BIAS : -BIAS;
        if (exponent < LEAST) {
            if (!SIGNED) return 0;
            exponent = LEAST;
        }
        u32 code;
        if (MANTISSA == 0) {
            u32 below = u32(exponent + BIAS);
            float rest = ldexpf(a, -exponent);
            code = below + (rest > 1.5f || (rest == 1.5f && (below & 1)) ? 1 : 0);
        } else {
            // Scaling by a power of two is exact, and the function rounds ties to even.
            int steps = __float2int_rn(ldexpf(a, MANTISSA - exponent));
            code = u32(((exponent + BIAS - 1) << MANTISSA) + steps);
        }
        return code > LARGEST ? LARGEST + 1 : code;
    }

    static u32 encode(float v, bool saturate) {
        u32 sign = bits_of(v) >> 31 ? SIGN : 0;
        if (is_nan(v)) return TOP == IEEE || TOP == ONE_NAN ? NAN_CODE | sign : NAN_CODE;
        if (!SIGNED && v < 0) return NAN_CODE;
        u32 magnitude = nearest(fabsf(v));
        if (magnitude > LARGEST) {
            if (saturate || TOP == FINITE) return LARGEST | sign;
            if (TOP == IEEE) return (LARGEST + 1) | sign;
            return TOP == ONE_NAN ? NAN_CODE | sign : NAN_CODE;
        }
        if (magnitude == 0 && TOP == NEGATIVE_ZERO_IS_NAN) return 0;
        return magnitude | sign;
    }
};

// The code of a scale (f8e8m0): rounding 0 is up, 1 down, 2 to the nearer power of two, ties up.
inline u32 encode_scale(float v, int rounding, bool saturate) {
    if (is_nan(v) || v < 0) return 0xFF;
    if (v == 0) return 0;
    int code = 255;
    if (v <= 3.4028234e38f) {
        int exponent = ilogbf(v);
        float rest = ldexpf(v, -exponent);
        bool up = rounding == 0 ? rest > 1.0f : rounding == 2 && rest >= 1.5f;
        code = exponent + (up ? 1 : 0) + 127;
    }
    if (code < 0) return 0;
    return code > 254 ? (saturate ? 254 : 0xFF) : u32(code);
}

// Wide: the type that carries an element. load and store keep values that the type represents.
template <class T> struct Element {
    typedef i64 Wide;
    static Wide load(T v) { return i64(v); }
    static T store(Wide v) { return T(v); }
};
template <> struct Element<float> {
    typedef float Wide;
    static Wide load(float v) { return v; }
    static float store(Wide v) { return v; }
};
template <> struct Element<double> {
    typedef double Wide;
    static Wide load(double v) { return v; }
    static double store(Wide v) { return v; }
};
template <> struct Element<f16> {
    typedef float Wide;
    static Wide load(f16 v) {
        float wide;
        asm("cvt.f32.f16 %0, %1;" : "=f"(wide) : "h"(v.bits));
        return wide;
    }
    static f16 store(Wide v) {
        f16 narrow;
        asm("cvt.rn.f16.f32 %0, %1;" : "=h"(narrow.bits) : "f"(v));
        return narrow;
    }
};
template <> struct Element<bf16> {
    typedef float Wide;
    static Wide load(bf16 v) { return of_bits(u32(v.bits) << 16); }
    static bf16 store(Wide v) {
        bf16 narrow;
#if __CUDA_ARCH__ >= 800
        asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(narrow.bits) : "f"(v));
#else
        u32 bits = bits_of(v);
        // To the nearest, ties to even; a NaN keeps a bit of its mantissa.
        narrow.bits = is_nan(v) ? u16((bits >> 16) | 0x40) : u16((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
#endif
        return narrow;
    }
};
template <int E, int M, int B, bool S, Top T> struct Element<mini<E, M, B, S, T>> {
    typedef float Wide;
    static Wide load(mini<E, M, B, S, T> v) { return Format<E, M, B, S, T>::decode(v.code); }
    static mini<E, M, B, S, T> store(Wide v) {
        // Values are on the format's grid already; infinities and NaN must not saturate a second time.
        return {u8(Format<E, M, B, S, T>::encode(v, false))};
    }
};
template <> struct Element<boolean> {
    typedef i64 Wide;
    static Wide load(boolean v) { return v.code != 0; }
    static boolean store(Wide v) { return {u8(v != 0)}; }
};
template <int BITS, bool SIGNED> struct Element<small<BITS, SIGNED>> {
    typedef i64 Wide;
    static Wide load(small<BITS, SIGNED> v) {
        i64 code = v.code & ((1 << BITS) - 1);
        return SIGNED ? (code << (64 - BITS)) >> (64 - BITS) : code;
    }
    // A byte, sign-extended, as `View` in `sinter-base` defines it.
    static small<BITS, SIGNED> store(Wide v) { return {u8(load({u8(v)}))}; }
};
template <class T> using Wide = typename Element<T>::Wide;
template <class T> constexpr bool is_real = same<Wide<T>, float>;
template <class T> constexpr bool is_double = same<Wide<T>, double>;
template <class T> constexpr bool is_integer = same<Wide<T>, i64>;

// Wraps an integer into a type as two's complement does; bool becomes v != 0.
template <class T> inline i64 wrap(i64 v) { return Element<T>::load(Element<T>::store(v)); }
template <> inline i64 wrap<i64>(i64 v) { return v; }
template <> inline i64 wrap<u64>(i64 v) { return v; }

// The range of an integer type of fewer than 64 bits.
template <class T> struct Range {
    static constexpr int BITS = int(sizeof(T)) * 8;
    static constexpr bool SIGNED = T(-1) < T(0);
};
template <int WIDTH, bool IS_SIGNED> struct Range<small<WIDTH, IS_SIGNED>> {
    static constexpr int BITS = WIDTH;
    static constexpr bool SIGNED = IS_SIGNED;
};

// A float as an integer: towards zero, beyond the range the last one, 0 for NaN; bool is v != 0.
template <class T> inline T saturated(double v) {
    if constexpr (same<T, boolean>) return Element<T>::store(v != 0.0);
    if (is_nan(v)) v = 0.0;
    if constexpr (same<T, u64>) return __double2ull_rz(v);
    else if constexpr (same<T, i64>) return __double2ll_rz(v);
    else {
        constexpr double HIGH = double((1ll << (Range<T>::BITS - (Range<T>::SIGNED ? 1 : 0))) - 1);
        constexpr double LOW = Range<T>::SIGNED ? -HIGH - 1.0 : 0.0;
        return Element<T>::store(i64(v < LOW ? LOW : v > HIGH ? HIGH : v));
    }
}

// Rounding of a float to a narrower type.
template <class T> struct Narrow {
    static float round(float v) { return Element<T>::load(Element<T>::store(v)); }
    static float cast(float v, bool, int) { return round(v); }
};
template <> struct Narrow<float> {
    static float round(float v) { return v; }
    static float cast(float v, bool, int) { return v; }
};
template <int E, int M, int B, bool S, Top T> struct Narrow<mini<E, M, B, S, T>> {
    typedef Format<E, M, B, S, T> F;
    static float round(float v) { return F::decode(F::encode(v, true)); }
    static float cast(float v, bool saturate, int rounding) {
        return F::decode(S ? F::encode(v, saturate) : encode_scale(v, rounding, saturate));
    }
};

// The nearest element to a value that was computed in the type that carries it; integers wrap.
template <class T> inline T narrowed(Wide<T> v) {
    // These instructions round.
    if constexpr (same<T, f16> || same<T, bf16>) return Element<T>::store(v);
    else if constexpr (is_real<T>) return Element<T>::store(Narrow<T>::round(v));
    else return Element<T>::store(v);
}

// Towards zero, and odd where that is not exact: a narrower type then shows on which side of a middle the number lies.
inline float to_odd(double v) {
    if (is_nan(v)) return not_a_number();
    float towards_zero = __double2float_rz(v);
    return double(towards_zero) == v ? towards_zero : of_bits(bits_of(towards_zero) | 1);
}
inline float to_odd(i64 v) {
    float towards_zero = __ll2float_rz(v);
    return i64(towards_zero) == v ? towards_zero : of_bits(bits_of(towards_zero) | 1);
}
inline float to_odd_unsigned(u64 v) {
    float towards_zero = __ull2float_rz(v);
    return u64(towards_zero) == v ? towards_zero : of_bits(bits_of(towards_zero) | 1);
}

// The low 64 bits of a float as an integer of 128 bits, where it saturates; NaN gives 0.
inline i64 integer_of(double v) {
    if (is_nan(v)) return 0;
    if (fabs(v) < 9223372036854775808.0) return i64(v);
    if (fabs(v) >= 170141183460469231731687303715884105728.0) return v > 0 ? -1 : 0;
    u64 bits = u64(__double_as_longlong(v));
    int shift = int((bits >> 52) & 0x7FF) - 1023 - 52;
    u64 magnitude = shift > 63 ? 0 : ((bits & 0xFFFFFFFFFFFFFull) | 0x10000000000000ull) << shift;
    return i64(v > 0 ? magnitude : 0 - magnitude);
}
inline i64 integer_of(float v) { return fabsf(v) < 9223372036854775808.0f ? i64(v) : integer_of(double(v)); }

// A value of type From as a value of type To, as ONNX Cast converts it.
template <class To, class From> inline Wide<To> cast(Wide<From> v, bool saturate, int rounding) {
    if constexpr (same<To, boolean>) {
        return v != 0;
    } else if constexpr (is_integer<To>) {
        if constexpr (is_integer<From>) return wrap<To>(v);
        else return wrap<To>(integer_of(v));
    } else if constexpr (is_double<To>) {
        if constexpr (same<From, u64>) return double(u64(v));
        else return double(v);
    } else {
        float narrow;
        if constexpr (is_real<From>) narrow = v;
        else if constexpr (same<From, u64>) narrow = same<To, float> ? __ull2float_rn(u64(v)) : to_odd_unsigned(u64(v));
        else if constexpr (same<To, float>) narrow = float(v);
        else narrow = to_odd(v);
        return Narrow<To>::cast(narrow, saturate, rounding);
    }
}

// A float that was computed in double or single precision as an element; integers as above.
template <class T, class V> inline T of_float(V v) {
    if constexpr (is_integer<T>) return saturated<T>(double(v));
    else if constexpr (is_real<T> && same<V, double>) return narrowed<T>(cast<T, double>(v, true, 0));
    else return narrowed<T>(Wide<T>(v));
}

// An element in the type that carries it, or an integer in float64.
template <class W, class T> inline W as(T v) {
    if constexpr (same<W, Wide<T>>) return Element<T>::load(v);
    else return cast<double, T>(Element<T>::load(v), true, 0);
}

// An element of a value that was computed so.
template <class T, class W> inline T stored(W v) {
    if constexpr (is_integer<T> && same<W, double>) return saturated<T>(v);
    else return narrowed<T>(v);
}

// V consecutive elements, loaded and stored at once.
template <int BYTES> struct Raw;
template <> struct Raw<1> { typedef u8 Type; };
template <> struct Raw<2> { typedef u16 Type; };
template <> struct Raw<4> { typedef u32 Type; };
template <> struct Raw<8> { typedef uint2 Type; };
template <> struct Raw<16> { typedef uint4 Type; };

template <class T, int V> struct alignas(sizeof(T) * V) Vector {
    T lane[V];

    static Vector load(const void* address) {
        typedef typename Raw<sizeof(T) * V>::Type Whole;
        Vector vector;
        *reinterpret_cast<Whole*>(&vector) = *reinterpret_cast<const Whole*>(address);
        return vector;
    }
    void store(void* address) const {
        typedef typename Raw<sizeof(T) * V>::Type Whole;
        *reinterpret_cast<Whole*>(address) = *reinterpret_cast<const Whole*>(this);
    }
};

constexpr int RANK = 8;

// The place of element `at` of a space of these axes, outermost first, by the distances of neighbours.
inline i64 placed(i64 at, int rank, const i64* sizes, const i64* strides) {
    i64 place = 0;
    for (int axis = rank - 1; axis >= 0; --axis) {
        const i64 outer = at / sizes[axis];
        place += (at - outer * sizes[axis]) * strides[axis];
        at = outer;
    }
    return place;
}

// How a tensor lies: rows of `inner` consecutive elements that begin `step` elements apart; `inner` is 0 where all elements
// are consecutive.
struct View {
    char* data;
    i64 inner;
    i64 step;

    template <class I> I place(I at) const { return inner == 0 ? at : at / I(inner) * I(step) + at % I(inner); }
    template <class T, class I> T* at(I position) const { return reinterpret_cast<T*>(data) + place(position); }
};
