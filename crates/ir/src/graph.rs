//! A body with the indices that passes need: the producer of a value, its readers, and whether it is a weight.

use std::collections::HashMap;
use std::sync::Arc;

use sinter_base::{KnownValue, TensorType, ValueType};
use sinter_ops::{Body, Node, ValueId};

use crate::network::{Network, WeightExpr};

/// Weights that body inputs stand for.
pub type Weights = HashMap<ValueId, Arc<WeightExpr>>;

/// See the module documentation.
#[derive(Debug)]
pub struct Graph<'a> {
    body: &'a Body,
    weights: Weights,
    /// By value: its producer, and its index among the results.
    producers: Vec<Option<(usize, usize)>>,
    /// Readers of value `v`: `users[starts[v]..starts[v + 1]]`, once per operand.
    users: Vec<usize>,
    starts: Vec<usize>,
    is_result: Vec<bool>,
    keeps_inputs: bool,
}

impl<'a> Graph<'a> {
    /// The outermost body of a network; unread weights may be removed.
    pub fn of_network(network: &'a Network) -> Self {
        let weights = network.weights.iter().map(|w| (w.value, w.expr.clone())).collect();
        Self { keeps_inputs: false, ..Self::of_body(&network.body, weights) }
    }

    /// A nested body, whose inputs must not change. `weights` lists those that are weights.
    pub fn of_body(body: &'a Body, weights: Weights) -> Self {
        let count = body.value_count();
        let mut producers = vec![None; count];
        let mut starts = vec![0; count + 1];
        for (position, node) in body.nodes().iter().enumerate() {
            for (index, id) in node.outputs.iter().enumerate() {
                producers[id.index()] = Some((position, index));
            }
            for id in node.inputs.iter().flatten() {
                starts[id.index() + 1] += 1;
            }
        }
        for value in 0..count {
            starts[value + 1] += starts[value];
        }
        let mut users = vec![0; starts[count]];
        let mut next = starts.clone();
        for (position, node) in body.nodes().iter().enumerate() {
            for id in node.inputs.iter().flatten() {
                users[next[id.index()]] = position;
                next[id.index()] += 1;
            }
        }
        let mut is_result = vec![false; count];
        for id in body.outputs() {
            is_result[id.index()] = true;
        }
        Self { body, weights, producers, users, starts, is_result, keeps_inputs: true }
    }

    /// The body.
    pub fn body(&self) -> &'a Body {
        self.body
    }

    /// Must unread inputs stay?
    pub fn keeps_inputs(&self) -> bool {
        self.keeps_inputs
    }

    /// The node at a position.
    pub fn node(&self, position: usize) -> &'a Node {
        &self.body.nodes()[position]
    }

    /// Position of the producer of a value; `None` for inputs.
    pub fn producer_position(&self, id: ValueId) -> Option<usize> {
        self.producers[id.index()].map(|(position, _)| position)
    }

    /// The producer of a value, and the value's index among its results.
    pub fn producer(&self, id: ValueId) -> Option<(&'a Node, usize)> {
        self.producers[id.index()].map(|(position, index)| (self.node(position), index))
    }

    /// Positions of the nodes that read a value, once per operand.
    pub fn users(&self, id: ValueId) -> &[usize] {
        &self.users[self.starts[id.index()]..self.starts[id.index() + 1]]
    }

    /// Is the value a result of the body?
    pub fn is_result(&self, id: ValueId) -> bool {
        self.is_result[id.index()]
    }

    /// Is this value read exactly once, and by a node?
    pub fn has_one_use(&self, id: ValueId) -> bool {
        self.users(id).len() == 1 && !self.is_result(id)
    }

    /// The weight that a value stands for.
    pub fn weight(&self, id: ValueId) -> Option<&Arc<WeightExpr>> {
        self.weights.get(&id)
    }

    /// All weights.
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// Type of a value.
    pub fn ty(&self, id: ValueId) -> &'a ValueType {
        self.body.ty(id)
    }

    /// Type of a tensor value.
    pub fn tensor(&self, id: ValueId) -> Option<&'a TensorType> {
        self.ty(id).as_tensor()
    }

    /// The number that all elements of a value are, where they are known and equal.
    pub fn uniform(&self, id: ValueId) -> Option<f64> {
        uniform(self.tensor(id)?)
    }
}

/// The number that all elements of a type's known contents are.
pub fn uniform(ty: &TensorType) -> Option<f64> {
    match ty.value.as_deref()? {
        KnownValue::Floats(values) => {
            let first = *values.first()?;
            values.iter().all(|v| v.to_bits() == first.to_bits()).then_some(first)
        }
        KnownValue::Ints(values) => {
            let first = values.first()?.as_constant()?;
            // Only numbers that a float carries exactly.
            let exact = first.unsigned_abs() <= 1 << 53;
            (exact && values.iter().all(|v| v.as_constant() == Some(first))).then_some(first as f64)
        }
        KnownValue::Strings(_) => None,
    }
}
