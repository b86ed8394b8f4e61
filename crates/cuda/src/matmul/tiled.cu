// A product of stacked matrices by tiles. The generated header names the element type T.
#include "math.cuh"
#include "generated.cuh"

constexpr int TILE = 64;
constexpr int STEP = 16;
// Elements of the result of one thread, along both axes.
constexpr int OWN = 4;

struct Parameters {
    i64 m, n, k;
    const T* a;
    const T* b;
    T* y;
    i64 a_row, a_column, b_row, b_column;
    i64 stacks;
    i64 rank;
    i64 sizes[RANK];
    i64 a_strides[RANK];
    i64 b_strides[RANK];
};

typedef Wide<T> W;

inline W multiply_add(W a, W b, W sum) {
    if constexpr (is_integer<T>) return integer_add(integer_mul(a, b), sum);
    else return a * b + sum;
}

inline W element_at(const T* matrix, i64 row, i64 column, i64 rows, i64 columns, i64 row_stride, i64 column_stride) {
    return row < rows && column < columns ? Element<T>::load(matrix[row * row_stride + column * column_stride]) : W(0);
}

extern "C" __global__ void product(const __grid_constant__ Parameters p) {
    follow_previous();
    __shared__ W left[STEP][TILE + 1];
    __shared__ W right[STEP][TILE + 1];
    const int thread = threadIdx.x, x = thread % (TILE / OWN), y = thread / (TILE / OWN);
    const i64 row0 = i64(blockIdx.x) * TILE;
    for (i64 stack = blockIdx.z; stack < p.stacks; stack += gridDim.z) {
        i64 rest = stack, a_at = 0, b_at = 0;
        for (int axis = int(p.rank) - 1; axis >= 0; --axis) {
            const i64 outer = rest / p.sizes[axis], index = rest - outer * p.sizes[axis];
            a_at += index * p.a_strides[axis];
            b_at += index * p.b_strides[axis];
            rest = outer;
        }
        const T* a = p.a + a_at;
        const T* b = p.b + b_at;
        for (i64 column0 = i64(blockIdx.y) * TILE; column0 < p.n; column0 += i64(gridDim.y) * TILE) {
            W sums[OWN][OWN] = {};
            for (i64 k0 = 0; k0 < p.k; k0 += STEP) {
                // Neighbouring threads read along the axis where elements are consecutive.
#pragma unroll
                for (int part = 0; part < TILE * STEP / 256; ++part) {
                    const int at = thread + part * 256;
                    const int row = p.a_column == 1 ? at / STEP : at % TILE, step = p.a_column == 1 ? at % STEP : at / TILE;
                    left[step][row] = element_at(a, row0 + row, k0 + step, p.m, p.k, p.a_row, p.a_column);
                    const int column = p.b_column == 1 ? at % TILE : at / STEP, down = p.b_column == 1 ? at / TILE : at % STEP;
                    right[down][column] = element_at(b, k0 + down, column0 + column, p.k, p.n, p.b_row, p.b_column);
                }
                __syncthreads();
#pragma unroll
                for (int step = 0; step < STEP; ++step) {
                    W rows[OWN], columns[OWN];
#pragma unroll
                    for (int i = 0; i < OWN; ++i) {
                        rows[i] = left[step][y + i * (TILE / OWN)];
                        columns[i] = right[step][x + i * (TILE / OWN)];
                    }
#pragma unroll
                    for (int i = 0; i < OWN; ++i)
#pragma unroll
                        for (int j = 0; j < OWN; ++j) sums[i][j] = multiply_add(rows[i], columns[j], sums[i][j]);
                }
                __syncthreads();
            }
#pragma unroll
            for (int i = 0; i < OWN; ++i)
#pragma unroll
                for (int j = 0; j < OWN; ++j) {
                    const i64 row = row0 + y + i * (TILE / OWN), column = column0 + x + j * (TILE / OWN);
                    if (row < p.m && column < p.n) p.y[(stack * p.m + row) * p.n + column] = narrowed<T>(sums[i][j]);
                }
        }
    }
}
