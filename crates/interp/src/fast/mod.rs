//! The fast evaluator of the reference executor: the same results as `reference`, fast enough for whole networks.
//!
//! Convolutions and matrix products go through blocked float64 products, pointwise programs run column by column.
//! It computes in float64 and rounds where the reference rounds; the test of this file compares it with the reference.
//! All other operators run by their reference.

mod concat;
mod convolution;
mod matmul;
mod pointwise;
mod transpose;

use sinter_base::{DataType, Tensor, Value};
use sinter_ops::{Arguments, EvalContext, EvalError, Evaluator, Op};

/// See the module documentation.
#[derive(Clone, Copy, Debug, Default)]
pub struct FastEvaluator;

impl Evaluator for FastEvaluator {
    fn evaluate(&self, op: &Op, inputs: &Arguments<'_>, cx: &EvalContext<'_>) -> Result<Vec<Value>, EvalError> {
        let fast = match op {
            Op::Concat(op) => concat::concat(op, inputs)?,
            Op::Convolution(op) => convolution::convolution(op, inputs)?,
            Op::MatMul(op) => matmul::matmul(op, inputs)?,
            Op::Pointwise(op) => pointwise::pointwise(op, inputs)?,
            Op::Transpose(op) => transpose::transpose(op, inputs)?,
            _ => None,
        };
        match fast {
            Some(results) => Ok(results),
            None => op.reference(inputs, cx),
        }
    }
}

/// Are all sums of `terms` integer products, with anything of 32 bits added, exact in float64?
fn sums_are_exact(a: &[f64], b: &[f64], terms: usize) -> bool {
    let largest = |values: &[f64]| values.iter().fold(0f64, |m, v| m.max(v.abs()));
    largest(a) * largest(b) * terms as f64 + 2f64.powi(32) < 2f64.powi(53)
}

/// A float type rounds, an integer type wraps.
fn rounded(data_type: DataType, sizes: &[usize], values: &[f64]) -> Result<Value, EvalError> {
    if data_type.is_float() {
        return Ok(Tensor::from_floats(data_type, sizes, values)?.into());
    }
    let integers: Vec<i128> = values.iter().map(|&v| v as i128).collect();
    Ok(Tensor::from_ints(data_type, sizes, &integers)?.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agreement::{Tolerance, compare};
    use sinter_ops::conv::Convolution;
    use sinter_ops::matmul::MatMul;
    use sinter_ops::movement::{Concat, Transpose};
    use sinter_ops::pointwise::Pointwise;
    use sinter_ops::{Operator, ReferenceEvaluator};

    /// Every example of the operators that are sped up, against the reference.
    #[test]
    fn agrees_with_the_reference() {
        let examples = [
            Concat::examples(),
            Convolution::examples(),
            MatMul::examples(),
            Pointwise::examples(),
            Transpose::examples(),
        ]
        .concat();
        for (seed, example) in (0u64..).zip(examples) {
            let values = example.values(seed);
            let run = |evaluator: &dyn Evaluator| {
                evaluator.evaluate(&example.op, &Arguments::new(&values), &EvalContext::new(evaluator)).unwrap()
            };
            let tolerance = Tolerance { relative: 1e-6, absolute: 1e-7 };
            for (fast, slow) in run(&FastEvaluator).iter().zip(&run(&ReferenceEvaluator)) {
                compare(fast, slow, tolerance)
                    .unwrap_or_else(|e| panic!("{} {}: {e}", example.op.name(), example.name));
            }
        }
    }
}
