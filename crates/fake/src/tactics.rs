//! What the device has kernels for: single operators of a list, on tensors of a few element types. All else stays elsewhere.

use sinter_backend::{Candidate, Numerics, Problem, Recipe, Refusal, Region, Tactic};
use sinter_base::{DataType, ValueType};
use sinter_ops::OpKind;

/// A kernel that evaluates the reference of one operator.
#[derive(Debug)]
pub struct Reference {
    name: &'static str,
    kind: [OpKind; 1],
}

const fn reference(name: &'static str, kind: OpKind) -> Reference {
    Reference { name, kind: [kind] }
}

/// Element types of operands and results.
pub const TYPES: &[DataType] = &[DataType::F32, DataType::I64, DataType::Bool];

/// Every tactic.
pub const TACTICS: &[&dyn Tactic] = &[
    &reference("fake.pointwise.reference", OpKind::Pointwise),
    &reference("fake.conv.reference", OpKind::Convolution),
    &reference("fake.matmul.reference", OpKind::MatMul),
    &reference("fake.pool.reference", OpKind::Pool),
    &reference("fake.norm.reference", OpKind::Normalize),
    &reference("fake.movement.reshape", OpKind::Reshape),
    &reference("fake.movement.transpose", OpKind::Transpose),
    &reference("fake.movement.slice", OpKind::Slice),
    &reference("fake.movement.concat", OpKind::Concat),
    &reference("fake.movement.expand", OpKind::Expand),
    &reference("fake.movement.squeeze", OpKind::Squeeze),
    &reference("fake.movement.unsqueeze", OpKind::Unsqueeze),
    &reference("fake.index.gather", OpKind::Gather),
    &reference("fake.index.non_zero", OpKind::NonZero),
    &reference("fake.reduce.reference", OpKind::Reduce),
    &reference("fake.reduce.softmax", OpKind::Softmax),
    &reference("fake.random.fill", OpKind::RandomFill),
];

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
}

/// Does the tactic compute the region?
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
pub(crate) fn serves(recipe: &Recipe, region: &Region) -> Result<(), Refusal> {
    let named = |tactic: &&&dyn Tactic| tactic.name() == recipe.tactic;
    let tactic = TACTICS.iter().find(named).ok_or_else(|| Refusal::new("there is no such tactic"))?;
    let kind = region.only().map(|node| node.op.kind());
    match kind.is_some_and(|kind| tactic.roots().contains(&kind)) {
        true => Ok(()),
        false => Err(Refusal::OtherOperator),
    }
}
