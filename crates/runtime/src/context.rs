//! A context: the memory of one inference at a time.

use std::sync::Arc;

use sinter_base::Value;
use sinter_plan::Home;

use crate::bind::bind;
use crate::bindings::{Bindings, allocated};
use crate::engine::Shared;
use crate::error::RuntimeError;
use crate::frame::Frame;
use crate::guard;
use crate::memory::Held;
use crate::profile::{Observer, Watch};
use crate::step::run_steps;

/// Activations, registers and scratch memory of one inference in flight. Made by [`crate::Engine::context`]; it keeps its
/// engine alive.
pub struct Context {
    pub(crate) engine: Arc<Shared>,
    pub(crate) state: State,
}

/// What a context did that costs time; see [`Context::counters`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// How often sizes were solved and memory laid out; the same sizes twice need one.
    pub layouts: usize,
    /// How often types were inferred while steps ran: only values of open sizes need it.
    pub inferences: usize,
}

impl Context {
    /// Bindings for this engine, with nothing bound.
    pub fn bindings(&self) -> Bindings {
        Bindings::new(&self.engine.plan)
    }

    /// Runs one inference on bound inputs; outputs lie in the bindings afterwards. Allocates nothing when sizes are those
    /// of the run before and the plan has no values of open sizes.
    ///
    /// # Errors
    /// When inputs are missing or of wrong types, or a step fails. The bindings keep their inputs. After a kernel panicked,
    /// every further run is refused.
    pub fn run_into(&mut self, bindings: &mut Bindings) -> Result<(), RuntimeError> {
        let engine = &*self.engine;
        if bindings.inputs.len() != engine.plan.inputs.len() || bindings.outputs.len() != engine.plan.outputs.len() {
            return Err(RuntimeError::Bindings);
        }
        bindings.take_feedback();
        let done = self.state.run(engine, &mut bindings.inputs, &mut bindings.outputs, None);
        let done = done.and_then(|()| self.state.give(engine, &mut bindings.outputs));
        self.state.hand_back(engine, &mut bindings.inputs);
        if done.is_ok() {
            bindings.expect_feedback();
        }
        done
    }

    /// Solves sizes and lays memory out for bound inputs without running anything: what a new shape costs. Outputs that
    /// feed inputs have become inputs afterwards.
    ///
    /// # Errors
    /// When inputs are missing or of wrong types, or their sizes contradict each other.
    pub fn prepare(&mut self, bindings: &mut Bindings) -> Result<(), RuntimeError> {
        bindings.take_feedback();
        self.state.prepare(&self.engine, &bindings.inputs)
    }

    /// Draws the random numbers of later runs from this seed. Runs with equal seeds and inputs have equal results, in any
    /// context, process and on any back end; a context begins with seed 0. An operator with a seed of its own keeps it.
    pub fn set_seed(&mut self, seed: u64) {
        self.state.seed = seed;
    }

    /// Bytes of activations that the last shapes needed.
    pub fn arena_bytes(&self) -> usize {
        self.state.frame.arena.size()
    }

    /// What was done so far.
    pub fn counters(&self) -> Counters {
        Counters { layouts: self.state.frame.layouts, inferences: self.state.frame.inferences }
    }
}

/// The memory of a context.
#[derive(Default)]
pub(crate) struct State {
    registers: Vec<i64>,
    /// Which input gave each register its size.
    bound: Vec<Option<usize>>,
    /// Registers that the layout is for.
    laid_out: Vec<i64>,
    /// Counts the sizes that were laid out.
    number: u64,
    /// What random numbers are drawn from.
    seed: u64,
    /// Did a kernel panic here?
    is_poisoned: bool,
    pub(crate) frame: Frame,
}

impl State {
    /// Binds sizes and lays memory out.
    fn prepare(&mut self, engine: &Shared, inputs: &[Option<Held>]) -> Result<(), RuntimeError> {
        if self.is_poisoned {
            return Err(RuntimeError::Poisoned);
        }
        let plan = &engine.plan;
        let count = plan.shapes.register_count();
        self.registers.resize(count, 0);
        self.bound.clear();
        self.bound.resize(count, None);
        for (position, (port, held)) in plan.inputs.iter().zip(inputs).enumerate() {
            let declared = plan.graph.values.get(port.value.index()).map(|v| &v.ty);
            let declared = declared.ok_or_else(|| RuntimeError::Damaged(format!("'{}' has no value", port.name)))?;
            let default = port.default.and_then(|weight| engine.weights.get(weight.index()).map(|weight| &weight.held));
            let Some(held) = held.as_ref().or(default) else {
                return Err(RuntimeError::MissingInput { name: port.name.clone(), ty: declared.to_string() });
            };
            let (registers, bound) = (&mut self.registers, &mut self.bound);
            bind(&plan.inputs, position, held, declared, &plan.shapes, registers, bound)?;
        }
        plan.shapes.run(&mut self.registers)?;
        if self.registers != self.laid_out || self.number == 0 {
            self.number += 1;
            self.laid_out.clone_from(&self.registers);
        }
        if self.frame.laid_out != self.number {
            guard::check(plan, &self.registers)?;
            self.frame.lay_out(&plan.graph, &engine.loaded.layout, &self.registers, self.number, engine.max_memory)?;
        }
        Ok(())
    }

    /// Runs all steps. The inputs move into the frame; [`State::hand_back`] returns them. So does the memory of outputs,
    /// where there is some; [`State::give`] returns it with the results.
    pub(crate) fn run(
        &mut self,
        engine: &Shared,
        inputs: &mut [Option<Held>],
        outputs: &mut [Option<Held>],
        observer: Option<&mut dyn Observer>,
    ) -> Result<(), RuntimeError> {
        self.prepare(engine, inputs)?;
        let plan = &engine.plan;
        self.frame.clear(&plan.graph);
        for (port, held) in plan.inputs.iter().zip(inputs) {
            let default = || port.default.and_then(|weight| plan.weights.get(weight.index()));
            if let Some(slot) = self.frame.held.get_mut(port.value.index()) {
                *slot = held.take().or_else(|| Some(Held::new(Value::Tensor(default()?.tensor().clone()))));
            }
        }
        self.frame.take_rooms(&plan.graph, &engine.direct, outputs);
        self.frame.seed = self.seed;
        let mut watch = observer.map(Watch::new);
        let done = run_steps(&plan.graph, &engine.loaded, &mut self.frame, &self.registers, engine, watch.as_mut());
        if done.is_err() {
            self.frame.give_up();
        }
        self.is_poisoned = matches!(done, Err(RuntimeError::Panic { .. }));
        done
    }

    /// Returns the inputs of a run, whether it succeeded or not.
    pub(crate) fn hand_back(&mut self, engine: &Shared, inputs: &mut [Option<Held>]) {
        for (port, held) in engine.plan.inputs.iter().zip(inputs) {
            if held.is_none() {
                *held = self.frame.held.get_mut(port.value.index()).and_then(Option::take);
            }
        }
    }

    /// Gives the outputs of a run: those that lie outside the arena as they are, others as copies in memory that is used
    /// again.
    fn give(&mut self, engine: &Shared, outputs: &mut [Option<Held>]) -> Result<(), RuntimeError> {
        let plan = &engine.plan;
        for (position, (port, slot)) in plan.outputs.iter().zip(outputs).enumerate() {
            let home = plan.graph.values.get(port.value.index()).map(|v| &v.home);
            let again = plan.outputs.iter().skip(position + 1).any(|later| later.value == port.value);
            if matches!(home, Some(Home::Dynamic | Home::Arena(_)))
                && !again
                && let Some(made) = self.frame.held.get_mut(port.value.index()).and_then(Option::take)
            {
                *slot = Some(made);
                continue;
            }
            match self.frame.view(&plan.graph, &engine.weights, port.value) {
                Some(view) => {
                    let origin = || format!("output '{}'", port.name);
                    let room = allocated(slot, view.data_type(), view.sizes());
                    let mut room = room.map_err(|source| RuntimeError::Step { origin: origin(), source })?;
                    view.copy_to(room.bytes());
                }
                None => *slot = Some(Held::new(self.frame.value(&plan.graph, &engine.weights, port.value)?)),
            }
        }
        Ok(())
    }

    /// The outputs of a run as values of their own.
    pub(crate) fn values(&self, engine: &Shared) -> Result<Vec<Value>, RuntimeError> {
        let plan = &engine.plan;
        plan.outputs.iter().map(|port| self.frame.value(&plan.graph, &engine.weights, port.value)).collect()
    }
}
