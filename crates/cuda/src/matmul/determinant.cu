// Determinants of square matrices by Gaussian elimination with row exchanges, a block for each. The generated header names the
// element type T and the type A of the elimination.
#include "groups.cuh"
#include "generated.cuh"

struct Parameters {
    i64 count;
    i64 n;
    const T* x;
    T* y;
    // Copies of the matrices, which the elimination destroys.
    A* matrices;
};

struct Pivot {
    A size;
    i64 row;
};

extern "C" __global__ void eliminate(const __grid_constant__ Parameters p) {
    follow_previous();
    constexpr int THREADS = 256;
    __shared__ Pivot pivots[THREADS];
    const i64 n = p.n, thread = threadIdx.x;
    for (i64 which = blockIdx.x; which < p.count; which += gridDim.x) {
        A* a = p.matrices + which * n * n;
        for (i64 at = thread; at < n * n; at += THREADS) a[at] = A(Element<T>::load(p.x[which * n * n + at]));
        __syncthreads();
        A determinant = 1;
        for (i64 k = 0; k < n; ++k) {
            // The first of the largest elements of a column, as one thread would find it: NaN is no larger one.
            Pivot own = {A(-1), k};
            for (i64 row = k + thread; row < n; row += THREADS) {
                const A size = real_abs(a[row * n + k]);
                if (size > own.size) own = {size, row};
            }
            pivots[thread] = own;
            __syncthreads();
            for (int half = THREADS / 2; half > 0; half /= 2) {
                if (thread < half) {
                    const Pivot other = pivots[thread + half];
                    const bool wins = other.size > pivots[thread].size || (other.size == pivots[thread].size && other.row < pivots[thread].row);
                    if (wins) pivots[thread] = other;
                }
                __syncthreads();
            }
            i64 pivot = pivots[0].row;
            // Nothing is larger than a NaN that comes first.
            if (is_nan(a[k * n + k])) pivot = k;
            __syncthreads();
            if (pivot != k) {
                determinant = -determinant;
                for (i64 column = thread; column < n; column += THREADS) {
                    const A other = a[pivot * n + column];
                    a[pivot * n + column] = a[k * n + column];
                    a[k * n + column] = other;
                }
                __syncthreads();
            }
            const A head = a[k * n + k];
            determinant *= head;
            if (head == A(0)) break;
            const i64 rows = n - 1 - k, columns = n - 1 - k;
            for (i64 at = thread; at < rows * columns; at += THREADS) {
                const i64 row = k + 1 + at / columns, column = k + 1 + at % columns;
                a[row * n + column] -= a[row * n + k] / head * a[k * n + column];
            }
            __syncthreads();
        }
        if (thread == 0) p.y[which] = of_float<T>(determinant);
        __syncthreads();
    }
}
