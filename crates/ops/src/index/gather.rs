//! Slices of a tensor picked by their index along one axis.
//!
//! Inputs: data of any type and of at least one dimension; indices of any shape, i32 or i64. The result has the
//! indices' shape in place of the axis: `y[o.., i.., r..] = x[o.., indices[i..], r..]`. Negative indices count from the
//! end; an index outside the axis is an error. Source: ONNX Gather-13.

use sinter_base::{Attributes, Dim, Value, ValueType};

use crate::axes::{axis_of, int_values, is_index_type, wrapped_index};
use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::infer::InferContext;
use crate::invalid;
use crate::movement::known::moved;
use crate::operands::{Arguments, Operands};
use crate::operator::{Cost, Operator};

/// See the module documentation.
#[derive(Clone, Debug, Default, PartialEq, Attributes)]
pub struct Gather {
    /// The axis; negative counts from the end.
    pub axis: i64,
}

/// Flat position in the data of element `flat` of the result.
fn source(indices: &[usize], axis_size: usize, inner: usize, flat: usize) -> usize {
    let (outer, rest) = (flat / inner / indices.len(), flat % inner);
    (outer * axis_size + indices[flat / inner % indices.len()]) * inner + rest
}

impl Operator for Gather {
    const NAME: &'static str = "Gather";

    fn infer(&self, inputs: &Operands<'_>, _cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        let data = inputs.tensor(0)?;
        let dims = data.dims()?;
        let axis = axis_of(self.axis, dims.len())?;
        inputs.data_type_where(1, "i32 or i64", is_index_type)?;
        let mut result: Vec<Dim> = dims[..axis].to_vec();
        result.extend_from_slice(inputs.dims(1)?);
        result.extend_from_slice(&dims[axis + 1..]);
        let plan = data.value.as_ref().and_then(|_| {
            let own = data.shape.sizes()?;
            let indices: Option<Vec<usize>> =
                inputs.constant_ints(1)?.iter().map(|&i| wrapped_index(i, own[axis])).collect();
            Some((indices?, own[axis], own[axis + 1..].iter().product::<usize>()))
        });
        let ty =
            moved(data, result, |_, i| plan.as_ref().map(|(indices, size, inner)| source(indices, *size, *inner, i)));
        Ok(vec![ty.into()])
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (x, indices) = (inputs.tensor(0)?, inputs.tensor(1)?);
        let axis = axis_of(self.axis, x.rank())?;
        let size = x.sizes()[axis];
        let mut picked = Vec::with_capacity(indices.count());
        for index in int_values(indices)? {
            match wrapped_index(index, size) {
                Some(index) => picked.push(index),
                None => invalid!(eval: "index {index} lies outside axis {axis} of {size} elements"),
            }
        }
        let sizes = [&x.sizes()[..axis], indices.sizes(), &x.sizes()[axis + 1..]].concat();
        let inner: usize = x.sizes()[axis + 1..].iter().product();
        Ok(vec![x.rearranged(&sizes, |i| Some(source(&picked, size, inner, i)))?.into()])
    }

    fn cost(&self, _inputs: &Operands<'_>, outputs: &[ValueType]) -> Cost {
        let bytes = Cost::elementwise(&Operands::new(&[]), outputs, 0).bytes;
        Cost { operations: Dim::constant(0), bytes: bytes.mul(&Dim::constant(2)) }
    }

    fn examples() -> Vec<Example> {
        let along = |axis| Gather { axis };
        vec![
            Example::new("embedding", along(0)).float(&[17, 5]).ints(&[3, 16, 0, 3, -1]),
            Example::new("inner axis", along(1)).float(&[3, 4, 5]).ints(&[1, -4]),
            Example::new("last axis", along(-1)).float(&[2, 7]).uniform(sinter_base::DataType::I32, &[2, 3], -7.0, 6.0),
            Example::new("one index", along(0))
                .float(&[5, 3])
                .tensor(sinter_base::Tensor::scalar(sinter_base::DataType::I64, 2.0)),
            Example::new("no indices", along(0)).float(&[5, 3]).ints(&[]),
            Example::new("no columns", along(0)).float(&[5, 0]).ints(&[1]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::{infer_of, reference_of};
    use sinter_base::{DataType, KnownValue, Tensor, TensorType};

    #[test]
    fn columns_by_hand() {
        let x = Tensor::from_vec(&[2, 3], vec![1i64, 2, 3, 4, 5, 6]).unwrap();
        let y = reference_of(&Gather { axis: 1 }, &[&x, &Tensor::of_i64(&[2, -3])]).unwrap().swap_remove(0);
        assert_eq!((y.sizes(), y.to_i64()), (&[2, 2][..], vec![3, 1, 6, 4]));
        assert!(reference_of(&Gather { axis: 1 }, &[&x, &Tensor::of_i64(&[3])]).is_err());
    }

    #[test]
    fn a_size_is_picked_from_a_shape() {
        let shape = TensorType::ranked(DataType::I64, vec![Dim::constant(2)])
            .with_value(KnownValue::Ints(vec![Dim::symbol("N"), Dim::symbol("S")]));
        let index = TensorType::of(&Tensor::scalar(DataType::I64, -1.0));
        let y = infer_of(&Gather::default(), &[&shape.into(), &index.into()]).unwrap();
        assert_eq!(y[0].to_string(), "i64[]");
        assert_eq!(y[0].as_tensor().unwrap().ints().unwrap(), [Dim::symbol("S")]);
    }
}
