// Convolution of images of few channels, which lie in front of the spatial axes, into results with the channels last, by tensor cores
// of compute capability 8.0 and later.
//
// A block computes tiles of LINES x 16 pixels. It brings the part of the image that their windows meet to shared memory, line by line,
// and zeros beside the image. The rows of a product are pixels, its columns output channels, and its terms taps: two neighbours along a
// line of the window are one word of a fragment, so that a lane loads fragments of the image where it lies, without a copy for each
// tap. The weights have all output channels of a tap side by side. The generated header names the windows, the channels of the image and
// the tile.
#include "windows.cuh"
#include "sync_product.cuh"

struct Parameters {
    Matrices matrices;
    Windows windows;
    const T* bias;
    // Tiles along a line, of an image, and of all images.
    i64 across, of_image, tiles;
    // May eight output channels of a tap be loaded at once?
    i64 wide_weights;
};

constexpr int THREADS = 128, WARPS = 4, COLUMN = 16;
// Lines of a tile that a warp computes, and blocks of 16 channels.
constexpr int HIGH = LINES / WARPS, BROAD = COLUMNS / 16;
static_assert(LINES % WARPS == 0, "warps have as many lines");

// Pairs of taps, of a line of a window and of all, and steps of eight pairs.
constexpr int PAIRS_X = (TAPS_X + 1) / 2, PAIRS = CHANNELS * TAPS_Y * PAIRS_X, STEPS = (PAIRS + 7) / 8;

// Lines and columns of the image that a tile meets. Words of pairs begin at even columns: where windows also begin at odd ones, there is
// a second copy of the lines, one element further on.
constexpr int HALO_LINES = (LINES - 1) * STRIDE_Y + (TAPS_Y - 1) * DILATION_Y + 1;
constexpr int HALO_COLUMNS = (COLUMN - 1) * STRIDE_X + 2 * PAIRS_X;
constexpr int PITCH = (HALO_COLUMNS + 1) / 2 * 2, COPIES = STRIDE_X % 2 ? 2 : 1;
// A second copy lies in other banks.
constexpr int COPY = (CHANNELS * HALO_LINES * PITCH + 63) / 64 * 64 + 32;

// The elements of a warp on their way to the memory: lines of all columns, a chunk apart so that lanes meet other banks.
constexpr int STAGED_PITCH = COLUMNS + 8;

struct Memory {
    // Fragments: words 2 h + i of a lane are pair 4 i + lane % 4 of channel 8 h + lane / 4.
    uint4 weights[BROAD][STEPS][32];
    T staged[WARPS][16 * STAGED_PITCH];
    T image[COPIES * COPY];
    // The place of each pair in the image in bytes, and the bits of its taps that exist: no pixel beside a window counts, even if it is
    // no number.
    uint2 pairs[STEPS * 8];
    // The bias.
    float terms[COLUMNS];
};

extern __shared__ uint4 dynamic[];

// A few neighbouring pixels of a line, or zeros.
template <int V> struct Pixels;
template <> struct Pixels<1> {
    u32 word;
    __forceinline__ void load_if(bool exists, const T* at) {
        asm volatile("{\n.reg .pred e;\nsetp.ne.u32 e, %2, 0;\nmov.u32 %0, 0;\n@e ld.global.u16 %0, [%1];\n}"
                     : "=r"(word)
                     : "l"(at), "r"(u32(exists)));
    }
    __forceinline__ u16 bits(int) const { return u16(word); }
};
template <> struct Pixels<4> {
    u32 words[2];
    __forceinline__ void load_if(bool exists, const T* at) {
        asm volatile(
            "{\n.reg .pred e;\nsetp.ne.u32 e, %3, 0;\nmov.u32 %0, 0;\nmov.u32 %1, 0;\n@e ld.global.v2.b32 {%0, %1}, [%2];\n}"
            : "=r"(words[0]), "=r"(words[1])
            : "l"(at), "r"(u32(exists)));
    }
    __forceinline__ u16 bits(int i) const { return u16(words[i / 2] >> (i % 2 * 16)); }
};

// The part of the image that a tile meets. Threads load V pixels at once, from columns on that are multiples of V.
template <int V> struct Halo {
    static constexpr int CHUNKS = (HALO_COLUMNS + 2 * V - 2) / V, ALL = CHANNELS * HALO_LINES * CHUNKS;
    static constexpr int OWN = (ALL + THREADS - 1) / THREADS;
    Pixels<V> pixels[OWN];

    // The first column that is loaded, and how many lie in front of the halo.
    static __forceinline__ int first_column(int x) { return x & ~(V - 1); }

    // The number of a thread, as if each tile had another: places of pixels are computed again for each tile, where keeping all of them
    // would need more registers than there are.
    static __forceinline__ int own_number() {
        int number = threadIdx.x;
        asm volatile("" : "+r"(number));
        return number;
    }

    __forceinline__ void load(const Windows& w, const T* image, int x, int y) {
        const int width = int(w.input[2]), height = int(w.input[1]), column = first_column(x), first = own_number();
#pragma unroll
        for (int own = 0; own < OWN; ++own) {
            const int at = first + own * THREADS, line = at / CHUNKS, channel = line / HALO_LINES;
            const int right = column + (at - line * CHUNKS) * V, down = y + line - channel * HALO_LINES;
            // The width is a multiple of V: all pixels exist, or none.
            const bool exists = at < ALL && u32(right) < u32(width) && u32(down) < u32(height);
            pixels[own].load_if(exists, image + (i64(channel) * height + down) * width + right);
        }
    }
    __forceinline__ void store(T* to, int x) const {
        const int before = x - first_column(x), number = own_number();
#pragma unroll
        for (int own = 0; own < OWN; ++own) {
            const int at = number + own * THREADS, line = at / CHUNKS, first = (at - line * CHUNKS) * V - before;
            if (at >= ALL) break;
#pragma unroll
            for (int i = 0; i < V; ++i) {
                const int column = first + i;
                T pixel;
                pixel.bits = pixels[own].bits(i);
                if (u32(column) < u32(HALO_COLUMNS)) to[line * PITCH + column] = pixel;
                if (COPIES == 2 && u32(column - 1) < u32(HALO_COLUMNS - 1)) to[COPY + line * PITCH + column - 1] = pixel;
            }
        }
    }
};

// The weights of the output channels of a block. Taps and channels that do not exist have zeros. No branch stands between the loads of
// a thread.
template <bool WIDE> __forceinline__ void store_weights(Memory& memory, const Matrices& all, int column0) {
    constexpr int CHUNKS = COLUMNS / LANES, ALL = STEPS * 8 * CHUNKS;
    u32* const words = reinterpret_cast<u32*>(memory.weights);
    constexpr int AT_ONCE = WIDE ? 3 : 1;
#pragma unroll AT_ONCE
    for (int at = threadIdx.x; at < ALL; at += THREADS) {
        const int pair = at / CHUNKS, first = at % CHUNKS * LANES, line = pair / PAIRS_X, x = pair % PAIRS_X * 2;
        const int left = int(all.n) - column0 - first, count = pair >= PAIRS || left <= 0 ? 0 : left < LANES ? left : LANES;
        const bool is_pair = count > 0 && x + 1 < TAPS_X;
        const T* const from = all.b + i64(line * TAPS_X + x) * all.n + column0 + first;
        Eight<T> taps[2];
        taps[0] = eight<T, true, WIDE>(count > 0 ? from : all.b, 1, count > 0 ? count : 1, false);
        taps[1] = eight<T, true, WIDE>(is_pair ? from + all.n : all.b, 1, is_pair ? count : 1, false);
        const int step = pair / 8, word = first / 8 % 2 * 2 + pair % 8 / 4;
        u32* const to = words + ((first / 16 * STEPS + step) * 32 + pair % 4) * 4 + word;
#pragma unroll
        for (int j = 0; j < LANES; ++j)
            to[j * 16] = u32(j < count ? taps[0].lane[j].bits : 0) | u32(is_pair && j < count ? taps[1].lane[j].bits : 0) << 16;
    }
}

// The results of 16 pixels of a line, of which `lines` exist, from staged sums.
template <bool FULL>
__forceinline__ void finish_line(const Matrices& all, const Place& place, const T* staged, i64 row0, int lines, int column0) {
    constexpr int CHUNKS = COLUMNS / LANES;
#pragma unroll
    for (int turn = 0; turn < CHUNKS / 2; ++turn) {
        const int at = int(threadIdx.x) % 32 + turn * 32, line = at / CHUNKS, column = column0 + at % CHUNKS * LANES;
        const int left = FULL || all.n - column >= LANES ? LANES : int(all.n - column);
        if (line >= lines || left <= 0) continue;
        const i64 row = row0 + line;
        const Eight<T> x = *reinterpret_cast<const Eight<T>*>(staged + line * STAGED_PITCH + at % CHUNKS * LANES);
#define LOAD(i, E, ROWS, COLUMNS_VARY)                                                                              \
    const Eight<E> x##i = eight<E, COLUMNS_VARY, FULL>(reinterpret_cast<const E*>(all.beside[i].data) + place.beside[i] \
                                                           + (ROWS ? row * all.beside[i].row : 0)                   \
                                                           + (COLUMNS_VARY ? column * all.beside[i].column : 0),    \
                                                       all.beside[i].column, left, all.beside[i].wide != 0);
        FOR_BESIDE(LOAD)
#undef LOAD
        Eight<R> y;
#pragma unroll
        for (int j = 0; j < LANES; ++j) EPILOGUE(j);
        store_eight<R, FULL>(all.y + place.stack * all.y_size + row * all.y_row + column, y, left, all.wide != 0);
    }
}

template <int V> __forceinline__ void convolve(const Parameters& p) {
    Memory& memory = *reinterpret_cast<Memory*>(dynamic);
    const Matrices& all = p.matrices;
    const Windows& w = p.windows;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, row = lane / 4, pair = lane % 4;
    const int column0 = int(blockIdx.y) * COLUMNS, width = int(w.output[2]), height = int(w.output[1]);

    struct Corner {
        int image, x, y;
    };
    const auto corner_of = [&](int tile) {
        const int image = tile / int(p.of_image), rest = tile - image * int(p.of_image), line = rest / int(p.across);
        return Corner{image, (rest - line * int(p.across)) * COLUMN, line * LINES};
    };
    Halo<V> halo;
    const auto load = [&](const Corner& corner) {
        halo.load(w, all.a + corner.image * all.a_size, corner.x * STRIDE_X - int(w.begin[2]), corner.y * STRIDE_Y - int(w.begin[1]));
    };
    int tile = blockIdx.x;
    Corner corner = corner_of(tile);
    load(corner);

    // No store of the weights waits in front of the loads of the image.
    if (p.wide_weights) store_weights<true>(memory, all, column0);
    else store_weights<false>(memory, all, column0);
#pragma unroll 1
    for (int at = threadIdx.x; at < STEPS * 8; at += THREADS) {
        const int line = at / PAIRS_X, x = at % PAIRS_X * 2, channel = line / TAPS_Y, y = line % TAPS_Y * DILATION_Y;
        const int place = (channel * HALO_LINES + y) * PITCH + x;
        memory.pairs[at] = at < PAIRS ? make_uint2(2 * place, x + 1 < TAPS_X ? ~0u : 0xFFFFu) : make_uint2(0, 0);
    }

    static_assert(COLUMNS <= THREADS, "a thread has one column at most");
    if (const int at = threadIdx.x; at < COLUMNS)
        memory.terms[at] = HAS_BIAS && column0 + at < all.n ? Element<T>::load(p.bias[column0 + at]) : 0.0f;

    // The first window of a lane's pixels in the image.
    const int first_column = row * STRIDE_X, is_odd = COPIES == 2 ? first_column & 1 : 0;
    const char* const image = reinterpret_cast<const char*>(memory.image)
                              + 2 * (warp * HIGH * STRIDE_Y * PITCH + first_column + is_odd * (COPY - 1));
    while (true) {
        halo.store(memory.image, corner.x * STRIDE_X - int(w.begin[2]));
        __syncthreads();
        const int next = tile + int(gridDim.x);
        const Corner own = corner;
        if (next < int(p.tiles)) {
            corner = corner_of(next);
            load(corner);
        }
        float sums[HIGH][2 * BROAD][4];
#pragma unroll
        for (int i = 0; i < HIGH; ++i)
#pragma unroll
            for (int block = 0; block < 2 * BROAD; ++block)
#pragma unroll
                for (int j = 0; j < 4; ++j) sums[i][block][j] = memory.terms[block * 8 + pair * 2 + j % 2];
#pragma unroll 3
        for (int step = 0; step < STEPS; ++step) {
            u32 a[HIGH][4];
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const uint2 taps = memory.pairs[step * 8 + half * 4 + pair];
#pragma unroll
                for (int i = 0; i < HIGH; ++i)
#pragma unroll
                    for (int low = 0; low < 2; ++low) {
                        const int beside = 2 * (i * STRIDE_Y * PITCH + low * 8 * STRIDE_X);
                        a[i][2 * half + low] = *reinterpret_cast<const u32*>(image + taps.x + beside) & taps.y;
                    }
            }
#pragma unroll
            for (int block = 0; block < BROAD; ++block) {
                const uint4 b = memory.weights[block][step][lane];
#pragma unroll
                for (int i = 0; i < HIGH; ++i) {
                    multiply<T>(sums[i][2 * block], a[i], b.x, b.y);
                    multiply<T>(sums[i][2 * block + 1], a[i], b.z, b.w);
                }
            }
        }
        const Place place = place_of(all, own.image);
        T* const staged = memory.staged[warp];
#pragma unroll
        for (int i = 0; i < HIGH; ++i) {
            __syncwarp();
#pragma unroll
            for (int block = 0; block < 2 * BROAD; ++block)
#pragma unroll
                for (int low = 0; low < 2; ++low)
                    *reinterpret_cast<u32*>(staged + (row + 8 * low) * STAGED_PITCH + block * 8 + pair * 2) =
                        two_of<T>(sums[i][block][2 * low], sums[i][block][2 * low + 1]);
            __syncwarp();
            const int y = own.y + warp * HIGH + i, lines = y < height ? width - own.x : 0;
            const i64 row0 = i64(y) * width + own.x;
            if (all.wide && column0 + COLUMNS <= all.n) finish_line<true>(all, place, staged, row0, lines, column0);
            else finish_line<false>(all, place, staged, row0, lines, column0);
        }
        if (next >= int(p.tiles)) break;
        tile = next;
        __syncthreads();
    }
}

extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT) wide(const __grid_constant__ Parameters p) { follow_previous(); convolve<4>(p); }
// A thread holds more registers of pixels one by one.
extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT / 2) any(const __grid_constant__ Parameters p) { follow_previous(); convolve<1>(p); }
