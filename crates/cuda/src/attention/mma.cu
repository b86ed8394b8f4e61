// Attention on tensor cores of compute capability 8.0 and later. The generated header names the warps of a block, those
// that share the keys of a tile, its keys and the stages of the pipeline.
#include "join.cuh"
#include "sync_attention.cuh"

extern __shared__ uint4 tiles[];

extern "C" __global__ void __launch_bounds__(32 * WARPS, RESIDENT) attend(const __grid_constant__ Attention p) {
    follow_previous();
    attend_tile<Tiling<WARPS, SHARERS, KEYS, STAGES>>(p, reinterpret_cast<char*>(tiles));
}

extern "C" __global__ void add(const __grid_constant__ Attention p) { follow_previous(); add_parts(p); }

extern "C" __global__ void join(const __grid_constant__ Join p) { follow_previous(); join_rows(p); }
