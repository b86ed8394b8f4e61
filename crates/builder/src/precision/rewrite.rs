//! Gives the values of a network their storage.
//!
//! A value that readers take in another type than it is stored in is cast once for each type. The cast of a weight is part of
//! its expression, so that no run computes it. A pointwise program casts what it reads, computes as before, and casts each
//! result once: `MatMul -> Pointwise` stays these two operators, the product in the narrow type, and all casts of the program
//! inside it.

use std::collections::HashMap;

use sinter_base::{DataType, Shape, TensorType, ValueType};
use sinter_ir::{Graph, Network, Patch, verify};
use sinter_ops::pointwise::program::Step;
use sinter_ops::pointwise::{CastMode, Expr, Pointwise, Program, ScalarOp};
use sinter_ops::{InferError, Op, ValueId};
use smallvec::{SmallVec, smallvec};

use crate::precision::assign::{Assignment, Decision, is_f32};
use crate::precision::error::PrecisionError;
use crate::precision::forms::{Operands, narrows_result, takes_any_float};

/// A network with narrow values.
pub(super) struct Rewritten {
    pub(super) network: Network,
    /// By node: the node of the network before that it came from.
    pub(super) origins: Vec<Option<usize>>,
    /// Number of nodes that take or give narrow values in place of f32.
    pub(super) narrow: usize,
    /// Number of casts between other nodes.
    pub(super) casts: usize,
}

struct Rewriter<'p, 'g> {
    graph: &'g Graph<'g>,
    patch: &'p mut Patch<'g>,
    assignment: &'p Assignment,
    /// Values in other types than f32.
    have: HashMap<(ValueId, DataType), ValueId>,
    narrow: usize,
}

/// The type with other elements, and without contents.
fn with_elements(ty: &ValueType, data_type: DataType) -> ValueType {
    let shape = ty.as_tensor().map_or(Shape::Unranked, |tensor| tensor.shape.clone());
    TensorType::new(data_type, shape).into()
}

/// The program of one cast.
pub(super) fn cast_op(from: DataType, to: DataType) -> Result<Pointwise, InferError> {
    Expr::into_pointwise(&[Expr::input(0, from).cast(to)]).map_err(|e| InferError::Invalid(e.to_string()))
}

/// Rewrites a network.
///
/// # Errors
/// When the rewrite makes a network that is not valid.
pub(super) fn rewrite(network: &Network, assignment: &Assignment) -> Result<Rewritten, PrecisionError> {
    let graph = Graph::of_network(network);
    let mut infer = network.infer_context();
    let mut patch = Patch::new(&graph, &mut infer);
    let mut rewriter = Rewriter { graph: &graph, patch: &mut patch, assignment, have: HashMap::new(), narrow: 0 };
    for (position, decision) in assignment.decisions.iter().enumerate() {
        match decision {
            Decision::Stays => {}
            Decision::Narrow(positions, data_type) => rewriter.narrow(position, *positions, *data_type)?,
            Decision::Program(types) => rewriter.program(position, types)?,
        }
    }
    let narrow = rewriter.narrow;
    let applied = patch.apply()?;
    let origins: Vec<Option<usize>> = applied.origins.iter().map(|origins| origins.first().copied()).collect();
    let rewritten = network.clone().patched(applied, network.guards.clone());
    verify(&rewritten)?;
    let casts = rewritten.body.nodes().iter().filter(|node| is_cast(&node.op)).count();
    let before = network.body.nodes().iter().filter(|node| is_cast(&node.op)).count();
    Ok(Rewritten { network: rewritten, origins, narrow, casts: casts.saturating_sub(before) })
}

/// Does the node nothing but cast?
fn is_cast(op: &Op) -> bool {
    let Op::Pointwise(op) = op else { return false };
    let is_cast = |step: &Step| matches!(step, Step::Input { .. } | Step::Apply { op: ScalarOp::Cast(_), .. });
    op.program.operation_count() > 0 && op.program.steps().iter().all(is_cast)
}

impl Rewriter<'_, '_> {
    /// The value in a type, for a reader.
    fn value_in(&mut self, id: ValueId, data_type: DataType, reader: usize) -> Result<ValueId, InferError> {
        if data_type == DataType::F32 {
            return Ok(id);
        }
        if let Some(known) = self.have.get(&(id, data_type)) {
            return Ok(*known);
        }
        let op = cast_op(DataType::F32, data_type)?;
        let made = if self.graph.weight(id).is_some() {
            self.patch.folded(op, &[Some(id)])?
        } else {
            self.patch.set_origins(self.graph.producer_position(id).or(Some(reader)));
            let ty = with_elements(self.graph.ty(id), data_type);
            first(&self.patch.add_typed(op, &[Some(id)], vec![ty]))?
        };
        self.have.insert((id, data_type), made);
        Ok(made)
    }

    /// The type and the value in which a reader that takes any type finds an operand.
    fn as_stored(
        &mut self,
        id: ValueId,
        result: Option<&ValueType>,
        reader: usize,
    ) -> Result<(DataType, ValueId), InferError> {
        let data_type = match self.graph.weight(id) {
            None => self.assignment.storage[id.index()],
            Some(_) if self.assignment.wide_weights.contains(&id) => DataType::F32,
            // A smaller weight costs little to read, and keeps its digits.
            Some(_) => match result.filter(|result| has_count_of(result, self.graph.ty(id))) {
                Some(result) if is_narrow(result.data_type()) => result.data_type(),
                _ => DataType::F32,
            },
        };
        Ok((data_type, self.value_in(id, data_type, reader)?))
    }

    /// A node with operands and results in another type.
    fn narrow(&mut self, position: usize, positions: Operands, data_type: DataType) -> Result<(), InferError> {
        let node = self.graph.node(position);
        let mut inputs: SmallVec<[Option<ValueId>; 4]> = SmallVec::new();
        for (index, id) in node.inputs.iter().enumerate() {
            inputs.push(match id {
                Some(id) if !is_f32(self.graph, *id) => Some(*id),
                Some(id) if positions.contain(index) => Some(self.value_in(*id, data_type, position)?),
                Some(id) if takes_any_float(&node.op, index) => Some(self.as_stored(*id, None, position)?.1),
                other => *other,
            });
        }
        let narrows = |(index, id): (usize, &ValueId)| is_f32(self.graph, *id) && narrows_result(&node.op, index);
        let types = node.outputs.iter().enumerate().map(|(index, id)| match narrows((index, id)) {
            true => with_elements(self.graph.ty(*id), data_type),
            false => self.graph.ty(*id).clone(),
        });
        let types = types.collect();
        self.patch.set_origins([position]);
        let made = self.patch.add_typed(node.op.clone(), &inputs, types);
        for ((index, old), new) in node.outputs.iter().enumerate().zip(made) {
            if narrows((index, old)) {
                self.have.insert((*old, data_type), new);
                self.widen(position, *old, new, data_type)?;
            } else {
                self.patch.replace(*old, new);
            }
        }
        self.narrow += 1;
        Ok(())
    }

    /// The f32 readers of a value read the cast of a narrow one; without such readers the cast vanishes.
    fn widen(&mut self, position: usize, old: ValueId, new: ValueId, from: DataType) -> Result<(), InferError> {
        self.patch.set_origins([position]);
        let ty = with_elements(self.graph.ty(old), DataType::F32);
        let wide = first(&self.patch.add_typed(cast_op(from, DataType::F32)?, &[Some(new)], vec![ty]))?;
        self.patch.replace(old, wide);
        Ok(())
    }

    /// A program that reads operands as they are stored, and gives its results in these types.
    fn program(&mut self, position: usize, types: &[Vec<DataType>]) -> Result<(), InferError> {
        let node = self.graph.node(position);
        let Op::Pointwise(op) = &node.op else { return Ok(()) };
        // The largest result decides whether a weight is as large.
        let result = node.outputs.first().zip(types.first().and_then(|types| types.first()));
        let result = result.map(|(id, data_type)| with_elements(self.graph.ty(*id), *data_type));
        let mut inputs: SmallVec<[Option<ValueId>; 4]> = SmallVec::new();
        let mut stored: Vec<DataType> = Vec::new();
        for id in node.inputs.iter().flatten() {
            let (data_type, value) = match is_f32(self.graph, *id) {
                true => self.as_stored(*id, result.as_ref(), position)?,
                false => (self.graph.ty(*id).data_type(), *id),
            };
            stored.push(data_type);
            inputs.push(Some(value));
        }
        let reads_narrow = node.inputs.iter().flatten().zip(&stored);
        let reads_narrow = reads_narrow.filter(|(id, stored)| is_f32(self.graph, **id) && is_narrow(**stored)).count();
        let gives_narrow = types.iter().flatten().any(|data_type| is_narrow(*data_type));
        if inputs.len() != node.inputs.len() || reads_narrow == 0 && !gives_narrow {
            return Ok(());
        }
        let (program, given) =
            with_casts(&op.program, &stored, types).map_err(|e| InferError::Invalid(e.to_string()))?;
        let types: Vec<ValueType> = given
            .iter()
            .map(|(index, data_type)| {
                let old = self.graph.ty(node.outputs[*index]);
                if old.data_type() == *data_type { old.clone() } else { with_elements(old, *data_type) }
            })
            .collect();
        self.patch.set_origins([position]);
        let made = self.patch.add_typed(Pointwise { program }, &inputs, types);
        let mut is_wide = vec![false; node.outputs.len()];
        for ((index, data_type), new) in given.iter().zip(&made) {
            let old = node.outputs[*index];
            if is_f32(self.graph, old) && *data_type != DataType::F32 {
                self.have.insert((old, *data_type), *new);
            } else {
                self.patch.replace(old, *new);
                is_wide[*index] = true;
            }
        }
        for (index, data_type) in given {
            let old = node.outputs[index];
            if !std::mem::replace(&mut is_wide[index], true)
                && let Some(new) = self.have.get(&(old, data_type)).copied()
            {
                self.widen(position, old, new, data_type)?;
            }
        }
        self.narrow += usize::from(gives_narrow);
        Ok(())
    }
}

fn first(made: &[ValueId]) -> Result<ValueId, InferError> {
    made.first().copied().ok_or_else(|| InferError::Invalid("an operator without results".to_owned()))
}

fn is_narrow(data_type: DataType) -> bool {
    matches!(data_type, DataType::F16 | DataType::Bf16)
}

/// Have both types the same number of elements, which is known?
fn has_count_of(result: &ValueType, weight: &ValueType) -> bool {
    let count = |ty: &ValueType| ty.as_tensor()?.shape.count().ok()?.as_constant();
    count(weight).is_some() && count(result) == count(weight)
}

/// A program for operands that are stored in these types, each result in each of its types; and which result, and in which
/// type, each result of the new program is.
#[allow(clippy::type_complexity, reason = "a list of (result, type)")]
fn with_casts(
    program: &Program,
    stored: &[DataType],
    types: &[Vec<DataType>],
) -> Result<(Program, Vec<(usize, DataType)>), sinter_base::AttributeError> {
    let mut made = Program::default();
    let cast = ScalarOp::Cast(CastMode::default());
    let mut renamed: Vec<usize> = Vec::with_capacity(program.steps().len());
    for step in program.steps() {
        let step = match step {
            Step::Input { index, data_type } => {
                let stored = stored.get(*index).copied().unwrap_or(*data_type);
                let read = made.add(Step::Input { index: *index, data_type: stored })?;
                if stored == *data_type {
                    renamed.push(read);
                    continue;
                }
                Step::Apply { op: cast, compute: *data_type, args: smallvec![read] }
            }
            Step::Constant { .. } => step.clone(),
            Step::Apply { op, compute, args } => {
                Step::Apply { op: *op, compute: *compute, args: args.iter().map(|arg| renamed[*arg]).collect() }
            }
        };
        renamed.push(made.add(step)?);
    }
    let (mut results, mut given) = (Vec::new(), Vec::new());
    for (index, (result, types)) in program.results().iter().zip(types).enumerate() {
        let own = program.steps().get(*result).map(Step::data_type);
        let at = renamed[*result];
        if own != Some(DataType::F32) {
            results.push(at);
            given.extend(own.map(|own| (index, own)));
            continue;
        }
        for data_type in types {
            results.push(match data_type {
                DataType::F32 => at,
                narrow => made.add(Step::Apply { op: cast, compute: *narrow, args: smallvec![at] })?,
            });
            given.push((index, *data_type));
        }
    }
    made.set_results(results)?;
    Ok((made, given))
}
