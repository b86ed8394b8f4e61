//! Strings cut into substrings.
//!
//! Input: strings [...]. Results: substrings [..., most], shorter lists filled up with empty strings; their numbers
//! [...] i64. Without a delimiter runs of white space separate and none is left at the ends; with one every occurrence
//! separates. After `most_splits` cuts the rest stays in one piece. Source: ONNX StringSplit-20.

use sinter_base::{Attributes, DataType, Tensor, Value, ValueType};

use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::host::strings_at;
use crate::infer::InferContext;
use crate::operands::{Arguments, Operands};
use crate::operator::Operator;

/// See the module documentation.
#[derive(Clone, Debug, Default, PartialEq, Attributes)]
pub struct StringSplit {
    /// The separator; white space when empty.
    pub delimiter: String,
    /// Most cuts in one string.
    pub most_splits: Option<usize>,
}

impl StringSplit {
    fn pieces(&self, text: &str) -> Vec<String> {
        let most = self.most_splits.unwrap_or(usize::MAX);
        if !self.delimiter.is_empty() {
            return text.splitn(most.saturating_add(1), &self.delimiter).map(str::to_owned).collect();
        }
        let mut pieces = Vec::new();
        let mut rest = text.trim_start();
        while !rest.is_empty() && pieces.len() < most {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            let (piece, after) = rest.split_at(end);
            pieces.push(piece.to_owned());
            rest = after.trim_start();
        }
        if !rest.is_empty() {
            pieces.push(rest.to_owned());
        }
        pieces
    }
}

impl Operator for StringSplit {
    const NAME: &'static str = "StringSplit";

    fn infer(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        strings_at(inputs, 0)?;
        let dims = inputs.dims(0)?.to_vec();
        let mut split = dims.clone();
        split.push(cx.fresh("substrings"));
        Ok(vec![ValueType::tensor(DataType::String, split), ValueType::tensor(DataType::I64, dims)])
    }

    fn unranked(&self, _inputs: &Operands<'_>) -> Result<Vec<ValueType>, InferError> {
        Ok(vec![ValueType::unranked(DataType::String), ValueType::unranked(DataType::I64)])
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = inputs.tensor(0)?;
        let lists: Vec<Vec<String>> = x.strings()?.iter().map(|text| self.pieces(text)).collect();
        let most = lists.iter().map(Vec::len).max().unwrap_or(0);
        let counts: Vec<i64> = lists.iter().map(|list| i64::try_from(list.len()).unwrap_or(i64::MAX)).collect();
        let filled = lists.into_iter().flat_map(|mut list| {
            list.resize(most, String::new());
            list
        });
        let mut sizes = x.sizes().to_vec();
        sizes.push(most);
        Ok(vec![Tensor::from_strings(&sizes, filled.collect())?.into(), Tensor::from_vec(x.sizes(), counts)?.into()])
    }

    fn examples() -> Vec<Example> {
        let of = |sizes: &[usize], texts: &[&str]| {
            let texts = texts.iter().map(|t| (*t).to_owned()).collect();
            Tensor::from_strings(sizes, texts).expect("as many strings as elements")
        };
        let op = |delimiter: &str, most_splits| StringSplit { delimiter: delimiter.to_owned(), most_splits };
        vec![
            Example::new("white space", op("", None)).tensor(of(&[2], &["  hello  world ", ""])),
            Example::new("delimiter", op("--", None)).tensor(of(&[2, 1], &["a--b----c", "d"])),
            Example::new("few cuts", op("", Some(1))).tensor(of(&[2], &[" a b  c", "d"])),
            Example::new("nothing", op(",", None)).tensor(of(&[0, 3], &[])),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cutting() {
        let op = |delimiter: &str, most_splits| StringSplit { delimiter: delimiter.to_owned(), most_splits };
        assert_eq!(op("", None).pieces("  a  b "), ["a", "b"]);
        assert_eq!(op("", Some(1)).pieces("  a  b  c"), ["a", "b  c"]);
        assert_eq!(op("", Some(0)).pieces(" a b"), ["a b"]);
        assert_eq!(op("", None).pieces("  "), Vec::<String>::new());
        assert_eq!(op(",", None).pieces(",a,,b"), ["", "a", "", "b"]);
        assert_eq!(op(",", Some(1)).pieces("a,b,c"), ["a", "b,c"]);
        assert_eq!(op(",", None).pieces(""), [""]);
    }
}
