// One value from each window of images with the channels last. The generated header names the element type, and whether it is
// the largest element or the mean.
#include "windows.cuh"
#include "generated.cuh"

struct Parameters {
    Windows windows;
    i64 images, channels;
    i64 counts_padding;
    // May eight channels be loaded and stored at once?
    i64 wide;
    const T* x;
    T* y;
};

constexpr int LANES = 8, CHUNKS = 8, SHARERS = 32;
typedef Vector<T, LANES> Chunk;

struct Sums {
    float lane[LANES];

    Sums() {
#pragma unroll
        for (int j = 0; j < LANES; ++j) lane[j] = LARGEST ? of_bits(0xFF800000u) : 0.0f;
    }
    void add(int j, float v) { lane[j] = LARGEST ? real_max(lane[j], v) : lane[j] + v; }
    void add(const Parameters& p, const T* at, int left) {
        if (p.wide) {
            const Chunk chunk = Chunk::load(at);
#pragma unroll
            for (int j = 0; j < LANES; ++j) add(j, Element<T>::load(chunk.lane[j]));
        } else {
#pragma unroll
            for (int j = 0; j < LANES; ++j)
                if (j < left) add(j, Element<T>::load(at[j]));
        }
    }
    void store(const Parameters& p, T* at, int left, i64 count) const {
        Chunk chunk;
#pragma unroll
        for (int j = 0; j < LANES; ++j) chunk.lane[j] = narrowed<T>(LARGEST ? lane[j] : lane[j] / float(count));
        if (p.wide) {
            chunk.store(at);
        } else {
#pragma unroll
            for (int j = 0; j < LANES; ++j)
                if (j < left) at[j] = chunk.lane[j];
        }
    }
};

extern "C" __global__ void each_window(const __grid_constant__ Parameters p) {
    follow_previous();
    const i64 chunks = (p.channels + LANES - 1) / LANES, plane = p.windows.outputs();
    each(p.images * plane * chunks, [&](i64 at) {
        const i64 window = at / chunks, channel = (at - window * chunks) * LANES, image = window / plane, place = window - image * plane;
        const int left = p.channels - channel < LANES ? int(p.channels - channel) : LANES;
        const T* const x = p.x + image * p.windows.inputs() * p.channels + channel;
        Sums sums;
        i64 count = 0;
        p.windows.each(place, [&](i64 pixel, i64) {
            sums.add(p, x + pixel * p.channels, left);
            ++count;
        });
        if (!LARGEST && p.counts_padding) count = p.windows.padded(place);
        sums.store(p, p.y + window * p.channels + channel, left, count);
    });
}

// Threads of a block share the pixels of eight chunks of channels of an image.
extern "C" __global__ void __launch_bounds__(CHUNKS * SHARERS) whole_images(const __grid_constant__ Parameters p) {
    follow_previous();
    __shared__ float parts[SHARERS][CHUNKS][LANES];
    const i64 blocks = (p.channels + LANES * CHUNKS - 1) / (LANES * CHUNKS), image = blockIdx.x / blocks;
    const int own = int(threadIdx.x) % CHUNKS, sharer = int(threadIdx.x) / CHUNKS;
    const i64 channel = ((blockIdx.x - image * blocks) * CHUNKS + own) * LANES, pixels = p.windows.inputs();
    const int left = p.channels - channel < LANES ? int(p.channels - channel) : LANES;
    const T* const x = p.x + image * pixels * p.channels + channel;
    Sums sums;
    if (left > 0)
        for (i64 pixel = sharer; pixel < pixels; pixel += SHARERS) sums.add(p, x + pixel * p.channels, left);
    for (int half = SHARERS / 2; half > 0; half /= 2) {
        // The upper half gives its sums to the lower one.
        if (sharer >= half && sharer < 2 * half)
#pragma unroll
            for (int j = 0; j < LANES; ++j) parts[sharer][own][j] = sums.lane[j];
        __syncthreads();
        if (sharer < half)
#pragma unroll
            for (int j = 0; j < LANES; ++j) sums.add(j, parts[sharer + half][own][j]);
    }
    if (sharer == 0 && left > 0) sums.store(p, p.y + image * p.channels + channel, left, pixels);
}
