// Convolution of images with the channels last by the copy engine and the warpgroup products of compute capability 9.0. The
// generated header says how the engine sees the image: as pixels in a row, or as windows over two axes, over two axes with the
// groups as one more, or over three.
//
// The second function is for images that the copy engine cannot describe.
#include "sync_convolution.cuh"
#include "group_product.cuh"

struct Parameters {
    GroupProduct product;
    Images images;
};

// The copies of one thread. Steps are taps, and parts of 64 channels of each.
struct Copies {
    const Parameters& p;
    // Of the tile: first pixel and first channel of the result, the group, and the first pixel of the image.
    int row, column, group, x, y, z, image;
    // Of the step: first channel, tap, and its place in the window.
    int channel, tap, tap_x, tap_y, tap_z;

    explicit Copies(const Parameters& p) : p(p) {}

    // Channels in front of those of a step, and its tap.
    int channels() const { return int(p.images.channels + ROW - 1) / ROW; }

    void start(const TileIndex& tile, const Place& place, int step) {
        const Windows& w = p.images.windows;
        row = tile.row * GROUP_ROWS;
        column = tile.column * GROUP_COLUMNS + int(place.b * p.product.matrices.n);
        group = int(place.a);
        tap = step / channels();
        channel = (step - tap * channels()) * ROW;
        if (VIEW == PIXELS) return;
        const int width = int(w.output[2]), height = int(w.output[1]), depth = int(w.output[0]);
        const int line = row / width, plane = line / height;
        x = (row - line * width) * int(w.stride[2]) - int(w.begin[2]);
        y = (line - plane * height) * int(w.stride[1]) - int(w.begin[1]);
        image = plane / depth;
        z = (plane - image * depth) * int(w.stride[0]) - int(w.begin[0]);
        const int tap_line = tap / int(w.kernel[2]), tap_plane = tap_line / int(w.kernel[1]);
        tap_x = tap - tap_line * int(w.kernel[2]);
        tap_y = tap_line - tap_plane * int(w.kernel[1]);
        tap_z = tap_plane;
    }

    void a(u32 to, u32 barrier, int) const {
        const TensorMap* map = &p.product.a;
        if (VIEW == PIXELS) return copy_box(to, map, barrier, channel, row, group);
        const Windows& w = p.images.windows;
        const int right = tap_x * int(w.dilation[2]), down = tap_y * int(w.dilation[1]);
        if (VIEW == WINDOWS) copy_windows(to, map, barrier, channel, x, y, image, right, down);
        if (VIEW == GROUPED) copy_windows(to, map, barrier, channel, x, y, image, group, right, down, 0);
        if (VIEW == VOLUMES) copy_windows(to, map, barrier, channel, x, y, z, image, right, down, tap_z * int(w.dilation[0]));
    }

    void b(u32 to, u32 barrier, int) const { copy_box(to, &p.product.b, barrier, channel, tap, column); }

    void weights(u32 to, u32 barrier, const TileIndex& tile, const Place& place, int step) const {
        const int at = step / channels();
        copy_box(to, &p.product.b, barrier, (step - at * channels()) * ROW, at,
                 tile.column * GROUP_COLUMNS + int(place.b * p.product.matrices.n));
    }

    // To the next step.
    void advance() {
        channel += ROW;
        if (channel < int(p.images.channels)) return;
        channel = 0;
        ++tap;
        if (VIEW == PIXELS || ++tap_x < int(p.images.windows.kernel[2])) return;
        tap_x = 0;
        if (++tap_y < int(p.images.windows.kernel[1])) return;
        tap_y = 0;
        ++tap_z;
    }
};

extern __shared__ uint4 dynamic[];

extern "C" __global__ void __launch_bounds__(GROUP_THREADS, RESIDENT) tiles(const __grid_constant__ Parameters p) {
    product_of_groups(p.product, dynamic, Copies(p), [&](const Place& place) {
        const i64 count = p.product.matrices.n;
        return Bias<SWAPPED, EVEN_OUTPUTS>{p.images.bias + place.b * count, count};
    });
}

// Four warps on tiles of 64 x 64.
typedef Shape<64, 64, 2, 2, 3> Small;

extern "C" __global__ void __launch_bounds__(Small::THREADS, 2) any(const __grid_constant__ ConvolutionTile p) {
    follow_previous();
    convolution_of_tile<Small, false>(p, reinterpret_cast<char*>(dynamic));
}
