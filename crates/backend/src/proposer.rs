//! Proposers: they name operators of a network that one kernel could compute together.
//!
//! Each family of a back end knows which operators its kernels fuse. Seeded by a node, a proposer names nodes around it
//! that could be one region; the tactics then take or refuse that region and estimate its time. The builder removes
//! duplicates and regions that cannot run as one step, bounds their number and chooses among them.

use sinter_base::{Dim, ValueType};
use sinter_ops::{Body, Node, ValueId};

/// A body as proposers see it: nodes that run, values, their types, their makers and readers, and which values are
/// weights. Nodes that no result needs do not run, nor do nodes that only process weights.
#[derive(Clone, Debug)]
pub struct GraphView<'a> {
    body: &'a Body,
    weights: Vec<bool>,
    living: Vec<bool>,
    makers: Vec<Option<usize>>,
    readers: Vec<Vec<usize>>,
    results: Vec<bool>,
}

impl<'a> GraphView<'a> {
    /// The view of a body; `is_weight` tells which values are weights, also those that nodes compute from weights, and
    /// `is_known` which other values are known before a run, so that their nodes do not run.
    pub fn new(body: &'a Body, is_weight: impl Fn(ValueId) -> bool, is_known: impl Fn(ValueId) -> bool) -> Self {
        let weights: Vec<bool> = (0..body.value_count()).map(|at| is_weight(ValueId::new(at))).collect();
        let known: Vec<bool> = (0..body.value_count()).map(|at| is_known(ValueId::new(at))).collect();
        let living = living_nodes(body, &weights, &known);
        let mut makers = vec![None; body.value_count()];
        let mut readers = vec![Vec::new(); body.value_count()];
        let mut results = vec![false; body.value_count()];
        for (position, node) in body.nodes().iter().enumerate().filter(|(position, _)| living[*position]) {
            node.inputs.iter().flatten().for_each(|id| readers[id.index()].push(position));
            node.outputs.iter().for_each(|id| makers[id.index()] = Some(position));
        }
        body.outputs().iter().for_each(|id| results[id.index()] = true);
        Self { body, weights, living, makers, readers, results }
    }

    /// The node at a position.
    pub fn node(&self, position: usize) -> &'a Node {
        &self.body.nodes()[position]
    }

    /// Positions of all nodes that run.
    pub fn living(&self) -> impl Iterator<Item = usize> {
        (0..self.living.len()).filter(|&node| self.living[node])
    }

    /// Number of values.
    pub fn value_count(&self) -> usize {
        self.body.value_count()
    }

    /// Type of a value.
    pub fn ty(&self, id: ValueId) -> &'a ValueType {
        self.body.ty(id)
    }

    /// Dimensions of a tensor of known rank.
    pub fn dims(&self, id: ValueId) -> Option<&'a [Dim]> {
        self.ty(id).as_tensor().and_then(|ty| ty.dims().ok())
    }

    /// Are the dimensions of two values provably equal?
    pub fn have_equal_dims(&self, a: ValueId, b: ValueId) -> bool {
        matches!((self.dims(a), self.dims(b)), (Some(a), Some(b)) if a == b)
    }

    /// Is the value a weight?
    pub fn is_weight(&self, id: ValueId) -> bool {
        self.weights[id.index()]
    }

    /// Is the value a result of the body?
    pub fn is_result(&self, id: ValueId) -> bool {
        self.results[id.index()]
    }

    /// The node that makes a value; `None` for inputs, weights and values whose nodes do not run.
    pub fn maker(&self, id: ValueId) -> Option<usize> {
        self.makers[id.index()]
    }

    /// The nodes that read a value, in order; a node that reads it twice appears twice.
    pub fn readers(&self, id: ValueId) -> &[usize] {
        &self.readers[id.index()]
    }

    /// The only reader of a value, where it reads the value once.
    pub fn only_reader(&self, id: ValueId) -> Option<usize> {
        match self.readers(id) {
            [reader] if !self.is_read_outside(id, &[*reader]) => Some(*reader),
            _ => None,
        }
    }

    /// Is the value a result of the body, or does another node than these read it?
    pub fn is_read_outside(&self, id: ValueId, nodes: &[usize]) -> bool {
        self.is_result(id) || self.readers(id).iter().any(|reader| !nodes.contains(reader))
    }

    /// Can the nodes, in order, run as one step: does no result of one reach another through a node outside?
    pub fn is_convex(&self, nodes: &[usize]) -> bool {
        let ([first, ..], [.., last]) = (nodes, nodes) else { return true };
        // For each node from the first one on: does it depend on one of the nodes, and is it outside?
        let mut outside = vec![false; last - first + 1];
        for position in *first..=*last {
            let makers = self.node(position).inputs.iter().flatten().filter_map(|id| self.maker(*id));
            let mut makers = makers.filter(|maker| maker >= first);
            if nodes.contains(&position) {
                if makers.any(|maker| outside[maker - first]) {
                    return false;
                }
            } else {
                outside[position - first] = makers.any(|maker| outside[maker - first] || nodes.contains(&maker));
            }
        }
        true
    }
}

/// Nodes that a result of the body needs, directly or not, or that must run anyway. Nodes that make weights or values
/// known before a run are not among them.
fn living_nodes(body: &Body, weights: &[bool], known: &[bool]) -> Vec<bool> {
    let mut used = vec![false; body.value_count()];
    let is_made = |id: &ValueId| !known[id.index()];
    for id in body.outputs().iter().filter(|id| is_made(id)) {
        used[id.index()] = true;
    }
    let mut living = vec![false; body.nodes().len()];
    for (position, node) in body.nodes().iter().enumerate().rev() {
        if !node.outputs.is_empty() && node.outputs.iter().all(|id| weights[id.index()]) {
            continue;
        }
        if node.op.effects().asserts || node.outputs.iter().any(|id| used[id.index()]) {
            living[position] = true;
            for id in node.inputs.iter().flatten().filter(|id| is_made(id)) {
                used[id.index()] = true;
            }
        }
    }
    living
}

/// Proposed regions, each as the positions of its nodes in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proposals(Vec<Vec<usize>>);

impl Proposals {
    /// Proposes a region with these nodes.
    pub fn push(&mut self, nodes: impl IntoIterator<Item = usize>) {
        let mut nodes: Vec<usize> = nodes.into_iter().collect();
        nodes.sort_unstable();
        nodes.dedup();
        self.0.push(nodes);
    }
}

impl IntoIterator for Proposals {
    type Item = Vec<usize>;
    type IntoIter = std::vec::IntoIter<Vec<usize>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// See the module documentation.
pub trait Proposer: Send + Sync {
    /// Proposes regions of several operators around the node `seed`, which runs.
    fn propose(&self, graph: &GraphView<'_>, seed: usize, proposals: &mut Proposals);
}

#[cfg(test)]
mod tests {
    use sinter_base::DataType;
    use sinter_ops::InferContext;
    use sinter_ops::matmul::MatMul;

    use super::*;

    /// `x w` twice, a sum of both products, and a product without readers.
    #[test]
    fn living_nodes_and_their_readers() {
        let mut body = Body::new();
        let mut cx = InferContext::default();
        let [x, w] = [(); 2].map(|()| body.add_input(ValueType::tensor(DataType::F32, vec![4i64.into(); 2])));
        let mut product =
            |body: &mut Body, a: ValueId, b: ValueId| body.add(MatMul::default().into(), &[Some(a), Some(b)], &mut cx);
        let square = product(&mut body, w, w).expect("a product")[0];
        let a = product(&mut body, x, square).expect("a product")[0];
        let b = product(&mut body, a, a).expect("a product")[0];
        let c = product(&mut body, b, a).expect("a product")[0];
        _ = product(&mut body, c, w).expect("a product");
        body.set_outputs(vec![c]);
        let graph = GraphView::new(&body, |id| id == w || id == square, |_| false);
        assert_eq!(graph.living().collect::<Vec<_>>(), [1, 2, 3], "neither weights nor values without readers");
        assert_eq!((graph.maker(square), graph.maker(a), graph.readers(a)), (None, Some(1), &[2, 2, 3][..]));
        assert_eq!((graph.only_reader(b), graph.only_reader(a), graph.only_reader(c)), (Some(3), None, None));
        assert!(graph.is_convex(&[1, 2, 3]) && !graph.is_convex(&[1, 3]), "the second product is outside");
        assert!(graph.is_read_outside(a, &[2]) && !graph.is_read_outside(a, &[2, 3]));
        let graph = GraphView::new(&body, |id| id == w || id == square, |id| id == b);
        assert_eq!(graph.living().collect::<Vec<_>>(), [1, 3], "nor known values");
        let mut proposals = Proposals::default();
        proposals.push([3, 1, 3]);
        assert_eq!(proposals.into_iter().collect::<Vec<_>>(), [vec![1, 3]]);
    }
}
