// Scaled dot-product attention by tiles of keys: the parameters, which keys a query sees, and the softmax that goes through
// the keys once (Dao et al. 2022), for kernels of tensor cores.
//
// The generated header names the types T of queries, keys and values, M of the mask and S of the sinks; the sizes HEAD and
// VALUE of rows of keys and values, rounded up to multiples of 16; and the options MASK, CAUSAL and CAPPED.
#pragma once
#include "tensor_cores.cuh"

// A row mask is the same for all queries of a tile.
enum { UNMASKED, ROW_MASK, TILE_MASK };
#include "generated.cuh"

// Rows of an operand, with the distances of batch entries, heads and positions.
struct Side {
    T* data;
    i64 batch, head, step;

    T* row(i64 b, i64 h, i64 l) const { return data + b * batch + h * head + l * step; }
};

struct Attention {
    i64 batch, heads, key_heads, length, total;
    // Keys in front of the first query; negative where the queries stand at the end of the keys that count.
    i64 past;
    // Elements of a row of keys and of values.
    i64 size, value_size;
    Side q, k, v, y;
    const M* mask;
    // Elements from one batch entry, head, query and key to the next.
    i64 mask_steps[4];
    // Keys from here on take no part.
    i64 covered;
    // Numbers of keys that count, by batch entry; and sinks, by head. Null for none.
    const i64* lengths;
    const S* sinks;
    // Factor of the products; bound of the scores, with the factor in front of it; factor of the scores in powers of two.
    float scale, bound, exponent;
    // The result of a query that sees no key.
    float nothing;
    // May rows of q, k and v, rows of y, and pairs of elements of the mask be accessed at once?
    int wide, y_wide, mask_pairs;
    // Parts of the keys that different blocks take, and their sums: `parts` times all queries, each with VALUE numbers, and
    // with its largest score and the sum of its powers.
    int parts;
    float* part_sums;
    float2* part_totals;
};

// With a mask or a bound, scores are those of the operator; else those of the plain product, whose factor the exponential
// takes in.
constexpr bool SCALED = MASK != UNMASKED || CAPPED;

inline float infinity() { return of_bits(0x7F800000u); }
inline float power_of_two(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
inline float reciprocal(float x) {
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// Two elements in a register, the first one in its low half.
inline u32 packed(float low, float high) {
    u32 pair;
    if constexpr (same<T, bf16>) asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    else asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
    return pair;
}

// What an element of the mask adds to a score.
inline float added(M element) {
    if constexpr (same<M, boolean>) return Element<M>::load(element) != 0 ? 0.0f : -infinity();
    else return Element<M>::load(element);
}

// The score of a product, with what the mask adds.
inline float score_of(const Attention& p, float product, float mask) {
    if constexpr (CAPPED) {
        // tanh x = 1 - 2 / (1 + e^2x)
        constexpr float TWO_LOG2_E = 2.8853900817779268f;
        const float capped = p.bound * (1.0f - 2.0f * reciprocal(1.0f + power_of_two(product * p.scale * TWO_LOG2_E)));
        return MASK == UNMASKED ? capped : capped + mask;
    } else {
        return SCALED ? fmaf(product, p.scale, mask) : product;
    }
}

// Which keys the queries of a batch entry see.
struct Sight {
    int first, counted;

    Sight(const Attention& p, i64 b) {
        i64 count = p.total;
        if (p.lengths != nullptr) {
            const i64 given = p.lengths[b];
            count = given < 0 ? 0 : given < p.total ? given : p.total;
        }
        first = int(p.past >= 0 ? p.past : p.lengths != nullptr ? count - p.length : 0);
        counted = int(count < p.covered ? count : p.covered);
    }
    // Keys from here on are hidden from a query.
    int end(int query) const {
        if (!CAUSAL) return counted;
        const int behind = first + query + 1;
        return behind < 0 ? 0 : behind < counted ? behind : counted;
    }
};

// Largest scores and sums of powers of two rows, as a lane holds them in the sums of a product: its elements 2 h and
// 2 h + 1 of each four belong to row h. Four lanes share a row; their sums are added at the end.
struct Softmax {
    float most[2] = {-infinity(), -infinity()};
    float sum[2] = {0, 0};

    // Replaces scores by powers, and gives the factors of all earlier sums.
    template <int N> __forceinline__ void take(float (&s)[N], float exponent, float (&kept)[2]) {
#pragma unroll
        for (int h = 0; h < 2; ++h) {
            float largest = most[h];
#pragma unroll
            for (int i = 2 * h; i < N; i += 4) largest = fmaxf(largest, fmaxf(s[i], s[i + 1]));
            largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, 1));
            largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, 2));
            // Where no key was seen, all powers are zero.
            const float at = largest == -infinity() ? 0.0f : largest;
            kept[h] = power_of_two((most[h] - at) * exponent);
            most[h] = largest;
            float own = 0;
#pragma unroll
            for (int i = 2 * h; i < N; i += 4)
#pragma unroll
                for (int e = 0; e < 2; ++e) {
                    // Not a product less a product: of large scores their rounding alone would be a large power.
                    s[i + e] = power_of_two((s[i + e] - at) * exponent);
                    own += s[i + e];
                }
            sum[h] = sum[h] * kept[h] + own;
        }
    }
    // The sums of whole rows.
    __forceinline__ void join() {
#pragma unroll
        for (int h = 0; h < 2; ++h) {
            sum[h] += __shfl_xor_sync(~0u, sum[h], 1);
            sum[h] += __shfl_xor_sync(~0u, sum[h], 2);
        }
    }
};

// The factor that turns the sums of a row into results; `nothing` where it saw no key, whose sums are zero.
struct Ending { float factor, nothing; };
inline Ending ending(const Attention& p, i64 head, float most, float sum) {
    constexpr float LOG2_E = 1.4426950408889634f;
    float sink = -infinity();
    if (p.sinks != nullptr) sink = Element<S>::load(p.sinks[head]);
    if (sum == 0.0f) return {0.0f, sink > -infinity() ? 0.0f : p.nothing};
    if (p.sinks != nullptr) sum += power_of_two((SCALED ? sink - most : fmaf(-most, p.scale, sink)) * LOG2_E);
    return {1.0f / sum, 0.0f};
}
inline float result_of(const Ending& end, float sum) { return fmaf(sum, end.factor, end.nothing); }
