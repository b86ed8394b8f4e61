//! Values beyond the range of a narrow type, on the inputs of verification.
//!
//! The reference executor runs the network in f32. A node whose results or narrow operands exceed the type stays in f32. Then it
//! runs the narrow network: where a value becomes infinite or no number and is a number in f32, the node and those in front
//! of it stay in f32, more of them each time, so that the search ends.

use std::collections::{BTreeSet, HashMap, HashSet};

use sinter_base::{DataType, Floats, Tensor, Value};
use sinter_interp::evaluate_weight;
use sinter_ir::{Graph, Network, WeightExpr};
use sinter_ops::{Op, ValueId};

use crate::precision::assign::{Assignment, Decision, Fixed, FixedNodes, is_f32};
use crate::precision::error::PrecisionError;
use crate::precision::forms::narrows_result;
use crate::precision::rewrite::Rewritten;
use crate::verify::Answers;
use crate::verify::trace::observed;

/// Largest absolute number of each value, and whether all its numbers are finite.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Extent {
    largest: f64,
    is_finite: bool,
}

/// The extents of the f32 values of a network.
#[derive(Debug, Default)]
pub(super) struct Extents(HashMap<ValueId, Extent>);

fn extent(tensor: &Tensor) -> Extent {
    let floats = Floats::of(tensor);
    let is_finite = (0..tensor.count()).all(|at| floats.at(at).is_finite());
    Extent { largest: floats.largest(), is_finite }
}

fn is_float(value: &Value) -> Option<&Tensor> {
    value.as_tensor().filter(|tensor| tensor.data_type().is_float())
}

/// The largest number of a narrow type.
fn end_of(data_type: DataType) -> f64 {
    match data_type {
        DataType::F16 => 65504.0,
        DataType::Bf16 => (2.0 - 2f64.powi(-7)) * 2f64.powi(127),
        _ => f64::INFINITY,
    }
}

impl Extents {
    /// The extents of weights, and of all values that the reference executor computes on inputs of verification.
    pub(super) fn of(network: &Network, runs: &[&Answers]) -> Result<Self, PrecisionError> {
        let mut extents = HashMap::new();
        for weight in network.weights.iter().filter(|weight| network.body.ty(weight.value).data_type().is_float()) {
            let known = match &*weight.expr {
                WeightExpr::Source { tensor, .. } => Some(extent(tensor)),
                // The build reports a weight that cannot be computed when it packs it.
                WeightExpr::Apply { .. } => evaluate_weight(&weight.expr).ok().map(|tensor| extent(&tensor)),
            };
            extents.extend(known.map(|known| (weight.value, known)));
        }
        for answers in runs {
            let given = network.inputs.iter().filter_map(|input| {
                let value = answers.inputs.get(&input.name).cloned();
                Some((input.value, value.or_else(|| input.default.clone().map(Value::Tensor))?))
            });
            for (id, value) in given {
                add(&mut extents, id, &value);
            }
            observed(network, answers, &mut |id, value| add(&mut extents, id, value))
                .map_err(PrecisionError::Rewrite)?;
        }
        Ok(Self(extents))
    }

    /// Why the value has no place in the type.
    fn beyond(&self, id: ValueId, data_type: DataType) -> Option<String> {
        let (largest, end) = (self.0.get(&id)?.largest, end_of(data_type));
        (largest > end).then(|| format!("reaches {largest:.3e}, and {data_type} ends at {end:.3e}"))
    }

    /// Weights that no narrow type holds.
    pub(super) fn wide_weights(&self, graph: &Graph<'_>) -> HashSet<ValueId> {
        let is_beyond = |id: &&ValueId| self.beyond(**id, DataType::F16).is_some();
        graph.weights().keys().filter(is_beyond).copied().collect()
    }

    /// Nodes whose narrow results or operands exceed their type.
    pub(super) fn exceeded(&self, graph: &Graph<'_>, assignment: &Assignment) -> FixedNodes {
        let mut nodes = FixedNodes::new();
        for (position, decision) in assignment.decisions.iter().enumerate() {
            let node = graph.node(position);
            let reason = match decision {
                Decision::Stays => None,
                Decision::Narrow(positions, data_type) => {
                    let narrows =
                        |(index, id): &(usize, &ValueId)| is_f32(graph, **id) && narrows_result(&node.op, *index);
                    let mut results = node.outputs.iter().enumerate().filter(narrows).map(|(_, id)| *id);
                    let inputs = node.inputs.iter().enumerate();
                    let mut operands = inputs.filter(|(index, _)| positions.contain(*index)).filter_map(|(_, id)| *id);
                    let result = results.find_map(|id| self.beyond(id, *data_type)).map(|r| format!("its result {r}"));
                    result.or_else(|| {
                        operands.find_map(|id| self.beyond(id, *data_type)).map(|r| format!("what it reads {r}"))
                    })
                }
                Decision::Program(types) => node.outputs.iter().zip(types).find_map(|(id, types)| {
                    let stored = types.first().filter(|data_type| **data_type != DataType::F32)?;
                    self.beyond(*id, *stored).map(|r| format!("its result {r}"))
                }),
            };
            if let Some(reason) = reason {
                nodes.insert(position, Fixed { storage: DataType::F32, reason, is_range: true });
            }
        }
        nodes
    }

    fn is_finite(&self, id: ValueId) -> bool {
        self.0.get(&id).is_some_and(|extent| extent.is_finite)
    }
}

fn add(extents: &mut HashMap<ValueId, Extent>, id: ValueId, value: &Value) {
    let Some(tensor) = is_float(value) else { return };
    let Extent { largest, is_finite } = extent(tensor);
    let known = extents.entry(id).or_insert(Extent { largest, is_finite });
    *known = Extent { largest: known.largest.max(largest), is_finite: known.is_finite && is_finite };
}

/// The first node, in the order of the network before, with a result that is no finite number in the narrow network, and
/// finite in f32.
pub(super) fn first_lost(
    graph: &Graph<'_>,
    extents: &Extents,
    rewritten: &Rewritten,
    runs: &[&Answers],
) -> Result<Option<usize>, PrecisionError> {
    let mut lost: Option<usize> = None;
    let producer: HashMap<ValueId, usize> = rewritten
        .network
        .body
        .nodes()
        .iter()
        .zip(&rewritten.origins)
        .flat_map(|(node, origin)| node.outputs.iter().filter_map(move |id| Some((*id, (*origin)?))))
        .collect();
    for answers in runs {
        let mut see = |id: ValueId, value: &Value| {
            let Some(position) = producer.get(&id).copied() else { return };
            let is_earlier = lost.is_none_or(|lost| position < lost);
            let was_finite =
                || graph.node(position).outputs.iter().all(|id| !is_f32(graph, *id) || extents.is_finite(*id));
            if is_earlier && is_float(value).is_some_and(|tensor| !extent(tensor).is_finite) && was_finite() {
                lost = Some(position);
            }
        };
        observed(&rewritten.network, answers, &mut see).map_err(PrecisionError::Rewrite)?;
    }
    Ok(lost)
}

/// A node and the nodes in front of it, so many steps far.
pub(super) fn cone(graph: &Graph<'_>, position: usize, steps: usize) -> BTreeSet<usize> {
    let mut nodes = BTreeSet::from([position]);
    let mut edge = vec![position];
    for _ in 0..steps {
        let inputs = edge.iter().flat_map(|position| graph.node(*position).inputs.iter().flatten());
        let before: Vec<usize> = inputs.filter_map(|id| graph.producer_position(*id)).collect();
        edge = before.into_iter().filter(|position| nodes.insert(*position)).collect();
    }
    nodes.retain(|position| !matches!(graph.node(*position).op, Op::Shape(_)));
    nodes
}
