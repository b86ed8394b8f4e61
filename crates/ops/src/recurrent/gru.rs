//! The gated recurrent unit.
//!
//! `z = f(w_z x + r_z h + b_z)`, `u = f(w_r x + r_r h + b_r)`, `h' = (1 - z) n + z h`, where the candidate n is
//! `g(w_h x + r_h (u h) + b_h)`, or `g(w_h x + wb_h + u (r_h h + rb_h))` with `linear_before_reset`. Inputs and results
//! as in [`crate::recurrent::recurrence`], with the gates z, r, h, the activations f, g and one state h.
//! Source: ONNX GRU-22.

use sinter_base::{Attributes, Tensor, Value, ValueType};

use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::infer::{InferContext, result_sizes};
use crate::operands::{Arguments, Operands};
use crate::operator::{Cost, Operator};
use crate::recurrent::activation::Activation;
use crate::recurrent::recurrence::{Direction, Recurrence};

/// See the module documentation.
#[derive(Clone, Debug, PartialEq, Attributes)]
pub struct Gru {
    /// Directions, layout, clipping, activations.
    pub recurrence: Recurrence,
    /// The recurrence matrix is applied before the reset gate.
    pub linear_before_reset: bool,
}

/// Positions of the gates.
const UPDATE: usize = 0;
const RESET: usize = 1;
const HIDDEN: usize = 2;

impl Operator for Gru {
    const NAME: &'static str = "Gru";

    fn infer(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        self.recurrence.infer(inputs, 3, 1, 2, cx)
    }

    fn unranked(&self, inputs: &Operands<'_>) -> Result<Vec<ValueType>, InferError> {
        self.recurrence.unranked(inputs, 1)
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let sizes = result_sizes(self, inputs)?;
        self.recurrence.run(inputs, &sizes, 3, &|cells, d, x, state| {
            let hidden = cells.hidden();
            let h = state[0].clone();
            let gate = |gate: usize, unit: usize| {
                let sum = cells.recurrent(d, gate, unit, &h) + cells.recurrent_bias(d, gate, unit);
                cells.activate(d, 0, x[gate * hidden + unit] + sum)
            };
            let update: Vec<f64> = (0..hidden).map(|unit| gate(UPDATE, unit)).collect();
            let reset: Vec<f64> = (0..hidden).map(|unit| gate(RESET, unit)).collect();
            let kept: Vec<f64> = reset.iter().zip(&h).map(|(u, h)| u * h).collect();
            let step = |unit: usize| {
                let bias = cells.recurrent_bias(d, HIDDEN, unit);
                let from_state = if self.linear_before_reset {
                    reset[unit] * (cells.recurrent(d, HIDDEN, unit, &h) + bias)
                } else {
                    cells.recurrent(d, HIDDEN, unit, &kept) + bias
                };
                let candidate = cells.activate(d, 1, x[HIDDEN * hidden + unit] + from_state);
                (1.0 - update[unit]) * candidate + update[unit] * h[unit]
            };
            state[0] = (0..hidden).map(step).collect();
        })
    }

    fn cost(&self, inputs: &Operands<'_>, outputs: &[ValueType]) -> Cost {
        self.recurrence.cost(inputs, outputs)
    }

    fn examples() -> Vec<Example> {
        let usual = Recurrence::forward(&[Activation::Sigmoid, Activation::Tanh]);
        let op =
            |recurrence: &Recurrence, linear_before_reset| Gru { recurrence: recurrence.clone(), linear_before_reset };
        let reverse = Recurrence { direction: Direction::Reverse, clip: Some(0.5), ..usual.clone() };
        let first = Recurrence { batch_first: true, ..usual.clone().both_ways() };
        let lengths = Tensor::from_vec(&[3], vec![2i32, 4, 0]).expect("three lengths");
        vec![
            Example::new("plain", op(&usual, false)).float(&[5, 2, 3]).float(&[1, 12, 3]).float(&[1, 12, 4]),
            Example::new("linear before reset, bias", op(&usual, true))
                .float(&[3, 1, 2])
                .float(&[1, 15, 2])
                .float(&[1, 15, 5])
                .float(&[1, 30]),
            Example::new("reverse, clipped", op(&reverse, false)).float(&[2, 2, 3]).float(&[1, 9, 3]).float(&[1, 9, 3]),
            Example::new("batch first, both ways, lengths, state", op(&first, true))
                .float(&[3, 4, 2])
                .float(&[2, 9, 2])
                .float(&[2, 9, 3])
                .float(&[2, 18])
                .tensor(lengths)
                .float(&[3, 2, 3]),
            Example::new("no batch", op(&usual, false)).float(&[2, 0, 3]).float(&[1, 12, 3]).float(&[1, 12, 4]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::reference_of;

    #[test]
    fn one_step_by_hand() {
        // With identities for activations: z = 1, u = 2, h = 3, w x = 0 but for biases.
        let identity = Activation::Affine { alpha: 1.0, beta: 0.0 };
        let x = Tensor::from_vec(&[1, 1, 1], vec![1f32]).unwrap();
        let w = Tensor::from_vec(&[1, 3, 1], vec![0.5f32, 2.0, 1.0]).unwrap();
        let r = Tensor::from_vec(&[1, 3, 1], vec![0f32, 0.0, 1.0]).unwrap();
        let bias = Tensor::from_vec(&[1, 6], vec![0f32, 0.0, 0.0, 0.0, 0.0, 10.0]).unwrap();
        let h = Tensor::from_vec(&[1, 1, 1], vec![3f32]).unwrap();
        let run = |linear_before_reset| {
            let op = Gru { recurrence: Recurrence::forward(&[identity, identity]), linear_before_reset };
            let inputs: Vec<Option<Value>> =
                [Some(&x), Some(&w), Some(&r), Some(&bias), None, Some(&h)].map(|t| t.cloned().map(Value::from)).into();
            let cx = EvalContext::new(&crate::evaluate::ReferenceEvaluator);
            let results = op.reference(&Arguments::new(&inputs), &cx).unwrap();
            results[1].as_tensor().unwrap().to_floats()[0]
        };
        // n = 1 + 2 * 3 + 10 = 17, h' = 0.5 * 17 + 0.5 * 3.
        assert_eq!(run(false), 10.0);
        // n = 1 + 2 * (3 + 10) = 27, h' = 0.5 * 27 + 0.5 * 3.
        assert_eq!(run(true), 15.0);
    }

    #[test]
    fn wrong_rows_are_refused() {
        let op = Gru {
            recurrence: Recurrence::forward(&[Activation::Sigmoid, Activation::Tanh]),
            linear_before_reset: false,
        };
        let x = Tensor::from_vec(&[1, 1, 1], vec![1f32]).unwrap();
        let w = Tensor::from_vec(&[1, 2, 1], vec![0f32; 2]).unwrap();
        let r = Tensor::from_vec(&[1, 3, 1], vec![0f32; 3]).unwrap();
        assert!(reference_of(&op, &[&x, &w, &r]).is_err());
    }
}
