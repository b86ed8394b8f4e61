//! Removes identities: copies, reshapes to the same shape, full slices, empty pads, products with one.
//!
//! The pass removes only operations that are exact for every value: `x * 1`, `x / 1`, `x - 0`, and `x + 0` of integers;
//! `x + 0` of floats would turn -0 into 0.

use sinter_base::{Dim, Truth};
use sinter_ir::{Graph, Patch};
use sinter_ops::movement::Transpose;
use sinter_ops::pointwise::program::Step;
use sinter_ops::pointwise::{Program, Scalar, ScalarOp};
use sinter_ops::{Node, Op, ValueId};

use crate::pass::Miss;

/// Are the shapes certainly equal?
pub(crate) fn same_shape(graph: &Graph<'_>, a: ValueId, b: ValueId) -> bool {
    let dims = |id: ValueId| graph.tensor(id).and_then(|ty| ty.dims().ok());
    matches!((dims(a), dims(b)), (Some(a), Some(b)) if same_dims(a, b))
}

/// Are the dimensions certainly equal?
pub(crate) fn same_dims(a: &[Dim], b: &[Dim]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.equals(b) == Truth::Yes)
}

fn ints(graph: &Graph<'_>, node: &Node, index: usize) -> Option<Vec<i64>> {
    graph.tensor(node.inputs.get(index).copied().flatten()?)?.constant_ints()
}

/// The operand that a program returns as it is.
fn passed_through(program: &Program) -> Option<usize> {
    let &[result] = program.results() else { return None };
    let steps = program.steps();
    let operand = |step: usize| match steps[step] {
        Step::Input { index, .. } => Some(index),
        _ => None,
    };
    let Step::Apply { op, compute, args } = &steps[result] else { return operand(result) };
    let &[x, y] = args.as_slice() else { return None };
    let is = |step: usize, value: f64| match steps[step] {
        Step::Constant { value: Scalar::Float(v), .. } => v == value,
        Step::Constant { value: Scalar::Int(v), .. } => v as f64 == value,
        _ => false,
    };
    match op {
        ScalarOp::Mul if is(y, 1.0) => operand(x),
        ScalarOp::Mul if is(x, 1.0) => operand(y),
        ScalarOp::Div if is(y, 1.0) => operand(x),
        ScalarOp::Sub if is(y, 0.0) && !is_negative_zero(&steps[y]) => operand(x),
        ScalarOp::Add if is(y, 0.0) && !compute.is_float() => operand(x),
        ScalarOp::Add if is(x, 0.0) && !compute.is_float() => operand(y),
        _ => None,
    }
}

fn is_negative_zero(step: &Step) -> bool {
    matches!(step, Step::Constant { value: Scalar::Float(v), .. } if v.is_sign_negative())
}

/// The operand that equals the node's result.
fn equal_operand(graph: &Graph<'_>, node: &Node) -> Option<ValueId> {
    let first = node.inputs.first().copied().flatten();
    let all = |index: usize, value: i64| ints(graph, node, index).is_some_and(|v| v.iter().all(|v| *v == value));
    let operand = match &node.op {
        Op::Pointwise(op) => node.inputs.get(passed_through(&op.program)?).copied().flatten(),
        Op::Reshape(_) | Op::Squeeze(_) | Op::Unsqueeze(_) | Op::Expand(_) => first,
        Op::Transpose(Transpose { permutation: Some(permutation) }) => {
            first.filter(|_| permutation.iter().copied().eq(0..permutation.len()))
        }
        // With steps of one, a slice as long as its axis is the whole axis.
        Op::Slice(_) => first.filter(|_| node.inputs.get(4).copied().flatten().is_none() || all(4, 1)),
        Op::Pad(_) => first.filter(|_| all(1, 0)),
        Op::Tile(_) => first.filter(|_| all(1, 1)),
        Op::Concat(_) => first.filter(|_| node.inputs.len() == 1),
        _ => None,
    };
    let operand = operand?;
    let result = *node.outputs.first()?;
    (same_shape(graph, operand, result) && graph.ty(operand).data_type() == graph.ty(result).data_type())
        .then_some(operand)
}

/// Removes one node.
pub(crate) fn rewrite(graph: &Graph<'_>, position: usize, patch: &mut Patch<'_>) -> Result<bool, Miss> {
    let node = graph.node(position);
    let Some(operand) = equal_operand(graph, node) else { return Ok(false) };
    patch.replace(node.outputs[0], operand);
    Ok(true)
}
