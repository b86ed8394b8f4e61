//! Tensors put one after the other along an axis.
//!
//! Inputs: one or more of one element type (any) and one rank, equal sizes but along the axis. Source: ONNX Concat-13.

use sinter_base::{Attributes, Dim, KnownValue, Tensor, TensorType, Value, ValueType};

use crate::axes::axis_of;
use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::infer::InferContext;
use crate::invalid;
use crate::operands::{Arguments, Operands};
use crate::operator::{Cost, Operator};

/// See the module documentation.
#[derive(Clone, Debug, Default, PartialEq, Attributes)]
pub struct Concat {
    /// The axis; negative counts from the end.
    pub axis: i64,
}

impl Operator for Concat {
    const NAME: &'static str = "Concat";

    fn infer(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        let data_type = inputs.same_data_type(0)?;
        let mut dims = inputs.dims(0)?.to_vec();
        let axis = axis_of(self.axis, dims.len())?;
        for index in 1..inputs.len() {
            let other = inputs.dims_of_rank(index, dims.len())?;
            for (position, size) in other.iter().enumerate() {
                if position == axis {
                    dims[axis] = dims[axis].add(size);
                    continue;
                }
                cx.require_equal(&dims[position], size, "sizes of concatenated tensors")?;
                if dims[position].as_constant().is_none() && size.as_constant().is_some() {
                    dims[position] = size.clone();
                }
            }
        }
        let rank = dims.len();
        let ty = TensorType::ranked(data_type, dims);
        let known: Option<Vec<Dim>> = (0..inputs.len()).try_fold(Vec::new(), |mut all, index| {
            all.extend_from_slice(inputs.ints(index)?);
            Some(all)
        });
        Ok(vec![match known {
            Some(all) if rank == 1 => ty.with_value(KnownValue::Ints(all)).into(),
            _ => ty.into(),
        }])
    }

    fn unranked(&self, inputs: &Operands<'_>) -> Result<Vec<ValueType>, InferError> {
        Ok(vec![ValueType::unranked(inputs.same_data_type(0)?)])
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let tensors = (0..inputs.len()).map(|i| inputs.tensor(i)).collect::<Result<Vec<&Tensor>, _>>()?;
        let Some(first) = tensors.first() else { invalid!(eval: "nothing to concatenate") };
        let axis = axis_of(self.axis, first.rank())?;
        let sizes = crate::infer::result_sizes(self, inputs)?.swap_remove(0);
        let flat = Tensor::flat_concat(&tensors)?;
        let inner: usize = sizes[axis + 1..].iter().product();
        // Start of each tensor along the axis and in the flat concatenation.
        let (mut along, mut begin) = (Vec::new(), Vec::new());
        let (mut position, mut offset) = (0, 0);
        for tensor in &tensors {
            along.push(position);
            begin.push(offset);
            position += tensor.sizes()[axis];
            offset += tensor.count();
        }
        let result = flat.rearranged(&sizes, |i| {
            let (outer, at, rest) = (i / inner / sizes[axis], i / inner % sizes[axis], i % inner);
            // Empty tensors share a start with their successor: the last one that starts here holds the element.
            let which = along.partition_point(|&start| start <= at) - 1;
            Some(begin[which] + (outer * tensors[which].sizes()[axis] + at - along[which]) * inner + rest)
        })?;
        Ok(vec![result.into()])
    }

    fn cost(&self, inputs: &Operands<'_>, outputs: &[ValueType]) -> Cost {
        Cost::elementwise(inputs, outputs, 0)
    }

    fn examples() -> Vec<Example> {
        let along = |axis| Concat { axis };
        vec![
            Example::new("rows", along(0)).float(&[2, 3]).float(&[5, 3]),
            Example::new("channels", along(1)).float(&[2, 3, 5]).float(&[2, 1, 5]).float(&[2, 7, 5]),
            Example::new("last axis", along(-1)).float(&[3, 1]).float(&[3, 4]),
            Example::new("one input", along(0)).float(&[3]),
            Example::new("an empty input", along(1)).float(&[2, 0]).float(&[2, 3]).float(&[2, 0]),
            Example::new("no elements", along(0)).float(&[1, 0]).float(&[2, 0]),
            Example::new("integers", along(0)).ints(&[1, 2]).ints(&[3]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::{infer_of, reference_of};
    use sinter_base::DataType;

    #[test]
    fn middle_axis_by_hand() {
        let a = Tensor::from_ints(DataType::I4, &[2, 1, 2], &[1, 2, 5, 6]).unwrap();
        let b = Tensor::from_ints(DataType::I4, &[2, 1, 2], &[3, 4, 7, -8]).unwrap();
        let empty = Tensor::from_ints(DataType::I4, &[2, 0, 2], &[]).unwrap();
        let y = reference_of(&Concat { axis: 1 }, &[&a, &empty, &b]).unwrap().swap_remove(0);
        assert_eq!((y.sizes(), y.to_i64()), (&[2, 2, 2][..], vec![1, 2, 3, 4, 5, 6, 7, -8]));
        assert!(reference_of(&Concat { axis: 3 }, &[&a, &b]).is_err());
        assert!(reference_of(&Concat { axis: 0 }, &[&a, &empty]).is_err());
    }

    #[test]
    fn symbolic_contents_are_joined() {
        let n = TensorType::ranked(DataType::I64, vec![Dim::constant(1)])
            .with_value(KnownValue::Ints(vec![Dim::symbol("N")]));
        let rest = TensorType::of(&Tensor::of_i64(&[-1, 64]));
        let y = infer_of(&Concat { axis: 0 }, &[&n.into(), &rest.into()]).unwrap();
        assert_eq!(y[0].as_tensor().unwrap().ints().unwrap()[0], Dim::symbol("N"));
    }
}
