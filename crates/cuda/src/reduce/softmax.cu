// e^(x - m) / sum e^(x - m), m the largest of each group, or its logarithm. The generated header names the element type T.
#include "groups.cuh"
#include "generated.cuh"

struct Parameters {
    Groups groups;
    const T* x;
    T* y;
};

typedef Wide<T> W;

template <int SIZE> inline void run(const Parameters& p) {
    typedef Team<SIZE> Own;
    for (i64 group = Own::first_group(); group < p.groups.groups; group += Own::teams()) {
        const i64 first = p.groups.first(group);
        const T* x = p.x + first;
        T* y = p.y + first;
        // A NaN is no largest element; it makes the sum, and so all results, NaN.
        W largest = W(of_bits(0xFF800000u));
        for (i64 at = Own::rank(); at < p.groups.members; at += SIZE) {
            const W v = Element<T>::load(x[p.groups.member(at)]);
            largest = v > largest ? v : largest;
        }
        largest = Own::all(largest, [](W a, W b) { return b > a ? b : a; });
        Sum<W> sum;
        for (i64 at = Own::rank(); at < p.groups.members; at += SIZE) sum.add(real_exp(Element<T>::load(x[p.groups.member(at)]) - largest));
        const W total = Own::all(sum.value(), [](W a, W b) { return a + b; });
        const W logarithm = LOGARITHM ? real_log(total) : W(0);
        for (i64 at = Own::rank(); at < p.groups.members; at += SIZE) {
            const i64 place = p.groups.member(at);
            const W shifted = Element<T>::load(x[place]) - largest;
            y[place] = narrowed<T>(LOGARITHM ? shifted - logarithm : real_exp(shifted) / total);
        }
    }
}

extern "C" __global__ void by_thread(const __grid_constant__ Parameters p) { follow_previous(); run<1>(p); }
extern "C" __global__ void by_warp(const __grid_constant__ Parameters p) { follow_previous(); run<32>(p); }
extern "C" __global__ void by_block(const __grid_constant__ Parameters p) { follow_previous(); run<256>(p); }
