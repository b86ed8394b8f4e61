//! Merges consecutive elementwise nodes into one pointwise program.
//!
//! A node joins the program of its readers when all of them are in that one program and its result has the shape of the
//! program's result. So the pass neither repeats an operation nor computes it on a larger shape than before: a smaller
//! operand that broadcasts stays a separate node. Recomputing a value that has other readers is a trade-off, which the
//! cover decides.

use std::collections::HashMap;

use sinter_ir::{Graph, Patch};
use sinter_ops::pointwise::program::Step;
use sinter_ops::pointwise::{Pointwise, Program};
use sinter_ops::{Op, ValueId};

use crate::identities::same_shape;

/// Largest program that is made.
const MAX_OPERATIONS: usize = 64;

/// Most operands of a program that is made.
const MAX_OPERANDS: usize = 16;

struct Group {
    /// Positions of its nodes, the last one first.
    members: Vec<usize>,
    operations: usize,
    operands: usize,
}

/// Number of merged nodes.
pub(crate) fn sweep(graph: &Graph<'_>, patch: &mut Patch<'_>) -> usize {
    let nodes = graph.body().nodes();
    let mut groups: Vec<Group> = Vec::new();
    let mut group_of: Vec<Option<usize>> = vec![None; nodes.len()];
    // From the last node to the first, so that the groups of all readers are known.
    for (position, node) in nodes.iter().enumerate().rev() {
        let Op::Pointwise(op) = &node.op else { continue };
        let own = op.program.operation_count();
        let joined = readers_group(graph, position, &group_of).filter(|&group| {
            let group = &groups[group];
            let root = nodes[group.members[0]].outputs[0];
            group.operations + own <= MAX_OPERATIONS
                && group.operands + node.inputs.len() <= MAX_OPERANDS
                && node.outputs.iter().all(|id| same_shape(graph, *id, root))
        });
        let group = joined.unwrap_or_else(|| {
            groups.push(Group { members: Vec::new(), operations: 0, operands: 0 });
            groups.len() - 1
        });
        groups[group].members.push(position);
        groups[group].operations += own;
        groups[group].operands += node.inputs.len();
        group_of[position] = Some(group);
    }
    groups.iter().filter(|group| group.members.len() > 1).map(|group| merge(graph, group, patch)).sum()
}

/// The one group that all readers of a node's results belong to.
fn readers_group(graph: &Graph<'_>, position: usize, group_of: &[Option<usize>]) -> Option<usize> {
    let outputs = &graph.node(position).outputs;
    if outputs.iter().any(|id| graph.is_result(*id)) {
        return None;
    }
    let mut readers = outputs.iter().flat_map(|id| graph.users(*id));
    let group = group_of[*readers.next()?]?;
    readers.all(|reader| group_of[*reader] == Some(group)).then_some(group)
}

/// Merges a group into one program; returns the number of nodes merged into its last one.
fn merge(graph: &Graph<'_>, group: &Group, patch: &mut Patch<'_>) -> usize {
    let mut program = Program::default();
    let mut operands: Vec<ValueId> = Vec::new();
    let mut step_of: HashMap<ValueId, usize> = HashMap::new();
    for &position in group.members.iter().rev() {
        let node = graph.node(position);
        let Op::Pointwise(op) = &node.op else { return 0 };
        // Operands that no step reads contribute to the shape too.
        for id in node.inputs.iter().flatten() {
            if !step_of.contains_key(id) && !operands.contains(id) {
                operands.push(*id);
            }
        }
        let mut renamed: Vec<usize> = Vec::with_capacity(op.program.steps().len());
        for step in op.program.steps() {
            let step = match step {
                Step::Input { index, data_type } => {
                    let Some(id) = node.inputs.get(*index).copied().flatten() else { return 0 };
                    if let Some(known) = step_of.get(&id) {
                        renamed.push(*known);
                        continue;
                    }
                    let Some(index) = operands.iter().position(|operand| *operand == id) else { return 0 };
                    Step::Input { index, data_type: *data_type }
                }
                Step::Constant { .. } => step.clone(),
                Step::Apply { op, compute, args } => {
                    Step::Apply { op: *op, compute: *compute, args: args.iter().map(|&a| renamed[a]).collect() }
                }
            };
            // The parts are well-typed, so the whole is.
            let Ok(added) = program.add(step) else { return 0 };
            renamed.push(added);
        }
        for (id, &result) in node.outputs.iter().zip(op.program.results()) {
            step_of.insert(*id, renamed[result]);
        }
    }
    let last = graph.node(group.members[0]);
    let results = last.outputs.iter().filter_map(|id| step_of.get(id).copied()).collect();
    if program.set_results(results).is_err() {
        return 0;
    }
    let mark = patch.mark();
    patch.set_origins(group.members.iter().rev().copied());
    let inputs: Vec<Option<ValueId>> = operands.into_iter().map(Some).collect();
    let Ok(results) = patch.add(Pointwise { program }, &inputs) else {
        patch.undo_to(mark);
        return 0;
    };
    for (old, new) in last.outputs.iter().zip(results) {
        patch.replace(*old, new);
    }
    group.members.len() - 1
}
