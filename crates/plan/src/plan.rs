//! A plan in memory: what the builder writes and the runtime runs.

use sinter_backend::{Device, Recipe, Region};
use sinter_base::{Tensor, ValueType, typed_id};

use crate::sealed::Sealed;
use crate::shape_program::{Register, ShapeProgram};

typed_id! {
    /// A value of one graph of a plan.
    PlanValueId "v"
}

typed_id! {
    /// A buffer of the arena.
    BufferId "b"
}

typed_id! {
    /// A weight of the plan.
    WeightId "w"
}

/// Where a value lives while its graph runs.
#[derive(Clone, Debug, PartialEq)]
pub enum Home {
    /// Given from outside: an input of the graph.
    Input,
    /// In the weights section.
    Weight(WeightId),
    /// In a buffer of the arena; sizes are known before the run.
    Arena(BufferId),
    /// Made by its step: sizes, or even the kind of value, are known only then.
    Dynamic,
}

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanValue {
    /// Its type, symbolic.
    pub ty: ValueType,
    /// Registers with its sizes, when they are known before the run.
    pub sizes: Option<Vec<Register>>,
    /// Where it lives.
    pub home: Home,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Launches the kernel of a recipe on its region.
    Kernel {
        /// Which tactic with which parameters.
        recipe: Recipe,
        /// The problem it was chosen for.
        region: Region,
        /// (operand, result) pairs that share memory.
        in_place: Vec<(usize, usize)>,
        /// Operands that are weights in the form that the tactic packed them in: the kernel alone knows it.
        packed: Vec<usize>,
        /// Register with the bytes of scratch memory.
        workspace: Option<Register>,
    },
    /// Control flow: the region's only operator says which kind, the graphs are its bodies.
    Control {
        /// The operator, as the only node of a region.
        region: Region,
        /// Its bodies.
        graphs: Vec<Graph>,
    },
}

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What it does.
    pub action: Action,
    /// Operands; `None` for one that is left out.
    pub inputs: Vec<Option<PlanValueId>>,
    /// Results.
    pub outputs: Vec<PlanValueId>,
    /// Sources in the model.
    pub origins: Vec<String>,
}

/// Steps in order over values.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graph {
    /// Values.
    pub values: Vec<PlanValue>,
    /// Inputs in order.
    pub inputs: Vec<PlanValueId>,
    /// Results in order.
    pub outputs: Vec<PlanValueId>,
    /// Steps in execution order.
    pub steps: Vec<Step>,
}

/// A user input or output.
#[derive(Clone, Debug, PartialEq)]
pub struct Port {
    /// Name given by the model.
    pub name: String,
    /// Value of the outermost graph.
    pub value: PlanValueId,
    /// What stands in when the user gives nothing.
    pub default: Option<WeightId>,
}

/// A weight with its elements.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanWeight {
    /// Name given by the model; may be empty.
    pub name: String,
    /// Elements, inside the mapped file after loading.
    pub tensor: Tensor,
}

/// A condition on sizes to check when they are known.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanGuard {
    /// One side.
    pub left: Register,
    /// The other side.
    pub right: Register,
    /// What it means when they differ.
    pub reason: String,
}

/// See the module documentation.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Name given by the model.
    pub name: String,
    /// The device that it was built for.
    pub device: Device,
    /// What is computed.
    pub graph: Graph,
    /// User inputs in order.
    pub inputs: Vec<Port>,
    /// User outputs in order.
    pub outputs: Vec<Port>,
    /// Weights.
    pub weights: Vec<PlanWeight>,
    /// All sizes.
    pub shapes: ShapeProgram,
    /// Conditions on sizes.
    pub guards: Vec<PlanGuard>,
    /// Known answers; `None` in a plan that nobody verified.
    pub sealed: Option<Sealed>,
}

impl Graph {
    /// Calls `visit` for every step, those of the bodies of control flow included, each before what is inside it.
    pub fn visit_steps<'a>(&'a self, visit: &mut dyn FnMut(&'a Step)) {
        for step in &self.steps {
            visit(step);
            if let Action::Control { graphs, .. } = &step.action {
                graphs.iter().for_each(|graph| graph.visit_steps(visit));
            }
        }
    }
}

impl Plan {
    /// Names of the tactics of all steps, in order, those inside of control flow included.
    pub fn tactics(&self) -> Vec<&str> {
        let mut names = Vec::new();
        self.graph.visit_steps(&mut |step| {
            if let Action::Kernel { recipe, .. } = &step.action {
                names.push(recipe.tactic.as_str());
            }
        });
        names
    }
}
