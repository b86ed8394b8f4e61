//! Weight expressions: how weights of a plan follow from tensors of the model. A refit gives other tensors and evaluates
//! the expressions again.
//!
//! The builder writes them where it was asked for a refittable plan. In such a build no pass and no kernel looked at the
//! elements of the tensors that an expression names, so that the steps are right for any elements.

use std::collections::HashMap;

use sinter_backend::{Recipe, Region};
use sinter_base::TensorType;
use sinter_ops::{Body, Effects};

use crate::check::{same_shape, same_type};
use crate::codec::{Decoded, MAX_DEPTH, damaged, decode_body, encode_body, position, wire_index};
use crate::error::PlanError;
use crate::plan::{Launch, Plan, PlanValueId, Storage, WeightId};
use crate::regions::{Fit, operator_types};
use crate::wire;

/// The meaning of an input of an expression.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum WeightSource {
    /// A tensor of the model of this name; a refit may replace it.
    Named(String),
    /// A constant, stored as a weight of the plan.
    Constant(WeightId),
}

/// See the module documentation.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightExpression {
    /// The weight that is computed; where a kernel packs it, the tensor before it is packed.
    pub weight: WeightId,
    /// The computation: one result, an input for each source.
    pub body: Body,
    /// The sources, in the order of the body's inputs.
    pub sources: Vec<WeightSource>,
}

/// The kernel that reads a packed weight.
#[derive(Clone, Copy, Debug)]
pub struct PackedFor<'a> {
    /// Its recipe.
    pub recipe: &'a Recipe,
    /// Its region.
    pub region: &'a Region,
    /// Index of the operand.
    pub operand: usize,
}

impl WeightExpression {
    /// Type of the result.
    pub fn result_type(&self) -> Option<&TensorType> {
        self.body.ty(self.body.outputs().first().copied()?).as_tensor()
    }

    /// The tensors of the model that it reads: name and type.
    pub fn named_sources(&self) -> impl Iterator<Item = (&str, &TensorType)> {
        self.sources.iter().zip(self.body.inputs()).filter_map(|(source, input)| match source {
            WeightSource::Named(name) => Some((name.as_str(), self.body.ty(*input).as_tensor()?)),
            WeightSource::Constant(_) => None,
        })
    }
}

impl Plan {
    /// The packed weights, each with a kernel that reads it. All kernels that read one weight pack it alike.
    pub fn packed_weights(&self) -> HashMap<WeightId, PackedFor<'_>> {
        let mut packed = HashMap::new();
        self.graph.visit(&mut |graph, step| {
            let Some(launch) = step.launch() else { return };
            for variant in launch.variants() {
                for &operand in &variant.packed {
                    let replaced = variant.replaced.iter().find(|(own, _)| *own == operand).map(|(_, id)| *id);
                    let id: Option<PlanValueId> = replaced.or_else(|| step.inputs.get(operand).copied().flatten());
                    let storage = id.and_then(|id| graph.values.get(id.index())).map(|value| &value.storage);
                    if let Some(Storage::Weight(weight)) = storage {
                        let Launch { region, .. } = launch;
                        packed.entry(*weight).or_insert(PackedFor { recipe: &variant.recipe, region, operand });
                    }
                }
            }
        });
        packed
    }
}

pub(crate) fn encode(expression: &WeightExpression) -> wire::WeightExpression {
    use wire::weight_source::Kind;
    let source = |source: &WeightSource| {
        let kind = match source {
            WeightSource::Named(name) => Kind::Name(name.clone()),
            WeightSource::Constant(weight) => Kind::Constant(wire_index(weight.index())),
        };
        wire::WeightSource { kind: Some(kind) }
    };
    wire::WeightExpression {
        weight: wire_index(expression.weight.index()),
        body: Some(encode_body(&expression.body)),
        sources: expression.sources.iter().map(source).collect(),
    }
}

pub(crate) fn decode(expression: &wire::WeightExpression, weights: usize) -> Decoded<WeightExpression> {
    use wire::weight_source::Kind;
    let source = |source: &wire::WeightSource| match &source.kind {
        Some(Kind::Name(name)) => Ok(WeightSource::Named(name.clone())),
        Some(Kind::Constant(weight)) => {
            Ok(WeightSource::Constant(WeightId::new(position(*weight, weights, "weight")?)))
        }
        None => damaged("a weight expression has an unknown source"),
    };
    let body = expression.body.as_ref().ok_or_else(|| PlanError::damaged("a weight expression has no body"))?;
    Ok(WeightExpression {
        weight: WeightId::new(position(expression.weight, weights, "weight")?),
        // The operators of an expression have no bodies of their own.
        body: decode_body(body, MAX_DEPTH)?,
        sources: expression.sources.iter().map(source).collect::<Decoded<_>>()?,
    })
}

/// Checks the expressions of a plan.
///
/// # Errors
/// The first expression that cannot be evaluated, or gives a weight of another type.
pub(crate) fn check(plan: &Plan) -> Result<(), PlanError> {
    if plan.expressions.is_empty() {
        return Ok(());
    }
    let packed = plan.packed_weights();
    let mut named: HashMap<&str, &TensorType> = HashMap::new();
    let mut computed = vec![false; plan.weights.len()];
    for expression in &plan.expressions {
        let wrong = |reason: &str| PlanError::damaged(format!("the expression of {}: {reason}", expression.weight));
        match computed.get_mut(expression.weight.index()) {
            Some(is_known) if !*is_known => *is_known = true,
            _ => return Err(wrong("the weight has another one")),
        }
        check_one(plan, expression, packed.contains_key(&expression.weight)).map_err(|reason| wrong(&reason))?;
        for (name, ty) in expression.named_sources() {
            if *named.entry(name).or_insert(ty) != ty {
                return Err(wrong(&format!("tensor '{name}' has two types")));
            }
        }
    }
    Ok(())
}

fn check_one(plan: &Plan, expression: &WeightExpression, is_packed: bool) -> Result<(), String> {
    let WeightExpression { weight, body, sources } = expression;
    let tensor_of = |id: &WeightId| plan.weights.get(id.index()).map(|weight| weight.tensor());
    if sources.len() != body.inputs().len() {
        return Err(format!("{} sources for {} inputs", sources.len(), body.inputs().len()));
    }
    for (source, input) in sources.iter().zip(body.inputs()) {
        let declared = body.ty(*input).as_tensor().ok_or("a source is no tensor")?;
        let is_static = declared.shape.sizes().is_some();
        let fits = match source {
            WeightSource::Named(_) => is_static && declared.value.is_none(),
            WeightSource::Constant(id) => tensor_of(id).is_some_and(|tensor| {
                let actual = TensorType::of(tensor);
                same_shape(&actual, declared) && (declared.value.is_none() || declared.value == actual.value)
            }),
        };
        if !fits {
            return Err(format!("a source of type {declared}"));
        }
    }
    if body.nodes().iter().any(|node| node.op.effects() != Effects::NONE) {
        return Err("an operator with effects".to_owned());
    }
    let fit = Fit { type_fits: &same_type, is_guarded: &|a, b| a == b };
    operator_types(body, &fit)?;
    let [_] = body.outputs() else { return Err(format!("{} results", body.outputs().len())) };
    let result = expression.result_type().filter(|ty| ty.shape.sizes().is_some()).ok_or("its result is no tensor")?;
    let stored = tensor_of(weight).map(TensorType::of).ok_or("there is no such weight")?;
    if !is_packed && !same_shape(&stored, result) {
        return Err(format!("its result is {result}, the weight is {stored}"));
    }
    Ok(())
}
