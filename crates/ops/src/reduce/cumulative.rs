//! Running sums or products along an axis.
//!
//! Inputs: data of any numeric type; axis: one i32 or i64. `y_k = x_0 + .. + x_k`, or without the own element when
//! `exclusive` (the first result is then 0, or 1 for products); `reverse` runs from the end. Integers wrap. Source:
//! ONNX CumSum-14, CumProd-26.

use sinter_base::{Attributes, DataType, Tensor, Value, ValueType};

use crate::axes::{axis_of, int_values, is_index_type, numeric};
use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::infer::InferContext;
use crate::invalid;
use crate::operands::{Arguments, Operands};
use crate::operator::Operator;

/// See the module documentation.
#[derive(Clone, Debug, Default, PartialEq, Attributes)]
pub struct Cumulative {
    /// Products instead of sums.
    pub product: bool,
    /// Leave the own element out.
    pub exclusive: bool,
    /// Run from the last element to the first.
    pub reverse: bool,
}

impl Cumulative {
    /// Replaces every line along the axis by its running results.
    fn run<T: Copy>(&self, x: &mut [T], sizes: &[usize], axis: usize, start: T, join: impl Fn(T, T) -> T) {
        let (length, inner) = (sizes[axis], sizes[axis + 1..].iter().product::<usize>());
        let outer = sizes[..axis].iter().product::<usize>();
        for o in 0..outer {
            for i in 0..inner {
                let mut total = start;
                for step in 0..length {
                    let k = if self.reverse { length - 1 - step } else { step };
                    let element = &mut x[(o * length + k) * inner + i];
                    let next = join(total, *element);
                    *element = if self.exclusive { total } else { next };
                    total = next;
                }
            }
        }
    }
}

impl Operator for Cumulative {
    const NAME: &'static str = "Cumulative";

    fn infer(&self, inputs: &Operands<'_>, _cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        let data_type = inputs.data_type_where(0, "a number", |t| t != DataType::String && t != DataType::Bool)?;
        inputs.data_type_where(1, "i32 or i64", is_index_type)?;
        let dims = inputs.dims(0)?;
        if let Some([axis]) = inputs.constant_ints(1).as_deref() {
            axis_of(*axis, dims.len())?;
        }
        Ok(vec![ValueType::tensor(data_type, dims.to_vec())])
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (x, axis) = (numeric(inputs.tensor(0)?)?, int_values(inputs.tensor(1)?)?);
        let [axis] = axis[..] else { invalid!(eval: "{} axes are given, one is needed", axis.len()) };
        let axis = axis_of(axis, x.rank())?;
        let (data_type, sizes) = (x.data_type(), x.sizes());
        let y = if data_type.is_float() {
            let mut values = x.to_floats();
            match self.product {
                true => self.run(&mut values, sizes, axis, 1.0, |a, b| a * b),
                false => self.run(&mut values, sizes, axis, 0.0, |a, b| a + b),
            }
            Tensor::from_floats(data_type, sizes, &values)?
        } else {
            let mut values = x.to_ints();
            match self.product {
                true => self.run(&mut values, sizes, axis, 1, |a, b| data_type.wrap(a.wrapping_mul(b))),
                false => self.run(&mut values, sizes, axis, 0, i128::wrapping_add),
            }
            Tensor::from_ints(data_type, sizes, &values)?
        };
        Ok(vec![y.into()])
    }

    fn examples() -> Vec<Example> {
        let plain = Cumulative::default();
        vec![
            Example::new("sum", plain.clone()).float(&[3, 17]).ints(&[1]),
            Example::new("exclusive", Cumulative { exclusive: true, ..plain.clone() }).float(&[5, 3]).ints(&[0]),
            Example::new("reverse", Cumulative { reverse: true, ..plain.clone() }).float(&[2, 7, 3]).ints(&[-2]),
            Example::new("both", Cumulative { reverse: true, exclusive: true, product: false }).float(&[13]).ints(&[0]),
            Example::new("product", Cumulative { product: true, ..plain.clone() }).float(&[3, 5]).ints(&[1]),
            Example::new("integers", plain.clone()).uniform(DataType::I32, &[3, 5], -9.0, 9.0).ints(&[1]),
            Example::new("no elements", plain).float(&[3, 0]).ints(&[1]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::reference_of;

    fn run(op: &Cumulative) -> Vec<f64> {
        let x = Tensor::from_vec(&[3], vec![2f32, 3.0, 4.0]).unwrap();
        reference_of(op, &[&x, &Tensor::of_i64(&[0])]).unwrap()[0].to_floats()
    }

    #[test]
    fn lines_by_hand() {
        let plain = Cumulative::default();
        assert_eq!(run(&plain), [2.0, 5.0, 9.0]);
        assert_eq!(run(&Cumulative { exclusive: true, ..plain.clone() }), [0.0, 2.0, 5.0]);
        assert_eq!(run(&Cumulative { reverse: true, ..plain.clone() }), [9.0, 7.0, 4.0]);
        assert_eq!(run(&Cumulative { product: true, exclusive: true, reverse: true }), [12.0, 4.0, 1.0]);
    }
}
