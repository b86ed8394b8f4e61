// Convolution of every channel by itself, of images with the channels last. A thread computes neighbouring channels of a tile of
// pixels of the result. It loads each pixel of the image that its windows meet once, and many of them before it multiplies the
// first: where there are few threads, waiting for the memory takes most of the time. The generated header names the windows and
// the tile.
#include "windows.cuh"
#include "matrices.cuh"

// Division of a number below 2^31 by one that is known at the launch: the factor is 2^32 / by, rounded down.
struct Divisor {
    u32 by, factor;
    u32 quotient(u32 number) const {
        const u32 least = __umulhi(number, factor);
        return number - least * by < by ? least : least + 1;
    }
};

struct Parameters {
    Matrices matrices;
    Windows windows;
    const T* bias;
    // Threads, and by how many of them a pixel, a line and an image are divided.
    i64 count;
    Divisor channels, across, down;
};

// Neighbouring channels.
template <class E, int N> struct alignas(sizeof(E) * N < 16 ? sizeof(E) * N : 16) Few { E lane[N]; };

template <class E, int N> __forceinline__ Few<E, N> load_few(const E* at) {
    constexpr int BYTES = int(alignof(Few<E, N>));
    typedef typename Raw<BYTES>::Type Part;
    Few<E, N> few;
#pragma unroll
    for (int part = 0; part < int(sizeof(few)) / BYTES; ++part)
        reinterpret_cast<Part*>(&few)[part] = reinterpret_cast<const Part*>(at)[part];
    return few;
}
template <class E, int N> __forceinline__ void store_few(E* at, const Few<E, N>& few) {
    constexpr int BYTES = int(alignof(Few<E, N>));
    typedef typename Raw<BYTES>::Type Part;
#pragma unroll
    for (int part = 0; part < int(sizeof(few)) / BYTES; ++part)
        reinterpret_cast<Part*>(at)[part] = reinterpret_cast<const Part*>(&few)[part];
}

// The channels of a pixel, or zeros. No branch stands between the loads of a thread, and they stay in their order.
template <int N> __forceinline__ Few<T, N> pixel_if(bool exists, const T* at) {
    constexpr int WORDS = N < 2 ? 1 : N / 2;
    u32 words[WORDS];
    if constexpr (N == 1)
        asm volatile("{\n.reg .pred e;\nsetp.ne.u32 e, %2, 0;\nmov.u32 %0, 0;\n@e ld.global.u16 %0, [%1];\n}"
                     : "=r"(words[0])
                     : "l"(at), "r"(u32(exists)));
    else if constexpr (N == 2)
        asm volatile("{\n.reg .pred e;\nsetp.ne.u32 e, %2, 0;\nmov.u32 %0, 0;\n@e ld.global.b32 %0, [%1];\n}"
                     : "=r"(words[0])
                     : "l"(at), "r"(u32(exists)));
    else if constexpr (N == 4)
        asm volatile(
            "{\n.reg .pred e;\nsetp.ne.u32 e, %3, 0;\nmov.u32 %0, 0;\nmov.u32 %1, 0;\n@e ld.global.v2.b32 {%0, %1}, [%2];\n}"
            : "=r"(words[0]), "=r"(words[1])
            : "l"(at), "r"(u32(exists)));
    else
        asm volatile("{\n.reg .pred e;\nsetp.ne.u32 e, %5, 0;\nmov.u32 %0, 0;\nmov.u32 %1, 0;\nmov.u32 %2, 0;\nmov.u32 %3, 0;\n"
                     "@e ld.global.v4.b32 {%0, %1, %2, %3}, [%4];\n}"
                     : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                     : "l"(at), "r"(u32(exists)));
    Few<T, N> few;
#pragma unroll
    for (int j = 0; j < N; ++j) few.lane[j].bits = u16(words[j / 2] >> (j % 2 * 16));
    return few;
}

// An operand of the epilogue.
template <class E, int N, bool COLUMNS> __forceinline__ Few<E, N> beside_of(const Beside& operand, i64 row, int channel) {
    const E* const at = reinterpret_cast<const E*>(operand.data) + row * operand.row;
    if (COLUMNS && operand.column != 0) return load_few<E, N>(at + channel * operand.column);
    Few<E, N> few;
    const E only = *at;
#pragma unroll
    for (int j = 0; j < N; ++j) few.lane[j] = only;
    return few;
}

// Lines and columns of the image between the first and the last one that a tile of the result meets.
constexpr int HEIGHT = (LINES - 1) * STRIDE_Y + (TAPS_Y - 1) * DILATION_Y + 1;
constexpr int WIDTH = (PIXELS - 1) * STRIDE_X + (TAPS_X - 1) * DILATION_X + 1;

// Which of them a window meets.
constexpr bool meets(int at, int tile, int taps, int stride, int dilation) {
    for (int i = 0; i < tile; ++i)
        for (int tap = 0; tap < taps; ++tap)
            if (i * stride + tap * dilation == at) return true;
    return false;
}
constexpr u64 met(int length, int tile, int taps, int stride, int dilation) {
    u64 bits = 0;
    for (int at = 0; at < length && at < 64; ++at) bits |= u64(meets(at, tile, taps, stride, dilation)) << at;
    return bits;
}
constexpr u64 LINES_MET = met(HEIGHT, LINES, TAPS_Y, STRIDE_Y, DILATION_Y);
constexpr u64 COLUMNS_MET = met(WIDTH, PIXELS, TAPS_X, STRIDE_X, DILATION_X);

// The image as one thread sees it, from the first pixel of its first window on.
template <int N> struct Seen {
    const T* image;
    int x, y, width, height, channels;

    __forceinline__ Few<T, N> pixel(int right, int down) const {
        const bool exists = u32(x + right) < u32(width) && u32(y + down) < u32(height);
        return pixel_if<N>(exists, image + i64((y + down) * width + x + right) * channels);
    }
};

template <int N> __forceinline__ void add(float (&sums)[N], const Few<T, N>& pixel, const Few<T, N>& weight) {
#pragma unroll
    for (int j = 0; j < N; ++j) sums[j] += Element<T>::load(pixel.lane[j]) * Element<T>::load(weight.lane[j]);
}

// Sums over small windows, line by line of the image: the lines of the windows are in registers.
template <int N> __forceinline__ void sum_lines(float (&sums)[LINES][PIXELS][N], const Seen<N>& seen, const T* weights) {
    // Registers of a line, and lines that are loaded before the first is multiplied: as many as registers have room for.
    constexpr int OF_LINE = WIDTH * N / 2, ROOM = 72;
    constexpr int AHEAD = ROOM / OF_LINE < 1 ? 1 : ROOM / OF_LINE < HEIGHT ? ROOM / OF_LINE : HEIGHT;
    // Weights are kept where registers have room for them.
    constexpr bool KEPT = TAPS_Y * TAPS_X * N <= 72;
    Few<T, N> weight[TAPS_Y][TAPS_X], pixel[HEIGHT][WIDTH];
    const auto load_weights = [&](int tap_y) {
#pragma unroll
        for (int tap_x = 0; tap_x < TAPS_X; ++tap_x)
            weight[tap_y][tap_x] = pixel_if<N>(true, weights + i64(tap_y * TAPS_X + tap_x) * seen.channels);
    };
    const auto load_line = [&](int line) {
        if (!(LINES_MET >> line & 1)) return;
#pragma unroll
        for (int column = 0; column < WIDTH; ++column)
            if (COLUMNS_MET >> column & 1) pixel[line][column] = seen.pixel(column, line);
    };
    if constexpr (KEPT) {
#pragma unroll
        for (int tap_y = 0; tap_y < TAPS_Y; ++tap_y) load_weights(tap_y);
    }
#pragma unroll
    for (int line = 0; line < AHEAD; ++line) load_line(line);
#pragma unroll
    for (int line = 0; line < HEIGHT; ++line) {
        if (line > 0 && line + AHEAD - 1 < HEIGHT) load_line(line + AHEAD - 1);
#pragma unroll
        for (int out = 0; out < LINES; ++out)
#pragma unroll
            for (int tap_y = 0; tap_y < TAPS_Y; ++tap_y) {
                if (out * STRIDE_Y + tap_y * DILATION_Y != line) continue;
                if constexpr (!KEPT) load_weights(tap_y);
#pragma unroll
                for (int i = 0; i < PIXELS; ++i)
#pragma unroll
                    for (int tap_x = 0; tap_x < TAPS_X; ++tap_x)
                        add<N>(sums[out][i], pixel[line][i * STRIDE_X + tap_x * DILATION_X], weight[tap_y][tap_x]);
            }
    }
}

// Sums over windows of any size, a few taps at once.
template <int N> __forceinline__ void sum_taps(float (&sums)[LINES][PIXELS][N], const Seen<N>& seen, const T* weights) {
#pragma unroll 1
    for (int tap_y = 0; tap_y < TAPS_Y; ++tap_y)
#pragma unroll 1
        for (int first = 0; first < TAPS_X; first += GROUP) {
            Few<T, N> weight[GROUP], pixel[LINES][PIXELS][GROUP];
#pragma unroll
            for (int group = 0; group < GROUP; ++group) {
                const int tap_x = first + group;
                // A tap that is not there has weights of a pixel that is not there.
                weight[group] = pixel_if<N>(tap_x < TAPS_X, weights + i64(tap_y * TAPS_X + tap_x) * seen.channels);
#pragma unroll
                for (int out = 0; out < LINES; ++out)
#pragma unroll
                    for (int i = 0; i < PIXELS; ++i) {
                        // Beyond every image.
                        const int beyond = tap_x < TAPS_X ? 0 : 1 << 30;
                        pixel[out][i][group] =
                            seen.pixel(i * STRIDE_X + tap_x * DILATION_X + beyond, out * STRIDE_Y + tap_y * DILATION_Y);
                    }
            }
#pragma unroll
            for (int group = 0; group < GROUP; ++group)
#pragma unroll
                for (int out = 0; out < LINES; ++out)
#pragma unroll
                    for (int i = 0; i < PIXELS; ++i) add<N>(sums[out][i], pixel[out][i][group], weight[group]);
        }
}

template <int N> __forceinline__ void convolve(const Parameters& p) {
    const u32 number = blockIdx.x * blockDim.x + threadIdx.x;
    if (number >= u32(p.count)) return;
    const Matrices& all = p.matrices;
    const Windows& w = p.windows;
    const u32 tile = p.channels.quotient(number), tiles_of_lines = p.across.quotient(tile);
    const u32 image = p.down.quotient(tiles_of_lines);
    const int channel = int(number - tile * p.channels.by) * N, first_x = int(tile - tiles_of_lines * p.across.by) * PIXELS;
    const int first_y = int(tiles_of_lines - image * p.down.by) * LINES;
    const int channels = int(all.n), width = int(w.output[2]), height = int(w.output[1]);
    const Seen<N> seen = {all.a + image * (w.input[1] * w.input[2] * channels) + channel,
                          first_x * STRIDE_X - int(w.begin[2]),
                          first_y * STRIDE_Y - int(w.begin[1]),
                          int(w.input[2]),
                          int(w.input[1]),
                          channels};

    // Operands of the epilogue that all pixels share.
#define LOAD(b, E, ROWS, COLUMNS)          \
    [[maybe_unused]] Few<E, N> shared##b; \
    if constexpr (!ROWS) shared##b = beside_of<E, N, COLUMNS>(all.beside[b], 0, channel);
    FOR_BESIDE(LOAD)
#undef LOAD
    float sums[LINES][PIXELS][N];
    Few<T, N> terms = {};
    if (HAS_BIAS) terms = load_few<T, N>(p.bias + channel);
#pragma unroll
    for (int out = 0; out < LINES; ++out)
#pragma unroll
        for (int i = 0; i < PIXELS; ++i)
#pragma unroll
            for (int j = 0; j < N; ++j) sums[out][i][j] = HAS_BIAS ? Element<T>::load(terms.lane[j]) : 0.0f;
    // Channels one by one are rare, and not worth as much text.
    if constexpr (BY_LINES && N > 1) sum_lines<N>(sums, seen, all.b + channel);
    else sum_taps<N>(sums, seen, all.b + channel);

    const i64 first = (i64(image) * height + first_y) * width + first_x;
#pragma unroll
    for (int out = 0; out < LINES; ++out)
#pragma unroll
        for (int i = 0; i < PIXELS; ++i) {
            const bool exists = first_y + out < height && first_x + i < width;
            // The first pixel of a tile always exists.
            const i64 row = exists ? first + out * width + i : first;
            Few<T, N> x;
#pragma unroll
            for (int j = 0; j < N; ++j) x.lane[j] = narrowed<T>(sums[out][i][j]);
#define LOAD(b, E, ROWS, COLUMNS)                                                         \
    Few<E, N> x##b;                                                                       \
    if constexpr (ROWS) x##b = beside_of<E, N, COLUMNS>(all.beside[b], row, channel);     \
    else x##b = shared##b;
            FOR_BESIDE(LOAD)
#undef LOAD
            Few<R, N> y;
#pragma unroll
            for (int j = 0; j < N; ++j) EPILOGUE(j);
            if (exists) store_few<R, N>(all.y + row * channels + channel, y);
        }
}

// With few registers the compiler would not let all loads of a thread be under way at once.
extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT) wide(const __grid_constant__ Parameters p) { follow_previous(); convolve<CHANNELS>(p); }
extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT) any(const __grid_constant__ Parameters p) { follow_previous(); convolve<1>(p); }
