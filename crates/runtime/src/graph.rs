//! Graphs with their kernels loaded.

use std::ops::Range;
use std::sync::Arc;

use sinter_backend::{KernelId, Kernels, Loaded};
use sinter_base::Dim;
use sinter_plan::{Action, Graph, Home, PlanValueId, Step};

use crate::arguments::Changing;
use crate::capture::segments;
use crate::error::RuntimeError;
use crate::layout::Layout;
use crate::offer;

/// What a loaded step does.
pub(crate) enum LoadedAction {
    /// A launch whose results lie in the arena, or with the caller.
    Launch {
        /// What is launched.
        kernel: KernelId,
        /// Operands and results that lie elsewhere in every run.
        changing: Changing,
        /// May a device record it?
        is_capturable: bool,
    },
    /// A launch with results whose sizes are known only during the run.
    Open {
        /// What is launched.
        kernel: KernelId,
        /// Operands whose contents decide sizes of the results.
        size_operands: Vec<usize>,
    },
    /// A call of a kernel on whole values.
    Values(Arc<Loaded<KernelId>>),
    /// Nothing.
    Placed,
    /// The bodies of control flow.
    Control(Vec<LoadedGraph>),
}

/// The kernels of a graph, parallel to its steps.
pub(crate) struct LoadedGraph {
    /// Parallel to the plan's steps.
    pub(crate) actions: Vec<LoadedAction>,
    /// Parallel to the plan's steps: values made at run time that no later step needs.
    pub(crate) releases: Vec<Vec<PlanValueId>>,
    /// What its memory depends on.
    pub(crate) layout: Layout,
    /// Steps that a device may record together. Bodies have none: what an iteration carries lies elsewhere each time.
    pub(crate) segments: Vec<Range<usize>>,
}

impl LoadedGraph {
    /// Loads every kernel of a graph and of the graphs inside it; `sizes` are what the registers of the plan compute,
    /// `direct` the values that may lie with the caller.
    ///
    /// # Errors
    /// When a kernel is unknown to the back end or cannot be loaded.
    pub(crate) fn load(
        graph: &Graph,
        sizes: &[Option<Dim>],
        direct: &[Option<PlanValueId>],
        kernels: &Kernels<'_>,
    ) -> Result<Self, RuntimeError> {
        let load = |step: &Step| match &step.action {
            Action::Control { graphs, .. } => {
                let load = |graph| {
                    let body = Self::load(graph, sizes, &[], kernels)?;
                    Ok::<_, RuntimeError>(Self { segments: Vec::new(), ..body })
                };
                Ok(LoadedAction::Control(graphs.iter().map(load).collect::<Result<_, _>>()?))
            }
            Action::Placed { .. } => Ok(LoadedAction::Placed),
            Action::Kernel { recipe, region, .. } => {
                let name = &recipe.tactic;
                let tactic = kernels.back_end().tactic(name);
                let tactic = tactic.ok_or_else(|| RuntimeError::Tactic { tactic: name.clone() })?;
                let failed = |source| RuntimeError::Load { tactic: name.clone(), source };
                let loaded = kernels.load(recipe, region).map_err(failed)?;
                let candidate = offer::check(tactic, graph, step, sizes, kernels.device().target()).map_err(failed)?;
                Ok(match *loaded {
                    Loaded::Values(_) => LoadedAction::Values(loaded),
                    Loaded::Kernel(kernel) if step.outputs.iter().all(|id| graph.is_in_arena(*id)) => {
                        let changing = Changing::of(graph, step, direct);
                        let is_capturable = candidate.is_some_and(|candidate| candidate.capturable)
                            && !changing.reads_made(graph, step);
                        LoadedAction::Launch { kernel, changing, is_capturable }
                    }
                    Loaded::Kernel(kernel) => LoadedAction::Open { kernel, size_operands: region.size_operands() },
                })
            }
        };
        let actions = graph.steps.iter().map(load).collect::<Result<Vec<_>, RuntimeError>>()?;
        let segments = segments(&actions);
        Ok(Self { actions, releases: releases(graph), layout: Layout::of(graph), segments })
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
        let dies = value.home == Home::Dynamic && !graph.outputs.contains(&id);
        if let Some(list) = last.filter(|_| dies).and_then(|position| releases.get_mut(position)) {
            list.push(id);
        }
    }
    releases
}
