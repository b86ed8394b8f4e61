//! Differences between results and expected ones.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sinter::internals::base::{DataType, Tensor, Value};

use crate::report::type_text;

/// How far results may differ.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Absolute part.
    pub atol: f64,
    /// Part relative to the largest expected element.
    pub rtol: f64,
    /// Smallest cosine; when given, it decides alone.
    pub min_cosine: Option<f64>,
}

/// One output, or one element of a sequence, against its expectation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Difference {
    /// Name of the output; an element of a sequence has its position in brackets.
    pub name: String,
    /// Type of what the engine computed.
    #[serde(rename = "type")]
    pub ty: String,
    /// Largest difference of two elements; absent when there are no numbers to compare or when it is infinite.
    pub max_error: Option<f64>,
    /// What the largest difference may be.
    pub bound: Option<f64>,
    /// Mean difference of the elements; absent as `max_error` is.
    pub mean_error: Option<f64>,
    /// Cosine of the angle between both; absent when one has no length.
    pub cosine: Option<f64>,
    /// Is it within its bounds?
    pub within: bool,
    /// Why it is not, where numbers do not say it: other type, not a number, other text, missing.
    pub reason: Option<String>,
}

/// Compares what was found with each expected output, within its bounds.
pub fn differences(
    found: &[(String, Value)],
    expected: &[(String, Value)],
    bounds: &dyn Fn(&str) -> Bounds,
) -> Vec<Difference> {
    let mut all = Vec::new();
    for (name, expected) in expected {
        match found.iter().find(|(n, _)| n == name) {
            Some((_, found)) => compare(name, found, expected, bounds(name), &mut all),
            None => all.push(mismatch(name, expected, "the engine has no such output")),
        }
    }
    all
}

fn mismatch(name: &str, value: &Value, reason: &str) -> Difference {
    Difference {
        name: name.to_owned(),
        ty: type_text(&value.value_type()),
        max_error: None,
        bound: None,
        mean_error: None,
        cosine: None,
        within: false,
        reason: Some(reason.to_owned()),
    }
}

fn agreement(name: &str, value: &Value) -> Difference {
    Difference { within: true, reason: None, ..mismatch(name, value, "") }
}

fn compare(name: &str, found: &Value, expected: &Value, bounds: Bounds, all: &mut Vec<Difference>) {
    match (found, expected) {
        (Value::Tensor(a), Value::Tensor(b)) if a.data_type() == b.data_type() && a.sizes() == b.sizes() => {
            all.push(compare_tensors(name, a, b, bounds));
        }
        (Value::Sequence { items: a, .. }, Value::Sequence { items: b, .. }) if a.len() == b.len() => {
            if a.is_empty() {
                all.push(agreement(name, found));
            }
            for (position, (a, b)) in a.iter().zip(b).enumerate() {
                compare(&format!("{name}[{position}]"), a, b, bounds, all);
            }
        }
        (Value::Optional { item: Some(a), .. }, Value::Optional { item: Some(b), .. }) => {
            compare(name, a, b, bounds, all);
        }
        (Value::Optional { item: None, .. }, Value::Optional { item: None, .. }) => all.push(agreement(name, found)),
        _ => all.push(mismatch(name, found, &format!("expected {}", type_text(&expected.value_type())))),
    }
}

fn compare_tensors(name: &str, found: &Tensor, expected: &Tensor, bounds: Bounds) -> Difference {
    let result = agreement(name, &Value::Tensor(found.clone()));
    if found.data_type() == DataType::String {
        let (a, b) = (found.strings().unwrap_or_default(), expected.strings().unwrap_or_default());
        return match a.iter().zip(b).position(|(a, b)| a != b) {
            None => result,
            Some(at) => {
                let reason = format!("element {at} is {:?}, expected {:?}", a[at], b[at]);
                Difference { within: false, reason: Some(reason), ..result }
            }
        };
    }
    let (a, b) = (found.to_floats(), expected.to_floats());
    let errors: Vec<f64> = if found.data_type().is_float() {
        a.iter().zip(&b).map(|(a, b)| float_error(*a, *b)).collect()
    } else {
        found.to_ints().iter().zip(expected.to_ints()).map(|(a, b)| a.abs_diff(b) as f64).collect()
    };
    let largest = b.iter().filter(|v| v.is_finite()).fold(0f64, |m, v| m.max(v.abs()));
    let max_error = errors.iter().copied().fold(0f64, f64::max);
    let bound = bounds.atol + bounds.rtol * largest;
    let cosine = cosine(&a, &b);
    let within = match bounds.min_cosine {
        Some(least) => max_error == 0.0 || cosine.is_some_and(|c| c >= least),
        None => max_error <= bound,
    };
    let infinite = errors.iter().position(|e| e.is_infinite());
    let reason = infinite.filter(|_| !within).map(|at| format!("element {at} is {}, expected {}", a[at], b[at]));
    let finite = |v: f64| Some(v).filter(|v| v.is_finite());
    let mean = errors.iter().sum::<f64>() / errors.len().max(1) as f64;
    Difference {
        max_error: finite(max_error),
        bound: finite(bound),
        mean_error: finite(mean),
        cosine,
        within,
        reason,
        ..result
    }
}

/// NaN agrees with NaN and an infinity with itself; everything else that is no number is infinitely wrong.
fn float_error(a: f64, b: f64) -> f64 {
    if a == b || a.is_nan() && b.is_nan() {
        return 0.0;
    }
    let error = (a - b).abs();
    if error.is_nan() { f64::INFINITY } else { error }
}

fn cosine(a: &[f64], b: &[f64]) -> Option<f64> {
    let dot = |x: &[f64], y: &[f64]| x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>();
    Some(dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()).filter(|c| c.is_finite()).map(|c| c.clamp(-1.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { atol: 0.1, rtol: 0.01, min_cosine: None };

    fn of(a: &[f32], b: &[f32], bounds: Bounds) -> Difference {
        let tensor = |v: &[f32]| Tensor::from_vec(&[v.len()], v.to_vec()).unwrap();
        compare_tensors("y", &tensor(a), &tensor(b), bounds)
    }

    #[test]
    fn the_bound_is_absolute_plus_relative_to_the_largest_element() {
        let near = of(&[100.0, 1.0], &[100.0, 2.0], BOUNDS);
        assert_eq!((near.max_error, near.bound, near.mean_error, near.within), (Some(1.0), Some(1.1), Some(0.5), true));
        assert!(!of(&[100.0, 1.0], &[100.0, 2.2], BOUNDS).within);
    }

    #[test]
    fn what_is_no_number_agrees_only_with_itself() {
        let (nan, inf) = (f32::NAN, f32::INFINITY);
        assert!(of(&[nan, inf, -inf], &[nan, inf, -inf], BOUNDS).within);
        for (a, b) in [(nan, 1.0), (1.0, nan), (inf, -inf), (1.0, inf)] {
            let result = of(&[a], &[b], BOUNDS);
            assert!(!result.within && result.reason.is_some() && result.max_error.is_none(), "{a} {b}");
        }
    }

    #[test]
    fn a_cosine_decides_alone_where_it_is_given() {
        let bounds = Bounds { min_cosine: Some(0.99), ..BOUNDS };
        assert!(of(&[10.0, 20.0], &[1.0, 2.0], bounds).within);
        assert!(!of(&[1.0, -1.0], &[1.0, 1.0], bounds).within);
        assert!(of(&[0.0], &[0.0], bounds).within, "both without length");
    }

    #[test]
    fn types_texts_and_large_integers_are_told_apart() {
        let int = |v: i64| Value::Tensor(Tensor::of_i64(&[v]));
        let text = |s: &str| Value::Tensor(Tensor::from_strings(&[1], vec![s.to_owned()]).unwrap());
        let exact = Bounds { atol: 0.0, rtol: 0.0, min_cosine: None };
        let check = |a: Value, b: Value| {
            let named = |v: Value| [("y".to_owned(), v)];
            let all = differences(&named(a), &named(b), &|_| exact);
            all.iter().all(|d| d.within)
        };
        assert!(check(int(1 << 60), int(1 << 60)) && !check(int((1 << 60) + 1), int(1 << 60)));
        assert!(check(text("a"), text("a")) && !check(text("a"), text("b")));
        assert!(!check(text("a"), int(1)));
        let list = |items: Vec<Tensor>| Value::sequence_of(DataType::I64, items);
        assert!(check(list(vec![]), list(vec![])));
        assert!(!check(list(vec![Tensor::of_i64(&[1])]), list(vec![Tensor::of_i64(&[2])])));
        assert!(!check(list(vec![Tensor::of_i64(&[1])]), list(vec![])));
    }
}
