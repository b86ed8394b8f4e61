//! Graphs with their kernels loaded.

use std::ops::Range;
use std::sync::Arc;

use sinter_backend::{Code, KernelError, KernelId, Kernels, Loaded};
use sinter_base::Dim;
use sinter_plan::{Action, Graph, Launch, Place, PlanValueId, Stages, Step, Storage, Variant};

use crate::arguments::Changing;
use crate::capture::segments;
use crate::error::RuntimeError;
use crate::layout::Layout;
use crate::offer;

/// The action of a loaded step.
pub(crate) enum LoadedAction {
    /// A launch whose results lie in the arena, or in memory of the caller.
    Launch {
        /// The kernels, parallel to the variants of the plan; the layout chooses which one to launch.
        kernels: Vec<KernelId>,
        /// The place of the device that runs it.
        place: Place,
        /// Operands and results whose memory changes from run to run.
        changing: Changing,
        /// May a device record it?
        is_capturable: bool,
    },
    /// A launch with results whose sizes are known only during the run.
    Dynamic {
        /// The kernel.
        kernel: KernelId,
        /// The place of the device that runs it.
        place: Place,
        /// Operands whose contents decide sizes of the results.
        size_operands: Vec<usize>,
    },
    /// A call of a kernel on whole values.
    Values(Arc<Loaded<KernelId>>),
    /// A copy to another device.
    Copy,
    /// An alias, which runs nothing.
    Alias,
    /// Reads sizes; the stage that they begin.
    Sync(usize),
    /// The bodies of control flow.
    Control(Vec<LoadedGraph>),
}

/// The kernels of a graph, parallel to its steps.
pub(crate) struct LoadedGraph {
    /// Parallel to the plan's steps.
    pub(crate) actions: Vec<LoadedAction>,
    /// Parallel to the plan's steps: values made at run time that no later step needs.
    pub(crate) releases: Vec<Vec<PlanValueId>>,
    /// The data to place its buffers by, by stage.
    pub(crate) layouts: Vec<Layout>,
    /// Parallel to the plan's steps: the stage in which arguments are known.
    pub(crate) stages: Vec<usize>,
    /// Steps that a device may record together. Bodies have none: the memory of carried values changes with each iteration.
    pub(crate) segments: Vec<Range<usize>>,
}

/// The context of loading a graph.
pub(crate) struct Loading<'a> {
    /// The expressions that the registers of the plan compute.
    pub(crate) sizes: &'a [Option<Dim>],
    /// Machine code of the plan.
    pub(crate) code: &'a [Code],
    /// Kernel libraries by place.
    pub(crate) kernels: &'a [&'a Kernels<'a>],
}

impl Loading<'_> {
    /// Loads every kernel of a graph and of the graphs inside it; `direct` are the values that may lie in memory of the caller.
    ///
    /// # Errors
    /// When a kernel is unknown to the back end or cannot be loaded.
    pub(crate) fn graph(
        &self,
        graph: &Graph,
        direct: &[Option<PlanValueId>],
        stages: &Stages,
    ) -> Result<LoadedGraph, RuntimeError> {
        let mut syncs = 0usize;
        let mut load = |step: &Step| match &step.action {
            Action::Control { graphs, .. } => {
                // All sizes of a body are known before it runs.
                let load =
                    |graph| Ok(LoadedGraph { segments: Vec::new(), ..self.graph(graph, &[], &Stages::default())? });
                let bodies: Result<_, RuntimeError> = graphs.iter().map(load).collect();
                Ok(LoadedAction::Control(bodies?))
            }
            Action::Alias { .. } => Ok(LoadedAction::Alias),
            Action::Copy => Ok(LoadedAction::Copy),
            Action::Sync => {
                syncs = syncs.saturating_add(1);
                Ok(LoadedAction::Sync(syncs))
            }
            Action::Launch(launch) => self.launch(graph, step, launch, direct),
        };
        let actions = graph.steps.iter().map(&mut load).collect::<Result<Vec<_>, RuntimeError>>()?;
        let segments = segments(&actions);
        let layouts = (0..stages.count()).map(|stage| Layout::of_stage(graph, stages, stage)).collect();
        let stages = graph.steps.iter().map(|step| stages.of_step(graph, step)).collect();
        Ok(LoadedGraph { actions, releases: releases(graph), layouts, stages, segments })
    }

    fn launch(
        &self,
        graph: &Graph,
        step: &Step,
        launch: &Launch,
        direct: &[Option<PlanValueId>],
    ) -> Result<LoadedAction, RuntimeError> {
        let ends = step.outputs.iter().chain(step.inputs.iter().flatten());
        let place = ends.filter_map(|id| graph.values.get(id.index())).map(|value| value.place).next();
        let place = place.unwrap_or(Place::MAIN);
        let changing = Changing::of(graph, step, direct);
        let (mut loaded, mut is_capturable) = (Vec::new(), !changing.reads_made(graph, step));
        for variant in launch.variants() {
            let (kernel, can_capture) = self.variant(graph, (step, variant), place)?;
            is_capturable &= can_capture;
            loaded.push(kernel);
        }
        let general =
            loaded.last().cloned().ok_or_else(|| RuntimeError::Damaged("a step without kernel".to_owned()))?;
        let kernel = match *general {
            Loaded::Values(_) => return Ok(LoadedAction::Values(general)),
            Loaded::Kernel(kernel) => kernel,
        };
        if !step.outputs.iter().all(|id| graph.is_in_arena(*id)) {
            return Ok(LoadedAction::Dynamic { kernel, place, size_operands: launch.region.size_operands() });
        }
        let number = |loaded: &Arc<Loaded<KernelId>>| match **loaded {
            Loaded::Kernel(kernel) => Ok(kernel),
            Loaded::Values(_) => {
                Err(RuntimeError::Damaged("kernels of a step take memory and whole values".to_owned()))
            }
        };
        let kernels = loaded.iter().map(number).collect::<Result<_, _>>()?;
        Ok(LoadedAction::Launch { kernels, place, changing, is_capturable })
    }

    /// Loads a kernel of a step, and says whether a device may record its launches.
    fn variant(
        &self,
        graph: &Graph,
        (step, variant): (&Step, &Variant),
        place: Place,
    ) -> Result<(Arc<Loaded<KernelId>>, bool), RuntimeError> {
        let name = &variant.recipe.tactic;
        let failed = |source| RuntimeError::Load { tactic: name.clone(), source };
        let unknown = || RuntimeError::Tactic { tactic: name.clone() };
        let kernels = self.kernels.get(place.index()).ok_or_else(unknown)?;
        let tactic = kernels.back_end().tactic(name).ok_or_else(unknown)?;
        let region = step.region().ok_or_else(|| failed(KernelError::Recipe("a step without region".to_owned())))?;
        let code = variant.code.map(|code| {
            let missing = || failed(KernelError::Recipe(format!("there is no machine code {code}")));
            self.code.get(code.index()).ok_or_else(missing)
        });
        let loaded = kernels.load(&variant.recipe, region, code.transpose()?).map_err(failed)?;
        let target = kernels.device().target();
        let candidate = offer::check(tactic, graph, (step, variant), self.sizes, target).map_err(failed)?;
        Ok((loaded, candidate.is_some_and(|candidate| candidate.capturable)))
    }
}

fn releases(graph: &Graph) -> Vec<Vec<PlanValueId>> {
    let mut last: Vec<Option<usize>> = vec![None; graph.values.len()];
    for (position, step) in graph.steps.iter().enumerate() {
        for id in step.inputs.iter().flatten().chain(&step.outputs) {
            if let Some(slot) = last.get_mut(id.index()) {
                *slot = Some(position);
            }
        }
    }
    let mut releases = vec![Vec::new(); graph.steps.len()];
    for (index, (value, last)) in graph.values.iter().zip(last).enumerate() {
        let id = PlanValueId::new(index);
        let dies = value.storage == Storage::Dynamic && !graph.outputs.contains(&id);
        if let Some(list) = last.filter(|_| dies).and_then(|position| releases.get_mut(position)) {
            list.push(id);
        }
    }
    releases
}
