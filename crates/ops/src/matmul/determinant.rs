//! Determinants of square matrices.
//!
//! Input `[.., n, n]` of any float type, result `[..]`: the product of the pivots of Gaussian elimination with row
//! exchanges, negated once per exchange. The determinant of a 0 x 0 matrix is 1. Source: ONNX Det-22.

use sinter_base::{Attributes, DataType, Dim, Tensor, Value, ValueType};

use crate::axes::numeric;
use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::infer::InferContext;
use crate::invalid;
use crate::operands::{Arguments, Operands};
use crate::operator::{Cost, Operator, count_of};

/// See the module documentation.
#[derive(Clone, Debug, Default, PartialEq, Attributes)]
pub struct Determinant {}

/// Determinant of an `n` by `n` matrix, which is destroyed.
fn eliminate(a: &mut [f64], n: usize) -> f64 {
    let mut determinant = 1.0;
    for k in 0..n {
        let pivot = (k..n).fold(k, |best, row| if a[row * n + k].abs() > a[best * n + k].abs() { row } else { best });
        if pivot != k {
            determinant = -determinant;
            for column in 0..n {
                a.swap(pivot * n + column, k * n + column);
            }
        }
        let head = a[k * n + k];
        determinant *= head;
        if head == 0.0 {
            return determinant;
        }
        for row in k + 1..n {
            let factor = a[row * n + k] / head;
            for column in k..n {
                a[row * n + column] -= factor * a[k * n + column];
            }
        }
    }
    determinant
}

impl Operator for Determinant {
    const NAME: &'static str = "Determinant";

    fn infer(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        let data_type = inputs.data_type_where(0, "a float type", DataType::is_float)?;
        let [batch @ .., rows, columns] = inputs.dims(0)? else {
            invalid!("a determinant needs at least 2 dimensions, found {}", inputs.dims(0)?.len())
        };
        cx.require_equal(rows, columns, "rows and columns of a determinant")?;
        Ok(vec![ValueType::tensor(data_type, batch.to_vec())])
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = numeric(inputs.tensor(0)?)?;
        let [batch @ .., n, columns] = x.sizes() else {
            invalid!(eval: "a determinant needs at least 2 dimensions, found {}", x.rank())
        };
        if n != columns {
            invalid!(eval: "a matrix of {n} rows and {columns} columns has no determinant");
        }
        let mut elements = x.to_floats();
        let count: usize = batch.iter().product();
        let matrix = n * n;
        let y: Vec<f64> = (0..count).map(|i| eliminate(&mut elements[i * matrix..(i + 1) * matrix], *n)).collect();
        Ok(vec![Tensor::from_floats(x.data_type(), batch, &y)?.into()])
    }

    fn cost(&self, inputs: &Operands<'_>, outputs: &[ValueType]) -> Cost {
        let size = inputs.dims(0).ok().and_then(|d| d.last().cloned()).unwrap_or(Dim::constant(0));
        let elements = inputs.optional_value(0).map_or_else(|| Dim::constant(0), count_of);
        Cost { operations: elements.mul(&size), ..Cost::elementwise(inputs, outputs, 0) }
    }

    fn examples() -> Vec<Example> {
        let op = Determinant::default();
        vec![
            Example::new("matrix", op.clone()).float(&[3, 3]),
            Example::new("batch", op.clone()).float(&[2, 3, 5, 5]),
            Example::new("one element", op.clone()).float(&[7, 1, 1]),
            Example::new("no elements", op.clone()).float(&[2, 0, 0]),
            Example::new("no matrices", op).float(&[0, 3, 3]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::reference_of;

    #[test]
    fn matrices_by_hand() {
        let det = |n: usize, values: &[f32]| {
            let x = Tensor::from_vec(&[n, n], values.to_vec()).unwrap();
            reference_of(&Determinant {}, &[&x]).unwrap()[0].to_floats()[0]
        };
        assert_eq!(det(2, &[1.0, 2.0, 3.0, 4.0]), -2.0);
        assert_eq!(det(2, &[0.0, 1.0, 1.0, 0.0]), -1.0);
        assert_eq!(det(3, &[2.0, 0.0, 0.0, 5.0, 3.0, 0.0, 7.0, 1.0, 4.0]), 24.0);
        assert_eq!(det(2, &[1.0, 2.0, 2.0, 4.0]), 0.0);
        assert_eq!(det(0, &[]), 1.0);
        let wide = Tensor::from_vec(&[1, 2], vec![0f32; 2]).unwrap();
        assert!(reference_of(&Determinant {}, &[&wide]).is_err());
    }
}
