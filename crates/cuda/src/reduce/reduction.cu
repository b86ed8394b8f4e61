// One value from each group of elements. The generated header names the element type T, the reduction KIND, and for integers
// the least and largest number and the comparison.
#include "groups.cuh"

enum { SUM, MEAN, PRODUCT, MAX, MIN, L1, L2, LOG_SUM, LOG_SUM_EXP, SUM_SQUARE };
#include "generated.cuh"

struct Parameters {
    Groups groups;
    const T* x;
    T* y;
};

typedef Wide<T> W;

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

template <int SIZE> inline void run(const Parameters& p) {
    typedef Team<SIZE> Own;
    for (i64 group = Own::first_group(); group < p.groups.groups; group += Own::teams()) {
        const T* x = p.x + p.groups.first(group);
        W shift = 0;
        if (KIND == LOG_SUM_EXP) {
            shift = infinity<W>(true);
            for (i64 at = Own::rank(); at < p.groups.members; at += SIZE) shift = largest(shift, Element<T>::load(x[p.groups.member(at)]));
            shift = Own::all(shift, [](W a, W b) { return largest(a, b); });
        }
        W value = start<W>();
        if (KIND == PRODUCT || KIND == MAX || KIND == MIN) {
            for (i64 at = Own::rank(); at < p.groups.members; at += SIZE) value = combine(value, Element<T>::load(x[p.groups.member(at)]));
        } else {
            Sum<W> sum;
            for (i64 at = Own::rank(); at < p.groups.members; at += SIZE) sum.add(term(Element<T>::load(x[p.groups.member(at)]), shift));
            value = sum.value();
        }
        value = Own::all(value, [](W a, W b) { return combine(a, b); });
        if (Own::rank() == 0) p.y[group] = narrowed<T>(finish(value, p.groups.members, shift));
    }
}

extern "C" __global__ void by_thread(const __grid_constant__ Parameters p) { run<1>(p); }
extern "C" __global__ void by_warp(const __grid_constant__ Parameters p) { run<32>(p); }
extern "C" __global__ void by_block(const __grid_constant__ Parameters p) { run<256>(p); }
