//! The parity gate: a plan is held against the judge before anyone sees it.
//!
//! Four questions. *Do the passes keep the meaning?* The judge runs the network as imported and after the passes, on the same
//! inputs, whose open sizes differ where they may, and with control flow on others as well. What changes an output is left
//! out. *Does every kernel compute its region?* Each step of the plan is given the judge's values for its operands, so that an
//! error shows where it is made and nowhere else, and once for each kind of region fresh ones (`fresh.rs`), there also at other
//! sizes where sizes are open, in memory of its own and as the plan places it; its results are compared with the
//! region's own meaning. A kernel that fails is dropped by name for that region, and the build goes on with what is left.
//! *Are the regions together the network?* What they make of each other's values, by their meaning, is what the network
//! makes, bit by bit (`trace.rs`). *Does the plan as a whole run as its steps do?* (`whole.rs`)
//!
//! Where an operator quantizes, selects or draws at random, the last bit may decide. What stands in front of it is held to
//! its bound like anything else, and the operator itself is verified on given operands; passes are held to the bounds of
//! what is behind it with the decisions of the network as imported (`forced.rs`).
//!
//! What may differ, and why (u is the rounding unit of the element type):
//!
//! | results | rule | derivation |
//! |---|---|---|
//! | floats | `abs(a - b) <= 3e-5 max(abs(b)) + 2e-4 abs(b)`, wider for f16 and bf16 | sums of up to 1e5 products in any order err by less than `sqrt(n) u max` in practice |
//! | products of f32 | the same per channel, or `3e-5 (abs(A) abs(B))` per element | see [`products`] |
//! | attention | the same, and relative `8 u max(abs(q)) max(abs(k)) scale` | scores err by their own rounding, which the exponential makes relative |
//! | what a kernel moves that says so (`Numerics::Exact`) | equal | nothing is computed |
//! | quantized integers | one step | the scale division may fall on either side of a tie |
//! | those of a quantization alone | one step in a thousandth of the elements | the quotients are the same |
//! | integers computed from floats | one step in a thousandth of the elements | the same, where a rounding meets a discontinuity |
//! | floats with a narrower type on the way | one step of that type further; of types coarser than bf16 one in 32 elements | the sum in front of the rounding errs |
//! | all else | equal | |
//!
//! What one of these rules refuses passes where rounding explains it: the judge runs the region a few times with every
//! float moved by some units in the last place, and the difference is at most twice what that does to the element (see
//! [`sensitivity`]). Kernels that only move elements have no rounding to plead. NaN and infinities agree with themselves
//! alone, unless numbers are so large that f32 may overflow where the judge, in float64, does not: then nothing is known.

mod answers;
mod bodies;
mod discrete;
mod effects;
mod forced;
mod fresh;
mod kernel_test;
mod overflow;
mod placed;
mod points;
mod probes;
mod products;
pub(crate) mod required_sizes;
mod rules;
mod sensitivity;
pub(crate) mod steps;
pub mod synthetic;
pub(crate) mod trace;
pub(crate) mod whole;

use std::collections::HashMap;

use sinter_backend::Region;
use sinter_base::{DataType, Value, ValueType};
use sinter_interp::FastEvaluator;
use sinter_ir::Network;
use sinter_ops::{Body, EvalContext, Evaluator, InferContext, Memory, Operands, infer};
pub use sinter_plan::report::{Dropped, Unverified, Verification};
use sinter_plan::{Plan, SelfTest, SelfTestInput, SelfTestOutput, SelfTestVector};

use crate::choose::tuning_database::TuningDatabase;
pub(crate) use crate::verify::answers::{Answers, answers};
use crate::verify::effects::same_effects;
use crate::verify::rules::{Rule, agree};
pub(crate) use crate::verify::steps::Failure;
use crate::verify::trace::Trace;

/// What the user wants to be verified with.
#[derive(Clone, Debug, Default)]
pub enum Verify {
    /// Inputs that are made up.
    #[default]
    Generated,
    /// These inputs, by name.
    Given(HashMap<String, Value>),
    /// Nothing is verified.
    Off,
}

/// Operators that the judge runs at most, those in loops counted every time: some seconds of small ones.
const MOST_STEPS: u64 = 1 << 20;
/// And where it was known not to come to the end.
const FEW_STEPS: u64 = 1 << 16;
/// Inputs of at most this many bytes in all are self_test into the plan.
const MAX_SEALED: usize = 1 << 20;

/// Effects and outputs of the network after the passes, which the trace is of, against those before.
///
/// # Errors
/// The first difference.
pub(crate) fn keeps_meaning(
    imported: &Network,
    network: &Network,
    answers: &Answers,
    trace: &Trace,
) -> Result<(), String> {
    same_effects(imported, network)?;
    if answers.unfinished.is_some() {
        return Ok(());
    }
    same_meaning(imported, network, answers, trace.outputs.as_ref().map_err(Clone::clone)?)?;
    let Some(again) = &answers.again else { return Ok(()) };
    same_meaning(imported, network, again, &again.run(network, &FastEvaluator)?)
}

/// The network's outputs after the passes against those before.
///
/// # Errors
/// The first output that differs.
fn same_meaning(imported: &Network, network: &Network, answers: &Answers, outputs: &[Value]) -> Result<(), String> {
    let mut depends = None;
    for (at, (port, found)) in network.outputs.iter().zip(outputs).enumerate() {
        let Some(expected) = answers.outputs.get(at) else { continue };
        let Err(reason) = agree(found, expected, Rule::Float, 0.0, 0.0) else { continue };
        let depends = depends.get_or_insert_with(|| whole::dependent_outputs(imported));
        let is_explained = match depends.get(at) {
            Some(true) => decides_alike(imported, network, answers, at),
            _ => sensitivity::explains(imported, answers, at, found),
        };
        if !is_explained {
            return Err(format!("output '{}': {reason}", port.name));
        }
    }
    Ok(())
}

/// Does an output behind discrete operators agree where these decide as they did? Where a pass moved one, so that it
/// meets other operands and decides anew, as far as rounding may change what it decides.
fn decides_alike(imported: &Network, network: &Network, answers: &Answers, at: usize) -> bool {
    let (Some(forced), Some(expected)) = (answers.forced(imported), answers.outputs.get(at)) else { return false };
    let Ok(outputs) = answers.run(network, forced) else { return false };
    let Some(found) = outputs.get(at) else { return false };
    let is_complete = forced.is_complete();
    agree(found, expected, Rule::Float, 0.0, 0.0).is_ok()
        || sensitivity::explains_forced(imported, answers, forced, at, found)
        || !is_complete && sensitivity::explains(imported, answers, at, found)
}

/// 64 random bits: splitmix64 (Steele, Lea, Flood 2014) at a position of a stream.
fn random_bits(stream: u64, index: u64) -> u64 {
    let mut z = (stream << 48 ^ index).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// An evenly distributed number of variance 1.
fn unit_variance(stream: u64, index: u64) -> f64 {
    let unit = (random_bits(stream, index) >> 11) as f64 / (1u64 << 53) as f64;
    (2.0 * unit - 1.0) * 3f64.sqrt()
}

/// The region with all types concrete.
pub(crate) fn at_sizes(region: &Region, types: &[ValueType]) -> Option<Region> {
    let old = region.body();
    let mut body = Body::new();
    let mut map = HashMap::new();
    for (id, ty) in old.inputs().iter().zip(types) {
        map.insert(*id, body.add_input(ty.clone()));
    }
    for node in old.nodes() {
        let inputs: Vec<_> = node.inputs.iter().map(|id| id.and_then(|id| map.get(&id).copied())).collect();
        let results = {
            let operands: Vec<Option<&ValueType>> = inputs.iter().map(|id| id.map(|id| body.ty(id))).collect();
            infer(&node.op, &Operands::new(&operands), &mut InferContext::default()).ok()?
        };
        let outputs = body.add_typed(node.op.clone(), &inputs, results);
        map.extend(node.outputs.iter().copied().zip(outputs));
    }
    body.set_outputs(old.outputs().iter().map(|id| map.get(id).copied()).collect::<Option<Vec<_>>>()?);
    Some(Region::new(body))
}

/// A region's own meaning.
fn evaluate(body: &Body, operands: &[Option<Value>], memory: Memory) -> Result<Vec<Value>, String> {
    // A single operator's operands that are left out are no inputs of the body.
    let given = operands.iter().filter(|value| value.is_some()).cloned().collect();
    body.evaluate(given, &judge(&FastEvaluator, memory)).map_err(|e| e.to_string())
}

/// Where the judge computes.
fn judge(evaluator: &dyn Evaluator, memory: Memory) -> EvalContext<'_> {
    EvalContext { memory, ..EvalContext::new(evaluator) }
}

/// Known answers that travel with the plan.
pub(crate) fn self_test_of(plan: &Plan, network: &Network, answers: &Answers) -> Option<SelfTest> {
    let mut inputs = Vec::new();
    let mut bytes = 0;
    for port in &plan.inputs {
        let default = || network.inputs.iter().find(|i| i.name == port.name)?.default.clone().map(Value::Tensor);
        let value = answers.inputs.get(&port.name).cloned().or_else(default)?;
        let tensor = value.as_tensor().filter(|t| t.data_type() != DataType::String)?.clone();
        bytes += tensor.bytes().len();
        inputs.push(SelfTestInput::Stored(tensor));
    }
    let bounds = whole::bounds(network);
    let outputs = answers.outputs.iter().zip(bounds);
    let outputs: Option<Vec<SelfTestOutput>> =
        outputs.map(|(output, bound)| SelfTestOutput::of(output.as_tensor()?, bound)).collect();
    (bytes <= MAX_SEALED).then(|| Some(SelfTest { vectors: vec![SelfTestVector { inputs, outputs: outputs? }] }))?
}

/// Drops what failed; false when there is nothing to drop.
pub(crate) fn ban(failures: Vec<Failure>, database: &mut TuningDatabase, found: &mut Verification) -> bool {
    let any = !failures.is_empty();
    for failure in failures {
        database.ban(&failure.recipe, &failure.region);
        found.dropped.push(failure.dropped);
    }
    any
}
