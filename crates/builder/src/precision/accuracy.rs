//! The error of the narrow network: its outputs beside those in f32, on the inputs of verification.
//!
//! The error of an output is the largest difference, relative to the largest element: `max |a - b| / max |b|`. Its bound is 16
//! units in the last place of the type ([`Precision::limit`]): 0.016 for f16, 0.125 for bf16. A network may magnify
//! rounding beyond it. Then the reference executor runs the narrow network with noise of one unit in the last place on every
//! value, and a difference of at most twice the effect is explained by rounding; the build reports it. A larger difference
//! is an error of the build, and in a strict build every one beyond the bound.

use sinter_base::{Floats, Tensor, Value};
use sinter_ir::Network;
use sinter_plan::report::OutputError;

use crate::precision::error::PrecisionError;
use crate::precision::request::{Precision, PrecisionOptions};
use crate::verify::whole::{dependent_outputs, is_random, tensors};
use crate::verify::{Answers, sensitivity};

/// The error of a tensor; `None` where the two have other sizes.
fn error_of(found: &Tensor, known: &Tensor) -> Option<f64> {
    if found.sizes() != known.sizes() || found.data_type() != known.data_type() {
        return None;
    }
    let (a, b) = (Floats::of(found), Floats::of(known));
    let difference = |at: usize| match (a.at(at), b.at(at)) {
        (x, y) if x == y || !y.is_finite() => 0.0,
        (x, _) if !x.is_finite() => f64::INFINITY,
        (x, y) => (x - y).abs(),
    };
    let largest = (0..found.count()).map(difference).fold(0.0, f64::max);
    Some(if largest == 0.0 { 0.0 } else { largest / b.largest() })
}

/// The largest error of the float tensors in a value; `None` where there are none, or where they have other sizes.
fn largest_error(found: &Value, known: &Value) -> Option<f64> {
    let (found, known) = (tensors(found), tensors(known));
    let is_float = |tensor: &&&Tensor| tensor.data_type().is_float();
    if found.len() != known.len() || known.iter().filter(is_float).count() == 0 {
        return None;
    }
    let pairs = found.into_iter().zip(known).filter(|(_, known)| known.data_type().is_float());
    pairs.map(|(found, known)| error_of(found, known)).try_fold(0.0, |most: f64, error| Some(most.max(error?)))
}

/// Measures the outputs of a narrow network, whose results are `after`, by the results `before` in f32.
///
/// # Errors
/// The first output beyond its bound.
pub(super) fn measure(
    narrow: &Network,
    before: &Answers,
    after: &Answers,
    options: &PrecisionOptions,
) -> Result<Vec<OutputError>, PrecisionError> {
    let precision: Precision = options.coarsest();
    let limit = precision.limit().unwrap_or(2e-3);
    let mut errors = Vec::new();
    if is_random(&narrow.body) {
        return Ok(errors);
    }
    let depends = dependent_outputs(narrow);
    for (index, port) in narrow.outputs.iter().enumerate() {
        let (Some(found), Some(known)) = (after.outputs.get(index), before.outputs.get(index)) else { continue };
        let Some(error) = largest_error(found, known) else { continue };
        // Where rounding decides, another decision is no error.
        let is_decided = depends.get(index) == Some(&true);
        let is_explained = error > limit && (is_decided || sensitivity::explains(narrow, after, index, known));
        if error > limit && !is_decided && (!is_explained || options.is_strict) {
            let output = port.name.clone();
            return Err(PrecisionError::Inaccurate { precision, output, error, limit, is_explained });
        }
        errors.push(OutputError { output: port.name.clone(), error, limit });
    }
    Ok(errors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_relative_to_the_largest_element() {
        let of = |values: &[f32]| Tensor::from_vec(&[values.len()], values.to_vec()).unwrap();
        assert_eq!(error_of(&of(&[1.0, -7.0]), &of(&[1.0, -8.0])), Some(0.125));
        assert_eq!(error_of(&of(&[f32::INFINITY, 1.0]), &of(&[f32::INFINITY, 1.0])), Some(0.0));
        assert_eq!(error_of(&of(&[f32::INFINITY]), &of(&[1.0])), Some(f64::INFINITY));
        assert_eq!(error_of(&of(&[1.0]), &of(&[1.0, 2.0])), None);
    }
}
