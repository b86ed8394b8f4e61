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
    wait_for_previous();
    const Matrices& all = p.matrices;
    constexpr int TILE_ROWS = SWAPPED ? WIDTH : HEIGHT, TILE_COLUMNS = SWAPPED ? HEIGHT : WIDTH;
    const int rows = int((all.m + TILE_ROWS - 1) / TILE_ROWS), columns = int((all.n + TILE_COLUMNS - 1) / TILE_COLUMNS);
    const int steps = int((all.k + ROW - 1) / ROW);
    const int first = int(i64(steps) * rank / SPLIT), last = int(i64(steps) * (rank + 1) / SPLIT);
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
                const int left_row = (SWAPPED ? tile.column : tile.row) * HEIGHT;
                const int right_row = (SWAPPED ? tile.row : tile.column) * WIDTH;
                const int left_matrix = int(SWAPPED ? place.b : place.a), right_matrix = int(SWAPPED ? place.a : place.b);
                for (int step = first; step < last; ++step) {
                    wait_for_phase(empty_at(stage), phase ^ 1);
                    const u32 left = memory + stage * STAGE_BYTES;
                    announce(full_at(stage), STAGE_BYTES);
                    bring<HEIGHT, LEFT_INNER>(left, &p.left, full_at(stage), left_row, step * ROW, left_matrix);
                    bring<WIDTH, RIGHT_INNER>(left + LEFT_BYTES, &p.right, full_at(stage), right_row, step * ROW, right_matrix);
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
        keep(sums);
        int before = -1;
#pragma unroll 1
        for (int step = first; step < last; ++step) {
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
        }
        wait_for_products<0>();
        keep(sums);
        if (before >= 0 && thread == 0) arrive(empty_at(before));
        const i64 row = i64(SWAPPED ? tile.column : tile.row) * HEIGHT + warp * 16;
        const i64 column = i64(SWAPPED ? tile.row : tile.column) * WIDTH;
        if constexpr (SPLIT == 1) {
#pragma unroll
            for (int block = 0; block < BLOCKS; block += 8)
                finish<SWAPPED>(all, place, own_staging, row, column + 8 * block, BLOCKS - block < 8 ? BLOCKS - block : 8,
                                [&](int own, int part) { return sums[4 * (block + own < BLOCKS ? block + own : 0) + part]; });
        } else {
            // Both warpgroups have read the last stage.
            wait_for_threads(1, CONSUMERS);
            const u32 exchange = memory + threadIdx.x * 4;
            float* const mine = reinterpret_cast<float*>(staging - STAGES * STAGE_BYTES) + threadIdx.x;
#pragma unroll
            for (int i = 0; i < SUMS; ++i) mine[i * CONSUMERS] = sums[i];
            join_cluster();
            const int from = BLOCKS * int(rank) / SPLIT, to = BLOCKS * (int(rank) + 1) / SPLIT;
            for (int block = from; block < to; block += 8)
                finish<SWAPPED>(all, place, own_staging, row, column + 8 * block, to - block < 8 ? to - block : 8,
                                [&](int own, int part) {
                                    const u32 at = exchange + u32((4 * (block + own) + part) * CONSUMERS * 4);
                                    float sum = 0;
#pragma unroll
                                    for (int other = 0; other < SPLIT; ++other) sum += load_from(at, other);
                                    return sum;
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
