//! Graphs with their kernels loaded.

use sinter_backend::{BackEnd, Device, Loaded};
use sinter_plan::{Action, Graph};

use crate::error::RuntimeError;

/// What a loaded step calls.
pub enum LoadedAction {
    /// A kernel.
    Kernel(Loaded),
    /// The bodies of control flow.
    Control(Vec<LoadedGraph>),
}

/// The kernels of a graph, parallel to its steps.
pub struct LoadedGraph {
    /// Parallel to the plan's steps.
    pub actions: Vec<LoadedAction>,
}

impl LoadedGraph {
    /// Loads every kernel of a graph and of the graphs inside it.
    ///
    /// # Errors
    /// When a kernel is unknown to the back end or cannot be loaded.
    pub fn load(graph: &Graph, back_end: &dyn BackEnd, device: &Device) -> Result<Self, RuntimeError> {
        let actions = graph
            .steps
            .iter()
            .map(|step| match &step.action {
                Action::Control { graphs, .. } => {
                    let inner = graphs.iter().map(|g| Self::load(g, back_end, device)).collect::<Result<_, _>>()?;
                    Ok(LoadedAction::Control(inner))
                }
                Action::Kernel { recipe, region, .. } => {
                    let name = &recipe.tactic;
                    let tactic = back_end.tactic(name).ok_or_else(|| RuntimeError::Tactic { tactic: name.clone() })?;
                    let loaded = tactic.load(recipe, region, device);
                    loaded
                        .map(LoadedAction::Kernel)
                        .map_err(|source| RuntimeError::Load { tactic: name.clone(), source })
                }
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { actions })
    }
}
