// A copy between two strided views. The generated header names the type T of as many bytes as an element.
#include "types.cuh"
#include "generated.cuh"

struct End {
    View view;
    i64 first;
    i64 strides[RANK];
};

struct Parameters {
    i64 count;
    i64 rank;
    i64 sizes[RANK];
    End from;
    End to;
};

// Places of element `at` of the space in both ends, without the axes behind `rank`.
template <class I> inline void locate(const Parameters& p, int rank, I at, I& from, I& to) {
    from = I(p.from.first);
    to = I(p.to.first);
    for (int axis = rank - 1; axis > 0; --axis) {
        const I size = I(p.sizes[axis]);
        const I outer = at / size, index = at - outer * size;
        from += index * I(p.from.strides[axis]);
        to += index * I(p.to.strides[axis]);
        at = outer;
    }
    if (rank > 0) {
        from += at * I(p.from.strides[0]);
        to += at * I(p.to.strides[0]);
    }
}

template <int V, class I> inline void run(const Parameters& p) {
    const I vectors = I(p.count / V);
    for (I vector = I(blockIdx.x) * blockDim.x + threadIdx.x; vector < vectors; vector += I(gridDim.x) * blockDim.x) {
        I from, to;
        locate<I>(p, int(p.rank), vector * V, from, to);
        Vector<T, V>::load(p.from.view.at<T>(from)).store(p.to.view.at<T>(to));
    }
}

extern "C" __global__ void vectors(const __grid_constant__ Parameters p) { follow_previous(); run<WIDTH, i32>(p); }
extern "C" __global__ void elements(const __grid_constant__ Parameters p) { follow_previous(); run<1, i32>(p); }
extern "C" __global__ void large(const __grid_constant__ Parameters p) { follow_previous(); run<1, i64>(p); }

// The source is consecutive along the last axis but one, the target along the last one: tiles of both turn in shared memory.
extern "C" __global__ void transposed(const __grid_constant__ Parameters p) {
    follow_previous();
    constexpr int TILE = 32;
    __shared__ T tile[TILE][TILE + 1];
    const int rank = int(p.rank);
    const i32 a = i32(p.sizes[rank - 2]), b = i32(p.sizes[rank - 1]);
    const i32 tiles_a = (a + TILE - 1) / TILE, tiles_b = (b + TILE - 1) / TILE;
    const i32 tiles = i32(p.count / a / b) * tiles_a * tiles_b;
    const int x = threadIdx.x % TILE, y = threadIdx.x / TILE, rows = blockDim.x / TILE;
    for (i32 which = blockIdx.x; which < tiles; which += gridDim.x) {
        const i32 first_b = which % tiles_b * TILE, first_a = which / tiles_b % tiles_a * TILE;
        i32 from, to;
        locate<i32>(p, rank - 2, which / tiles_b / tiles_a, from, to);
        for (int row = y; row < TILE; row += rows) {
            const i32 at_a = first_a + x, at_b = first_b + row;
            if (at_a < a && at_b < b) {
                tile[row][x] = *p.from.view.at<T>(from + at_a * i32(p.from.strides[rank - 2]) + at_b * i32(p.from.strides[rank - 1]));
            }
        }
        __syncthreads();
        for (int row = y; row < TILE; row += rows) {
            const i32 at_a = first_a + row, at_b = first_b + x;
            if (at_a < a && at_b < b) {
                *p.to.view.at<T>(to + at_a * i32(p.to.strides[rank - 2]) + at_b * i32(p.to.strides[rank - 1])) = tile[x][row];
            }
        }
        __syncthreads();
    }
}
