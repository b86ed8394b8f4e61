//! Single elements written at places named along one axis.
//!
//! Inputs: data of any type; indices, i32 or i64, of the data's rank; updates of the indices' shape and the data's type.
//! `y = x`, then `y[.., indices[.., i, ..], ..] = updates[.., i, ..]` or combined as `reduction` says, in row-major order
//! of the updates. Negative indices count from the end. Source: ONNX ScatterElements-18 (and Scatter-9).

use sinter_base::{Attributes, Tensor, Value, ValueType};

use crate::axes::{axis_of, is_index_type};
use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::index::gather_elements::element_positions;
use crate::index::scatter::ScatterReduction;
use crate::infer::InferContext;
use crate::invalid;
use crate::operands::{Arguments, Operands};
use crate::operator::Operator;

/// See the module documentation.
#[derive(Clone, Debug, Default, PartialEq, Attributes)]
pub struct ScatterElements {
    /// The axis; negative counts from the end.
    pub axis: i64,
    /// How an update meets the element that is there.
    pub reduction: ScatterReduction,
}

impl Operator for ScatterElements {
    const NAME: &'static str = "ScatterElements";

    fn infer(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        let data_type = inputs.data_type(0)?;
        self.reduction.check(data_type)?;
        inputs.data_type_where(1, "i32 or i64", is_index_type)?;
        inputs.data_type_where(2, data_type.name(), |t| t == data_type)?;
        let dims = inputs.dims(0)?;
        axis_of(self.axis, dims.len())?;
        let indices = inputs.dims_of_rank(1, dims.len())?;
        for (index, update) in indices.iter().zip(inputs.dims_of_rank(2, dims.len())?) {
            cx.require_equal(index, update, "sizes of indices and updates")?;
        }
        Ok(vec![ValueType::tensor(data_type, dims.to_vec())])
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (x, indices, updates) = (inputs.tensor(0)?, inputs.tensor(1)?, inputs.tensor(2)?);
        if indices.sizes() != updates.sizes() {
            invalid!(eval: "indices of sizes {:?} for updates of sizes {:?}", indices.sizes(), updates.sizes());
        }
        let axis = axis_of(self.axis, x.rank())?;
        let targets = element_positions(x.sizes(), indices, axis)?;
        Ok(vec![self.reduction.apply(x, updates, &targets)?.into()])
    }

    fn examples() -> Vec<Example> {
        let op = |axis, reduction| ScatterElements { axis, reduction };
        let permuted = Tensor::from_vec(&[3, 2], vec![4i64, 0, -5, 2, 1, -1]).expect("six elements");
        let repeated = Tensor::from_vec(&[3, 2], vec![1i64, 1, 1, -4, 0, 0]).expect("six elements");
        let with = |name, reduction, indices: &Tensor| {
            Example::new(name, op(1, reduction)).float(&[3, 5]).tensor(indices.clone()).float(&[3, 2])
        };
        vec![
            with("replace", ScatterReduction::None, &permuted),
            with("add, repeated", ScatterReduction::Add, &repeated),
            with("multiply", ScatterReduction::Multiply, &repeated),
            with("max", ScatterReduction::Max, &repeated),
            with("min", ScatterReduction::Min, &repeated),
            Example::new("first axis", op(0, ScatterReduction::Add)).float(&[7]).ints(&[6, -7, 6]).float(&[3]),
            Example::new("no updates", op(0, ScatterReduction::None)).float(&[3]).ints(&[]).float(&[0]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::reference_of;

    #[test]
    fn updates_meet_elements() {
        let x = Tensor::from_vec(&[4], vec![1i64, 2, 3, 4]).unwrap();
        let run = |reduction, indices: &[i64], updates: &[i64]| {
            let op = ScatterElements { axis: 0, reduction };
            reference_of(&op, &[&x, &Tensor::of_i64(indices), &Tensor::of_i64(updates)]).map(|y| y[0].to_i64())
        };
        assert_eq!(run(ScatterReduction::None, &[1, -1, 1], &[7, 8, 9]).unwrap(), [1, 9, 3, 8]);
        assert_eq!(run(ScatterReduction::Add, &[1, 1], &[7, 8]).unwrap(), [1, 17, 3, 4]);
        assert_eq!(run(ScatterReduction::Multiply, &[2, 2], &[2, 5]).unwrap(), [1, 2, 30, 4]);
        assert_eq!(run(ScatterReduction::Max, &[0, 3], &[9, 0]).unwrap(), [9, 2, 3, 4]);
        assert_eq!(run(ScatterReduction::Min, &[0, 3], &[9, 0]).unwrap(), [1, 2, 3, 0]);
        assert!(run(ScatterReduction::None, &[4], &[0]).is_err());
        assert!(run(ScatterReduction::None, &[1], &[0, 1]).is_err());
    }
}
