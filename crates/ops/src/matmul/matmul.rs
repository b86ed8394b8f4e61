//! Batched matrix product with NumPy semantics.
//!
//! `y[.., i, j] = sum over k of a[.., i, k] b[.., k, j]`; leading axes broadcast. A one-dimensional `a` is a row, a
//! one-dimensional `b` a column, and the axis so added is dropped from the result. `transpose_a` and `transpose_b` swap
//! the last two axes of an operand of at least two. Elements: any float type, or integers with wrapping sums.
//! Source: ONNX MatMul-13 (numpy.matmul), Gemm-13.

use sinter_base::shape::{self, for_each_index};
use sinter_base::{Attributes, Dim, Tensor, Value, ValueType};

use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::infer::InferContext;
use crate::operands::{Arguments, Operands};
use crate::operator::{Cost, Operator, count_of};

/// See the module documentation.
#[derive(Clone, Debug, Default, PartialEq, Attributes)]
pub struct MatMul {
    /// Use the first operand with its last two axes swapped.
    pub transpose_a: bool,
    /// Use the second operand with its last two axes swapped.
    pub transpose_b: bool,
}

/// The product of two stacks of matrices of float64 numbers, inside the reference of another operator: by the evaluator
/// of that one, so that a fast evaluator is fast there too.
///
/// # Errors
/// Sizes that do not fit the numbers or each other.
pub(crate) fn product_of(
    a: (Vec<f64>, [usize; 3]),
    b: (Vec<f64>, [usize; 3]),
    transpose_b: bool,
    cx: &EvalContext<'_>,
) -> Result<Vec<f64>, EvalError> {
    let values = [Some(Tensor::from_vec(&a.1, a.0)?.into()), Some(Tensor::from_vec(&b.1, b.0)?.into())];
    let op = MatMul { transpose_a: false, transpose_b };
    let results = cx.evaluator.evaluate(&op.into(), &Arguments::new(&values), cx)?;
    let result = results.first().and_then(Value::as_tensor);
    result.map(Tensor::to_floats).ok_or_else(|| EvalError::Invalid("a product without a result".to_owned()))
}

/// An operand as a stack of matrices: leading sizes, rows, columns.
struct Matrix<'a, T> {
    batch: &'a [T],
    rows: T,
    columns: T,
}

impl MatMul {
    fn left<'a, T: Clone + From<usize>>(&self, sizes: &'a [T]) -> Option<Matrix<'a, T>> {
        match sizes {
            [] => None,
            [k] => Some(Matrix { batch: &[], rows: 1.into(), columns: k.clone() }),
            [batch @ .., a, b] => Some(oriented(batch, a, b, self.transpose_a)),
        }
    }

    fn right<'a, T: Clone + From<usize>>(&self, sizes: &'a [T]) -> Option<Matrix<'a, T>> {
        match sizes {
            [] => None,
            [k] => Some(Matrix { batch: &[], rows: k.clone(), columns: 1.into() }),
            [batch @ .., a, b] => Some(oriented(batch, a, b, self.transpose_b)),
        }
    }
}

fn oriented<'a, T: Clone>(batch: &'a [T], a: &T, b: &T, transpose: bool) -> Matrix<'a, T> {
    let (rows, columns) = if transpose { (b, a) } else { (a, b) };
    Matrix { batch, rows: rows.clone(), columns: columns.clone() }
}

fn scalar_operand(index: usize) -> InferError {
    InferError::Rank { index, expected: "at least 1".to_owned(), found: 0 }
}

impl Operator for MatMul {
    const NAME: &'static str = "MatMul";

    fn infer(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        inputs.data_type_where(0, "a numeric type", |t| t.is_float() || t.is_integer())?;
        let data_type = inputs.same_data_type(0)?;
        let (a_dims, b_dims) = (inputs.dims(0)?, inputs.dims(1)?);
        let a = self.left(a_dims).ok_or(scalar_operand(0))?;
        let b = self.right(b_dims).ok_or(scalar_operand(1))?;
        cx.require_equal(&a.columns, &b.rows, "inner sizes of the product")?;
        let mut y = cx.broadcast(&[a.batch, b.batch])?;
        if a_dims.len() > 1 {
            y.push(a.rows);
        }
        if b_dims.len() > 1 {
            y.push(b.columns);
        }
        Ok(vec![ValueType::tensor(data_type, y)])
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (a_tensor, b_tensor) = (inputs.tensor(0)?, inputs.tensor(1)?);
        let y_sizes = crate::infer::result_sizes(self, inputs)?.swap_remove(0);
        let a = self.left(a_tensor.sizes()).ok_or(scalar_operand(0))?;
        let b = self.right(b_tensor.sizes()).ok_or(scalar_operand(1))?;
        let batch_rank = a.batch.len().max(b.batch.len());
        let batch = &y_sizes[..batch_rank];
        let (m, k, n) = (a.rows, a.columns, b.columns);
        // Positions of element (i, p) of a and (p, j) of b inside one matrix.
        let a_at = |i: usize, p: usize| if self.transpose_a && a_tensor.rank() > 1 { p * m + i } else { i * k + p };
        let b_at = |p: usize, j: usize| if self.transpose_b && b_tensor.rank() > 1 { j * k + p } else { p * n + j };
        let a_batch = shape::broadcast_strides(a.batch, batch);
        let b_batch = shape::broadcast_strides(b.batch, batch);
        let integer = !a_tensor.data_type().is_float();
        let (af, bf) = (a_tensor.to_floats(), b_tensor.to_floats());
        let (ai, bi) = if integer { (a_tensor.to_ints(), b_tensor.to_ints()) } else { (Vec::new(), Vec::new()) };

        let (mut floats, mut ints) = (Vec::new(), Vec::new());
        for_each_index(batch, |at| {
            let a0 = shape::ravel(at, &a_batch) * m * k;
            let b0 = shape::ravel(at, &b_batch) * k * n;
            for i in 0..m {
                for j in 0..n {
                    if integer {
                        ints.push((0..k).fold(0i128, |sum, p| {
                            sum.wrapping_add(ai[a0 + a_at(i, p)].wrapping_mul(bi[b0 + b_at(p, j)]))
                        }));
                    } else {
                        floats.push((0..k).map(|p| af[a0 + a_at(i, p)] * bf[b0 + b_at(p, j)]).sum());
                    }
                }
            }
        });
        let data_type = a_tensor.data_type();
        let y = if integer {
            Tensor::from_ints(data_type, &y_sizes, &ints)?
        } else {
            Tensor::from_floats(data_type, &y_sizes, &floats)?
        };
        Ok(vec![y.into()])
    }

    fn cost(&self, inputs: &Operands<'_>, outputs: &[ValueType]) -> Cost {
        let inner = inputs.dims(0).ok().and_then(|d| self.left(d)).map_or_else(|| Dim::constant(1), |a| a.columns);
        let operations = count_of(&outputs[0]).mul(&inner).mul(&Dim::constant(2));
        Cost { operations, ..Cost::elementwise(inputs, outputs, 1) }
    }

    fn examples() -> Vec<Example> {
        let plain = MatMul::default();
        vec![
            Example::new("square", plain.clone()).float(&[16, 16]).float(&[16, 16]),
            Example::new("odd sizes", plain.clone()).float(&[7, 13]).float(&[13, 5]),
            Example::new("batch broadcast", plain.clone()).float(&[2, 1, 3, 4]).float(&[5, 4, 6]),
            Example::new("row times matrix", plain.clone()).float(&[4]).float(&[4, 3]),
            Example::new("matrix times column", plain.clone()).float(&[2, 3, 4]).float(&[4]),
            Example::new("inner product", plain.clone()).float(&[9]).float(&[9]),
            Example::new("both transposed", MatMul { transpose_a: true, transpose_b: true })
                .float(&[3, 8, 5])
                .float(&[3, 6, 8]),
            Example::new("integers", plain.clone())
                .uniform(sinter_base::DataType::I32, &[3, 4], -100.0, 100.0)
                .uniform(sinter_base::DataType::I32, &[4, 2], -100.0, 100.0),
            Example::new("nothing to sum", plain.clone()).float(&[3, 0]).float(&[0, 2]),
            Example::new("no rows", plain).float(&[0, 3]).float(&[3, 2]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::reference_of;

    fn matrix(sizes: &[usize], values: &[f32]) -> Tensor {
        Tensor::from_vec(sizes, values.to_vec()).unwrap()
    }

    #[test]
    fn strings_have_no_product() {
        let words = Tensor::from_strings(&[1, 1], vec!["3".to_owned()]).unwrap();
        assert!(reference_of(&MatMul { transpose_a: false, transpose_b: false }, &[&words, &words]).is_err());
    }

    #[test]
    fn products_by_hand() {
        let a = matrix(&[2, 2], &[1.0, 2.0, 3.0, 4.0]);
        let b = matrix(&[2, 2], &[5.0, 6.0, 7.0, 8.0]);
        let product = |op: MatMul| reference_of(&op, &[&a, &b]).unwrap()[0].to_floats();
        assert_eq!(product(MatMul::default()), [19.0, 22.0, 43.0, 50.0]);
        assert_eq!(product(MatMul { transpose_a: true, transpose_b: false }), [26.0, 30.0, 38.0, 44.0]);
        assert_eq!(product(MatMul { transpose_a: false, transpose_b: true }), [17.0, 23.0, 39.0, 53.0]);
    }

    #[test]
    fn vectors_lose_their_added_axis() {
        let v = matrix(&[2], &[1.0, 10.0]);
        let m = matrix(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        let y = reference_of(&MatMul::default(), &[&v, &m]).unwrap().swap_remove(0);
        assert_eq!((y.sizes(), y.to_floats()), (&[3][..], vec![41.0, 52.0, 63.0]));
        let y = reference_of(&MatMul::default(), &[&v, &v]).unwrap().swap_remove(0);
        assert_eq!((y.sizes(), y.to_floats()), (&[][..], vec![101.0]));
    }

    #[test]
    fn inner_sizes_must_agree() {
        let a = matrix(&[2, 2], &[0.0; 4]);
        let b = matrix(&[3, 2], &[0.0; 6]);
        assert!(reference_of(&MatMul::default(), &[&a, &b]).is_err());
        assert!(reference_of(&MatMul::default(), &[&a, &matrix(&[], &[1.0])]).is_err());
    }
}
