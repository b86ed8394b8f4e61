// Convolution of every channel by itself, of images with the channels last. A thread computes eight channels of PIXELS pixels of
// a row: for each line of the windows it loads the pixels that any of them meets once. The generated header names the taps of
// a row of a window, and the stride along it.
#include "windows.cuh"
#include "matrices.cuh"

struct Parameters {
    Matrices matrices;
    Windows windows;
    const T* bias;
};

constexpr int PIXELS = 4;

template <bool WIDE> __forceinline__ Eight<T> load_eight(const T* at, int left) { return eight<T, true, WIDE>(at, 1, left, false); }

template <bool WIDE> __forceinline__ void convolve(const Parameters& p) {
    const Matrices& all = p.matrices;
    const Windows& w = p.windows;
    const int channels = int(all.n), chunks = (channels + LANES - 1) / LANES, width = int(w.output[2]), height = int(w.output[1]);
    const int parts = (width + PIXELS - 1) / PIXELS, lines = int(w.kernel[1]), dilation = int(w.dilation[2]);
    const int input_width = int(w.input[2]), input_height = int(w.input[1]);
    const int count = int(all.m) / width * parts * chunks;
    for (int number = int(blockIdx.x * blockDim.x + threadIdx.x); number < count; number += int(gridDim.x * blockDim.x)) {
        const int place = number / chunks, channel = (number - place * chunks) * LANES, line = place / parts;
        const int first = (place - line * parts) * PIXELS, image = line / height, row = line - image * height;
        const int left = channels - channel < LANES ? channels - channel : LANES;
        const int x0 = first * STRIDE - int(w.begin[2]), y0 = row * int(w.stride[1]) - int(w.begin[1]);
        float sums[PIXELS][LANES];
        Eight<T> terms = {};
        if (HAS_BIAS) terms = load_eight<false>(p.bias + channel, left);
#pragma unroll
        for (int i = 0; i < PIXELS; ++i)
#pragma unroll
            for (int j = 0; j < LANES; ++j) sums[i][j] = HAS_BIAS ? Element<T>::load(terms.lane[j]) : 0.0f;
        for (int tap_y = 0; tap_y < lines; ++tap_y) {
            const int y = y0 + tap_y * int(w.dilation[1]);
            if (u32(y) >= u32(input_height)) continue;
            const T* const pixels = all.a + (image * input_height + y) * i64(input_width) * channels + channel;
            const T* const weights = all.b + i64(tap_y) * TAPS * channels + channel;
            const auto add = [&](int i, const Eight<T>& pixel, const Eight<T>& weight) {
#pragma unroll
                for (int j = 0; j < LANES; ++j) sums[i][j] += Element<T>::load(pixel.lane[j]) * Element<T>::load(weight.lane[j]);
            };
            if (TAPS <= 5 && dilation == 1) {
                Eight<T> weight[TAPS];
#pragma unroll
                for (int tap = 0; tap < TAPS; ++tap) weight[tap] = load_eight<WIDE>(weights + tap * channels, left);
#pragma unroll
                for (int at = 0; at < (PIXELS - 1) * STRIDE + TAPS; ++at) {
                    if (u32(x0 + at) >= u32(input_width)) continue;
                    const Eight<T> pixel = load_eight<WIDE>(pixels + i64(x0 + at) * channels, left);
#pragma unroll
                    for (int i = 0; i < PIXELS; ++i)
                        if (at >= i * STRIDE && at - i * STRIDE < TAPS) add(i, pixel, weight[at - i * STRIDE]);
                }
            } else {
                for (int tap = 0; tap < TAPS; ++tap) {
                    const Eight<T> weight = load_eight<WIDE>(weights + tap * channels, left);
#pragma unroll
                    for (int i = 0; i < PIXELS; ++i) {
                        const int x = x0 + i * STRIDE + tap * dilation;
                        if (u32(x) < u32(input_width)) add(i, load_eight<WIDE>(pixels + i64(x) * channels, left), weight);
                    }
                }
            }
        }
#pragma unroll
        for (int i = 0; i < PIXELS; ++i) {
            if (first + i >= width) break;
            const i64 y_row = i64(line) * width + first + i;
            Eight<T> x;
#pragma unroll
            for (int j = 0; j < LANES; ++j) x.lane[j] = narrowed<T>(sums[i][j]);
#define LOAD(b, E, ROWS, COLUMNS)                                                                                         \
    const Eight<E> x##b = eight<E, COLUMNS, WIDE>(reinterpret_cast<const E*>(all.beside[b].data)                          \
                                                      + (ROWS ? y_row * all.beside[b].row : 0)                            \
                                                      + (COLUMNS ? channel * all.beside[b].column : 0),                   \
                                                  all.beside[b].column, left, all.beside[b].wide != 0);
            FOR_BESIDE(LOAD)
#undef LOAD
            Eight<R> y;
#pragma unroll
            for (int j = 0; j < LANES; ++j) EPILOGUE(j);
            store_eight<R, WIDE>(all.y + y_row * channels + channel, y, left, false);
        }
    }
}

extern "C" __global__ void __launch_bounds__(256) wide(const __grid_constant__ Parameters p) { follow_previous(); convolve<true>(p); }
extern "C" __global__ void __launch_bounds__(256) any(const __grid_constant__ Parameters p) { follow_previous(); convolve<false>(p); }
