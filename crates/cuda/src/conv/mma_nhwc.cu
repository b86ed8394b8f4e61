// Convolution of images with the channels last by tensor cores of compute capability 8.0 and later. The generated header names
// the shape of a tile and the number of spatial axes.
#include "sync_convolution.cuh"

typedef Shape<TILE_ROWS, TILE_COLUMNS, WARPS_DOWN, WARPS_ACROSS, STAGES> Tile;

extern __shared__ uint4 tiles[];

extern "C" __global__ void __launch_bounds__(Tile::THREADS, RESIDENT) wide(const __grid_constant__ ConvolutionTile p) {
    follow_previous();
    convolution_of_tile<Tile, true>(p, reinterpret_cast<char*>(tiles));
}

extern "C" __global__ void __launch_bounds__(Tile::THREADS, RESIDENT) any(const __grid_constant__ ConvolutionTile p) {
    follow_previous();
    convolution_of_tile<Tile, false>(p, reinterpret_cast<char*>(tiles));
}
