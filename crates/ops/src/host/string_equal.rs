//! Are two strings the same, with NumPy broadcasting? A bool tensor. Source: ONNX Equal-19 on strings.

use sinter_base::{Attributes, DataType, Tensor, Value, ValueType};

use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::host::{broadcast_pairs, strings_at};
use crate::infer::InferContext;
use crate::operands::{Arguments, Operands};
use crate::operator::Operator;

/// See the module documentation.
#[derive(Clone, Debug, Default, PartialEq, Attributes)]
pub struct StringEqual {}

impl Operator for StringEqual {
    const NAME: &'static str = "StringEqual";

    fn infer(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        strings_at(inputs, 0)?;
        strings_at(inputs, 1)?;
        Ok(vec![ValueType::tensor(DataType::Bool, cx.broadcast(&[inputs.dims(0)?, inputs.dims(1)?])?)])
    }

    fn unranked(&self, _inputs: &Operands<'_>) -> Result<Vec<ValueType>, InferError> {
        Ok(vec![ValueType::unranked(DataType::Bool)])
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (sizes, pairs) = broadcast_pairs(inputs)?;
        let equal: Vec<i128> = pairs.into_iter().map(|(a, b)| i128::from(a == b)).collect();
        Ok(vec![Tensor::from_ints(DataType::Bool, &sizes, &equal)?.into()])
    }

    fn examples() -> Vec<Example> {
        let of = |sizes: &[usize], texts: &[&str]| {
            let texts = texts.iter().map(|t| (*t).to_owned()).collect();
            Tensor::from_strings(sizes, texts).expect("as many strings as elements")
        };
        let op = StringEqual {};
        vec![
            Example::new("same shape", op.clone()).tensor(of(&[2], &["ab", ""])).tensor(of(&[2], &["ab", "b"])),
            Example::new("broadcast", op.clone()).tensor(of(&[2, 1], &["a", "b"])).tensor(of(&[3], &["b", "a", "A"])),
            Example::new("nothing", op).tensor(of(&[0], &[])).tensor(of(&[], &["x"])),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::reference_of;

    #[test]
    fn strings_are_compared() {
        let a = Tensor::from_strings(&[3], vec!["a".into(), "A".into(), "a ".into()]).unwrap();
        let b = Tensor::from_strings(&[1], vec!["a".into()]).unwrap();
        assert_eq!(reference_of(&StringEqual {}, &[&a, &b]).unwrap()[0].to_bools(), [true, false, false]);
        assert!(reference_of(&StringEqual {}, &[&a, &Tensor::of_i64(&[1])]).is_err());
    }
}
