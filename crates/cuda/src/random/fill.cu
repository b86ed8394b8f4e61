// A tensor of random numbers by the Philox 4x32-10 generator: four elements from a block. The generated header names the
// element type T and whether numbers are NORMAL.
#include "math.cuh"
#include "generated.cuh"

struct Parameters {
    i64 count;
    u64 seed;
    u64 stream;
    // Bounds, or mean and standard deviation.
    double first;
    double second;
    T* y;
};

struct Words {
    u32 word[4];

    Words(u64 seed, u64 stream, u64 number) {
        u32 a = u32(number), b = u32(number >> 32), c = u32(stream), d = u32(stream >> 32);
        u32 k0 = u32(seed), k1 = u32(seed >> 32);
#pragma unroll
        for (int round = 0; round < 10; ++round) {
            const u64 first = u64(0xD2511F53u) * a, second = u64(0xCD9E8D57u) * c;
            a = u32(second >> 32) ^ b ^ k0;
            b = u32(second);
            c = u32(first >> 32) ^ d ^ k1;
            d = u32(first);
            k0 += 0x9E3779B9u;
            k1 += 0xBB67AE85u;
        }
        word[0] = a;
        word[1] = b;
        word[2] = c;
        word[3] = d;
    }
    // The upper 24 bits of a word as a number in [0, 1).
    double unit(int which) const { return double(word[which] >> 8) / 16777216.0; }
};

extern "C" __global__ void fill(const __grid_constant__ Parameters p) {
    follow_previous();
    each((p.count + 3) / 4, [&](i64 block) {
        const Words words(p.seed, p.stream, u64(block));
#pragma unroll
        for (int pair = 0; pair < 4; pair += 2) {
            double values[2];
            if (NORMAL) {
                const double radius = sqrt(-2.0 * log(words.unit(pair) + 1.0 / 16777216.0));
                double sine, cosine;
                sincospi(2.0 * words.unit(pair + 1), &sine, &cosine);
                values[0] = p.first + p.second * radius * cosine;
                values[1] = p.first + p.second * radius * sine;
            } else {
                values[0] = p.first + words.unit(pair) * (p.second - p.first);
                values[1] = p.first + words.unit(pair + 1) * (p.second - p.first);
            }
            const i64 at = block * 4 + pair;
            if (at < p.count) p.y[at] = of_float<T>(values[0]);
            if (at + 1 < p.count) p.y[at + 1] = of_float<T>(values[1]);
        }
    });
}
