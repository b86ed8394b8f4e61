// The different elements of a tensor, or its different slices along an axis. Sorting brings equal ones together, the first
// occurrence first; numbers of classes are those of the sorted order, or of the first occurrences.
//
// The generated header names the element type T, and whether it is unsigned and classes are in sorted ORDER.
#include "sort.cuh"
#include "lines.cuh"
#include "compact.cuh"
#include "generated.cuh"

struct Parameters {
    Sorting sorting;
    // The slices lie along the axis of these lines.
    Lines lines;
    // In sorted order, where classes begin; by slice, which are the first of their class.
    Compaction classes;
    Compaction firsts;
    // Classes that the results have room for.
    i64 most;
    // By slice its class in sorted order; by such a class where it begins, and its number.
    i64* class_of;
    i64* begins;
    i64* number;
    const T* x;
    T* y;
    i64* first;
    i64* inverse;
    i64* counts;
};

// -1, 0 or 1 where slice a is smaller than b, equal to it, or larger.
inline int compared(const Parameters& p, i64 a, i64 b) {
    for (i64 line = 0; line < p.lines.lines(); ++line) {
        const i64 first = p.lines.first(line);
        const Wide<T> left = Element<T>::load(p.x[first + a * p.lines.inner]), right = Element<T>::load(p.x[first + b * p.lines.inner]);
        if (is_less<UNSIGNED>(left, right)) return -1;
        if (is_less<UNSIGNED>(right, left)) return 1;
    }
    return 0;
}

inline bool before(const Parameters& p, i64, i64 a, i64 b) {
    const int order = compared(p, a, b);
    return order < 0 || (order == 0 && a < b);
}

SORT_FUNCTIONS(Parameters)

inline bool begins_class(const Parameters& p, i64 at) {
    return at == 0 || compared(p, p.sorting.positions[at - 1], p.sorting.positions[at]) != 0;
}
inline bool is_first(const Parameters& p, i64 slice) { return p.sorting.positions[p.begins[p.class_of[slice]]] == slice; }

extern "C" __global__ void count_classes(const __grid_constant__ Parameters p) {
    follow_previous();
    count_selected(p.classes, [&](i64 at) { return begins_class(p, at); });
}
extern "C" __global__ void total_classes(const __grid_constant__ Parameters p) { follow_previous(); add_up(p.classes); }
extern "C" __global__ void number_classes(const __grid_constant__ Parameters p) {
    follow_previous();
    number_selected(
        p.classes, [&](i64 at) { return begins_class(p, at); },
        [&](i64 at, i64 number, bool begins) {
            const i64 own = begins ? number : number - 1;
            p.class_of[p.sorting.positions[at]] = own;
            if (begins) p.begins[own] = at;
            if (begins && ORDER) p.number[own] = own;
        });
}

extern "C" __global__ void count_firsts(const __grid_constant__ Parameters p) {
    follow_previous();
    count_selected(p.firsts, [&](i64 slice) { return is_first(p, slice); });
}
extern "C" __global__ void total_firsts(const __grid_constant__ Parameters p) { follow_previous(); add_up(p.firsts); }
extern "C" __global__ void number_firsts(const __grid_constant__ Parameters p) {
    follow_previous();
    number_selected(
        p.firsts, [&](i64 slice) { return is_first(p, slice); },
        [&](i64 slice, i64 number, bool first) {
            if (first) p.number[p.class_of[slice]] = number;
        });
}

extern "C" __global__ void write(const __grid_constant__ Parameters p) {
    follow_previous();
    const i64 found = p.classes.before[p.classes.segments], count = found < p.most ? found : p.most;
    each(p.lines.length, [&](i64 at) {
        p.inverse[at] = p.number[p.class_of[at]];
        // From here on, `at` is a class in sorted order.
        if (at >= found) return;
        const i64 number = p.number[at], begin = p.begins[at], end = at + 1 < found ? p.begins[at + 1] : p.lines.length;
        if (number >= count) return;
        p.first[number] = p.sorting.positions[begin];
        p.counts[number] = end - begin;
    });
}

extern "C" __global__ void copy(const __grid_constant__ Parameters p) {
    follow_previous();
    const i64 found = p.classes.before[p.classes.segments], count = found < p.most ? found : p.most;
    each(p.lines.lines() * count, [&](i64 at) {
        const i64 inner = at % p.lines.inner, number = at / p.lines.inner % count, outer = at / p.lines.inner / count;
        p.y[at] = p.x[(outer * p.lines.length + p.first[number]) * p.lines.inner + inner];
    });
}
