// The numbers of the elements that a condition selects, in order: segments count theirs, one block adds up the counts, and
// segments number their elements.
#pragma once
#include "math.cuh"

struct Compaction {
    i64 length;
    i64 segments;
    // By segment its count, then the number of its first selected element; behind the last one the total.
    i64* before;
    // Receives the total; null for none.
    i64* total;
};

// Elements of a segment; threads of a block.
constexpr int SEGMENT = 2048;
constexpr int COMPACTORS = 256;

template <class F> inline void count_selected(const Compaction& c, F is_selected) {
    __shared__ int counts[COMPACTORS / 32];
    for (i64 segment = blockIdx.x; segment < c.segments; segment += gridDim.x) {
        int own = 0;
        for (int at = threadIdx.x; at < SEGMENT; at += COMPACTORS) {
            const i64 place = segment * SEGMENT + at;
            own += place < c.length && is_selected(place);
        }
#pragma unroll
        for (int distance = 16; distance > 0; distance /= 2) own += __shfl_xor_sync(~0u, own, distance);
        if (threadIdx.x % 32 == 0) counts[threadIdx.x / 32] = own;
        __syncthreads();
        if (threadIdx.x == 0) {
            int all = 0;
            for (int warp = 0; warp < COMPACTORS / 32; ++warp) all += counts[warp];
            c.before[segment] = all;
        }
        __syncthreads();
    }
}

// One block: the counts of all segments become the sums of those before them.
inline void add_up(const Compaction& c) {
    __shared__ i64 sums[COMPACTORS];
    i64 total = 0;
    for (i64 first = 0; first < c.segments; first += COMPACTORS) {
        const i64 at = first + threadIdx.x;
        const i64 own = at < c.segments ? c.before[at] : 0;
        sums[threadIdx.x] = own;
        __syncthreads();
        for (int distance = 1; distance < COMPACTORS; distance *= 2) {
            const i64 other = int(threadIdx.x) >= distance ? sums[threadIdx.x - distance] : 0;
            __syncthreads();
            sums[threadIdx.x] += other;
            __syncthreads();
        }
        if (at < c.segments) c.before[at] = total + sums[threadIdx.x] - own;
        total += sums[COMPACTORS - 1];
        __syncthreads();
    }
    if (threadIdx.x == 0) {
        c.before[c.segments] = total;
        if (c.total != nullptr) *c.total = total;
    }
}

// Calls visit(element, selected ones before it, whether it is selected) for every element.
template <class F, class V> inline void number_selected(const Compaction& c, F is_selected, V visit) {
    __shared__ int counts[COMPACTORS / 32];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    for (i64 segment = blockIdx.x; segment < c.segments; segment += gridDim.x) {
        i64 before = c.before[segment];
        for (int first = 0; first < SEGMENT; first += COMPACTORS) {
            const i64 place = segment * SEGMENT + first + threadIdx.x;
            const bool is_inside = place < c.length, selected = is_inside && is_selected(place);
            const u32 votes = __ballot_sync(~0u, selected);
            if (lane == 0) counts[warp] = __popc(votes);
            __syncthreads();
            i64 rank = before + __popc(votes & ((1u << lane) - 1));
            for (int other = 0; other < COMPACTORS / 32; ++other) {
                if (other < warp) rank += counts[other];
                before += counts[other];
            }
            if (is_inside) visit(place, rank, selected);
            __syncthreads();
        }
    }
}
