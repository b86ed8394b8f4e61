//! The rules of the table in `verify/mod.rs`: selects the rule for a region, and compares by it.

use sinter_base::{DataType, Floats, Tensor, Value};
use sinter_interp::{Disagreement, FastEvaluator, Tolerance, compare};
use sinter_ops::{Arguments, Body, EvalContext, Evaluator, Node, Op};

use crate::verify::noise::unit;

/// Types coarser than bf16 have steps so large that only one in this many elements may round the other way, on average.
const FEW: f64 = 32.0;

/// How many of so many elements may round the other way: the mean of a Poisson distribution and three deviations.
fn few(count: usize) -> usize {
    let mean = count as f64 / FEW;
    ((mean + 3.0 * mean.sqrt()) as usize).max(1)
}

/// The line of the table that applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    Float,
    Quantized,
    /// The region computes nothing in front of the quantization: it rounds the same quotients.
    OnlyQuantized,
    Exact,
    /// The region computes nothing at all: floats are equal as well.
    Moved,
}

pub(crate) fn rule_of(body: &Body) -> Rule {
    let computes_floats = |op: &Op| match op {
        Op::Pointwise(op) => op.program.steps().iter().any(|step| step.data_type().is_float()),
        _ => false,
    };
    if matches!(body.nodes(), [node] if matches!(node.op, Op::Quantize(_))) {
        Rule::OnlyQuantized
    } else if body.nodes().iter().any(|node| matches!(node.op, Op::Quantize(_))) {
        Rule::Quantized
    } else if body.nodes().iter().any(|node| computes_floats(&node.op)) {
        Rule::Float
    } else {
        Rule::Exact
    }
}

/// One unit in the last place of a type narrower than f32, relative to the number.
pub(crate) fn rounding_of(data_type: DataType) -> f64 {
    match data_type {
        DataType::F8E8M0 => 1.0,
        DataType::F4E2M1 => 0.5,
        DataType::F8E5M2 | DataType::F8E5M2FNUZ => 0.25,
        DataType::F8E4M3FN | DataType::F8E4M3FNUZ => 0.125,
        DataType::F16 | DataType::Bf16 => unit(data_type),
        _ => 0.0,
    }
}

/// The coarsest rounding on the way to the results, relative to the number; 0 where all is computed in f32 or wider.
pub(crate) fn coarsest_rounding(body: &Body) -> f64 {
    let node = |node: &Node| {
        let steps = match &node.op {
            Op::Pointwise(op) => {
                op.program.steps().iter().map(|step| rounding_of(step.data_type())).fold(0.0, f64::max)
            }
            _ => 0.0,
        };
        node.outputs.iter().map(|id| rounding_of(body.ty(*id).data_type())).fold(steps, f64::max)
    };
    body.nodes().iter().map(node).fold(0.0, f64::max)
}

/// The error bound of attention scores: the exponential turns their rounding into a relative error of the weights.
pub(crate) fn score_error(body: &Body, operands: &[Option<Value>]) -> f64 {
    let [node] = body.nodes() else { return 0.0 };
    let Op::Attention(op) = &node.op else { return 0.0 };
    let tensor = |index: usize| operands.get(index)?.as_ref()?.as_tensor();
    let (Some(q), Some(k)) = (tensor(0), tensor(1)) else { return 0.0 };
    let heads = |tensor: &Tensor, heads: Option<usize>| if tensor.rank() == 3 { heads.unwrap_or(1) } else { 1 };
    let longest = |tensor: &Tensor, heads: usize| {
        let size = (tensor.sizes().last().copied().unwrap_or(1) / heads.max(1)).max(1);
        let norm = |row: &[f64]| row.iter().map(|v| v * v).sum::<f64>().sqrt();
        tensor.to_floats().chunks(size).map(norm).filter(|n| n.is_finite()).fold(0.0, f64::max)
    };
    let size = q.sizes().last().copied().unwrap_or(1) / heads(q, op.query_heads).max(1);
    let scale = op.scale.unwrap_or_else(|| 1.0 / (size.max(1) as f64).sqrt());
    8.0 * 2f64.powi(-24) * longest(q, heads(q, op.query_heads)) * longest(k, heads(k, op.key_heads)) * scale
}

/// The error bound of attention whose weights are rounded to the type of its operands, relative to the largest result: half a
/// unit of `p |v|`, which is the attention of the absolute values.
pub(crate) fn weight_error(body: &Body, operands: &[Option<Value>], expected: &[Value]) -> f64 {
    /// Positions of values and past values.
    const VALUES: [usize; 2] = [2, 5];
    let ([node], Some(y)) = (body.nodes(), expected.first().and_then(Value::as_tensor)) else { return 0.0 };
    let (Op::Attention(_), largest) = (&node.op, Floats::of(y).largest()) else { return 0.0 };
    let absolute = |(index, value): (usize, &Option<Value>)| {
        let tensor = value.as_ref().and_then(Value::as_tensor).filter(|_| VALUES.contains(&index));
        let Some(tensor) = tensor else { return value.clone() };
        let numbers: Vec<f64> = tensor.to_floats().into_iter().map(f64::abs).collect();
        Tensor::from_floats(tensor.data_type(), tensor.sizes(), &numbers).ok().map(Value::from)
    };
    let operands: Vec<Option<Value>> = operands.iter().enumerate().map(absolute).collect();
    let terms = FastEvaluator.evaluate(&node.op, &Arguments::new(&operands), &EvalContext::new(&FastEvaluator));
    let terms = terms.ok().and_then(|results| results.first()?.as_tensor().map(|terms| Floats::of(terms).largest()));
    if largest > 0.0 { rounding_of(y.data_type()) / 2.0 * terms.unwrap_or(0.0) / largest } else { 0.0 }
}

/// The difference that even tiny numbers may have: the smallest number of a type whose subnormal numbers kernels keep.
fn least(data_type: DataType) -> f64 {
    match data_type {
        DataType::F16 => 2f64.powi(-24),
        DataType::Bf16 => 2f64.powi(-133),
        _ => 1e-30,
    }
}

/// Compares by the table; `wider` is added to the relative bound of floats, which may differ by one more step of this
/// `rounding`. A kernel that only moves elements must keep them exactly.
pub(crate) fn agree(found: &Value, expected: &Value, rule: Rule, wider: f64, rounding: f64) -> Result<(), String> {
    let Some(tensor) = expected.as_tensor() else {
        return compare(found, expected, Tolerance::ONNX).map_err(|e| e.to_string());
    };
    let data_type = tensor.data_type();
    if rule == Rule::Moved {
        return compare(found, expected, Tolerance::EXACT).map_err(|e| e.to_string());
    }
    if data_type.is_float() {
        let largest = Floats::of(tensor).largest();
        let tolerance = Tolerance { relative: 2e-4 + wider, absolute: (3e-5 + wider) * largest + least(data_type) };
        let Err(error) = compare(found, expected, tolerance) else { return Ok(()) };
        let coarser = Tolerance { relative: tolerance.relative + rounding, ..tolerance };
        let are_few = |wrong: usize| rounding <= unit(DataType::Bf16) || wrong <= few(tensor.count());
        return match &error {
            Disagreement::Elements { count, .. } if rounding > 0.0 && are_few(*count) => {
                compare(found, expected, coarser)
            }
            _ => Err(error),
        }
        .map_err(|e| e.to_string());
    }
    let exact = compare(found, expected, Tolerance::EXACT).map_err(|e| e.to_string());
    let is_number = data_type != DataType::String && data_type != DataType::Bool;
    match rule {
        Rule::Quantized if is_number => {
            let one = Tolerance { relative: 0.0, absolute: 1.0 };
            compare(found, expected, one).map_err(|e| e.to_string())
        }
        Rule::Float | Rule::OnlyQuantized if exact.is_err() && data_type != DataType::String => {
            let Some(found) = found.as_tensor().filter(|f| f.sizes() == tensor.sizes()) else { return exact };
            let differs = found.to_ints().into_iter().zip(tensor.to_ints()).filter(|(a, b)| a != b);
            let (mut count, mut worst) = (0usize, 0);
            for (a, b) in differs {
                count += 1;
                worst = worst.max(a.abs_diff(b));
            }
            if worst <= 1 && count * 1000 <= tensor.count() { Ok(()) } else { exact }
        }
        _ => exact,
    }
}

#[cfg(test)]
mod tests {
    use sinter_base::ValueType;
    use sinter_ops::InferContext;
    use sinter_ops::attention::Attention;

    use super::*;

    #[test]
    fn rounded_weights_err_by_half_a_unit_of_their_terms() {
        let mut body = Body::new();
        let ty = |length: i64| ValueType::tensor(DataType::F16, [1, 1, length, 1].map(Into::into).to_vec());
        let inputs = [1, 2, 2].map(|length| Some(body.add_input(ty(length))));
        let results = body.add(Attention::default().into(), &inputs, &mut InferContext::default()).expect("attention");
        body.set_outputs(results[..1].to_vec());
        let tensor = |values: &[f64]| {
            let tensor = Tensor::from_floats(DataType::F16, &[1, 1, values.len(), 1], values).expect("a tensor");
            Some(Value::from(tensor))
        };
        // Equal weights of 3 and -1: the result is 1, the terms are 1.5 and -0.5.
        let operands = [tensor(&[0.0]), tensor(&[5.0, 7.0]), tensor(&[3.0, -1.0])];
        let expected = [tensor(&[1.0]).expect("a result")];
        assert_eq!(weight_error(&body, &operands, &expected), 2f64.powi(-11) * 2.0);
        assert_eq!(weight_error(&Body::new(), &operands, &expected), 0.0);
    }
}
