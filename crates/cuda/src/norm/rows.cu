// Rows divided by a measure of their own, after the mean is subtracted for the deviation, and the epilogue on them: each row is
// read once, into registers. The generated header names what `matrices.cuh` says, and MEASURE.
#include "matrices.cuh"

enum { DEVIATION, ROOT_MEAN_SQUARE };

struct Parameters {
    i64 rows, columns;
    const T* x;
    R* y;
    // May eight elements of a row be loaded at once, and stored?
    i64 wide_x, wide_y;
    double epsilon;
    // Axes of the rows, outermost first.
    i64 rank;
    i64 sizes[RANK];
    Beside beside[BESIDE > 0 ? BESIDE : 1];
};

// Chunks of eight elements that a thread keeps.
constexpr int KEPT = 4;
constexpr int MOST_WARPS = 8;

// Sums over a warp, or over all warps of a block, in a fixed order.
template <bool BLOCK> inline float sum_of_all(float value) {
#pragma unroll
    for (int distance = 16; distance > 0; distance /= 2) value += __shfl_xor_sync(~0u, value, distance);
    if constexpr (BLOCK) {
        __shared__ float warps[MOST_WARPS];
        // The values of an earlier call may still be in use.
        __syncthreads();
        if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = value;
        __syncthreads();
        value = 0;
        for (int warp = 0; warp < int(blockDim.x / 32); ++warp) value += warps[warp];
    }
    return value;
}

// One row by `size` threads. Threads keep the row if IS_KEPT, else they read it three times.
template <bool BLOCK, bool IS_KEPT> inline void normalize(const Parameters& p, i64 row, int rank, int size) {
    const T* x = p.x + row * p.columns;
    R* y = p.y + row * p.columns;
    const int chunks = IS_KEPT ? KEPT : int((p.columns + size * LANES - 1) / (i64(size) * LANES));
    const auto column = [&](int chunk) { return (i64(chunk) * size + rank) * LANES; };
    const auto count = [&](int chunk) {
        const i64 left = p.columns - column(chunk);
        return left < 0 ? 0 : left < LANES ? int(left) : LANES;
    };
    const auto read = [&](int chunk) { return eight<T, true>(x + column(chunk), 1, count(chunk), p.wide_x != 0); };
    Eight<T> kept[KEPT];
    if constexpr (IS_KEPT) {
#pragma unroll
        for (int chunk = 0; chunk < KEPT; ++chunk)
            if (count(chunk) > 0) kept[chunk] = read(chunk);
    }
    // Calls `visit(chunk, its elements, their number)` for the chunks of this thread.
    const auto visit_all = [&](auto visit) {
        if constexpr (IS_KEPT) {
#pragma unroll
            for (int chunk = 0; chunk < KEPT; ++chunk)
                if (count(chunk) > 0) visit(chunk, kept[chunk], count(chunk));
        } else {
            for (int chunk = 0; chunk < chunks; ++chunk)
                if (count(chunk) > 0) visit(chunk, read(chunk), count(chunk));
        }
    };
    const float members = float(p.columns);
    float mean = 0;
    if (MEASURE == DEVIATION) {
        float sum = 0;
        visit_all([&](int, const Eight<T>& all, int own) {
            float part = 0;
#pragma unroll
            for (int j = 0; j < LANES; ++j)
                if (j < own) part += Element<T>::load(all.lane[j]);
            sum += part;
        });
        mean = sum_of_all<BLOCK>(sum) / members;
    }
    float squares = 0;
    visit_all([&](int, const Eight<T>& all, int own) {
        float part = 0;
#pragma unroll
        for (int j = 0; j < LANES; ++j) {
            const float apart = Element<T>::load(all.lane[j]) - mean;
            if (j < own) part += apart * apart;
        }
        squares += part;
    });
    const float measure = sqrtf(sum_of_all<BLOCK>(squares) / members + float(p.epsilon));
    // Where the operands of the epilogue have their elements of this row.
    i64 places[BESIDE > 0 ? BESIDE : 1] = {};
    if constexpr (BESIDE > 0) {
        i64 rest = row;
        for (int axis = int(p.rank) - 1; axis >= 0; --axis) {
            const i64 outer = rest / p.sizes[axis], index = rest - outer * p.sizes[axis];
#pragma unroll
            for (int i = 0; i < BESIDE; ++i) places[i] += index * p.beside[i].steps[axis];
            rest = outer;
        }
    }
    visit_all([&](int chunk, const Eight<T>& all, int left) {
        const i64 y_column = column(chunk);
        Eight<T> x;
#pragma unroll
        for (int j = 0; j < LANES; ++j) x.lane[j] = narrowed<T>((Element<T>::load(all.lane[j]) - mean) / measure);
#define LOAD(i, E, ROWS, COLUMNS)                                                                                         \
    const Eight<E> x##i = eight<E, COLUMNS>(                                                                              \
        reinterpret_cast<const E*>(p.beside[i].data) + places[i] + (COLUMNS ? y_column * p.beside[i].column : 0),         \
        p.beside[i].column, left, p.beside[i].wide != 0);
        FOR_BESIDE(LOAD)
#undef LOAD
        Eight<R> y_lanes;
        {
            Eight<R>& y = y_lanes;
#pragma unroll
            for (int j = 0; j < LANES; ++j) EPILOGUE(j);
        }
        store_eight<R>(y + y_column, y_lanes, left, p.wide_y != 0);
    });
}

// A warp for each row of at most 32 KEPT chunks.
extern "C" __global__ void __launch_bounds__(256) by_warp(const __grid_constant__ Parameters p) {
    follow_previous();
    const i64 teams = i64(gridDim.x) * blockDim.x / 32;
    for (i64 row = (i64(blockIdx.x) * blockDim.x + threadIdx.x) / 32; row < p.rows; row += teams)
        normalize<false, true>(p, row, int(threadIdx.x % 32), 32);
}

// A block for each row of at most KEPT chunks of each thread.
extern "C" __global__ void __launch_bounds__(256) by_block(const __grid_constant__ Parameters p) {
    follow_previous();
    for (i64 row = blockIdx.x; row < p.rows; row += gridDim.x) normalize<true, true>(p, row, int(threadIdx.x), int(blockDim.x));
}

// A block for each row of any length.
extern "C" __global__ void __launch_bounds__(256) long_rows(const __grid_constant__ Parameters p) {
    follow_previous();
    for (i64 row = blockIdx.x; row < p.rows; row += gridDim.x) normalize<true, false>(p, row, int(threadIdx.x), int(blockDim.x));
}
