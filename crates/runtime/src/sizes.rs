//! The sizes of a run: those of the inputs first, then stage by stage those that kernels tell.
//!
//! A `Sync` step reads the sizes of values that their kernels made, binds the names in their types, and computes the registers of
//! the stage. Then the frame places the buffers of the stage, and the arguments of its steps are made, unless the sizes are those
//! of the run before.

use sinter_backend::KernelError;
use sinter_plan::{PlanGuard, PlanValueId};

use crate::error::RuntimeError;
use crate::frame::Frame;
use crate::graph::LoadedGraph;
use crate::guard;
use crate::step::{Run, Work, bind_steps, data};

/// The registers of the shape program in a run.
#[derive(Default)]
pub(crate) struct KnownSizes {
    /// All registers; those of later stages are 0 until their `Sync` step has run.
    pub(crate) registers: Vec<i64>,
    /// Names the current sizes: two numbers differ where sizes do.
    pub(crate) number: u64,
    /// The numbers given so far.
    pub(crate) numbers: u64,
    /// By stage: the registers that its buffers are placed for, and their number.
    placed: Vec<(Vec<i64>, u64)>,
}

impl KnownSizes {
    /// Sets the number of a stage: that of the run before where no register of it has changed.
    pub(crate) fn enter(&mut self, stage: usize) {
        if self.placed.len() <= stage {
            self.placed.resize_with(stage.saturating_add(1), Default::default);
        }
        let Some((registers, number)) = self.placed.get_mut(stage) else { return };
        if *registers != self.registers || *number == 0 {
            self.numbers = self.numbers.saturating_add(1);
            *number = self.numbers;
            registers.clone_from(&self.registers);
        }
        self.number = *number;
    }
}

impl Run<'_> {
    /// Reads the sizes of the operands, and places the buffers of the stage that they begin.
    ///
    /// # Errors
    /// When sizes are others than the types of the operands allow, or memory is short.
    pub(crate) fn sync(
        &self,
        stage: usize,
        loaded: &LoadedGraph,
        frame: &mut Frame,
        work: &mut Work<'_>,
    ) -> Result<(), KernelError> {
        let plan = &work.engine.plan;
        for id in self.step.inputs.iter().flatten() {
            self.bind_names(*id, stage, frame, work)?;
        }
        let of_register = work.engine.stages.registers();
        let run = plan.shapes.run_where(&mut work.sizes.registers, |at| of_register.get(at) == Some(&stage));
        run.map_err(data)?;
        for id in self.step.inputs.iter().flatten() {
            self.check_sizes(*id, frame, work)?;
        }
        let is_of_stage = |guard: &&PlanGuard| work.engine.stages.latest([&guard.left, &guard.right]) == stage;
        guard::check(plan, plan.guards.iter().filter(is_of_stage), &work.sizes.registers).map_err(data)?;
        work.sizes.enter(stage);
        let layout = loaded.layouts.get(stage).ok_or_else(|| data("a stage is missing"))?;
        let (sizes, limit) = (&*work.sizes, work.engine.max_memory);
        let placed =
            frame.place_buffers(self.graph, (layout, stage), &sizes.registers, sizes.number, limit, work.queues);
        if placed.map_err(RuntimeError::into_kernel_error)? {
            if let Some(captures) = &mut work.captures {
                // Recordings may refer to the old arenas of this stage and of later ones.
                captures.clear(work.queues.at(sinter_plan::Place::MAIN));
            }
            bind_steps(self.graph, loaded, stage, frame, work.queues).map_err(RuntimeError::into_kernel_error)?;
        }
        Ok(())
    }

    /// Binds the names that the stage begins with to the sizes of a value.
    fn bind_names(&self, id: PlanValueId, stage: usize, frame: &Frame, work: &mut Work<'_>) -> Result<(), KernelError> {
        let missing = || data(format!("{id} has no sizes to read"));
        let argument = frame.argument(self.graph, work.queues, id).ok_or_else(missing)?;
        let ty = self.graph.values.get(id.index()).and_then(|value| value.ty.as_tensor()).ok_or_else(missing)?;
        let dims = ty.dims().map_err(data)?;
        if dims.len() != argument.sizes.len() {
            return Err(data(format!("{id} has {} axes where {ty} is declared", argument.sizes.len())));
        }
        for (dim, size) in dims.iter().zip(&argument.sizes) {
            let register = dim.as_symbol().and_then(|name| work.engine.plan.shapes.symbol(name));
            let Some(register) = register.filter(|register| work.engine.stages.of_register(*register) == stage) else {
                continue;
            };
            let slot = usize::try_from(register.0).ok().and_then(|at| work.sizes.registers.get_mut(at));
            *slot.ok_or_else(missing)? = i64::try_from(*size).map_err(data)?;
        }
        Ok(())
    }

    /// Compares the sizes of a value with those that the registers compute for its type.
    fn check_sizes(&self, id: PlanValueId, frame: &Frame, work: &mut Work<'_>) -> Result<(), KernelError> {
        let missing = || data(format!("{id} has no sizes to read"));
        let argument = frame.argument(self.graph, work.queues, id).ok_or_else(missing)?;
        let value = self.graph.values.get(id.index()).ok_or_else(missing)?;
        let registers = value.sizes.as_ref().ok_or_else(missing)?;
        let computed = registers.iter().map(|register| {
            let at = usize::try_from(register.0).ok()?;
            work.sizes.registers.get(at).and_then(|size| usize::try_from(*size).ok())
        });
        let fits = argument.data_type == value.ty.data_type() && computed.eq(argument.sizes.iter().map(|s| Some(*s)));
        match fits {
            true => Ok(()),
            false => {
                let (found, ty) = (&argument.sizes, &value.ty);
                Err(data(format!("{id} is {}{found:?}, where {ty} is declared", argument.data_type)))
            }
        }
    }
}
