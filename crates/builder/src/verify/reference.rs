//! The reference executor as verification uses it: its inputs, limits and random numbers.

use std::collections::HashMap;

use sinter_base::Value;
use sinter_interp::FastEvaluator;
use sinter_ops::{Body, EvalContext, Evaluator, Memory};

/// The inputs of verification.
#[derive(Clone, Debug, Default)]
pub enum Verify {
    /// Synthetic inputs.
    #[default]
    Generated,
    /// These inputs, by name.
    Given(HashMap<String, Value>),
    /// No verification.
    Off,
}

/// Limit on the operators that the reference executor runs, each iteration of a loop counted: some seconds of small
/// ones.
pub(crate) const MOST_STEPS: u64 = 1 << 20;
/// The limit where an earlier run did not finish.
pub(crate) const FEW_STEPS: u64 = 1 << 16;

/// 64 random bits: splitmix64 (Steele, Lea, Flood 2014) at a position of a stream.
pub(crate) fn random_bits(stream: u64, index: u64) -> u64 {
    let mut z = (stream << 48 ^ index).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// An evenly distributed number of variance 1.
pub(crate) fn unit_variance(stream: u64, index: u64) -> f64 {
    let unit = (random_bits(stream, index) >> 11) as f64 / (1u64 << 53) as f64;
    (2.0 * unit - 1.0) * 3f64.sqrt()
}

/// The meaning of a region.
pub(crate) fn evaluate(body: &Body, operands: &[Option<Value>], memory: Memory) -> Result<Vec<Value>, String> {
    // The body has no inputs for operands that a single operator leaves out.
    let given = operands.iter().filter(|value| value.is_some()).cloned().collect();
    body.evaluate(given, &reference_context(&FastEvaluator, memory)).map_err(|e| e.to_string())
}

/// An evaluation context for the reference executor.
pub(crate) fn reference_context(evaluator: &dyn Evaluator, memory: Memory) -> EvalContext<'_> {
    EvalContext { memory, ..EvalContext::new(evaluator) }
}
