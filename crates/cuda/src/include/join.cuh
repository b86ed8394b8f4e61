// Past and new rows of keys or values, one after the other.
#pragma once
#include "attention.cuh"

struct Join {
    // Chunks of all rows; heads, positions, and past ones of them.
    i64 count, heads, total, past;
    // Chunks of a row, and their elements: eight, or one where rows are not aligned.
    i64 chunks, width;
    Side old, added, all;
};

inline void join_rows(const Join& p) {
    each(p.count, [&](i64 at) {
        const i64 place = at % p.chunks * p.width, l = at / p.chunks % p.total;
        const i64 h = at / p.chunks / p.total % p.heads, b = at / p.chunks / p.total / p.heads;
        const T* from = (l < p.past ? p.old.row(b, h, l) : p.added.row(b, h, l - p.past)) + place;
        T* to = p.all.row(b, h, l) + place;
        if (p.width == CHUNK) Vector<T, CHUNK>::load(from).store(to);
        else *to = *from;
    });
}
