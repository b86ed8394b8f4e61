//! The arguments of launches ([`Arguments`]). The runtime makes them once per layout, so that a run is a sequence of launches.
//! Each run looks up only the values outside of the arena.

use sinter_backend::{Arguments, Input, KernelError, Output};
use sinter_plan::{Graph, Place, PlanValueId, Step, Storage, Variant};

use crate::frame::{Frame, unplaced};
use crate::queues::Queues;

/// Operands and results of a step whose memory changes from run to run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changing {
    /// Positions of operands.
    pub(crate) inputs: Vec<usize>,
    /// Positions of results.
    pub(crate) outputs: Vec<usize>,
}

impl Changing {
    /// The changing arguments of a step; `direct` are the values that may lie in memory of the caller.
    pub(crate) fn of(graph: &Graph, step: &Step, direct: &[Option<PlanValueId>]) -> Self {
        let storage = |id: PlanValueId| graph.values.get(id.index()).map(|value| &value.storage);
        let changes = |id: PlanValueId| {
            let is_fixed =
                matches!(storage(graph.base(id)), Some(Storage::Arena(_) | Storage::Weight(_) | Storage::Registers(_)));
            !is_fixed || direct.contains(&Some(graph.base(id)))
        };
        let pairs = step.in_place();
        let outputs = step.outputs.iter().enumerate().filter(|(_, id)| changes(**id));
        let outputs: Vec<usize> = outputs.map(|(position, _)| position).collect();
        // A result may reuse an operand's memory only where both lie in the arena.
        let meets = |input: usize| pairs.iter().any(|(i, o)| *i == input && outputs.contains(o));
        let inputs = step.inputs.iter().enumerate().filter(|(at, id)| id.is_some_and(changes) || meets(*at));
        Self { inputs: inputs.map(|(position, _)| position).collect(), outputs }
    }
}

impl Changing {
    /// Does a step make the operand in new memory in every run?
    pub(crate) fn reads_made(&self, graph: &Graph, step: &Step) -> bool {
        let ids = self.inputs.iter().filter_map(|at| step.inputs.get(*at).copied().flatten());
        let storage = |id: PlanValueId| graph.values.get(graph.base(id).index()).map(|value| &value.storage);
        ids.into_iter().any(|id| storage(id) == Some(&Storage::Dynamic))
    }
}

fn missing(id: PlanValueId) -> KernelError {
    KernelError::Recipe(format!("{id} has no place"))
}

/// A step with its arguments.
pub(crate) struct Binder<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) step: &'a Step,
    pub(crate) position: usize,
    pub(crate) place: Place,
    pub(crate) queues: &'a Queues,
}

impl Binder<'_> {
    /// Makes all arguments of a kernel whose memory is the same in every run of this layout.
    ///
    /// # Errors
    /// When a value has no place.
    pub(crate) fn bind(
        &self,
        variant: &Variant,
        changing: &Changing,
        frame: &Frame,
        arguments: &mut Arguments,
    ) -> Result<(), KernelError> {
        arguments.inputs.resize(self.step.inputs.len(), Input::Absent);
        for (position, slot) in arguments.inputs.iter_mut().enumerate() {
            if !changing.inputs.contains(&position) {
                let replaced = variant.replaced.iter().find(|(at, _)| *at == position);
                let own = || self.step.inputs.get(position).copied().flatten();
                self.bind_input(position, replaced.map(|(_, id)| *id).or_else(own), frame, slot)?;
            }
        }
        arguments.outputs.resize_with(self.step.outputs.len(), || Output::Memory(unplaced()));
        for (position, slot) in arguments.outputs.iter_mut().enumerate() {
            if !changing.outputs.contains(&position) {
                self.bind_output(position, frame, slot)?;
            }
        }
        arguments.workspace = frame.workspace(self.place, self.position);
        Ok(())
    }

    /// Fills in the changing arguments.
    ///
    /// # Errors
    /// When a value has no place.
    pub(crate) fn rebind(
        &self,
        changing: &Changing,
        frame: &Frame,
        arguments: &mut Arguments,
    ) -> Result<(), KernelError> {
        for &position in &changing.inputs {
            if let Some(slot) = arguments.inputs.get_mut(position) {
                self.bind_input(position, self.step.inputs.get(position).copied().flatten(), frame, slot)?;
            }
        }
        for &position in &changing.outputs {
            if let Some(slot) = arguments.outputs.get_mut(position) {
                self.bind_output(position, frame, slot)?;
            }
        }
        Ok(())
    }

    fn bind_input(
        &self,
        position: usize,
        id: Option<PlanValueId>,
        frame: &Frame,
        slot: &mut Input,
    ) -> Result<(), KernelError> {
        let Some(id) = id else {
            *slot = Input::Absent;
            return Ok(());
        };
        if let Some(output) = self.shared(position, id, frame) {
            *slot = Input::InPlace(output);
            return Ok(());
        }
        if !matches!(slot, Input::Memory(_)) {
            *slot = Input::Memory(unplaced());
        }
        let Input::Memory(argument) = slot else { return Ok(()) };
        frame.place_argument(self.graph, self.queues, id, argument).ok_or_else(|| missing(id))
    }

    fn bind_output(&self, position: usize, frame: &Frame, slot: &mut Output) -> Result<(), KernelError> {
        let Some(id) = self.step.outputs.get(position).copied() else { return Ok(()) };
        if !matches!(slot, Output::Memory(_)) {
            *slot = Output::Memory(unplaced());
        }
        let Output::Memory(argument) = slot else { return Ok(()) };
        frame.place_argument(self.graph, self.queues, id, argument).ok_or_else(|| missing(id))
    }

    /// The result that shares the memory of an operand, in this run.
    fn shared(&self, position: usize, id: PlanValueId, frame: &Frame) -> Option<usize> {
        let lies_there = |output: &usize| {
            let Some(result) = self.step.outputs.get(*output) else { return false };
            let is_inside = |id: &PlanValueId| self.graph.is_in_arena(*id) && !frame.is_outside(self.graph.base(*id));
            let in_arena = [id, *result].iter().all(is_inside);
            in_arena && frame.share_memory(self.graph, *result, id)
        };
        self.step.in_place().iter().filter(|(input, _)| *input == position).map(|(_, output)| *output).find(lies_there)
    }
}
