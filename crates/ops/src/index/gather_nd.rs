//! Slices picked by index vectors.
//!
//! Inputs: data of any type; indices `[.., k]`, i64. The last axis of the indices holds vectors of `k` entries that name
//! positions along `k` axes of the data, after `batch_dims` leading axes that both share. The result has sizes
//! `indices.sizes[..-1] + data.sizes[batch_dims + k..]`. Negative entries count from the end. Source: ONNX GatherND-13.

use sinter_base::shape::{element_count, ravel, strides, unravel};
use sinter_base::{Attributes, Dim, Tensor, Value, ValueType};

use crate::axes::{int_values, is_index_type, wrapped_index};
use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::infer::InferContext;
use crate::invalid;
use crate::operands::{Arguments, Operands};
use crate::operator::Operator;

/// See the module documentation.
#[derive(Clone, Debug, Default, PartialEq, Attributes)]
pub struct GatherNd {
    /// Leading axes that data and indices share.
    pub batch_dims: usize,
}

/// Where each index vector points: flat start in a tensor of `sizes` of the slice it names. With `batch_dims` leading
/// axes that the vectors' own position fills.
pub(crate) fn slice_starts(sizes: &[usize], indices: &Tensor, batch_dims: usize) -> Result<Vec<usize>, EvalError> {
    let (Some((&length, vectors)), own) = (indices.sizes().split_last(), strides(sizes)) else {
        invalid!(eval: "the indices are a scalar, at least one dimension is needed")
    };
    if batch_dims + length > sizes.len() || batch_dims > vectors.len() || sizes[..batch_dims] != vectors[..batch_dims] {
        invalid!(
            eval: "indices of sizes {:?} with {batch_dims} batch axes do not fit data of sizes {sizes:?}", indices.sizes()
        );
    }
    let values = int_values(indices)?;
    let count = element_count(vectors).unwrap_or(0);
    let mut starts = Vec::with_capacity(count);
    for vector in 0..count {
        let batch = unravel(vector, vectors);
        let mut start = ravel(&batch[..batch_dims], &own[..batch_dims]);
        for k in 0..length {
            let (axis, index) = (batch_dims + k, values[vector * length + k]);
            match wrapped_index(index, sizes[axis]) {
                Some(index) => start += index * own[axis],
                None => invalid!(eval: "index {index} lies outside axis {axis} of {} elements", sizes[axis]),
            }
        }
        starts.push(start);
    }
    Ok(starts)
}

/// Length of the index vectors, when known.
pub(crate) fn vector_length(dims: &[Dim]) -> Result<Option<usize>, InferError> {
    match dims.last() {
        Some(last) => Ok(last.as_constant().and_then(|l| usize::try_from(l).ok())),
        None => Err(InferError::Rank { index: 1, expected: "at least 1".to_owned(), found: 0 }),
    }
}

impl Operator for GatherNd {
    const NAME: &'static str = "GatherNd";

    fn infer(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        inputs.data_type_where(1, "i32 or i64", is_index_type)?;
        let (data, indices) = (inputs.dims(0)?, inputs.dims(1)?);
        let Some(length) = vector_length(indices)? else { return self.unranked(inputs) };
        if self.batch_dims + length > data.len() || self.batch_dims >= indices.len() {
            invalid!(
                "{} batch axes and index vectors of {length} entries in data of {} and indices of {} dimensions",
                self.batch_dims,
                data.len(),
                indices.len()
            );
        }
        for axis in 0..self.batch_dims {
            cx.require_equal(&data[axis], &indices[axis], "batch sizes of data and indices")?;
        }
        let mut result = indices[..indices.len() - 1].to_vec();
        result.extend_from_slice(&data[self.batch_dims + length..]);
        Ok(vec![ValueType::tensor(inputs.data_type(0)?, result)])
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (x, indices) = (inputs.tensor(0)?, inputs.tensor(1)?);
        let starts = slice_starts(x.sizes(), indices, self.batch_dims)?;
        let length = indices.sizes().last().copied().unwrap_or(0);
        let rest = &x.sizes()[self.batch_dims + length..];
        let sizes = [&indices.sizes()[..indices.rank() - 1], rest].concat();
        let inner: usize = rest.iter().product();
        Ok(vec![x.rearranged(&sizes, |i| Some(starts[i / inner] + i % inner))?.into()])
    }

    fn examples() -> Vec<Example> {
        let indices =
            |sizes: &[usize], values: &[i64]| Tensor::from_vec(sizes, values.to_vec()).expect("fitting sizes");
        vec![
            Example::new("elements", GatherNd::default())
                .float(&[3, 5])
                .tensor(indices(&[3, 2], &[0, 1, 2, -1, -3, 0])),
            Example::new("slices", GatherNd::default()).float(&[3, 2, 5]).tensor(indices(&[2, 2, 1], &[1, 0, 2, -1])),
            Example::new("batches", GatherNd { batch_dims: 1 })
                .float(&[2, 3, 4])
                .tensor(indices(&[2, 2, 1], &[0, 2, 1, -1])),
            Example::new("whole tensors", GatherNd::default()).float(&[2, 3]).tensor(indices(&[2, 0], &[])),
            Example::new("no vectors", GatherNd::default()).float(&[2, 3]).tensor(indices(&[0, 1], &[])),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::{infer_of, reference_of};
    use sinter_base::DataType;

    #[test]
    fn vectors_by_hand() {
        let x = Tensor::from_vec(&[2, 2], vec![1i64, 2, 3, 4]).unwrap();
        let indices = Tensor::from_vec(&[2, 2], vec![0i64, 0, 1, -1]).unwrap();
        assert_eq!(reference_of(&GatherNd::default(), &[&x, &indices]).unwrap()[0].to_i64(), [1, 4]);
        let rows = Tensor::from_vec(&[1, 1], vec![1i64]).unwrap();
        let y = reference_of(&GatherNd::default(), &[&x, &rows]).unwrap().swap_remove(0);
        assert_eq!((y.sizes(), y.to_i64()), (&[1, 2][..], vec![3, 4]));
        let batched = Tensor::from_vec(&[2, 1], vec![1i64, 0]).unwrap();
        assert_eq!(reference_of(&GatherNd { batch_dims: 1 }, &[&x, &batched]).unwrap()[0].to_i64(), [2, 3]);
        assert!(reference_of(&GatherNd::default(), &[&x, &Tensor::from_vec(&[1, 1], vec![2i64]).unwrap()]).is_err());
    }

    #[test]
    fn an_open_vector_length_leaves_the_rank_open() {
        let x = ValueType::tensor(DataType::F32, vec![Dim::constant(2), Dim::constant(3)]);
        let indices = ValueType::tensor(DataType::I64, vec![Dim::symbol("M"), Dim::symbol("K")]);
        assert_eq!(infer_of(&GatherNd::default(), &[&x, &indices]).unwrap()[0].to_string(), "f32[..]");
    }
}
