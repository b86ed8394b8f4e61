//! A patch: all changes of a pass.
//!
//! A patch lists new nodes, new weights, and old values that new ones replace. Applying it resolves replacements,
//! orders the nodes so that every value is defined before it is used, and removes dead nodes; nodes with effects stay
//! unless all their results were replaced. Each new node names the old nodes that it replaces, so that source locations
//! survive.

use std::collections::HashMap;
use std::sync::Arc;

use sinter_base::{Tensor, TensorType, ValueType};
use sinter_ops::{Body, Guard, InferContext, InferError, Node, Op, Operands, ValueId, infer};
use smallvec::{SmallVec, smallvec};

use crate::graph::{Graph, Weights};
use crate::network::WeightExpr;

/// Positions of old nodes.
pub type Origins = SmallVec<[usize; 4]>;

/// A patch that cannot be applied; always a mistake of the pass.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PatchError {
    /// Replacements or new nodes depend on themselves.
    #[error("value {0} depends on itself")]
    Cycle(ValueId),
    /// A value was replaced by one of another type.
    #[error("{old} of type {old_type} cannot be replaced by {new} of type {new_type}")]
    Type {
        /// The old value.
        old: ValueId,
        /// Its type.
        old_type: String,
        /// The new value.
        new: ValueId,
        /// Its type.
        new_type: String,
    },
}

#[derive(Debug)]
enum Made {
    Node(usize),
    Weight(Arc<WeightExpr>),
}

#[derive(Debug)]
struct NewNode {
    node: Node,
    origins: Origins,
}

/// How far a patch had come.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    nodes: usize,
    values: usize,
    replaced: usize,
    guards: usize,
}

/// See the module documentation.
#[derive(Debug)]
pub struct Patch<'a> {
    graph: &'a Graph<'a>,
    infer: &'a mut InferContext,
    nodes: Vec<NewNode>,
    types: Vec<ValueType>,
    made: Vec<Made>,
    replaced: HashMap<ValueId, ValueId>,
    order: Vec<ValueId>,
    origins: Origins,
    error: Option<PatchError>,
}

/// A body after a patch.
#[derive(Debug)]
pub struct Applied {
    /// The body.
    pub body: Body,
    /// Old nodes behind each of its nodes.
    pub origins: Vec<Origins>,
    /// The new id of each old value; `None` for removed values.
    pub values: Vec<Option<ValueId>>,
    /// New inputs of the body, after the old ones, and the weights that they stand for.
    pub weights: Vec<(ValueId, Arc<WeightExpr>)>,
}

impl<'a> Patch<'a> {
    /// A patch that changes nothing yet.
    pub fn new(graph: &'a Graph<'a>, infer: &'a mut InferContext) -> Self {
        Self {
            graph,
            infer,
            nodes: Vec::new(),
            types: Vec::new(),
            made: Vec::new(),
            replaced: HashMap::new(),
            order: Vec::new(),
            origins: Origins::new(),
            error: None,
        }
    }

    /// The old nodes that nodes added from now on replace.
    pub fn set_origins(&mut self, origins: impl IntoIterator<Item = usize>) {
        self.origins = origins.into_iter().collect();
    }

    /// Has the patch nothing to change?
    pub fn is_empty(&self) -> bool {
        self.replaced.is_empty()
    }

    /// How far the patch has come.
    pub fn mark(&self) -> Mark {
        Mark {
            nodes: self.nodes.len(),
            values: self.types.len(),
            replaced: self.order.len(),
            guards: self.infer.guards.len(),
        }
    }

    /// A condition on sizes that was added after the mark: the new nodes would refuse sizes that the network accepts.
    pub fn narrowed_since(&self, mark: Mark) -> Option<&Guard> {
        let (before, since) = self.infer.guards.split_at(mark.guards.min(self.infer.guards.len()));
        since.iter().find(|guard| !before.contains(guard))
    }

    /// Forgets everything since a mark.
    pub fn undo_to(&mut self, mark: Mark) {
        self.nodes.truncate(mark.nodes);
        self.types.truncate(mark.values);
        self.made.truncate(mark.values);
        for id in self.order.drain(mark.replaced..) {
            self.replaced.remove(&id);
        }
        self.infer.guards.truncate(mark.guards);
    }

    fn first_new(&self) -> usize {
        self.graph.body().value_count()
    }

    /// Type of an old or a new value.
    pub fn ty(&self, id: ValueId) -> &ValueType {
        match id.index().checked_sub(self.first_new()) {
            Some(new) => &self.types[new],
            None => self.graph.ty(id),
        }
    }

    /// Was this value replaced?
    pub fn is_replaced(&self, id: ValueId) -> bool {
        self.replaced.contains_key(&id)
    }

    fn add_value(&mut self, ty: ValueType, made: Made) -> ValueId {
        self.types.push(ty);
        self.made.push(made);
        ValueId::new(self.first_new() + self.types.len() - 1)
    }

    /// Adds a node.
    ///
    /// # Errors
    /// When the operator does not take these inputs.
    pub fn add(&mut self, op: impl Into<Op>, inputs: &[Option<ValueId>]) -> Result<SmallVec<[ValueId; 2]>, InferError> {
        let op = op.into();
        let operands: SmallVec<[Option<ValueType>; 4]> = inputs.iter().map(|i| i.map(|i| self.ty(i).clone())).collect();
        let operands: SmallVec<[Option<&ValueType>; 4]> = operands.iter().map(Option::as_ref).collect();
        let types = infer(&op, &Operands::new(&operands), self.infer)?;
        Ok(self.add_typed(op, inputs, types))
    }

    /// Adds a node all of whose inputs are given, and returns its first result.
    ///
    /// # Errors
    /// When the operator does not take these inputs.
    pub fn add_one(&mut self, op: impl Into<Op>, inputs: &[ValueId]) -> Result<ValueId, InferError> {
        let inputs: SmallVec<[Option<ValueId>; 4]> = inputs.iter().copied().map(Some).collect();
        let results = self.add(op, &inputs)?;
        results.first().copied().ok_or_else(|| InferError::Invalid("an operator without results".to_owned()))
    }

    /// Adds a node whose result types are known.
    pub fn add_typed(
        &mut self,
        op: impl Into<Op>,
        inputs: &[Option<ValueId>],
        types: Vec<ValueType>,
    ) -> SmallVec<[ValueId; 2]> {
        let position = self.nodes.len();
        let outputs: SmallVec<[ValueId; 2]> =
            types.into_iter().map(|ty| self.add_value(ty, Made::Node(position))).collect();
        let node = Node { op: op.into(), inputs: inputs.into(), outputs: outputs.clone() };
        self.nodes.push(NewNode { node, origins: self.origins.clone() });
        outputs
    }

    /// Adds a weight of this type.
    pub fn weight(&mut self, expr: Arc<WeightExpr>, ty: ValueType) -> ValueId {
        self.add_value(ty, Made::Weight(expr))
    }

    /// Adds a constant.
    pub fn constant(&mut self, tensor: Tensor) -> ValueId {
        let ty = TensorType::of(&tensor).into();
        self.weight(Arc::new(WeightExpr::source("", tensor)), ty)
    }

    /// Adds a one-dimensional i64 constant: axes, sizes.
    pub fn int_list(&mut self, values: &[i64]) -> ValueId {
        self.constant(Tensor::of_i64(values))
    }

    /// Adds one result of a pure operator on weights, as a weight; operands are old or new weights.
    ///
    /// # Errors
    /// When an operand is no weight or the operator does not take them.
    pub fn folded(&mut self, op: impl Into<Op>, inputs: &[Option<ValueId>]) -> Result<ValueId, InferError> {
        let op = op.into();
        let mut exprs = Vec::with_capacity(inputs.len());
        for input in inputs {
            exprs.push(match input {
                None => None,
                Some(id) => Some(self.weight_of(*id).ok_or_else(|| InferError::Invalid(format!("{id} is no weight")))?),
            });
        }
        let types = {
            let operands: SmallVec<[Option<&ValueType>; 4]> = inputs.iter().map(|i| i.map(|i| self.ty(i))).collect();
            infer(&op, &Operands::new(&operands), &mut InferContext::default())?
        };
        let Some(ty) = types.into_iter().next() else {
            return Err(InferError::Invalid("an operator without results".to_owned()));
        };
        Ok(self.weight(Arc::new(WeightExpr::Apply { op, inputs: exprs, output: 0 }), ty))
    }

    /// The weight that an old or new value stands for.
    pub fn weight_of(&self, id: ValueId) -> Option<Arc<WeightExpr>> {
        match id.index().checked_sub(self.first_new()) {
            None => self.graph.weight(id).cloned(),
            Some(new) => match &self.made[new] {
                Made::Weight(expr) => Some(expr.clone()),
                Made::Node(_) => None,
            },
        }
    }

    /// Replaces the old value `old` by `new`. A new value inherits known properties of the old type.
    pub fn replace(&mut self, old: ValueId, new: ValueId) {
        if old == new || self.is_replaced(old) {
            return;
        }
        let old_type = self.graph.ty(old);
        if !sinter_ops::control::nested::admits(old_type, self.ty(new)) {
            let (old_type, new_type) = (old_type.to_string(), self.ty(new).to_string());
            self.error.get_or_insert(PatchError::Type { old, old_type, new, new_type });
            return;
        }
        if let Some(index) = new.index().checked_sub(self.first_new())
            && let (ValueType::Tensor(from), ValueType::Tensor(to)) = (old_type, &mut self.types[index])
        {
            if matches!(self.made[index], Made::Node(_)) {
                to.shape = from.shape.clone();
            }
            if to.value.is_none() {
                to.value = from.value.clone();
            }
        }
        self.replaced.insert(old, new);
        self.order.push(old);
    }

    /// The current replacement of a value.
    pub fn current(&self, id: ValueId) -> ValueId {
        self.resolve(id).unwrap_or(id)
    }

    fn resolve(&self, id: ValueId) -> Result<ValueId, PatchError> {
        let mut at = id;
        for _ in 0..=self.replaced.len() {
            match self.replaced.get(&at) {
                Some(next) => at = *next,
                None => return Ok(at),
            }
        }
        Err(PatchError::Cycle(id))
    }

    /// Applies the patch.
    ///
    /// # Errors
    /// When the pass made a mistake: a cycle, a wrong type.
    pub fn apply(self) -> Result<Applied, PatchError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        Assembly::new(&self)?.run()
    }
}

/// The new body while it is put together. Nodes are numbered: old ones first, then new ones.
struct Assembly<'p, 'a> {
    patch: &'p Patch<'a>,
    /// By value, old and new: its final replacement.
    resolved: Vec<ValueId>,
    living: Vec<bool>,
    used: Vec<bool>,
    body: Body,
    origins: Vec<Origins>,
    values: Vec<Option<ValueId>>,
    placed: Vec<Placed>,
}

#[derive(Clone, Copy, PartialEq)]
enum Placed {
    No,
    Open,
    Yes,
}

impl<'p, 'a> Assembly<'p, 'a> {
    fn new(patch: &'p Patch<'a>) -> Result<Self, PatchError> {
        let values = patch.first_new() + patch.types.len();
        let nodes = patch.graph.body().nodes().len() + patch.nodes.len();
        Ok(Self {
            patch,
            resolved: (0..values).map(|v| patch.resolve(ValueId::new(v))).collect::<Result<_, _>>()?,
            living: vec![false; nodes],
            used: vec![false; values],
            body: Body::new(),
            origins: Vec::new(),
            values: vec![None; values],
            placed: vec![Placed::No; nodes],
        })
    }

    fn old_count(&self) -> usize {
        self.patch.graph.body().nodes().len()
    }

    fn node(&self, index: usize) -> &'p Node {
        match index.checked_sub(self.old_count()) {
            None => self.patch.graph.node(index),
            Some(new) => &self.patch.nodes[new].node,
        }
    }

    fn producer(&self, id: ValueId) -> Option<usize> {
        match id.index().checked_sub(self.patch.first_new()) {
            None => self.patch.graph.producer_position(id),
            Some(new) => match self.patch.made[new] {
                Made::Node(position) => Some(self.old_count() + position),
                Made::Weight(_) => None,
            },
        }
    }

    /// Does the node run even without readers?
    fn must_run(&self, index: usize) -> bool {
        let node = self.node(index);
        let replaced = !node.outputs.is_empty() && node.outputs.iter().all(|id| self.patch.is_replaced(*id));
        node.op.effects().asserts && !replaced
    }

    fn mark_living(&mut self) {
        let mut open: Vec<usize> = (0..self.living.len()).filter(|&n| self.must_run(n)).collect();
        for id in self.patch.graph.body().outputs() {
            let id = self.resolved[id.index()];
            self.used[id.index()] = true;
            open.extend(self.producer(id));
        }
        while let Some(index) = open.pop() {
            if std::mem::replace(&mut self.living[index], true) {
                continue;
            }
            for id in self.node(index).inputs.iter().flatten() {
                let id = self.resolved[id.index()];
                self.used[id.index()] = true;
                open.extend(self.producer(id));
            }
        }
    }

    fn place(&mut self, root: usize) -> Result<(), PatchError> {
        // (node, operands looked at): an explicit stack, since chains may be as long as the model.
        let mut stack: SmallVec<[(usize, usize); 8]> = smallvec![(root, 0)];
        while let Some((index, seen)) = stack.pop() {
            let node = self.node(index);
            if seen == 0 {
                match self.placed[index] {
                    Placed::Yes => continue,
                    _ => self.placed[index] = Placed::Open,
                }
            }
            match node.inputs.get(seen) {
                Some(input) => {
                    stack.push((index, seen + 1));
                    let producer = input.and_then(|id| self.producer(self.resolved[id.index()]));
                    match producer.map(|p| (p, self.placed[p])) {
                        Some((p, Placed::No)) => stack.push((p, 0)),
                        Some((_, Placed::Open)) => {
                            return Err(PatchError::Cycle(node.outputs.first().copied().unwrap_or(ValueId::new(0))));
                        }
                        _ => {}
                    }
                }
                None => self.finish(index, node),
            }
        }
        Ok(())
    }

    fn finish(&mut self, index: usize, node: &Node) {
        self.placed[index] = Placed::Yes;
        let inputs: SmallVec<[Option<ValueId>; 4]> =
            node.inputs.iter().map(|i| i.and_then(|id| self.values[self.resolved[id.index()].index()])).collect();
        let types = node.outputs.iter().map(|id| self.patch.ty(*id).clone()).collect();
        let outputs = self.body.add_typed(node.op.clone(), &inputs, types);
        for (old, new) in node.outputs.iter().zip(outputs) {
            self.values[old.index()] = Some(new);
        }
        self.origins.push(match index.checked_sub(self.old_count()) {
            None => smallvec![index],
            Some(new) => self.patch.nodes[new].origins.clone(),
        });
    }

    fn run(mut self) -> Result<Applied, PatchError> {
        self.mark_living();
        let graph = self.patch.graph;
        for id in graph.body().inputs() {
            if graph.keeps_inputs() || graph.weight(*id).is_none() || self.used[id.index()] {
                self.values[id.index()] = Some(self.body.add_input(graph.ty(*id).clone()));
            }
        }
        let mut weights = Vec::new();
        for (index, made) in self.patch.made.iter().enumerate() {
            let id = ValueId::new(self.patch.first_new() + index);
            if let Made::Weight(expr) = made
                && self.used[id.index()]
            {
                let input = self.body.add_input(self.patch.ty(id).clone());
                self.values[id.index()] = Some(input);
                weights.push((input, expr.clone()));
            }
        }
        for index in 0..self.living.len() {
            if self.living[index] {
                self.place(index)?;
            }
        }
        let outputs: Result<Vec<ValueId>, PatchError> = graph
            .body()
            .outputs()
            .iter()
            .map(|id| self.values[self.resolved[id.index()].index()].ok_or(PatchError::Cycle(*id)))
            .collect();
        self.body.set_outputs(outputs?);
        let values = (0..self.patch.first_new()).map(|old| self.values[self.resolved[old].index()]).collect();
        Ok(Applied { body: self.body, origins: self.origins, values, weights })
    }
}

impl Applied {
    /// The weights of the body after the patch.
    pub fn weights_after(&self, before: &Weights) -> Weights {
        let old = before.iter().filter_map(|(id, expr)| Some((self.values[id.index()]?, expr.clone())));
        old.chain(self.weights.iter().cloned()).collect()
    }
}
