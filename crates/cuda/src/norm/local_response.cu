// Each element divided by the squares of the neighbouring channels. The generated header names the element type T.
#include "lines.cuh"
#include "generated.cuh"

struct Parameters {
    Lines channels;
    // Channels before and behind the own one.
    i64 before;
    i64 after;
    double scale;
    double beta;
    double bias;
    const T* x;
    T* y;
};

typedef Wide<T> W;

extern "C" __global__ void normalize(const __grid_constant__ Parameters p) {
    follow_previous();
    each(p.channels.count(), [&](i64 place) {
        const i64 own = p.channels.along(place), room = p.channels.length - 1 - own;
        const i64 before = own < p.before ? own : p.before, after = room < p.after ? room : p.after;
        W sum = 0;
        for (i64 other = -before; other <= after; ++other) {
            const W v = Element<T>::load(p.x[place + other * p.channels.inner]);
            sum += v * v;
        }
        p.y[place] = narrowed<T>(Element<T>::load(p.x[place]) / real_pow(W(p.bias) + W(p.scale) * sum, W(p.beta)));
    });
}
