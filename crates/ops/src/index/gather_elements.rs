//! Single elements picked by their index along one axis.
//!
//! Inputs: data of any type; indices of the same rank, i32 or i64, along the other axes no longer than the data.
//! `y[.., i, ..] = x[.., indices[.., i, ..], ..]`, the result has the indices' shape. Negative indices count from the
//! end. Source: ONNX GatherElements-13.

use sinter_base::shape::{for_each_index, ravel, strides};
use sinter_base::{Attributes, Tensor, Value, ValueType};

use crate::axes::{axis_of, int_values, is_index_type, wrapped_index};
use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::infer::InferContext;
use crate::invalid;
use crate::operands::{Arguments, Operands};
use crate::operator::Operator;

/// See the module documentation.
#[derive(Clone, Debug, Default, PartialEq, Attributes)]
pub struct GatherElements {
    /// The axis; negative counts from the end.
    pub axis: i64,
}

/// Flat positions in a tensor of `sizes` of the elements that `indices` names along the axis.
pub(crate) fn element_positions(sizes: &[usize], indices: &Tensor, axis: usize) -> Result<Vec<usize>, EvalError> {
    let fits = indices.rank() == sizes.len() && (0..sizes.len()).all(|a| a == axis || indices.sizes()[a] <= sizes[a]);
    if !fits {
        invalid!(eval: "indices of sizes {:?} do not lie within sizes {sizes:?} beside axis {axis}", indices.sizes());
    }
    let (values, own) = (int_values(indices)?, strides(sizes));
    let mut positions = Vec::with_capacity(values.len());
    let mut outside = None;
    for_each_index(indices.sizes(), |at| {
        let value = values[positions.len()];
        let index = wrapped_index(value, sizes[axis]).unwrap_or_else(|| {
            outside = outside.or(Some(value));
            0
        });
        positions.push(ravel(at, &own) - at[axis] * own[axis] + index * own[axis]);
    });
    match outside {
        Some(value) => invalid!(eval: "index {value} lies outside axis {axis} of {} elements", sizes[axis]),
        None => Ok(positions),
    }
}

impl Operator for GatherElements {
    const NAME: &'static str = "GatherElements";

    fn infer(&self, inputs: &Operands<'_>, _cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        let rank = inputs.dims(0)?.len();
        axis_of(self.axis, rank)?;
        inputs.data_type_where(1, "i32 or i64", is_index_type)?;
        Ok(vec![ValueType::tensor(inputs.data_type(0)?, inputs.dims_of_rank(1, rank)?.to_vec())])
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (x, indices) = (inputs.tensor(0)?, inputs.tensor(1)?);
        let axis = axis_of(self.axis, x.rank())?;
        let positions = element_positions(x.sizes(), indices, axis)?;
        Ok(vec![x.rearranged(indices.sizes(), |i| Some(positions[i]))?.into()])
    }

    fn examples() -> Vec<Example> {
        let along = |axis| GatherElements { axis };
        let ints = sinter_base::DataType::I64;
        vec![
            Example::new("rows", along(0)).float(&[5, 3]).uniform(ints, &[2, 3], -5.0, 4.0),
            Example::new("last axis", along(-1)).float(&[3, 7]).uniform(sinter_base::DataType::I32, &[3, 11], 0.0, 6.0),
            Example::new("middle axis, fewer", along(1)).float(&[3, 4, 5]).uniform(ints, &[2, 6, 1], 0.0, 3.0),
            Example::new("no indices", along(0)).float(&[5]).ints(&[]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::reference_of;

    #[test]
    fn elements_by_hand() {
        let x = Tensor::from_vec(&[2, 2], vec![1i64, 2, 3, 4]).unwrap();
        let indices = Tensor::from_vec(&[2, 2], vec![0i64, 0, -1, 0]).unwrap();
        let of = |axis, indices: &Tensor| reference_of(&GatherElements { axis }, &[&x, indices]);
        assert_eq!(of(1, &indices).unwrap()[0].to_i64(), [1, 1, 4, 3]);
        assert_eq!(of(0, &indices).unwrap()[0].to_i64(), [1, 2, 3, 2]);
        assert!(of(0, &Tensor::from_vec(&[1, 1], vec![2i64]).unwrap()).is_err());
        assert!(of(1, &Tensor::from_vec(&[3, 1], vec![0i64; 3]).unwrap()).is_err());
    }
}
