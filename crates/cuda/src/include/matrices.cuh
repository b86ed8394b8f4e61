// The parameters of products of stacked matrices, and the epilogue that turns their sums into results.
//
// The generated header names the types T of the operands and R of the result, the operands of the epilogue beside the product
// (`FOR_BESIDE(X)`, with X(index, type, varies by row, varies by column)), and `EPILOGUE(j)`, which computes y.lane[j] from
// x.lane[j] and x<index>.lane[j].
#pragma once
#include "math.cuh"
#include "generated.cuh"

// An operand of the epilogue.
struct Beside {
    const char* data;
    // Elements from one row and from one column to the next; 0 where an element is repeated.
    i64 row, column;
    // May eight columns be loaded at once?
    i64 wide;
    // Elements from one matrix of the stack to the next, by axis of the stack.
    i64 steps[RANK];
};

struct Matrices {
    i64 m, n, k;
    const T* a;
    const T* b;
    R* y;
    // Elements from one row in memory to the next.
    i64 a_row, b_row, y_row;
    // Elements of a matrix.
    i64 a_size, b_size;
    // May eight columns of the result be stored at once?
    i64 wide;
    // Axes of the stack, and how many matrices of both operands lie between neighbours.
    i64 stacks, rank;
    i64 sizes[RANK], a_steps[RANK], b_steps[RANK];
    Beside beside[BESIDE > 0 ? BESIDE : 1];
};

// The matrices of a position in the stack.
struct Place {
    i64 stack, a, b;
    i64 beside[BESIDE > 0 ? BESIDE : 1];
};

inline Place place_of(const Matrices& p, i64 stack) {
    Place place = {stack};
    i64 rest = stack;
    for (int axis = int(p.rank) - 1; axis >= 0; --axis) {
        const i64 outer = rest / p.sizes[axis], index = rest - outer * p.sizes[axis];
        place.a += index * p.a_steps[axis];
        place.b += index * p.b_steps[axis];
#pragma unroll
        for (int i = 0; i < BESIDE; ++i) place.beside[i] += index * p.beside[i].steps[axis];
        rest = outer;
    }
    return place;
}

// The tile of a number: tiles of a few rows are neighbours, so that they read the same operands while these are in the cache.
struct TileIndex {
    i64 stack;
    int row, column;
};
inline TileIndex tile_of(i64 number, int rows, int columns) {
    constexpr int GROUP = 8;
    const i64 stack = number / (i64(rows) * columns);
    const int rest = int(number - stack * rows * columns), band = rest / (GROUP * columns), first = band * GROUP;
    const int height = rows - first < GROUP ? rows - first : GROUP, inside = rest - band * GROUP * columns;
    return {stack, first + inside % height, inside / height};
}

// Columns that one lane computes.
constexpr int LANES = 8;
template <class E> struct alignas(16) Eight { E lane[LANES]; };

// Eight elements, of which `count` exist; the others repeat the last one.
template <class E, bool VARIES> __forceinline__ Eight<E> eight(const E* at, i64 step, int count, bool wide) {
    Eight<E> all;
    if (!VARIES || step == 0) {
        const E only = *at;
#pragma unroll
        for (int j = 0; j < LANES; ++j) all.lane[j] = only;
    } else if (wide && count >= LANES) {
        if constexpr (sizeof(E) == 1) {
            *reinterpret_cast<uint2*>(&all) = *reinterpret_cast<const uint2*>(at);
        } else {
#pragma unroll
            for (int part = 0; part < int(sizeof(E)) / 2; ++part)
                reinterpret_cast<uint4*>(&all)[part] = reinterpret_cast<const uint4*>(at)[part];
        }
    } else {
#pragma unroll
        for (int j = 0; j < LANES; ++j) all.lane[j] = at[j < count ? j : count - 1];
    }
    return all;
}

template <class E> __forceinline__ void store_eight(E* at, const Eight<E>& all, int count, bool wide) {
    if (wide && count >= LANES) {
        if constexpr (sizeof(E) == 1) {
            *reinterpret_cast<uint2*>(at) = *reinterpret_cast<const uint2*>(&all);
        } else {
#pragma unroll
            for (int part = 0; part < int(sizeof(E)) / 2; ++part)
                reinterpret_cast<uint4*>(at)[part] = reinterpret_cast<const uint4*>(&all)[part];
        }
    } else {
#pragma unroll
        for (int j = 0; j < LANES; ++j)
            if (j < count) at[j] = all.lane[j];
    }
}

// Elements that a warp stages at once: 16 rows of the sums with 8 blocks of 8 columns.
constexpr int STAGED = 16 * 64;
constexpr int STAGED_BYTES = STAGED * int(sizeof(T));

// The sums of one lane in a block of 16 rows and 8 columns: (lane / 4 + 8 (i / 2), lane % 4 * 2 + i % 2) by i.
struct alignas(16) Four { float sums[4]; };

// The sums of a block among those of a lane, by an index that the compiler knows.
template <int N> __forceinline__ Four four_of(const float (&sums)[N], int block) {
    const int at = 4 * block < N ? 4 * block : 0;
    return {{sums[at], sums[at + 1], sums[at + 2], sums[at + 3]}};
}

// Turns sums of one warp into results: 16 rows and `blocks` <= 8 blocks of 8 columns from (row, column) on, all relative to
// the sums. `four(block)` are the sums of a lane. With SWAPPED the sums are the transposed result.
//
// The product is rounded to the type of its operands, as the region says, and staged in shared memory; the epilogue then runs
// on rows of the result, with wide loads and stores.
template <bool SWAPPED, class Get>
__forceinline__ void finish(const Matrices& p, const Place& place, char* staging, i64 row, i64 column, int blocks, Get four) {
    const int lane = threadIdx.x % 32, own = lane / 4, pair = lane % 4 * 2;
    T* staged = reinterpret_cast<T*>(staging);
    __syncwarp();
#pragma unroll
    for (int block = 0; block < 8; ++block) {
        if (block >= blocks) break;
        const Four own_sums = four(block);
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            Eight<T> two;
            two.lane[0] = narrowed<T>(own_sums.sums[2 * half]);
            two.lane[1] = narrowed<T>(own_sums.sums[2 * half + 1]);
            const int line = own + 8 * half;
            if constexpr (SWAPPED) {
                staged[(block * 8 + pair) * 16 + line] = two.lane[0];
                staged[(block * 8 + pair + 1) * 16 + line] = two.lane[1];
            } else {
                *reinterpret_cast<u32*>(staged + line * 64 + ((block ^ (line & 7)) * 8) + pair) = *reinterpret_cast<u32*>(&two);
            }
        }
    }
    __syncwarp();
    const i64 first_row = SWAPPED ? column : row, first_column = SWAPPED ? row : column;
    // Chunks of eight columns of a row of the result.
    const int chunks = SWAPPED ? 2 : blocks, count = 16 * blocks;
#pragma unroll 1
    for (int at = lane; at < count; at += 32) {
        const int line = SWAPPED ? at / 2 : blocks == 8 ? at / 8 : at / chunks, chunk = at - line * chunks;
        const i64 y_row = first_row + line, y_column = first_column + chunk * LANES;
        if (y_row >= p.m || y_column >= p.n) continue;
        const int left = p.n - y_column < LANES ? int(p.n - y_column) : LANES;
        const T* source = SWAPPED ? staged + line * 16 + chunk * 8 : staged + line * 64 + (chunk ^ (line & 7)) * 8;
        const Eight<T> x = *reinterpret_cast<const Eight<T>*>(source);
#define LOAD(i, E, ROWS, COLUMNS)                                                                                         \
    const Eight<E> x##i = eight<E, COLUMNS>(reinterpret_cast<const E*>(p.beside[i].data) + place.beside[i]                \
                                                + (ROWS ? y_row * p.beside[i].row : 0)                                    \
                                                + (COLUMNS ? y_column * p.beside[i].column : 0),                          \
                                            p.beside[i].column, left, p.beside[i].wide != 0);
        FOR_BESIDE(LOAD)
#undef LOAD
        Eight<R> y;
#pragma unroll
        for (int j = 0; j < LANES; ++j) EPILOGUE(j);
        store_eight<R>(p.y + (place.stack * p.m + y_row) * p.y_row + y_column, y, left, p.wide != 0);
    }
}
