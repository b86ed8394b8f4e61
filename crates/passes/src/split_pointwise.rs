//! The normal form of elementwise work: one scalar operation per node, constants of one element inside the program.
//!
//! Every exporter groups scalar operations in its own way; in this form patterns match all of them. Each operation
//! keeps its compute type, so the results do not change. [`crate::merge_pointwise`] merges the operations
//! again at the end.

use sinter_base::DataType;
use sinter_ir::{Graph, Patch};
use sinter_ops::pointwise::program::Step;
use sinter_ops::pointwise::{CastMode, Pointwise, Program, Scalar};
use sinter_ops::{Op, ValueId};
use smallvec::SmallVec;

use crate::identities::same_dims;
use crate::pass::{Miss, miss};

/// The source of an argument of an operation.
#[derive(Clone)]
enum Argument {
    Value(ValueId),
    Constant(DataType, Scalar),
}

/// The constant that a weight of one element is.
fn constant_of(graph: &Graph<'_>, id: ValueId) -> Option<Scalar> {
    let ty = graph.tensor(id)?;
    if ty.dims().ok()?.iter().any(|d| d.as_constant() != Some(1)) {
        return None;
    }
    let value = graph.uniform(id)?;
    let scalar = if ty.data_type.is_float() { Scalar::Float(value) } else { Scalar::Int(value as i128) };
    Some(scalar.cast(ty.data_type, CastMode::default()))
}

fn rank(graph: &Graph<'_>, id: ValueId) -> Option<usize> {
    graph.tensor(id)?.shape.rank()
}

/// Splits one node.
pub(crate) fn rewrite(graph: &Graph<'_>, position: usize, patch: &mut Patch<'_>) -> Result<bool, Miss> {
    let node = graph.node(position);
    let Op::Pointwise(op) = &node.op else { return Ok(false) };
    let program = &op.program;
    let operands: Option<SmallVec<[ValueId; 4]>> = node.inputs.iter().copied().collect();
    let Some(operands) = operands else { return Ok(false) };
    let constants: Vec<Option<Scalar>> = operands.iter().map(|id| constant_of(graph, *id)).collect();
    // At least one operand must stay, to define the shape of the result.
    let highest = operands.iter().zip(&constants).filter(|(_, c)| c.is_none()).filter_map(|(id, _)| rank(graph, *id));
    let highest = highest.max();
    let becomes_constant = |index: usize| constants[index].filter(|_| rank(graph, operands[index]) <= highest);
    let inlines = (0..operands.len()).any(|index| becomes_constant(index).is_some());
    if program.operation_count() + program.results().len() <= 2 && !inlines {
        return Ok(false);
    }
    let mut arguments: Vec<Argument> = Vec::with_capacity(program.steps().len());
    for step in program.steps() {
        arguments.push(match step {
            Step::Input { index, data_type } => match becomes_constant(*index) {
                Some(value) => Argument::Constant(*data_type, value),
                None => Argument::Value(operands[*index]),
            },
            Step::Constant { data_type, value } => Argument::Constant(*data_type, *value),
            Step::Apply { op, compute, args } => {
                let mut single = Program::default();
                let mut inputs: SmallVec<[ValueId; 4]> = SmallVec::new();
                let mut positions: SmallVec<[usize; 3]> = SmallVec::new();
                for &argument in args {
                    let step = match &arguments[argument] {
                        Argument::Constant(data_type, value) => Step::Constant { data_type: *data_type, value: *value },
                        Argument::Value(id) => {
                            let index = inputs.iter().position(|i| i == id).unwrap_or_else(|| {
                                inputs.push(*id);
                                inputs.len() - 1
                            });
                            Step::Input { index, data_type: patch.ty(*id).data_type() }
                        }
                    };
                    positions.push(single.add(step).map_err(|e| Miss(e.to_string()))?);
                }
                let result = single
                    .add(Step::Apply { op: *op, compute: *compute, args: positions })
                    .and_then(|result| single.set_results(vec![result]));
                result.map_err(|e| Miss(e.to_string()))?;
                Argument::Value(patch.add_one(Pointwise { program: single }, &inputs)?)
            }
        });
    }
    for (id, &result) in node.outputs.iter().zip(program.results()) {
        let Argument::Value(value) = &arguments[result] else { miss!("a result is a constant") };
        let dims = |ty: &sinter_base::ValueType| ty.as_tensor().and_then(|t| t.dims().ok()).map(<[_]>::to_vec);
        match (dims(graph.ty(*id)), dims(patch.ty(*value))) {
            (Some(old), Some(new)) if same_dims(&old, &new) => patch.replace(*id, *value),
            _ => miss!("a result takes its shape from an operand that it does not read"),
        }
    }
    Ok(true)
}
