// A product of stacked matrices by the copy engine and the warpgroup products of compute capability 9.0.
//
// The last warpgroup of a block brings tiles of both operands into a ring of stages, the others multiply them: the left operand
// of the instruction has 64 rows for each warpgroup, the right one WIDTH. With SWAPPED the left one is b transposed and the
// sums are the transposed result, so that a result of few rows wastes no products. With SPLIT > 1 the blocks of a cluster
// share a tile, each with a part of k; they exchange sums through their shared memory and add them in the order of their rank.
//
// The second function is for operands that the copy engine cannot describe, because their rows are not aligned to 16 bytes.
#include "hopper.cuh"
#include "sync_product.cuh"

struct Parameters {
    // Of the left and the right operand of the instruction.
    TensorMap left, right;
    Matrices matrices;
    // Tiles of all matrices.
    i64 tiles;
};

constexpr int CONSUMERS = 128 * GROUPS, THREADS = CONSUMERS + 128;
// Rows of the tile on both sides of the instruction.
constexpr int HEIGHT = 64 * GROUPS;
constexpr int LEFT_BYTES = HEIGHT * 128, STAGE_BYTES = LEFT_BYTES + WIDTH * 128;
constexpr bool LEFT_INNER = SWAPPED ? B_INNER : A_INNER, RIGHT_INNER = SWAPPED ? A_INNER : B_INNER;
// Blocks of eight columns of the sums.
constexpr int BLOCKS = WIDTH / 8;
// Sums of one thread.
constexpr int SUMS = WIDTH / 2;
static_assert(RIGHT_INNER || WIDTH % 64 == 0, "panels of 64 rows");
static_assert(SPLIT == 1 || SUMS * CONSUMERS * 4 <= STAGES * STAGE_BYTES, "sums are exchanged in the memory of the tiles");

// Bytes from one step of 16 k to the next, as descriptors count them.
constexpr u64 LEFT_STEP = (LEFT_INNER ? 32 : 2048) >> 4, RIGHT_STEP = (RIGHT_INNER ? 32 : 2048) >> 4;

// The copies of a tile of an operand: `row` is its first row, `k` its first term.
template <int ROWS, bool INNER>
inline void bring(u32 to, const TensorMap* map, u32 barrier, int row, int k, int matrix) {
    if constexpr (INNER) {
        copy_box(to, map, barrier, k, row, matrix);
    } else {
#pragma unroll
        for (int panel = 0; panel < ROWS / ROW; ++panel) copy_box(to + panel * 8192, map, barrier, row + panel * ROW, k, matrix);
    }
}

extern __shared__ uint4 dynamic[];

extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT) tiles(const __grid_constant__ Parameters p) {
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
        prefetch(&p.left);
        prefetch(&p.right);
    }
    __syncthreads();
    let_next_start();
    const Matrices& all = p.matrices;
    constexpr int TILE_ROWS = SWAPPED ? WIDTH : HEIGHT, TILE_COLUMNS = SWAPPED ? HEIGHT : WIDTH;
    const int rows = int((all.m + TILE_ROWS - 1) / TILE_ROWS), columns = int((all.n + TILE_COLUMNS - 1) / TILE_COLUMNS);
    const int steps = int((all.k + ROW - 1) / ROW);
    const int first = int(i64(steps) * rank / SPLIT), last = int(i64(steps) * (rank + 1) / SPLIT);
    // The copies of both operands for a step of a tile.
    const auto bring_left = [&](const TileIndex& tile, const Place& place, int slot, int step) {
        bring<HEIGHT, LEFT_INNER>(memory + slot * STAGE_BYTES, &p.left, full_at(slot), (SWAPPED ? tile.column : tile.row) * HEIGHT,
                                  step * ROW, int(SWAPPED ? place.b : place.a));
    };
    const auto bring_right = [&](const TileIndex& tile, const Place& place, int slot, int step) {
        bring<WIDTH, RIGHT_INNER>(memory + slot * STAGE_BYTES + LEFT_BYTES, &p.right, full_at(slot),
                                  (SWAPPED ? tile.row : tile.column) * WIDTH, step * ROW, int(SWAPPED ? place.a : place.b));
    };
    const auto bring_weights = [&](const TileIndex& tile, const Place& place, int slot, int step) {
        if (SWAPPED) bring_left(tile, place, slot, step);
        else bring_right(tile, place, slot, step);
    };
    // Weights do not come from the kernel before: those of the first stages are fetched while it still runs.
    int early = 0;
    if (WEIGHTS && threadIdx.x == CONSUMERS && blockIdx.x / SPLIT < p.tiles) {
        const TileIndex tile = tile_of(blockIdx.x / SPLIT, rows, columns);
        const Place place = place_of(all, tile.stack);
        for (; early < STAGES && early < last - first; ++early) {
            announce(full_at(early), STAGE_BYTES);
            bring_weights(tile, place, early, first + early);
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
                const Place place = place_of(all, tile.stack);
                for (int step = first; step < last; ++step) {
                    if (early == 0) {
                        wait_for_phase(empty_at(stage), phase ^ 1);
                        announce(full_at(stage), STAGE_BYTES);
                        bring_weights(tile, place, stage, step);
                    } else {
                        --early;
                    }
                    if (SWAPPED) bring_right(tile, place, stage, step);
                    else bring_left(tile, place, stage, step);
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
        const i64 row = i64(SWAPPED ? tile.column : tile.row) * HEIGHT + warp * 16;
        const i64 column = i64(SWAPPED ? tile.row : tile.column) * WIDTH;
        if constexpr (SPLIT == 1) {
#pragma unroll
            for (int block = 0; block < BLOCKS; block += 8)
                finish<SWAPPED>(all, place, own_staging, row, column + 8 * block, BLOCKS - block < 8 ? BLOCKS - block : 8,
                                [&](int own) { return four_of(sums, block + own); });
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
                finish<SWAPPED>(all, place, own_staging, row, column + 8 * block, to - block < 8 ? to - block : 8, [&](int own) {
                    Four total = {};
#pragma unroll
                    for (int other = 0; other < SPLIT; ++other) {
                        const float4 part = load_from(exchange + u32((block + own) * CONSUMERS * 16), other);
                        total.sums[0] += part.x;
                        total.sums[1] += part.y;
                        total.sums[2] += part.z;
                        total.sums[3] += part.w;
                    }
                    return total;
                });
            __syncwarp();
            leave_cluster();
        }
    }
}

// Four warps on tiles of 64 x 64.
typedef Shape<64, 64, 2, 2, 3> Small;

extern "C" __global__ void __launch_bounds__(Small::THREADS, 2) any(const __grid_constant__ Matrices p) {
    product_of_tile<Small, A_INNER, B_INNER, false>(p, reinterpret_cast<char*>(dynamic));
}
