//! Does the whole string match a regular expression? A bool tensor. Source: ONNX RegexFullMatch-20.

use sinter_base::{Attributes, DataType, Tensor, Value, ValueType};

use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::host::strings_at;
use crate::infer::InferContext;
use crate::invalid;
use crate::operands::{Arguments, Operands};
use crate::operator::Operator;

/// See the module documentation.
#[derive(Clone, Debug, Default, PartialEq, Attributes)]
pub struct RegexFullMatch {
    /// The expression, in the syntax of RE2.
    pub pattern: String,
}

impl RegexFullMatch {
    fn compiled(&self) -> Result<regex::Regex, InferError> {
        match regex::Regex::new(&format!(r"\A(?:{})\z", self.pattern)) {
            Ok(expression) => Ok(expression),
            Err(error) => invalid!("'{}' is no regular expression: {error}", self.pattern),
        }
    }
}

impl Operator for RegexFullMatch {
    const NAME: &'static str = "RegexFullMatch";

    fn infer(&self, inputs: &Operands<'_>, _cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        strings_at(inputs, 0)?;
        self.compiled()?;
        Ok(vec![ValueType::tensor(DataType::Bool, inputs.dims(0)?.to_vec())])
    }

    fn unranked(&self, _inputs: &Operands<'_>) -> Result<Vec<ValueType>, InferError> {
        Ok(vec![ValueType::unranked(DataType::Bool)])
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = inputs.tensor(0)?;
        let expression = self.compiled()?;
        let matches: Vec<i128> = x.strings()?.iter().map(|s| i128::from(expression.is_match(s))).collect();
        Ok(vec![Tensor::from_ints(DataType::Bool, x.sizes(), &matches)?.into()])
    }

    fn examples() -> Vec<Example> {
        let of = |sizes: &[usize], texts: &[&str]| {
            let texts = texts.iter().map(|t| (*t).to_owned()).collect();
            Tensor::from_strings(sizes, texts).expect("as many strings as elements")
        };
        let op = |pattern: &str| RegexFullMatch { pattern: pattern.to_owned() };
        vec![
            Example::new("alternatives", op("a|bc")).tensor(of(&[2, 2], &["a", "bc", "abc", ""])),
            Example::new("digits", op(r"\d+")).tensor(of(&[3], &["12", "1a", "é"])),
            Example::new("nothing", op(".*")).tensor(of(&[0], &[])),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::reference_of;

    #[test]
    fn the_whole_string_must_match() {
        let x = Tensor::from_strings(&[3], ["a", "bc", "abc"].map(String::from).to_vec()).unwrap();
        let op = RegexFullMatch { pattern: "a|bc".to_owned() };
        assert_eq!(reference_of(&op, &[&x]).unwrap()[0].to_bools(), [true, true, false]);
        assert!(reference_of(&RegexFullMatch { pattern: "(".to_owned() }, &[&x]).is_err());
    }
}
