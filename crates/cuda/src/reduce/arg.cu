// The position of the largest or smallest element of each group. The generated header names the element type T, and which of
// equal elements counts.
#include "groups.cuh"
#include "generated.cuh"

struct Parameters {
    Groups groups;
    const T* x;
    i64* y;
};

typedef Wide<T> W;

// An element and its position, -1 for none.
struct Best {
    W value;
    i64 at;
};

template <class V> inline bool less(V a, V b) {
    if constexpr (same<V, i64>) return UNSIGNED ? u64(a) < u64(b) : a < b;
    else return a < b;
}

template <class V> inline bool is_not_a_number(V v) {
    if constexpr (same<V, i64>) return false;
    else return is_nan(v);
}

// Of two elements, whatever their order, the one that counts.
inline Best better(Best a, Best b) {
    if (a.at < 0) return b;
    if (b.at < 0) return a;
    const bool a_is_nan = is_not_a_number(a.value), b_is_nan = is_not_a_number(b.value);
    const bool equal = a_is_nan && b_is_nan || a.value == b.value;
    if (equal) return (a.at < b.at) != SELECT_LAST ? a : b;
    if (a_is_nan || b_is_nan) return a_is_nan ? a : b;
    return less(a.value, b.value) != LARGEST ? a : b;
}

inline Best from_lane(Best best, int distance) {
    return {__shfl_xor_sync(~0u, best.value, distance), __shfl_xor_sync(~0u, best.at, distance)};
}

template <int SIZE> inline void run(const Parameters& p) {
    typedef Team<SIZE> Own;
    for (i64 group = Own::first_group(); group < p.groups.groups; group += Own::teams()) {
        const T* x = p.x + p.groups.first(group);
        Best best = {W(0), -1};
        for (i64 at = Own::rank(); at < p.groups.members; at += SIZE) best = better(best, {Element<T>::load(x[p.groups.member(at)]), at});
        if constexpr (SIZE > 1) {
            for (int distance = 16; distance > 0; distance /= 2) best = better(best, from_lane(best, distance));
        }
        if constexpr (SIZE > 32) {
            __shared__ Best warps[8];
            __syncthreads();
            if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = best;
            __syncthreads();
            for (int warp = 0; warp < 8; ++warp) best = better(best, warps[warp]);
        }
        if (Own::rank() == 0) p.y[group] = best.at;
    }
}

extern "C" __global__ void by_thread(const __grid_constant__ Parameters p) { follow_previous(); run<1>(p); }
extern "C" __global__ void by_warp(const __grid_constant__ Parameters p) { follow_previous(); run<32>(p); }
extern "C" __global__ void by_block(const __grid_constant__ Parameters p) { follow_previous(); run<256>(p); }
