// Barriers, copies by tensor maps, products of warpgroups and clusters, as compute capability 9.0 alone has them.
// Sources: PTX ISA 8.0 and later, sections on mbarrier, cp.async.bulk.tensor, wgmma, griddepcontrol and barrier.cluster.
#pragma once
#include "tensor_cores.cuh"

// Sixteen words that the driver encodes.
struct alignas(64) TensorMap { u64 words[16]; };

// ---- Barriers in shared memory: a phase ends when all arrivals and all announced bytes are there.

inline void init_barrier(u32 barrier, int arrivals) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals));
}
// Makes initialized barriers visible to the copy engine and to the cluster.
inline void publish_barriers() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
inline void announce(u32 barrier, int bytes) {
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}
inline void arrive(u32 barrier) { asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory"); }
// Waits for the end of the phase of this parity.
inline void wait_for_phase(u32 barrier, u32 parity) {
    asm volatile(
        "{\n.reg .pred done;\nagain: mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n@done bra.uni end;\n"
        "bra.uni again;\nend:\n}" ::"r"(barrier),
        "r"(parity)
        : "memory");
}
// Arrives at a barrier where others wait.
inline void arrive_for_threads(int barrier, int threads) {
    asm volatile("bar.arrive %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}
// A barrier of some of the warps.
inline void wait_for_threads(int barrier, int threads) {
    asm volatile("bar.sync %0, %1;" ::"r"(barrier), "r"(threads) : "memory");
}

// ---- Copies of tiles

inline void prefetch(const TensorMap* map) { asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory"); }
// The tile at these coordinates, innermost first. Elements outside of the tensor are zero.
inline void copy_box(u32 to, const TensorMap* map, u32 barrier, int x, int y, int z) {
    asm volatile(
        "cp.async.bulk.tensor.3d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5}], [%2];" ::"r"(to),
        "l"(map), "r"(barrier), "r"(x), "r"(y), "r"(z)
        : "memory");
}
inline void copy_box(u32 to, const TensorMap* map, u32 barrier, int x, int y, int z, int w) {
    asm volatile(
        "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6}], [%2];" ::"r"(to),
        "l"(map), "r"(barrier), "r"(x), "r"(y), "r"(z), "r"(w)
        : "memory");
}
// A tile back to memory; elements outside of the tensor are left out. What threads wrote must be published before.
inline void store_box(const TensorMap* map, u32 from, int x, int y, int z, int w) {
    asm volatile("cp.async.bulk.tensor.4d.global.shared::cta.tile.bulk_group [%0, {%2, %3, %4, %5}], [%1];" ::"l"(map), "r"(from),
                 "r"(x), "r"(y), "r"(z), "r"(w)
                 : "memory");
}
inline void publish_to_copies() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
inline void commit_stores() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
// Waits until the committed stores of this thread have read shared memory; until they are in global memory.
inline void wait_for_reads() { asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory"); }
inline void finish_stores() { asm volatile("cp.async.bulk.wait_group 0;" ::: "memory"); }

// Four matrices of 8 x 8 elements to shared memory; each lane gives the address of a row.
__forceinline__ void store_matrices(u32 row, const u32 (&parts)[4]) {
    asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(row), "r"(parts[0]), "r"(parts[1]),
                 "r"(parts[2]), "r"(parts[3])
                 : "memory");
}

// The pixels that one tap meets in as many windows as a tile has rows, from the window on whose first pixel is (x, y) of an image;
// (right, down) is the place of the tap in the window. Pixels outside of the image are zero.
inline void copy_windows(u32 to, const TensorMap* map, u32 barrier, int channel, int x, int y, int image, int right, int down) {
    asm volatile(
        "cp.async.bulk.tensor.4d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6}], [%2], "
        "{%7, %8};" ::"r"(to),
        "l"(map), "r"(barrier), "r"(channel), "r"(x), "r"(y), "r"(image), "h"(u16(right)), "h"(u16(down))
        : "memory");
}
// The same for windows of three axes.
inline void copy_windows(u32 to, const TensorMap* map, u32 barrier, int channel, int x, int y, int z, int image, int right,
                         int down, int back) {
    asm volatile(
        "cp.async.bulk.tensor.5d.shared::cluster.global.im2col.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6, %7}], "
        "[%2], {%8, %9, %10};" ::"r"(to),
        "l"(map), "r"(barrier), "r"(channel), "r"(x), "r"(y), "r"(z), "r"(image), "h"(u16(right)), "h"(u16(down)), "h"(u16(back))
        : "memory");
}

// ---- Products of warpgroups: the generated header has `multiply_groups`, a call of the instruction for one step of 16 k.

// An operand in shared memory with rows of 128 bytes and the swizzle of the copy engine. Groups of eight rows lie 1,024 bytes
// apart; panels of 64 rows of the operand, where k is not its inner axis, lie 8,192 bytes apart.
// Panels may also lie `panel` bytes apart.
inline u64 matrix_descriptor(u32 address, u32 panel = 8192) {
    constexpr u64 GROUP = 1024 >> 4, SWIZZLE_128 = 1;
    return u64((address & 0x3FFFF) >> 4) | (u64(panel >> 4) << 16) | (GROUP << 32) | (SWIZZLE_128 << 62);
}
inline void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
inline void commit_products() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
template <int N> inline void wait_for_products() { asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory"); }
// ---- Clusters

inline u32 rank_in_cluster() {
    u32 rank;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}
// All threads of the cluster; what they wrote before is visible after.
inline void join_cluster() {
    asm volatile("barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}
// The same without order of memory, which costs less: no block may leave while others read its memory.
inline void leave_cluster() {
    asm volatile("barrier.cluster.arrive.relaxed.aligned;\nbarrier.cluster.wait.acquire.aligned;" ::: "memory");
}
// Four numbers in the shared memory of a block of the cluster, at this block's address of them.
inline float4 load_from(u32 address, u32 rank) {
    u32 there;
    float4 four;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(address), "r"(rank));
    asm volatile("ld.shared::cluster.v4.f32 {%0, %1, %2, %3}, [%4];"
                 : "=f"(four.x), "=f"(four.y), "=f"(four.z), "=f"(four.w)
                 : "r"(there)
                 : "memory");
    return four;
}
