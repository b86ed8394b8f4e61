//! `cpu.text.cast`: numbers to text and back.
//!
//! The shortest digits come from the standard library for f32 and f64; narrower floats try one digit more until the
//! text reads back to the same number. The form is NumPy's.

use sinter_backend::{KernelError, Numerics, Refusal, Region, ValueKernel};
use sinter_base::{DataType, Tensor, Value};
use sinter_ops::OpKind;

use crate::launch::Loaded;
use crate::only_operator;
use crate::tactic::{Row, Speed};
use crate::values::{data, tensor};

/// See the module documentation.
pub const CAST: Row = Row {
    name: "cpu.text.cast",
    roots: &[OpKind::StringCast],
    numerics: Numerics::Exact,
    in_place: &[],
    speed: Speed::SCALAR,
    kernel,
};

fn kernel(region: &Region) -> Result<Loaded, Refusal> {
    let to = only_operator!(region, StringCast).to;
    Ok(Loaded::Values(Box::new(Cast { to })))
}

struct Cast {
    to: DataType,
}

/// The value with as many digits as the text has. Of two texts that are equally near, the shortest form of the standard
/// library is the upper one, NumPy's the even one.
fn nearest(value: f64, shortest: &str) -> String {
    let mantissa = shortest.split('e').next().unwrap_or_default();
    let digits = mantissa.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    format!("{value:.digits$e}")
}

/// Shortest text with exponent that reads back to the value.
fn scientific(value: f64, data_type: DataType) -> String {
    match data_type {
        DataType::F64 => nearest(value, &format!("{value:e}")),
        DataType::F32 => nearest(value, &format!("{:e}", value as f32)),
        _ => {
            let reads_back = |text: &String| text.parse::<f64>().is_ok_and(|back| data_type.round(back) == value);
            let longer = (0..17).map(|digits| format!("{value:.digits$e}"));
            longer.into_iter().find(reads_back).unwrap_or_else(|| format!("{value:e}"))
        }
    }
}

fn float_to_text(value: f64, data_type: DataType) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value < 0.0 { "-inf".to_owned() } else { "inf".to_owned() };
    }
    let text = scientific(value, data_type);
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text.as_str(), "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or(("", mantissa), |rest| ("-", rest));
    let digits = mantissa.replace('.', "");
    let (first, others) = digits.split_at(1);
    if value != 0.0 && !(-4..16).contains(&exponent) {
        let point = if others.is_empty() { "" } else { "." };
        let mark = if exponent < 0 { '-' } else { '+' };
        return format!("{sign}{first}{point}{others}e{mark}{:02}", exponent.unsigned_abs());
    }
    if exponent < 0 {
        let zeros = "0".repeat(exponent.unsigned_abs() as usize - 1);
        return format!("{sign}0.{zeros}{digits}");
    }
    // So many digits stand in front of the point.
    let whole = exponent.unsigned_abs() as usize + 1;
    match digits.split_at_checked(whole) {
        Some((front, back)) if !back.is_empty() => format!("{sign}{front}.{back}"),
        _ => format!("{sign}{digits:0<whole$}.0"),
    }
}

fn text_to_float(text: &str) -> Result<f64, KernelError> {
    text.trim().parse().map_err(|_| data(format!("'{text}' is no number")))
}

fn text_to_truth(text: &str) -> Result<u8, KernelError> {
    let trimmed = text.trim();
    if trimmed.eq_ignore_ascii_case("true") {
        return Ok(1);
    }
    if trimmed.eq_ignore_ascii_case("false") {
        return Ok(0);
    }
    Ok(u8::from(text_to_float(text)? != 0.0))
}

fn text_to_integer(text: &str, to: DataType) -> Result<i128, KernelError> {
    let does_not_fit = || data(format!("'{text}' does not fit {to}"));
    let value = match text.trim().parse::<i128>() {
        Ok(value) => value,
        // Drops the digits after the point.
        Err(_) => {
            let value = text_to_float(text)?;
            if !value.is_finite() {
                return Err(does_not_fit());
            }
            value as i128
        }
    };
    let (low, high) = to.integer_range().ok_or_else(does_not_fit)?;
    if (low..=high).contains(&value) { Ok(value) } else { Err(does_not_fit()) }
}

impl ValueKernel for Cast {
    fn run(&self, inputs: &[Option<Value>]) -> Result<Vec<Value>, KernelError> {
        let x = tensor(inputs, 0)?;
        let (sizes, to) = (x.sizes(), self.to);
        if x.data_type() != DataType::String {
            let texts = match x.data_type() {
                DataType::Bool => x.to_bools().iter().map(|v| if *v { "True" } else { "False" }.to_owned()).collect(),
                t if t.is_float() => x.to_floats().iter().map(|v| float_to_text(*v, t)).collect(),
                _ => x.to_ints().iter().map(ToString::to_string).collect(),
            };
            return Ok(vec![Tensor::from_strings(sizes, texts).map_err(data)?.into()]);
        }
        let texts = x.strings().map_err(data)?.iter();
        let y = match to {
            DataType::Bool => Tensor::from_codes(to, sizes, texts.map(|t| text_to_truth(t)).collect::<Result<_, _>>()?),
            t if t.is_float() => {
                Tensor::from_floats(to, sizes, &texts.map(|t| text_to_float(t)).collect::<Result<Vec<_>, _>>()?)
            }
            _ => Tensor::from_ints(to, sizes, &texts.map(|t| text_to_integer(t, to)).collect::<Result<Vec<_>, _>>()?),
        };
        Ok(vec![y.map_err(data)?.into()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_equally_near_texts_the_even_one_is_taken() {
        for (value, text) in [(-1.47265625, "-1.4726562"), (1.59765625, "1.5976562"), (0.1, "0.1"), (3e-5, "3e-05")] {
            assert_eq!(float_to_text(f64::from(value as f32), DataType::F32), text);
        }
        assert_eq!(float_to_text(0.1 + 0.2, DataType::F64), "0.30000000000000004");
        assert_eq!(float_to_text(5e-324, DataType::F64), "5e-324");
    }
}
