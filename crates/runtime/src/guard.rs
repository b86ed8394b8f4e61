//! Guards: conditions on sizes that the builder could not decide.

use sinter_plan::{Plan, PlanGuard, Register, SizeRange};

use crate::error::RuntimeError;

/// Checks guards of a plan for these sizes.
///
/// # Errors
/// The first guard that does not hold; where it bounds a size of an input, the input and the sizes that it may have.
pub(crate) fn check<'a>(
    plan: &Plan,
    guards: impl IntoIterator<Item = &'a PlanGuard>,
    registers: &[i64],
) -> Result<(), RuntimeError> {
    let read = |r: Register| usize::try_from(r.0).ok().and_then(|i| registers.get(i)).copied().unwrap_or(0);
    for guard in guards {
        let (left, right) = (read(guard.left), read(guard.right));
        if left != right {
            let sizes = || RuntimeError::Sizes { reason: guard.reason.clone(), left, right };
            return Err(out_of_range(plan, guard, &read).unwrap_or_else(sizes));
        }
    }
    Ok(())
}

fn out_of_range(plan: &Plan, guard: &PlanGuard, read: &dyn Fn(Register) -> i64) -> Option<RuntimeError> {
    let SizeRange { symbol, .. } = guard.range(&plan.shapes)?;
    let range = plan.ranges().into_iter().find(|range| range.symbol == symbol)?;
    let size = read(plan.shapes.symbol(&symbol)?);
    plan.inputs.iter().find_map(|port| {
        let dims = plan.graph.values.get(port.value.index())?.ty.as_tensor()?.dims().ok()?;
        let axis = dims.iter().position(|dim| dim.as_symbol() == Some(&symbol))?;
        Some(RuntimeError::Range { input: port.name.clone(), axis, size, range: range.clone() })
    })
}
