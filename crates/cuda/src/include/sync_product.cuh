// A product of one tile by warps that copy, load and multiply in turns: the main loop for compute capability 8.0 and later.
//
// An operand lies in shared memory as rows of 64 elements. Where k is its inner axis in memory, a row of the tile is a row there; else
// the tile is panels of 64 of its rows, and a row there holds the elements of one k.
#pragma once
#include "matrices.cuh"
#include "tensor_cores.cuh"

// Fragments of 16 rows and 16 k of an operand, from a tile of whatever order. The left operand wants its parts in the order
// (rows 0-7, k 0-7), (rows 8-15, k 0-7), (rows 0-7, k 8-15), (rows 8-15, k 8-15), the right one with the two middle ones
// exchanged.
template <bool INNER, bool LEFT> __forceinline__ void load_fragment(u32 (&parts)[4], u32 tile, int row, int k) {
    const int lane = threadIdx.x % 32, low = lane % 8, second = lane / 8 % 2, third = lane / 16;
    const int rows = LEFT ? second : third, steps = LEFT ? third : second;
    if constexpr (INNER) {
        load_matrices(parts, tile + chunk_at(row + low + 8 * rows, k / CHUNK + steps));
    } else {
        const u32 panel = tile + u32(row / ROW * ROW * 128);
        load_transposed(parts, panel + chunk_at(k + low + 8 * steps, row % ROW / CHUNK + rows));
    }
}

// Copies a tile of ROWS rows and 64 k of a matrix to shared memory; elements outside are zero. `corner` is the tile's first
// element, which has `rows` rows and `k` terms. With WIDE, chunks of the matrix are aligned and are copied while the warps
// compute; without, elements are copied one by one.
template <int ROWS, int THREADS, bool INNER, bool WIDE>
__forceinline__ void copy_tile(u32 to, const T* corner, i64 stride, int rows, int k) {
    static_assert(INNER || ROWS % ROW == 0, "panels of 64 rows");
    static_assert(THREADS % 64 == 0 && ROWS * 8 % THREADS == 0, "every part of a panel is whole");
    constexpr int LINES = THREADS / 8;
    const int first = int(threadIdx.x) / 8, chunk = int(threadIdx.x) % 8;
    const T* from = corner + first * stride + chunk * CHUNK;
#pragma unroll
    for (int part = 0; part < ROWS / LINES; ++part) {
        // The row in shared memory, and the panel that it is in.
        const int line = first + part * LINES, panel = part * LINES / ROW;
        const int across = INNER ? line : line - panel * ROW, along = chunk * CHUNK + (INNER ? 0 : panel * ROW);
        const int left = across < (INNER ? rows : k) ? (INNER ? k : rows) - along : 0;
        const int count = left < 0 ? 0 : left < CHUNK ? left : CHUNK;
        const T* source = count > 0 ? from : corner;
        const u32 target = to + chunk_at(line, chunk);
        if constexpr (WIDE) {
            copy_chunk(target, source, count * int(sizeof(T)));
        } else {
            Eight<T> all;
#pragma unroll
            for (int j = 0; j < CHUNK; ++j) all.lane[j] = j < count ? source[j] : T{0};
            const uint4 whole = *reinterpret_cast<uint4*>(&all);
            asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(target), "r"(whole.x), "r"(whole.y), "r"(whole.z),
                         "r"(whole.w)
                         : "memory");
        }
        // The next panel begins at the first k again.
        const bool turns = !INNER && (part + 1) * LINES % ROW == 0;
        from += turns ? ROW - (ROW - LINES) * stride : LINES * stride;
    }
}

// The shape of a tile and of the work of its warps.
template <int M, int N, int DOWN, int ACROSS, int DEPTH> struct Shape {
    static constexpr int ROWS = M, COLUMNS = N, STAGES = DEPTH, THREADS = 32 * DOWN * ACROSS;
    // Rows and columns of a warp, in fragments of 16.
    static constexpr int HIGH = M / DOWN / 16, BROAD = N / ACROSS / 16;
    static constexpr int LEFT_BYTES = M * 128, STAGE_BYTES = (M + N) * 128;
    static constexpr int BYTES = DEPTH * STAGE_BYTES;
    static_assert(THREADS / 32 * STAGED_BYTES <= BYTES, "the epilogue stages in the memory of the tiles");
    static int row(int warp) { return warp % DOWN * (M / DOWN); }
    static int column(int warp) { return warp / DOWN * (N / ACROSS); }
};

// Sums of a warp: `copy(stage's address, step)` starts the copies of both operands, and `settle(stage's address)` stores what
// registers hold of them, after the products of a step.
template <class S, bool A_INNER, bool B_INNER, class Copy, class Settle>
__forceinline__ void sum_tile(float (&sums)[S::HIGH][8 * S::BROAD], u32 memory, int steps, Copy copy, Settle settle) {
    const int warp = threadIdx.x / 32, row = S::row(warp), column = S::column(warp);
#pragma unroll
    for (int i = 0; i < S::HIGH; ++i)
#pragma unroll
        for (int j = 0; j < 8 * S::BROAD; ++j) sums[i][j] = 0;
#pragma unroll
    for (int stage = 0; stage < S::STAGES - 1; ++stage) {
        if (stage < steps) {
            copy(memory + stage * S::STAGE_BYTES, stage);
            settle(memory + stage * S::STAGE_BYTES);
        }
        commit_copies();
    }
    int stage = 0;
    for (int step = 0; step < steps; ++step) {
        wait_for_copies<S::STAGES - 2>();
        __syncthreads();
        // All warps have read the stage before this one: the next copies go there.
        const int ahead = step + S::STAGES - 1;
        const u32 next = memory + u32(ahead % S::STAGES) * S::STAGE_BYTES;
        if (ahead < steps) copy(next, ahead);
        commit_copies();
        const u32 left = memory + stage * S::STAGE_BYTES, right = left + S::LEFT_BYTES;
        // Fragments of the next 16 k are loaded while those of the last are multiplied.
        u32 a[2][S::HIGH][4], b[2][S::BROAD][4];
        const auto load = [&](int slot, int k) {
#pragma unroll
            for (int i = 0; i < S::HIGH; ++i) load_fragment<A_INNER, true>(a[slot][i], left, row + 16 * i, k);
#pragma unroll
            for (int j = 0; j < S::BROAD; ++j) load_fragment<B_INNER, false>(b[slot][j], right, column + 16 * j, k);
        };
        load(0, 0);
#pragma unroll
        for (int part = 0; part < 4; ++part) {
            if (part < 3) load((part + 1) % 2, (part + 1) * 16);
#pragma unroll
            for (int i = 0; i < S::HIGH; ++i)
#pragma unroll
                for (int j = 0; j < 2 * S::BROAD; ++j)
                    multiply<T>(&sums[i][4 * j], a[part % 2][i], b[part % 2][j / 2][j % 2 * 2], b[part % 2][j / 2][j % 2 * 2 + 1]);
        }
        if (ahead < steps) settle(next);
        if (++stage == S::STAGES) stage = 0;
    }
    wait_for_copies<0>();
    __syncthreads();
}

// Nothing to add to a sum.
struct NoTerms {
    __forceinline__ void add(Four&, i64, i64) const {}
};

// The results of all warps of a tile at this place. `terms.add(four, row, column)` adds what belongs to a sum to the four of a
// lane in a block of 16 x 8 sums. With SWAPPED the sums are the transposed result.
template <class S, bool SWAPPED = false, class Terms = NoTerms>
__forceinline__ void finish_tile(const Matrices& p, const Place& place, char* memory, i64 row0, i64 column0,
                                 const float (&sums)[S::HIGH][8 * S::BROAD], const Terms& terms = Terms()) {
    const int warp = threadIdx.x / 32;
    char* staging = memory + warp * STAGED_BYTES;
    const i64 row = row0 + S::row(warp), column = column0 + S::column(warp);
    constexpr int BLOCKS = 2 * S::BROAD;
    Chunks none;
#pragma unroll
    for (int i = 0; i < S::HIGH; ++i)
#pragma unroll
        for (int block = 0; block < BLOCKS; block += 8)
            finish<SWAPPED, false>(p, place, staging, row + 16 * i, column + 8 * block, BLOCKS - block < 8 ? BLOCKS - block : 8, none,
                                   [&](int own) {
                                       Four four = four_of(sums[i], block + own);
                                       terms.add(four, row + 16 * i, column + 8 * (block + own));
                                       return four;
                                   });
}

// One tile of a product of stacked matrices.
template <class S, bool A_INNER, bool B_INNER, bool WIDE> __forceinline__ void product_of_tile(const Matrices& p, char* memory) {
    const int rows = int((p.m + S::ROWS - 1) / S::ROWS), columns = int((p.n + S::COLUMNS - 1) / S::COLUMNS);
    const TileIndex tile = tile_of(blockIdx.x, rows, columns);
    const Place place = place_of(p, tile.stack);
    const T* a = p.a + place.a * p.a_size;
    const T* b = p.b + place.b * p.b_size;
    const i64 row0 = i64(tile.row) * S::ROWS, column0 = i64(tile.column) * S::COLUMNS;
    const int rows_left = int(p.m - row0 < S::ROWS ? p.m - row0 : S::ROWS);
    const int columns_left = int(p.n - column0 < S::COLUMNS ? p.n - column0 : S::COLUMNS);
    a += row0 * (A_INNER ? p.a_row : 1);
    b += column0 * (B_INNER ? p.b_row : 1);
    const i64 a_step = ROW * (A_INNER ? 1 : p.a_row), b_step = ROW * (B_INNER ? 1 : p.b_row);
    float sums[S::HIGH][8 * S::BROAD];
    sum_tile<S, A_INNER, B_INNER>(sums, shared_address(memory), int((p.k + ROW - 1) / ROW), [&](u32 stage, int step) {
        const i64 rest = p.k - i64(step) * ROW;
        const int k = rest < ROW ? int(rest) : ROW;
        copy_tile<S::ROWS, S::THREADS, A_INNER, WIDE>(stage, a + step * a_step, p.a_row, rows_left, k);
        copy_tile<S::COLUMNS, S::THREADS, B_INNER, WIDE>(stage + S::LEFT_BYTES, b + step * b_step, p.b_row, columns_left, k);
    }, [](u32) {});
    finish_tile<S>(p, place, memory, row0, column0, sums);
}
