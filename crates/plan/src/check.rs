//! Checks that a plan from any source can run without surprises.
//!
//! Kernels trust the sizes of their memory, and the types that their region states. So the reader proves, for the
//! outermost graph and for the body of every control flow step alike: the operators of a region take its operands and
//! have its results (`regions.rs`), a step's operands match its region, the bodies of control flow match their operator
//! (`control.rs`), known contents are those of a weight or follow from the operands, and no step overwrites a live
//! value. Where sizes are known before the run, the reader proves more: registers compute the dimensions (it runs the
//! shape program on symbols), results have exactly the inferred types, and every undecided condition of that inference
//! is a guard of the plan. The runtime infers all other sizes.

use std::collections::HashSet;

use sinter_backend::Region;
use sinter_base::{DataType, Dim, KnownValue, TensorType, ValueType};
use sinter_ops::ValueId;
use sinter_ops::control::nested::admits;

use crate::alias_check;
use crate::control;
use crate::error::PlanError;
use crate::plan::{Action, Graph, Launch, Place, Plan, PlanValue, PlanValueId, PlanWeight, Step, Storage, Variant};
use crate::regions::{self, Fit};
use crate::shape_program::Register;
use crate::stages;
use crate::weight_expression;

type Checked = Result<(), PlanError>;

/// Limit on the elements of a value in registers.
const MOST_REGISTERS: usize = 1024;

/// State while graphs are checked.
struct Checker<'a> {
    plan: &'a Plan,
    /// The dimension that each register computes; `None` where there is none, as for a division by zero.
    dims: Vec<Option<Dim>>,
    guards: Vec<(Dim, Dim)>,
}

/// Checks the conditions that decoding does not check.
pub(crate) fn check(plan: &Plan) -> Checked {
    let dims = plan.shapes.dims();
    let dim = |register: Register| usize::try_from(register.0).ok().and_then(|at| dims.get(at)).cloned().flatten();
    let guards = plan.guards.iter().filter_map(|guard| Some((dim(guard.left)?, dim(guard.right)?))).collect();
    let checker = Checker { plan, dims, guards };
    checker.symbols()?;
    checker.ports()?;
    checker.graph(&plan.graph, true)?;
    stages::check(plan).map_err(PlanError::damaged)?;
    weight_expression::check(plan)?;
    checker.self_test()
}

/// Same element type and shape, whatever contents are known.
pub(crate) fn same_shape(a: &TensorType, b: &TensorType) -> bool {
    a.data_type == b.data_type && a.shape == b.shape
}

pub(crate) fn same_type(a: &ValueType, b: &ValueType) -> bool {
    match (a.as_tensor(), b.as_tensor()) {
        (Some(a), Some(b)) => same_shape(a, b),
        _ => a == b,
    }
}

/// Are the contents equal? NaN equals itself.
pub(crate) fn same_contents(a: &KnownValue, b: &KnownValue) -> bool {
    match (a, b) {
        (KnownValue::Floats(a), KnownValue::Floats(b)) => {
            a.iter().map(|v| v.to_bits()).eq(b.iter().map(|v| v.to_bits()))
        }
        _ => a == b,
    }
}

/// The known contents of a value.
pub(crate) fn contents(ty: &ValueType) -> Option<&KnownValue> {
    ty.as_tensor()?.value.as_deref()
}

/// Does the second type promise all the contents that the first one does?
pub(crate) fn promises(declared: &ValueType, found: &ValueType) -> bool {
    contents(declared).is_none_or(|known| contents(found).is_some_and(|found| same_contents(known, found)))
}

impl Checker<'_> {
    /// Each name has one register; inputs fill the first register of a name.
    fn symbols(&self) -> Checked {
        let mut seen = HashSet::new();
        match self.plan.shapes.symbols().iter().find(|name| !seen.insert(name.as_str())) {
            Some(name) => Err(PlanError::damaged(format!("the size '{name}' has two registers"))),
            None => Ok(()),
        }
    }

    fn ports(&self) -> Checked {
        let graph = &self.plan.graph;
        for (position, port) in self.plan.inputs.iter().enumerate() {
            let value = graph.values.get(port.value.index());
            let again = self.plan.inputs.iter().take(position).any(|p| p.value == port.value || p.name == port.name);
            let Some(value) = value.filter(|value| value.storage == Storage::Input && !again) else {
                return Err(PlanError::damaged(format!("input '{}' has no place of its own", port.name)));
            };
            // A run binds names to sizes, and does not check expressions of them.
            let is_bound = |dim: &Dim| dim.as_constant().is_some() || dim.as_symbol().is_some();
            let dims = value.ty.as_tensor().and_then(|ty| ty.dims().ok()).unwrap_or_default();
            if value.sizes.is_some() && !dims.iter().all(is_bound) || contents(&value.ty).is_some() {
                return Err(PlanError::damaged(format!("input '{}' says more than a run can check", port.name)));
            }
        }
        // The caller of a run gives inputs of the plan only.
        if let Some(id) = graph.inputs.iter().find(|id| !self.plan.inputs.iter().any(|port| port.value == **id)) {
            return Err(PlanError::damaged(format!("the input {id} has no name")));
        }
        // A run may overwrite other values before it ends.
        match self.plan.outputs.iter().find(|port| !graph.outputs.contains(&port.value)) {
            Some(port) => Err(PlanError::damaged(format!("output '{}' is no result of the graph", port.name))),
            None => Ok(()),
        }
    }

    fn self_test(&self) -> Checked {
        let (inputs, outputs) = (self.plan.inputs.len(), self.plan.outputs.len());
        let vectors = self.plan.self_test.iter().flat_map(|self_test| &self_test.vectors);
        match vectors.into_iter().find(|v| v.inputs.len() != inputs || v.outputs.len() != outputs) {
            Some(_) => Err(PlanError::damaged("a self-test vector has another number of inputs or outputs")),
            None => Ok(()),
        }
    }

    fn graph(&self, graph: &Graph, is_outermost: bool) -> Checked {
        let mut seen = HashSet::new();
        // A body owns the weights that it captures, packed ones too.
        let is_input = |id: &PlanValueId| match graph.values.get(id.index()).map(|value| &value.storage) {
            Some(Storage::Input) => true,
            Some(Storage::Weight(_)) => !is_outermost,
            _ => false,
        };
        if let Some(id) = graph.inputs.iter().find(|id| !is_input(id) || !seen.insert(**id)) {
            return Err(PlanError::damaged(format!("the input {id} has no place of its own")));
        }
        for (position, value) in graph.values.iter().enumerate() {
            self.value(value)
                .map_err(|reason| PlanError::damaged(format!("{}: {reason}", PlanValueId::new(position))))?;
        }
        let synced = stages::synced(graph);
        if !is_outermost && !synced.is_empty() {
            return Err(PlanError::damaged("a body reads sizes of values"));
        }
        graph.steps.iter().try_for_each(|step| self.step(graph, step, &synced))?;
        alias_check::check(graph, &self.dims, is_outermost)?;
        self.buffers(graph, &graph.last_uses())
    }

    fn value(&self, value: &PlanValue) -> Result<(), String> {
        if let Storage::Weight(weight) = value.storage {
            let tensor = self.plan.weights.get(weight.index()).map(PlanWeight::tensor);
            let ty = value.ty.as_tensor().zip(tensor);
            let fits = ty.is_some_and(|(ty, tensor)| {
                ty.data_type == tensor.data_type()
                    && ty.shape.sizes().as_deref() == Some(tensor.sizes())
                    && (ty.value.is_none() || promises(&value.ty, &TensorType::of(tensor).into()))
            });
            if !fits {
                return Err(format!("weight {weight} is not of type {}", value.ty));
            }
        }
        if let Storage::Registers(elements) = &value.storage {
            self.registers(&value.ty, elements)?;
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

    /// Does a value equal what its registers compute?
    fn registers(&self, ty: &ValueType, elements: &[Register]) -> Result<(), String> {
        let tensor = ty.as_tensor().filter(|ty| matches!(ty.data_type, DataType::I64 | DataType::I32));
        let sizes = tensor.and_then(|ty| ty.shape.sizes());
        let count = sizes.and_then(|sizes| sizes.iter().try_fold(1usize, |count, size| count.checked_mul(*size)));
        if count != Some(elements.len()) || elements.len() > MOST_REGISTERS {
            return Err(format!("{} registers are no value of type {ty}", elements.len()));
        }
        let computed = |register: &Register| usize::try_from(register.0).ok().and_then(|at| self.dims.get(at)).cloned();
        let computed: Option<Vec<Dim>> = elements.iter().map(|register| computed(register).flatten()).collect();
        let is_promised = match contents(ty) {
            Some(known) => computed.is_some_and(|dims| same_contents(known, &KnownValue::Ints(dims))),
            None => true,
        };
        if is_promised { Ok(()) } else { Err("its registers compute other contents".to_owned()) }
    }

    /// Do operands and results of a step lie on one device, and those of a copy on two?
    fn places(graph: &Graph, step: &Step) -> Result<(), String> {
        // Strings, sequences and optionals lie in no device's memory.
        let has_memory = |value: &PlanValue| value.ty.as_tensor().is_some_and(|ty| ty.data_type != DataType::String);
        let value_of = |graph: &Graph, id: &PlanValueId| match graph.values.get(id.index()) {
            Some(value) if has_memory(value) => Some(value.place),
            _ => None,
        };
        let place = |id: &PlanValueId| value_of(graph, id);
        if matches!(step.action, Action::Copy) {
            let mut ends = step.inputs.iter().flatten().chain(&step.outputs).map(place);
            return match (ends.next().flatten(), ends.next().flatten()) {
                (Some(from), Some(to)) if from != to => Ok(()),
                _ => Err("a copy within one device".to_owned()),
            };
        }
        let replaced = step.launch().into_iter().flat_map(Launch::variants).flat_map(|variant| &variant.replaced);
        let touched = step.inputs.iter().flatten().chain(&step.outputs).chain(replaced.map(|(_, id)| id));
        let bodies: &[Graph] = match &step.action {
            Action::Control { graphs, .. } => graphs,
            _ => &[],
        };
        let inside = bodies.iter().flat_map(|body| {
            let ends = body.inputs.iter().chain(&body.outputs);
            ends.map(|id| value_of(body, id))
        });
        let mut places = touched.map(place).chain(inside).flatten();
        let first = places.next();
        match places.find(|place| Some(*place) != first) {
            Some(_) => Err("its operands and results lie on several devices".to_owned()),
            None => Ok(()),
        }
    }

    /// The result of a copy has the type of its operand.
    fn copy(&self, graph: &Graph, step: &Step) -> Result<(), String> {
        let value = |id: &PlanValueId| graph.values.get(id.index());
        let ([Some(from)], [to]) = (step.inputs.as_slice(), step.outputs.as_slice()) else {
            return Err("a copy has one operand and one result".to_owned());
        };
        let (Some(from), Some(to)) = (value(from), value(to)) else { return Err("a copy of nothing".to_owned()) };
        let is_number = from.ty.as_tensor().is_some_and(|ty| ty.data_type != DataType::String);
        let is_like = from.ty == to.ty || same_type(&from.ty, &to.ty) && promises(&to.ty, &from.ty);
        let has_sizes = from.sizes.is_some() || matches!(from.storage, Storage::Weight(_));
        match (&from.storage, &to.storage) {
            _ if !is_number || !is_like => Err("a copy of another type than its operand".to_owned()),
            (Storage::Dynamic, Storage::Dynamic) => Ok(()),
            (Storage::Input, Storage::Dynamic) if !has_sizes => Ok(()),
            (Storage::Dynamic, _) | (_, Storage::Dynamic) => Err("a copy whose sizes only a run knows".to_owned()),
            (_, Storage::Arena(_)) if has_sizes => Ok(()),
            _ => Err("a copy into memory that is no copy's".to_owned()),
        }
    }

    /// The operands of a `Sync` are tensors that only their steps know the sizes of.
    fn sync(graph: &Graph, step: &Step) -> Result<(), String> {
        let is_readable = |id: &PlanValueId| {
            graph.values.get(id.index()).is_some_and(|value| {
                value.storage == Storage::Dynamic && value.sizes.is_some() && value.ty.as_tensor().is_some()
            })
        };
        match step.inputs.iter().flatten().find(|id| !is_readable(id)) {
            Some(id) => Err(format!("{id} has no sizes to read")),
            None if step.inputs.is_empty() => Err("it reads the sizes of nothing".to_owned()),
            None => Ok(()),
        }
    }

    fn step(&self, graph: &Graph, step: &Step, synced: &HashSet<PlanValueId>) -> Checked {
        let at = || step.origins.join(", ");
        let wrong = |reason: String| PlanError::damaged(format!("the step of {}: {reason}", at()));
        Self::places(graph, step).map_err(wrong)?;
        match step.action {
            Action::Copy => return self.copy(graph, step).map_err(wrong),
            Action::Sync => return Self::sync(graph, step).map_err(wrong),
            Action::Launch(_) | Action::Alias { .. } | Action::Control { .. } => {}
        }
        self.operands(graph, step).map_err(wrong)?;
        let storage = |id: &PlanValueId| graph.values.get(id.index()).map(|value| &value.storage);
        let is_fixed = |id: &PlanValueId| matches!(storage(id), Some(Storage::Arena(_) | Storage::Alias(_)));
        let fixed = step.outputs.iter().any(is_fixed);
        let is_known = |id: &PlanValueId| match storage(id) {
            Some(Storage::Weight(_) | Storage::Arena(_) | Storage::Alias(_) | Storage::Registers(_)) => true,
            Some(Storage::Input) => graph.values.get(id.index()).is_some_and(|value| value.sizes.is_some()),
            Some(Storage::Dynamic) => synced.contains(id),
            None => false,
        };
        if fixed && !(step.outputs.iter().all(is_fixed) && step.inputs.iter().flatten().all(is_known)) {
            return Err(wrong("some of its operands or results have sizes and some have none".to_owned()));
        }
        if !fixed && step.launch().is_some_and(|launch| !launch.special.is_empty()) {
            return Err(wrong("it has kernels for sizes that only a run knows".to_owned()));
        }
        let admits = |declared: &ValueType, inferred: &ValueType| admits(declared, inferred);
        let is_same = |declared: &ValueType, inferred: &ValueType| self.same_or_guarded(declared, inferred);
        let is_guarded = |left: &Dim, right: &Dim| self.is_guarded(left, right);
        // The runtime infers sizes anew from those of the operands.
        let any = |_: &Dim, _: &Dim| true;
        let fit = match fixed {
            true => Fit { type_fits: &is_same, is_guarded: &is_guarded },
            false => Fit { type_fits: &admits, is_guarded: &any },
        };
        let inferred = match &step.action {
            Action::Control { region, graphs } => control::results(graph, step, region, graphs),
            Action::Launch(Launch { region, .. }) | Action::Alias { region } => regions::results(region, &fit),
            Action::Copy | Action::Sync => Ok(Vec::new()),
        };
        for (id, ty) in step.outputs.iter().zip(&inferred.map_err(wrong)?) {
            let declared = graph.values.get(id.index()).map(|value| &value.ty);
            if !declared.is_some_and(|declared| (fit.type_fits)(declared, ty) && promises(declared, ty)) {
                return Err(wrong(format!("{id} is not of the inferred type {ty}")));
            }
        }
        let Action::Control { graphs, .. } = &step.action else { return Ok(()) };
        let inside = |error| match error {
            PlanError::Damaged(reason) => PlanError::damaged(format!("inside of {}: {reason}", at())),
            other => other,
        };
        graphs.iter().try_for_each(|body| self.graph(body, false)).map_err(inside)
    }

    /// Do the operands of a step match its region, for each of its kernels?
    fn operands(&self, graph: &Graph, step: &Step) -> Result<(), String> {
        let Some(region) = step.region() else { return Ok(()) };
        if !regions::takes(region, &step.inputs.iter().map(Option::is_some).collect::<Vec<_>>()) {
            return Err("its region takes other operands".to_owned());
        }
        let Some(launch) = step.launch() else { return self.operands_of(graph, region, &step.inputs, &[]) };
        for Variant { packed, replaced, .. } in launch.variants() {
            let mut inputs = step.inputs.clone();
            for (at, id) in replaced {
                let is_weight = |id: &PlanValueId| {
                    matches!(graph.values.get(id.index()).map(|value| &value.storage), Some(Storage::Weight(_)))
                };
                match inputs.get_mut(*at) {
                    Some(Some(slot)) if is_weight(slot) && is_weight(id) => *slot = *id,
                    _ => return Err(format!("operand {at} is replaced, and is no weight")),
                }
            }
            self.operands_of(graph, region, &inputs, packed)?;
        }
        Ok(())
    }

    fn operands_of(
        &self,
        graph: &Graph,
        region: &Region,
        inputs: &[Option<PlanValueId>],
        packed: &[usize],
    ) -> Result<(), String> {
        let body = region.body();
        let operands: Vec<Option<ValueId>> = match region.only() {
            Some(node) => node.inputs.to_vec(),
            None => body.inputs().iter().copied().map(Some).collect(),
        };
        for (position, (id, operand)) in inputs.iter().zip(operands).enumerate() {
            let Some((id, operand)) = id.as_ref().zip(operand) else { continue };
            let ty = body.ty(operand);
            let fits = graph.values.get(id.index()).is_some_and(|value| match value.storage {
                Storage::Weight(_) if packed.contains(&position) => true,
                Storage::Weight(weight) if contents(ty).is_some() => {
                    let tensor = self.plan.weights.get(weight.index()).map(PlanWeight::tensor);
                    same_type(&value.ty, ty) && tensor.is_some_and(|t| promises(ty, &TensorType::of(t).into()))
                }
                _ => same_type(&value.ty, ty) && promises(ty, &value.ty),
            });
            if !fits {
                return Err(format!("{id} is not of type {ty}"));
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

    /// No step may overwrite a value while it or an alias of it is live.
    fn buffers(&self, graph: &Graph, last_use: &[usize]) -> Checked {
        let mut owners: Vec<Option<PlanValueId>> = vec![None; graph.values.len()];
        let mut places: Vec<Option<Place>> = vec![None; graph.values.len()];
        for value in &graph.values {
            let Storage::Arena(buffer) = value.storage else { continue };
            match places.get_mut(buffer.index()).map(|slot| *slot.get_or_insert(value.place)) {
                Some(place) if place == value.place => {}
                _ => return Err(PlanError::damaged(format!("there is no buffer {buffer}, or it lies on two devices"))),
            }
        }
        for (position, step) in graph.steps.iter().enumerate() {
            let pairs = step.in_place();
            for (result, id) in step.outputs.iter().enumerate() {
                let base = graph.base(*id);
                let Some(Storage::Arena(buffer)) = graph.values.get(base.index()).map(|v| &v.storage) else { continue };
                let Some(slot) = owners.get_mut(buffer.index()) else {
                    return Err(PlanError::damaged(format!("there is no buffer {buffer}")));
                };
                if let Some(owner) = slot.filter(|owner| *owner != base) {
                    let last = last_use.get(owner.index()).copied().unwrap_or(usize::MAX);
                    let takes = |pair: &&(usize, usize)| pair.1 == result && graph.is_whole(*id);
                    let is_owner = |id: &PlanValueId| graph.is_whole(*id) && graph.base(*id) == owner;
                    let operand = |at: usize| step.inputs.get(at).and_then(Option::as_ref);
                    let shares = pairs.iter().filter(takes).any(|(at, _)| operand(*at).is_some_and(is_owner));
                    let uses = step.inputs.iter().flatten().filter(|i| graph.base(**i) == owner).count();
                    if last > position || last == position && !(shares && uses == 1) {
                        return Err(PlanError::damaged(format!("{id} overwrites {owner}, which is still needed")));
                    }
                }
                *slot = Some(base);
            }
        }
        Ok(())
    }
}
