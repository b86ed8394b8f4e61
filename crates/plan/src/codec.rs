//! Plans to and from their wire form. Decoding checks every index, so that a decoded plan can run without surprises.

use sinter_backend::Target;
use sinter_base::{Attr, DataType, Dim, KnownValue, Shape, TensorType, ValueType};
use sinter_ops::{Body, Op, ValueId, catalog};

use crate::error::PlanError;
use crate::graph_codec::{Limits, decode_graph, encode_graph};
use crate::plan::{Graph, PlanGuard, PlanValueId, Port, WeightId};
use crate::self_test::SelfTest;
use crate::self_test_codec::{decode_vector, encode_vector};
use crate::shape_program::{Operation, Register, ShapeProgram};
use crate::weight_expression::{self, WeightExpression};
use crate::wire;

/// The decoder refuses deeper nesting of types and bodies.
pub(crate) const MAX_DEPTH: usize = 32;

pub(crate) type Decoded<T> = Result<T, PlanError>;

pub(crate) fn damaged<T>(reason: impl Into<String>) -> Decoded<T> {
    Err(PlanError::damaged(reason))
}

pub(crate) fn wire_index(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

pub(crate) fn position(value: u32, limit: usize, what: &str) -> Decoded<usize> {
    match usize::try_from(value) {
        Ok(position) if position < limit => Ok(position),
        _ => damaged(format!("{what} {value} does not exist")),
    }
}

/// Decodes an index plus 1; 0 means none.
pub(crate) fn optional(value: u32, limit: usize, what: &str) -> Decoded<Option<usize>> {
    match value.checked_sub(1) {
        None => Ok(None),
        Some(value) => position(value, limit, what).map(Some),
    }
}

// ---- types

pub(crate) fn encode_type(ty: &ValueType) -> wire::Type {
    use wire::r#type::Kind;
    let kind = match ty {
        ValueType::Tensor(tensor) => Kind::Tensor(encode_tensor_type(tensor)),
        ValueType::Sequence(inner) => Kind::Sequence(Box::new(encode_type(inner))),
        ValueType::Optional(inner) => Kind::Optional(Box::new(encode_type(inner))),
    };
    wire::Type { kind: Some(kind) }
}

fn encode_tensor_type(ty: &TensorType) -> wire::r#type::Tensor {
    use wire::r#type::tensor::Known;
    let known = ty.value.as_deref().map(|value| match value {
        KnownValue::Ints(v) => Known::Ints(wire::r#type::Ints { values: v.iter().map(Dim::to_string).collect() }),
        KnownValue::Floats(v) => Known::Floats(wire::r#type::Floats { values: v.clone() }),
        KnownValue::Strings(v) => Known::Texts(wire::r#type::Texts { values: v.clone() }),
    });
    let dims = ty.dims().unwrap_or_default().iter().map(Dim::to_string).collect();
    wire::r#type::Tensor { data_type: ty.data_type.to_string(), ranked: ty.shape.rank().is_some(), dims, known }
}

fn decode_dims(texts: &[String]) -> Decoded<Vec<Dim>> {
    texts.iter().map(|d| d.parse().map_err(|e| PlanError::damaged(format!("{d}: {e}")))).collect()
}

pub(crate) fn decode_type(ty: &wire::Type, depth: usize) -> Decoded<ValueType> {
    use wire::r#type::Kind;
    if depth > MAX_DEPTH {
        return damaged("a type is nested too deeply");
    }
    Ok(match &ty.kind {
        Some(Kind::Tensor(tensor)) => ValueType::Tensor(decode_tensor_type(tensor)?),
        Some(Kind::Sequence(inner)) => ValueType::Sequence(Box::new(decode_type(inner, depth + 1)?)),
        Some(Kind::Optional(inner)) => ValueType::Optional(Box::new(decode_type(inner, depth + 1)?)),
        None => return damaged("a value has no type"),
    })
}

fn decode_tensor_type(ty: &wire::r#type::Tensor) -> Decoded<TensorType> {
    use wire::r#type::tensor::Known;
    let data_type: DataType = ty.data_type.parse().map_err(|e| PlanError::damaged(format!("{e}")))?;
    let shape = if ty.ranked { Shape::Ranked(decode_dims(&ty.dims)?) } else { Shape::Unranked };
    let decoded = TensorType::new(data_type, shape);
    Ok(match &ty.known {
        None => decoded,
        Some(Known::Ints(v)) => decoded.with_value(KnownValue::Ints(decode_dims(&v.values)?)),
        Some(Known::Floats(v)) => decoded.with_value(KnownValue::Floats(v.values.clone())),
        Some(Known::Texts(v)) => decoded.with_value(KnownValue::Strings(v.values.clone())),
    })
}

// ---- bodies

pub(crate) fn encode_body(body: &Body) -> wire::Body {
    let all = |ids: &[ValueId]| ids.iter().map(|id| wire_index(id.index())).collect();
    let nodes = body.nodes().iter().map(|node| wire::Node {
        operator: node.op.name().to_owned(),
        attributes: node.op.to_attr().to_string(),
        inputs: node.inputs.iter().map(|id| id.map_or(0, |id| wire_index(id.index() + 1))).collect(),
        outputs: all(&node.outputs),
        bodies: node.op.bodies().into_iter().map(|b| encode_body(b)).collect(),
    });
    wire::Body {
        types: (0..body.value_count()).map(|i| encode_type(body.ty(ValueId::new(i)))).collect(),
        inputs: all(body.inputs()),
        outputs: all(body.outputs()),
        nodes: nodes.collect(),
    }
}

pub(crate) fn decode_body(body: &wire::Body, depth: usize) -> Decoded<Body> {
    if depth > MAX_DEPTH {
        return damaged("a body is nested too deeply");
    }
    let types = body.types.iter().map(|t| decode_type(t, 0)).collect::<Decoded<Vec<_>>>()?;
    // Values are renumbered in order of definition; `ids` maps the file's indices.
    let mut ids: Vec<Option<ValueId>> = vec![None; types.len()];
    let mut decoded = Body::new();
    for &input in &body.inputs {
        let at = position(input, types.len(), "value")?;
        if let (Some(slot), Some(ty)) = (ids.get_mut(at), types.get(at)) {
            *slot = Some(decoded.add_input(ty.clone()));
        }
    }
    let defined = |ids: &[Option<ValueId>], at: usize| {
        ids.get(at)
            .copied()
            .flatten()
            .ok_or_else(|| PlanError::damaged(format!("value {at} is used before it is made")))
    };
    for node in &body.nodes {
        let op = decode_operator(node, depth)?;
        let inputs = node
            .inputs
            .iter()
            .map(|&i| optional(i, types.len(), "value")?.map(|at| defined(&ids, at)).transpose())
            .collect::<Decoded<Vec<_>>>()?;
        let at = node.outputs.iter().map(|&o| position(o, types.len(), "value")).collect::<Decoded<Vec<_>>>()?;
        let result_types = at.iter().filter_map(|&a| types.get(a).cloned()).collect();
        let made = decoded.add_typed(op, &inputs, result_types);
        for (&at, id) in at.iter().zip(made) {
            if let Some(slot) = ids.get_mut(at) {
                *slot = Some(id);
            }
        }
    }
    let outputs = body
        .outputs
        .iter()
        .map(|&o| position(o, types.len(), "value").and_then(|at| defined(&ids, at)))
        .collect::<Decoded<Vec<_>>>()?;
    decoded.set_outputs(outputs);
    Ok(decoded)
}

fn decode_operator(node: &wire::Node, depth: usize) -> Decoded<Op> {
    let wrong = |e: &dyn std::fmt::Display| PlanError::damaged(format!("operator {}: {e}", node.operator));
    let info = catalog::by_name(&node.operator).ok_or_else(|| wrong(&"it is unknown to this program"))?;
    let tree: Attr = node.attributes.parse().map_err(|e| wrong(&e))?;
    let op = (info.from_attr)(&tree).map_err(|e| wrong(&e))?;
    let bodies = node.bodies.iter().map(|b| decode_body(b, depth + 1).map(Into::into)).collect::<Decoded<Vec<_>>>()?;
    Ok(if bodies.is_empty() { op } else { op.with_bodies(bodies) })
}

fn encode_peak((data_type, operations_per_second): &(DataType, f64)) -> wire::Peak {
    wire::Peak { data_type: data_type.to_string(), operations_per_second: *operations_per_second }
}

fn decode_peak(peak: &wire::Peak) -> Decoded<(DataType, f64)> {
    let data_type = peak.data_type.parse().map_err(|e| PlanError::damaged(format!("{e}")))?;
    Ok((data_type, peak.operations_per_second))
}

/// Everything of a plan except the weights' elements.
pub(crate) struct Metadata {
    pub(crate) name: String,
    pub(crate) target: Target,
    pub(crate) islands: Vec<Target>,
    pub(crate) graph: Graph,
    pub(crate) inputs: Vec<Port>,
    pub(crate) outputs: Vec<Port>,
    pub(crate) shapes: ShapeProgram,
    pub(crate) guards: Vec<PlanGuard>,
    pub(crate) expressions: Vec<WeightExpression>,
    pub(crate) self_test: Option<SelfTest>,
}

fn encode_port(port: &Port) -> wire::Port {
    wire::Port {
        name: port.name.clone(),
        value: wire_index(port.value.index()),
        default_weight: port.default.map_or(0, |w| wire_index(w.index() + 1)),
    }
}

fn encode_target(target: &Target) -> wire::Device {
    wire::Device {
        back_end: target.back_end.clone(),
        tier: target.isa.clone(),
        threads: wire_index(target.units),
        bytes_per_second: target.bytes_per_second,
        peaks: target.operations_per_second.iter().map(encode_peak).collect(),
    }
}

pub(crate) fn decode_target(device: &wire::Device) -> Decoded<Target> {
    Ok(Target {
        back_end: device.back_end.clone(),
        isa: device.tier.clone(),
        units: usize::try_from(device.threads).unwrap_or(1),
        bytes_per_second: device.bytes_per_second,
        operations_per_second: device.peaks.iter().map(decode_peak).collect::<Decoded<_>>()?,
    })
}

pub(crate) fn encode(plan: &crate::plan::Plan, weights: Vec<wire::Weight>, code: Vec<wire::Code>) -> wire::Metadata {
    let program = &plan.shapes;
    wire::Metadata {
        name: plan.name.clone(),
        device: Some(encode_target(&plan.target)),
        islands: plan.islands.iter().map(encode_target).collect(),
        code,
        expressions: plan.expressions.iter().map(weight_expression::encode).collect(),
        graph: Some(encode_graph(&plan.graph)),
        inputs: plan.inputs.iter().map(encode_port).collect(),
        outputs: plan.outputs.iter().map(encode_port).collect(),
        weights,
        shapes: Some(wire::ShapeProgram {
            constants: program.constants().to_vec(),
            symbols: program.symbols().to_vec(),
            instructions: program.instructions().iter().flat_map(|(op, a, b)| [op.code(), a.0, b.0]).collect(),
        }),
        guards: plan
            .guards
            .iter()
            .map(|g| wire::Guard { left: g.left.0, right: g.right.0, reason: g.reason.clone() })
            .collect(),
        self_test: plan.self_test.iter().flat_map(|s| &s.vectors).map(encode_vector).collect(),
    }
}

pub(crate) fn decode(metadata: &wire::Metadata) -> Decoded<Metadata> {
    let shapes = metadata.shapes.clone().unwrap_or_default();
    let instruction = |triple: &[u32]| match triple {
        [op, a, b] => match Operation::from_code(*op) {
            Some(op) => Ok((op, Register(*a), Register(*b))),
            None => damaged(format!("the shape program has an unknown operation {op}")),
        },
        _ => damaged("the shape program is cut"),
    };
    let instructions = shapes.instructions.chunks(3).map(instruction).collect::<Decoded<Vec<_>>>()?;
    let shapes = ShapeProgram::from_parts(shapes.constants, shapes.symbols, instructions)
        .map_err(|e| PlanError::damaged(e.to_string()))?;
    let limits = Limits {
        registers: shapes.register_count(),
        weights: metadata.weights.len(),
        code: metadata.code.len(),
        places: metadata.islands.len().saturating_add(1),
    };
    let missing = || PlanError::damaged("it has no graph");
    let graph = decode_graph(metadata.graph.as_ref().ok_or_else(missing)?, &limits, 0)?;
    let port = |port: &wire::Port| {
        Ok(Port {
            value: PlanValueId::new(position(port.value, graph.values.len(), "value")?),
            default: optional(port.default_weight, limits.weights, "weight")?.map(WeightId::new),
            name: port.name.clone(),
        })
    };
    let inputs = metadata.inputs.iter().map(port).collect::<Decoded<Vec<_>>>()?;
    let outputs = metadata.outputs.iter().map(port).collect::<Decoded<Vec<_>>>()?;
    let guard = |guard: &wire::Guard| {
        let (left, right) = (limits.register(guard.left)?, limits.register(guard.right)?);
        Ok(PlanGuard { left, right, reason: guard.reason.clone() })
    };
    let guards = metadata.guards.iter().map(guard).collect::<Decoded<Vec<_>>>()?;
    let target = decode_target(&metadata.device.clone().unwrap_or_default())?;
    let islands = metadata.islands.iter().map(decode_target).collect::<Decoded<_>>()?;
    let vectors = metadata.self_test.iter().cloned().map(decode_vector).collect::<Decoded<Vec<_>>>()?;
    let self_test = (!vectors.is_empty()).then_some(SelfTest { vectors });
    let expression = |expression| weight_expression::decode(expression, limits.weights);
    let expressions = metadata.expressions.iter().map(expression).collect::<Decoded<_>>()?;
    let name = metadata.name.clone();
    Ok(Metadata { name, target, islands, graph, inputs, outputs, shapes, guards, expressions, self_test })
}
