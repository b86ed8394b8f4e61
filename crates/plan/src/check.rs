//! What a plan must be so that it can be run without surprises, whoever wrote it.
//!
//! Kernels trust the sizes of the memory that they are given. So the reader proves, for every value whose sizes are
//! known before the run: its registers compute its dimensions (the shape program is run on symbols), a step's operands
//! are what its region says, its results are what the region's operators infer, and every open question of that
//! inference is a guard of the plan. Everything else is inferred at run time.

use sinter_backend::Region;
use sinter_base::{DataType, Dim, TensorType, ValueType};
use sinter_ops::{InferContext, ValueId};

use crate::error::PlanError;
use crate::parts;
use crate::plan::{Action, Graph, Home, Plan, PlanValue, PlanValueId, PlanWeight, Step};
use crate::shape_program::{Register, ShapeProgram};

type Checked = Result<(), PlanError>;

/// What is known while graphs are checked.
struct Checker<'a> {
    plan: &'a Plan,
    /// What each register computes; `None` for what has no dimension, such as a division by zero.
    dims: Vec<Option<Dim>>,
    guards: Vec<(Dim, Dim)>,
}

/// Checks what decoding left open.
pub(crate) fn check(plan: &Plan) -> Checked {
    let dims = symbolic_registers(&plan.shapes);
    let dim = |register: Register| usize::try_from(register.0).ok().and_then(|at| dims.get(at)).cloned().flatten();
    let guards = plan.guards.iter().filter_map(|guard| Some((dim(guard.left)?, dim(guard.right)?))).collect();
    let checker = Checker { plan, dims, guards };
    checker.ports()?;
    checker.graph(&plan.graph, true)?;
    checker.sealed()
}

/// Factors and constants that all registers together may have, and how deep they may be nested. Sizes that inference
/// follows are far smaller; a guard puts a few of them together. A file can say more in few bytes: each square doubles.
const MOST_NODES: u64 = 1 << 23;
const MOST_DEPTH: usize = 256;

/// The shape program run on symbols; what grows too large has no dimension.
fn symbolic_registers(program: &ShapeProgram) -> Vec<Option<Dim>> {
    let constants = program.constants().iter().map(|value| Some(Dim::constant(*value)));
    let mut dims: Vec<Option<Dim>> =
        constants.chain(program.symbols().iter().map(|name| Some(Dim::symbol(name)))).collect();
    let mut nodes_left = MOST_NODES;
    for (operation, a, b) in program.instructions() {
        let read =
            |register: &Register| usize::try_from(register.0).ok().and_then(|at| dims.get(at)).cloned().flatten();
        let result = read(a).zip(read(b)).and_then(|(a, b)| operation.of_dims(&a, &b));
        let result = result.filter(|dim| dim.depth() <= MOST_DEPTH && dim.nodes() <= nodes_left);
        nodes_left -= result.as_ref().map_or(0, Dim::nodes);
        dims.push(result);
    }
    dims
}

/// Same element type and shape, whatever is known of the contents.
fn same_shape(a: &TensorType, b: &TensorType) -> bool {
    a.data_type == b.data_type && a.shape == b.shape
}

fn same_type(a: &ValueType, b: &ValueType) -> bool {
    match (a.as_tensor(), b.as_tensor()) {
        (Some(a), Some(b)) => same_shape(a, b),
        _ => a == b,
    }
}

impl Checker<'_> {
    fn ports(&self) -> Checked {
        let graph = &self.plan.graph;
        for (position, port) in self.plan.inputs.iter().enumerate() {
            let home = graph.values.get(port.value.index()).map(|v| &v.home);
            let again = self.plan.inputs.iter().take(position).any(|p| p.value == port.value || p.name == port.name);
            if home != Some(&Home::Input) || again {
                return Err(PlanError::damaged(format!("input '{}' has no place of its own", port.name)));
            }
        }
        // What is no input of the plan would never be given.
        match graph.inputs.iter().find(|id| !self.plan.inputs.iter().any(|port| port.value == **id)) {
            Some(id) => Err(PlanError::damaged(format!("the input {id} has no name"))),
            None => Ok(()),
        }
    }

    fn sealed(&self) -> Checked {
        let (inputs, outputs) = (self.plan.inputs.len(), self.plan.outputs.len());
        let vectors = self.plan.sealed.iter().flat_map(|sealed| &sealed.vectors);
        match vectors.into_iter().find(|v| v.inputs.len() != inputs || v.outputs.len() != outputs) {
            Some(_) => Err(PlanError::damaged("a sealed vector has another number of inputs or outputs")),
            None => Ok(()),
        }
    }

    fn graph(&self, graph: &Graph, is_outermost: bool) -> Checked {
        for (position, value) in graph.values.iter().enumerate() {
            self.value(value, is_outermost)
                .map_err(|reason| PlanError::damaged(format!("{}: {reason}", PlanValueId::new(position))))?;
        }
        graph.steps.iter().try_for_each(|step| self.step(graph, step))?;
        parts::check(graph, is_outermost)?;
        self.buffers(graph, &graph.last_uses())
    }

    fn value(&self, value: &PlanValue, is_outermost: bool) -> Result<(), String> {
        if let Home::Weight(weight) = value.home {
            let tensor = self.plan.weights.get(weight.index()).map(PlanWeight::tensor);
            let ty = value.ty.as_tensor().zip(tensor);
            let fits = ty.is_some_and(|(ty, tensor)| {
                ty.data_type == tensor.data_type() && ty.shape.sizes().as_deref() == Some(tensor.sizes())
            });
            if !fits || !is_outermost {
                return Err(format!("weight {weight} is not of type {}", value.ty));
            }
        }
        let Some(sizes) = &value.sizes else { return Ok(()) };
        let Some(ty) = value.ty.as_tensor().filter(|ty| ty.data_type != DataType::String) else {
            return Err(format!("a value of type {} has no sizes", value.ty));
        };
        let dims = ty.dims().map_err(|e| e.to_string())?;
        let computed = |register: &Register| usize::try_from(register.0).ok().and_then(|at| self.dims.get(at));
        match dims.iter().zip(sizes).find(|(dim, register)| computed(register).and_then(Option::as_ref) != Some(*dim)) {
            Some((dim, _)) => Err(format!("its size {dim} is computed as something else")),
            None => Ok(()),
        }
    }

    fn step(&self, graph: &Graph, step: &Step) -> Checked {
        let wrong = |reason: String| PlanError::damaged(format!("the step of {}: {reason}", step.origins.join(", ")));
        let region = step.region();
        let body = region.body();
        let packed: &[usize] = match &step.action {
            Action::Kernel { packed, .. } => packed,
            Action::Placed { .. } | Action::Control { .. } => &[],
        };
        // The operands of a single operator are numbered by its inputs, of which weights that bodies capture are left out.
        let operands: Vec<Option<ValueId>> = match region.only() {
            Some(node) => node.inputs.to_vec(),
            None => body.inputs().iter().copied().map(Some).collect(),
        };
        for (position, (id, operand)) in step.inputs.iter().zip(operands).enumerate() {
            let Some((id, operand)) = id.as_ref().zip(operand) else { continue };
            let fits = graph.values.get(id.index()).is_some_and(|value| {
                let is_packed = packed.contains(&position) && matches!(value.home, Home::Weight(_));
                is_packed || same_type(&value.ty, body.ty(operand))
            });
            if !fits {
                return Err(wrong(format!("{id} is not of type {}", body.ty(operand))));
            }
        }
        let home = |id: &PlanValueId| graph.values.get(id.index()).map(|value| &value.home);
        let is_fixed = |id: &PlanValueId| matches!(home(id), Some(Home::Arena(_) | Home::Part(_)));
        if !step.outputs.iter().any(is_fixed) {
            return Ok(());
        }
        let known = |id: &PlanValueId| {
            let value = graph.values.get(id.index());
            value.is_some_and(|v| v.sizes.is_some() || matches!(v.home, Home::Weight(_)))
        };
        if !step.outputs.iter().all(is_fixed) || !step.inputs.iter().flatten().all(known) {
            return Err(wrong("some of its operands or results have sizes and some have none".to_owned()));
        }
        let inferred = self.inferred(region).map_err(wrong)?;
        for (id, ty) in step.outputs.iter().zip(&inferred) {
            let declared = graph.values.get(id.index()).map(|value| &value.ty);
            if !declared.is_some_and(|declared| self.same_or_guarded(declared, ty)) {
                return Err(wrong(format!("{id} is not of the inferred type {ty}")));
            }
        }
        Ok(())
    }

    fn is_guarded(&self, left: &Dim, right: &Dim) -> bool {
        self.guards.iter().any(|(a, b)| (a, b) == (left, right) || (b, a) == (left, right))
    }

    /// The same type, or sizes that differ only where a guard of the plan makes them equal.
    fn same_or_guarded(&self, declared: &ValueType, inferred: &ValueType) -> bool {
        let (Some(a), Some(b)) = (declared.as_tensor(), inferred.as_tensor()) else { return declared == inferred };
        let (Ok(from), Ok(to)) = (a.dims(), b.dims()) else { return false };
        let sizes = from.len() == to.len() && from.iter().zip(to).all(|(a, b)| a == b || self.is_guarded(a, b));
        a.data_type == b.data_type && sizes
    }

    /// Types of a region's results; what the inference leaves open must be a guard.
    fn inferred(&self, region: &Region) -> Result<Vec<ValueType>, String> {
        let mut cx = InferContext::default();
        let types = region.infer(&region.body().input_types(), &mut cx).map_err(|e| e.to_string())?;
        match cx.guards.iter().find(|guard| !self.is_guarded(&guard.left, &guard.right)) {
            Some(guard) => Err(format!("no guard checks {} against {}: {}", guard.left, guard.right, guard.reason)),
            None => Ok(types),
        }
    }

    /// No value may be overwritten while it or a part of it lives.
    fn buffers(&self, graph: &Graph, last_use: &[usize]) -> Checked {
        let mut owners: Vec<Option<PlanValueId>> = vec![None; graph.values.len()];
        for (position, step) in graph.steps.iter().enumerate() {
            let pairs = match &step.action {
                Action::Kernel { in_place, .. } => in_place.as_slice(),
                Action::Placed { .. } | Action::Control { .. } => &[],
            };
            for (result, id) in step.outputs.iter().enumerate() {
                let whole = graph.whole(*id);
                let Some(Home::Arena(buffer)) = graph.values.get(whole.index()).map(|v| &v.home) else { continue };
                let Some(slot) = owners.get_mut(buffer.index()) else {
                    return Err(PlanError::damaged(format!("there is no buffer {buffer}")));
                };
                if let Some(owner) = slot.filter(|owner| *owner != whole) {
                    let last = last_use.get(owner.index()).copied().unwrap_or(usize::MAX);
                    let takes = |pair: &&(usize, usize)| pair.1 == result && whole == *id;
                    let shares = pairs.iter().filter(takes).any(|(i, _)| step.inputs.get(*i) == Some(&Some(owner)));
                    let uses = step.inputs.iter().flatten().filter(|i| graph.whole(**i) == owner).count();
                    if last > position || last == position && !(shares && uses == 1) {
                        return Err(PlanError::damaged(format!("{id} overwrites {owner}, which is still needed")));
                    }
                }
                *slot = Some(whole);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape_program::Operation;

    #[test]
    fn programs_of_any_length_have_bounded_dimensions() {
        // Register 0 is 2, register 1 is N; each instruction takes the one before, and itself, N or 2.
        let program = |other: fn(u32) -> u32, operation: Operation| {
            let instruction = |at: u32| (operation, Register(at + 1), Register(other(at + 1)));
            let instructions: Vec<_> = (0..20_000).map(instruction).collect();
            ShapeProgram::from_parts(vec![2], vec!["N".to_owned()], instructions).unwrap()
        };
        for (other, operation) in [
            ((|own| own) as fn(u32) -> u32, Operation::Multiply),
            (|_| 1, Operation::Multiply),
            (|_| 0, Operation::FloorDivide),
        ] {
            let dims = symbolic_registers(&program(other, operation));
            assert_eq!((dims.len(), dims[2].is_some(), dims[20_001].is_some()), (20_002, true, false), "{operation:?}");
        }
    }
}
