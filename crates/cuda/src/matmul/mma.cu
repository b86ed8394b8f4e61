// A product of stacked matrices by tensor cores of compute capability 8.0 and later. The generated header names the shape of a
// tile and whether k is the inner axis of the operands.
#include "sync_product.cuh"

typedef Shape<TILE_ROWS, TILE_COLUMNS, WARPS_DOWN, WARPS_ACROSS, STAGES> Tile;

extern __shared__ uint4 tiles[];

extern "C" __global__ void __launch_bounds__(Tile::THREADS, RESIDENT) wide(const __grid_constant__ Matrices p) {
    follow_previous();
    product_of_tile<Tile, A_INNER, B_INNER, true>(p, reinterpret_cast<char*>(tiles));
}

extern "C" __global__ void __launch_bounds__(Tile::THREADS, RESIDENT) any(const __grid_constant__ Matrices p) {
    follow_previous();
    product_of_tile<Tile, A_INNER, B_INNER, false>(p, reinterpret_cast<char*>(tiles));
}
