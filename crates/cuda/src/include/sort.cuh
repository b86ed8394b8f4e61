// Sorting by a bitonic network: lines of positions, which a comparison of two positions of a line orders. Lines are filled up
// to a power of two with positions behind the last one, which come last. The comparison decides between any two positions, so
// that the order is one, whatever the network.
#pragma once
#include "math.cuh"

struct Sorting {
    i64 lines;
    i64 length;
    // The length filled up, a power of two.
    i64 padded;
    i64* positions;
    // The stage of the network, which makes runs of this length, and its step.
    i64 run;
    i64 distance;

    i64 count() const { return lines * padded; }
};

// Positions that a block sorts in shared memory.
constexpr int CHUNK = 1024;
constexpr int SORTERS = 256;

// Puts two positions in order, in the direction that the stage gives the first one's run.
template <class F> inline void exchange(const Sorting& s, i64 line, i64 at, i64 run, i64& a, i64& b, F before) {
    const bool is_falling = (at & run) != 0 && run < s.padded;
    const bool is_late = b < s.length && (a >= s.length || before(line, b, a));
    // Two positions of the filling are in order as they are; a filling never comes before a position.
    const bool swaps = a >= s.length && b >= s.length ? false : is_falling ? !is_late : is_late;
    if (swaps) {
        const i64 other = a;
        a = b;
        b = other;
    }
}

// Steps of stages up to runs of `last` with distances that a chunk holds, from runs of `first` on.
template <class F> inline void sort_chunks(const Sorting& s, i64 first, i64 last, bool starts, F before) {
    __shared__ i64 chunk[CHUNK];
    for (i64 begin = i64(blockIdx.x) * CHUNK; begin < s.count(); begin += i64(gridDim.x) * CHUNK) {
        const int own = s.count() - begin < CHUNK ? int(s.count() - begin) : CHUNK;
        for (int at = threadIdx.x; at < own; at += SORTERS) chunk[at] = starts ? (begin + at) & (s.padded - 1) : s.positions[begin + at];
        __syncthreads();
        for (i64 run = first; run <= last; run *= 2) {
            for (i64 distance = run / 2 < CHUNK / 2 ? run / 2 : CHUNK / 2; distance > 0; distance /= 2) {
                for (int pair = threadIdx.x; pair < own / 2; pair += SORTERS) {
                    const int at = int((pair / distance) * distance * 2 + pair % distance);
                    const i64 whole = begin + at;
                    exchange(s, whole / s.padded, whole & (s.padded - 1), run, chunk[at], chunk[at + distance], before);
                }
                __syncthreads();
            }
        }
        for (int at = threadIdx.x; at < own; at += SORTERS) s.positions[begin + at] = chunk[at];
        __syncthreads();
    }
}

// One step whose distance is longer than a chunk.
template <class F> inline void sort_step(const Sorting& s, F before) {
    each(s.count() / 2, [&](i64 pair) {
        const i64 at = pair / s.distance * s.distance * 2 + pair % s.distance;
        exchange(s, at / s.padded, at & (s.padded - 1), s.run, s.positions[at], s.positions[at + s.distance], before);
    });
}

// The functions of a kernel that sorts: `before(p, line, a, b)` says whether position a of a line comes before b.
#define SORT_FUNCTIONS(Parameters)                                                                                      \
    extern "C" __global__ void sort_first(const __grid_constant__ Parameters p) {                                       \
        const i64 last = p.sorting.padded < CHUNK ? p.sorting.padded : CHUNK;                                           \
        sort_chunks(p.sorting, 2, last, true, [&](i64 line, i64 a, i64 b) { return before(p, line, a, b); });           \
    }                                                                                                                   \
    extern "C" __global__ void sort_far(const __grid_constant__ Parameters p) {                                         \
        sort_step(p.sorting, [&](i64 line, i64 a, i64 b) { return before(p, line, a, b); });                            \
    }                                                                                                                   \
    extern "C" __global__ void sort_near(const __grid_constant__ Parameters p) {                                        \
        const i64 run = p.sorting.run;                                                                                  \
        sort_chunks(p.sorting, run, run, false, [&](i64 line, i64 a, i64 b) { return before(p, line, a, b); });         \
    }

// Does a value come before another one in rising order? NaN is larger than every number, all NaNs are equal.
template <bool IS_UNSIGNED, class V> inline bool is_less(V a, V b) {
    if constexpr (same<V, i64>) return IS_UNSIGNED ? u64(a) < u64(b) : a < b;
    else return a < b || (is_nan(b) && !is_nan(a));
}
