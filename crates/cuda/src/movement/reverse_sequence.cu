// Sequences of different lengths reversed in place. The generated header names the type T of as many bytes as an element, and
// the type of the lengths.
#include "lines.cuh"
#include "generated.cuh"

struct Parameters {
    Lines batch;
    Lines time;
    const T* x;
    const Index* lengths;
    T* y;
    u32* fault;
};

extern "C" __global__ void reverse(const __grid_constant__ Parameters p) {
    follow_previous();
    each(p.time.count(), [&](i64 place) {
        const i64 length = i64(p.lengths[p.batch.along(place)]), at = p.time.along(place);
        if (length < 0 || length > p.time.length) {
            report(p.fault, FAULT_INDEX);
            return;
        }
        p.y[place] = p.x[at < length ? place + (length - 1 - 2 * at) * p.time.inner : place];
    });
}
