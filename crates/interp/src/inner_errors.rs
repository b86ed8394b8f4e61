//! Rounding errors inside of an operator that are large beside its results.
//!
//! A float result carries the rounding of its own digits. Some operators also round sums whose terms cancel, and then the error
//! has the size of the terms, not that of the result:
//! * products, convolutions, sums, means, running sums, and interpolation, which are linear, have terms as large as their results
//!   on absolute values (Higham 2002, section 3.1);
//! * a discrete Fourier transform adds up all elements for each frequency; where they cancel to 0, an algorithm with fewer steps
//!   gives some rounding error in place of 0;
//! * a normalization by the deviation subtracts a mean that is rounded itself: `mean / sqrt(variance + epsilon)` may be much
//!   larger than a result.

use sinter_base::shape::for_each_index;
use sinter_base::{DataType, Tensor, Value};
use sinter_ops::norm::{Measure, Normalize};
use sinter_ops::pool::PoolMode;
use sinter_ops::reduce::ReduceKind;
use sinter_ops::{Arguments, EvalContext, EvalError, Evaluator, Op};

/// For each element of the first result, the size of the terms inside, which round too; `None` where they are no larger than
/// the result.
///
/// # Errors
/// Errors of the evaluator.
pub fn inner_errors(
    op: &Op,
    inputs: &Arguments<'_>,
    results: &[Value],
    evaluator: &dyn Evaluator,
    cx: &EvalContext<'_>,
) -> Result<Option<Vec<f64>>, EvalError> {
    let Some(result) = results.first().and_then(Value::as_tensor) else { return Ok(None) };
    match op {
        Op::Dft(_) => {
            let largest = result.to_floats().into_iter().map(f64::abs).filter(|v| v.is_finite()).fold(0.0, f64::max);
            Ok(Some(vec![largest; result.count()]))
        }
        Op::Normalize(op) if op.measure == Measure::Deviation => {
            let with = Normalize { statistics: Some(DataType::F64), ..op.clone() };
            let made = evaluator.evaluate(&with.into(), inputs, cx)?;
            let statistic = |position: usize| made.get(position).and_then(Value::as_tensor);
            let (Some(mean), Some(variance)) = (statistic(1), statistic(2)) else { return Ok(None) };
            Ok(Some(means(op, result.sizes(), mean, variance)))
        }
        op if result.data_type().is_float() => {
            let Some(count) = linear_inputs(op) else { return Ok(None) };
            let input = |(at, input): (usize, &Option<Value>)| match input {
                Some(value) if at < count => Some(absolute(value)),
                other => other.clone(),
            };
            let absolute: Vec<Option<Value>> = inputs.all().iter().enumerate().map(input).collect();
            let made = evaluator.evaluate(op, &Arguments::new(&absolute), cx)?;
            let sizes = made.first().and_then(Value::as_tensor).map(Tensor::to_floats);
            let size = |v: f64| if v.is_finite() { v.abs() } else { 0.0 };
            Ok(sizes.map(|sizes| sizes.into_iter().map(size).collect()))
        }
        _ => Ok(None),
    }
}

/// How many of its first inputs an operator is linear in.
fn linear_inputs(op: &Op) -> Option<usize> {
    match op {
        Op::MatMul(_) | Op::Einsum(_) | Op::Convolution(_) | Op::Deconvolution(_) => Some(usize::MAX),
        Op::DeformableConvolution(_) => Some(2),
        Op::Resize(_) | Op::GridSample(_) | Op::Col2Im(_) => Some(1),
        Op::Reduce(op) if matches!(op.kind, ReduceKind::Sum | ReduceKind::Mean) => Some(1),
        Op::Pool(op) if matches!(op.mode, PoolMode::Average { .. }) => Some(1),
        Op::Cumulative(op) if !op.product => Some(1),
        _ => None,
    }
}

/// A tensor of floats without signs; another value as it is.
fn absolute(value: &Value) -> Value {
    let tensor = value.as_tensor().filter(|tensor| tensor.data_type().is_float());
    let numbers = tensor.map(|tensor| tensor.to_floats().into_iter().map(f64::abs).collect::<Vec<f64>>());
    let made = tensor.zip(numbers).and_then(|(tensor, numbers)| {
        Tensor::from_floats(tensor.data_type(), tensor.sizes(), &numbers).ok().map(Value::Tensor)
    });
    made.unwrap_or_else(|| value.clone())
}

/// The mean of each element's group, scaled as the element is.
fn means(op: &Normalize, sizes: &[usize], mean: &Tensor, variance: &Tensor) -> Vec<f64> {
    let scaled = |(mean, variance): (f64, f64)| mean.abs() / (variance + op.epsilon).sqrt();
    let scaled: Vec<f64> = mean.to_floats().into_iter().zip(variance.to_floats()).map(scaled).collect();
    let mut all = Vec::new();
    for_each_index(sizes, |index| {
        let axes = index.iter().zip(sizes).zip(mean.sizes());
        // An axis of one group, of several ones, or of one for each place.
        let at = axes.fold(0, |at, ((place, size), groups)| at * groups + place * groups / size.max(&1));
        all.push(scaled.get(at).copied().filter(|v| v.is_finite()).unwrap_or(0.0));
    });
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FastEvaluator;

    /// 3 - 3 + 1.
    #[test]
    fn terms_that_cancel_count() {
        let (x, y) = (
            Tensor::from_vec(&[1, 3], vec![3f32, -3.0, 1.0]).unwrap(),
            Tensor::from_vec(&[3, 1], vec![1f32; 3]).unwrap(),
        );
        let op = Op::from(sinter_ops::matmul::MatMul::default());
        let values = [Some(Value::from(x)), Some(Value::from(y))];
        let (inputs, cx) = (Arguments::new(&values), EvalContext::new(&FastEvaluator));
        let results = FastEvaluator.evaluate(&op, &inputs, &cx).unwrap();
        assert_eq!(inner_errors(&op, &inputs, &results, &FastEvaluator, &cx).unwrap(), Some(vec![7.0]));
    }

    /// Two groups of channels: 1000 and 1002, 3 and 3.
    #[test]
    fn the_mean_counts_in_units_of_the_deviation() {
        let x = Tensor::from_vec(&[1, 4, 1], vec![1000f32, 1002.0, 3.0, 3.0]).unwrap();
        let op = Normalize { groups: Some(2), ..Normalize::deviation(vec![2], 1e-4) };
        let values = [Some(Value::from(x))];
        let (inputs, cx) = (Arguments::new(&values), EvalContext::new(&FastEvaluator));
        let op = Op::from(op);
        let results = FastEvaluator.evaluate(&op, &inputs, &cx).unwrap();
        let found = inner_errors(&op, &inputs, &results, &FastEvaluator, &cx).unwrap().unwrap();
        let near = |a: f64, b: f64| (a - b).abs() < 1e-3 * b;
        assert!(near(found[0], 1001.0) && near(found[1], 1001.0), "{found:?}");
        assert!(near(found[2], 300.0) && near(found[3], 300.0), "{found:?}");
    }
}
