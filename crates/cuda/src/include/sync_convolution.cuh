// A convolution of images with the channels last as a product of one tile, by warps that copy, load and multiply in turns: rows
// are pixels of the result, of all images, columns are output channels. A step is one tap of the windows and up to 64 channels;
// the weights have the channels of every tap side by side.
#pragma once
#include "windows.cuh"
#include "sync_product.cuh"

struct Images {
    Windows windows;
    const T* bias;
    // Channels of a group, and elements from one pixel to the next.
    i64 channels, pixel;
};

// The bias is one of the terms: only the whole sum is rounded. It is a number for each row of the sums, or for each column. With
// PAIRS the numbers of two neighbouring columns can be loaded at once.
template <bool BY_ROW, bool PAIRS> struct Bias {
    const T* at;
    i64 count;

    __forceinline__ void add(Four& four, i64 row, i64 column) const {
        if (!HAS_BIAS) return;
        const int lane = threadIdx.x % 32;
        const i64 first = BY_ROW ? row + lane / 4 : column + lane % 4 * 2;
        const int step = BY_ROW ? 8 : 1;
        T bits[2] = {};
        if constexpr (PAIRS && !BY_ROW) {
            u32 both = 0;
            if (first < count) both = __ldg(reinterpret_cast<const u32*>(at + first));
            bits[0].bits = u16(both);
            bits[1].bits = u16(both >> 16);
        } else {
#pragma unroll
            for (int i = 0; i < 2; ++i)
                if (first + i * step < count) bits[i].bits = __ldg(&at[first + i * step].bits);
        }
#pragma unroll
        for (int i = 0; i < 2; ++i) {
            const float term = Element<T>::load(bits[i]);
            four.sums[BY_ROW ? 2 * i : i] += term;
            four.sums[BY_ROW ? 2 * i + 1 : i + 2] += term;
        }
    }
};

struct ConvolutionTile {
    Matrices matrices;
    Images images;
};

// With WIDE, chunks of eight channels are aligned and are copied while the warps compute; without, elements are copied one by
// one. A window has at most 32 taps along an axis.
template <class S, bool WIDE> __forceinline__ void convolution_of_tile(const ConvolutionTile& p, char* memory) {
    const Matrices& all = p.matrices;
    const Windows& w = p.images.windows;
    const int rows = int((all.m + S::ROWS - 1) / S::ROWS), columns = int((all.n + S::COLUMNS - 1) / S::COLUMNS);
    const TileIndex tile = tile_of(blockIdx.x, rows, columns);
    const Place place = place_of(all, tile.stack);
    const i64 row0 = i64(tile.row) * S::ROWS, column0 = i64(tile.column) * S::COLUMNS;
    const int channels = int(p.images.channels), pixel = int(p.images.pixel);
    const T* const image = all.a + place.a * channels;
    const T* const weights = all.b + place.b * all.b_size + column0 * all.b_row;
    const int columns_left = int(all.n - column0 < S::COLUMNS ? all.n - column0 : S::COLUMNS);

    // A thread copies one chunk of each of its pixels: the first pixels of their windows, and which taps along each axis are
    // inside of the image.
    constexpr int LINES = S::THREADS / 8, OWN = S::ROWS / LINES;
    static_assert(S::ROWS % LINES == 0, "every thread has as many pixels");
    const int first_line = int(threadIdx.x) / 8, chunk = int(threadIdx.x) % 8;
    int first[OWN];
    u32 inside[OWN][SPATIAL_AXES];
#pragma unroll
    for (int own = 0; own < OWN; ++own) {
        const i64 row = row0 + first_line + own * LINES;
        i64 rest = row;
        int place_in_image = 0, step = 1;
#pragma unroll
        for (int axis = 0; axis < SPATIAL_AXES; ++axis) {
            const int at = SPATIAL - 1 - axis;
            const i64 outer = rest / w.output[at];
            const int begin = int(rest - outer * w.output[at]) * int(w.stride[at]) - int(w.begin[at]);
            u32 taps = 0;
            for (int tap = 0; tap < int(w.kernel[at]); ++tap)
                taps |= u32(u32(begin + tap * int(w.dilation[at])) < u32(w.input[at])) << tap;
            inside[own][axis] = row < all.m ? taps : 0;
            place_in_image += begin * step;
            step *= int(w.input[at]);
            rest = outer;
        }
        first[own] = int(rest) * step + place_in_image;
    }

    // The tap and the first channel of the next step.
    int tap[SPATIAL_AXES] = {}, channel0 = 0, number = 0;
    const auto copy = [&](u32 stage, int) {
        int offset = 0, step = 1;
#pragma unroll
        for (int axis = 0; axis < SPATIAL_AXES; ++axis) {
            offset += tap[axis] * int(w.dilation[SPATIAL - 1 - axis]) * step;
            step *= int(w.input[SPATIAL - 1 - axis]);
        }
        const int k = channels - channel0 < ROW ? channels - channel0 : ROW, left = k - chunk * CHUNK;
        const int count = left < 0 ? 0 : left < CHUNK ? left : CHUNK;
#pragma unroll
        for (int own = 0; own < OWN; ++own) {
            bool exists = count > 0;
#pragma unroll
            for (int axis = 0; axis < SPATIAL_AXES; ++axis) exists = exists && (inside[own][axis] >> tap[axis] & 1);
            const T* source = exists ? image + i64(first[own] + offset) * pixel + channel0 + chunk * CHUNK : image;
            const u32 target = stage + chunk_at(first_line + own * LINES, chunk);
            if constexpr (WIDE) {
                copy_chunk(target, source, exists ? count * int(sizeof(T)) : 0);
            } else {
                Eight<T> elements;
#pragma unroll
                for (int j = 0; j < CHUNK; ++j) elements.lane[j] = exists && j < count ? source[j] : T{0};
                const uint4 bits = *reinterpret_cast<uint4*>(&elements);
                asm volatile("st.shared.v4.b32 [%0], {%1, %2, %3, %4};" ::"r"(target), "r"(bits.x), "r"(bits.y), "r"(bits.z),
                             "r"(bits.w)
                             : "memory");
            }
        }
        const T* corner = weights + i64(number) * channels + channel0;
        copy_tile<S::COLUMNS, S::THREADS, true, WIDE>(stage + S::LEFT_BYTES, corner, all.b_row, columns_left, k);
        if ((channel0 += ROW) >= channels) {
            channel0 = 0;
            ++number;
            bool turns = true;
#pragma unroll
            for (int axis = 0; axis < SPATIAL_AXES; ++axis) {
                tap[axis] += turns;
                turns = turns && tap[axis] == int(w.kernel[SPATIAL - 1 - axis]);
                if (turns) tap[axis] = 0;
            }
        }
    };
    float sums[S::HIGH][8 * S::BROAD];
    sum_tile<S, true, true>(sums, shared_address(memory), int(all.k / ROW), copy, [](u32) {});
    finish_tile<S>(all, place, memory, row0, column0, sums, Bias<false, false>{p.images.bias + place.b * all.n, all.n});
}
