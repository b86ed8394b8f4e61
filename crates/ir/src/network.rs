//! A network: a body whose inputs are named user inputs and weights.

use std::collections::HashSet;
use std::sync::Arc;

use sinter_base::{Location, Tensor, ValueType};
use sinter_ops::{Body, Guard, InferContext, Op, ValueId};

use crate::patch::Applied;

/// The source of a weight's elements. Folding composes expressions and keeps the source, so that refit, adapters and
/// re-packing can replay them.
#[derive(Clone, Debug, PartialEq)]
pub enum WeightExpr {
    /// A tensor of the model file.
    Source {
        /// Its name there; empty for constants that an importer made, and for tensors whose elements it read to decide the
        /// structure of the network.
        name: Arc<str>,
        /// Its elements, usually inside the mapped file.
        tensor: Tensor,
        /// May a refit replace the elements? Then no pass looks at them.
        is_refittable: bool,
    },
    /// One result of a pure operator on other weights.
    Apply {
        /// The operator.
        op: Op,
        /// Its operands.
        inputs: Vec<Option<Arc<WeightExpr>>>,
        /// Which result.
        output: usize,
    },
}

/// A weight and the body input that it feeds.
#[derive(Clone, Debug, PartialEq)]
pub struct Weight {
    /// The body input.
    pub value: ValueId,
    /// Its elements.
    pub expr: Arc<WeightExpr>,
}

/// A user input.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// Name given by the model.
    pub name: String,
    /// The body input.
    pub value: ValueId,
    /// The default when the user gives no value.
    pub default: Option<Tensor>,
}

/// A user output.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// Name given by the model.
    pub name: String,
    /// The value.
    pub value: ValueId,
}

/// See the module documentation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Network {
    /// Name given by the model.
    pub name: String,
    /// The computation. Its inputs are those of `inputs` and `weights`, its outputs those of `outputs`.
    pub body: Body,
    /// User inputs in order.
    pub inputs: Vec<Input>,
    /// Weights.
    pub weights: Vec<Weight>,
    /// User outputs in order.
    pub outputs: Vec<Output>,
    /// Source of each node, parallel to the body's nodes.
    pub locations: Vec<Location>,
    /// Conditions on sizes to check at run time.
    pub guards: Vec<Guard>,
}

/// See [`WeightExpr::can_be_refitted`].
pub(crate) fn has_refittable_type(tensor: &Tensor) -> bool {
    let ty = tensor.data_type();
    tensor.count() > 1 && (ty.is_float() || ty.is_integer() && ty.bits() <= 8)
}

impl WeightExpr {
    /// A tensor of the model file whose elements do not change.
    pub fn source(name: impl Into<Arc<str>>, tensor: Tensor) -> Self {
        Self::Source { name: name.into(), tensor, is_refittable: false }
    }

    /// Could a refit replace the elements? Those of named tensors of numbers or quantized numbers; a tensor of one element is
    /// a parameter of the model.
    pub fn can_be_refitted(&self) -> bool {
        matches!(self, Self::Source { name, tensor, .. } if !name.is_empty() && has_refittable_type(tensor))
    }

    /// Visits every expression below these roots once, operands before their users.
    pub fn visit<'a>(roots: impl IntoIterator<Item = &'a Arc<WeightExpr>>, see: &mut dyn FnMut(&'a Arc<WeightExpr>)) {
        let mut seen: HashSet<*const WeightExpr> = HashSet::new();
        let mut stack: Vec<(&'a Arc<WeightExpr>, bool)> = Vec::new();
        for root in roots {
            stack.push((root, false));
            while let Some((expr, operands_seen)) = stack.pop() {
                if operands_seen {
                    see(expr);
                } else if seen.insert(Arc::as_ptr(expr)) {
                    stack.push((expr, true));
                    if let WeightExpr::Apply { inputs, .. } = &**expr {
                        stack.extend(inputs.iter().flatten().rev().map(|input| (input, false)));
                    }
                }
            }
        }
    }
}

impl Network {
    /// Bytes of all source weights, each counted once.
    pub fn weight_bytes(&self) -> usize {
        let mut total = 0;
        WeightExpr::visit(self.weights.iter().map(|w| &w.expr), &mut |expr| {
            if let WeightExpr::Source { tensor, .. } = &**expr {
                total += tensor.bytes().len();
            }
        });
        total
    }

    /// A context for inference that continues the network's: its fresh names meet no name in use.
    pub fn infer_context(&self) -> InferContext {
        let mut last = 0;
        let mut see = |name: &str| {
            if let Some(rest) = name.strip_prefix('?') {
                let digits = rest.trim_start_matches(|c: char| !c.is_ascii_digit());
                last = last.max(digits.parse().unwrap_or(0));
            }
        };
        symbols_of(&self.body, &mut see);
        InferContext::continuing(last, self.guards.clone())
    }

    /// The network after a patch of its body.
    #[must_use]
    pub fn patched(self, applied: Applied, guards: Vec<Guard>) -> Self {
        let Applied { body, origins, values, weights } = applied;
        let now = |id: ValueId| values[id.index()];
        let inputs = self.inputs.into_iter().filter_map(|i| Some(Input { value: now(i.value)?, ..i })).collect();
        let is_input: HashSet<ValueId> = body.inputs().iter().copied().collect();
        // A weight that was replaced by another one is merged with it, and is in the list once.
        let mut taken: HashSet<ValueId> = weights.iter().map(|(value, _)| *value).collect();
        let kept = self.weights.into_iter().filter_map(|w| Some(Weight { value: now(w.value)?, ..w }));
        let kept: Vec<Weight> = kept.filter(|w| is_input.contains(&w.value) && taken.insert(w.value)).collect();
        let added = weights.into_iter().map(|(value, expr)| Weight { value, expr });
        let weights = kept.into_iter().chain(added).collect();
        let outputs = self.outputs.into_iter().zip(body.outputs()).map(|(o, &value)| Output { value, ..o }).collect();
        let locations =
            origins.iter().map(|nodes| Location::merged(nodes.iter().filter_map(|n| self.locations.get(*n)))).collect();
        Self { name: self.name, body, inputs, weights, outputs, locations, guards }
    }
}

fn symbols_of(body: &Body, see: &mut dyn FnMut(&str)) {
    for index in 0..body.value_count() {
        type_symbols(body.ty(ValueId::new(index)), see);
    }
    for inner in body.nodes().iter().flat_map(|node| node.op.bodies()) {
        symbols_of(inner, see);
    }
}

fn type_symbols(ty: &ValueType, see: &mut dyn FnMut(&str)) {
    match ty {
        ValueType::Tensor(tensor) => {
            let contents = tensor.ints().unwrap_or_default();
            for dim in tensor.dims().unwrap_or_default().iter().chain(contents) {
                dim.visit_symbols(see);
            }
        }
        ValueType::Sequence(inner) | ValueType::Optional(inner) => type_symbols(inner, see),
    }
}
