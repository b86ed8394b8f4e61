//! Proposes regions of the form that [`crate::fused`] matches: a heavy operator with a pointwise prologue and epilogue,
//! and sibling heavy operators that share an operand.

use sinter_backend::{GraphView, Proposals, Proposer};
use sinter_ops::{Node, Op, OpKind, ValueId};

/// Most nodes of a region of several heavy operators.
const MOST_NODES: usize = 16;
/// Most nodes between the first and the last sibling: results that are computed early stay live for long.
const NEAR: usize = 64;

/// Proposes around heavy operators of one kind.
pub struct Heavy {
    /// The kind of operator.
    pub kind: OpKind,
    /// Can the kernel compute siblings that share an operand, and a prologue that computes the operand?
    pub shares_operand: fn(&Op) -> bool,
}

impl Proposer for Heavy {
    fn propose(&self, graph: &GraphView<'_>, seed: usize, proposals: &mut Proposals) {
        if !self.is_heavy(graph, seed) {
            return;
        }
        let read = self.shared_operand(graph, seed);
        let prologue = read.and_then(|read| prologue_of(graph, read, &[seed]));
        let epilogue = epilogue_of(graph, seed);
        if epilogue.is_some() {
            proposals.push([seed].into_iter().chain(epilogue));
        }
        if prologue.is_some() {
            proposals.push([seed].into_iter().chain(prologue));
        }
        if prologue.is_some() && epilogue.is_some() {
            proposals.push([seed].into_iter().chain(prologue).chain(epilogue));
        }
        if let Some(read) = read {
            self.siblings(graph, read, seed, proposals);
        }
    }
}

impl Heavy {
    fn is_heavy(&self, graph: &GraphView<'_>, node: usize) -> bool {
        let node = graph.node(node);
        node.op.kind() == self.kind && node.outputs.len() == 1
    }

    /// The first operand of a product with a weight.
    fn shared_operand(&self, graph: &GraphView<'_>, node: usize) -> Option<ValueId> {
        let node = graph.node(node);
        let [Some(read), Some(weight), ..] = node.inputs[..] else { return None };
        let is_product = (self.shares_operand)(&node.op) && graph.is_weight(weight) && !graph.is_weight(read);
        is_product.then_some(read)
    }

    /// The operators that read a value from this one on, each with its own epilogue. Seeded by the first of each group.
    fn siblings(&self, graph: &GraphView<'_>, read: ValueId, seed: usize, proposals: &mut Proposals) {
        let reads = |node: &usize| self.is_heavy(graph, *node) && self.shared_operand(graph, *node) == Some(read);
        let mut branches: Vec<usize> = graph.readers(read).iter().copied().filter(reads).collect();
        branches.dedup();
        let mut left = &branches[..];
        while let Some((&first, _)) = left.split_first() {
            let mut nodes: Vec<usize> = Vec::new();
            let mut taken = 0;
            for &branch in left.iter().take_while(|&&branch| branch - first <= NEAR) {
                let epilogue = epilogue_of(graph, branch).filter(|epilogue| {
                    // An epilogue belongs to one branch, so it must not read the result of another branch.
                    let mut inputs = graph.node(*epilogue).inputs.iter().flatten();
                    inputs.all(|id| graph.maker(*id).is_none_or(|maker| maker == branch || !left.contains(&maker)))
                });
                if nodes.len() + 1 + usize::from(epilogue.is_some()) >= MOST_NODES {
                    break;
                }
                nodes.push(branch);
                nodes.extend(epilogue);
                taken += 1;
            }
            if first == seed && taken > 1 {
                let readers = graph.readers(read);
                let prologue = prologue_of(graph, read, readers).filter(|_| readers == &left[..taken]);
                if prologue.is_some() {
                    proposals.push(nodes.iter().copied().chain(prologue));
                }
                proposals.push(nodes);
            }
            left = &left[taken.max(1)..];
        }
    }
}

/// Proposes two heavy operators, each with its epilogue; the second reads the result of the first.
pub struct Pair {
    /// May this be the first?
    pub first: fn(&Op) -> bool,
    /// May this be the second, on its first operand?
    pub second: fn(&Op) -> bool,
}

impl Proposer for Pair {
    fn propose(&self, graph: &GraphView<'_>, seed: usize, proposals: &mut Proposals) {
        let node = graph.node(seed);
        if !(self.first)(&node.op) || node.outputs.len() != 1 {
            return;
        }
        let between = epilogue_of(graph, seed);
        let made = graph.node(between.unwrap_or(seed)).outputs[0];
        let Some(second) = graph.only_reader(made) else { return };
        let node = graph.node(second);
        if !(self.second)(&node.op) || node.outputs.len() != 1 || node.inputs[0] != Some(made) {
            return;
        }
        let pair: Vec<usize> = [seed, second].into_iter().chain(between).collect();
        if let Some(behind) = epilogue_of(graph, second) {
            proposals.push(pair.iter().copied().chain([behind]));
        }
        proposals.push(pair);
    }
}

/// Proposes a pointwise operator with the two heavy operators of one operand that meet in it.
pub struct Gate(pub Heavy);

impl Proposer for Gate {
    fn propose(&self, graph: &GraphView<'_>, seed: usize, proposals: &mut Proposals) {
        let node = graph.node(seed);
        if !is_program(node) {
            return;
        }
        let result = node.outputs[0];
        let meets = |id: &ValueId| {
            let maker = graph.maker(*id).filter(|&maker| self.0.is_heavy(graph, maker))?;
            let is_only = graph.only_reader(*id) == Some(seed) && graph.have_equal_dims(*id, result);
            is_only.then_some((maker, self.0.shared_operand(graph, maker)?))
        };
        let met: Vec<(usize, ValueId)> = node.inputs.iter().flatten().filter_map(meets).collect();
        if let [(a, read), (b, other)] = met[..]
            && a != b
            && read == other
        {
            proposals.push([a, b, seed]);
        }
    }
}

/// Proposes a normalization with the pointwise operator behind it and all products that read the result.
pub struct NormalizedProducts(pub Heavy);

impl Proposer for NormalizedProducts {
    fn propose(&self, graph: &GraphView<'_>, seed: usize, proposals: &mut Proposals) {
        let node = graph.node(seed);
        if !matches!(node.op, Op::Normalize(_)) || node.outputs.len() != 1 {
            return;
        }
        let between = epilogue_of(graph, seed);
        let read = graph.node(between.unwrap_or(seed)).outputs[0];
        let readers = graph.readers(read);
        let is_product =
            |&node: &usize| self.0.is_heavy(graph, node) && self.0.shared_operand(graph, node) == Some(read);
        if readers.is_empty() || graph.is_result(read) || !readers.iter().all(is_product) {
            return;
        }
        let bare: Vec<usize> = [seed].into_iter().chain(between).chain(readers.iter().copied()).collect();
        let epilogues: Vec<usize> = readers.iter().filter_map(|reader| epilogue_of(graph, *reader)).collect();
        if !epilogues.is_empty() {
            proposals.push(bare.iter().copied().chain(epilogues));
        }
        proposals.push(bare);
    }
}

/// Is it a pointwise operator of one result?
fn is_program(node: &Node) -> bool {
    matches!(node.op, Op::Pointwise(_)) && node.outputs.len() == 1
}

/// The pointwise operator that computes a value for only these readers.
fn prologue_of(graph: &GraphView<'_>, read: ValueId, readers: &[usize]) -> Option<usize> {
    let prologue = graph.maker(read)?;
    let is_theirs = graph.readers(read) == readers && !graph.is_read_outside(read, readers);
    (is_theirs && is_program(graph.node(prologue))).then_some(prologue)
}

/// The pointwise operator that a kernel can apply to the result of a heavy operator: no operand enlarges the result by
/// broadcasting.
pub fn epilogue_of(graph: &GraphView<'_>, heavy: usize) -> Option<usize> {
    let [product] = graph.node(heavy).outputs[..] else { return None };
    let reader = graph.only_reader(product)?;
    let node = graph.node(reader);
    (is_program(node) && graph.have_equal_dims(product, node.outputs[0])).then_some(reader)
}
