//! The tactics of the device: single operators of a list, on tensors of a few element types. An island runs all others.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use sinter_backend::{Candidate, Code, KernelError, Numerics, Problem, Recipe, Refusal, Region, Tactic, Target};
use sinter_base::{DataType, ValueType};
use sinter_ops::OpKind;

/// A kernel that evaluates the reference of one operator.
#[derive(Debug)]
pub struct Reference {
    name: &'static str,
    kind: [OpKind; 1],
    /// Counts compilations.
    compiles: Arc<AtomicUsize>,
}

/// Element types of operands and results.
pub const TYPES: &[DataType] = &[DataType::F32, DataType::I64, DataType::Bool];

/// Every tactic, by name and operator.
pub const TACTICS: &[(&str, OpKind)] = &[
    ("fake.pointwise.reference", OpKind::Pointwise),
    ("fake.conv.reference", OpKind::Convolution),
    ("fake.matmul.reference", OpKind::MatMul),
    ("fake.pool.reference", OpKind::Pool),
    ("fake.norm.reference", OpKind::Normalize),
    ("fake.movement.reshape", OpKind::Reshape),
    ("fake.movement.transpose", OpKind::Transpose),
    ("fake.movement.slice", OpKind::Slice),
    ("fake.movement.concat", OpKind::Concat),
    ("fake.movement.expand", OpKind::Expand),
    ("fake.movement.squeeze", OpKind::Squeeze),
    ("fake.movement.unsqueeze", OpKind::Unsqueeze),
    ("fake.index.gather", OpKind::Gather),
    ("fake.index.non_zero", OpKind::NonZero),
    ("fake.reduce.reference", OpKind::Reduce),
    ("fake.reduce.softmax", OpKind::Softmax),
    ("fake.random.fill", OpKind::RandomFill),
];

/// The tactics of a device; they count compilations.
pub(crate) fn all(compiles: &Arc<AtomicUsize>) -> Vec<Reference> {
    let tactic = |(name, kind): &(&'static str, OpKind)| Reference { name, kind: [*kind], compiles: compiles.clone() };
    TACTICS.iter().map(tactic).collect()
}

/// The code of a recipe for a region; the device checks it at load.
pub(crate) fn code_of(recipe: &Recipe, region: &Region) -> Code {
    Code(Bytes::from(format!("{recipe}\n{region}")))
}

impl Tactic for Reference {
    fn name(&self) -> &str {
        self.name
    }

    fn roots(&self) -> &[OpKind] {
        &self.kind
    }

    fn offer(&self, problem: &Problem<'_>, _: usize) -> Result<Vec<Candidate>, Refusal> {
        check(self, problem.region)?;
        let bytes = sinter_ops::operator::count_of(&problem.region.body().output_types()[0]);
        let estimate = problem.sizing.evaluate(&bytes).unwrap_or(1).max(1) as f64;
        let is_random = problem.region.body().nodes().iter().any(|node| node.op.effects().random);
        let plain = Candidate::plain(self, Numerics::Ordered, estimate);
        Ok(vec![Candidate { capturable: !is_random, ..plain }])
    }

    fn compile(&self, recipe: &Recipe, region: &Region, _: &Target) -> Result<Option<Code>, KernelError> {
        self.compiles.fetch_add(1, Ordering::Relaxed);
        Ok(Some(code_of(recipe, region)))
    }
}

/// Does the tactic implement the region?
fn check(tactic: &Reference, region: &Region) -> Result<(), Refusal> {
    let Some(node) = region.only() else { return Err(Refusal::new("takes one operator at a time")) };
    if !tactic.kind.contains(&node.op.kind()) {
        return Err(Refusal::OtherOperator);
    }
    let types = region.body().input_types().into_iter().chain(region.body().output_types());
    let is_taken = |ty: &ValueType| ty.as_tensor().is_some_and(|tensor| TYPES.contains(&tensor.data_type));
    match types.into_iter().find(|ty| !is_taken(ty)) {
        Some(ty) => Err(Refusal::new(format!("the device has no {ty}"))),
        None => Ok(()),
    }
}

/// Does the recipe belong to the region?
pub(crate) fn implements(recipe: &Recipe, region: &Region) -> Result<(), Refusal> {
    let known = TACTICS.iter().find(|(name, _)| *name == recipe.tactic);
    let (_, own) = known.ok_or_else(|| Refusal::new("there is no such tactic"))?;
    match region.only().is_some_and(|node| node.op.kind() == *own) {
        true => Ok(()),
        false => Err(Refusal::OtherOperator),
    }
}
