//! Each string of one tensor followed by the string of another, with NumPy broadcasting. Source: ONNX StringConcat-20.

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
pub struct StringConcat {}

impl Operator for StringConcat {
    const NAME: &'static str = "StringConcat";

    fn infer(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        strings_at(inputs, 0)?;
        strings_at(inputs, 1)?;
        Ok(vec![ValueType::tensor(DataType::String, cx.broadcast(&[inputs.dims(0)?, inputs.dims(1)?])?)])
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let (sizes, pairs) = broadcast_pairs(inputs)?;
        let joined = pairs.into_iter().map(|(a, b)| format!("{a}{b}")).collect();
        Ok(vec![Tensor::from_strings(&sizes, joined)?.into()])
    }

    fn examples() -> Vec<Example> {
        let of = |sizes: &[usize], texts: &[&str]| {
            let texts = texts.iter().map(|t| (*t).to_owned()).collect();
            Tensor::from_strings(sizes, texts).expect("as many strings as elements")
        };
        let op = StringConcat {};
        vec![
            Example::new("same shape", op.clone()).tensor(of(&[2], &["ab", ""])).tensor(of(&[2], &["", "é"])),
            Example::new("broadcast", op.clone()).tensor(of(&[2, 1], &["a", "b"])).tensor(of(&[3], &["x", "y", "z"])),
            Example::new("nothing", op).tensor(of(&[0], &[])).tensor(of(&[], &["x"])),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::reference_of;

    #[test]
    fn strings_are_joined_with_broadcasting() {
        let a = Tensor::from_strings(&[2], vec!["a".into(), "b".into()]).unwrap();
        let b = Tensor::from_strings(&[], vec!["ü".into()]).unwrap();
        assert_eq!(reference_of(&StringConcat {}, &[&a, &b]).unwrap()[0].strings().unwrap(), ["aü", "bü"]);
        let three = Tensor::from_strings(&[3], vec![String::new(); 3]).unwrap();
        assert!(reference_of(&StringConcat {}, &[&a, &three]).is_err());
    }
}
