// A product of stacked matrices by the copy engine and the warpgroup products of compute capability 9.0.
//
// The second function is for operands that the copy engine cannot describe, because their rows are not aligned to 16 bytes.
#include "group_product.cuh"

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

struct Copies {
    const GroupProduct& p;
    int row, column, a_matrix, b_matrix;

    explicit Copies(const GroupProduct& p) : p(p) {}
    void start(const TileIndex& tile, const Place& place, int) {
        row = tile.row * GROUP_ROWS;
        column = tile.column * GROUP_COLUMNS;
        a_matrix = int(place.a);
        b_matrix = int(place.b);
    }
    void a(u32 to, u32 barrier, int step) const { bring<GROUP_ROWS, A_INNER>(to, &p.a, barrier, row, step * ROW, a_matrix); }
    void b(u32 to, u32 barrier, int step) const { bring<GROUP_COLUMNS, B_INNER>(to, &p.b, barrier, column, step * ROW, b_matrix); }
    void weights(u32 to, u32 barrier, const TileIndex& tile, const Place& place, int step) const {
        bring<GROUP_COLUMNS, B_INNER>(to, &p.b, barrier, tile.column * GROUP_COLUMNS, step * ROW, int(place.b));
    }
    void advance() {}
};

extern __shared__ uint4 dynamic[];

extern "C" __global__ void __launch_bounds__(GROUP_THREADS, RESIDENT) tiles(const __grid_constant__ GroupProduct p) {
    product_of_groups(p, dynamic, Copies(p), [](const Place&) { return NoTerms(); });
}

// Four warps on tiles of 64 x 64.
typedef Shape<64, 64, 2, 2, 3> Small;

extern "C" __global__ void __launch_bounds__(Small::THREADS, 2) any(const __grid_constant__ Matrices p) {
    follow_previous();
    product_of_tile<Small, A_INNER, B_INNER, false>(p, reinterpret_cast<char*>(dynamic));
}
