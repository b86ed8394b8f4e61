//! A plan in memory: what the builder writes and the runtime runs.

use sinter_backend::{Recipe, Region, Target};
use sinter_base::{Tensor, ValueType, typed_id};

use crate::report::Report;
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

/// A part of another value: its elements in row-major order are rows of the whole's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// The value that owns the memory: one of the arena, or an input; no part itself.
    pub whole: PlanValueId,
    /// Register with the element of the whole that is the first one.
    pub offset: Register,
    /// Register with the elements of a row, which lie one after the other.
    pub inner: Register,
    /// Register with the elements of the whole from the start of a row to the start of the next.
    pub step: Register,
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
    /// In the memory of another value.
    Part(Part),
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
    /// Nothing: a concatenation whose operands were written where the result has them, or a slice that lies where the
    /// operand has it.
    Placed {
        /// The operator, as the only node of a region.
        region: Region,
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
#[derive(Clone, Debug)]
pub struct PlanWeight {
    /// Name given by the model; may be empty.
    pub name: String,
    tensor: Tensor,
    hash: Option<[u8; 32]>,
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
    /// What its kernels were chosen for.
    pub target: Target,
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
    /// How it came about; `None` in a plan that was made by hand, or before there were reports.
    pub report: Option<Report>,
}

impl PlanWeight {
    /// A weight.
    pub fn new(name: String, tensor: Tensor) -> Self {
        Self { name, tensor, hash: None }
    }

    /// The weight, whose elements were found to have this hash.
    pub(crate) fn checked(self, hash: [u8; 32]) -> Self {
        Self { hash: Some(hash), ..self }
    }

    /// Elements, inside the mapped file after loading.
    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// BLAKE3 of the elements, where a reader checked it.
    pub fn hash(&self) -> Option<&[u8; 32]> {
        self.hash.as_ref()
    }
}

/// The hash follows from the elements.
impl PartialEq for PlanWeight {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.tensor == other.tensor
    }
}

impl Step {
    /// The operators that it stands for.
    pub fn region(&self) -> &Region {
        match &self.action {
            Action::Kernel { region, .. } | Action::Placed { region } | Action::Control { region, .. } => region,
        }
    }
}

impl Graph {
    /// The value that owns the memory of this one: itself, unless it is a part.
    pub fn whole(&self, id: PlanValueId) -> PlanValueId {
        match self.values.get(id.index()).map(|value| &value.home) {
            Some(Home::Part(part)) => part.whole,
            _ => id,
        }
    }

    /// Does the value lie in the arena, in a place of its own or as a part?
    pub fn is_in_arena(&self, id: PlanValueId) -> bool {
        let whole = self.whole(id);
        matches!(self.values.get(whole.index()).map(|value| &value.home), Some(Home::Arena(_)))
    }

    /// For every value with memory of its own, the last step that touches it or a part of it; `usize::MAX` for results.
    pub fn last_uses(&self) -> Vec<usize> {
        let mut last = vec![0; self.values.len()];
        let mut touch = |id: PlanValueId, position: usize| {
            if let Some(slot) = last.get_mut(self.whole(id).index()) {
                *slot = position;
            }
        };
        for (position, step) in self.steps.iter().enumerate() {
            step.inputs.iter().flatten().chain(&step.outputs).for_each(|id| touch(*id, position));
        }
        self.outputs.iter().for_each(|id| touch(*id, usize::MAX));
        last
    }

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
