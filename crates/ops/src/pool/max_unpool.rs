//! Puts elements back where a max pool found them; everything else is zero.
//!
//! Inputs: x: [N, C, spatial...]; indices: i64 of x's shape; output shape: [rank] i64, optional. With stride s, kernel
//! k and pads b, e the natural size of an axis is `n = (i - 1) s + k - b - e`. Indices are flat positions in a tensor
//! of natural sizes; a given output shape, at least the natural sizes, holds that tensor in its leading corner. Of
//! equal indices the last one wins. An index outside is an error. Source: ONNX MaxUnpool-22.

use std::collections::HashMap;

use sinter_base::{Attributes, DataType, Dim, Value, ValueType, shape};

use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::infer::InferContext;
use crate::invalid;
use crate::operands::{Arguments, Operands};
use crate::operator::{Effects, Operator};

/// See the module documentation.
#[derive(Clone, Debug, PartialEq, Attributes)]
pub struct MaxUnpool {
    /// Kernel of the pool, per spatial axis.
    pub kernel: Vec<usize>,
    /// Strides of the pool, per spatial axis.
    pub strides: Vec<usize>,
    /// Leading pads of the pool, per spatial axis.
    pub begin: Vec<i64>,
    /// Trailing pads of the pool, per spatial axis.
    pub end: Vec<i64>,
}

impl MaxUnpool {
    fn natural(&self, x: &[Dim]) -> Result<Vec<Dim>, InferError> {
        let spatial = x.len().saturating_sub(2);
        let lengths = [self.kernel.len(), self.strides.len(), self.begin.len(), self.end.len()];
        if x.len() < 2 || lengths.iter().any(|&l| l != spatial) {
            invalid!("an input of {} dimensions does not fit the lists of {self:?}", x.len());
        }
        let mut dims = x[..2].to_vec();
        for (i, size) in x[2..].iter().enumerate() {
            let grown = size.sub(&Dim::constant(1)).mul(&self.strides[i].into()).add(&self.kernel[i].into());
            dims.push(grown.sub(&self.begin[i].into()).sub(&self.end[i].into()));
        }
        Ok(dims)
    }
}

impl Operator for MaxUnpool {
    const NAME: &'static str = "MaxUnpool";

    fn infer(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        let data_type = inputs.data_type_where(0, "numbers or truth values", |t| t != DataType::String)?;
        let x = inputs.dims(0)?;
        inputs.data_type_where(1, "i64", |t| t == DataType::I64)?;
        for (a, b) in x.iter().zip(inputs.dims_of_rank(1, x.len())?) {
            cx.require_equal(a, b, "sizes of the elements and of their indices")?;
        }
        let natural = self.natural(x)?;
        let dims = if inputs.has(2) {
            inputs.data_type_where(2, "i64", |t| t == DataType::I64)?;
            let length = &inputs.dims_of_rank(2, 1)?[0];
            cx.require_equal(length, &x.len().into(), "entries of the output shape and dimensions of the input")?;
            match inputs.ints(2) {
                Some(given) if given.len() == x.len() => given.to_vec(),
                _ => x.iter().map(|_| cx.fresh("unpool")).collect(),
            }
        } else {
            natural
        };
        Ok(vec![ValueType::tensor(data_type, dims)])
    }

    fn size_inputs(&self) -> &'static [usize] {
        &[2]
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (x, indices) = (inputs.tensor(0)?, inputs.tensor(1)?.to_i64());
        let y_sizes = crate::infer::result_sizes(self, inputs)?.swap_remove(0);
        let x_dims: Vec<Dim> = x.sizes().iter().map(|&s| s.into()).collect();
        let natural: Option<Vec<usize>> =
            self.natural(&x_dims)?.iter().map(|d| d.as_constant().and_then(|v| usize::try_from(v).ok())).collect();
        let Some(natural) = natural else { invalid!(eval: "sizes {:?} unpool to negative sizes", x.sizes()) };
        if natural.iter().zip(&y_sizes).any(|(n, y)| n > y) {
            invalid!(eval: "an output of {y_sizes:?} does not hold the unpooled sizes {natural:?}");
        }
        let strides = shape::strides(&y_sizes);
        let limit = shape::element_count(&natural).unwrap_or(0);
        let mut sources = HashMap::new();
        for (from, &index) in indices.iter().enumerate() {
            match usize::try_from(index) {
                Ok(flat) if flat < limit => {
                    sources.insert(shape::ravel(&shape::unravel(flat, &natural), &strides), from);
                }
                _ => invalid!(eval: "index {index} lies outside of {limit} elements"),
            }
        }
        Ok(vec![x.rearranged(&y_sizes, |i| sources.get(&i).copied())?.into()])
    }

    fn effects(&self) -> Effects {
        Effects { asserts: true, ..Effects::NONE }
    }

    fn examples() -> Vec<Example> {
        let op = MaxUnpool { kernel: vec![2, 2], strides: vec![2, 2], begin: vec![0, 0], end: vec![0, 0] };
        let indices = |sizes: &[usize], values: &[i64]| {
            sinter_base::Tensor::from_vec(sizes, values.to_vec()).expect("as many values as the sizes need")
        };
        vec![
            Example::new("natural size", op.clone())
                .float(&[1, 1, 2, 2])
                .tensor(indices(&[1, 1, 2, 2], &[5, 7, 13, 15])),
            Example::new("larger output", op.clone())
                .float(&[1, 1, 2, 2])
                .tensor(indices(&[1, 1, 2, 2], &[0, 3, 8, 10]))
                .ints(&[1, 1, 5, 7]),
            Example::new("pads", MaxUnpool { begin: vec![1, 0], end: vec![0, 1], ..op.clone() })
                .float(&[1, 1, 2, 2])
                .tensor(indices(&[1, 1, 2, 2], &[1, 2, 3, 8])),
            Example::new("no batch", op).float(&[0, 1, 2, 2]).tensor(indices(&[0, 1, 2, 2], &[])),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::reference_of;
    use sinter_base::Tensor;

    #[test]
    fn elements_return_to_their_places() {
        let op = MaxUnpool { kernel: vec![2], strides: vec![2], begin: vec![0], end: vec![0] };
        let x = Tensor::from_vec(&[1, 1, 2], vec![5f32, 6.0]).unwrap();
        let indices = |v: Vec<i64>| Tensor::from_vec(&[1, 1, 2], v).unwrap();
        let y = reference_of(&op, &[&x, &indices(vec![1, 2])]).unwrap();
        assert_eq!(y[0].to_floats(), [0.0, 5.0, 6.0, 0.0]);
        let y = reference_of(&op, &[&x, &indices(vec![0, 3]), &Tensor::of_i64(&[1, 1, 5])]).unwrap();
        assert_eq!(y[0].to_floats(), [5.0, 0.0, 0.0, 6.0, 0.0]);
        assert!(reference_of(&op, &[&x, &indices(vec![0, 4])]).is_err());
    }
}
