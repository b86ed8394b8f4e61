//! Stages: when each size of a plan is known.
//!
//! Sizes of stage 0 follow from the inputs of a run. A `Sync` step of the outermost graph reads the sizes that kernels gave
//! its operands: it binds the names in their types, and sizes that depend on names of the n-th `Sync` step are of stage n.

use std::collections::{HashMap, HashSet};

use crate::plan::{Action, Graph, Launch, Plan, PlanValueId, Step, Storage};
use crate::shape_program::Register;

/// Limit on the stages of a plan.
const MOST: usize = 64;

/// See the module documentation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stages {
    of_register: Vec<usize>,
    count: usize,
}

fn names_of(graph: &Graph, id: PlanValueId) -> impl Iterator<Item = &str> {
    let ty = graph.values.get(id.index()).and_then(|value| value.ty.as_tensor());
    ty.and_then(|ty| ty.dims().ok()).unwrap_or_default().iter().filter_map(|dim| dim.as_symbol())
}

impl Stages {
    /// The stages of a plan.
    pub fn of(plan: &Plan) -> Self {
        let graph = &plan.graph;
        let mut bound: HashMap<&str, usize> = HashMap::new();
        plan.inputs.iter().flat_map(|port| names_of(graph, port.value)).for_each(|name| _ = bound.insert(name, 0));
        let mut count = 1usize;
        for step in graph.steps.iter().filter(|step| matches!(step.action, Action::Sync)) {
            for name in step.inputs.iter().flatten().flat_map(|id| names_of(graph, *id)) {
                bound.entry(name).or_insert(count);
            }
            count = count.saturating_add(1);
        }
        let program = &plan.shapes;
        let mut of_register = vec![0; program.constants().len()];
        of_register.extend(program.symbols().iter().map(|name| bound.get(name.as_str()).copied().unwrap_or(0)));
        for (_, a, b) in program.instructions() {
            let of = |register: &Register| index(*register).and_then(|at| of_register.get(at)).copied().unwrap_or(0);
            of_register.push(of(a).max(of(b)));
        }
        Self { of_register, count }
    }

    /// Number of stages: that of `Sync` steps, plus one.
    pub fn count(&self) -> usize {
        self.count.max(1)
    }

    /// The stage of a register.
    pub fn of_register(&self, register: Register) -> usize {
        index(register).and_then(|at| self.of_register.get(at)).copied().unwrap_or(0)
    }

    /// The stage of each register.
    pub fn registers(&self) -> &[usize] {
        &self.of_register
    }

    /// The latest stage of several registers.
    pub fn latest<'a>(&self, registers: impl IntoIterator<Item = &'a Register>) -> usize {
        registers.into_iter().map(|register| self.of_register(*register)).max().unwrap_or(0)
    }

    /// The stage in which the memory of a value is known; that of an alias follows that of its base buffer.
    pub fn of_value(&self, graph: &Graph, id: PlanValueId) -> usize {
        let Some(value) = graph.values.get(id.index()) else { return 0 };
        let own = self.latest(value.sizes.iter().flatten());
        match &value.storage {
            Storage::Alias(alias) => {
                let base = graph.values.get(alias.base.index()).and_then(|base| base.sizes.as_ref());
                let base = self.latest(base.into_iter().flatten());
                own.max(base).max(self.latest([&alias.offset, &alias.inner, &alias.step]))
            }
            Storage::Registers(elements) => own.max(self.latest(elements)),
            Storage::Arena(_) => own,
            // Its step alone knows the sizes, or they are checked when it is bound.
            Storage::Input | Storage::Weight(_) | Storage::Dynamic => 0,
        }
    }

    /// The stage in which the arguments of a launch of the outermost graph are known.
    pub fn of_step(&self, graph: &Graph, step: &Step) -> usize {
        let values = step.inputs.iter().flatten().chain(&step.outputs).map(|id| self.of_value(graph, *id));
        let variants = step.launch().into_iter().flat_map(Launch::variants);
        let kernels = variants.map(|variant| {
            let guards = variant.guards.iter().flat_map(|(left, right)| [left, right]);
            self.latest(guards.chain(&variant.workspace))
        });
        values.chain(kernels).max().unwrap_or(0)
    }
}

fn index(register: Register) -> Option<usize> {
    usize::try_from(register.0).ok()
}

/// The values whose sizes `Sync` steps read.
pub(crate) fn synced(graph: &Graph) -> HashSet<PlanValueId> {
    let syncs = graph.steps.iter().filter(|step| matches!(step.action, Action::Sync));
    syncs.flat_map(|step| step.inputs.iter().flatten()).copied().collect()
}

/// Checks that every step of the outermost graph comes after the `Sync` steps that its sizes depend on.
///
/// # Errors
/// The first step or value that comes before.
pub(crate) fn check(plan: &Plan) -> Result<(), String> {
    let graph = &plan.graph;
    let stages = Stages::of(plan);
    if stages.count() == 1 {
        return Ok(());
    }
    if stages.count() > MOST {
        return Err(format!("{} stages", stages.count()));
    }
    let mut buffers = HashMap::new();
    for (at, value) in graph.values.iter().enumerate() {
        let stage = stages.of_value(graph, PlanValueId::new(at));
        if let Storage::Arena(buffer) = value.storage
            && *buffers.entry(buffer).or_insert(stage) != stage
        {
            return Err(format!("buffer {buffer} has sizes of two stages"));
        }
    }
    if let Some(port) = plan.outputs.iter().find(|port| stages.of_value(graph, port.value) > 0) {
        return Err(format!("output '{}' has sizes that a kernel tells, and lies in the arena", port.name));
    }
    let mut now = 0usize;
    let mut read: HashSet<PlanValueId> = HashSet::new();
    for step in &graph.steps {
        let at = || step.origins.join(", ");
        if matches!(step.action, Action::Sync) {
            now = now.saturating_add(1);
            read.extend(step.inputs.iter().flatten());
            continue;
        }
        if stages.of_step(graph, step) > now {
            return Err(format!("the step of {} depends on sizes that a later step tells", at()));
        }
        let is_fixed = |id: &PlanValueId| {
            let storage = graph.values.get(id.index()).map(|value| &value.storage);
            matches!(storage, Some(Storage::Arena(_) | Storage::Alias(_)))
        };
        let is_unread = |id: &&PlanValueId| {
            let storage = graph.values.get(id.index()).map(|value| &value.storage);
            storage == Some(&Storage::Dynamic) && !read.contains(id)
        };
        if step.outputs.iter().any(is_fixed)
            && let Some(id) = step.inputs.iter().flatten().find(is_unread)
        {
            return Err(format!("the step of {} depends on the sizes of {id} before they are read", at()));
        }
        if let Action::Control { graphs, .. } = &step.action
            && graphs.iter().any(|body| latest_inside(&stages, body) > now)
        {
            return Err(format!("a body of {} depends on sizes that a later step tells", at()));
        }
    }
    Ok(())
}

/// The latest stage of the registers of a body.
fn latest_inside(stages: &Stages, graph: &Graph) -> usize {
    let values = (0..graph.values.len()).map(|at| stages.of_value(graph, PlanValueId::new(at)));
    let sizes = graph.values.iter().map(|value| stages.latest(value.sizes.iter().flatten()));
    let steps = graph.steps.iter().map(|step| {
        let inside: &[Graph] = match &step.action {
            Action::Control { graphs, .. } => graphs,
            _ => &[],
        };
        let inside = inside.iter().map(|body| latest_inside(stages, body)).max().unwrap_or(0);
        stages.of_step(graph, step).max(inside)
    });
    values.chain(sizes).chain(steps).max().unwrap_or(0)
}
