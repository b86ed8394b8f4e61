// Convolution by its formula. The generated header names the element type T.
#include "windows.cuh"
#include "generated.cuh"

// Output channels of a thread, all of one group.
constexpr int CHANNELS = 4;

struct Parameters {
    Windows windows;
    // Images, channels of the input and of the output, channels that an output sees, output channels of a group.
    i64 images, inputs, outputs, seen, group;
    const T* x;
    const T* w;
    // Null for none.
    const T* bias;
    T* y;
};

typedef Wide<T> W;

inline W multiply_add(W a, W b, W sum) {
    if constexpr (is_integer<T>) return integer_add(integer_mul(a, b), sum);
    else return a * b + sum;
}

extern "C" __global__ void convolution(const __grid_constant__ Parameters p) {
    follow_previous();
    const i64 plane = p.windows.outputs(), input = p.windows.inputs();
    const i64 taps = p.windows.kernel[0] * p.windows.kernel[1] * p.windows.kernel[2];
    const i64 blocks = (p.group + CHANNELS - 1) / CHANNELS, groups = p.outputs / p.group;
    const i64 count = p.images * groups * blocks * plane;
    for (i64 at = i64(blockIdx.x) * blockDim.x + threadIdx.x; at < count; at += i64(gridDim.x) * blockDim.x) {
        const i64 position = at % plane, block = at / plane % blocks;
        const i64 group = at / plane / blocks % groups, image = at / plane / blocks / groups;
        const i64 first = block * CHANNELS;
        const int own = int(p.group - first < CHANNELS ? p.group - first : CHANNELS);
        const i64 channel0 = group * p.group + first;
        const T* x = p.x + (image * p.inputs + group * p.seen) * input;
        const T* w = p.w + channel0 * p.seen * taps;
        W sums[CHANNELS];
#pragma unroll
        for (int c = 0; c < CHANNELS; ++c) sums[c] = p.bias != nullptr && c < own ? Element<T>::load(p.bias[channel0 + c]) : W(0);
        for (i64 channel = 0; channel < p.seen; ++channel) {
            p.windows.each(position, [&](i64 place, i64 tap) {
                const W value = Element<T>::load(x[channel * input + place]);
#pragma unroll
                for (int c = 0; c < CHANNELS; ++c)
                    if (c < own) sums[c] = multiply_add(value, Element<T>::load(w[(c * p.seen + channel) * taps + tap]), sums[c]);
            });
        }
#pragma unroll
        for (int c = 0; c < CHANNELS; ++c)
            if (c < own) p.y[(image * p.outputs + channel0 + c) * plane + position] = narrowed<T>(sums[c]);
    }
}
