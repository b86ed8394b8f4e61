//! Largest element of each window and where it was found.
//!
//! Results: y as in [`Pool`](crate::pool::Pool) with `Max`; indices, i64, of y's shape: flat position of the (first)
//! largest element in the whole of x. With `column_major` the first spatial axis runs fastest inside a channel instead
//! of the last one. The index of a window in the padding alone is -1. Source: ONNX MaxPool-22.

use sinter_base::{Attributes, DataType, Tensor, Value, ValueType, shape};

use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::infer::InferContext;
use crate::operands::{Arguments, Operands};
use crate::operator::{Cost, Operator, count_of};
use crate::pool::pooling::pooled;
use crate::pool::windows::PoolWindow;
use crate::window::Padding;

/// See the module documentation.
#[derive(Clone, Debug, PartialEq, Attributes)]
pub struct MaxPoolWithIndices {
    /// The windows.
    pub window: PoolWindow,
    /// Indices count the first spatial axis fastest.
    pub column_major: bool,
}

impl MaxPoolWithIndices {
    /// The index to report for a flat row-major position.
    fn reported(&self, position: usize, x: &[usize]) -> usize {
        if !self.column_major {
            return position;
        }
        let spatial = &x[2..];
        let channel = spatial.iter().product::<usize>();
        let at = shape::unravel(position % channel, spatial);
        let inside = at.iter().zip(spatial).rev().fold(0, |flat, (i, size)| flat * size + i);
        position / channel * channel + inside
    }
}

impl Operator for MaxPoolWithIndices {
    const NAME: &'static str = "MaxPoolWithIndices";

    fn infer(&self, inputs: &Operands<'_>, _cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        let (data_type, x) = pooled(inputs)?;
        let y = self.window.output_dims(x)?;
        Ok(vec![ValueType::tensor(data_type, y.clone()), ValueType::tensor(DataType::I64, y)])
    }

    fn unranked(&self, inputs: &Operands<'_>) -> Result<Vec<ValueType>, InferError> {
        Ok(vec![ValueType::unranked(inputs.data_type(0)?), ValueType::unranked(DataType::I64)])
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = inputs.tensor(0)?;
        let y_sizes = crate::infer::result_sizes(self, inputs)?.swap_remove(0);
        let xs = x.to_floats();
        let (mut largest, mut indices) = (Vec::new(), Vec::new());
        self.window.for_each_window(x.sizes(), &y_sizes, |positions, _| {
            let mut best: Option<usize> = None;
            for &position in positions {
                if best.is_none_or(|b| !xs[b].is_nan() && (xs[position] > xs[b] || xs[position].is_nan())) {
                    best = Some(position);
                }
            }
            largest.push(best.map_or(f64::NEG_INFINITY, |b| xs[b]));
            indices.push(best.map_or(-1, |b| self.reported(b, x.sizes()) as i64));
        });
        let y = Tensor::from_floats(x.data_type(), &y_sizes, &largest)?;
        Ok(vec![y.into(), Tensor::from_vec(&y_sizes, indices)?.into()])
    }

    fn cost(&self, inputs: &Operands<'_>, outputs: &[ValueType]) -> Cost {
        let operations = self.window.kernel.iter().fold(count_of(&outputs[0]), |total, &k| total.mul(&k.into()));
        Cost { operations, ..Cost::elementwise(inputs, outputs, 1) }
    }

    fn examples() -> Vec<Example> {
        let of = |window: PoolWindow| MaxPoolWithIndices { window, column_major: false };
        let square = PoolWindow { strides: vec![2, 2], ..PoolWindow::of(&[2, 2]) };
        let padding = Padding::Explicit { begin: vec![1, 0], end: vec![0, 1] };
        vec![
            Example::new("2x2", of(square.clone())).float(&[2, 3, 6, 8]),
            Example::new("column major", MaxPoolWithIndices { column_major: true, ..of(square.clone()) })
                .float(&[1, 2, 7, 5]),
            Example::new("pads, rounded up", of(PoolWindow { padding, ceil: true, ..square.clone() }))
                .float(&[1, 1, 5, 5]),
            Example::new("3-D, dilated", of(PoolWindow { dilations: vec![2, 1, 1], ..PoolWindow::of(&[2, 2, 1]) }))
                .float(&[1, 2, 5, 3, 3]),
            Example::new("no batch", of(square)).float(&[0, 2, 4, 4]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::reference_of;

    #[test]
    fn indices_by_hand() {
        let x = Tensor::from_vec(&[1, 1, 2, 3], vec![1f32, 5.0, 2.0, 7.0, 0.0, 9.0]).unwrap();
        let op = |column_major| MaxPoolWithIndices { window: PoolWindow::of(&[2, 2]), column_major };
        let rows = reference_of(&op(false), &[&x]).unwrap();
        assert_eq!((rows[0].to_floats(), rows[1].to_i64()), (vec![7.0, 9.0], vec![3, 5]));
        assert_eq!(reference_of(&op(true), &[&x]).unwrap()[1].to_i64(), [1, 5]);
    }
}
