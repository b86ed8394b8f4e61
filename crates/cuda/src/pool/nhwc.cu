// One value from each window of images with the channels last. The generated header names the element type, the taps of a window,
// and whether the value is the largest element or the mean.
#include "windows.cuh"
#include "generated.cuh"

struct Parameters {
    Windows windows;
    i64 images, channels;
    i64 counts_padding;
    // Groups of channels of an image, each of which a block takes, and the parts that several blocks take of the pixels.
    i64 groups, parts;
    const T* x;
    T* y;
    // A value for each image, part and channel.
    float* partial;
};

constexpr int THREADS = 256, CHUNK = 8;

// The channels of a pixel, or zeros. No branch stands between the loads of a thread, and they stay in their order.
template <int N> __forceinline__ void load_if(float (&values)[N], bool exists, const T* at) {
    if constexpr (N == 1) {
        T only;
        u32 bits;
        asm volatile("{\n.reg .pred e;\nsetp.ne.u32 e, %2, 0;\nmov.u32 %0, 0;\n@e ld.global.u16 %0, [%1];\n}"
                     : "=r"(bits)
                     : "l"(at), "r"(u32(exists)));
        only.bits = u16(bits);
        values[0] = Element<T>::load(only);
    } else {
        static_assert(N == CHUNK, "sixteen bytes");
        u32 words[4];
        asm volatile("{\n.reg .pred e;\nsetp.ne.u32 e, %5, 0;\nmov.u32 %0, 0;\nmov.u32 %1, 0;\nmov.u32 %2, 0;\nmov.u32 %3, 0;\n"
                     "@e ld.global.v4.b32 {%0, %1, %2, %3}, [%4];\n}"
                     : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                     : "l"(at), "r"(u32(exists)));
#pragma unroll
        for (int j = 0; j < N; ++j) {
            T lane;
            lane.bits = u16(words[j / 2] >> (j % 2 * 16));
            values[j] = Element<T>::load(lane);
        }
    }
}

inline float least() { return LARGEST ? of_bits(0xFF800000u) : 0.0f; }
inline float combined(float a, float b) { return LARGEST ? real_max(a, b) : a + b; }

template <int N> struct Folded {
    float lane[N];

    Folded() {
#pragma unroll
        for (int j = 0; j < N; ++j) lane[j] = least();
    }
    // Zeros change no sum.
    __forceinline__ void add(const float (&values)[N], bool exists) {
#pragma unroll
        for (int j = 0; j < N; ++j)
            if (!LARGEST || exists) lane[j] = combined(lane[j], values[j]);
    }
};

// Division of numbers that mostly have 32 bits, which is many times faster.
inline i64 quotient(i64 a, i64 b) { return ((a | b) >> 32) == 0 ? i64(u32(a) / u32(b)) : a / b; }

template <int N> __forceinline__ void each_window(const Parameters& p) {
    constexpr int TAPS = TAPS_Z * TAPS_Y * TAPS_X;
    // Taps that are loaded at once.
    constexpr int GROUP = TAPS < 9 ? TAPS : 9;
    const Windows& w = p.windows;
    const i64 chunks = p.channels / N, plane = w.outputs();
    each(p.images * plane * chunks, [&](i64 at) {
        const i64 window = quotient(at, chunks), channel = (at - window * chunks) * N, image = quotient(window, plane);
        const i64 place = window - image * plane;
        const int line = int(quotient(place, w.output[2])), z = line / int(w.output[1]), y = line - z * int(w.output[1]);
        const int x = int(place - line * w.output[2]);
        const int first_z = z * int(w.stride[0]) - int(w.begin[0]), first_y = y * int(w.stride[1]) - int(w.begin[1]);
        const int first_x = x * int(w.stride[2]) - int(w.begin[2]);
        const T* const from = p.x + image * w.inputs() * p.channels + channel;
        Folded<N> all;
        i64 count = 0;
#pragma unroll 1
        for (int first = 0; first < TAPS; first += GROUP) {
            float values[GROUP][N];
            bool exists[GROUP];
#pragma unroll
            for (int i = 0; i < GROUP; ++i) {
                const int tap = first + i, tap_z = tap / (TAPS_Y * TAPS_X), tap_y = tap / TAPS_X % TAPS_Y, tap_x = tap % TAPS_X;
                const int at_z = first_z + tap_z * int(w.dilation[0]), at_y = first_y + tap_y * int(w.dilation[1]);
                const int at_x = first_x + tap_x * int(w.dilation[2]);
                exists[i] = tap < TAPS && u32(at_z) < u32(w.input[0]) && u32(at_y) < u32(w.input[1]) && u32(at_x) < u32(w.input[2]);
                const i64 pixel = (at_z * w.input[1] + at_y) * w.input[2] + at_x;
                load_if<N>(values[i], exists[i], from + pixel * p.channels);
            }
#pragma unroll
            for (int i = 0; i < GROUP; ++i) {
                all.add(values[i], exists[i]);
                count += exists[i];
            }
        }
        if (!LARGEST && p.counts_padding) count = w.padded(place);
        Vector<T, N> result;
#pragma unroll
        for (int j = 0; j < N; ++j) result.lane[j] = narrowed<T>(LARGEST ? all.lane[j] : all.lane[j] / float(count));
        result.store(p.y + window * p.channels + channel);
    });
}

// Every STEP-th of COUNT pixels from `at` on, those in front of `end`, all of which are loaded at once.
template <int N, int COUNT, int STEP>
__forceinline__ void fold(Folded<N>& all, const T* x, i64 channels, i64 at, i64 end) {
    float values[COUNT][N];
#pragma unroll
    for (int i = 0; i < COUNT; ++i) load_if<N>(values[i], at + i * STEP < end, x + (at + i * STEP) * channels);
#pragma unroll
    for (int i = 0; i < COUNT; ++i) all.add(values[i], at + i * STEP < end);
}

// Threads of a block share the pixels of WIDTH chunks of channels of an image, or of a part of it.
template <int N, int WIDTH> __forceinline__ void whole_images(const Parameters& p) {
    constexpr int SHARERS = THREADS / WIDTH, WARPS = THREADS / 32, CHANNELS = WIDTH * N;
    static_assert(WIDTH <= 32 && CHANNELS <= THREADS, "a warp holds all chunks, and each thread joins one channel at most");
    __shared__ float warps[WARPS][CHANNELS];
    const int groups = int(p.groups), part = int(blockIdx.y);
    const i64 image = blockIdx.x / groups, first = i64(int(blockIdx.x) - int(image) * groups) * CHANNELS;
    const int own = int(threadIdx.x) % WIDTH, sharer = int(threadIdx.x) / WIDTH;
    const i64 pixels = p.windows.inputs(), length = (pixels + p.parts - 1) / p.parts, begin = part * length;
    const i64 end = begin + length < pixels ? begin + length : pixels, channel = first + own * N;
    const T* const x = p.x + image * pixels * p.channels + channel;
    const i64 last = channel < p.channels ? end : begin;
    Folded<N> all;
    i64 at = begin;
    for (; at + 4 * SHARERS < end; at += 8 * SHARERS) fold<N, 8, SHARERS>(all, x, p.channels, at + sharer, last);
    if (at + 2 * SHARERS < end) fold<N, 4, SHARERS>(all, x, p.channels, at + sharer, last);
    else if (at < end) fold<N, 2, SHARERS>(all, x, p.channels, at + sharer, last);
    // Lanes of a warp that share chunks, and then warps, in a fixed order.
#pragma unroll
    for (int half = 16; half >= WIDTH; half /= 2)
#pragma unroll
        for (int j = 0; j < N; ++j) all.lane[j] = combined(all.lane[j], __shfl_xor_sync(~0u, all.lane[j], half));
    if (threadIdx.x % 32 < WIDTH)
#pragma unroll
        for (int j = 0; j < N; ++j) warps[threadIdx.x / 32][own * N + j] = all.lane[j];
    __syncthreads();
    const i64 mine = first + threadIdx.x;
    if (threadIdx.x >= CHANNELS || mine >= p.channels) return;
    float value = warps[0][threadIdx.x];
#pragma unroll
    for (int warp = 1; warp < WARPS; ++warp) value = combined(value, warps[warp][threadIdx.x]);
    if (p.parts > 1) p.partial[(image * p.parts + part) * p.channels + mine] = value;
    else p.y[image * p.channels + mine] = narrowed<T>(LARGEST ? value : value / float(pixels));
}

// More blocks of a multiprocessor have so few registers that the compiler puts the loads of a thread one after the other.
extern "C" __global__ void __launch_bounds__(THREADS, 3) windows_by_chunk(const __grid_constant__ Parameters p) {
    follow_previous();
    each_window<CHUNK>(p);
}
extern "C" __global__ void __launch_bounds__(THREADS, 3) windows_by_channel(const __grid_constant__ Parameters p) {
    follow_previous();
    each_window<1>(p);
}
extern "C" __global__ void __launch_bounds__(THREADS, 3) images_by_line(const __grid_constant__ Parameters p) {
    follow_previous();
    whole_images<CHUNK, 8>(p);
}
extern "C" __global__ void __launch_bounds__(THREADS, 3) images_by_sector(const __grid_constant__ Parameters p) {
    follow_previous();
    whole_images<CHUNK, 2>(p);
}
extern "C" __global__ void __launch_bounds__(THREADS, 3) images_by_channel(const __grid_constant__ Parameters p) {
    follow_previous();
    whole_images<1, 32>(p);
}

// The parts of an image in their order.
extern "C" __global__ void __launch_bounds__(THREADS) join_parts(const __grid_constant__ Parameters p) {
    follow_previous();
    each(p.images * p.channels, [&](i64 at) {
        const i64 image = quotient(at, p.channels), channel = at - image * p.channels;
        const float* const from = p.partial + image * p.parts * p.channels + channel;
        float value = from[0];
#pragma unroll 8
        for (int part = 1; part < int(p.parts); ++part) value = combined(value, from[part * p.channels]);
        p.y[at] = narrowed<T>(LARGEST ? value : value / float(p.windows.inputs()));
    });
}
