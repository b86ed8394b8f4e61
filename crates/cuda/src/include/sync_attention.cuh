// Attention by warps that copy, load and multiply in turns: the main loop for compute capability 8.0 and later.
//
// A block takes queries of all heads that share keys, one head after the other, so that few queries of many heads fill a tile
// too. A warp computes sixteen of them; where there are no more, several warps share the keys of each tile, and add their sums at
// the end. The parts of a split go to scratch memory; a second function adds them.
#pragma once
#include "attention.cuh"

// A tile of rows in shared memory: panels of 64 elements.
template <int ROWS, int SIZE> struct Panels {
    static constexpr int BYTES = ROWS * 128 * ((SIZE + ROW - 1) / ROW);
    static u32 at(int row, int chunk) { return u32(chunk / 8 * ROWS * 128) + chunk_at(row, chunk % 8); }
};

// How blocks compute: warps, of which ACROSS share the keys of a tile, keys of a tile, and stages of the pipeline.
template <int WARPS, int ACROSS, int TILE_KEYS, int DEPTH> struct Tiling {
    static constexpr int THREADS = 32 * WARPS, SHARERS = ACROSS, QUERIES = 16 * WARPS / ACROSS, KEYS = TILE_KEYS, STAGES = DEPTH;
    typedef Panels<QUERIES, HEAD> Q;
    typedef Panels<QUERIES, VALUE> Y;
    typedef Panels<KEYS, HEAD> K;
    typedef Panels<KEYS, VALUE> V;
    // Results are staged in the memory of the queries.
    static constexpr int Q_BYTES = Q::BYTES > Y::BYTES ? Q::BYTES : Y::BYTES, STAGE_BYTES = K::BYTES + V::BYTES;
    static constexpr int BYTES = Q_BYTES + STAGES * STAGE_BYTES;
    // Queries of long rows are loaded for every tile of keys: sums need the registers.
    static constexpr bool KEEPS_Q = HEAD <= 128;
};

// Copies rows of SIZE elements, of which `size` exist, to a tile; `row_of` gives their addresses, null for rows of zeros.
// Elements of rows that are not aligned are copied one by one.
template <int ROWS, int SIZE, int THREADS, class RowOf>
__forceinline__ void copy_rows(u32 to, int size, bool wide, const T* any, RowOf row_of) {
    constexpr int CHUNKS = SIZE / CHUNK;
#pragma unroll 4
    for (int at = threadIdx.x; at < ROWS * CHUNKS; at += THREADS) {
        const int row = at / CHUNKS, chunk = at % CHUNKS, left = size - chunk * CHUNK;
        const T* from = row_of(row);
        const int count = from == nullptr || left < 0 ? 0 : left < CHUNK ? left : CHUNK;
        const T* source = count > 0 ? from + chunk * CHUNK : any;
        const u32 target = to + Panels<ROWS, SIZE>::at(row, chunk);
        if (wide) {
            copy_chunk(target, source, count * int(sizeof(T)));
        } else {
            Vector<T, CHUNK> all;
#pragma unroll
            for (int j = 0; j < CHUNK; ++j) all.lane[j] = j < count ? source[j] : T{0};
            const uint4 whole = *reinterpret_cast<uint4*>(&all);
            asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(target), "r"(whole.x), "r"(whole.y), "r"(whole.z),
                         "r"(whole.w)
                         : "memory");
        }
    }
}

// The same for rows of `step` elements from `from` on, of which `rows` exist, with less arithmetic where threads take whole
// columns of chunks.
template <int ROWS, int SIZE, int THREADS>
__forceinline__ void copy_lines(u32 to, const T* from, i64 step, int rows, int size, bool wide) {
    constexpr int CHUNKS = SIZE / CHUNK, LINES = THREADS / CHUNKS;
    if constexpr (THREADS % CHUNKS == 0 && LINES % 8 == 0 && ROWS % LINES == 0) {
        if (wide) {
            const int first = int(threadIdx.x) / CHUNKS, chunk = int(threadIdx.x) % CHUNKS, left = chunk * CHUNK < size ? rows - first : 0;
            const T* source = from + first * step + chunk * CHUNK;
            const u32 target = to + Panels<ROWS, SIZE>::at(first, chunk);
#pragma unroll
            for (int part = 0; part < ROWS / LINES; ++part) {
                const bool exists = part * LINES < left;
                copy_chunk(target + part * LINES * 128, exists ? source : from, exists ? 16 : 0);
                source += LINES * step;
            }
            return;
        }
    }
    copy_rows<ROWS, SIZE, THREADS>(to, size, wide, from, [&](int r) { return r < rows ? from + r * step : nullptr; });
}

// Sixteen rows and sixteen columns of a left operand; of a right one, whose rows are the columns of the result; and of a right
// one, whose rows are the terms.
template <class P> __forceinline__ void load_left(u32 (&parts)[4], u32 tile, int row, int step) {
    const int lane = threadIdx.x % 32;
    load_matrices(parts, tile + P::at(row + lane % 16, 2 * step + lane / 16));
}
template <class P> __forceinline__ void load_keys(u32 (&parts)[4], u32 tile, int row, int step) {
    const int lane = threadIdx.x % 32;
    load_matrices(parts, tile + P::at(row + lane % 8 + lane / 16 * 8, 2 * step + lane / 8 % 2));
}
template <class P> __forceinline__ void load_values(u32 (&parts)[4], u32 tile, int row, int step) {
    const int lane = threadIdx.x % 32;
    load_transposed(parts, tile + P::at(row + lane % 16, 2 * step + lane / 16));
}

// Elements of the mask for the scores of a lane in a tile of keys.
typedef Vector<M, 2> MaskPair;
template <int N> __forceinline__ void load_mask(const Attention& p, const M* const (&rows)[2], int key, MaskPair (&mask)[N]) {
    const int last = int(p.covered) - 1;
    // Pairs begin at even keys, and their number is even.
    if (p.mask_pairs && key + N * 4 <= last) {
        const M* const starts[2] = {rows[0] + key, rows[1] + key};
#pragma unroll
        for (int i = 0; i < N; ++i) mask[i] = MASK == ROW_MASK && i % 2 == 1 ? mask[i - 1] : MaskPair::load(starts[i % 2] + i / 2 * 8);
        return;
    }
#pragma unroll
    for (int i = 0; i < N; ++i) {
        if (MASK == ROW_MASK && i % 2 == 1) {
            mask[i] = mask[i - 1];
            continue;
        }
        const M* row = rows[i % 2];
        const int at = key + i / 2 * 8;
#pragma unroll
            for (int e = 0; e < 2; ++e) mask[i].lane[e] = row[(at + e < last ? at + e : last) * p.mask_steps[3]];
    }
}

// Adds the sums of the warps that share the keys of their queries, in their order; the first one gets all.
template <class W, int N> __forceinline__ void add_sharers(float* memory, Softmax& softmax, float (&sums)[N], float exponent) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, sharer = warp % W::SHARERS;
    float2* totals = reinterpret_cast<float2*>(memory);
    float* there = memory + 2 * 16 * (W::THREADS / 32) + warp / W::SHARERS * N * 32 + lane;
#pragma unroll
    for (int h = 0; h < 2; ++h) totals[warp * 16 + lane / 4 + 8 * h] = make_float2(softmax.most[h], softmax.sum[h]);
    __syncthreads();
    float kept[2];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
        float2 own[W::SHARERS];
        float most = -infinity(), sum = 0;
#pragma unroll
        for (int other = 0; other < W::SHARERS; ++other) {
            own[other] = totals[(warp - sharer + other) * 16 + lane / 4 + 8 * h];
            most = fmaxf(most, own[other].x);
        }
        const float at = most == -infinity() ? 0.0f : most;
#pragma unroll
        for (int other = 0; other < W::SHARERS; ++other) sum += power_of_two((own[other].x - at) * exponent) * own[other].y;
        kept[h] = power_of_two((softmax.most[h] - at) * exponent);
        softmax.most[h] = most;
        softmax.sum[h] = sum;
    }
#pragma unroll 1
    for (int turn = 0; turn < W::SHARERS; ++turn) {
        if (sharer == turn) {
#pragma unroll
            for (int i = 0; i < N; ++i) {
                const float own = sums[i] * kept[i / 2 % 2];
                there[i * 32] = turn == 0 ? own : there[i * 32] + own;
            }
        }
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < N; ++i) sums[i] = there[i * 32];
}

// The work of a block.
template <class W> __forceinline__ void attend_tile(const Attention& p, char* memory) {
    // Keys of a warp in a tile; its scores and sums of a lane.
    constexpr int OWN_KEYS = W::KEYS / W::SHARERS, SCORES = OWN_KEYS / 2, SUMS = VALUE / 2;
    const int warp = threadIdx.x / 32 / W::SHARERS, first_key = threadIdx.x / 32 % W::SHARERS * OWN_KEYS;
    const int lane = threadIdx.x % 32, own = lane / 4, pair = lane % 4 * 2;
    const int length = int(p.length), rows = int(p.heads / p.key_heads) * length;
    const int tiles = (rows + W::QUERIES - 1) / W::QUERIES;
    // Later queries of a causal attention see more keys: their blocks start first.
    const int tile = tiles - 1 - int(blockIdx.x % tiles);
    int rest = int(blockIdx.x / tiles);
    const int part = rest % p.parts;
    rest /= p.parts;
    const int key_head = rest % int(p.key_heads), b = rest / int(p.key_heads);
    const int first_row = tile * W::QUERIES, last_row = (first_row + W::QUERIES < rows ? first_row + W::QUERIES : rows) - 1;
    const int first_head = key_head * int(p.heads / p.key_heads);
    const Sight sight(p, b);
    const auto query_row = [&](int r) { return p.q.row(b, first_head + r / length, r % length); };
    const int last_query = first_row / length == last_row / length ? last_row % length : length - 1;
    const int key_tiles = (sight.end(last_query) + W::KEYS - 1) / W::KEYS;
    const int from = int(i64(key_tiles) * part / p.parts), to = int(i64(key_tiles) * (part + 1) / p.parts);

    const u32 q_tile = shared_address(memory), stages = q_tile + W::Q_BYTES;
    const bool wide = p.wide != 0;
    const auto copy_stage = [&](int at) {
        const u32 stage = stages + u32(at % W::STAGES) * W::STAGE_BYTES;
        const int key = at * W::KEYS, left = int(p.total) - key;
        const T* k = p.k.row(b, key_head, key);
        const T* v = p.v.row(b, key_head, key);
        copy_lines<W::KEYS, HEAD, W::THREADS>(stage, k, p.k.step, left, int(p.size), wide);
        copy_lines<W::KEYS, VALUE, W::THREADS>(stage + W::K::BYTES, v, p.v.step, left, int(p.value_size), wide);
    };
    copy_rows<W::QUERIES, HEAD, W::THREADS>(q_tile, int(p.size), wide, p.q.data, [&](int r) -> const T* {
        return first_row + r < rows ? query_row(first_row + r) : nullptr;
    });
#pragma unroll
    for (int ahead = 0; ahead < W::STAGES - 1; ++ahead) {
        if (from + ahead < to) copy_stage(from + ahead);
        commit_copies();
    }

    // The rows of this lane; those behind the last one see as much as it does.
    int ends[2], least = int(p.total);
    const M* mask_rows[2];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
        const int r = first_row + warp * 16 + own + 8 * h, row = r < rows ? r : rows - 1;
        ends[h] = sight.end(row % length);
        least = ends[h] < least ? ends[h] : least;
        mask_rows[h] = p.mask + b * p.mask_steps[0] + (first_head + row / length) * p.mask_steps[1] + row % length * p.mask_steps[2];
    }
    least = __reduce_min_sync(~0u, least);

    u32 q[W::KEEPS_Q ? HEAD / 16 : 1][4];
    float sums[SUMS];
#pragma unroll
    for (int i = 0; i < SUMS; ++i) sums[i] = 0;
    Softmax softmax;
    if (W::KEEPS_Q && from < to) {
        wait_for_copies<W::STAGES - 2>();
        __syncthreads();
#pragma unroll
        for (int step = 0; step < HEAD / 16; ++step) load_left<typename W::Q>(q[step % (W::KEEPS_Q ? HEAD / 16 : 1)], q_tile, warp * 16, step);
    }
    // What the mask adds to the scores of the next tile.
    MaskPair mask[MASK != UNMASKED ? SCORES / 2 : 1];
    if (MASK != UNMASKED && from < to) load_mask(p, mask_rows, from * W::KEYS + first_key + pair, mask);
    for (int at = from; at < to; ++at) {
        wait_for_copies<W::STAGES - 2>();
        __syncthreads();
        // All warps have read the stage before this one.
        if (at + W::STAGES - 1 < to) copy_stage(at + W::STAGES - 1);
        commit_copies();
        const u32 k_tile = stages + u32(at % W::STAGES) * W::STAGE_BYTES, v_tile = k_tile + W::K::BYTES;
        const int key = at * W::KEYS + first_key + pair;
        float s[SCORES];
#pragma unroll
        for (int i = 0; i < SCORES; ++i) s[i] = 0;
#pragma unroll
        for (int step = 0; step < HEAD / 16; ++step) {
            u32 (&left)[4] = q[W::KEEPS_Q ? step : 0];
            if (!W::KEEPS_Q) load_left<typename W::Q>(left, q_tile, warp * 16, step);
#pragma unroll
            for (int j = 0; j < OWN_KEYS / 16; ++j) {
                u32 right[4];
                load_keys<typename W::K>(right, k_tile, first_key + 16 * j, step);
                multiply<T>(s + 8 * j, left, right[0], right[1]);
                multiply<T>(s + 8 * j + 4, left, right[2], right[3]);
            }
        }
        if (SCALED) {
#pragma unroll
            for (int i = 0; i < SCORES; ++i)
                s[i] = score_of(p, s[i], MASK != UNMASKED ? added(mask[MASK != UNMASKED ? i / 2 : 0].lane[i % 2]) : 0.0f);
        }
        if (MASK != UNMASKED && at + 1 < to) load_mask(p, mask_rows, key + W::KEYS, mask);
        if ((at + 1) * W::KEYS > least) {
#pragma unroll
            for (int i = 0; i < SCORES; ++i)
                if (key + i / 4 * 8 + i % 2 >= ends[i / 2 % 2]) s[i] = -infinity();
        }
        float kept[2];
        softmax.take(s, p.exponent, kept);
#pragma unroll
        for (int i = 0; i < SUMS; ++i) sums[i] *= kept[i / 2 % 2];
#pragma unroll
        for (int j = 0; j < OWN_KEYS / 16; ++j) {
            const float* own_scores = s + 8 * j;
            const u32 left[4] = {packed(own_scores[0], own_scores[1]), packed(own_scores[2], own_scores[3]),
                                 packed(own_scores[4], own_scores[5]), packed(own_scores[6], own_scores[7])};
#pragma unroll
            for (int step = 0; step < VALUE / 16; ++step) {
                u32 right[4];
                load_values<typename W::V>(right, v_tile, first_key + 16 * j, step);
                multiply<T>(sums + 8 * step, left, right[0], right[1]);
                multiply<T>(sums + 8 * step + 4, left, right[2], right[3]);
            }
        }
    }
    softmax.join();
    wait_for_copies<0>();
    __syncthreads();
    if constexpr (W::SHARERS > 1) {
        static_assert(W::THREADS / 32 * 128 + W::QUERIES * VALUE * 4 <= W::STAGES * W::STAGE_BYTES, "sums are added in the memory of the tiles");
        add_sharers<W>(reinterpret_cast<float*>(memory + W::Q_BYTES), softmax, sums, p.exponent);
        if (first_key > 0) return;
    }
    if (p.parts > 1) {
        const i64 all = p.batch * p.heads * p.length, base = (i64(b) * p.key_heads + key_head) * rows;
#pragma unroll
        for (int h = 0; h < 2; ++h) {
            const int r = first_row + warp * 16 + own + 8 * h;
            if (r >= rows) continue;
            const i64 place = part * all + base + r;
            if (pair == 0) p.part_totals[place] = make_float2(softmax.most[h], softmax.sum[h]);
#pragma unroll
            for (int block = 0; block < VALUE / 8; ++block)
                *reinterpret_cast<float2*>(p.part_sums + place * VALUE + block * 8 + pair) =
                    make_float2(sums[4 * block + 2 * h], sums[4 * block + 2 * h + 1]);
        }
        return;
    }
    // Results go through the shared memory of the warp's queries, so that whole chunks are stored.
#pragma unroll
    for (int h = 0; h < 2; ++h) {
        const int line = warp * 16 + own + 8 * h, r = first_row + line, head = first_head + (r < rows ? r : rows - 1) / length;
        const Ending end = ending(p, head, softmax.most[h], softmax.sum[h]);
#pragma unroll
        for (int block = 0; block < VALUE / 8; ++block)
            *reinterpret_cast<u32*>(memory + W::Y::at(line, block) + pair * 2) =
                packed(result_of(end, sums[4 * block + 2 * h]), result_of(end, sums[4 * block + 2 * h + 1]));
    }
    __syncwarp();
#pragma unroll 1
    for (int at = lane; at < 16 * (VALUE / CHUNK); at += 32) {
        const int line = warp * 16 + at / (VALUE / CHUNK), chunk = at % (VALUE / CHUNK), r = first_row + line;
        const int left = int(p.value_size) - chunk * CHUNK;
        if (r >= rows || left <= 0) continue;
        T* y = p.y.row(b, first_head + r / length, r % length) + chunk * CHUNK;
        const Vector<T, CHUNK> all = *reinterpret_cast<const Vector<T, CHUNK>*>(memory + W::Y::at(line, chunk));
        if (p.y_wide) {
            all.store(y);
        } else {
#pragma unroll
            for (int j = 0; j < CHUNK; ++j)
                if (j < left) y[j] = all.lane[j];
        }
    }
}

// Adds the parts of split keys, at most 32: a warp for each query.
__forceinline__ void add_parts(const Attention& p) {
    const int lane = threadIdx.x % 32;
    const i64 all = p.batch * p.heads * p.length;
    for (i64 at = i64(blockIdx.x) * (blockDim.x / 32) + threadIdx.x / 32; at < all; at += i64(gridDim.x) * (blockDim.x / 32)) {
        // Lanes take the totals of parts in turns; all of them keep the factors.
        float2 total = make_float2(-infinity(), 0);
        if (lane < p.parts) total = p.part_totals[lane * all + at];
        float most = total.x;
#pragma unroll
        for (int step = 16; step > 0; step /= 2) most = fmaxf(most, __shfl_xor_sync(~0u, most, step));
        const float kept = power_of_two((total.x - (most == -infinity() ? 0.0f : most)) * p.exponent);
        float sum = kept * total.y;
#pragma unroll
        for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(~0u, sum, step);
        float sums[(VALUE + 31) / 32] = {};
#pragma unroll 8
        for (int part = 0; part < p.parts; ++part) {
            const float factor = __shfl_sync(~0u, kept, part);
            const float* own = p.part_sums + (part * all + at) * VALUE;
#pragma unroll
            for (int i = 0; i < (VALUE + 31) / 32; ++i)
                if (lane + 32 * i < VALUE) sums[i] += factor * own[lane + 32 * i];
        }
        const i64 b = at / (p.heads * p.length), h = at / p.length % p.heads, l = at % p.length;
        const Ending end = ending(p, h, most, sum);
        T* y = p.y.row(b, h, l);
#pragma unroll
        for (int i = 0; i < (VALUE + 31) / 32; ++i)
            if (lane + 32 * i < p.value_size) y[lane + 32 * i] = narrowed<T>(result_of(end, sums[i]));
    }
}
