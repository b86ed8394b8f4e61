// Attention by the copy engine and the warpgroup products of compute capability 9.0 (FlashAttention-3, Shah et al. 2024).
//
// A block takes items in turns: queries of one head. Its last warpgroup brings the queries, and tiles of keys and values into
// rings of stages, also those of the next item, and what a mask adds. Each of the others keeps 64 queries. It starts the scores
// of the next tile and the sums of the last one together, and computes exponentials while the tensor cores work. Powers of
// scores stay in registers, as the left operand of the second product.
//
// The second function is for operands that the copy engine cannot describe.
#include "hopper.cuh"
#include "join.cuh"
#include "sync_attention.cuh"

struct Parameters {
    TensorMap q, k, v, y, mask;
    Attention all;
    // All items; heads of all batch entries that blocks go through together.
    i64 items, together;
};

constexpr int CONSUMERS = 128 * GROUPS, THREADS = CONSUMERS + 128, QUERIES = 64 * GROUPS;
constexpr int HEAD_PANELS = (HEAD + 63) / 64, VALUE_PANELS = (VALUE + 63) / 64;
// Bytes of a panel of all queries, and of keys.
constexpr int Q_PANEL = QUERIES * 128, K_PANEL = KEYS * 128;
// Results are staged in memory of their own, or in that of the queries.
constexpr int MOST_PANELS = HEAD_PANELS > VALUE_PANELS ? HEAD_PANELS : VALUE_PANELS;
constexpr int Q_BYTES = Q_PANEL * (STAGES_RESULTS ? HEAD_PANELS : MOST_PANELS), Y_BYTES = STAGES_RESULTS ? Q_PANEL * VALUE_PANELS : 0;
constexpr int K_BYTES = K_PANEL * HEAD_PANELS, V_BYTES = K_PANEL * VALUE_PANELS;
constexpr int MASK_BYTES = MASK == TILE_MASK ? QUERIES * KEYS * int(sizeof(M)) : MASK == ROW_MASK ? KEYS * 4 : 0;
// Scores, and sums, of one thread.
constexpr int SCORES = KEYS / 2, SUMS = VALUE / 2;
// Do the multiplying warpgroups need registers of the copying one?
constexpr bool SHARES_REGISTERS = GROUPS > 1 || RESIDENT > 1;
constexpr int GIVEN_REGISTERS = GROUPS == 3 ? 32 : RESIDENT == 3 ? 24 : 40;
constexpr int TAKEN_REGISTERS = GROUPS == 3 ? 160 : GROUPS == 2 ? 232 : RESIDENT == 3 ? 136 : 216;
// Barriers of threads: those of a group, and those that let groups start their products in turns.
constexpr int GROUP_BARRIER = 1, ORDER_BARRIER = 4;

// The queries of an item, and the tiles of keys that they see.
struct Item {
    int b, head, key_head, first, key_tiles;
    // The last round may have fewer items than blocks.
    bool exists;

    // Blocks take the items of causal attention from both ends in turns: early ones are long, late ones short.
    Item(const Parameters& parameters, u32 round) {
        const Attention& p = parameters.all;
        const u32 place = CAUSAL && round % 2 ? gridDim.x - 1 - blockIdx.x : blockIdx.x, number = round * gridDim.x + place;
        exists = number < u32(parameters.items);
        if (!exists) return;
        const u32 length = u32(p.length), blocks = (length + QUERIES - 1) / QUERIES, heads = u32(p.heads);
        const u32 stacks = u32(p.batch) * heads, together = u32(parameters.together);
        const u32 start = number / (together * blocks) * together, height = stacks - start < together ? stacks - start : together;
        const u32 rest = number - start * blocks, rank = rest / height, stack = start + rest - rank * height;
        // Later queries of a causal attention see more keys: they come first.
        first = int((blocks - 1 - rank) * QUERIES);
        b = int(stack / heads);
        head = int(stack) - b * int(heads);
        key_head = head / (int(heads) / int(p.key_heads));
        const int last = first + QUERIES < int(length) ? first + QUERIES : int(length);
        key_tiles = (Sight(p, b).end(last - 1) + KEYS - 1) / KEYS;
    }
};

// Rounds in which blocks take items.
inline u32 rounds(const Parameters& parameters) { return (u32(parameters.items) + gridDim.x - 1) / gridDim.x; }

// A place in a ring of stages, and the parity of its turn.
struct Slot {
    int stage = 0;
    u32 phase = 0;

    __forceinline__ void advance() {
        if (++stage == STAGES) {
            stage = 0;
            phase ^= 1;
        }
    }
};

struct Barriers {
    u64 q_full, q_empty, k_full[STAGES], k_empty[STAGES], v_full[STAGES], v_empty[STAGES], m_full[STAGES], m_empty[STAGES];
};

// The places of all tiles in shared memory.
struct Memory {
    u32 q, y, k, v, mask;

    explicit Memory(u32 start) : q(start), y(STAGES_RESULTS ? start + Q_BYTES : start) {
        k = start + Q_BYTES + Y_BYTES;
        v = k + STAGES * K_BYTES;
        mask = v + STAGES * V_BYTES;
    }
};

// One thread brings operands, for all items of the block.
__forceinline__ void bring(const Parameters& parameters, Barriers& at, const Memory& memory) {
    const Attention& p = parameters.all;
    Slot slot;
    u32 q_phase = 0;
    const u32 q_full = shared_address(&at.q_full);
#pragma unroll 1
    for (u32 round = 0; round < rounds(parameters); ++round) {
        const Item item(parameters, round);
        if (!item.exists) break;
#pragma unroll 1
        for (int tile = 0; tile < item.key_tiles; ++tile) {
            const int stage = slot.stage;
            const u32 k_full = shared_address(at.k_full + stage), v_full = shared_address(at.v_full + stage);
            wait_for_phase(shared_address(at.k_empty + stage), slot.phase ^ 1);
            announce(k_full, K_BYTES);
#pragma unroll
            for (int panel = 0; panel < HEAD_PANELS; ++panel)
                copy_box(memory.k + stage * K_BYTES + panel * K_PANEL, &parameters.k, k_full, panel * 64, tile * KEYS, item.key_head, item.b);
            if (tile == 0) {
                wait_for_phase(shared_address(&at.q_empty), q_phase ^ 1);
                q_phase ^= 1;
                announce(q_full, Q_PANEL * HEAD_PANELS);
#pragma unroll
                for (int panel = 0; panel < HEAD_PANELS; ++panel)
                    for (int own = 0; own < GROUPS; ++own)
                        copy_box(memory.q + panel * Q_PANEL + own * 8192, &parameters.q, q_full, panel * 64, item.first + own * 64, item.head, item.b);
            }
            if (MASK == TILE_MASK) {
                const u32 m_full = shared_address(at.m_full + stage);
                wait_for_phase(shared_address(at.m_empty + stage), slot.phase ^ 1);
                announce(m_full, MASK_BYTES);
                const int head = p.mask_steps[1] != 0 ? item.head : 0, b = p.mask_steps[0] != 0 ? item.b : 0;
                // Panels of 128 bytes, or of all keys.
                constexpr int PANEL = sizeof(M) == 1 ? KEYS : 128 / int(sizeof(M)), PANEL_BYTES = PANEL * 64 * int(sizeof(M));
                for (int panel = 0; panel < KEYS / PANEL; ++panel)
                    for (int own = 0; own < GROUPS; ++own)
                        copy_box(memory.mask + stage * MASK_BYTES + (panel * GROUPS + own) * PANEL_BYTES, &parameters.mask, m_full,
                                 tile * KEYS + panel * PANEL, item.first + own * 64, head, b);
            }
            wait_for_phase(shared_address(at.v_empty + stage), slot.phase ^ 1);
            announce(v_full, V_BYTES);
#pragma unroll
            for (int panel = 0; panel < VALUE_PANELS; ++panel)
                copy_box(memory.v + stage * V_BYTES + panel * K_PANEL, &parameters.v, v_full, panel * 64, tile * KEYS, item.key_head, item.b);
            slot.advance();
        }
    }
}

// One warp brings what a row of the mask adds to the scores of all queries.
__forceinline__ void bring_row(const Parameters& parameters, Barriers& at, const Memory& memory) {
    const Attention& p = parameters.all;
    const int lane = threadIdx.x % 32;
    Slot slot;
#pragma unroll 1
    for (u32 round = 0; round < rounds(parameters); ++round) {
        const Item item(parameters, round);
        if (!item.exists) break;
        const M* row = p.mask + item.b * p.mask_steps[0] + item.head * p.mask_steps[1];
#pragma unroll 1
        for (int tile = 0; tile < item.key_tiles; ++tile) {
            float there[KEYS / 32];
#pragma unroll
            for (int i = 0; i < KEYS / 32; ++i) {
                const int key = tile * KEYS + i * 32 + lane;
                there[i] = key < p.covered ? added(row[key * p.mask_steps[3]]) : 0.0f;
            }
            wait_for_phase(shared_address(at.m_empty + slot.stage), slot.phase ^ 1);
#pragma unroll
            for (int i = 0; i < KEYS / 32; ++i)
                asm volatile("st.shared.f32 [%0], %1;" ::"r"(memory.mask + slot.stage * MASK_BYTES + (i * 32 + lane) * 4), "f"(there[i]) : "memory");
            arrive(shared_address(at.m_full + slot.stage));
            slot.advance();
        }
    }
}

// Turns products into scores, with the mask in shared memory.
__forceinline__ void score(const Attention& p, float (&s)[SCORES], u32 mask, int group, int warp) {
    const int lane = threadIdx.x % 32;
    if constexpr (MASK == ROW_MASK) {
#pragma unroll
        for (int i = 0; i < SCORES; i += 4) {
            float2 two;
            asm volatile("ld.shared.v2.f32 {%0, %1}, [%2];" : "=f"(two.x), "=f"(two.y) : "r"(mask + (i / 4 * 8 + lane % 4 * 2) * 4));
            s[i] = score_of(p, s[i], two.x);
            s[i + 1] = score_of(p, s[i + 1], two.y);
            s[i + 2] = score_of(p, s[i + 2], two.x);
            s[i + 3] = score_of(p, s[i + 3], two.y);
        }
    } else if constexpr (MASK == TILE_MASK && sizeof(M) == 1) {
        const u32 tile = mask + group * 64 * KEYS;
#pragma unroll
        for (int i = 0; i < SCORES; i += 2) {
            const int row = warp * 16 + lane / 4 + i / 2 % 2 * 8, chunk = i / 8, turned = KEYS == 64 ? chunk ^ (row >> 1 & 3) : chunk ^ (row & 7);
            u16 two;
            asm volatile("ld.shared.u16 %0, [%1];" : "=h"(two) : "r"(tile + row * KEYS + turned * 16 + i / 4 % 2 * 8 + lane % 4 * 2));
            s[i] = score_of(p, s[i], two & 0xFF ? 0.0f : -infinity());
            s[i + 1] = score_of(p, s[i + 1], two >> 8 ? 0.0f : -infinity());
        }
    } else if constexpr (MASK == TILE_MASK && sizeof(M) == 4) {
#pragma unroll
        for (int i = 0; i < SCORES; i += 2) {
            const int row = warp * 16 + lane / 4 + i / 2 % 2 * 8;
            const u32 panel = mask + (i / 16 * GROUPS + group) * 8192;
            float2 two;
            asm volatile("ld.shared.v2.f32 {%0, %1}, [%2];" : "=f"(two.x), "=f"(two.y) : "r"(panel + chunk_at(row, i / 4 % 4 * 2 + lane % 4 / 2) + lane % 2 * 8));
            s[i] = score_of(p, s[i], added(reinterpret_cast<const M&>(two.x)));
            s[i + 1] = score_of(p, s[i + 1], added(reinterpret_cast<const M&>(two.y)));
        }
    } else if constexpr (MASK == TILE_MASK) {
#pragma unroll
        for (int block = 0; block < KEYS / 16; ++block) {
            u32 four[4];
            const u32 panel = mask + (block / 4 * GROUPS + group) * 8192;
            load_matrices(four, panel + chunk_at(warp * 16 + lane % 16, block % 4 * 2 + lane / 16));
#pragma unroll
            for (int i = 0; i < 8; ++i) {
                const u16 bits = u16(i % 2 ? four[i / 2] >> 16 : four[i / 2]);
                s[8 * block + i] = score_of(p, s[8 * block + i], added(reinterpret_cast<const M&>(bits)));
            }
        }
    } else if constexpr (SCALED) {
#pragma unroll
        for (int i = 0; i < SCORES; ++i) s[i] = score_of(p, s[i], 0.0f);
    }
}

extern __shared__ uint4 dynamic[];

extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT) tiles(const __grid_constant__ Parameters parameters) {
    __shared__ alignas(8) Barriers at;
    const Attention& p = parameters.all;
    // The swizzle counts from multiples of 1,024 bytes.
    const Memory memory((shared_address(dynamic) + 1023) & ~1023u);
    // The same for all lanes, so that descriptors stay in uniform registers.
    const int group = __shfl_sync(~0u, int(threadIdx.x) / 128, 0), thread = threadIdx.x % 128, lane = thread % 32;
    const int warp = __shfl_sync(~0u, thread / 32, 0);
    if (threadIdx.x == 0) {
        init_barrier(shared_address(&at.q_full), 1);
        init_barrier(shared_address(&at.q_empty), GROUPS);
        for (int stage = 0; stage < STAGES; ++stage) {
            init_barrier(shared_address(at.k_full + stage), 1);
            init_barrier(shared_address(at.v_full + stage), 1);
            init_barrier(shared_address(at.k_empty + stage), GROUPS);
            init_barrier(shared_address(at.v_empty + stage), GROUPS);
            init_barrier(shared_address(at.m_full + stage), MASK == ROW_MASK ? 32 : 1);
            init_barrier(shared_address(at.m_empty + stage), 4 * GROUPS);
        }
        publish_barriers();
        prefetch(&parameters.q);
        prefetch(&parameters.k);
        prefetch(&parameters.v);
    }
    __syncthreads();
    let_next_start();
    wait_for_previous();
    if (group == GROUPS) {
        if (SHARES_REGISTERS) asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(GIVEN_REGISTERS));
        if (warp == 0 && lane == 0) bring(parameters, at, memory);
        if (MASK == ROW_MASK && warp == 1) bring_row(parameters, at, memory);
        return;
    }
    if (SHARES_REGISTERS) asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(TAKEN_REGISTERS));
    const auto await_turn = [&] {
        if (ORDERED) wait_for_threads(ORDER_BARRIER + group, 256);
    };
    const auto pass_turn = [&] {
        if (ORDERED) arrive_for_threads(ORDER_BARRIER + (group + 1) % GROUPS, 256);
    };
    if (group == GROUPS - 1) pass_turn();
    Slot slot;
    u32 q_phase = 0;
#pragma unroll 1
    for (u32 round = 0; round < rounds(parameters); ++round) {
        const Item item(parameters, round);
        if (!item.exists) break;
        int ends[2], least;
        {
            const Sight sight(p, item.b);
            const int length = int(p.length), own = item.first + group * 64 + warp * 16 + lane / 4;
#pragma unroll
            for (int h = 0; h < 2; ++h) ends[h] = sight.end(own + 8 * h < length ? own + 8 * h : length - 1);
            least = __reduce_min_sync(~0u, ends[0] < ends[1] ? ends[0] : ends[1]);
        }
        Softmax softmax;
        float sums[SUMS];
#pragma unroll
        for (int i = 0; i < SUMS; ++i) sums[i] = 0;
        if (item.key_tiles > 0) {
            float s[SCORES], kept[2];
            u32 powers[SCORES / 2];
            const auto start_scores = [&](int stage) {
                begin_products();
#pragma unroll
                for (int step = 0; step < HEAD / 16; ++step) {
                    const u64 left = matrix_descriptor(memory.q + step / 4 * Q_PANEL + group * 8192) + step % 4 * 2;
                    const u64 right = matrix_descriptor(memory.k + stage * K_BYTES + step / 4 * K_PANEL) + step % 4 * 2;
                    multiply_scores(s, left, right, step);
                }
                commit_products();
            };
            const auto start_sums = [&](int stage) {
                begin_products();
#pragma unroll
                for (int step = 0; step < KEYS / 16; ++step)
                    multiply_values(sums, powers[4 * step], powers[4 * step + 1], powers[4 * step + 2], powers[4 * step + 3],
                                    matrix_descriptor(memory.v + stage * V_BYTES + step * 2048, K_PANEL));
                commit_products();
            };
            // The scores of a tile have been computed: its keys are free, and after the last one the queries.
            const auto take_scores = [&](int tile, const Slot& own) {
                if (thread == 0) {
                    arrive(shared_address(at.k_empty + own.stage));
                    if (STAGES_RESULTS && tile + 1 == item.key_tiles) arrive(shared_address(&at.q_empty));
                }
                if (MASK != UNMASKED) wait_for_phase(shared_address(at.m_full + own.stage), own.phase);
                score(p, s, memory.mask + own.stage * MASK_BYTES, group, warp);
                if (MASK != UNMASKED) {
                    __syncwarp();
                    if (lane == 0) arrive(shared_address(at.m_empty + own.stage));
                }
                if ((tile + 1) * KEYS > least) {
                    const int key = tile * KEYS + lane % 4 * 2;
#pragma unroll
                    for (int i = 0; i < SCORES; ++i)
                        if (key + i / 4 * 8 + i % 2 >= ends[i / 2 % 2]) s[i] = -infinity();
                }
                softmax.take(s, p.exponent, kept);
            };
            const auto pack = [&] {
#pragma unroll
                for (int i = 0; i < SCORES / 2; ++i) powers[i] = packed(s[2 * i], s[2 * i + 1]);
            };
            wait_for_phase(shared_address(&at.q_full), q_phase);
            q_phase ^= 1;
            wait_for_phase(shared_address(at.k_full + slot.stage), slot.phase);
            await_turn();
            start_scores(slot.stage);
            pass_turn();
            wait_for_products<0>();
            take_scores(0, slot);
            pack();
#pragma unroll 1
            for (int tile = 1; tile < item.key_tiles; ++tile) {
                Slot next = slot;
                next.advance();
                wait_for_phase(shared_address(at.k_full + next.stage), next.phase);
                await_turn();
                start_scores(next.stage);
                wait_for_phase(shared_address(at.v_full + slot.stage), slot.phase);
                start_sums(slot.stage);
                pass_turn();
                wait_for_products<1>();
                take_scores(tile, next);
                // The running product reads the packed powers.
                wait_for_products<0>();
                if (thread == 0) arrive(shared_address(at.v_empty + slot.stage));
                pack();
#pragma unroll
                for (int i = 0; i < SUMS; ++i) sums[i] *= kept[i / 2 % 2];
                slot = next;
            }
            wait_for_phase(shared_address(at.v_full + slot.stage), slot.phase);
            start_sums(slot.stage);
            wait_for_products<0>();
            if (thread == 0) arrive(shared_address(at.v_empty + slot.stage));
            slot.advance();
        }
        softmax.join();
        const Ending low = ending(p, item.head, softmax.most[0], softmax.sum[0]), high = ending(p, item.head, softmax.most[1], softmax.sum[1]);
        // The copy engine has read the results before these.
        if (STAGES_RESULTS) {
            if (thread == 0) wait_for_reads();
            wait_for_threads(GROUP_BARRIER + group, 128);
        }
#pragma unroll
        for (int step = 0; step < VALUE / 16; ++step) {
            const float* four = sums + 8 * step;
            const u32 parts[4] = {
                packed(result_of(low, four[0]), result_of(low, four[1])), packed(result_of(high, four[2]), result_of(high, four[3])),
                packed(result_of(low, four[4]), result_of(low, four[5])), packed(result_of(high, four[6]), result_of(high, four[7]))};
            store_matrices(memory.y + step / 4 * Q_PANEL + group * 8192 + chunk_at(warp * 16 + lane % 16, step % 4 * 2 + lane / 16), parts);
        }
        publish_to_copies();
        wait_for_threads(GROUP_BARRIER + group, 128);
        if (thread == 0) {
            for (int panel = 0; panel < VALUE_PANELS; ++panel)
                store_box(&parameters.y, memory.y + panel * Q_PANEL + group * 8192, panel * 64, item.first + group * 64, item.head, item.b);
            commit_stores();
            if (!STAGES_RESULTS && item.key_tiles > 0) {
                wait_for_reads();
                arrive(shared_address(&at.q_empty));
            }
        }
    }
    if (thread == 0) finish_stores();
}

extern "C" __global__ void __launch_bounds__(128, 1) any(const __grid_constant__ Attention p) {
    follow_previous();
    attend_tile<Tiling<4, 1, ANY_KEYS, 2>>(p, reinterpret_cast<char*>(dynamic));
}

extern "C" __global__ void join(const __grid_constant__ Join p) { follow_previous(); join_rows(p); }
