//! Checks that aliases lie where the operators of the plan say.
//!
//! An alias lies in an input or in a value of the arena, for one of two reasons. A slice or reshape is an alias of its
//! operand. A kernel's result may be written into the result of a concatenation or reshape: such an alias is an operand of
//! an aliased concatenation or reshape, whose result is the base buffer or again such an operand. Sizes and known contents determine the
//! rows, which must equal those that the registers of the alias compute. The runtime checks besides, whenever it places
//! buffers, that aliases lie inside of their base buffer.

use sinter_backend::Region;
use sinter_base::Dim;
use sinter_ops::Op;
use sinter_ops::axes::axis_of;

use crate::aliasing::{Rows, SymbolicAlias, product, taken};
use crate::error::PlanError;
use crate::plan::{Action, Graph, PlanValueId, Step, Storage};
use crate::shape_program::Register;

/// Checks all aliases of a graph; `sizes` are the dimensions that the registers of the plan compute.
///
/// # Errors
/// The first alias that is not allowed.
pub(crate) fn check(graph: &Graph, sizes: &[Option<Dim>], is_outermost: bool) -> Result<(), PlanError> {
    let wrong = |id: PlanValueId, reason: &str| Err(PlanError::damaged(format!("{id}: {reason}")));
    let storage = |id: PlanValueId| graph.values.get(id.index()).map(|value| &value.storage);
    for (position, value) in graph.values.iter().enumerate() {
        let Storage::Alias(alias) = &value.storage else { continue };
        let id = PlanValueId::new(position);
        let base = graph.values.get(alias.base.index());
        let Some(base) = base.filter(|base| base.sizes.is_some() && is_outermost) else {
            return wrong(id, "an alias of a value of dynamic sizes, or inside of control flow");
        };
        if !matches!(base.storage, Storage::Arena(_) | Storage::Input) || base.ty.data_type() != value.ty.data_type() {
            return wrong(id, "an alias of an alias, a weight, or a value of another element type");
        }
        if base.place != value.place {
            return wrong(id, "an alias of a value on another device");
        }
    }
    // Operands of aliased concatenations and reshapes that lead to the base buffer.
    let mut is_joined = vec![false; graph.values.len()];
    let aliases = Aliases { graph, sizes };
    for step in graph.steps.iter().rev() {
        match &step.action {
            Action::Alias { region } => aliases.check_step(step, region, &mut is_joined)?,
            Action::Launch(_) | Action::Control { .. } | Action::Copy | Action::Sync => {
                let is_lost = |id: &&PlanValueId| {
                    matches!(storage(**id), Some(Storage::Alias(_))) && is_joined.get(id.index()) != Some(&true)
                };
                if let Some(id) = step.outputs.iter().find(is_lost) {
                    return wrong(*id, "written into a value of which it is not an operand");
                }
            }
        }
    }
    Ok(())
}

struct Aliases<'a> {
    graph: &'a Graph,
    sizes: &'a [Option<Dim>],
}

impl Aliases<'_> {
    fn dims(&self, id: PlanValueId) -> Option<&[Dim]> {
        self.graph.values.get(id.index())?.ty.as_tensor()?.dims().ok()
    }

    /// Where a value lies, by the registers of the plan.
    fn place(&self, id: PlanValueId) -> Option<SymbolicAlias> {
        let dims = self.dims(id)?;
        let Storage::Alias(alias) = &self.graph.values.get(id.index())?.storage else {
            return Some(SymbolicAlias { base: id, rows: Rows::along(0, &Dim::constant(0), dims, dims) });
        };
        let of = |register: Register| usize::try_from(register.0).ok().and_then(|at| self.sizes.get(at))?.clone();
        let rows = Rows { offset: of(alias.offset)?, inner: of(alias.inner)?, step: of(alias.step)? };
        Some(SymbolicAlias { base: alias.base, rows })
    }

    /// Is a value the alias of another one that begins at `start` of an axis?
    fn is_alias(&self, id: PlanValueId, of: PlanValueId, axis: usize, start: &Dim) -> Option<bool> {
        let (own, base) = (self.dims(id)?, self.dims(of)?);
        let count = product(own);
        let expected = self.place(of)?.alias(&product(base), &Rows::along(axis, start, own, base), &count)?;
        Some(self.place(id)?.is_like(&expected, &count))
    }

    /// A step without work: its operands and results must already lie in place.
    fn check_step(&self, step: &Step, region: &Region, is_joined: &mut [bool]) -> Result<(), PlanError> {
        let wrong = |reason: &str| {
            Err(PlanError::damaged(format!("the step of {} does nothing, but {reason}", step.origins.join(", "))))
        };
        let graph = self.graph;
        let [result] = step.outputs.as_slice() else { return wrong("has several results") };
        let base = graph.base(*result);
        let is_alias =
            |id: PlanValueId| matches!(graph.values.get(id.index()).map(|v| &v.storage), Some(Storage::Alias(_)));
        let Some(dims) = self.dims(*result) else { return wrong("its result has no sizes") };
        let leads_there = base == *result || is_joined.get(result.index()) == Some(&true);
        match region.only().map(|node| &node.op) {
            Some(Op::Concat(op)) => {
                let Ok(axis) = axis_of(op.axis, dims.len()) else { return wrong("its axis does not exist") };
                let mut start = Dim::constant(0);
                for operand in &step.inputs {
                    let Some(operand) = operand.filter(|id| is_alias(*id) && graph.base(*id) == base) else {
                        return wrong("an operand lies elsewhere");
                    };
                    let size = self.dims(operand).and_then(|dims| dims.get(axis));
                    let (Some(size), Some(true)) = (size, self.is_alias(operand, *result, axis, &start)) else {
                        return wrong("an operand lies at another place of its result");
                    };
                    start = start.add(size);
                    if let Some(slot) = is_joined.get_mut(operand.index()).filter(|_| leads_there) {
                        *slot = true;
                    }
                }
            }
            Some(Op::Slice(_)) => {
                let Some(operand) = step.inputs.first().copied().flatten().filter(|_| is_alias(*result)) else {
                    return wrong("its result lies elsewhere");
                };
                let (axis, start) = match taken(region, self.dims(operand).unwrap_or_default(), dims) {
                    Ok(taken) => taken,
                    Err(reason) => return wrong(&reason),
                };
                if self.is_alias(*result, operand, axis, &start) != Some(true) {
                    return wrong("its result lies at another place of its operand");
                }
            }
            Some(Op::Reshape(_) | Op::Squeeze(_) | Op::Unsqueeze(_)) => {
                let operand = step.inputs.first().copied().flatten();
                let Some(operand) = operand.filter(|id| is_alias(*result) || is_alias(*id)) else {
                    return wrong("its result lies elsewhere");
                };
                // The order of elements stays, so both are the same rows.
                let places = self.place(operand).zip(self.place(*result));
                if !places.is_some_and(|(own, place)| own.is_like(&place, &product(dims))) {
                    return wrong("its result lies at another place than its operand");
                }
                if let Some(slot) = is_joined.get_mut(operand.index()).filter(|_| leads_there && is_alias(operand)) {
                    *slot = true;
                }
            }
            _ => return wrong("its operator moves elements"),
        }
        Ok(())
    }
}
