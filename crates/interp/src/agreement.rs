//! Agreement of two results.

use sinter_base::{DataType, Floats, Tensor, Value};

/// Tolerance of an element: `|a - b| <= absolute + relative |b|`, `b` being the expected one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Relative part.
    pub relative: f64,
    /// Absolute part. Integers use its whole part.
    pub absolute: f64,
}

impl Tolerance {
    /// The rule of the ONNX backend tests (onnx/backend/test/runner, `assert_similar_outputs`).
    pub const ONNX: Self = Self { relative: 1e-3, absolute: 1e-7 };

    /// Bitwise agreement of numbers.
    pub const EXACT: Self = Self { relative: 0.0, absolute: 0.0 };

    /// At least one unit in the last place of a narrow float type: two correct computations may round differently.
    /// Expected values computed in f32 also carry noise of a few units in the last place of their *largest* element
    /// where sums cancel (a transform of a cosine has zeros only in exact arithmetic); [`Tolerance::EXACT`] stays
    /// exact.
    #[must_use]
    fn for_values(self, data_type: DataType, expected: &Floats<'_>) -> Self {
        if self == Self::EXACT {
            return self;
        }
        match data_type {
            DataType::F16 => Self { relative: self.relative.max(2f64.powi(-10)), ..self },
            DataType::Bf16 => Self { relative: self.relative.max(2f64.powi(-7)), ..self },
            DataType::F32 => Self { absolute: self.absolute.max(4.0 * 2f64.powi(-24) * expected.largest()), ..self },
            _ => self,
        }
    }
}

/// The first difference found.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Disagreement {
    /// Different kinds, element types or shapes.
    #[error("type {found}, expected {expected}")]
    Type {
        /// The computed value.
        found: String,
        /// The expected value.
        expected: String,
    },
    /// Elements out of tolerance.
    #[error("{count} of {total} elements differ; element {index} is {found}, expected {expected}")]
    Elements {
        /// How many.
        count: usize,
        /// Of how many.
        total: usize,
        /// Flat position of the worst one.
        index: usize,
        /// Its value.
        found: String,
        /// Its expected value.
        expected: String,
    },
}

/// Compares a result with the expected one.
///
/// # Errors
/// The difference.
pub fn compare(found: &Value, expected: &Value, tolerance: Tolerance) -> Result<(), Disagreement> {
    let types =
        || Disagreement::Type { found: found.value_type().to_string(), expected: expected.value_type().to_string() };
    match (found, expected) {
        (Value::Tensor(a), Value::Tensor(b)) => compare_tensors(a, b, tolerance),
        (Value::Sequence { items: a, .. }, Value::Sequence { items: b, .. }) if a.len() == b.len() => {
            a.iter().zip(b).try_for_each(|(a, b)| compare(a, b, tolerance))
        }
        (Value::Optional { item: Some(a), .. }, Value::Optional { item: Some(b), .. }) => compare(a, b, tolerance),
        (Value::Optional { item: None, .. }, Value::Optional { item: None, .. }) => Ok(()),
        _ => Err(types()),
    }
}

/// Compares two tensors. NaN agrees with NaN, an infinity with itself.
///
/// # Errors
/// The difference.
pub fn compare_tensors(found: &Tensor, expected: &Tensor, tolerance: Tolerance) -> Result<(), Disagreement> {
    if found.data_type() != expected.data_type() || found.sizes() != expected.sizes() {
        let text = |t: &Tensor| format!("{}{:?}", t.data_type(), t.sizes());
        return Err(Disagreement::Type { found: text(found), expected: text(expected) });
    }
    let total = found.count();
    if found.data_type() == DataType::String {
        let (a, b) = (found.strings().unwrap_or_default(), expected.strings().unwrap_or_default());
        return differing(total, (0..total).filter(|&i| a[i] != b[i]), |i| (a[i].clone(), b[i].clone()));
    }
    if !found.data_type().is_float() {
        let (a, b) = (found.to_ints(), expected.to_ints());
        let levels = tolerance.absolute as u128;
        let wrong = (0..total).filter(|&i| a[i].abs_diff(b[i]) > levels);
        return differing(total, wrong, |i| (a[i].to_string(), b[i].to_string()));
    }
    let (a, b) = (Floats::of(found), Floats::of(expected));
    let tolerance = tolerance.for_values(found.data_type(), &b);
    let wrong = |&i: &usize| {
        let (a, b) = (a.at(i), b.at(i));
        let same = a == b || a.is_nan() && b.is_nan();
        // Written so that a NaN on one side only is out of tolerance.
        !(same || (a - b).abs() <= tolerance.absolute + tolerance.relative * b.abs() && b.is_finite())
    };
    let mut worst: Vec<usize> = (0..total).filter(wrong).collect();
    worst.sort_by(|&i, &j| (a.at(j) - b.at(j)).abs().total_cmp(&(a.at(i) - b.at(i)).abs()));
    differing(total, worst.into_iter(), |i| (format!("{:e}", a.at(i)), format!("{:e}", b.at(i))))
}

fn differing(
    total: usize,
    mut wrong: impl Iterator<Item = usize>,
    show: impl Fn(usize) -> (String, String),
) -> Result<(), Disagreement> {
    match wrong.next() {
        None => Ok(()),
        Some(index) => {
            let (found, expected) = show(index);
            Err(Disagreement::Elements { count: 1 + wrong.count(), total, index, found, expected })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn floats(values: &[f32]) -> Tensor {
        Tensor::from_vec(&[values.len()], values.to_vec()).unwrap()
    }

    #[test]
    fn nan_and_infinity_agree_only_with_themselves() {
        let special = floats(&[f32::NAN, f32::INFINITY]);
        assert!(compare_tensors(&special, &special, Tolerance::ONNX).is_ok());
        assert!(compare_tensors(&floats(&[1.0, f32::INFINITY]), &special, Tolerance::ONNX).is_err());
        assert!(compare_tensors(&special, &floats(&[f32::NAN, 1.0]), Tolerance::ONNX).is_err());
        assert!(compare_tensors(&floats(&[f32::NAN, 1e30]), &special, Tolerance::ONNX).is_err());
    }

    #[test]
    fn the_worst_element_is_named() {
        let result = compare_tensors(&floats(&[1.1, 3.0, 3.0]), &floats(&[1.0, 2.0, 3.0]), Tolerance::ONNX);
        assert!(matches!(result, Err(Disagreement::Elements { count: 2, index: 1, .. })));
    }
}
