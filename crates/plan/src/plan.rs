//! A plan in memory: the builder writes it, the runtime runs it.

use sinter_backend::{Code, Recipe, Region, Target};
use sinter_base::{Tensor, ValueType, typed_id};

use crate::report::Report;
use crate::self_test::SelfTest;
use crate::shape_program::{Register, ShapeProgram};
use crate::weight_expression::WeightExpression;

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

typed_id! {
    /// Machine code of the plan.
    CodeId "c"
}

typed_id! {
    /// A device of the plan: 0 is the device of its target, others are those of its islands.
    Place "p"
}

impl Place {
    /// The device of the plan's target.
    pub const MAIN: Self = Self(0);
    /// The device of the first island.
    pub const ISLAND: Self = Self(1);
}

/// A buffer alias: its elements in row-major order are rows of the base buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alias {
    /// The value that owns the memory: a value of the arena or an input; never an alias itself.
    pub base: PlanValueId,
    /// Register with the offset of the first element in the base buffer.
    pub offset: Register,
    /// Register with the elements of a row, which are contiguous.
    pub inner: Register,
    /// Register with the row pitch: elements of the base buffer from the start of a row to the start of the next.
    pub step: Register,
}

/// The storage of a value while its graph runs.
#[derive(Clone, Debug, PartialEq)]
pub enum Storage {
    /// The caller gives it: an input of the graph.
    Input,
    /// In the weights section.
    Weight(WeightId),
    /// In a buffer of the arena; sizes are known before the run.
    Arena(BufferId),
    /// In the memory of another value.
    Alias(Alias),
    /// Its step makes it, and alone knows its sizes, or even the kind of value.
    Dynamic,
    /// A small tensor of integers, each in a register: sizes, or numbers computed from them. No step makes it.
    Registers(Vec<Register>),
}

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanValue {
    /// Its type, symbolic.
    pub ty: ValueType,
    /// Registers with its sizes, when they are known before the run.
    pub sizes: Option<Vec<Register>>,
    /// Its storage.
    pub storage: Storage,
    /// Its device.
    pub place: Place,
}

/// One kernel that a step may launch.
#[derive(Clone, Debug, PartialEq)]
pub struct Variant {
    /// Pairs of registers: the variant is for sizes where each pair is equal.
    pub guards: Vec<(Register, Register)>,
    /// The tactic with its parameters.
    pub recipe: Recipe,
    /// Operands that are packed weights; only the kernel knows their layout.
    pub packed: Vec<usize>,
    /// Operands of this variant that replace those of the step: weights packed in another way.
    pub replaced: Vec<(usize, PlanValueId)>,
    /// Register with the bytes of scratch memory.
    pub workspace: Option<Register>,
    /// Its machine code.
    pub code: Option<CodeId>,
}

/// A kernel on a region.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    /// The problem that kernels were chosen for.
    pub region: Region,
    /// (operand, result) pairs that share memory.
    pub in_place: Vec<(usize, usize)>,
    /// The kernel for all sizes.
    pub general: Variant,
    /// Kernels for some sizes; the runtime launches the first one whose guards hold, in place of the general one.
    pub special: Vec<Variant>,
}

/// The action of a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Launches a kernel.
    Launch(Launch),
    /// Copies a value from one device to another.
    Copy,
    /// Reads the sizes of its operands, which only their kernels know, and binds the names in the operands' types to them:
    /// later steps may depend on these names. It stands in the outermost graph and has no results.
    Sync,
    /// No work: a concatenation whose operands are aliases of its result, a slice that is an alias of its operand, or a
    /// reshape where one of both is an alias of the other.
    Alias {
        /// The operator, as the only node of a region.
        region: Region,
    },
    /// Control flow: the region's only operator determines the kind, the graphs are its bodies.
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
    /// Its action.
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
    /// Default where the caller gives no value.
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

/// A condition on sizes, which the runtime checks.
#[derive(Clone, Debug, PartialEq)]
pub struct PlanGuard {
    /// One side.
    pub left: Register,
    /// The other side.
    pub right: Register,
    /// Explains to the user why they must be equal.
    pub reason: String,
}

/// See the module documentation.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Name given by the model.
    pub name: String,
    /// The target of its kernels.
    pub target: Target,
    /// The targets of its islands, at the places 1, 2 and so on.
    pub islands: Vec<Target>,
    /// The outermost graph.
    pub graph: Graph,
    /// User inputs in order.
    pub inputs: Vec<Port>,
    /// User outputs in order.
    pub outputs: Vec<Port>,
    /// Weights.
    pub weights: Vec<PlanWeight>,
    /// How weights follow from tensors of the model; empty in a plan that cannot be refitted.
    pub expressions: Vec<WeightExpression>,
    /// Machine code of its kernels.
    pub code: Vec<Code>,
    /// The program that computes all sizes.
    pub shapes: ShapeProgram,
    /// Conditions on sizes.
    pub guards: Vec<PlanGuard>,
    /// Self-test vectors; `None` in a plan that was built without verification.
    pub self_test: Option<SelfTest>,
    /// The report; `None` in a plan that was made by hand, or in a format version without reports.
    pub report: Option<Report>,
}

impl PlanWeight {
    /// A weight.
    pub fn new(name: String, tensor: Tensor) -> Self {
        Self { name, tensor, hash: None }
    }

    /// The weight with the hash that a reader has checked.
    pub(crate) fn checked(self, hash: [u8; 32]) -> Self {
        Self { hash: Some(hash), ..self }
    }

    /// Elements, inside the mapped file after loading.
    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// BLAKE3 of the elements, if a reader has checked it.
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

impl PlanValue {
    /// The tensor of a value in registers with these contents; `None` for any other value, and for elements that do not
    /// fit.
    pub fn in_registers(&self, registers: &[i64]) -> Option<Tensor> {
        let Storage::Registers(elements) = &self.storage else { return None };
        let tensor = self.ty.as_tensor()?;
        let read = |register: &Register| usize::try_from(register.0).ok().and_then(|at| registers.get(at)).copied();
        let elements: Vec<i128> =
            elements.iter().map(|register| read(register).map(i128::from)).collect::<Option<_>>()?;
        Tensor::from_ints(tensor.data_type, &tensor.shape.sizes()?, &elements).ok()
    }
}

impl Variant {
    /// A kernel for all sizes, without code, packed weights or scratch memory.
    pub fn of(recipe: Recipe) -> Self {
        Self { guards: Vec::new(), recipe, packed: Vec::new(), replaced: Vec::new(), workspace: None, code: None }
    }
}

impl Launch {
    /// One kernel for all sizes.
    pub fn of(region: Region, general: Variant) -> Self {
        Self { region, in_place: Vec::new(), general, special: Vec::new() }
    }

    /// All kernels, in the order in which the runtime tests their guards.
    pub fn variants(&self) -> impl Iterator<Item = &Variant> {
        self.special.iter().chain([&self.general])
    }

    /// As [`Launch::variants`].
    pub fn variants_mut(&mut self) -> impl Iterator<Item = &mut Variant> {
        self.special.iter_mut().chain([&mut self.general])
    }
}

impl Step {
    /// The operators of the step; `None` for a copy or a `Sync`.
    pub fn region(&self) -> Option<&Region> {
        match &self.action {
            Action::Launch(Launch { region, .. }) | Action::Alias { region } | Action::Control { region, .. } => {
                Some(region)
            }
            Action::Copy | Action::Sync => None,
        }
    }

    /// The launch, if the step is one.
    pub fn launch(&self) -> Option<&Launch> {
        match &self.action {
            Action::Launch(launch) => Some(launch),
            _ => None,
        }
    }

    /// As [`Step::launch`].
    pub fn launch_mut(&mut self) -> Option<&mut Launch> {
        match &mut self.action {
            Action::Launch(launch) => Some(launch),
            _ => None,
        }
    }

    /// (operand, result) pairs that share memory.
    pub fn in_place(&self) -> &[(usize, usize)] {
        self.launch().map_or(&[], |launch| &launch.in_place)
    }
}

impl Graph {
    /// The value that owns the memory of this one: the base buffer of an alias, else the value itself.
    pub fn base(&self, id: PlanValueId) -> PlanValueId {
        match self.values.get(id.index()).map(|value| &value.storage) {
            Some(Storage::Alias(alias)) => alias.base,
            _ => id,
        }
    }

    /// Is the value all of its base buffer, in the same order? An alias inside of its base buffer is that where both have
    /// equally many elements.
    pub fn is_whole(&self, id: PlanValueId) -> bool {
        let base = self.base(id);
        let count = |id: PlanValueId| self.values.get(id.index())?.ty.as_tensor()?.shape.count().ok();
        base == id || count(id).is_some_and(|own| count(base) == Some(own))
    }

    /// Does the value lie in the arena, in a buffer of its own or as an alias?
    pub fn is_in_arena(&self, id: PlanValueId) -> bool {
        let base = self.base(id);
        matches!(self.values.get(base.index()).map(|value| &value.storage), Some(Storage::Arena(_)))
    }

    /// For every value that owns memory, the last step that accesses it or an alias of it; `usize::MAX` for results.
    pub fn last_uses(&self) -> Vec<usize> {
        let mut last = vec![0; self.values.len()];
        let mut touch = |id: PlanValueId, position: usize| {
            if let Some(slot) = last.get_mut(self.base(id).index()) {
                *slot = position;
            }
        };
        for (position, step) in self.steps.iter().enumerate() {
            step.inputs.iter().flatten().chain(&step.outputs).for_each(|id| touch(*id, position));
            let variants = step.launch().into_iter().flat_map(Launch::variants);
            variants.flat_map(|variant| &variant.replaced).for_each(|(_, id)| touch(*id, position));
        }
        self.outputs.iter().for_each(|id| touch(*id, usize::MAX));
        last
    }

    /// Calls `visit` for every step, those of the bodies of control flow included, each before what is inside it.
    pub fn visit_steps<'a>(&'a self, visit: &mut dyn FnMut(&'a Step)) {
        self.visit(&mut |_, step| visit(step));
    }

    /// As [`Graph::visit_steps`], with the graph of each step.
    pub fn visit<'a>(&'a self, visit: &mut dyn FnMut(&'a Graph, &'a Step)) {
        for step in &self.steps {
            visit(self, step);
            if let Action::Control { graphs, .. } = &step.action {
                graphs.iter().for_each(|graph| graph.visit(visit));
            }
        }
    }
}

impl Plan {
    /// Names of the tactics of all steps, in order, those inside of control flow included.
    pub fn tactics(&self) -> Vec<&str> {
        let mut names = Vec::new();
        self.graph.visit_steps(&mut |step| {
            let variants = step.launch().into_iter().flat_map(Launch::variants);
            names.extend(variants.map(|variant| variant.recipe.tactic.as_str()));
        });
        names
    }

    /// The target of a place.
    pub fn target_of(&self, place: Place) -> Option<&Target> {
        match place.index().checked_sub(1) {
            None => Some(&self.target),
            Some(island) => self.islands.get(island),
        }
    }

    /// Number of places.
    pub fn places(&self) -> usize {
        self.islands.len().saturating_add(1)
    }
}
