// Asynchronous copies, loads of fragments and products of tiles, as compute capability 8.0 and all later ones have them.
//
// Tiles lie in shared memory as rows of 128 bytes, whose chunks of 16 bytes are exchanged by the low bits of the row, as the
// copy engine of 9.0 does it too: neither the rows nor the columns of chunks meet in one bank.
#pragma once
#include "types.cuh"

// Elements of 16 bits in a chunk and in a row.
constexpr int CHUNK = 8;
constexpr int ROW = 64;

inline u32 shared_address(const void* pointer) { return u32(__cvta_generic_to_shared(pointer)); }

// The place of a chunk in a tile.
inline u32 chunk_at(int row, int chunk) { return u32(row * 128 + ((chunk ^ (row & 7)) << 4)); }

// Copies 16 bytes, of which the first `bytes` come from memory and the others are zero.
inline void copy_chunk(u32 to, const void* from, int bytes) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes) : "memory");
}
inline void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until at most N groups of copies are under way.
template <int N> inline void wait_for_copies() { asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"); }

// Four matrices of 8 x 8 elements; each lane gives the address of a row.
__forceinline__ void load_matrices(u32 (&parts)[4], u32 row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(parts[0]), "=r"(parts[1]), "=r"(parts[2]), "=r"(parts[3])
                 : "r"(row)
                 : "memory");
}
__forceinline__ void load_transposed(u32 (&parts)[4], u32 row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(parts[0]), "=r"(parts[1]), "=r"(parts[2]), "=r"(parts[3])
                 : "r"(row)
                 : "memory");
}

// sums += a b for 16 x 16 by 16 x 8 elements. A lane holds the elements (lane / 4 + 8 h, lane % 4 * 2 + e) of the sums as
// sums[2 h + e].
template <class T> __forceinline__ void multiply(float* sums, const u32 (&a)[4], u32 b0, u32 b1) {
    if constexpr (same<T, bf16>)
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                     "{%0, %1, %2, %3};"
                     : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
    else
        asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                     "{%0, %1, %2, %3};"
                     : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
