//! A context: the memory of one inference at a time.

use std::collections::HashMap;
use std::ops::Range;

use sinter_base::view::{ALIGNMENT, element_bytes};
use sinter_base::{Arena, Buffer, Sizes, Value, View};
use sinter_plan::{Graph, Home, Plan, PlanValueId};

use crate::bind::bind;
use crate::engine::Engine;
use crate::error::RuntimeError;
use crate::memory::{Held, sizes_of, tensor_of};
use crate::profile::Observer;
use crate::step::run_steps;

/// Activations, registers and scratch memory. Use one per inference in flight.
#[derive(Default)]
pub struct Context {
    registers: Vec<i64>,
    bound: Vec<bool>,
    /// Registers of the last run; the same sizes need no new layout.
    laid_out: Vec<i64>,
    pub(crate) frame: Frame,
}

/// The state of one graph: sizes, arena, values outside the arena.
#[derive(Default)]
pub(crate) struct Frame {
    /// Sizes of values that are known before the run, by value.
    pub(crate) sizes: Vec<Sizes>,
    /// Bytes in the arena, by value; empty for values elsewhere.
    pub(crate) ranges: Vec<Range<usize>>,
    pub(crate) arena: Arena,
    /// Values outside the arena, by value.
    pub(crate) held: Vec<Option<Held>>,
    pub(crate) scratch: Buffer,
    /// Number of layouts made so far.
    pub(crate) layouts: usize,
    /// Frames of the bodies of control flow, by position of the step; kept between iterations and runs.
    pub(crate) bodies: HashMap<u64, Vec<Frame>>,
    /// Tells the random numbers of this iteration from those of others; 0 outside of control flow.
    pub(crate) stream: u64,
}

impl Frame {
    /// The memory of a value, wherever it lives.
    pub(crate) fn view<'a>(&'a self, graph: &'a Graph, weights: &'a [Held], id: PlanValueId) -> Option<View<'a>> {
        let value = graph.values.get(id.index())?;
        match value.home {
            Home::Weight(weight) => weights.get(weight.index())?.view(),
            Home::Input | Home::Dynamic => self.held.get(id.index())?.as_ref()?.view(),
            Home::Arena(_) => {
                let bytes = self.arena.read(self.ranges.get(id.index())?.clone())?;
                View::new(value.ty.data_type(), self.sizes.get(id.index())?, bytes).ok()
            }
        }
    }

    /// A copy of a value.
    pub(crate) fn value(&self, graph: &Graph, weights: &[Held], id: PlanValueId) -> Result<Value, RuntimeError> {
        let missing = || RuntimeError::Damaged(format!("{id} was never made"));
        let value = graph.values.get(id.index()).ok_or_else(missing)?;
        match value.home {
            Home::Weight(weight) => weights.get(weight.index()).ok_or_else(missing)?.to_value(),
            Home::Input | Home::Dynamic => {
                self.held.get(id.index()).and_then(Option::as_ref).ok_or_else(missing)?.to_value()
            }
            Home::Arena(_) => tensor_of(self.view(graph, weights, id).ok_or_else(missing)?).map(Value::Tensor),
        }
    }

    /// Places every arena value for these registers: buffers one after the other, each as large as its largest value.
    pub(crate) fn lay_out(&mut self, graph: &Graph, registers: &[i64], max_bytes: usize) -> Result<(), RuntimeError> {
        let too_large = || RuntimeError::Damaged("the activations need more memory than can be addressed".to_owned());
        let mut buffers: Vec<usize> = Vec::new();
        self.sizes.clear();
        self.ranges.clear();
        for value in &graph.values {
            let sizes = match &value.sizes {
                Some(wanted) => sizes_of(registers, wanted, &value.ty)?,
                None => Sizes::new(),
            };
            let mut bytes = 0;
            if let Home::Arena(buffer) = value.home {
                bytes = sinter_base::shape::element_count(&sizes)
                    .and_then(|count| count.checked_mul(element_bytes(value.ty.data_type())))
                    .ok_or_else(too_large)?;
                if buffers.len() <= buffer.index() {
                    buffers.resize(buffer.index() + 1, 0);
                }
                if let Some(room) = buffers.get_mut(buffer.index()) {
                    *room = bytes.max(*room);
                }
            }
            self.sizes.push(sizes);
            self.ranges.push(0..bytes);
        }
        let mut offset = 0usize;
        for room in &mut buffers {
            let start = offset;
            offset = offset
                .checked_add(*room)
                .and_then(|end| end.checked_next_multiple_of(ALIGNMENT))
                .ok_or_else(too_large)?;
            *room = start;
        }
        for (value, range) in graph.values.iter().zip(&mut self.ranges) {
            if let Home::Arena(buffer) = value.home {
                let start = buffers.get(buffer.index()).copied().unwrap_or(0);
                *range = start..start + range.end;
            }
        }
        if offset > max_bytes {
            return Err(RuntimeError::Memory { needed: offset, allowed: max_bytes });
        }
        self.arena.resize(offset);
        self.layouts += 1;
        Ok(())
    }
}

impl Context {
    /// Bytes of activations that the last shapes needed.
    pub fn arena_bytes(&self) -> usize {
        self.frame.arena.size()
    }

    /// How often sizes were solved and memory laid out; the same shapes twice need one.
    pub fn layout_count(&self) -> usize {
        self.frame.layouts
    }

    pub(crate) fn run(
        &mut self,
        engine: &Engine,
        inputs: Vec<(String, Value)>,
        observer: Option<&mut dyn Observer>,
    ) -> Result<Vec<Value>, RuntimeError> {
        let plan = &engine.plan;
        self.bind_inputs(plan, inputs)?;
        plan.shapes.run(&mut self.registers)?;
        if self.registers != self.laid_out || self.frame.layouts == 0 {
            check_guards(plan, &self.registers)?;
            self.frame.lay_out(&plan.graph, &self.registers, engine.max_bytes)?;
            self.laid_out.clone_from(&self.registers);
        }
        run_steps(&plan.graph, &engine.loaded, &mut self.frame, &self.registers, engine, observer)?;
        plan.outputs.iter().map(|port| self.frame.value(&plan.graph, &engine.weights, port.value)).collect()
    }

    fn bind_inputs(&mut self, plan: &Plan, inputs: Vec<(String, Value)>) -> Result<(), RuntimeError> {
        let count = plan.shapes.register_count();
        self.registers.resize(count, 0);
        self.bound.clear();
        self.bound.resize(count, false);
        self.frame.held.clear();
        self.frame.held.resize_with(plan.graph.values.len(), || None);
        for (name, value) in inputs {
            let Some(port) = plan.inputs.iter().find(|p| p.name == name) else {
                let known: Vec<&str> = plan.inputs.iter().map(|p| p.name.as_str()).collect();
                return Err(RuntimeError::UnknownInput { name, known: known.join(", ") });
            };
            let declared = plan.graph.values.get(port.value.index()).map(|v| &v.ty);
            let declared = declared.ok_or_else(|| RuntimeError::Damaged(format!("input '{name}' has no value")))?;
            bind(&name, &value, declared, &plan.shapes, &mut self.registers, &mut self.bound)?;
            if let Some(slot) = self.frame.held.get_mut(port.value.index()) {
                *slot = Some(Held::new(value));
            }
        }
        for port in &plan.inputs {
            let given = self.frame.held.get(port.value.index()).is_some_and(Option::is_some);
            if !given {
                let ty = plan.graph.values.get(port.value.index()).map(|v| v.ty.to_string()).unwrap_or_default();
                return Err(RuntimeError::MissingInput { name: port.name.clone(), ty });
            }
        }
        Ok(())
    }
}

fn check_guards(plan: &Plan, registers: &[i64]) -> Result<(), RuntimeError> {
    let read =
        |r: sinter_plan::Register| usize::try_from(r.0).ok().and_then(|i| registers.get(i)).copied().unwrap_or(0);
    for guard in &plan.guards {
        let (left, right) = (read(guard.left), read(guard.right));
        if left != right {
            return Err(RuntimeError::Sizes { reason: guard.reason.clone(), left, right });
        }
    }
    Ok(())
}
