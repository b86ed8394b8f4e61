//! The long short-term memory.
//!
//! `i = f(w_i x + r_i h + p_i c + b_i)`, `e = f(w_f x + r_f h + p_f c + b_f)` or `1 - i` with `input_forget`,
//! `c' = e c + i g(w_c x + r_c h + b_c)`, `o = f(w_o x + r_o h + p_o c' + b_o)`, `h' = o k(c')`. Inputs and results as
//! in [`crate::recurrent::recurrence`], with the gates i, o, f, c in this order, the activations f, g, k, and the states
//! h and c; then the peepholes p [D, 3 H] of i, o, f, optional. Source: ONNX LSTM-22.

use sinter_base::{Attributes, Dim, Tensor, Value, ValueType};

use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::infer::{InferContext, result_sizes};
use crate::operands::{Arguments, Operands};
use crate::operator::{Cost, Operator};
use crate::recurrent::activation::Activation;
use crate::recurrent::recurrence::{Direction, Recurrence, STATE};

/// See the module documentation.
#[derive(Clone, Debug, PartialEq, Attributes)]
pub struct Lstm {
    /// Directions, layout, clipping, activations.
    pub recurrence: Recurrence,
    /// The forget gate is one minus the input gate.
    pub input_forget: bool,
}

/// Positions of the gates.
const INPUT: usize = 0;
const OUTPUT: usize = 1;
const FORGET: usize = 2;
const CELL: usize = 3;
/// Position of the peepholes among the inputs.
const PEEPHOLES: usize = STATE + 2;

impl Operator for Lstm {
    const NAME: &'static str = "Lstm";

    fn infer(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        let types = self.recurrence.infer(inputs, 4, 2, 3, cx)?;
        if inputs.has(PEEPHOLES) {
            let (peepholes, hidden) = (inputs.dims_of_rank(PEEPHOLES, 2)?, &inputs.dims_of_rank(2, 3)?[2]);
            let directions = Dim::from(self.recurrence.direction.count());
            cx.require_equal(&peepholes[0], &directions, "directions of the peepholes")?;
            cx.require_equal(&peepholes[1], &hidden.mul(&Dim::constant(3)), "size of the peepholes")?;
        }
        Ok(types)
    }

    fn unranked(&self, inputs: &Operands<'_>) -> Result<Vec<ValueType>, InferError> {
        self.recurrence.unranked(inputs, 2)
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let sizes = result_sizes(self, inputs)?;
        let peepholes = inputs.optional_tensor(PEEPHOLES)?.map(Tensor::to_floats).unwrap_or_default();
        self.recurrence.run(inputs, &sizes, 4, &|cells, d, x, state| {
            let hidden = cells.hidden();
            let (h, c) = (state[0].clone(), state[1].clone());
            let peephole =
                |gate: usize, unit: usize| peepholes.get((d * 3 + gate) * hidden + unit).copied().unwrap_or(0.0);
            let sum = |gate: usize, unit: usize| {
                x[gate * hidden + unit] + cells.recurrent(d, gate, unit, &h) + cells.recurrent_bias(d, gate, unit)
            };
            for unit in 0..hidden {
                let input = cells.activate(d, 0, sum(INPUT, unit) + peephole(INPUT, unit) * c[unit]);
                let forget = if self.input_forget {
                    1.0 - input
                } else {
                    cells.activate(d, 0, sum(FORGET, unit) + peephole(FORGET, unit) * c[unit])
                };
                let cell = forget * c[unit] + input * cells.activate(d, 1, sum(CELL, unit));
                let output = cells.activate(d, 0, sum(OUTPUT, unit) + peephole(OUTPUT, unit) * cell);
                state[0][unit] = output * cells.activate(d, 2, cell);
                state[1][unit] = cell;
            }
        })
    }

    fn cost(&self, inputs: &Operands<'_>, outputs: &[ValueType]) -> Cost {
        self.recurrence.cost(inputs, outputs)
    }

    fn examples() -> Vec<Example> {
        let usual = Recurrence::forward(&[Activation::Sigmoid, Activation::Tanh, Activation::Tanh]);
        let op = |recurrence: &Recurrence, input_forget| Lstm { recurrence: recurrence.clone(), input_forget };
        let reverse = Recurrence { direction: Direction::Reverse, clip: Some(0.5), ..usual.clone() };
        let first = Recurrence { batch_first: true, ..usual.clone().both_ways() };
        let hard = Recurrence::forward(&[
            Activation::HardSigmoid { alpha: 0.2, beta: 0.5 },
            Activation::Elu { alpha: 1.0 },
            Activation::Softplus,
        ]);
        let lengths = Tensor::from_vec(&[3], vec![2i32, 4, 0]).expect("three lengths");
        vec![
            Example::new("plain", op(&usual, false)).float(&[5, 2, 3]).float(&[1, 16, 3]).float(&[1, 16, 4]),
            Example::new("peepholes, states, bias", op(&usual, false))
                .float(&[3, 1, 2])
                .float(&[1, 20, 2])
                .float(&[1, 20, 5])
                .float(&[1, 40])
                .absent()
                .float(&[1, 1, 5])
                .float(&[1, 1, 5])
                .float(&[1, 15]),
            Example::new("coupled gates, reverse, clipped", op(&reverse, true))
                .float(&[2, 2, 3])
                .float(&[1, 12, 3])
                .float(&[1, 12, 3]),
            Example::new("batch first, both ways, lengths", op(&first, false))
                .float(&[3, 4, 2])
                .float(&[2, 12, 2])
                .float(&[2, 12, 3])
                .float(&[2, 24])
                .tensor(lengths),
            Example::new("other activations", op(&hard, false)).float(&[2, 1, 1]).float(&[1, 4, 1]).float(&[1, 4, 1]),
            Example::new("no steps", op(&usual, false)).float(&[0, 2, 3]).float(&[1, 16, 3]).float(&[1, 16, 4]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(input_forget: bool, peepholes: [f32; 3]) -> (f64, f64) {
        // Identities for activations; w x + b gives i = 0.5, o = 2, f = 3, c = 4; h = 0, c = 10.
        let identity = Activation::Affine { alpha: 1.0, beta: 0.0 };
        let op = Lstm { recurrence: Recurrence::forward(&[identity; 3]), input_forget };
        let tensor = |sizes: &[usize], values: &[f32]| Some(Tensor::from_vec(sizes, values.to_vec()).unwrap().into());
        let inputs = [
            tensor(&[1, 1, 1], &[1.0]),
            tensor(&[1, 4, 1], &[0.5, 2.0, 3.0, 4.0]),
            tensor(&[1, 4, 1], &[0.0; 4]),
            None,
            None,
            None,
            tensor(&[1, 1, 1], &[10.0]),
            tensor(&[1, 3], &peepholes),
        ];
        let cx = EvalContext::new(&crate::evaluate::ReferenceEvaluator);
        let results = op.reference(&Arguments::new(&inputs), &cx).unwrap();
        (results[1].as_tensor().unwrap().to_floats()[0], results[2].as_tensor().unwrap().to_floats()[0])
    }

    #[test]
    fn one_step_by_hand() {
        // c' = 3 * 10 + 0.5 * 4 = 32, h' = 2 * 32.
        assert_eq!(run(false, [0.0; 3]), (64.0, 32.0));
        // c' = 0.5 * 10 + 0.5 * 4 = 7, h' = 2 * 7.
        assert_eq!(run(true, [0.0; 3]), (14.0, 7.0));
        // o = 2 + 1 * c'.
        assert_eq!(run(false, [0.0, 1.0, 0.0]), (34.0 * 32.0, 32.0));
        // f = 3 + 0.1 * 10 (in f32), c' = 4 * 10 + 2.
        assert!((run(false, [0.0, 0.0, 0.1]).1 - 42.0).abs() < 1e-5);
    }
}
