// Boxes that stay when each removes the worse ones that overlap it too much. The boxes of a batch entry and class are a group:
// sorted by score, then a block visits them. Rectangles are compared in float64, whose rounding decides.
//
// The generated header names the types of boxes B, scores S, the limit L and the least score E, and whether boxes are CENTERED.
#include "sort.cuh"
#include "compact.cuh"
#include "generated.cuh"

struct Parameters {
    // A line for each group.
    Sorting sorting;
    // Of the counts of groups, whose numbers they become.
    Compaction groups;
    i64 classes;
    // Rows that the result has room for.
    i64 most_rows;
    const B* boxes;
    const S* scores;
    // Null for none: the most boxes of a group, the limit of overlap, and the score that must be exceeded.
    const i64* most;
    const L* limit;
    const E* least;
    // By group the boxes that stay, in order.
    i64* kept;
    i64* y;
};

inline double exceeded(const Parameters& p) {
    return p.least == nullptr ? -double(of_bits(0x7F800000u)) : double(Element<E>::load(*p.least));
}

inline double score_of(const Parameters& p, i64 group, i64 box) { return double(Element<S>::load(p.scores[group * p.sorting.length + box])); }

// By falling score, zeros by their sign; equal ones by rising index; those that count for nothing last.
inline bool before(const Parameters& p, i64 group, i64 a, i64 b) {
    const double least = exceeded(p), left = score_of(p, group, a), right = score_of(p, group, b);
    const bool has_left = left > least, has_right = right > least;
    if (has_left != has_right) return has_left;
    if (!has_left) return a < b;
    if (left != right) return left > right;
    if (signbit(left) != signbit(right)) return signbit(right);
    return a < b;
}

SORT_FUNCTIONS(Parameters)

// A box by its smallest and largest coordinates.
struct Rectangle {
    double low[2];
    double high[2];

    Rectangle(const Parameters& p, i64 group, i64 box) {
        const B* at = p.boxes + (group / p.classes * p.sorting.length + box) * 4;
        double b[4];
        for (int k = 0; k < 4; ++k) b[k] = double(Element<B>::load(at[k]));
        for (int axis = 0; axis < 2; ++axis) {
            // Corners are (y, x), centres and sizes (x, y).
            low[axis] = CENTERED ? b[axis] - b[axis + 2] / 2.0 : fmin(b[1 - axis], b[3 - axis]);
            high[axis] = CENTERED ? b[axis] + b[axis + 2] / 2.0 : fmax(b[1 - axis], b[3 - axis]);
        }
    }
    double area() const { return (high[0] - low[0]) * (high[1] - low[1]); }

    bool overlaps(const Rectangle& other, double limit) const {
        const double width = fmin(high[0], other.high[0]) - fmax(low[0], other.low[0]);
        const double height = fmin(high[1], other.high[1]) - fmax(low[1], other.low[1]);
        if (width <= 0.0 || height <= 0.0 || area() <= 0.0 || other.area() <= 0.0) return false;
        const double shared = width * height;
        return double(float(shared / (area() + other.area() - shared))) > limit;
    }
};

extern "C" __global__ void suppress(const __grid_constant__ Parameters p) {
    follow_previous();
    const i64 boxes = p.sorting.length;
    const i64 asked = p.most == nullptr ? 0 : *p.most, most = asked < boxes ? asked : boxes;
    const double least = exceeded(p), limit = p.limit == nullptr ? 0.0 : double(Element<L>::load(*p.limit));
    for (i64 group = blockIdx.x; group < p.sorting.lines; group += gridDim.x) {
        const i64* order = p.sorting.positions + group * p.sorting.padded;
        i64* kept = p.kept + group * boxes;
        i64 count = 0;
        for (i64 at = 0; at < boxes && count < most; ++at) {
            const i64 box = order[at];
            if (!(score_of(p, group, box) > least)) break;
            const Rectangle own(p, group, box);
            bool overlaps = false;
            for (i64 other = threadIdx.x; other < count && !overlaps; other += blockDim.x) {
                overlaps = own.overlaps(Rectangle(p, group, kept[other]), limit);
            }
            if (__syncthreads_or(overlaps)) continue;
            if (threadIdx.x == 0) kept[count] = box;
            ++count;
            __syncthreads();
        }
        if (threadIdx.x == 0) p.groups.before[group] = count;
        __syncthreads();
    }
}

extern "C" __global__ void total(const __grid_constant__ Parameters p) { follow_previous(); add_up(p.groups); }

extern "C" __global__ void write(const __grid_constant__ Parameters p) {
    follow_previous();
    for (i64 group = blockIdx.x; group < p.sorting.lines; group += gridDim.x) {
        const i64 first = p.groups.before[group], end = p.groups.before[group + 1];
        for (i64 row = first + threadIdx.x; row < end && row < p.most_rows; row += blockDim.x) {
            p.y[row * 3] = group / p.classes;
            p.y[row * 3 + 1] = group % p.classes;
            p.y[row * 3 + 2] = p.kept[group * p.sorting.length + (row - first)];
        }
    }
}
