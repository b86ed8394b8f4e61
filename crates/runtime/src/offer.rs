//! Compares the plan's properties of a kernel with the candidates that the tactic offers for the region.
//!
//! The properties are: which operands are packed, which results may reuse the memory of an operand, and the bytes of scratch
//! memory. A kernel relies on all three, and a plan may come from an untrusted source.

use sinter_backend::{Candidate, KernelError, Numerics, Problem, Sizing, Tactic, Target};
use sinter_base::{Dim, Truth};
use sinter_plan::{Graph, PlanValueId, Register, Step, Storage, Variant};

/// Checks a kernel of a step of a graph; `sizes` are the expressions that the registers of the plan compute. Returns the
/// candidate of the kernel's recipe, where the tactic still offers it.
///
/// # Errors
/// The property that the tactic does not offer.
pub(crate) fn check(
    tactic: &dyn Tactic,
    graph: &Graph,
    (step, variant): (&Step, &Variant),
    sizes: &[Option<Dim>],
    target: &Target,
) -> Result<Option<Candidate>, KernelError> {
    let Some(region) = step.region() else { return Ok(None) };
    let Variant { recipe, packed, workspace, .. } = variant;
    let wrong = |what: String| Err(KernelError::Recipe(format!("the plan is damaged: {what}")));
    let storage = |id: &PlanValueId| graph.values.get(id.index()).map(|value| &value.storage);
    let is_weight =
        |id: &Option<PlanValueId>| id.as_ref().and_then(storage).is_some_and(|h| matches!(h, Storage::Weight(_)));
    let weights = step.inputs.iter().enumerate().filter(|(_, id)| is_weight(id)).map(|(position, _)| position);
    let (region, sizing) = (region.clone().with_constants(weights.collect()), Sizing::default());
    let problem = Problem { region: &region, target, sizing: &sizing };
    let offered = tactic.offer(&problem, usize::MAX).unwrap_or_default();
    let plain = Candidate::plain(tactic, Numerics::Exact, 0.0);
    let known = offered.iter().find(|candidate| candidate.recipe == *recipe);
    let candidate = known.unwrap_or(&plain);
    if candidate.packed != *packed {
        return wrong(format!("operands {packed:?} are packed, the kernel wants {:?}", candidate.packed));
    }
    if let Some((operand, result)) = step.in_place().iter().find(|pair| !candidate.in_place.contains(pair)) {
        return wrong(format!("the kernel cannot put result {result} where operand {operand} lies"));
    }
    let computed = |register: Register| usize::try_from(register.0).ok().and_then(|at| sizes.get(at))?.clone();
    let bytes = workspace.map_or(Some(Dim::constant(0)), computed);
    // Sizes that only a run knows have no register; the kernel reads the sizes of its arguments.
    let is_open = workspace.is_none() && !step.outputs.iter().all(|id| graph.is_in_arena(*id));
    if !is_open && bytes.is_none_or(|bytes| candidate.workspace.less_or_equal(&bytes) != Truth::Yes) {
        return wrong(format!("the kernel needs {} bytes of scratch memory, and has less", candidate.workspace));
    }
    Ok(known.cloned())
}
