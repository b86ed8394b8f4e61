// Scaled dot-product attention by its formula: a block computes one query. It goes through the keys twice, for the largest
// score and the sum of powers, then for the weights and the weighted sums of values.
//
// The generated header names the types of queries and keys Q, of values V, of the mask M, of the sinks S, the type P in which
// the softmax is computed, the type A of all sums, and the STAGE at which scores are recorded.
#include "groups.cuh"

enum { PRODUCT, CAPPED, MASKED, WEIGHTS };
#include "generated.cuh"

// Rows of an operand, or of the past in front of it.
template <class T> struct Rows {
    const T* data;
    // Distances of batch entries, heads and positions.
    i64 batch;
    i64 head;
    i64 step;

    const T* row(i64 b, i64 h, i64 l) const { return data + b * batch + h * head + l * step; }
};

struct Parameters {
    i64 batch, heads, key_heads, length, total, past, size, value_size;
    Rows<Q> q;
    Rows<Q> past_keys;
    Rows<Q> keys;
    Rows<V> past_values;
    Rows<V> values;
    // Null for none; keys from `covered` on take no part.
    const M* mask;
    i64 mask_strides[4];
    i64 covered;
    // Null for none.
    const i64* lengths;
    const S* sinks;
    double scale;
    double softcap;
    i64 causal;
    i64 zero_where_masked;
    // Of the result.
    i64 y_batch, y_head, y_step;
    Q* y;
    // Null where they are no results.
    Q* all_keys;
    V* all_values;
    Q* scores;
};

constexpr int THREADS = 256;
// Components of a value that a thread sums at once.
constexpr int OWN = 4;

inline A infinity(bool negative) { return A(of_bits(negative ? 0xFF800000u : 0x7F800000u)); }
inline A in_softmax_type(A v) { return A(cast<P, A>(v, true, 0)); }

inline A masked_by(const Parameters& p, i64 place) {
    if constexpr (same<M, boolean>) return Element<M>::load(p.mask[place]) ? A(0) : infinity(true);
    else return A(Element<M>::load(p.mask[place]));
}

struct Query {
    const Parameters& p;
    i64 b, h, i, key_head, open;
    const Q* q;

    Query(const Parameters& p, i64 at) : p(p) {
        b = at / p.length / p.heads;
        h = at / p.length % p.heads;
        i = at % p.length;
        key_head = h / (p.heads / p.key_heads);
        q = p.q.row(b, h, i);
        i64 counted = p.total;
        if (p.lengths != nullptr) {
            const i64 given = p.lengths[b];
            counted = given < 0 ? 0 : given < p.total ? given : p.total;
        }
        // Without a past, the queries belong to the last of the keys that count.
        i64 behind = p.total;
        if (p.causal) behind = p.lengths != nullptr && p.past < 0 ? counted + i + 1 - p.length : (p.past < 0 ? 0 : p.past) + i + 1;
        open = behind < 0 ? 0 : behind < counted ? behind : counted;
    }

    i64 old() const { return p.past < 0 ? 0 : p.past; }

    // The score of a key before the softmax; `product` and `capped` are those of earlier stages.
    A score(i64 j, A& product, A& capped) const {
        const Q* k = j < old() ? p.past_keys.row(b, key_head, j) : p.keys.row(b, key_head, j - old());
        A sum = 0;
        for (i64 d = 0; d < p.size; ++d) sum += A(Element<Q>::load(q[d])) * A(Element<Q>::load(k[d]));
        product = A(p.scale) * sum;
        capped = p.softcap > 0.0 ? A(p.softcap) * real_tanh(product / A(p.softcap)) : product;
        if (j >= open) return infinity(true);
        if (p.mask == nullptr) return capped;
        if (j >= p.covered) return capped + infinity(true);
        return capped + masked_by(p, b * p.mask_strides[0] + h * p.mask_strides[1] + i * p.mask_strides[2] + j * p.mask_strides[3]);
    }
};

extern "C" __global__ void attend(const __grid_constant__ Parameters p) {
    follow_previous();
    typedef Team<THREADS> Block;
    __shared__ A weights[THREADS];
    const int thread = int(threadIdx.x);
    for (i64 at = blockIdx.x; at < p.batch * p.heads * p.length; at += gridDim.x) {
        const Query query(p, at);
        Q* recorded = p.scores == nullptr ? nullptr : p.scores + at * p.total;
        A largest = infinity(true), own = 0, seen = 0;
        for (i64 j = thread; j < p.total; j += THREADS) {
            A product, capped;
            const A masked = query.score(j, product, capped), s = in_softmax_type(masked);
            if (STAGE != WEIGHTS && recorded != nullptr) recorded[j] = of_float<Q>(STAGE == PRODUCT ? product : STAGE == CAPPED ? capped : masked);
            if (s != infinity(true)) seen = 1;
            if (s > largest) {
                // Infinite scores have no weights.
                own = own * real_exp(largest - s) + real_exp(s - s);
                largest = s;
            } else if (s != infinity(true)) {
                own += real_exp(s - largest);
            }
        }
        A most = Block::all(largest, [](A a, A b) { return b > a ? b : a; });
        const A sink = p.sinks == nullptr ? infinity(true) : in_softmax_type(A(Element<S>::load(p.sinks[query.h])));
        if (sink > most) most = sink;
        A total = Block::all(largest == infinity(true) ? own : own * real_exp(largest - most), [](A a, A b) { return a + b; });
        if (p.sinks != nullptr) total += real_exp(sink - most);
        const bool is_zero = p.zero_where_masked && Block::all(seen, [](A a, A b) { return a > b ? a : b; }) == A(0);
        // At least one part, which records the weights.
        for (i64 part = 0; part == 0 || part < p.value_size; part += THREADS * OWN) {
            A sums[OWN] = {};
            for (i64 j0 = 0; j0 < p.total; j0 += THREADS) {
                const i64 j = j0 + thread;
                if (j < p.total) {
                    A product, capped;
                    const A s = in_softmax_type(query.score(j, product, capped));
                    const A weight = is_zero ? A(0) : real_exp(s - most) / total;
                    weights[thread] = weight;
                    if (STAGE == WEIGHTS && recorded != nullptr && part == 0) recorded[j] = of_float<Q>(weight);
                }
                __syncthreads();
                const int keys = p.total - j0 < THREADS ? int(p.total - j0) : THREADS;
                for (int k = 0; k < keys; ++k) {
                    const i64 key = j0 + k, old = query.old();
                    const V* v = key < old ? p.past_values.row(query.b, query.key_head, key) : p.values.row(query.b, query.key_head, key - old);
#pragma unroll
                    for (int c = 0; c < OWN; ++c) {
                        const i64 e = part + c * THREADS + thread;
                        if (e < p.value_size) sums[c] += weights[k] * A(Element<V>::load(v[e]));
                    }
                }
                __syncthreads();
            }
            Q* y = p.y + query.b * p.y_batch + query.h * p.y_head + query.i * p.y_step;
#pragma unroll
            for (int c = 0; c < OWN; ++c) {
                const i64 e = part + c * THREADS + thread;
                if (e < p.value_size) y[e] = of_float<Q>(sums[c]);
            }
        }
    }
}

// Past and new rows one after the other.
template <class T> inline void join(const Parameters& p, const Rows<T>& past, const Rows<T>& rows, i64 size, T* all) {
    const i64 old = p.past < 0 ? 0 : p.past;
    each(p.batch * p.key_heads * p.total * size, [&](i64 at) {
        const i64 d = at % size, l = at / size % p.total, h = at / size / p.total % p.key_heads, b = at / size / p.total / p.key_heads;
        all[at] = l < old ? past.row(b, h, l)[d] : rows.row(b, h, l - old)[d];
    });
}

extern "C" __global__ void join_keys(const __grid_constant__ Parameters p) { follow_previous(); join(p, p.past_keys, p.keys, p.size, p.all_keys); }
extern "C" __global__ void join_values(const __grid_constant__ Parameters p) { follow_previous(); join(p, p.past_values, p.values, p.value_size, p.all_values); }
