// Each element divided by a measure of its group, after the mean is subtracted for the deviation. The generated header names
// the element type T, the type S of the statistics and the MEASURE.
#include "groups.cuh"

enum { DEVIATION, ROOT_MEAN_SQUARE, NORM };
#include "generated.cuh"

struct Parameters {
    Groups groups;
    const T* x;
    T* y;
    // Mean and variance, or the mean square, or the norm; null where they are no results.
    S* first;
    S* second;
    double epsilon;
    double order;
};

typedef Wide<T> W;

inline W magnitude(W v, W order) {
    if (MEASURE != NORM || order == W(2)) return v * v;
    return order == W(1) ? real_abs(v) : real_pow(real_abs(v), order);
}

template <int SIZE> inline void run(const Parameters& p) {
    typedef Team<SIZE> Own;
    const W order = W(p.order);
    for (i64 group = Own::first_group(); group < p.groups.groups; group += Own::teams()) {
        const i64 first = p.groups.first(group);
        const T* x = p.x + first;
        T* y = p.y + first;
        const auto plus = [](W a, W b) { return a + b; };
        const W members = W(p.groups.members);
        W mean = 0;
        if (MEASURE == DEVIATION) {
            Sum<W> sum;
            for (i64 at = Own::rank(); at < p.groups.members; at += SIZE) sum.add(Element<T>::load(x[p.groups.member(at)]));
            mean = Own::all(sum.value(), plus) / members;
        }
        Sum<W> sum;
        for (i64 at = Own::rank(); at < p.groups.members; at += SIZE) {
            sum.add(magnitude(Element<T>::load(x[p.groups.member(at)]) - mean, order));
        }
        const W total = Own::all(sum.value(), plus);
        W measure, statistic;
        if (MEASURE == NORM) {
            statistic = order == W(2) ? real_sqrt(total) : order == W(1) ? total : real_pow(total, W(1) / order);
            // A group of zeros gives zeros.
            measure = statistic == W(0) ? W(of_bits(0x7F800000u)) : statistic;
        } else {
            statistic = total / members;
            measure = real_sqrt(statistic + W(p.epsilon));
        }
        for (i64 at = Own::rank(); at < p.groups.members; at += SIZE) {
            const i64 place = p.groups.member(at);
            y[place] = narrowed<T>((Element<T>::load(x[place]) - mean) / measure);
        }
        if (Own::rank() == 0) {
            const W values[2] = {MEASURE == DEVIATION ? mean : statistic, statistic};
            if (p.first != nullptr) p.first[group] = narrowed<S>(Wide<S>(values[0]));
            if (p.second != nullptr) p.second[group] = narrowed<S>(Wide<S>(values[1]));
        }
    }
}

extern "C" __global__ void by_thread(const __grid_constant__ Parameters p) { follow_previous(); run<1>(p); }
extern "C" __global__ void by_warp(const __grid_constant__ Parameters p) { follow_previous(); run<32>(p); }
extern "C" __global__ void by_block(const __grid_constant__ Parameters p) { follow_previous(); run<256>(p); }
