//! Verification: the build compares a plan with the reference executor (module `interp`, called the judge there) before
//! it returns it.
//!
//! Verification answers four questions. *Do the passes keep the meaning?* The reference executor runs the network as
//! imported and after the passes, on the same inputs, whose dynamic sizes differ where they may, and with control flow
//! on other inputs as well. The build disables a pass that changes an output. *Does every kernel compute its region?*
//! Each step of the plan runs on the reference executor's values for its operands, so that an error shows in the step
//! that makes it and nowhere else, and once for each kind of region on random ones (`fresh.rs`), also at other sizes
//! where sizes are dynamic, in buffers of its own and as the plan places them. The results are compared with the
//! region's own meaning. The build drops a kernel that fails for that region, by name, and continues with the remaining
//! ones. *Are the regions together the network?* The meanings of the regions, applied to each other's values, give the
//! values of the network, bit by bit (`trace.rs`). *Does the plan as a whole run as its steps do?* (`whole.rs`)
//!
//! Where an operator quantizes, selects or draws at random, the last bit may decide. Its operands must meet their bound
//! like any other value, and the operator itself is verified on given operands; passes must meet the bounds of values
//! behind it with the decisions of the imported network (`forced.rs`).
//!
//! Permitted differences, with derivations (u is the rounding unit of the element type):
//!
//! | results | rule | derivation |
//! |---|---|---|
//! | floats | `abs(a - b) <= 3e-5 max(abs(b)) + 2e-4 abs(b)`, wider for f16 and bf16 | sums of up to 1e5 products in any order err by less than `sqrt(n) u max` in practice |
//! | products of f32 | the same per channel, or `3e-5 (abs(A) abs(B))` per element | see [`products`] |
//! | attention | the same, and relative `8 u max(abs(q)) max(abs(k)) scale` | scores err by their own rounding, which the exponential makes relative |
//! | attention whose weights are rounded to 16 bits (`Numerics::Narrowed`) | the same, and absolute `u max(p abs(v))` | each term errs by the rounding of its weight p |
//! | results of a kernel that only moves elements (`Numerics::Exact`) | equal | nothing is computed |
//! | quantized integers | one step | the scale division may fall on either side of a tie |
//! | results of a quantization alone | one step in a thousandth of the elements | the quotients are the same |
//! | integers computed from floats | one step in a thousandth of the elements | the same, where a rounding meets a discontinuity |
//! | floats with a narrower type on the way | one step of that type further; of types coarser than bf16 one in 32 elements | the sum in front of the rounding errs |
//! | all else | equal | |
//!
//! A difference that violates one of these rules is accepted where rounding explains it: the reference executor runs
//! the region a few times with every float perturbed by some units in the last place, and the difference is at most
//! twice the effect on the element (see [`sensitivity`]). Kernels that only move elements do not round. NaN and
//! infinities agree with themselves alone, unless numbers are so large that f32 may overflow where the reference
//! executor, in float64, does not: then the result is unknown.

mod answers;
mod bodies;
mod discrete;
mod effects;
mod forced;
mod fresh;
mod kernel_test;
mod noise;
mod overflow;
mod placed;
mod points;
mod probes;
mod products;
mod reference;
pub(crate) mod required_sizes;
mod rules;
pub(crate) mod sensitivity;
pub(crate) mod steps;
pub mod synthetic;
pub(crate) mod trace;
pub(crate) mod whole;

use sinter_base::{DataType, Value};
use sinter_interp::FastEvaluator;
use sinter_ir::Network;
pub use sinter_plan::report::{Dropped, Unverified, Verification};
use sinter_plan::{Plan, SelfTest, SelfTestInput, SelfTestOutput, SelfTestVector};

use crate::choose::tuning_database::Failure;
use crate::choose::tuning_database::TuningDatabase;
pub(crate) use crate::verify::answers::{Answers, answers};
use crate::verify::effects::same_effects;
pub use crate::verify::reference::Verify;
use crate::verify::rules::{Rule, agree};
use crate::verify::trace::Trace;

/// Inputs of at most this many bytes in all are stored in the self-test vectors of the plan.
const MAX_SELF_TEST_BYTES: usize = 1 << 20;

/// Compares effects and outputs of the network after the passes, whose trace is given, with those before.
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

/// Compares the network's outputs after the passes with those before.
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

/// Does an output behind discrete operators agree if these repeat their decisions? Where a pass moved one, so that it
/// has other operands and decides anew, rounding may change its decision.
fn decides_alike(imported: &Network, network: &Network, answers: &Answers, at: usize) -> bool {
    let (Some(forced), Some(expected)) = (answers.forced(imported), answers.outputs.get(at)) else { return false };
    let Ok(outputs) = answers.run(network, forced) else { return false };
    let Some(found) = outputs.get(at) else { return false };
    let is_complete = forced.is_complete();
    agree(found, expected, Rule::Float, 0.0, 0.0).is_ok()
        || sensitivity::explains_forced(imported, answers, forced, at, found)
        || !is_complete && sensitivity::explains(imported, answers, at, found)
}

/// Self-test vectors that travel with the plan.
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
    (bytes <= MAX_SELF_TEST_BYTES)
        .then(|| Some(SelfTest { vectors: vec![SelfTestVector { inputs, outputs: outputs? }] }))?
}

/// Bans failed kernels; false when there are none.
pub(crate) fn ban(failures: Vec<Failure>, database: &mut TuningDatabase, found: &mut Verification) -> bool {
    let any = !failures.is_empty();
    for failure in failures {
        database.ban(&failure.recipe, &failure.region);
        found.dropped.push(failure.dropped);
    }
    any
}
