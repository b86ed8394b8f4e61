// Recurrent layers, a launch for each step: a warp computes one hidden unit of one sequence and direction. States stay in the
// type A of sums. The generated header names the element type T, A, and the CELL.
#include "math.cuh"

enum { RNN, GRU, LSTM };
#include "generated.cuh"

// An activation by its number in steps.rs.
struct Function {
    i64 kind;
    double alpha;
    double beta;

    A operator()(A x) const {
        const A a = A(alpha), b = A(beta);
        switch (int(kind)) {
        case 0: return x > A(0) ? x : A(0);
        case 1: return real_tanh(x);
        case 2: return real_sigmoid(x);
        case 3: return a * x + b;
        case 4: return x >= A(0) ? x : a * x;
        case 5: return x >= a ? x : A(0);
        case 6: return a * real_tanh(b * x);
        case 7: {
            const A line = a * x + b;
            return line < A(0) ? A(0) : line > A(1) ? A(1) : line;
        }
        case 8: return x >= A(0) ? x : a * A(expm1(x));
        case 9: return x / (A(1) + real_abs(x));
        default: return (x > A(0) ? x : A(0)) + real_log1p(real_exp(-real_abs(x)));
        }
    }
};

struct Parameters {
    i64 step;
    i64 steps, batch, directions, features, hidden;
    // The first direction walks backward.
    i64 reverse;
    i64 batch_first;
    // The forget gate is one minus the input gate; the recurrence matrix comes before the reset gate.
    i64 option;
    double clip;
    Function functions[2][3];
    const T* x;
    const T* w;
    const T* r;
    // Null for none.
    const T* bias;
    const i32* lengths;
    const T* initial_h;
    const T* initial_c;
    const T* peepholes;
    // Null where they are no results.
    T* y;
    T* last_h;
    T* last_c;
    // The state before a step and behind it, which change places; that of the cell; gates of a GRU.
    A* h[2];
    A* c;
    A* update;
    A* kept;
    u32* fault;
};

constexpr int GATES = CELL == RNN ? 1 : CELL == GRU ? 3 : 4;

inline A activate(const Parameters& p, i64 direction, int which, A v) {
    const A clip = A(p.clip);
    v = v < -clip ? -clip : v > clip ? clip : v;
    return p.functions[direction][which](v);
}

// One hidden unit of a sequence.
struct Unit {
    const Parameters& p;
    i64 direction, sequence, unit;
    // Number of the state, and of the step's place in time; whether the sequence has such a step.
    i64 state;
    i64 time;
    bool is_active;
    bool is_refused;

    Unit(const Parameters& p, i64 at) : p(p) {
        unit = at % p.hidden;
        state = at / p.hidden;
        direction = p.batch_first ? state % p.directions : state / p.batch;
        sequence = p.batch_first ? state / p.directions : state % p.batch;
        const i64 length = p.lengths == nullptr ? p.steps : i64(p.lengths[sequence]);
        is_refused = length < 0 || length > p.steps;
        is_active = !is_refused && p.step < length;
        time = p.reverse || direction == 1 ? length - 1 - p.step : p.step;
    }

    i64 row(int gate) const { return (direction * GATES + gate) * p.hidden + unit; }

    // The sum of all lanes, for all lanes.
    static A all(A v) {
#pragma unroll
        for (int distance = 16; distance > 0; distance /= 2) v += __shfl_xor_sync(~0u, v, distance);
        return v;
    }
    A bias(int row) const {
        return p.bias == nullptr ? A(0) : A(Element<T>::load(p.bias[(direction * 2 * GATES + row) * p.hidden + unit]));
    }
    // w x + bias of a gate.
    A projected(int gate) const {
        const i64 place = p.batch_first ? sequence * p.steps + time : time * p.batch + sequence;
        const T* x = p.x + place * p.features;
        const T* w = p.w + row(gate) * p.features;
        A sum = 0;
        for (i64 k = threadIdx.x % 32; k < p.features; k += 32) sum += A(Element<T>::load(w[k])) * A(Element<T>::load(x[k]));
        return all(sum) + bias(gate);
    }
    // r times a state, and the bias beside it.
    A recurrent(int gate, const A* states) const {
        const A* h = states + state * p.hidden;
        const T* r = p.r + row(gate) * p.hidden;
        A sum = 0;
        for (i64 k = threadIdx.x % 32; k < p.hidden; k += 32) sum += A(Element<T>::load(r[k])) * h[k];
        return all(sum) + bias(GATES + gate);
    }
    A peephole(int gate) const {
        return p.peepholes == nullptr ? A(0) : A(Element<T>::load(p.peepholes[(direction * 3 + gate) * p.hidden + unit]));
    }
};

inline i64 units(const Parameters& p) { return p.directions * p.batch * p.hidden; }

template <class F> inline void each_unit(const Parameters& p, F visit) {
    const i64 warps = i64(gridDim.x) * blockDim.x / 32;
    for (i64 at = (i64(blockIdx.x) * blockDim.x + threadIdx.x) / 32; at < units(p); at += warps) visit(Unit(p, at), at);
}

extern "C" __global__ void begin(const __grid_constant__ Parameters p) {
    follow_previous();
    const i64 all = units(p) * p.steps;
    each(all > units(p) ? all : units(p), [&](i64 at) {
        if (p.y != nullptr && at < all) p.y[at] = narrowed<T>(Wide<T>(0));
        if (at >= units(p)) return;
        p.h[0][at] = p.initial_h == nullptr ? A(0) : A(Element<T>::load(p.initial_h[at]));
        if (CELL == LSTM) p.c[at] = p.initial_c == nullptr ? A(0) : A(Element<T>::load(p.initial_c[at]));
        if (Unit(p, at).is_refused) report(p.fault, FAULT_INDEX);
    });
}

// The gates of a GRU whose reset gate comes before the recurrence matrix, which needs those of all units.
extern "C" __global__ void gates(const __grid_constant__ Parameters p) {
    follow_previous();
    each_unit(p, [&](const Unit& own, i64 at) {
        if (!own.is_active) return;
        const A* h = p.h[p.step % 2];
        const A update = activate(p, own.direction, 0, own.projected(0) + own.recurrent(0, h));
        const A reset = activate(p, own.direction, 0, own.projected(1) + own.recurrent(1, h));
        if (threadIdx.x % 32 == 0) {
            p.update[at] = update;
            p.kept[at] = reset * h[at];
        }
    });
}

inline A next_state(const Parameters& p, const Unit& own, i64 at) {
    const A* h = p.h[p.step % 2];
    const i64 d = own.direction;
    if (CELL == RNN) return activate(p, d, 0, own.projected(0) + own.recurrent(0, h));
    if (CELL == GRU) {
        A update, candidate;
        if (p.option) {
            update = activate(p, d, 0, own.projected(0) + own.recurrent(0, h));
            const A reset = activate(p, d, 0, own.projected(1) + own.recurrent(1, h));
            candidate = activate(p, d, 1, own.projected(2) + reset * own.recurrent(2, h));
        } else {
            update = p.update[at];
            candidate = activate(p, d, 1, own.projected(2) + own.recurrent(2, p.kept));
        }
        return (A(1) - update) * candidate + update * h[at];
    }
    const A c = p.c[at];
    const A input = activate(p, d, 0, own.projected(0) + own.recurrent(0, h) + own.peephole(0) * c);
    const A forget = p.option ? A(1) - input : activate(p, d, 0, own.projected(2) + own.recurrent(2, h) + own.peephole(2) * c);
    const A cell = forget * c + input * activate(p, d, 1, own.projected(3) + own.recurrent(3, h));
    const A output = activate(p, d, 0, own.projected(1) + own.recurrent(1, h) + own.peephole(1) * cell);
    // All lanes have read the state of the cell.
    __syncwarp();
    if (threadIdx.x % 32 == 0) p.c[at] = cell;
    return output * activate(p, d, 2, cell);
}

extern "C" __global__ void step(const __grid_constant__ Parameters p) {
    follow_previous();
    each_unit(p, [&](const Unit& own, i64 at) {
        const A state = own.is_active ? next_state(p, own, at) : p.h[p.step % 2][at];
        if (threadIdx.x % 32 != 0) return;
        p.h[(p.step + 1) % 2][at] = state;
        if (!own.is_active || p.y == nullptr) return;
        const i64 place = p.batch_first ? (own.sequence * p.steps + own.time) * p.directions + own.direction
                                        : (own.time * p.directions + own.direction) * p.batch + own.sequence;
        p.y[place * p.hidden + own.unit] = of_float<T>(state);
    });
}

extern "C" __global__ void finish(const __grid_constant__ Parameters p) {
    follow_previous();
    each(units(p), [&](i64 at) {
        if (p.last_h != nullptr) p.last_h[at] = of_float<T>(p.h[p.steps % 2][at]);
        if (CELL == LSTM && p.last_c != nullptr) p.last_c[at] = of_float<T>(p.c[at]);
    });
}
