// Rotation of pairs of components by an angle that depends on the position. The generated header names the element type T.
#include "math.cuh"
#include "generated.cuh"

struct Parameters {
    i64 count;
    // Components of a head, those that are rotated, half of them; rows of the tables.
    i64 size;
    i64 rotated;
    i64 half;
    i64 rows;
    i64 interleaved;
    // From the number of a head's row to batch entry and step: row / batch, row / step % length.
    i64 batch;
    i64 step;
    i64 length;
    // Of one position: each step adds one.
    i64 is_single;
    const T* x;
    const T* cosines;
    const T* sines;
    // Null where the tables have a row for each step.
    const i64* positions;
    T* y;
    u32* fault;
};

typedef Wide<T> W;

extern "C" __global__ void rotate(const __grid_constant__ Parameters p) {
    follow_previous();
    each(p.count, [&](i64 at) {
        const i64 row = at / p.size, component = at - row * p.size;
        const W own = Element<T>::load(p.x[at]);
        if (component >= p.rotated) {
            p.y[at] = p.x[at];
            return;
        }
        const i64 step = row / p.step % p.length, entry = row / p.batch * p.length + step;
        const i64 from = p.positions == nullptr ? entry : p.is_single ? p.positions[0] : p.positions[entry];
        const i64 position = p.is_single && p.positions != nullptr ? from + step : from;
        if (from < 0 || from >= p.rows || position >= p.rows) {
            report(p.fault, FAULT_INDEX);
            return;
        }
        const bool is_first = p.interleaved ? component % 2 == 0 : component < p.half;
        const i64 pair = p.interleaved ? component / 2 : is_first ? component : component - p.half;
        const i64 distance = p.interleaved ? 1 : p.half;
        const W other = Element<T>::load(p.x[is_first ? at + distance : at - distance]);
        const W cosine = Element<T>::load(p.cosines[position * p.half + pair]);
        const W sine = Element<T>::load(p.sines[position * p.half + pair]);
        p.y[at] = narrowed<T>(is_first ? own * cosine - other * sine : other * sine + own * cosine);
    });
}
