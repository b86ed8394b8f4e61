// Running sums or products along an axis. The generated header names the element type T.
#include "lines.cuh"
#include "generated.cuh"

struct Parameters {
    Lines lines;
    i64 exclusive;
    i64 reverse;
    const T* x;
    T* y;
};

typedef Wide<T> W;

inline W joined(W a, W b) {
    if constexpr (is_integer<T>) return PRODUCT ? integer_mul(a, b) : integer_add(a, b);
    else return PRODUCT ? a * b : a + b;
}

// A thread goes along a line.
extern "C" __global__ void by_thread(const __grid_constant__ Parameters p) {
    follow_previous();
    each(p.lines.lines(), [&](i64 line) {
        const i64 first = p.lines.first(line);
        W total = PRODUCT;
        for (i64 step = 0; step < p.lines.length; ++step) {
            const i64 place = first + (p.reverse ? p.lines.length - 1 - step : step) * p.lines.inner;
            const W next = joined(total, Element<T>::load(p.x[place]));
            p.y[place] = narrowed<T>(p.exclusive ? total : next);
            total = next;
        }
    });
}

// A warp goes along a line: 32 elements at a time, each with all before it.
extern "C" __global__ void by_warp(const __grid_constant__ Parameters p) {
    follow_previous();
    const int lane = threadIdx.x % 32;
    const i64 warps = i64(gridDim.x) * blockDim.x / 32;
    for (i64 line = (i64(blockIdx.x) * blockDim.x + threadIdx.x) / 32; line < p.lines.lines(); line += warps) {
        const i64 first = p.lines.first(line);
        W total = PRODUCT;
        for (i64 step0 = 0; step0 < p.lines.length; step0 += 32) {
            const i64 step = step0 + lane;
            const bool inside = step < p.lines.length;
            const i64 place = first + (p.reverse ? p.lines.length - 1 - step : step) * p.lines.inner;
            W own = inside ? Element<T>::load(p.x[place]) : W(PRODUCT);
#pragma unroll
            for (int distance = 1; distance < 32; distance *= 2) {
                const W before = __shfl_up_sync(~0u, own, distance);
                if (lane >= distance) own = joined(before, own);
            }
            const W before = __shfl_up_sync(~0u, own, 1);
            if (inside) p.y[place] = narrowed<T>(!p.exclusive ? joined(total, own) : lane == 0 ? total : joined(total, before));
            total = joined(total, __shfl_sync(~0u, own, 31));
        }
    }
}
