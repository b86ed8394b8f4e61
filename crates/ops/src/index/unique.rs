//! The different elements of a tensor, or its different slices along an axis.
//!
//! Input of any type. Results: the unique elements, flat, or the tensor with only its unique slices; and, i64, the first
//! position of each, the number of its class for every input element or slice, and its count. Sorted ascending (slices
//! lexicographically) or in the order of first occurrence. NaNs count as one element. Source: ONNX Unique-11.

use std::cmp::Ordering;

use sinter_base::{Attributes, DataType, Dim, Tensor, Value, ValueType};

use crate::axes::axis_of;
use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::index::order::Ordered;
use crate::infer::InferContext;
use crate::operands::{Arguments, Operands};
use crate::operator::Operator;

/// See the module documentation.
#[derive(Clone, Debug, PartialEq, Attributes)]
pub struct Unique {
    /// Axis whose slices are compared, negative from the end; left out: single elements.
    pub axis: Option<i64>,
    /// Ascending order, else that of first occurrence.
    pub sorted: bool,
}

impl Operator for Unique {
    const NAME: &'static str = "Unique";

    fn infer(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        let data = inputs.tensor(0)?;
        let count = cx.fresh("unique");
        let (dims, total) = match self.axis {
            Some(axis) => {
                let mut dims = data.dims()?.to_vec();
                let axis = axis_of(axis, dims.len())?;
                let total = std::mem::replace(&mut dims[axis], count.clone());
                (dims, total)
            }
            None => {
                let total = data.shape.count().unwrap_or_else(|_| cx.fresh("count"));
                (vec![count.clone()], total)
            }
        };
        let list = |size: Dim| ValueType::tensor(DataType::I64, vec![size]);
        Ok(vec![ValueType::tensor(data.data_type, dims), list(count.clone()), list(total), list(count)])
    }

    fn unranked(&self, inputs: &Operands<'_>) -> Result<Vec<ValueType>, InferError> {
        let open = ValueType::unranked(DataType::I64);
        Ok(vec![ValueType::unranked(inputs.data_type(0)?), open.clone(), open.clone(), open])
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = inputs.tensor(0)?;
        // The input as [outer, number, inner], slice `k` being [.., k, ..].
        let (outer, number, inner, axis) = match self.axis {
            Some(axis) => {
                let axis = axis_of(axis, x.rank())?;
                let product = |sizes: &[usize]| sizes.iter().product::<usize>();
                (product(&x.sizes()[..axis]), x.sizes()[axis], product(&x.sizes()[axis + 1..]), Some(axis))
            }
            None => (1, x.count(), 1, None),
        };
        let elements = Ordered::of(x);
        let at = |k: usize, o: usize, i: usize| (o * number + k) * inner + i;
        let compare = |a: usize, b: usize| {
            let places = (0..outer).flat_map(|o| (0..inner).map(move |i| (o, i)));
            places.map(|(o, i)| elements.compare(at(a, o, i), at(b, o, i))).find(|&c| c != Ordering::Equal)
        };
        // A stable sort keeps the first occurrence first within each class.
        let mut order: Vec<usize> = (0..number).collect();
        order.sort_by(|&a, &b| compare(a, b).unwrap_or(Ordering::Equal));
        let mut classes: Vec<Vec<usize>> = Vec::new();
        for k in order {
            match classes.last_mut() {
                Some(class) if compare(class[0], k).is_none() => class.push(k),
                _ => classes.push(vec![k]),
            }
        }
        if !self.sorted {
            classes.sort_by_key(|class| class[0]);
        }
        let mut inverse = vec![0usize; number];
        for (which, class) in classes.iter().enumerate() {
            for &k in class {
                inverse[k] = which;
            }
        }
        let mut sizes = x.sizes().to_vec();
        match axis {
            Some(axis) => sizes[axis] = classes.len(),
            None => sizes = vec![classes.len()],
        }
        let unique = x.rearranged(&sizes, |flat| {
            let (o, which, i) = (flat / inner / classes.len(), flat / inner % classes.len(), flat % inner);
            Some(at(classes[which][0], o, i))
        })?;
        let list = |values: Vec<usize>| {
            let values: Vec<i64> = values.into_iter().map(|v| i64::try_from(v).unwrap_or(i64::MAX)).collect();
            Value::Tensor(Tensor::of_i64(&values))
        };
        let first = classes.iter().map(|class| class[0]).collect();
        let counts = classes.iter().map(Vec::len).collect();
        Ok(vec![unique.into(), list(first), list(inverse), list(counts)])
    }

    fn examples() -> Vec<Example> {
        let op = |axis, sorted| Unique { axis, sorted };
        let few = |sizes: &[usize], op| Example::new("few values", op).uniform(DataType::I32, sizes, 0.0, 2.0);
        vec![
            few(&[3, 7], op(None, true)),
            few(&[17], op(None, false)),
            few(&[7, 2], op(Some(0), true)),
            few(&[2, 9], op(Some(-1), false)),
            Example::new("all different", op(None, true)).float(&[5]),
            Example::new("no elements", op(None, true)).float(&[0]),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::reference_of;

    #[test]
    fn elements_by_hand() {
        let x = Tensor::of_i64(&[3, 1, 3, 2, 1]);
        let y = reference_of(&Unique { axis: None, sorted: true }, &[&x]).unwrap();
        let y: Vec<Vec<i64>> = y.iter().map(Tensor::to_i64).collect();
        assert_eq!(y, [vec![1, 2, 3], vec![1, 3, 0], vec![2, 0, 2, 1, 0], vec![2, 1, 2]]);
        let y = reference_of(&Unique { axis: None, sorted: false }, &[&x]).unwrap();
        let y: Vec<Vec<i64>> = y.iter().map(Tensor::to_i64).collect();
        assert_eq!(y, [vec![3, 1, 2], vec![0, 1, 3], vec![0, 1, 0, 2, 1], vec![2, 2, 1]]);
    }

    #[test]
    fn columns_by_hand() {
        let x = Tensor::from_vec(&[2, 3], vec![1i64, 0, 1, 5, 5, 5]).unwrap();
        let y = reference_of(&Unique { axis: Some(1), sorted: true }, &[&x]).unwrap();
        assert_eq!((y[0].sizes(), y[0].to_i64()), (&[2, 2][..], vec![0, 1, 5, 5]));
        assert_eq!((y[1].to_i64(), y[2].to_i64(), y[3].to_i64()), (vec![1, 0], vec![1, 0, 1], vec![1, 2]));
    }
}
