//! The simple recurrent layer: `h' = f(w x + r h + bias)`.
//!
//! Inputs and results as in [`crate::recurrent::recurrence`], with one gate, one activation f and one state h.
//! Source: ONNX RNN-22.

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
pub struct Rnn {
    /// Directions, layout, clipping, activations.
    pub recurrence: Recurrence,
}

impl Operator for Rnn {
    const NAME: &'static str = "Rnn";

    fn infer(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        self.recurrence.infer(inputs, 1, 1, 1, cx)
    }

    fn unranked(&self, inputs: &Operands<'_>) -> Result<Vec<ValueType>, InferError> {
        self.recurrence.unranked(inputs, 1)
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let sizes = result_sizes(self, inputs)?;
        self.recurrence.run(inputs, &sizes, 1, &|cells, d, x, state| {
            let step = |unit: usize| {
                let sum = x[unit] + cells.recurrent(d, 0, unit, &state[0]) + cells.recurrent_bias(d, 0, unit);
                cells.activate(d, 0, sum)
            };
            state[0] = (0..cells.hidden()).map(step).collect();
        })
    }

    fn cost(&self, inputs: &Operands<'_>, outputs: &[ValueType]) -> Cost {
        self.recurrence.cost(inputs, outputs)
    }

    fn examples() -> Vec<Example> {
        let tanh = Recurrence::forward(&[Activation::Tanh]);
        let op = |recurrence: &Recurrence| Rnn { recurrence: recurrence.clone() };
        let reverse = Recurrence { direction: Direction::Reverse, ..Recurrence::forward(&[Activation::Relu]) };
        let clipped = Recurrence { clip: Some(0.25), ..Recurrence::forward(&[Activation::Softsign]) };
        let first = Recurrence { batch_first: true, ..tanh.clone() };
        let lengths = Tensor::from_vec(&[2], vec![3i32, 1]).expect("two lengths");
        vec![
            Example::new("plain", op(&tanh)).float(&[5, 2, 3]).float(&[1, 4, 3]).float(&[1, 4, 4]),
            Example::new("bias, reverse", op(&reverse))
                .float(&[3, 1, 7])
                .float(&[1, 5, 7])
                .float(&[1, 5, 5])
                .float(&[1, 10]),
            Example::new("both ways, lengths, initial state", op(&tanh.clone().both_ways()))
                .float(&[3, 2, 4])
                .float(&[2, 3, 4])
                .float(&[2, 3, 3])
                .float(&[2, 6])
                .tensor(lengths)
                .float(&[2, 2, 3]),
            Example::new("clipped", op(&clipped)).float(&[2, 1, 2]).float(&[1, 3, 2]).float(&[1, 3, 3]),
            Example::new("batch first", op(&first)).float(&[2, 5, 3]).float(&[1, 4, 3]).float(&[1, 4, 4]),
            Example::new("no steps", op(&tanh)).float(&[0, 2, 3]).float(&[1, 4, 3]).float(&[1, 4, 4]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::reference_of;

    #[test]
    fn sums_forward_and_backward() {
        // f(x) = x, w = 1, r = 2: h' = x + 2 h.
        let identity = Activation::Affine { alpha: 1.0, beta: 0.0 };
        let op = Rnn { recurrence: Recurrence::forward(&[identity]).both_ways() };
        let x = Tensor::from_vec(&[3, 1, 1], vec![1f32, 10.0, 100.0]).unwrap();
        let w = Tensor::from_vec(&[2, 1, 1], vec![1f32, 1.0]).unwrap();
        let r = Tensor::from_vec(&[2, 1, 1], vec![2f32, 2.0]).unwrap();
        let results = reference_of(&op, &[&x, &w, &r]).unwrap();
        assert_eq!(results[0].to_floats(), [1.0, 421.0, 12.0, 210.0, 124.0, 100.0]);
        assert_eq!(results[1].to_floats(), [124.0, 421.0]);
    }

    #[test]
    fn contradictions_are_refused() {
        let op = Rnn { recurrence: Recurrence::forward(&[Activation::Tanh]) };
        let x = Tensor::from_vec(&[1, 1, 2], vec![0f32; 2]).unwrap();
        let r = Tensor::from_vec(&[1, 1, 1], vec![0f32]).unwrap();
        let narrow = Tensor::from_vec(&[1, 1, 1], vec![0f32]).unwrap();
        assert!(reference_of(&op, &[&x, &narrow, &r]).is_err());
        let both = Rnn { recurrence: Recurrence { direction: Direction::Both, ..op.recurrence.clone() } };
        let w = Tensor::from_vec(&[1, 1, 2], vec![0f32; 2]).unwrap();
        assert!(reference_of(&both, &[&x, &w, &r]).is_err());
        assert!(reference_of(&op, &[&x, &w, &r]).is_ok());
    }
}
