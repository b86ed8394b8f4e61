//! Decides the storage of every f32 value: f16, bf16, or f32 as before.
//!
//! Operators with a narrow form take and give the narrow type. Pointwise programs read any type; a result of one is narrow
//! unless only f32 operators read it, it may be much larger than its operands, or all that it reads is f32 and no narrow
//! operator reads it. Operators that move elements keep the type of what they move. So casts stand only where a chain of
//! narrow operators begins or ends.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use sinter_base::DataType;
use sinter_ir::Graph;
use sinter_ops::pointwise::program::Step;
use sinter_ops::pointwise::{Program, ScalarOp};
use sinter_ops::{Node, Op, ValueId};

use crate::precision::forms::{Form, Operands, form, narrows_result, takes_any_float};
use crate::precision::growth::growing_results;

/// The storage that a node must have, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fixed {
    pub(crate) storage: DataType,
    pub(crate) reason: String,
    /// Is the reason that a value exceeds the range of the type?
    pub(crate) is_range: bool,
}

/// Nodes whose storage is fixed, by position.
pub(crate) type FixedNodes = BTreeMap<usize, Fixed>;

/// What becomes of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// It stays; operands that are stored otherwise are cast.
    Stays,
    /// These operands, and its results, have this type.
    Narrow(Operands, DataType),
    /// A program that gives each of its f32 results in these types, the storage of the result first.
    Program(Vec<Vec<DataType>>),
}

/// The readers' wishes for a value.
#[derive(Clone, Debug, Default)]
struct Wanted {
    is_wide: bool,
    narrow: BTreeSet<&'static str>,
    types: Vec<DataType>,
}

impl Wanted {
    fn add(&mut self, data_type: DataType) {
        if data_type == DataType::F32 {
            self.is_wide = true;
        } else if self.narrow.insert(data_type.name()) {
            self.types.push(data_type);
        }
    }

    fn add_all(&mut self, other: &Self) {
        self.is_wide |= other.is_wide;
        other.types.iter().for_each(|data_type| self.add(*data_type));
    }
}

/// The storage of all values, and what becomes of the nodes.
pub(super) struct Assignment {
    pub(super) decisions: Vec<Decision>,
    /// By value; f32 where the value has another type of the model.
    pub(super) storage: Vec<DataType>,
    /// Nodes on f32 values that do not give narrow ones, and why.
    pub(super) kept: BTreeMap<usize, String>,
    /// Weights that programs read in f32, since a narrow type does not hold them.
    pub(super) wide_weights: HashSet<ValueId>,
}

/// Is the value an f32 tensor?
pub(super) fn is_f32(graph: &Graph<'_>, id: ValueId) -> bool {
    graph.tensor(id).is_some_and(|ty| ty.data_type == DataType::F32)
}

fn touches_f32(graph: &Graph<'_>, node: &Node) -> bool {
    node.inputs.iter().flatten().chain(&node.outputs).any(|id| is_f32(graph, *id))
}

/// The operands of a node at these positions, as far as they are given.
fn operands(node: &Node, positions: Operands) -> impl Iterator<Item = ValueId> + '_ {
    let given = node.inputs.iter().enumerate().filter(move |(index, _)| positions.contain(*index));
    given.filter_map(|(_, id)| *id)
}

/// What a node may become, whatever is around it.
enum Role {
    Stays(Option<String>),
    Computes(Operands, DataType),
    Moves(Operands, DataType),
    Program(DataType),
}

struct Assigner<'a, 'g> {
    graph: &'a Graph<'g>,
    roles: Vec<Role>,
    wanted: Vec<Wanted>,
    storage: Vec<DataType>,
    kept: BTreeMap<usize, String>,
}

/// Decides for a network whose nodes have this precision unless they are fixed.
pub(super) fn assign(graph: &Graph<'_>, fixed: &FixedNodes, network: DataType) -> Assignment {
    let count = graph.body().value_count();
    let mut assigner = Assigner {
        graph,
        roles: roles(graph, fixed, network),
        wanted: vec![Wanted::default(); count],
        storage: vec![DataType::F32; count],
        kept: BTreeMap::new(),
    };
    assigner.ask();
    let nodes = graph.body().nodes().len();
    let decisions = (0..nodes).map(|position| assigner.decide(position, fixed.get(&position))).collect();
    let Assigner { storage, kept, .. } = assigner;
    Assignment { decisions, storage, kept, wide_weights: HashSet::new() }
}

/// The roles of all nodes.
fn roles(graph: &Graph<'_>, fixed: &FixedNodes, network: DataType) -> Vec<Role> {
    let mut is_quantized = vec![false; graph.body().value_count()];
    let mut roles = Vec::new();
    for (position, node) in graph.body().nodes().iter().enumerate() {
        let form = form(&node.op);
        let reads_quantized = node.inputs.iter().flatten().any(|id| is_quantized[id.index()]);
        if matches!(node.op, Op::Dequantize(_)) || reads_quantized && matches!(form, Form::Moves(_) | Form::Follows) {
            node.outputs.iter().for_each(|id| is_quantized[id.index()] = true);
        }
        let fixed = fixed.get(&position);
        let storage = fixed.map_or(network, |fixed| fixed.storage);
        let is_wide = storage == DataType::F32;
        let why = || fixed.map(|fixed| fixed.reason.clone());
        // Products on quantized operands have kernels of their own.
        let quantized = || Role::Stays(Some("it computes with quantized operands".to_owned()));
        roles.push(match form {
            _ if !touches_f32(graph, node) => Role::Stays(None),
            Form::Program => Role::Program(storage),
            _ if is_wide => Role::Stays(why()),
            Form::Stays(reason) => Role::Stays(Some(reason.to_owned())),
            Form::Computes(_) | Form::Moves(_) | Form::Follows if reads_quantized => quantized(),
            Form::Computes(positions) | Form::Moves(positions)
                if !operands(node, positions).all(|id| is_f32(graph, id)) =>
            {
                Role::Stays(None)
            }
            Form::Computes(positions) => Role::Computes(positions, storage),
            Form::Moves(positions) => Role::Moves(positions, storage),
            Form::Follows => Role::Moves(Operands::These(&[0]), storage),
        });
    }
    roles
}

impl Assigner<'_, '_> {
    /// Collects the types that readers need, from the last node to the first.
    fn ask(&mut self) {
        for id in self.graph.body().outputs() {
            self.wanted[id.index()].add(DataType::F32);
        }
        for (position, node) in self.graph.body().nodes().iter().enumerate().rev() {
            let follows = form(&node.op) == Form::Follows;
            let mut passed = Wanted::default();
            for id in node.outputs.iter().filter(|id| is_f32(self.graph, **id) && !follows) {
                passed.add_all(&self.wanted[id.index()]);
            }
            for (index, id) in node.inputs.iter().enumerate() {
                let Some(id) = id.filter(|id| is_f32(self.graph, *id)) else { continue };
                let wanted = &mut self.wanted[id.index()];
                match &self.roles[position] {
                    Role::Program(_) => {}
                    Role::Computes(positions, storage) if positions.contain(index) => wanted.add(*storage),
                    Role::Moves(positions, _) if positions.contain(index) => wanted.add_all(&passed),
                    _ if takes_any_float(&node.op, index) => {}
                    _ => wanted.add(DataType::F32),
                }
            }
        }
    }

    /// The types that operands are stored in; weights have none.
    fn stored(&self, ids: impl Iterator<Item = ValueId>) -> Vec<DataType> {
        let computed = ids.filter(|id| is_f32(self.graph, *id) && self.graph.weight(*id).is_none());
        computed.map(|id| self.storage[id.index()]).collect()
    }

    fn decide(&mut self, position: usize, fixed: Option<&Fixed>) -> Decision {
        let node = self.graph.node(position);
        match &self.roles[position] {
            Role::Stays(reason) => {
                if let Some(reason) = reason {
                    self.kept.insert(position, reason.clone());
                }
                Decision::Stays
            }
            Role::Computes(positions, storage) => self.narrow(position, *positions, *storage),
            Role::Moves(positions, storage) => {
                let (positions, storage) = (*positions, *storage);
                let moved = match fixed {
                    Some(fixed) => fixed.storage,
                    None => self.moved_type(position, positions, storage),
                };
                match moved {
                    DataType::F32 => {
                        self.kept.insert(position, "what it reads is stored in f32".to_owned());
                        Decision::Stays
                    }
                    narrow => self.narrow(position, positions, narrow),
                }
            }
            Role::Program(storage) => {
                let Op::Pointwise(op) = &node.op else { return Decision::Stays };
                let storage = *storage;
                self.program(position, &op.program, storage, fixed)
            }
        }
    }

    fn narrow(&mut self, position: usize, positions: Operands, storage: DataType) -> Decision {
        let node = self.graph.node(position);
        for (index, id) in node.outputs.iter().enumerate() {
            if is_f32(self.graph, *id) && narrows_result(&node.op, index) {
                self.storage[id.index()] = storage;
            }
        }
        Decision::Narrow(positions, storage)
    }

    /// The type of moved elements: that of the first narrow operand; that of all readers where nothing narrow is read.
    fn moved_type(&self, position: usize, positions: Operands, storage: DataType) -> DataType {
        let node = self.graph.node(position);
        let stored = self.stored(operands(node, positions));
        if let Some(narrow) = stored.iter().find(|data_type| **data_type != DataType::F32) {
            return *narrow;
        }
        let follows = form(&node.op) == Form::Follows;
        let mut wanted = Wanted::default();
        node.outputs.iter().for_each(|id| wanted.add_all(&self.wanted[id.index()]));
        match wanted.types.as_slice() {
            _ if wanted.is_wide || follows => DataType::F32,
            [narrow] => *narrow,
            // Elements of a weight.
            [] if stored.is_empty() => storage,
            _ => DataType::F32,
        }
    }

    fn program(&mut self, position: usize, program: &Program, storage: DataType, fixed: Option<&Fixed>) -> Decision {
        let node = self.graph.node(position);
        let reads_narrow = self.stored(node.inputs.iter().flatten().copied()).iter().any(|t| *t != DataType::F32);
        let mut types = Vec::new();
        for (index, (id, grows)) in node.outputs.iter().zip(growing_results(program)).enumerate() {
            let wanted = &self.wanted[id.index()];
            let asked = wanted.types.first().copied();
            let reason = if !is_f32(self.graph, *id) || storage == DataType::F32 {
                Some(fixed.map_or_else(String::new, |fixed| fixed.reason.clone()))
            } else if fixed.is_some() {
                None
            } else if is_cast_to_f32(program, index) {
                Some("the model casts it to f32".to_owned())
            } else if grows {
                Some("a power or an exponential may be much larger than its operands".to_owned())
            } else if wanted.is_wide && asked.is_none() {
                Some("its readers take f32".to_owned())
            } else if !reads_narrow && asked.is_none() {
                Some("what it reads is stored in f32".to_owned())
            } else {
                None
            };
            let own = match &reason {
                None if fixed.is_some() => storage,
                None => asked.unwrap_or(storage),
                Some(_) => DataType::F32,
            };
            if let Some(reason) = reason.filter(|reason| !reason.is_empty()) {
                self.kept.entry(position).or_insert(reason);
            }
            let mut all = vec![own];
            if is_f32(self.graph, *id) {
                self.storage[id.index()] = own;
                // A result that must be narrow is narrow for all its readers.
                let is_rounded = own != DataType::F32 && fixed.is_some();
                let wide = (wanted.is_wide && !is_rounded).then_some(DataType::F32);
                let also = wide.into_iter().chain(wanted.types.iter().copied());
                all.extend(also.filter(|data_type| *data_type != own));
            }
            types.push(all);
        }
        Decision::Program(types)
    }
}

/// Is the result a cast of the model, to f32?
fn is_cast_to_f32(program: &Program, result: usize) -> bool {
    let step = program.results().get(result).and_then(|at| program.steps().get(*at));
    matches!(step, Some(Step::Apply { op: ScalarOp::Cast(_), compute: DataType::F32, .. }))
}
