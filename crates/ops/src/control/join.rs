//! The narrowest type that includes two types: the type of a value with two possible sources.

use sinter_base::{Shape, TensorType, ValueType};

use crate::error::InferError;
use crate::infer::InferContext;
use crate::invalid;

/// The type of a value that has one of two types. Equal dimensions and contents stay; others become dynamic or unknown.
///
/// # Errors
/// When the kinds or the element types differ.
pub fn join(left: &ValueType, right: &ValueType, cx: &mut InferContext) -> Result<ValueType, InferError> {
    Ok(match (left, right) {
        (ValueType::Tensor(a), ValueType::Tensor(b)) if a.data_type == b.data_type => {
            let shape = match (&a.shape, &b.shape) {
                (Shape::Ranked(x), Shape::Ranked(y)) if x.len() == y.len() => {
                    let pairs = x.iter().zip(y);
                    Shape::Ranked(pairs.map(|(p, q)| if p == q { p.clone() } else { cx.fresh("join") }).collect())
                }
                _ => Shape::Unranked,
            };
            let mut ty = TensorType::new(a.data_type, shape);
            if a.shape == b.shape && a.value == b.value {
                ty.value = a.value.clone();
            }
            ty.into()
        }
        (ValueType::Sequence(a), ValueType::Sequence(b)) => ValueType::Sequence(Box::new(join(a, b, cx)?)),
        (ValueType::Optional(a), ValueType::Optional(b)) => ValueType::Optional(Box::new(join(a, b, cx)?)),
        _ => invalid!("a value cannot be {left} and {right} at once"),
    })
}

/// The same type with unknown contents.
pub fn without_contents(ty: &ValueType) -> ValueType {
    match ty {
        ValueType::Tensor(tensor) => TensorType::new(tensor.data_type, tensor.shape.clone()).into(),
        ValueType::Sequence(element) => ValueType::Sequence(Box::new(without_contents(element))),
        ValueType::Optional(element) => ValueType::Optional(Box::new(without_contents(element))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sinter_base::{DataType, Dim};

    #[test]
    fn what_differs_is_left_open() {
        let mut cx = InferContext::default();
        let (n, three) = (Dim::symbol("N"), Dim::constant(3));
        let a = ValueType::tensor(DataType::F32, vec![n.clone(), three.clone()]);
        let b = ValueType::tensor(DataType::F32, vec![n.clone(), n.clone()]);
        assert_eq!(join(&a, &a, &mut cx).unwrap(), a);
        let joined = join(&a, &b, &mut cx).unwrap();
        let dims = joined.as_tensor().unwrap().dims().unwrap().to_vec();
        assert_eq!(dims[0], n);
        assert!(dims[1] != three && dims[1] != n);
        let scalar = ValueType::tensor(DataType::F32, vec![]);
        assert_eq!(join(&a, &scalar, &mut cx).unwrap(), ValueType::unranked(DataType::F32));
        assert!(join(&a, &ValueType::unranked(DataType::I32), &mut cx).is_err());
        assert!(join(&a, &ValueType::Sequence(Box::new(a.clone())), &mut cx).is_err());
    }
}
