// Convolution as a product by tensor cores of compute capability 8.0 and later: the rows are output channels, the columns
// positions of windows, and a sum runs over the channels and taps that a window sees. The weights are the left operand; the
// right one is never in memory: warps gather its tiles from the image. Images and groups are the stack.
//
// The generated header names the shape of a tile and the number of spatial axes.
//
// With TURNED the result has its channels last: the sums are its transposition.
#include "sync_convolution.cuh"

// Division of a number below 2^31 by one that is known at the launch.
struct Divisor {
    u32 factor, shift;
    int quotient(int number) const { return int((u64(u32(number)) * factor) >> shift); }
};

struct Parameters {
    Matrices matrices;
    Windows windows;
    const T* bias;
    // Taps of a window, of a plane of it, and of a row of it.
    Divisor taps, plane, row;
};

typedef Shape<TILE_ROWS, ROW, WARPS_DOWN, WARPS_ACROSS, STAGES> Tile;
constexpr int WARPS = Tile::THREADS / 32;
// Lines of 64 positions, one for each k, that a warp gathers in a step. A lane gathers two positions of each.
constexpr int LINES = ROW / WARPS;
static_assert(LINES <= 32, "a lane finds the place of one line");

// The bits of an element, or zero. The load leaves no trace but in the register: any operation on it in front of the products
// of a step would wait for the memory.
__forceinline__ u32 element_if(bool exists, const T* at) {
    u32 bits;
    asm volatile("{\n.reg .pred exists;\nsetp.ne.u32 exists, %2, 0;\nmov.u32 %0, 0;\n@exists ld.global.u16 %0, [%1];\n}"
                 : "=r"(bits)
                 : "l"(at), "r"(u32(exists)));
    return bits;
}

extern __shared__ uint4 dynamic[];

template <bool WIDE> __forceinline__ void convolve(const Parameters& p) {
    const Matrices& all = p.matrices;
    const Windows& w = p.windows;
    const i64 channels = TURNED ? all.n : all.m, positions = TURNED ? all.m : all.n;
    const int rows = int((channels + TILE_ROWS - 1) / TILE_ROWS), columns = int((positions + ROW - 1) / ROW);
    const TileIndex tile = tile_of(blockIdx.x, rows, columns);
    const Place place = place_of(all, tile.stack);
    const int row0 = tile.row * TILE_ROWS, column0 = tile.column * ROW, k = int(all.k);
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const T* const weights = all.a + place.a * all.a_size + row0 * all.a_row;
    const T* const image = all.b + place.b * all.b_size;
    const int input[SPATIAL] = {int(w.input[0]), int(w.input[1]), int(w.input[2])};
    const int input_plane = int(w.inputs());

    // The first tap of two windows: its coordinates, and its place in a plane of the image.
    int first[2][SPATIAL], base[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
        const int position = column0 + 2 * lane + i;
        int rest = position;
#pragma unroll
        for (int axis = SPATIAL - 1; axis >= 0; --axis) {
            const int outer = rest / int(w.output[axis]);
            first[i][axis] = (rest - outer * int(w.output[axis])) * int(w.stride[axis]) - int(w.begin[axis]);
            rest = outer;
        }
        base[i] = (first[i][0] * input[1] + first[i][1]) * input[2] + first[i][2];
        // A window that does not exist lies outside of the image with all its taps.
        if (position >= positions) first[i][SPATIAL - 1] = -(1 << 30);
    }

    u32 gathered[LINES][2];
    const auto copy = [&](u32 stage, int step) {
        const int k0 = step * ROW, left = k - k0 < ROW ? k - k0 : ROW;
        const int rows_left = channels - row0 < TILE_ROWS ? int(channels - row0) : TILE_ROWS;
        copy_tile<TILE_ROWS, Tile::THREADS, true, WIDE>(stage, weights + k0, all.a_row, rows_left, left);
        // Each lane finds the channel and the tap of one line.
        const int own = k0 + warp + lane * WARPS;
        const int channel = p.taps.quotient(own), tap = own - channel * int(w.kernel[0] * w.kernel[1] * w.kernel[2]);
        int at[SPATIAL];
        at[0] = SPATIAL_AXES == 3 ? p.plane.quotient(tap) : 0;
        const int in_plane = tap - at[0] * int(w.kernel[1] * w.kernel[2]);
        at[1] = SPATIAL_AXES >= 2 ? p.row.quotient(in_plane) : 0;
        at[2] = in_plane - at[1] * int(w.kernel[2]);
#pragma unroll
        for (int axis = 0; axis < SPATIAL; ++axis) at[axis] *= int(w.dilation[axis]);
        const int offset = channel * input_plane + (at[0] * input[1] + at[1]) * input[2] + at[2];
        // A line beyond k has no tap in the image.
        if (own >= k) at[2] = 1 << 30;
#pragma unroll
        for (int line = 0; line < LINES; ++line) {
            const int there = __shfl_sync(~0u, offset, line);
            int taps[SPATIAL];
#pragma unroll
            for (int axis = SPATIAL - SPATIAL_AXES; axis < SPATIAL; ++axis) taps[axis] = __shfl_sync(~0u, at[axis], line);
#pragma unroll
            for (int i = 0; i < 2; ++i) {
                bool inside = true;
#pragma unroll
                for (int axis = SPATIAL - SPATIAL_AXES; axis < SPATIAL; ++axis)
                    inside = inside && u32(first[i][axis] + taps[axis]) < u32(input[axis]);
                gathered[line][i] = element_if(inside, image + (base[i] + there));
            }
        }
    };
    const auto settle = [&](u32 stage) {
        const u32 right = stage + Tile::LEFT_BYTES;
#pragma unroll
        for (int line = 0; line < LINES; ++line)
            asm volatile("st.shared.b32 [%0], %1;" ::"r"(right + chunk_at(warp + line * WARPS, lane / 4) + lane % 4 * 4),
                         "r"(gathered[line][0] | gathered[line][1] << 16)
                         : "memory");
    };
    float sums[Tile::HIGH][8 * Tile::BROAD];
    char* const memory = reinterpret_cast<char*>(dynamic);
    sum_tile<Tile, true, false>(sums, shared_address(memory), (k + ROW - 1) / ROW, copy, settle);
    finish_tile<Tile, TURNED>(all, place, memory, row0, column0, sums,
                              Bias<true, false>{p.bias + place.a * channels, channels});
}

extern "C" __global__ void __launch_bounds__(Tile::THREADS, RESIDENT) wide(const __grid_constant__ Parameters p) {
    follow_previous();
    convolve<true>(p);
}

extern "C" __global__ void __launch_bounds__(Tile::THREADS, RESIDENT) any(const __grid_constant__ Parameters p) {
    follow_previous();
    convolve<false>(p);
}
