// Groups of elements: those that are reduced to one value, or measured together. A team of threads works on one group.
#pragma once
#include "math.cuh"

// Places of a group's elements, as numbers of a contiguous tensor.
struct Groups {
    i64 groups;
    i64 members;
    // By axis of the groups, outermost first: size, and distance of neighbours.
    i64 group_rank;
    i64 group_sizes[RANK];
    i64 group_strides[RANK];
    // The same by axis of the members.
    i64 member_rank;
    i64 member_sizes[RANK];
    i64 member_strides[RANK];

    static i64 place(i64 at, i64 rank, const i64* sizes, const i64* strides) {
        i64 place = 0;
        for (int axis = int(rank) - 1; axis > 0; --axis) {
            const i64 outer = at / sizes[axis];
            place += (at - outer * sizes[axis]) * strides[axis];
            at = outer;
        }
        return place + at * strides[0];
    }
    i64 first(i64 group) const { return place(group, group_rank, group_sizes, group_strides); }
    i64 member(i64 at) const {
        return member_rank == 1 ? at * member_strides[0] : place(at, member_rank, member_sizes, member_strides);
    }
};

// The threads that work on one group: one, a warp or a block of 256.
template <int SIZE> struct Team {
    static constexpr int THREADS = 256;

    static int rank() { return int(threadIdx.x) % SIZE; }
    static i64 first_group() { return (i64(blockIdx.x) * THREADS + threadIdx.x) / SIZE; }
    static i64 teams() { return i64(gridDim.x) * THREADS / SIZE; }

    // The combination of all threads' values, in a fixed order, for every thread.
    template <class T, class F> static T all(T value, F combine) {
        if constexpr (SIZE > 1) {
#pragma unroll
            for (int distance = 16; distance > 0; distance /= 2) value = combine(value, __shfl_xor_sync(~0u, value, distance));
        }
        if constexpr (SIZE > 32) {
            __shared__ T warps[THREADS / 32];
            // The values of an earlier call may still be in use.
            __syncthreads();
            if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = value;
            __syncthreads();
            value = warps[0];
#pragma unroll
            for (int warp = 1; warp < THREADS / 32; ++warp) value = combine(value, warps[warp]);
        }
        return value;
    }
};

template <class T> inline T plus(T a, T b) { return a + b; }
inline i64 plus(i64 a, i64 b) { return integer_add(a, b); }

// A sum whose error does not grow with the number of terms: short sums, and the sum of those.
template <class T> struct Sum {
    T total = 0;
    T part = 0;
    int terms = 0;

    void add(T term) {
        part = plus(part, term);
        if (++terms == 64) {
            total = plus(total, part);
            part = 0;
            terms = 0;
        }
    }
    T value() const { return plus(total, part); }
};
