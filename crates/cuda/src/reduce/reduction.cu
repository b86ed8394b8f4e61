// One value from each group of elements. The generated header names the element type T, the type W that carries values, the
// reduction KIND, and for integers the least and largest number and the comparison.
#include "groups.cuh"

enum { SUM, MEAN, PRODUCT, MAX, MIN, L1, L2, LOG_SUM, LOG_SUM_EXP, SUM_SQUARE };
#include "generated.cuh"

struct Parameters {
    Groups groups;
    const T* x;
    T* y;
    // Parts of a group, and by part two numbers: its value and shift.
    i64 parts;
    W* partial;
};

// Templates, so that only the branch of the type at hand is compiled.
template <class V> inline V infinity(bool negative) {
    if constexpr (same<V, i64>) return 0;
    else return V(of_bits(negative ? 0xFF800000u : 0x7F800000u));
}

template <class V> inline V largest(V a, V b) {
    if constexpr (same<V, i64>) return integer_largest(a, b);
    else return real_max(a, b);
}

template <class V> inline V least(V a, V b) {
    if constexpr (same<V, i64>) return integer_least(a, b);
    else return real_min(a, b);
}

template <class V> inline V times(V a, V b) {
    if constexpr (same<V, i64>) return wrap<T>(integer_mul(a, b));
    else return a * b;
}

template <class V> inline V combine(V a, V b) {
    return KIND == PRODUCT ? times(a, b) : KIND == MAX ? largest(a, b) : KIND == MIN ? least(a, b) : plus(a, b);
}

template <class V> inline V start() {
    if (KIND == PRODUCT) return V(1);
    if (KIND == MAX) return same<V, i64> ? V(LOW) : infinity<V>(true);
    if (KIND == MIN) return same<V, i64> ? V(HIGH) : infinity<V>(false);
    return V(0);
}

// What an element adds to a sum.
template <class V> inline V term(V v, V shift) {
    if constexpr (same<V, i64>) {
        return KIND == L1 ? integer_abs(v) : KIND == SUM_SQUARE ? integer_mul(v, v) : v;
    } else {
        if (KIND == L1) return real_abs(v);
        if (KIND == LOG_SUM_EXP) return real_exp(v - shift);
        return KIND == L2 || KIND == SUM_SQUARE ? v * v : v;
    }
}

template <class V> inline V finish(V v, i64 members, V shift) {
    if constexpr (same<V, i64>) {
        return KIND == MEAN ? integer_div(v, members) : v;
    } else {
        if (KIND == MEAN) return v / V(members);
        if (KIND == L2) return real_sqrt(v);
        if (KIND == LOG_SUM) return real_log(v);
        if (KIND == LOG_SUM_EXP) return isfinite(shift) ? shift + real_log(v) : shift;
        return v;
    }
}

// The value of a part of a group's members, and for logarithms of sums of powers the shift that it is relative to.
template <int SIZE> struct Folded {
    typedef Team<SIZE> Own;
    W value;
    W shift;

    Folded(const Parameters& p, const T* x, i64 begin, i64 end) : shift(0) {
        const auto at = [&](i64 member) { return as<W, T>(x[p.groups.member(member)]); };
        if (KIND == LOG_SUM_EXP) {
            shift = infinity<W>(true);
            for (i64 member = begin + Own::rank(); member < end; member += SIZE) shift = largest(shift, at(member));
            shift = Own::all(shift, [](W a, W b) { return largest(a, b); });
        }
        value = start<W>();
        if (KIND == PRODUCT || KIND == MAX || KIND == MIN) {
            for (i64 member = begin + Own::rank(); member < end; member += SIZE) value = combine(value, at(member));
        } else {
            Sum<W> sum;
            for (i64 member = begin + Own::rank(); member < end; member += SIZE) sum.add(term(at(member), shift));
            value = sum.value();
        }
        value = Own::all(value, [](W a, W b) { return combine(a, b); });
    }
};

template <int SIZE> inline void run(const Parameters& p) {
    typedef Team<SIZE> Own;
    for (i64 group = Own::first_group(); group < p.groups.groups; group += Own::teams()) {
        const Folded<SIZE> all(p, p.x + p.groups.first(group), 0, p.groups.members);
        if (Own::rank() == 0) p.y[group] = stored<T>(finish(all.value, p.groups.members, all.shift));
    }
}

extern "C" __global__ void by_thread(const __grid_constant__ Parameters p) { follow_previous(); run<1>(p); }
extern "C" __global__ void by_warp(const __grid_constant__ Parameters p) { follow_previous(); run<32>(p); }
extern "C" __global__ void by_block(const __grid_constant__ Parameters p) { follow_previous(); run<256>(p); }

// A block folds a part of a group.
extern "C" __global__ void fold_parts(const __grid_constant__ Parameters p) {
    follow_previous();
    const i64 length = (p.groups.members + p.parts - 1) / p.parts;
    for (i64 which = blockIdx.x; which < p.groups.groups * p.parts; which += gridDim.x) {
        const i64 begin = which % p.parts * length, end = begin + length < p.groups.members ? begin + length : p.groups.members;
        const Folded<256> part(p, p.x + p.groups.first(which / p.parts), begin, end);
        if (threadIdx.x == 0) {
            p.partial[2 * which] = part.value;
            p.partial[2 * which + 1] = part.shift;
        }
    }
}

// What a part adds to a logarithm of a sum of powers that is relative to another shift; nothing without a power above zero.
template <class V> inline V shifted(V value, V own, V shift) {
    if constexpr (same<V, i64>) return value;
    else return own == infinity<V>(true) ? V(0) : value * real_exp(own - shift);
}

// A block joins the parts of a group, always in the same order.
extern "C" __global__ void join_parts(const __grid_constant__ Parameters p) {
    follow_previous();
    typedef Team<256> Own;
    for (i64 group = blockIdx.x; group < p.groups.groups; group += gridDim.x) {
        const W* parts = p.partial + 2 * group * p.parts;
        W shift = 0;
        if (KIND == LOG_SUM_EXP) {
            shift = infinity<W>(true);
            for (i64 part = threadIdx.x; part < p.parts; part += 256) shift = largest(shift, parts[2 * part + 1]);
            shift = Own::all(shift, [](W a, W b) { return largest(a, b); });
        }
        W value = start<W>();
        for (i64 part = threadIdx.x; part < p.parts; part += 256) {
            const W own = parts[2 * part];
            value = combine(value, KIND == LOG_SUM_EXP ? shifted(own, parts[2 * part + 1], shift) : own);
        }
        value = Own::all(value, [](W a, W b) { return combine(a, b); });
        if (threadIdx.x == 0) p.y[group] = stored<T>(finish(value, p.groups.members, shift));
    }
}
