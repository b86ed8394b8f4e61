// The lines of a contiguous tensor along one axis.
#pragma once
#include "math.cuh"

struct Lines {
    // Elements before the axis, on it, and behind it.
    i64 outer;
    i64 length;
    i64 inner;

    i64 lines() const { return outer * inner; }
    i64 count() const { return outer * length * inner; }
    // The place of a line's first element; its elements are `inner` apart.
    i64 first(i64 line) const { return line / inner * length * inner + line % inner; }
    // The position along the axis of the element at a place.
    i64 along(i64 place) const { return place / inner % length; }
};
