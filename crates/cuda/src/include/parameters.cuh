// Scales and zero points: which of them belongs to an element.
#pragma once
#include "lines.cuh"

struct Granularity {
    // The lines along the axis that the parameters divide.
    Lines lines;
    // Elements along the axis that share parameters.
    i64 block;
    // Distances of the parameters from one outer position, block and inner position to the next.
    i64 outer;
    i64 along;
    i64 inner;

    i64 place(i64 element) const {
        const i64 rest = element % lines.inner, before = element / lines.inner;
        return before / lines.length * outer + before % lines.length / block * along + rest * inner;
    }
};
