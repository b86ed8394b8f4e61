// The main loop of products by the copy engine and the warpgroup products of compute capability 9.0, for whatever brings tiles
// of the operands to shared memory.
//
// The last warps of a block bring tiles of both operands into a ring of stages, the others multiply them: the left operand
// of the instruction has 64 rows for each warpgroup, the right one WIDTH. With SWAPPED the left one is b transposed and the
// sums are the transposed result, so that a result of few rows wastes no products. With SPLIT > 1 the blocks of a cluster
// share a tile, each with a part of k; they exchange sums through their shared memory and add them in the order of their rank.
//
// The generated header has the constants of the tile, and A_INNER and B_INNER: is k the inner axis of an operand?
#pragma once
#include "hopper.cuh"
#include "sync_product.cuh"

struct GroupProduct {
    // Of the operands.
    TensorMap a, b;
    Matrices matrices;
    // Tiles of all matrices.
    i64 tiles;
};

// One warp brings the tiles; registers move between whole warpgroups only.
constexpr int CONSUMERS = 128 * GROUPS, GROUP_THREADS = CONSUMERS + (SPARES_REGISTERS ? 128 : 32);
// Rows of the tile on both sides of the instruction.
constexpr int HEIGHT = 64 * GROUPS;
constexpr int LEFT_BYTES = HEIGHT * 128, STAGE_BYTES = LEFT_BYTES + WIDTH * 128;
// Rows and columns of the result, and where the tiles of the operands are in a stage.
constexpr int GROUP_ROWS = SWAPPED ? WIDTH : HEIGHT, GROUP_COLUMNS = SWAPPED ? HEIGHT : WIDTH;
constexpr int A_AT = SWAPPED ? LEFT_BYTES : 0, B_AT = SWAPPED ? 0 : LEFT_BYTES;
constexpr bool LEFT_INNER = SWAPPED ? B_INNER : A_INNER, RIGHT_INNER = SWAPPED ? A_INNER : B_INNER;
// Blocks of eight columns of the sums.
constexpr int BLOCKS = WIDTH / 8;
// Sums of one thread.
constexpr int SUMS = WIDTH / 2;
static_assert(RIGHT_INNER || WIDTH % 64 == 0, "panels of 64 rows");
static_assert(SPLIT == 1 || SUMS * CONSUMERS * 4 <= STAGES * STAGE_BYTES, "sums are exchanged in the memory of the tiles");

// Are operands of the epilogue fetched before the products of a tile? That takes 16 registers for 64 columns of each.
constexpr bool FETCHED = HAS_WHOLE && SPLIT == 1 && WIDTH <= 128;
constexpr int PARTS = WIDTH > 64 ? WIDTH / 64 : 1;

// Bytes from one step of 16 k to the next, as descriptors count them.
constexpr u64 LEFT_STEP = (LEFT_INNER ? 32 : 2048) >> 4, RIGHT_STEP = (RIGHT_INNER ? 32 : 2048) >> 4;

// `copies.start(tile, place, step)` prepares one thread for the steps of a tile from this one on; `copies.a(to, barrier, step)` and
// `copies.b(...)` copy the tile of an operand for each step in order, and `copies.weights(to, barrier, tile, place, step)` does
// the same as `b` for any step. `terms(place)` returns an object whose `add(four, row, column)` adds what belongs to a sum to
// the four of a lane in a block of 16 x 8 sums.
template <class Copies, class Terms>
__forceinline__ void product_of_groups(const GroupProduct& p, uint4* dynamic, Copies copies, const Terms& terms) {
    __shared__ alignas(8) u64 full[STAGES];
    __shared__ alignas(8) u64 empty[STAGES];
    // The swizzle counts from multiples of 1,024 bytes.
    const u32 memory = (shared_address(dynamic) + 1023) & ~1023u;
    char* const staging = reinterpret_cast<char*>(dynamic) + (memory - shared_address(dynamic)) + STAGES * STAGE_BYTES;
    const auto full_at = [&](int stage) { return shared_address(full + stage); };
    const auto empty_at = [&](int stage) { return shared_address(empty + stage); };
    // The same for all lanes, so that descriptors stay in uniform registers.
    const int group = __shfl_sync(~0u, int(threadIdx.x) / 128, 0), thread = threadIdx.x % 128;
    const u32 rank = SPLIT > 1 ? rank_in_cluster() : 0;
    if (threadIdx.x == 0) {
        for (int stage = 0; stage < STAGES; ++stage) {
            init_barrier(full_at(stage), 1);
            init_barrier(empty_at(stage), GROUPS);
        }
        publish_barriers();
        prefetch(&p.a);
        prefetch(&p.b);
    }
    __syncthreads();
    let_next_start();
    const Matrices& all = p.matrices;
    const int rows = int((all.m + GROUP_ROWS - 1) / GROUP_ROWS), columns = int((all.n + GROUP_COLUMNS - 1) / GROUP_COLUMNS);
    const int steps = int((all.k + ROW - 1) / ROW);
    const int first = int(i64(steps) * rank / SPLIT), last = int(i64(steps) * (rank + 1) / SPLIT);
    // Weights do not come from the kernel before: those of the first stages are fetched while it still runs.
    int early = 0;
    if (WEIGHTS && threadIdx.x == CONSUMERS && blockIdx.x / SPLIT < p.tiles) {
        const TileIndex tile = tile_of(blockIdx.x / SPLIT, rows, columns);
        const Place place = place_of(all, tile.stack);
        for (; early < STAGES && early < last - first; ++early) {
            announce(full_at(early), STAGE_BYTES);
            copies.weights(memory + early * STAGE_BYTES + B_AT, full_at(early), tile, place, first + early);
        }
    }
    wait_for_previous();
    int stage = 0;
    u32 phase = 0;
    const auto advance = [&] {
        if (++stage == STAGES) {
            stage = 0;
            phase ^= 1;
        }
    };
    if (group == GROUPS) {
        if (SPARES_REGISTERS) asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
        if (thread == 0) {
            for (i64 number = blockIdx.x / SPLIT; number < p.tiles; number += gridDim.x / SPLIT) {
                const TileIndex tile = tile_of(number, rows, columns);
                copies.start(tile, place_of(all, tile.stack), first);
                for (int step = first; step < last; ++step) {
                    const u32 to = memory + stage * STAGE_BYTES;
                    if (early == 0) {
                        wait_for_phase(empty_at(stage), phase ^ 1);
                        announce(full_at(stage), STAGE_BYTES);
                        copies.b(to + B_AT, full_at(stage), step);
                    } else {
                        --early;
                    }
                    copies.a(to + A_AT, full_at(stage), step);
                    copies.advance();
                    advance();
                }
            }
        }
        __syncwarp();
        if (SPLIT > 1) {
            join_cluster();
            leave_cluster();
        }
        return;
    }
    if (SPARES_REGISTERS) asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
    const int warp = threadIdx.x / 32;
    char* const own_staging = staging + warp * STAGED_BYTES;
    for (i64 number = blockIdx.x / SPLIT; number < p.tiles; number += gridDim.x / SPLIT) {
        const TileIndex tile = tile_of(number, rows, columns);
        const Place place = place_of(all, tile.stack);
        const i64 row = i64(SWAPPED ? tile.column : tile.row) * HEIGHT + warp * 16;
        const i64 column = i64(SWAPPED ? tile.row : tile.column) * WIDTH;
        Chunks whole[PARTS];
        if constexpr (FETCHED) {
#pragma unroll
            for (int part = 0; part < PARTS; ++part) {
                const WarpRows<SWAPPED> rows(all, place, row, column + 64 * part, BLOCKS < 8 ? BLOCKS : 8);
                if (rows.is_full()) rows.template fetch<true>(whole[part]);
            }
        }
        float sums[SUMS];
#pragma unroll
        for (int i = 0; i < SUMS; ++i) sums[i] = 0;
        // Where the loop and the wait behind it are skipped together, no sum is copied while products are under way.
        if (first < last) {
            int before = -1, step = first;
#pragma unroll 1
            do {
                wait_for_phase(full_at(stage), phase);
                const u32 tiles_at = memory + stage * STAGE_BYTES;
                // 64 rows of the left operand take 8,192 bytes in both orders.
                const u64 left = matrix_descriptor(tiles_at + group * 8192), right = matrix_descriptor(tiles_at + LEFT_BYTES);
                begin_products();
#pragma unroll
                for (int part = 0; part < 4; ++part) multiply_groups(sums, left + part * LEFT_STEP, right + part * RIGHT_STEP);
                commit_products();
                // The products of the step before have ended: its stage is free.
                wait_for_products<1>();
                if (before >= 0 && thread == 0) arrive(empty_at(before));
                before = stage;
                advance();
            } while (++step < last);
            wait_for_products<0>();
            if (thread == 0) arrive(empty_at(before));
        }
        const auto own_terms = terms(place);
        if constexpr (SPLIT == 1) {
#pragma unroll
            for (int block = 0; block < BLOCKS; block += 8)
                finish<SWAPPED, FETCHED>(all, place, own_staging, row, column + 8 * block, BLOCKS - block < 8 ? BLOCKS - block : 8,
                                         whole[block / 8], [&](int own) {
                                          Four four = four_of(sums, block + own);
                                          own_terms.add(four, row, column + 8 * (block + own));
                                          return four;
                                      });
        } else {
            // Both warpgroups have read the last stage.
            wait_for_threads(1, CONSUMERS);
            const u32 exchange = memory + threadIdx.x * 16;
            float4* const mine = reinterpret_cast<float4*>(staging - STAGES * STAGE_BYTES) + threadIdx.x;
#pragma unroll
            for (int block = 0; block < BLOCKS; ++block)
                mine[block * CONSUMERS] = make_float4(sums[4 * block], sums[4 * block + 1], sums[4 * block + 2], sums[4 * block + 3]);
            join_cluster();
            const int from = BLOCKS * int(rank) / SPLIT, to = BLOCKS * (int(rank) + 1) / SPLIT;
#pragma unroll 1
            for (int block = from; block < to; block += 8)
                finish<SWAPPED, false>(all, place, own_staging, row, column + 8 * block, to - block < 8 ? to - block : 8, whole[0], [&](int own) {
                    Four total = {};
#pragma unroll
                    for (int other = 0; other < SPLIT; ++other) {
                        const float4 part = load_from(exchange + u32((block + own) * CONSUMERS * 16), other);
                        total.sums[0] += part.x;
                        total.sums[1] += part.y;
                        total.sums[2] += part.z;
                        total.sums[3] += part.w;
                    }
                    own_terms.add(total, row, column + 8 * (block + own));
                    return total;
                });
            __syncwarp();
            leave_cluster();
        }
    }
}
