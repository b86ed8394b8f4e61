// Bytes as the smaller elements that lie packed in them, the lowest bits first. While a network runs, each has a byte. The
// generated header says how many bits an element has, and whether it is a signed integer.
#include "types.cuh"
#include "generated.cuh"

struct Parameters {
    i64 count;
    const u8* x;
    u8* y;
};

extern "C" __global__ void unpack(const __grid_constant__ Parameters p) {
    follow_previous();
    constexpr i64 EACH = 8 / BITS;
    each(p.count, [&](i64 at) {
        const u8 code = p.x[at / EACH] >> int(at % EACH) * BITS & ((1 << BITS) - 1);
        p.y[at] = SIGNED ? u8(Element<small<BITS, true>>::load({code})) : code;
    });
}
