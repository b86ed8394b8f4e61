//! Graphs with their kernels loaded.

use std::sync::Arc;

use sinter_backend::{Kernels, Loaded};
use sinter_base::Dim;
use sinter_plan::{Action, Graph, Home, PlanValueId};

use crate::error::RuntimeError;
use crate::layout::Layout;
use crate::offer;

/// What a loaded step calls.
pub enum LoadedAction {
    /// A kernel.
    Kernel {
        /// What is launched.
        kernel: Arc<Loaded>,
        /// Operands whose contents decide sizes of the results, where these are known only during the run.
        size_operands: Vec<usize>,
    },
    /// Nothing.
    Placed,
    /// The bodies of control flow.
    Control(Vec<LoadedGraph>),
}

/// The kernels of a graph, parallel to its steps.
pub struct LoadedGraph {
    /// Parallel to the plan's steps.
    pub actions: Vec<LoadedAction>,
    /// Parallel to the plan's steps: values made at run time that no later step needs.
    pub releases: Vec<Vec<PlanValueId>>,
    /// What its memory depends on.
    pub layout: Layout,
}

impl LoadedGraph {
    /// Loads every kernel of a graph and of the graphs inside it; `sizes` are what the registers of the plan compute.
    ///
    /// # Errors
    /// When a kernel is unknown to the back end or cannot be loaded.
    pub fn load(graph: &Graph, sizes: &[Option<Dim>], kernels: &Kernels<'_>) -> Result<Self, RuntimeError> {
        let actions = graph
            .steps
            .iter()
            .map(|step| match &step.action {
                Action::Control { graphs, .. } => {
                    let inner = graphs.iter().map(|g| Self::load(g, sizes, kernels)).collect::<Result<_, _>>()?;
                    Ok(LoadedAction::Control(inner))
                }
                Action::Placed { .. } => Ok(LoadedAction::Placed),
                Action::Kernel { recipe, region, .. } => {
                    let name = &recipe.tactic;
                    let tactic =
                        kernels.back_end().tactic(name).ok_or_else(|| RuntimeError::Tactic { tactic: name.clone() })?;
                    let failed = |source| RuntimeError::Load { tactic: name.clone(), source };
                    let kernel = kernels.load(recipe, region).map_err(failed)?;
                    offer::check(tactic, graph, step, sizes, kernels.target()).map_err(failed)?;
                    Ok(LoadedAction::Kernel { kernel, size_operands: region.size_operands() })
                }
            })
            .collect::<Result<_, RuntimeError>>()?;
        Ok(Self { actions, releases: releases(graph), layout: Layout::of(graph) })
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
