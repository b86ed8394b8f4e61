//! One step of each kind of cell.
//!
//! The input part `w x` of all gates is given; what remains is the product with the state, a row at a time, and the
//! elementwise part. The gates stand in the order of ONNX: of the LSTM i, o, f, c, of the GRU z, r, h.

use sinter_ops::recurrent::activation::Activation;

use crate::float::Float;
use crate::recurrent::activation::activate;

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
        match self {
            Kind::Rnn => 1,
            Kind::Gru { .. } => 3,
            Kind::Lstm { .. } => 4,
        }
    }

    /// Number of states.
    pub fn states(self) -> usize {
        if matches!(self, Kind::Lstm { .. }) { 2 } else { 1 }
    }
}

/// The parameters of one direction.
pub struct Cell<'a, T> {
    /// What it computes.
    pub kind: Kind,
    /// Hidden units.
    pub hidden: usize,
    /// [gates * hidden, hidden].
    pub r: &'a [T],
    /// [2 * gates * hidden], of w then of r; may be empty.
    pub bias: &'a [T],
    /// [3 * hidden] of the gates i, o, f; may be empty.
    pub peepholes: &'a [T],
    /// Its functions.
    pub activations: &'a [Activation],
    /// Limit of their arguments.
    pub clip: Option<f64>,
}

impl<T: Float> Cell<'_, T> {
    fn apply(&self, which: usize, x: T) -> T {
        activate(self.activations[which], self.clip, x)
    }

    fn at(values: &[T], index: usize) -> T {
        values.get(index).copied().unwrap_or_default()
    }

    /// Biases of w and r at a row.
    fn biases(&self, row: usize) -> T {
        Self::at(self.bias, row) + self.recurrent_bias(row)
    }

    fn recurrent_bias(&self, row: usize) -> T {
        Self::at(self.bias, self.kind.gates() * self.hidden + row)
    }

    /// The products of a state with the rows of the recurrence matrix from `first` on.
    fn recurrent(&self, first: usize, state: &[T], sums: &mut [T]) {
        T::row_sums(&self.r[first * self.hidden..(first + sums.len()) * self.hidden], state, sums);
    }

    /// Updates the states by one step; `x` is the input part of every gate, `sums` room for as many numbers.
    pub fn step(&self, x: &[T], states: &mut [Vec<T>], sums: &mut [T]) {
        let hidden = self.hidden;
        match (self.kind, states) {
            (Kind::Rnn, [h]) => {
                self.recurrent(0, h, sums);
                for (row, sum) in sums.iter_mut().enumerate() {
                    *sum = x[row] + *sum + self.biases(row);
                }
                h.iter_mut().zip(&*sums).for_each(|(h, sum)| *h = self.apply(0, *sum));
            }
            (Kind::Gru { linear_before_reset }, [h]) => {
                let (gates, candidate) = sums.split_at_mut(2 * hidden);
                self.recurrent(0, h, gates);
                for (row, sum) in gates.iter_mut().enumerate() {
                    *sum = self.apply(0, x[row] + *sum + self.biases(row));
                }
                let (update, reset) = gates.split_at_mut(hidden);
                if linear_before_reset {
                    self.recurrent(2 * hidden, h, candidate);
                    for (unit, sum) in candidate.iter_mut().enumerate() {
                        let row = 2 * hidden + unit;
                        let from_state = reset[unit] * (*sum + self.recurrent_bias(row));
                        *sum = x[row] + Self::at(self.bias, row) + from_state;
                    }
                } else {
                    reset.iter_mut().zip(h.iter()).for_each(|(r, h)| *r = *r * *h);
                    self.recurrent(2 * hidden, reset, candidate);
                    for (unit, sum) in candidate.iter_mut().enumerate() {
                        let row = 2 * hidden + unit;
                        *sum = x[row] + *sum + self.biases(row);
                    }
                }
                for ((h, sum), z) in h.iter_mut().zip(candidate).zip(update) {
                    *h = (T::of(1.0) - *z) * self.apply(1, *sum) + *z * *h;
                }
            }
            (Kind::Lstm { input_forget }, [h, c]) => {
                self.recurrent(0, h, sums);
                for (row, sum) in sums.iter_mut().enumerate() {
                    *sum = x[row] + *sum + self.biases(row);
                }
                for unit in 0..hidden {
                    let old = c[unit];
                    let sum = |gate: usize| sums[gate * hidden + unit];
                    let peephole = |gate: usize, cell: T| Self::at(self.peepholes, gate * hidden + unit) * cell;
                    let input = self.apply(0, sum(0) + peephole(0, old));
                    let forget =
                        if input_forget { T::of(1.0) - input } else { self.apply(0, sum(2) + peephole(2, old)) };
                    c[unit] = forget * old + input * self.apply(1, sum(3));
                    h[unit] = self.apply(0, sum(1) + peephole(1, c[unit])) * self.apply(2, c[unit]);
                }
            }
            _ => {}
        }
    }
}
