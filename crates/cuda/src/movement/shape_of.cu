// Numbers that the host knows.
#include "types.cuh"

struct Parameters {
    i64 count;
    i64 numbers[RANK];
    i64* y;
};

extern "C" __global__ void write(const __grid_constant__ Parameters p) {
    follow_previous();
    each(p.count, [&](i64 at) { p.y[at] = p.numbers[at]; });
}
