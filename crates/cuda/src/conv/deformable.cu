// Convolution whose elements are read at learned offsets. The generated header names the element type T.
#include "windows.cuh"
#include "generated.cuh"

struct Parameters {
    Windows windows;
    // Spatial axes: the last ones of the windows.
    i64 axes;
    // Images, channels of the operand and of the result; those of a group, and those of a group of offsets.
    i64 images, inputs, outputs, group_inputs, group_outputs, offset_groups, offset_channels;
    const T* x;
    const T* w;
    const T* offsets;
    // Null for none.
    const T* bias;
    const T* mask;
    T* y;
};

typedef Wide<T> W;

// The value between the elements of a channel, zero outside: along each axis the lower neighbour, and the share of the upper.
inline W interpolated(const Parameters& p, const T* channel, const i64* low, const W* share) {
    W sum = 0;
#pragma unroll
    for (int corner = 0; corner < 1 << SPATIAL; ++corner) {
        W weight = 1;
        i64 place = 0;
        bool inside = true;
#pragma unroll
        for (int axis = 0; axis < SPATIAL; ++axis) {
            const int upper = corner >> axis & 1;
            const i64 at = low[axis] + upper;
            // An axis that is not there has one element.
            inside = inside && at >= 0 && at < p.windows.input[axis];
            weight *= upper ? share[axis] : W(1) - share[axis];
            place = place * p.windows.input[axis] + at;
        }
        if (inside) sum += weight * Element<T>::load(channel[place]);
    }
    return sum;
}

extern "C" __global__ void deformable(const __grid_constant__ Parameters p) {
    follow_previous();
    const Windows& windows = p.windows;
    const i64 plane = windows.outputs(), input = windows.inputs();
    const i64 taps = windows.kernel[0] * windows.kernel[1] * windows.kernel[2];
    each(p.images * p.outputs * plane, [&](i64 at) {
        const i64 position = at % plane, m = at / plane % p.outputs, image = at / plane / p.outputs;
        const i64 output[SPATIAL] = {position / windows.output[2] / windows.output[1], position / windows.output[2] % windows.output[1],
                                     position % windows.output[2]};
        W sum = p.bias == nullptr ? W(0) : Element<T>::load(p.bias[m]);
        for (i64 c = 0; c < p.group_inputs; ++c) {
            const i64 channel = m / p.group_outputs * p.group_inputs + c;
            for (i64 tap = 0; tap < taps; ++tap) {
                const i64 own[SPATIAL] = {tap / windows.kernel[2] / windows.kernel[1], tap / windows.kernel[2] % windows.kernel[1],
                                          tap % windows.kernel[2]};
                const i64 place = (image * p.offset_groups + channel / p.offset_channels) * taps + tap;
                i64 low[SPATIAL];
                W share[SPATIAL];
                bool inside = true;
#pragma unroll
                for (int axis = 0; axis < SPATIAL; ++axis) {
                    const i64 regular = output[axis] * windows.stride[axis] + own[axis] * windows.dilation[axis] - windows.begin[axis];
                    const int which = axis - (SPATIAL - int(p.axes));
                    const W offset = which < 0 ? W(0) : Element<T>::load(p.offsets[(place * p.axes + which) * plane + position]);
                    const W whole = real_floor(offset);
                    // An infinite offset, or none, is outside.
                    inside = inside && real_abs(offset) < W(1e15);
                    low[axis] = regular + (inside ? i64(whole) : 0);
                    share[axis] = offset - whole;
                }
                if (!inside) continue;
                const W value = interpolated(p, p.x + (image * p.inputs + channel) * input, low, share);
                const W scale = p.mask == nullptr ? W(1) : Element<T>::load(p.mask[place * plane + position]);
                sum += value * scale * Element<T>::load(p.w[(m * p.group_inputs + c) * taps + tap]);
            }
        }
        p.y[at] = narrowed<T>(sum);
    });
}
