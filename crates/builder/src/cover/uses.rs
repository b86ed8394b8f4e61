//! Who makes and who reads the values of a body, dead nodes left out.

use sinter_ops::{Node, Op, ValueId};

use crate::cover::Problem;

/// See the module documentation.
pub(crate) struct Uses {
    living: Vec<bool>,
    makers: Vec<Option<usize>>,
    readers: Vec<Vec<usize>>,
    is_result: Vec<bool>,
}

impl Uses {
    pub(crate) fn of(problem: &Problem<'_>) -> Self {
        let body = problem.body;
        let living = living_nodes(problem);
        let mut uses = Self {
            living: Vec::new(),
            makers: vec![None; body.value_count()],
            readers: vec![Vec::new(); body.value_count()],
            is_result: vec![false; body.value_count()],
        };
        for (position, node) in body.nodes().iter().enumerate().filter(|(p, _)| living[*p]) {
            for id in node.inputs.iter().flatten() {
                uses.readers[id.index()].push(position);
            }
            for id in &node.outputs {
                uses.makers[id.index()] = Some(position);
            }
        }
        for id in body.outputs() {
            uses.is_result[id.index()] = true;
        }
        uses.living = living;
        uses
    }

    /// Positions of all living nodes.
    pub(crate) fn living(&self) -> impl Iterator<Item = usize> {
        (0..self.living.len()).filter(|&node| self.living[node])
    }

    /// The node that makes a value.
    pub(crate) fn maker(&self, id: ValueId) -> Option<usize> {
        self.makers[id.index()]
    }

    /// The nodes that read a value, in order; one that reads it twice is there twice.
    pub(crate) fn readers(&self, id: ValueId) -> &Vec<usize> {
        &self.readers[id.index()]
    }

    /// Is the value a result of the body, or read by a node other than these?
    pub(crate) fn is_read_outside(&self, id: ValueId, nodes: &[usize]) -> bool {
        self.is_result[id.index()] || self.readers(id).iter().any(|reader| !nodes.contains(reader))
    }

    /// Results of a node that anybody reads, up to the last of them; operators whose kernels take fewer results than they
    /// have save the work for the rest.
    pub(crate) fn read_outputs<'n>(&self, node: &'n Node) -> &'n [ValueId] {
        if !matches!(node.op, Op::Attention(_)) {
            return &node.outputs;
        }
        let count = node.outputs.iter().rposition(|id| self.is_read_outside(*id, &[])).map_or(1, |last| last + 1);
        &node.outputs[..count]
    }

    /// Can the nodes run as one: does nothing that one of them makes reach another one through a node outside?
    pub(crate) fn is_convex(&self, problem: &Problem<'_>, nodes: &[usize]) -> bool {
        let ([first, ..], [.., last]) = (nodes, nodes) else { return true };
        // Of the nodes from the first one on: does it depend on one of the nodes, and is it outside?
        let mut outside = vec![false; last - first + 1];
        for position in *first..=*last {
            let makers = problem.body.nodes()[position].inputs.iter().flatten().filter_map(|id| self.maker(*id));
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

/// Nodes whose results are used, directly or not, by a result of the body, or which must run anyway. Those that make
/// weights do not run.
fn living_nodes(problem: &Problem<'_>) -> Vec<bool> {
    let body = problem.body;
    let mut used = vec![false; body.value_count()];
    for id in body.outputs() {
        used[id.index()] = true;
    }
    let mut living = vec![false; body.nodes().len()];
    for (position, node) in body.nodes().iter().enumerate().rev() {
        if !node.outputs.is_empty() && node.outputs.iter().all(|id| problem.folding.expression(*id).is_some()) {
            continue;
        }
        if node.op.effects().asserts || node.outputs.iter().any(|id| used[id.index()]) {
            living[position] = true;
            for id in node.inputs.iter().flatten() {
                used[id.index()] = true;
            }
        }
    }
    living
}
