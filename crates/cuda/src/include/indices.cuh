// Positions that indices in memory name.
#pragma once
#include "math.cuh"

// The position that an index names; negative ones count from the end. Reports one outside of the axis, and returns -1.
inline i64 wrapped(i64 index, i64 size, u32* fault) {
    if (index < 0) index += size;
    if (index >= 0 && index < size) return index;
    report(fault, FAULT_INDEX);
    return -1;
}

// Vectors of indices along the leading axes of a tensor, behind the axes of batches that both share.
struct Vectors {
    // Entries of a vector.
    i64 length;
    // Vectors of a batch, and elements of a batch of the tensor.
    i64 per_batch;
    i64 batch;
    i64 sizes[RANK];
    i64 strides[RANK];

    // The place that a vector names, -1 for none.
    template <class I> i64 place(const I* indices, i64 vector, u32* fault) const {
        i64 place = vector / per_batch * batch;
        for (int k = 0; k < int(length); ++k) {
            const i64 index = wrapped(i64(indices[vector * length + k]), sizes[k], fault);
            if (index < 0) return -1;
            place += index * strides[k];
        }
        return place;
    }
};
