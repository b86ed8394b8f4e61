//! Numbers to text and text to numbers.
//!
//! A float becomes the shortest decimal text that reads back to it in its own type, as NumPy prints it: at least one
//! digit after the point, with an exponent below 1e-4 and from 1e16 on, "nan", "inf", "-inf"; an integer its digits; a
//! bool "True" or "False". Text becomes a number: plain or with an exponent, "nan" and "inf" in any case; for integers
//! what stands after the point is dropped, and the value must fit; for bool a number that is not 0, or "true" and
//! "false" in any case. Other text is an error. Source: ONNX Cast-9..25.

use sinter_base::{Attributes, DataType, Tensor, Value, ValueType};

use crate::error::{EvalError, InferError};
use crate::evaluate::EvalContext;
use crate::example::Example;
use crate::infer::InferContext;
use crate::invalid;
use crate::operands::{Arguments, Operands};
use crate::operator::{Effects, Operator};

/// See the module documentation.
#[derive(Clone, Debug, PartialEq, Attributes)]
pub struct StringCast {
    /// The type of the result: string, or a numeric type for an input of strings.
    pub to: DataType,
}

/// Shortest decimal digits of a finite float, with exponent, that round to it in its type.
fn shortest(value: f64, data_type: DataType) -> String {
    let mut text = String::new();
    for precision in 0..=17 {
        text = format!("{value:.precision$e}");
        if text.parse().is_ok_and(|back: f64| data_type.round(back) == value) {
            break;
        }
    }
    text
}

/// A float of this type as text.
fn float_text(value: f64, data_type: DataType) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let text = shortest(value, data_type);
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let sign = if mantissa.starts_with('-') { "-" } else { "" };
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    if value != 0.0 && !(-4..16).contains(&exponent) {
        let fraction = if digits.len() > 1 { format!(".{}", &digits[1..]) } else { String::new() };
        let mark = if exponent < 0 { '-' } else { '+' };
        return format!("{sign}{}{fraction}e{mark}{:02}", &digits[..1], exponent.abs());
    }
    if exponent < 0 {
        let zeros = "0".repeat(usize::try_from(-exponent - 1).unwrap_or(0));
        return format!("{sign}0.{zeros}{digits}");
    }
    let whole = usize::try_from(exponent).unwrap_or(0) + 1;
    if digits.len() <= whole {
        return format!("{sign}{digits}{}.0", "0".repeat(whole - digits.len()));
    }
    format!("{sign}{}.{}", &digits[..whole], &digits[whole..])
}

fn number(text: &str, to: DataType) -> Result<f64, EvalError> {
    let trimmed = text.trim();
    let truth = match trimmed.to_ascii_lowercase().as_str() {
        "true" => Some(1.0),
        "false" => Some(0.0),
        _ => None,
    };
    match (trimmed.parse::<f64>(), truth) {
        (_, Some(truth)) if to == DataType::Bool => Ok(truth),
        (Ok(value), _) => Ok(value),
        _ => invalid!(eval: "'{text}' is no number"),
    }
}

fn integer(text: &str, to: DataType) -> Result<i128, EvalError> {
    if let Ok(value) = text.trim().parse::<i128>() {
        return in_range(value, to, text);
    }
    let value = number(text, to)?;
    if !value.is_finite() {
        invalid!(eval: "'{text}' does not fit {to}");
    }
    in_range(value as i128, to, text)
}

fn in_range(value: i128, to: DataType, text: &str) -> Result<i128, EvalError> {
    match to.integer_range() {
        Some((low, high)) if (low..=high).contains(&value) => Ok(value),
        _ => invalid!(eval: "'{text}' does not fit {to}"),
    }
}

impl StringCast {
    fn check(&self, inputs: &Operands<'_>) -> Result<(), InferError> {
        let from = inputs.data_type(0)?;
        if (from == DataType::String) == (self.to == DataType::String) {
            invalid!("from {from} to {} is no conversion between numbers and text", self.to);
        }
        Ok(())
    }
}

impl Operator for StringCast {
    const NAME: &'static str = "StringCast";

    fn infer(&self, inputs: &Operands<'_>, _cx: &mut InferContext) -> Result<Vec<ValueType>, InferError> {
        self.check(inputs)?;
        Ok(vec![ValueType::tensor(self.to, inputs.dims(0)?.to_vec())])
    }

    fn unranked(&self, inputs: &Operands<'_>) -> Result<Vec<ValueType>, InferError> {
        self.check(inputs)?;
        Ok(vec![ValueType::unranked(self.to)])
    }

    fn reference(&self, inputs: &Arguments<'_>, _cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let x = inputs.tensor(0)?;
        let (sizes, to) = (x.sizes(), self.to);
        if x.data_type() == DataType::String {
            let texts = x.strings()?;
            let y = if to.is_float() || to == DataType::Bool {
                let values = texts.iter().map(|t| number(t, to)).collect::<Result<Vec<_>, _>>()?;
                Tensor::from_floats(to, sizes, &values)?
            } else {
                let values = texts.iter().map(|t| integer(t, to)).collect::<Result<Vec<_>, _>>()?;
                Tensor::from_ints(to, sizes, &values)?
            };
            return Ok(vec![y.into()]);
        }
        let texts = match x.data_type() {
            DataType::Bool => x.to_bools().into_iter().map(|v| if v { "True" } else { "False" }.to_owned()).collect(),
            t if t.is_float() => x.to_floats().into_iter().map(|v| float_text(v, t)).collect(),
            _ => x.to_ints().into_iter().map(|v| v.to_string()).collect(),
        };
        Ok(vec![Tensor::from_strings(sizes, texts)?.into()])
    }

    /// The text may be no number.
    fn effects(&self) -> Effects {
        Effects { asserts: self.to != DataType::String, ..Effects::NONE }
    }

    fn examples() -> Vec<Example> {
        let of = |texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(|t| (*t).to_owned()).collect();
            Tensor::from_strings(&[texts.len()], texts).expect("as many strings as elements")
        };
        let op = |to| StringCast { to };
        let halves = Tensor::from_floats(DataType::F16, &[3], &[0.1, 1e-6, 65504.0]).expect("three elements");
        vec![
            Example::new("floats to text", op(DataType::String)).float(&[3, 5]),
            Example::new("halves to text", op(DataType::String)).tensor(halves),
            Example::new("integers to text", op(DataType::String)).ints(&[0, -7, i64::MAX]),
            Example::new("text to floats", op(DataType::F32)).tensor(of(&["3.14", "1e-5", "1E8", "-INF", "NaN"])),
            Example::new("text to integers", op(DataType::I32)).tensor(of(&["100.5", "-3", "0"])),
            Example::new("text to bool", op(DataType::Bool)).tensor(of(&["True", "0", "2"])),
            Example::new("nothing", op(DataType::I64)).tensor(of(&[])),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::reference_of;

    #[test]
    fn floats_as_text() {
        let cases = [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (0.5, "0.5"),
            (-1234.5, "-1234.5"),
            (1e-5, "1e-05"),
            (1.5e20, "1.5e+20"),
            (1e15, "1000000000000000.0"),
            (0.0001, "0.0001"),
            (f64::NAN, "nan"),
            (f64::NEG_INFINITY, "-inf"),
        ];
        for (value, text) in cases {
            assert_eq!(float_text(value, DataType::F64), text);
        }
        assert_eq!(float_text(f64::from(0.1f32), DataType::F32), "0.1");
        assert_eq!(float_text(DataType::F16.round(0.1), DataType::F16), "0.1");
    }

    #[test]
    fn text_as_numbers() {
        let read = |text: &str, to: DataType| {
            let x = Tensor::from_strings(&[1], vec![text.to_owned()]).unwrap();
            reference_of(&StringCast { to }, &[&x]).map(|r| r[0].to_floats()[0])
        };
        assert_eq!(read("+INF", DataType::F32).unwrap(), f64::INFINITY);
        assert_eq!(read("1e3", DataType::F64).unwrap(), 1000.0);
        assert_eq!(read("-2.9", DataType::I8).unwrap(), -2.0);
        assert!(read("300", DataType::U8).is_err());
        assert!(read("word", DataType::F32).is_err());
        assert!(read("nan", DataType::I64).is_err());
        assert!(read("x", DataType::String).is_err());
    }
}
