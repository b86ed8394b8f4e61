//! Position of the largest or smallest element along an axis.
//!
//! Input of any numeric type, result i64. Among equal elements the first counts, or the last when `select_last`; a NaN
//! beats every number, as in NumPy. An axis without elements is an error. Source: ONNX ArgMax-13, ArgMin-13.

use sinter_base::{Attributes, DataType, Dim, Tensor, Value, ValueType};

use crate::axes::{axis_of, numeric};
use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::infer::InferContext;
use crate::invalid;
use crate::operands::{Arguments, Operands};
use crate::operator::{Cost, Operator, count_of};

/// See the module documentation.
#[derive(Clone, Debug, PartialEq, Attributes)]
pub struct ArgReduce {
    /// The largest element counts, else the smallest.
    pub largest: bool,
    /// The axis; negative counts from the end.
    pub axis: i64,
    /// The axis stays with size 1.
    pub keep_dims: bool,
    /// The last of equal elements counts.
    pub select_last: bool,
}

impl ArgReduce {
    fn result<T: Clone>(&self, sizes: &[T], one: T) -> Result<(usize, Vec<T>), InferError> {
        let axis = axis_of(self.axis, sizes.len())?;
        let mut result = sizes.to_vec();
        if self.keep_dims {
            result[axis] = one;
        } else {
            result.remove(axis);
        }
        Ok((axis, result))
    }

    /// Does `candidate`, which comes later, replace `best`?
    fn better<T: PartialOrd + Copy>(&self, candidate: T, best: T, is_nan: fn(T) -> bool) -> bool {
        match (is_nan(candidate), is_nan(best)) {
            (true, true) => self.select_last,
            (true, false) => true,
            (false, true) => false,
            _ if candidate == best => self.select_last,
            _ => (candidate > best) == self.largest,
        }
    }

    fn positions<T: PartialOrd + Copy>(
        &self,
        x: &[T],
        sizes: &[usize],
        axis: usize,
        is_nan: fn(T) -> bool,
    ) -> Vec<i64> {
        let (length, inner) = (sizes[axis], sizes[axis + 1..].iter().product::<usize>());
        let outer = sizes[..axis].iter().product::<usize>();
        let line = |o: usize, i: usize, at: usize| x[(o * length + at) * inner + i];
        let best = |o: usize, i: usize| {
            (1..length)
                .fold(0, |best, at| if self.better(line(o, i, at), line(o, i, best), is_nan) { at } else { best })
        };
        (0..outer)
            .flat_map(|o| (0..inner).map(move |i| (o, i)))
            .map(|(o, i)| i64::try_from(best(o, i)).unwrap_or(i64::MAX))
            .collect()
    }
}

impl Operator for ArgReduce {
    const NAME: &'static str = "ArgReduce";

    fn infer(&self, inputs: &Operands<'_>, _cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        inputs.data_type_where(0, "a number", |t| t != DataType::String)?;
        let dims = inputs.dims(0)?;
        let (axis, result) = self.result(dims, Dim::constant(1))?;
        if dims[axis] == Dim::constant(0) {
            invalid!("axis {axis} has no elements to compare");
        }
        Ok(vec![ValueType::tensor(DataType::I64, result)])
    }

    fn unranked(&self, inputs: &Operands<'_>) -> Result<Vec<ValueType>, InferError> {
        inputs.data_type_where(0, "a number", |t| t != DataType::String)?;
        Ok(vec![ValueType::unranked(DataType::I64)])
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = numeric(inputs.tensor(0)?)?;
        let (axis, sizes) = self.result(x.sizes(), 1)?;
        if x.sizes()[axis] == 0 {
            invalid!(eval: "axis {axis} has no elements to compare");
        }
        let positions = if x.data_type().is_float() {
            self.positions(&x.to_floats(), x.sizes(), axis, f64::is_nan)
        } else {
            self.positions(&x.to_ints(), x.sizes(), axis, |_| false)
        };
        Ok(vec![Tensor::from_vec(&sizes, positions)?.into()])
    }

    fn cost(&self, inputs: &Operands<'_>, outputs: &[ValueType]) -> Cost {
        let operations = inputs.optional_value(0).map_or_else(|| Dim::constant(0), count_of);
        Cost { operations, ..Cost::elementwise(inputs, outputs, 0) }
    }

    fn examples() -> Vec<Example> {
        let by = |largest, axis, keep_dims, select_last| ArgReduce { largest, axis, keep_dims, select_last };
        let ties = |sizes: &[usize], op| Example::new("ties", op).uniform(DataType::I32, sizes, 0.0, 3.0);
        vec![
            Example::new("max, last axis", by(true, -1, false, false)).float(&[5, 31]),
            Example::new("min, first axis", by(false, 0, true, false)).float(&[7, 3]),
            ties(&[3, 13, 2], by(true, 1, true, false)),
            ties(&[3, 13, 2], by(false, 1, false, true)),
            Example::new("one element", by(true, 0, false, false)).float(&[1]),
            Example::new("no results", by(true, 1, false, false)).float(&[0, 3]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::reference_of;

    fn position(values: &[f32], largest: bool, select_last: bool) -> i64 {
        let x = Tensor::from_vec(&[values.len()], values.to_vec()).unwrap();
        let op = ArgReduce { largest, axis: 0, keep_dims: false, select_last };
        reference_of(&op, &[&x]).unwrap()[0].to_i64()[0]
    }

    #[test]
    fn ties_and_nan() {
        assert_eq!(position(&[1.0, 3.0, 3.0], true, false), 1);
        assert_eq!(position(&[1.0, 3.0, 3.0], true, true), 2);
        assert_eq!(position(&[2.0, 1.0, 1.0], false, false), 1);
        assert_eq!(position(&[2.0, f32::NAN, 3.0, f32::NAN], true, false), 1);
        assert_eq!(position(&[2.0, f32::NAN, 1.0], false, true), 1);
    }

    #[test]
    fn an_empty_axis_is_an_error() {
        let x = Tensor::from_vec::<f32>(&[2, 0], Vec::new()).unwrap();
        let op = ArgReduce { largest: true, axis: 1, keep_dims: false, select_last: false };
        assert!(reference_of(&op, &[&x]).is_err());
    }
}
