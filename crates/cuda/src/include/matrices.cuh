// The parameters of products of stacked matrices, and the epilogue that turns their sums into results.
//
// The generated header names the types T of the operands and R of the result, the operands of the epilogue beside the product
// (`FOR_BESIDE(X)`, with X(index, type, varies by row, varies by column)), and `EPILOGUE(j)`, which computes y.lane[j] from
// x.lane[j] and x<index>.lane[j].
#pragma once
#include "math.cuh"
#include "generated.cuh"

// An operand of the epilogue.
struct Beside {
    const char* data;
    // Elements from one row and from one column to the next; 0 where an element is repeated.
    i64 row, column;
    // May eight columns be loaded at once?
    i64 wide;
    // Elements from one matrix of the stack to the next, by axis of the stack.
    i64 steps[RANK];
};

struct Matrices {
    i64 m, n, k;
    const T* a;
    const T* b;
    R* y;
    // Elements from one row in memory to the next.
    i64 a_row, b_row, y_row;
    // Elements of a matrix, and from one result to the next.
    i64 a_size, b_size, y_size;
    // May eight columns of the result be stored at once, and those of all operands of the epilogue be loaded?
    i64 wide;
    // Axes of the stack, and how many matrices of both operands lie between neighbours.
    i64 stacks, rank;
    i64 sizes[RANK], a_steps[RANK], b_steps[RANK];
    Beside beside[BESIDE > 0 ? BESIDE : 1];
};

// The matrices of a position in the stack.
struct Place {
    i64 stack, a, b;
    i64 beside[BESIDE > 0 ? BESIDE : 1];
};

// Stacks and tiles are fewer than 2^31: 32-bit divisions are many times faster.
inline Place place_of(const Matrices& p, i64 stack) {
    Place place = {stack};
    int rest = int(stack);
    for (int axis = int(p.rank) - 1; axis >= 0; --axis) {
        const int size = int(p.sizes[axis]), outer = axis > 0 ? rest / size : 0, index = rest - outer * size;
        place.a += index * p.a_steps[axis];
        place.b += index * p.b_steps[axis];
#pragma unroll
        for (int i = 0; i < BESIDE; ++i) place.beside[i] += index * p.beside[i].steps[axis];
        rest = outer;
    }
    return place;
}

// The tile of a number: tiles of a few rows are neighbours, so that they read the same operands while these are in the cache.
struct TileIndex {
    i64 stack;
    int row, column;
};
inline TileIndex tile_of(i64 number, int rows, int columns) {
    constexpr int GROUP = 8;
    const int stack = int(number) / (rows * columns);
    const int rest = int(number) - stack * (rows * columns), band = rest / (GROUP * columns), first = band * GROUP;
    const int height = rows - first < GROUP ? rows - first : GROUP, inside = rest - band * GROUP * columns;
    return {stack, first + inside % height, inside / height};
}

// Columns that one lane computes.
constexpr int LANES = 8;
template <class E> struct alignas(16) Eight { E lane[LANES]; };

// Sixteen bytes, by one instruction.
__forceinline__ void store_chunk(void* at, const uint4& bits) {
    asm volatile("st.global.v4.b32 [%0], {%1, %2, %3, %4};" ::"l"(at), "r"(bits.x), "r"(bits.y), "r"(bits.z), "r"(bits.w)
                 : "memory");
}

// Eight elements, of which `count` exist; the others repeat the last one. With FULL all exist and can be loaded at once.
template <class E, bool VARIES, bool FULL = false> __forceinline__ Eight<E> eight(const E* at, i64 step, int count, bool wide) {
    Eight<E> all;
    if (!VARIES || step == 0) {
        const E only = *at;
#pragma unroll
        for (int j = 0; j < LANES; ++j) all.lane[j] = only;
    } else if (FULL || (wide && count >= LANES)) {
        if constexpr (sizeof(E) == 1) {
            *reinterpret_cast<uint2*>(&all) = *reinterpret_cast<const uint2*>(at);
        } else {
#pragma unroll
            for (int part = 0; part < int(sizeof(E)) / 2; ++part)
                reinterpret_cast<uint4*>(&all)[part] = reinterpret_cast<const uint4*>(at)[part];
        }
    } else {
#pragma unroll
        for (int j = 0; j < LANES; ++j) all.lane[j] = at[j < count ? j : count - 1];
    }
    return all;
}

template <class E, bool FULL = false> __forceinline__ void store_eight(E* at, const Eight<E>& all, int count, bool wide) {
    if (FULL || (wide && count >= LANES)) {
        if constexpr (sizeof(E) == 1) {
            const uint2 bits = *reinterpret_cast<const uint2*>(&all);
            asm volatile("st.global.v2.b32 [%0], {%1, %2};" ::"l"(at), "r"(bits.x), "r"(bits.y) : "memory");
        } else {
#pragma unroll
            for (int part = 0; part < int(sizeof(E)) / 2; ++part)
                store_chunk(reinterpret_cast<uint4*>(at) + part, reinterpret_cast<const uint4*>(&all)[part]);
        }
    } else {
#pragma unroll
        for (int j = 0; j < LANES; ++j)
            if (j < count) at[j] = all.lane[j];
    }
}

// Elements that a warp stages at once: 16 rows of the sums with 8 blocks of 8 columns.
constexpr int STAGED = 16 * 64;
constexpr int STAGED_BYTES = STAGED * int(sizeof(T));

// The sums of one lane in a block of 16 rows and 8 columns: (lane / 4 + 8 (i / 2), lane % 4 * 2 + i % 2) by i.
struct alignas(16) Four { float sums[4]; };

// The sums of a block among those of a lane, by an index that the compiler knows.
template <int N> __forceinline__ Four four_of(const float (&sums)[N], int block) {
    const int at = 4 * block < N ? 4 * block : 0;
    return {{sums[at], sums[at + 1], sums[at + 2], sums[at + 3]}};
}

// Two numbers as neighbouring elements.
template <class E> __forceinline__ u32 two_of(float first, float second) {
    u32 bits;
    if constexpr (same<E, bf16>) asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(second), "f"(first));
    else asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(bits) : "f"(second), "f"(first));
    return bits;
}

// Operands of the epilogue for one chunk of eight columns: those that vary by row and by column, which come from memory, and
// those that vary by column alone, which all rows share.
struct Chunk {
#define MEMBER(i, E, ROWS, COLUMNS) Eight<E> x##i;
    FOR_BESIDE(MEMBER)
#undef MEMBER
};
#define IS_WHOLE(i, E, ROWS, COLUMNS) || (ROWS && COLUMNS)
constexpr bool HAS_WHOLE = false FOR_BESIDE(IS_WHOLE);
#undef IS_WHOLE

// Rows of the result that a lane turns from 64 columns of sums at most.
constexpr int TURNS = 4;
typedef Chunk Chunks[TURNS];

// The sums of one warp as rows of the result: `lines` rows of `chunks` chunks from (row, column) on. A lane has one chunk of
// every 32 / chunks-th row.
template <bool SWAPPED> struct WarpRows {
    const Matrices& p;
    const Place& place;
    i64 row, column;
    int lines, chunks;

    // Those of 16 rows and `blocks` <= 8 blocks of 8 columns of the sums from (row, column) on; SWAPPED sums are the transposed
    // result.
    __forceinline__ WarpRows(const Matrices& p, const Place& place, i64 row, i64 column, int blocks)
        : p(p), place(place), row(SWAPPED ? column : row), column(SWAPPED ? row : column), lines(SWAPPED ? 8 * blocks : 16),
          chunks(SWAPPED ? 2 : blocks) {}

    // May all lanes go without checks?
    __forceinline__ bool is_full() const { return p.wide && row + lines <= p.m && column + chunks * LANES <= p.n; }
    __forceinline__ i64 own_column() const { return column + int(threadIdx.x) % 32 % chunks * LANES; }
    __forceinline__ int own_line(int turn) const { return int(threadIdx.x) % 32 / chunks + turn * (32 / chunks); }
    // Columns of a lane that exist.
    template <bool FULL> __forceinline__ int left() const {
        const i64 rest = p.n - own_column();
        return FULL || rest >= LANES ? LANES : rest > 0 ? int(rest) : 0;
    }
    template <bool FULL> __forceinline__ bool exists(int line) const {
        return line < lines && (FULL || (left<FULL>() > 0 && row + line < p.m));
    }

#define FETCH(i, E, ROWS, COLUMNS)                                                                                   \
    eight<E, COLUMNS, FULL>(reinterpret_cast<const E*>(p.beside[i].data) + place.beside[i]                           \
                                + (ROWS ? (row + line) * p.beside[i].row : 0)                                        \
                                + (COLUMNS ? own_column() * p.beside[i].column : 0),                                 \
                            p.beside[i].column, left<FULL>(), p.beside[i].wide != 0)

    // The operands of the epilogue that come from memory.
    template <bool FULL> __forceinline__ void fetch(Chunk& whole, int line) const {
        if (!exists<FULL>(line)) return;
#define LOAD(i, E, ROWS, COLUMNS) \
    if constexpr (ROWS && COLUMNS) whole.x##i = FETCH(i, E, ROWS, COLUMNS);
        FOR_BESIDE(LOAD)
#undef LOAD
    }
    template <bool FULL> __forceinline__ void fetch(Chunks& whole) const {
#pragma unroll
        for (int turn = 0; turn < TURNS; ++turn) fetch<FULL>(whole[turn], own_line(turn));
    }

    // The epilogue of staged sums. The operands that come from memory were fetched before where `whole` has them.
    template <bool FULL, bool FETCHED> __forceinline__ void run(const T* staged, const Chunks& whole) const {
        [[maybe_unused]] Chunk shared;
        if (left<FULL>() > 0) {
            [[maybe_unused]] const int line = 0;
#define LOAD(i, E, ROWS, COLUMNS) \
    if constexpr (!ROWS) shared.x##i = FETCH(i, E, ROWS, COLUMNS);
            FOR_BESIDE(LOAD)
#undef LOAD
        }
        const auto apply = [&](int line, const Chunk& whole) {
            if (!exists<FULL>(line)) return;
            const int chunk = int(threadIdx.x) % 32 % chunks;
            const int at = SWAPPED ? line * 16 + chunk * 8 : line * 64 + (chunk ^ (line & 7)) * 8;
            const Eight<T> x = *reinterpret_cast<const Eight<T>*>(staged + at);
#define LOAD(i, E, ROWS, COLUMNS)                               \
    Eight<E> x##i;                                              \
    if constexpr (ROWS && COLUMNS) x##i = whole.x##i;           \
    else if constexpr (ROWS) x##i = FETCH(i, E, ROWS, COLUMNS); \
    else x##i = shared.x##i;
            FOR_BESIDE(LOAD)
#undef LOAD
            Eight<R> y;
#pragma unroll
            for (int j = 0; j < LANES; ++j) EPILOGUE(j);
            R* const to = p.y + place.stack * p.y_size + (row + line) * p.y_row + own_column();
            store_eight<R, FULL>(to, y, left<FULL>(), p.wide != 0);
        };
        if constexpr (FETCHED || (FULL && IS_SHORT && !HAS_WHOLE)) {
#pragma unroll
            for (int turn = 0; turn < TURNS; ++turn) apply(own_line(turn), whole[turn]);
        } else {
#pragma unroll 1
            for (int turn = 0; turn < TURNS; ++turn) {
                Chunk own;
                fetch<FULL>(own, own_line(turn));
                apply(own_line(turn), own);
            }
        }
    }
#undef FETCH
};

// Turns sums of one warp into results: 16 rows and `blocks` <= 8 blocks of 8 columns from (row, column) on, all relative to
// the sums; the number of blocks is a power of two. `four(block)` are the sums of a lane. With SWAPPED the sums are the transposed
// result. With FETCHED, `whole` has the operands of the epilogue that come from memory, where the rows are full.
//
// The product is rounded to the type of its operands, as the region says, and staged in shared memory; the epilogue then runs
// on rows of the result, with wide loads and stores.
template <bool SWAPPED, bool FETCHED, class Get>
__forceinline__ void finish(const Matrices& p, const Place& place, char* staging, i64 row, i64 column, int blocks,
                            const Chunks& whole, Get four) {
    const int lane = threadIdx.x % 32, own = lane / 4, pair = lane % 4 * 2;
    T* staged = reinterpret_cast<T*>(staging);
    __syncwarp();
#pragma unroll
    for (int block = 0; block < 8; ++block) {
        if (block >= blocks) break;
        const Four own_sums = four(block);
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const u32 two = two_of<T>(own_sums.sums[2 * half], own_sums.sums[2 * half + 1]);
            const int line = own + 8 * half;
            if constexpr (SWAPPED) {
                reinterpret_cast<u16*>(staged)[(block * 8 + pair) * 16 + line] = u16(two);
                reinterpret_cast<u16*>(staged)[(block * 8 + pair + 1) * 16 + line] = u16(two >> 16);
            } else {
                *reinterpret_cast<u32*>(staged + line * 64 + ((block ^ (line & 7)) * 8) + pair) = two;
            }
        }
    }
    __syncwarp();
    const WarpRows<SWAPPED> rows(p, place, row, column, blocks);
    if (rows.is_full()) rows.template run<true, FETCHED>(staged, whole);
    else rows.template run<false, false>(staged, whole);
}
