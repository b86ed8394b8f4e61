// Positions of the elements that are not zero. The generated header names the element type T.
#include "compact.cuh"
#include "generated.cuh"

struct Parameters {
    Compaction compaction;
    i64 rank;
    i64 sizes[RANK];
    // Positions that the result has room for.
    i64 most;
    const T* x;
    i64* y;
};

inline bool is_selected(const Parameters& p, i64 at) { return Element<T>::load(p.x[at]) != Wide<T>(0); }

extern "C" __global__ void count(const __grid_constant__ Parameters p) {
    follow_previous();
    count_selected(p.compaction, [&](i64 at) { return is_selected(p, at); });
}

extern "C" __global__ void total(const __grid_constant__ Parameters p) { follow_previous(); add_up(p.compaction); }

extern "C" __global__ void write(const __grid_constant__ Parameters p) {
    follow_previous();
    const i64 found = p.compaction.before[p.compaction.segments], count = found < p.most ? found : p.most;
    number_selected(
        p.compaction, [&](i64 at) { return is_selected(p, at); },
        [&](i64 at, i64 number, bool selected) {
            if (!selected || number >= count) return;
            for (int axis = int(p.rank) - 1; axis >= 0; --axis) {
                p.y[axis * count + number] = at % p.sizes[axis];
                at /= p.sizes[axis];
            }
        });
}
