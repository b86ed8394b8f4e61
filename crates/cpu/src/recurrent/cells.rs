//! One step of each kind of cell.
//!
//! The input part `w x` of all gates with the biases is given; what remains is the product with the state and the
//! elementwise part, a gate at a time. The gates stand in the order of ONNX: of the LSTM i, o, f, c, of the GRU z, r,
//! h.

use sinter_ops::recurrent::activation::Activation;

use crate::float::Float;
use crate::product::wide::Order;

/// The kind of cell.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// One gate.
    Rnn,
    /// Update, reset, hidden.
    Gru {
        /// The recurrence matrix is applied before the reset gate.
        linear_before_reset: bool,
    },
    /// Input, output, forget, cell.
    Lstm {
        /// The forget gate is one minus the input gate.
        input_forget: bool,
    },
}

impl Kind {
    /// Number of gates.
    pub fn gates(self) -> usize {
        self.products().iter().sum()
    }

    /// Number of states.
    pub fn states(self) -> usize {
        if matches!(self, Kind::Lstm { .. }) { 2 } else { 1 }
    }

    /// Gates whose rows of the recurrence matrix form one product: the GRU's hidden gate may multiply another vector
    /// than the others.
    pub fn products(self) -> &'static [usize] {
        match self {
            Kind::Rnn => &[1],
            Kind::Gru { .. } => &[2, 1],
            Kind::Lstm { .. } => &[4],
        }
    }
}

/// The parameters of one direction.
pub struct Cell<'a, T> {
    /// The kind of cell.
    pub kind: Kind,
    /// Hidden units.
    pub hidden: usize,
    /// The recurrence matrix, its products one after the other in wide panels.
    pub r: &'a [T],
    /// Bias of the product with the state before the reset gate, of a GRU with `linear_before_reset`.
    pub reset_bias: &'a [T],
    /// [3 * hidden] of the gates i, o, f; may be empty.
    pub peepholes: &'a [T],
    /// Its functions.
    pub activations: &'a [Activation],
    /// Limit of their arguments.
    pub clip: Option<f64>,
}

fn add<T: Float>(y: &mut [T], x: &[T]) {
    y.iter_mut().zip(x).for_each(|(y, x)| *y += *x);
}

/// `y = y + a b`, where there is an `a`.
fn add_product<T: Float>(y: &mut [T], a: &[T], b: &[T]) {
    y.iter_mut().zip(a.iter().zip(b)).for_each(|(y, (a, b))| *y += *a * *b);
}

impl<T: Float> Cell<'_, T> {
    fn apply(&self, which: usize, values: &mut [T]) {
        T::activate(self.activations[which], self.clip, values);
    }

    fn peephole(&self, gate: usize) -> &[T] {
        self.peepholes.get(gate * self.hidden..(gate + 1) * self.hidden).unwrap_or_default()
    }

    /// Updates the states, one after the other, by one step; `x` is the input part of every gate, `sums` space for as
    /// many numbers. `order` is that of the panels.
    pub fn step(&self, x: &[T], states: &mut [T], sums: &mut [T], order: Order) {
        let (h, c) = states.split_at_mut(self.hidden);
        match self.kind {
            Kind::Rnn => {
                T::times(self.r, h, sums, order);
                add(sums, x);
                self.apply(0, sums);
                h.copy_from_slice(sums);
            }
            Kind::Gru { linear_before_reset } => self.gru(x, h, sums, order, linear_before_reset),
            Kind::Lstm { input_forget } => self.lstm(x, (h, c), sums, order, input_forget),
        }
    }

    fn gru(&self, x: &[T], h: &mut [T], sums: &mut [T], order: Order, linear_before_reset: bool) {
        let (gates, hidden) = sums.split_at_mut(2 * self.hidden);
        let (x_gates, x_hidden) = x.split_at(2 * self.hidden);
        let (r_gates, r_hidden) = self.r.split_at(crate::product::wide::packed_len(self.hidden, gates.len()));
        T::times(r_gates, h, gates, order);
        add(gates, x_gates);
        self.apply(0, gates);
        let (update, reset) = gates.split_at_mut(self.hidden);
        if linear_before_reset {
            T::times(r_hidden, h, hidden, order);
            for ((sum, r), b) in hidden.iter_mut().zip(&*reset).zip(self.reset_bias) {
                *sum = *r * (*sum + *b);
            }
        } else {
            reset.iter_mut().zip(&*h).for_each(|(r, h)| *r = *r * *h);
            T::times(r_hidden, reset, hidden, order);
        }
        add(hidden, x_hidden);
        self.apply(1, hidden);
        for ((h, new), z) in h.iter_mut().zip(hidden).zip(update) {
            *h = (T::of(1.0) - *z) * *new + *z * *h;
        }
    }

    fn lstm(&self, x: &[T], (h, c): (&mut [T], &mut [T]), sums: &mut [T], order: Order, input_forget: bool) {
        T::times(self.r, h, sums, order);
        add(sums, x);
        let (input, rest) = sums.split_at_mut(self.hidden);
        let (output, rest) = rest.split_at_mut(self.hidden);
        let (forget, cell) = rest.split_at_mut(self.hidden);
        add_product(input, self.peephole(0), c);
        self.apply(0, input);
        if input_forget {
            forget.iter_mut().zip(&*input).for_each(|(f, i)| *f = T::of(1.0) - *i);
        } else {
            add_product(forget, self.peephole(2), c);
            self.apply(0, forget);
        }
        self.apply(1, cell);
        for ((c, f), (i, new)) in c.iter_mut().zip(&*forget).zip(input.iter_mut().zip(cell)) {
            *c = *f * *c + *i * *new;
            *i = *c;
        }
        add_product(output, self.peephole(1), c);
        self.apply(0, output);
        // The buffer of the input gate holds the new cell.
        self.apply(2, input);
        h.iter_mut().zip(output.iter().zip(input)).for_each(|(h, (o, c))| *h = *o * *c);
    }
}
