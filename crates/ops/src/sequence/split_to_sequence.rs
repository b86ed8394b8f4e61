//! A tensor cut into a list of pieces along an axis.
//!
//! Inputs: tensor; split, integers, optional. A scalar split is the size of every piece but the last, which may be
//! smaller; a list gives each piece's size; without it every slice is a piece of size 1, and loses the axis unless
//! `keep_axis`. Source: ONNX SplitToSequence-24.

use sinter_base::{Attributes, DataType, Dim, Tensor, TensorType, Value, ValueType};

use crate::axes::axis_of;
use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::infer::InferContext;
use crate::invalid;
use crate::operands::{Arguments, Operands};
use crate::operator::{Effects, Operator};
use crate::sequence::combine;

/// See the module documentation.
#[derive(Clone, Debug, PartialEq, Attributes)]
pub struct SplitToSequence {
    /// The axis, negative ones counted from the last.
    pub axis: i64,
    /// Pieces of size 1 made without a split keep the axis.
    pub keep_axis: bool,
}

impl Operator for SplitToSequence {
    const NAME: &'static str = "SplitToSequence";

    fn infer(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        let mut dims = inputs.dims(0)?.to_vec();
        let axis = axis_of(self.axis, dims.len())?;
        if inputs.has(1) {
            inputs.data_type_where(1, "i32 or i64", |t| matches!(t, DataType::I32 | DataType::I64))?;
            let pieces = inputs.ints(1).unwrap_or_default();
            let alike = pieces.first().filter(|first| pieces.iter().all(|p| p == *first));
            // A size that does not divide the axis leaves a smaller last piece.
            let exact = |size: &Dim| dims[axis].modulo(size) == Dim::constant(0);
            let size = alike.filter(|size| pieces.len() > 1 || exact(size)).cloned();
            dims[axis] = size.unwrap_or_else(|| cx.fresh("piece"));
        } else if self.keep_axis {
            dims[axis] = Dim::constant(1);
        } else {
            dims.remove(axis);
        }
        Ok(vec![ValueType::Sequence(Box::new(TensorType::ranked(inputs.data_type(0)?, dims).into()))])
    }

    fn unranked(&self, inputs: &Operands<'_>) -> Result<Vec<ValueType>, InferError> {
        Ok(vec![ValueType::Sequence(Box::new(ValueType::unranked(inputs.data_type(0)?)))])
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = inputs.tensor(0)?;
        let axis = axis_of(self.axis, x.rank())?;
        let total = x.sizes()[axis];
        let Some(split) = inputs.optional_tensor(1)? else {
            let piece = |at| if self.keep_axis { combine::slice(x, axis, at, 1) } else { combine::index(x, axis, at) };
            let pieces = (0..total).map(piece).collect::<Result<Vec<_>, _>>()?;
            return Ok(vec![Value::sequence_of(x.data_type(), pieces)]);
        };
        let given = split.to_i64();
        let sizes: Vec<usize> = match given.as_slice() {
            [size] if split.rank() == 0 => match usize::try_from(*size) {
                Ok(size) if size > 0 => (0..total).step_by(size).map(|start| size.min(total - start)).collect(),
                _ => invalid!(eval: "pieces of size {size}"),
            },
            sizes => {
                let sizes: Option<Vec<usize>> = sizes.iter().map(|&s| usize::try_from(s).ok()).collect();
                match sizes {
                    Some(sizes) if sizes.iter().try_fold(0usize, |a, &s| a.checked_add(s)) == Some(total) => sizes,
                    _ => invalid!(eval: "pieces of sizes {given:?} do not make up {total}"),
                }
            }
        };
        let mut pieces = Vec::with_capacity(sizes.len());
        let mut start = 0;
        for size in sizes {
            pieces.push(combine::slice(x, axis, start, size)?);
            start += size;
        }
        Ok(vec![Value::sequence_of(x.data_type(), pieces)])
    }

    /// The sizes may not add up.
    fn effects(&self) -> Effects {
        Effects { asserts: true, ..Effects::NONE }
    }

    fn examples() -> Vec<Example> {
        let op = |axis, keep_axis| SplitToSequence { axis, keep_axis };
        vec![
            Example::new("slices", op(0, false)).float(&[3, 2]).absent(),
            Example::new("slices with axis", op(-1, true)).float(&[3, 2]).absent(),
            Example::new("smaller last piece", op(1, true)).float(&[2, 7]).tensor(Tensor::scalar(DataType::I64, 3.0)),
            Example::new("given sizes", op(0, true)).float(&[6, 2]).ints(&[1, 0, 5]),
            Example::new("nothing to cut", op(0, true)).float(&[0, 2]).absent(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::ReferenceEvaluator;

    fn pieces(split: Option<Tensor>) -> Result<Vec<Vec<i64>>, EvalError> {
        let inputs = [Some(Tensor::of_i64(&[1, 2, 3, 4, 5]).into()), split.map(Value::from)];
        let op = SplitToSequence { axis: 0, keep_axis: true };
        let results = op.reference(&Arguments::new(&inputs), &EvalContext::new(&ReferenceEvaluator))?;
        let Value::Sequence { items, .. } = &results[0] else { panic!("a sequence") };
        Ok(items.iter().map(|i| i.as_tensor().unwrap().to_i64()).collect())
    }

    #[test]
    fn three_ways_to_cut() {
        assert_eq!(pieces(None).unwrap().len(), 5);
        let two = Tensor::scalar(DataType::I64, 2.0);
        assert_eq!(pieces(Some(two)).unwrap(), [vec![1, 2], vec![3, 4], vec![5]]);
        assert_eq!(pieces(Some(Tensor::of_i64(&[4, 1]))).unwrap(), [vec![1, 2, 3, 4], vec![5]]);
        assert!(pieces(Some(Tensor::of_i64(&[4, 2]))).is_err());
        assert!(pieces(Some(Tensor::scalar(DataType::I64, 0.0))).is_err());
    }
}
