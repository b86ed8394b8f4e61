//! Stop words removed from a list of strings, and the case of the rest changed.
//!
//! Input: strings [C] or [1, C]. Result: the elements that are no stop words, in order, [K] or [1, K]; one empty string
//! when none is left. Case changes follow Unicode's default mapping, which is that of every locale but Turkish, Azeri
//! and Lithuanian. Source: ONNX StringNormalizer-10.

use sinter_base::{Attributes, DataType, Dim, Tensor, Value, ValueType};

use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::host::strings_at;
use crate::infer::InferContext;
use crate::invalid;
use crate::operands::{Arguments, Operands};
use crate::operator::Operator;

/// The case conversion of the remaining strings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Attributes)]
pub enum CaseChange {
    /// Nothing.
    #[default]
    Keep,
    /// Lower case.
    Lower,
    /// Upper case.
    Upper,
}

/// See the module documentation.
#[derive(Clone, Debug, Default, PartialEq, Attributes)]
pub struct StringNormalizer {
    /// Case of what stays.
    pub case_change: CaseChange,
    /// Stop words must match in case too.
    pub case_sensitive: bool,
    /// Strings that are removed.
    pub stop_words: Vec<String>,
}

impl Operator for StringNormalizer {
    const NAME: &'static str = "StringNormalizer";

    fn infer(&self, inputs: &Operands<'_>, cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        strings_at(inputs, 0)?;
        let dims = inputs.dims(0)?;
        let kept = |cx: &mut InferContext, given: &Dim| {
            if self.stop_words.is_empty() { given.maximum(&Dim::constant(1)) } else { cx.fresh("kept") }
        };
        let y = match dims {
            [count] => vec![kept(cx, count)],
            [one, count] => {
                cx.require_equal(one, &Dim::constant(1), "rows of the strings")?;
                vec![one.clone(), kept(cx, count)]
            }
            _ => return Err(InferError::Rank { index: 0, expected: "1 or 2".to_owned(), found: dims.len() }),
        };
        Ok(vec![ValueType::tensor(DataType::String, y)])
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = inputs.tensor(0)?;
        if !matches!(x.sizes(), [_] | [1, _]) {
            invalid!(eval: "strings of sizes {:?} are neither a list nor one row", x.sizes());
        }
        let folded = |text: &str| if self.case_sensitive { text.to_owned() } else { text.to_lowercase() };
        let stops: Vec<String> = self.stop_words.iter().map(|w| folded(w)).collect();
        let mut kept: Vec<String> = x
            .strings()?
            .iter()
            .filter(|text| !stops.contains(&folded(text)))
            .map(|text| match self.case_change {
                CaseChange::Keep => text.clone(),
                CaseChange::Lower => text.to_lowercase(),
                CaseChange::Upper => text.to_uppercase(),
            })
            .collect();
        if kept.is_empty() {
            kept.push(String::new());
        }
        let sizes = if x.rank() == 1 { vec![kept.len()] } else { vec![1, kept.len()] };
        Ok(vec![Tensor::from_strings(&sizes, kept)?.into()])
    }

    fn examples() -> Vec<Example> {
        let of = |sizes: &[usize], texts: &[&str]| {
            let texts = texts.iter().map(|t| (*t).to_owned()).collect();
            Tensor::from_strings(sizes, texts).expect("as many strings as elements")
        };
        let stop_words = vec!["Monday".to_owned()];
        let op = StringNormalizer { stop_words, ..StringNormalizer::default() };
        let days = || of(&[3], &["monday", "Tuesday", "Monday"]);
        vec![
            Example::new("any case, upper", StringNormalizer { case_change: CaseChange::Upper, ..op.clone() })
                .tensor(days()),
            Example::new(
                "same case, lower, row",
                StringNormalizer { case_change: CaseChange::Lower, case_sensitive: true, ..op.clone() },
            )
            .tensor(of(&[1, 3], &["monday", "Tuesday", "Monday"])),
            Example::new("nothing left", op).tensor(of(&[1], &["Monday"])),
            Example::new("no stop words", StringNormalizer::default()).tensor(days()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::reference_of;

    #[test]
    fn stop_words_are_removed() {
        let x = Tensor::from_strings(&[3], ["Ä", "ä", "b"].map(String::from).to_vec()).unwrap();
        let run = |case_sensitive, words: &[&str]| {
            let stop_words = words.iter().map(|w| (*w).to_owned()).collect();
            let op = StringNormalizer { case_change: CaseChange::Upper, case_sensitive, stop_words };
            reference_of(&op, &[&x]).unwrap()[0].strings().unwrap().to_vec()
        };
        assert_eq!(run(true, &["Ä"]), ["Ä", "B"]);
        assert_eq!(run(false, &["Ä"]), ["B"]);
        assert_eq!(run(false, &["Ä", "B"]), [""]);
        assert_eq!(run(true, &[]), ["Ä", "Ä", "B"]);
    }
}
