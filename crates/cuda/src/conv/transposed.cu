// Transposed convolution: each element of the result gathers what falls on it. The generated header names the element type T.
#include "windows.cuh"
#include "generated.cuh"

struct Parameters {
    // Over the result; the windows are the elements of the operand.
    Windows windows;
    // Images, channels of the operand and of the result, and those of a group.
    i64 images, inputs, outputs, group_inputs, group_outputs;
    const T* x;
    const T* w;
    // Null for none.
    const T* bias;
    T* y;
};

typedef Wide<T> W;

extern "C" __global__ void transposed(const __grid_constant__ Parameters p) {
    follow_previous();
    const i64 plane = p.windows.inputs(), from = p.windows.outputs();
    const i64 taps = p.windows.kernel[0] * p.windows.kernel[1] * p.windows.kernel[2];
    each(p.images * p.outputs * plane, [&](i64 at) {
        const i64 place = at % plane, channel = at / plane % p.outputs, image = at / plane / p.outputs;
        const i64 group = channel / p.group_outputs, first = group * p.group_inputs;
        const T* x = p.x + (image * p.inputs + first) * from;
        const T* w = p.w + (first * p.group_outputs + channel % p.group_outputs) * taps;
        W sum = p.bias != nullptr ? Element<T>::load(p.bias[channel]) : W(0);
        p.windows.each_over(place, [&](i64 window, i64 tap) {
            for (i64 c = 0; c < p.group_inputs; ++c)
                sum += Element<T>::load(x[c * from + window]) * Element<T>::load(w[c * p.group_outputs * taps + tap]);
        });
        p.y[at] = narrowed<T>(sum);
    });
}
