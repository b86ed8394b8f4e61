// Windows over up to three spatial axes, outermost first; fewer are padded with axes of size 1. Convolution and pooling share
// them.
#pragma once
#include "math.cuh"

constexpr int SPATIAL = 3;

struct Windows {
    i64 input[SPATIAL];
    i64 output[SPATIAL];
    i64 kernel[SPATIAL];
    i64 stride[SPATIAL];
    i64 dilation[SPATIAL];
    // Padding before the input, and behind it.
    i64 begin[SPATIAL];
    i64 end[SPATIAL];

    i64 outputs() const { return output[0] * output[1] * output[2]; }
    i64 inputs() const { return input[0] * input[1] * input[2]; }

    // Calls visit(place in the input plane, number of the tap) for the taps of a window that lie in the input, in order.
    template <class F> void each(i64 at, F visit) const {
        const i64 x = at % output[2], y = at / output[2] % output[1], z = at / output[2] / output[1];
        const i64 first_z = z * stride[0] - begin[0], first_y = y * stride[1] - begin[1], first_x = x * stride[2] - begin[2];
        for (i64 k = 0; k < kernel[0]; ++k) {
            const i64 at_z = first_z + k * dilation[0];
            if (at_z < 0 || at_z >= input[0]) continue;
            for (i64 j = 0; j < kernel[1]; ++j) {
                const i64 at_y = first_y + j * dilation[1];
                if (at_y < 0 || at_y >= input[1]) continue;
                for (i64 i = 0; i < kernel[2]; ++i) {
                    const i64 at_x = first_x + i * dilation[2];
                    if (at_x < 0 || at_x >= input[2]) continue;
                    visit((at_z * input[1] + at_y) * input[2] + at_x, (k * kernel[1] + j) * kernel[2] + i);
                }
            }
        }
    }

    // Calls visit(number of the window, number of the tap) for the windows one of whose taps lies at a place of the input
    // plane, in the order of the taps.
    template <class F> void each_over(i64 place, F visit) const {
        const i64 x = place % input[2] + begin[2], y = place / input[2] % input[1] + begin[1];
        const i64 z = place / input[2] / input[1] + begin[0];
        for (i64 k = 0; k < kernel[0]; ++k) {
            const i64 at_z = z - k * dilation[0];
            if (at_z < 0 || at_z % stride[0] != 0 || at_z / stride[0] >= output[0]) continue;
            for (i64 j = 0; j < kernel[1]; ++j) {
                const i64 at_y = y - j * dilation[1];
                if (at_y < 0 || at_y % stride[1] != 0 || at_y / stride[1] >= output[1]) continue;
                for (i64 i = 0; i < kernel[2]; ++i) {
                    const i64 at_x = x - i * dilation[2];
                    if (at_x < 0 || at_x % stride[2] != 0 || at_x / stride[2] >= output[2]) continue;
                    const i64 window = (at_z / stride[0] * output[1] + at_y / stride[1]) * output[2] + at_x / stride[2];
                    visit(window, (k * kernel[1] + j) * kernel[2] + i);
                }
            }
        }
    }

    // Taps of a window that lie in the input or in its padding.
    i64 padded(i64 at) const {
        const i64 place[SPATIAL] = {at / output[2] / output[1], at / output[2] % output[1], at % output[2]};
        i64 count = 1;
        for (int axis = 0; axis < SPATIAL; ++axis) {
            const i64 first = place[axis] * stride[axis] - begin[axis], last = input[axis] + end[axis];
            i64 inside = 0;
            for (i64 tap = 0; tap < kernel[axis]; ++tap) inside += first + tap * dilation[axis] < last;
            count *= inside;
        }
        return count;
    }
};
